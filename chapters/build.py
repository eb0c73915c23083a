"""Execute the chapters from their sources and write the notebooks: `make chapters`, or name some sources.

A chapter is written as a script in chapters/source (jupytext's percent format), where a change can be read line
by line. The notebook beside it is the executed artefact: outputs included, cells numbered 1 ... n, nothing in it
that says when or where it was run. A test compares the two.
"""

import io
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm import tqdm

HERE = Path(__file__).parent
SOURCES = HERE / "source"
WIDGETS = ("application/vnd.jupyter.widget-view+json",)
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(source: Path) -> Path:
    """Run one source from top to bottom and write its notebook. Raises if a cell fails."""
    book = read_source(source)
    NotebookClient(
        book, timeout=3600, kernel_name="python3", resources={"metadata": {"path": str(HERE)}}
    ).execute()
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [kept for kept in map(_lean, cell.outputs) if kept]
    book.metadata.pop("widgets", None)
    target = HERE / f"{source.stem}.ipynb"
    nbformat.write(book, target)
    return target


def read_source(source: Path) -> nbformat.NotebookNode:
    """A source as a notebook without outputs, with cell ids that stay the same from build to build."""
    book = jupytext.read(source)
    for number, cell in enumerate(book.cells):
        cell.id = f"{source.stem[:2]}-{number:03d}"
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags"}
    book.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return book


def _lean(output: dict) -> dict | None:
    """An output without progress bars and with its picture in 128 colours; None if nothing is left."""
    if output.get("output_type") == "stream" and "%|" in output.text:
        return None
    data = output.get("data", {})
    if any(kind in data for kind in WIDGETS):
        return None
    if "image/png" in data:
        data["image/png"] = _in_few_colours(data["image/png"])
    return output


def _in_few_colours(png: str) -> str:
    """A third of the bytes, and no difference that the eye sees in boxes, curves or scenes."""
    from base64 import b64decode, b64encode

    picture = Image.open(io.BytesIO(b64decode(png))).convert("RGB").quantize(128, dither=Image.Dither.NONE)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return b64encode(out.getvalue()).decode()


if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]] or sorted(SOURCES.glob("*.py"))
    for path in tqdm(chosen, desc="chapters"):
        build(path)
