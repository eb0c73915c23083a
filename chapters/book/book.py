"""The reading edition: all chapters as a static site with search, for people without a kernel. `make book`.

    python chapters/book/book.py OUT

Explorers move and self-tests answer here as well, by a script of their own (`live.py`); where scripts don't run they
appear as their still pictures and as folded answers. No cell is executed and nothing is fetched; the site opens from
disk. What explorers start from, and states that are recorded (`recorded.py`), are computed from the mini VOC, which
is painted first if it isn't there.
"""

import html
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell, new_output

HERE = Path(__file__).parent
CHAPTERS = HERE.parent
PICTURES = ("image/png", "image/jpeg")
ROOT = CHAPTERS.parent
INDEX = """# SSD300, from the first box to the last point of AP

The chapters of the course for reading. Explorers move and self-tests answer on these pages; exercises need Python.

![Painted scenes with what a narrow SSD300 found after five minutes of training on a CPU, in blue](pictures/found.png)

{table}

## Run the notebooks

To solve the exercises, get the project, type `make lab` in its folder and open the chapter in JupyterLab: its checks
answer at once. The first start installs what is needed and takes a few minutes. The cells of a notebook are run from
the top, with Shift and Enter.

```{{toctree}}
:hidden:

{pages}
glossary
```

```{{toctree}}
:hidden:
:caption: Beside the chapters

The project <readme>
{docs}
```
"""
# a link or picture; or code, whose brackets are none
LINK = re.compile(
    r"(?P<code>^```.*?^```|``.+?``|(?<!`)`(?!`)[^`\n]+`)"
    r"|(?P<mark>!?)\[(?P<words>(?:[^\[\]]|\[[^\[\]]*\]\([^()]*\))*)\]\((?P<target>[^()\s]+)\)",
    re.MULTILINE | re.DOTALL,
)
# what a chapter says of explorers that need a kernel
STANDS_STILL = re.compile(r"^\(Run the cells of this page to move things;[^)]*\)\n*", re.MULTILINE)
RECORDED = (
    "Here you choose among recorded states. The notebook computes every other one: "
    '<a href="index.html#run-the-notebooks">how to get there</a>.'
)
QUOTED = 4000  # letters of a section among which the search looks for words to quote
SEARCH_FROM_DISK = """const PAGES = %s;
const fetched = window.fetch;
window.fetch = (address, ...rest) => {
  const page = PAGES[String(address).split(/[?#]/)[0].split("/").pop()];
  return page ? Promise.resolve(new Response(page)) : fetched(address, ...rest);
};
"""
# The line under a still, as course/kit/stills.py marks it; the class alone stands in every style sheet, too
STILL = "<p class='course-stand-in course-stand-in-picture'>"
# What a check says before an exercise is solved: nothing for readers, who can't solve it here
UNSOLVED = re.compile(r"○ not yet ·")
STAYS_STILL = "*A picture here; in the notebook it moves: [how to get there](index.md#run-the-notebooks).*"
NEEDS_PYTHON = "*This exercise needs Python: [how to get there](index.md#run-the-notebooks).*"


def write_sources(folder: Path) -> None:
    """Notebooks with the words for their pictures where Sphinx looks for them, README, docs, and an index."""
    pages = sorted(CHAPTERS.glob("*.ipynb"))
    for path in pages:
        book = nbformat.read(path, as_version=4)
        cells, lives = [], False
        for cell in book.cells:
            if image := _image(cell):
                cell.metadata["mystnb"] = {"image": image}
            if "exercise" in cell.metadata.get("tags", ()):
                cells.append(new_markdown_cell(NEEDS_PYTHON))
            moves = _without_jupyter(cell)
            alive = _bring_to_life(cell)
            lives = alive or lives
            if moves and not alive:
                _say_that_it_stays_still(cells)
            if cell.cell_type == "markdown":
                cell.source = linked(STANDS_STILL.sub("", cell.source) if lives else cell.source, CHAPTERS)
            cells.append(cell)
        book.cells = cells
        nbformat.write(book, folder / path.name)
    docs = sorted((ROOT / "docs").glob("*.md"))
    for path in (CHAPTERS / "glossary.md", ROOT / "README.md", *docs):
        (folder / path.name.lower()).write_text(linked(path.read_text("utf-8"), path.parent), "utf-8")
    shutil.copytree(ROOT / "docs/pictures", folder / "pictures")
    names, beside = ("\n".join(path.stem for path in paths) for paths in (pages, docs))
    (folder / "index.md").write_text(INDEX.format(pages=names, docs=beside, table=chapter_table()), "utf-8")


