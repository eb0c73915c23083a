"""Execute the chapters from their sources and write the notebooks: `make chapters`, or name some sources.

A chapter is written as a script in chapters/source (jupytext's percent format), where a change can be read line
by line. The notebook beside it is the executed artefact: outputs included, cells numbered 1 ... n, nothing in it
that says when or where it was run. A test compares the two.

The source holds the solutions. What the notebook gets is derived from it (`derive`): a cell tagged "exercise" loses
what follows its line `# solution`, and the mark <!-- solution --> becomes that code, folded. Links to the
neighbours, to the contents and to the glossary are written here too, and the strip of course/kit/pipeline.py.

    python chapters/build.py chapters/source/03_matching.py     run one
    python chapters/build.py --words                            after a change of prose alone: keep the outputs
"""

import io
import re
import sys
from base64 import b64decode, b64encode
from functools import cache
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm import tqdm

from course.kit import pipeline

HERE = Path(__file__).parent
SOURCES = HERE / "source"
WIDGETS = "application/vnd.jupyter.widget-view+json"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
KEPT = ("tags", "alt", "jp-MarkdownHeadingCollapsed")  # of a cell's metadata; the last one folds a section
MARK = "<!-- solution -->"
PNG, JPEG = PICTURES = ("image/png", "image/jpeg")
# bytes of a figure: the first that keeps the notebook small
MOST = range(150_000, 35_000, -5_000)
LARGEST = 1_000_000  # bytes of a notebook


