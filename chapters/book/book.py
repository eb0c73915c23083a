"""The reading edition: all chapters as a static site with search, for people without a kernel. `make book`.

    python chapters/book/book.py OUT

Explorers move and self-tests answer here as well, by a script of their own (`live.py`); where scripts don't run they
appear as their still pictures and as folded answers. No cell is executed and nothing is fetched; the site opens from
disk. What explorers start from, and states that are recorded (`recorded.py`), are computed from the mini VOC, which
is painted first if it isn't there.
"""

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
INDEX = """# SSD300, from the first box to the last point of AP

The chapters of the course for reading. Explorers move and self-tests answer on these pages; exercises need Python.

## Run the notebooks

To solve the exercises, get the project, type `make lab` in its folder and open the chapter in JupyterLab: its checks
answer at once. The first start installs what is needed and takes a few minutes. The cells of a notebook are run from
the top, with Shift and Enter.

```{{toctree}}
:maxdepth: 1

{pages}
glossary
faq
```
"""
# what a chapter says of explorers that need a kernel
STANDS_STILL = re.compile(r"^\(Run the cells of this page to move things;[^)]*\)\n*", re.MULTILINE)
RECORDED = (
    "Here you choose among recorded states. The notebook computes every other one: "
    '<a href="index.html#run-the-notebooks">how to get there</a>.'
)
# The line under a still, as course/kit/stills.py marks it; the class alone stands in every style sheet, too
STILL = "<p class='course-stand-in course-stand-in-picture'>"
NEEDS_PYTHON = "*This exercise needs Python: [how to get there](index.md#run-the-notebooks).*"


def write_sources(folder: Path) -> None:
    """Notebooks with the words for their pictures where Sphinx looks for them, glossary, FAQ, and a list of pages."""
    pages = sorted(CHAPTERS.glob("*.ipynb"))
    for path in pages:
        book = nbformat.read(path, as_version=4)
        cells, lives = [], False
        for cell in book.cells:
            words = [
                out.metadata.get("image/png", {}).get("alt")
                for out in cell.get("outputs", ())
                if "image/png" in out.get("data", {})
            ]
            if any(words):
                cell.metadata["mystnb"] = {"image": {"alt": next(filter(None, words))}}
            if "exercise" in cell.metadata.get("tags", ()):
                cells.append(new_markdown_cell(NEEDS_PYTHON))
            _without_jupyter(cell)
            lives = _bring_to_life(cell) or lives
            if lives and cell.cell_type == "markdown":
                cell.source = STANDS_STILL.sub("", cell.source)
            cells.append(cell)
        book.cells = cells
        nbformat.write(book, folder / path.name)
    shutil.copy(CHAPTERS / "glossary.md", folder)
    faq = (CHAPTERS.parent / "docs/faq.md").read_text()
    (folder / "faq.md").write_text(faq.replace("](../chapters/", "]("))
    (folder / "index.md").write_text(INDEX.format(pages="\n".join(path.stem for path in pages)))


def _without_jupyter(cell: nbformat.NotebookNode) -> None:
    """Leave out the line that tells readers in Jupyter how a still picture moves; links in outputs lead to pages."""
    if cell.cell_type != "code":
        return
    pages = [out.get("data", {}).get("text/html", "") for out in cell.outputs]
    cell.outputs = [out for out, page in zip(cell.outputs, pages, strict=True) if STILL not in page]
    for out in cell.outputs:
        if "text/html" in out.get("data", {}):
            out.data["text/html"] = re.sub(r"(href='\w+)\.ipynb'", r"\1.html'", out.data["text/html"])


def _bring_to_life(cell: nbformat.NotebookNode) -> bool:
    """Put the explorer that a cell shows behind its still picture, and mark its self-test for the script. Whether
    there is an explorer now."""
    for out in cell.get("outputs", ()):
        data = out.get("data", {})
        said = data.get("text/plain", "")
        kind = said.partition("(")[0]
        if kind == "SelfTest":
            data["text/html"] = f'<div class="course-self-test">{data["text/html"]}</div>'
        elif "image/png" in data and (explorer := as_page(kind, said)):
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
        print(f"open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python chapters/book/book.py OUT")
    sys.exit(main(Path(sys.argv[1])))