def _image(cell: nbformat.NotebookNode) -> dict[str, str]:
    """The words for a cell's pictures and the width at which its first one is shown, as Sphinx takes them: for all
    pictures of the cell."""
    said = [
        out.metadata.get(kind, {})
        for out in cell.get("outputs", ())
        for kind in PICTURES
        if kind in out.get("data", {})
    ]
    words = next(filter(None, (picture.get("alt") for picture in said)), None)
    width = next(filter(None, (picture.get("width") for picture in said)), None)
    return ({"alt": words} if words else {}) | ({"width": f"{width}px"} if width else {})


def linked(text: str, folder: Path) -> str:
    """Markdown of a file in `folder`, with links as they are in the site, where all pages lie side by side. Of a link
    to what isn't in it, a recording say, the words are left."""

    def link(found: re.Match) -> str:
        if found["code"]:
            return found["code"]
        mark, target = found["mark"], found["target"]
        words, (path, sharp, place) = LINK.sub(link, found["words"]), target.partition("#")
        if not path or "://" in target:
            return f"{mark}[{words}]({target})"
        there = (folder / path).resolve()
        if there.parent == ROOT / "docs/pictures":
            return f"{mark}[{words}](pictures/{there.name})"
        if there.parent == CHAPTERS or there in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
            return f"{mark}[{words}]({there.name if there.suffix == '.ipynb' else there.name.lower()}{sharp}{place})"
        return words

    return LINK.sub(link, text)


def chapter_table() -> str:
    """The README's table of the chapters, with links and pictures as they lie in the site."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    part = readme.partition("\n## Chapters\n")[2].partition("\n## ")[0]
    return linked("\n".join(line for line in part.splitlines() if line.startswith("|")), ROOT)


def _without_jupyter(cell: nbformat.NotebookNode) -> bool:
    """Leave out what is said to those who run the cell: how a still picture moves, and that an exercise isn't solved
    yet; links in outputs lead to pages. Whether there was a still picture of something that moves in Jupyter."""
    if cell.cell_type != "code":
        return False
    pages = [out.get("data", {}).get("text/html", "") for out in cell.outputs]
    said = [out.get("data", {}).get("text/plain", "") for out in cell.outputs]
    cell.outputs = [
        out
        for out, page, text in zip(cell.outputs, pages, said, strict=True)
        if STILL not in page and not UNSOLVED.match(text)
    ]
    for out in cell.outputs:
        if "text/html" in out.get("data", {}):
            out.data["text/html"] = re.sub(r"(href='\w+)\.ipynb'", r"\1.html'", out.data["text/html"])
    return any(STILL in page for page in pages)


def _say_that_it_stays_still(cells: list[nbformat.NotebookNode]) -> None:
    """Put a line above the prose that tells what to drag: below its heading, in the last cell of prose."""
    prose = next(cell for cell in reversed(cells) if cell.cell_type == "markdown")
    lines = prose.source.split("\n")
    headings = [i for i, line in enumerate(lines) if line.startswith("##")]
    lines.insert(headings[-1] + 1 if headings else 0, f"\n{STAYS_STILL}\n")
    prose.source = "\n".join(lines)


def _bring_to_life(cell: nbformat.NotebookNode) -> bool:
    """Put the explorer that a cell shows behind its still picture, and mark its self-test for the script. Whether
    there is an explorer now."""
    for out in cell.get("outputs", ()):
        data = out.get("data", {})
        said = data.get("text/plain", "")
        kind = said.partition("(")[0]
        if kind == "SelfTest":
            data["text/html"] = f'<div class="course-self-test">{data["text/html"]}</div>'
        elif any(mime in data for mime in PICTURES) and (explorer := as_page(kind, said)):
            cell.metadata.setdefault("mystnb", {}).setdefault("image", {})["classes"] = "course-still"
            cell.outputs.append(new_output("display_data", data={"text/html": explorer}))
            return True
    return False


def as_page(kind: str, said: str) -> str:
    """The HTML in which an explorer comes to life; empty if `kind` has no engine and no recording.

    `said` is how it calls itself in the notebook. Raises ValueError if the one made here isn't the same."""
    import live
    import recorded

    note = ""
    if kind in live.EXPLORERS:
        explorer, start_of = live.EXPLORERS[kind][0](), live.start_of
    elif kind in recorded.RECORDINGS:
        explorer, start_of = recorded.RECORDINGS[kind].make(), recorded.start_of
        note = f"<p>{RECORDED}</p>"
    else:
        return ""
    if repr(explorer) != said:
        raise ValueError(
            f"the notebook shows {said}, the reading edition would begin with {explorer!r}; `make chapters` "
            "writes the notebooks anew"
        )
    start = json.dumps(start_of(kind, explorer), ensure_ascii=False, separators=(",", ":"))
    start = start.replace("</", "<\\/")
    return f'<div class="course-explorer" id="{kind}"><script type="application/json">{start}</script>{note}</div>'