def build(source: Path) -> Path:
    """Run one source from top to bottom and write its notebook. Raises if a cell fails."""
    book = read_source(source)
    NotebookClient(
        book, timeout=3600, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            kept = [kept for out in cell.outputs if (kept := _lean(out, cell.metadata.get("alt")))]
            cell.outputs = _joined(kept)
    book.metadata.pop("widgets", None)
    make_small(book)
    nbformat.write(book, notebook_of(source))
    return notebook_of(source)


def rewrite_words(source: Path) -> bool:
    """Bring a notebook's prose up to its source and keep its outputs. False if its code has changed."""
    book, old = read_source(source), nbformat.read(notebook_of(source), as_version=4)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    ran = [cell for cell in old.cells if cell.cell_type == "code"]
    if [cell.source for cell in code] != [cell.source for cell in ran]:
        return False
    for cell, before in zip(code, ran, strict=True):
        cell.outputs, cell.execution_count = _joined(before.outputs), before.execution_count
        for out in cell.outputs:
            _describe(out, cell.metadata.get("alt"))
    book.metadata = old.metadata  # what the kernel said of its language
    nbformat.write(book, notebook_of(source))
    return True


def notebook_of(source: Path) -> Path:
    return HERE / f"{source.stem}.ipynb"


def read_source(source: Path) -> nbformat.NotebookNode:
    """A source as a notebook without outputs, with cell ids that stay the same from build to build."""
    book = jupytext.read(source)
    derive(book)
    add_links(book, source)
    for number, cell in enumerate(book.cells):
        cell.id = f"{source.stem[:2]}-{number:03d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in KEPT}
    book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return book


def derive(book: nbformat.NotebookNode) -> None:
    """Stubs for the exercises, and their solutions folded where the prose asks for them."""
    solution = None
    for cell in book.cells:
        if "exercise" in cell.metadata.get("tags", ()):
            solution = solution_of(cell.source)
            cell.source = stub_of(cell.source)
        elif cell.cell_type == "markdown" and MARK in cell.source:
            folded = f"<details><summary>Solution</summary>\n\n```python\n{solution}\n```\n\n</details>"
            cell.source = cell.source.replace(MARK, folded)


def stub_of(code: str) -> str:
    """An exercise without its solution: a function's body from `# solution` on becomes `...`, a line
    `name = value  # solution` becomes `name = None`."""
    lines, hiding = [], False
    for line in code.splitlines():
        if hiding and (not line.strip() or line.startswith((" ", "\t"))):
            continue
        hiding = False
        if re.fullmatch(r"\s+# solution", line):
            lines.append(f"{line[: len(line) - len(line.lstrip())]}...  # your code")
            hiding = True
        elif line.endswith("  # solution"):
            lines.append(f"{line.split(' = ')[0]} = None  # your answer")
        else:
            lines.append(line)
    return "\n".join(lines)


def solution_of(code: str) -> str:
    """An exercise as it is shown in the fold: without the marks."""
    lines = [line for line in code.splitlines() if not re.fullmatch(r"\s+# solution", line)]
    return "\n".join(line.removesuffix("  # solution") for line in lines)


def title_of(source: Path) -> str:
    """ "03 · Matching", from the first heading."""
    return re.search(r"^# # (.+)$", source.read_text(encoding="utf-8"), re.M)[1]


def add_links(book: nbformat.NotebookNode, source: Path) -> None:
    """Back, contents, glossary, forward: under the title and at the end; and, under the title, the strip that says
    where on the way of a picture the chapter is. The contents lead to the beginning."""
    row, strip = sorted(SOURCES.glob("[0-9]*.py")), ""
    if source.stem == "contents":
        links = ["[glossary](glossary.md)", f"[{title_of(row[0])} →]({row[0].stem}.ipynb)"]
    else:
        at = [path.stem for path in row].index(source.stem)
        links = ["[contents](contents.ipynb)", "[glossary](glossary.md)"]
        if at > 0:
            links.insert(0, f"[← {title_of(row[at - 1])}]({row[at - 1].stem}.ipynb)")
        if at + 1 < len(row):
            links.append(f"[{title_of(row[at + 1])} →]({row[at + 1].stem}.ipynb)")
        strip = pipeline.strip(source.stem[:2], {path.stem[:2]: f"{path.stem}.ipynb" for path in row})
        strip = f"\n{strip}\n"
    line = " · ".join(links)
    head, _, rest = book.cells[0].source.partition("\n")
    book.cells[0].source = f"{head}\n\n{line}\n{strip}{rest}"
    book.cells.append(nbformat.v4.new_markdown_cell(f"---\n\n{line}"))


def _lean(output: dict, alt: str | None) -> dict | None:
    """An output without progress bars, with its picture described; None if nothing is left."""
    if output.get("name") == "stderr" and "%|" in output.text:
        return None
    data = output.get("data", {})
    if data.pop(WIDGETS, None) and not set(data) - {"text/plain"}:
        return None  # a progress bar or a bare slider
    _describe(output, alt)
    return output


def _joined(outputs: list) -> list:
    """Outputs with printed lines in one piece, in however many the kernel sent them."""
    joined = []
    for out in outputs:
        if joined and out.output_type == joined[-1].output_type == "stream" and out.name == joined[-1].name:
            joined[-1].text += out.text
        else:
            joined.append(out)
    return joined


def _describe(output: dict, alt: str | None) -> None:
    """Words for whoever can't see the picture. An explorer brings its own."""
    for kind in PICTURES:
        if alt and kind in output.get("data", {}):
            output.metadata.setdefault(kind, {})["alt"] = alt


def make_small(book: nbformat.NotebookNode) -> None:
    """Figures as sharp as a notebook of 1 MB allows: in few colours, or as JPEG if they are full of photographs."""
    pictures = [
        (out, out.data.pop(PNG), out.metadata.pop(PNG, {}))
        for cell in book.cells
        for out in cell.get("outputs", ())
        if PNG in out.get("data", {})
    ]
    for most in MOST:
        for out, png, said in pictures:
            for kind in PICTURES:
                out.data.pop(kind, None)
                out.metadata.pop(kind, None)
            kind, out.data[kind] = in_few_bytes(png, most)
            if said:
                out.metadata[kind] = said
        if len(nbformat.writes(book).encode()) <= LARGEST:
            break


def in_few_bytes(png: str, most: int) -> tuple[str, str]:
    """A PNG -> the MIME type and the base64 text of the sharpest picture of at most `most` bytes.

    Figures come with two pixels for each one of the page, and are kept so as a PNG in 256 colours where that is small
    enough. One full of photographs isn't: JPEG needs a fifth of the bytes there and keeps nearly all pixels.
    If nothing is small enough, the picture has the page's own pixels."""
    picture, shorter = Image.open(io.BytesIO(b64decode(png))), io.BytesIO()
    if picture.mode == "P":  # in few colours already, and on a ground that lets the page through
        picture.save(shorter, "PNG", optimize=True)
        return PNG, b64encode(shorter.getvalue()).decode()
    for scale in (1, 0.85, 0.7, 0.6, 0.5):
        for kind in PICTURES:
            data = _written(png, kind, scale)
            if len(data) <= most:
                return kind, b64encode(data).decode()
    return kind, b64encode(data).decode()


@cache
def _written(png: str, kind: str, scale: float) -> bytes:
    """A picture in another size and format.

    The octree keeps small areas that have a colour of their own, such as the eyes of a cat; the median cut would give
    them the colour of what is around them."""
    picture, out = Image.open(io.BytesIO(b64decode(png))).convert("RGB"), io.BytesIO()
    if scale < 1:
        picture = picture.resize([round(side * scale) for side in picture.size], Image.Resampling.LANCZOS)
    if kind == JPEG:
        picture.save(out, "JPEG", quality=65, optimize=True, progressive=True)
    else:
        few = picture.quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
        few.save(out, "PNG", optimize=True)
    return out.getvalue()


def main(arguments: list[str]) -> None:
    words = "--words" in arguments
    chosen = [Path(name) for name in arguments if name != "--words"] or sorted(SOURCES.glob("*.py"))
    contents = SOURCES / "contents.py"  # last: it quotes the others
    chosen = [path for path in chosen if path.stem != contents.stem] + [contents]
    for path in tqdm(chosen, desc="chapters"):
        if words and path != contents:
            if notebook_of(path).exists() and rewrite_words(path):
                continue
            print(f"\n{path.stem}: its code has changed, so it is run")
        build(path)


if __name__ == "__main__":
    main(sys.argv[1:])