def write_static(folder: Path) -> None:
    """The script and its style sheet, where Sphinx takes them from."""
    import live

    folder.mkdir()
    (folder / "live.js").write_text(live.script(), encoding="utf-8")
    (folder / "live.css").write_text(live.style(), encoding="utf-8")


def make_search_work_from_disk(out: Path) -> None:
    """Give the search page the words of all pages in a script. It fetches each page to quote it, and a page that was
    opened from disk may not fetch another."""
    from bs4 import BeautifulSoup

    words = {}
    for path in sorted(out.glob("*.html")):
        main = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser").find(attrs={"role": "main"})
        if path.stem in ("search", "genindex") or main is None:
            continue
        for other in main(["script", "style", "img", "svg"]) + main(class_="headerlink"):
            other.decompose()
        parts = [f'<div role="main">{html.escape(main.get_text(" ", strip=True))}']
        for section in main("section"):
            parts.append(
                f'<div id="{section["id"]}">{html.escape(section.get_text(" ", strip=True)[:QUOTED])}</div>'
            )
        words[path.name] = "".join([*parts, "</div>"])
    script = SEARCH_FROM_DISK % json.dumps(words, ensure_ascii=False).replace("</", "<\\/")
    (out / "_static/search_pages.js").write_text(script, encoding="utf-8")
    page = out / "search.html"
    before = '<script src="_static/searchtools.js'
    text = page.read_text(encoding="utf-8")
    if text.count(before) != 1:
        raise ValueError(
            f"{page}: {text.count(before)} times {before!r}; wanted once, to put the pages before it"
        )
    page.write_text(
        text.replace(before, f'<script src="_static/search_pages.js"></script>{before}'), encoding="utf-8"
    )


def main(out: Path) -> int:
    from sphinx.cmd.build import build_main

    from course.kit import pictures

    # the committed notebooks show the mini VOC, also where the genuine one is on disk
    os.environ["COURSE_VOC"] = str(pictures.mini_voc())
    with tempfile.TemporaryDirectory() as folder:
        sources, static = Path(folder) / "sources", Path(folder) / "static"
        sources.mkdir()
        write_sources(sources)
        write_static(static)
        arguments = ["-q", "-b", "html", "-c", str(HERE), "-d", str(Path(folder) / "doctrees")]
        status = build_main([*arguments, "-D", f"html_static_path={static}", str(sources), str(out)])
    if status == 0:
        make_search_work_from_disk(out)
        print(f"open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python chapters/book/book.py OUT")
    sys.exit(main(Path(sys.argv[1])))
