"""The reading edition: all chapters as a static site with search, for people without a kernel. `make book`.

    python chapters/book/book.py OUT

Explorers appear as their still pictures, self-tests as folded answers. Nothing is executed and nothing is fetched;
the site opens from disk.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import nbformat

HERE = Path(__file__).parent
CHAPTERS = HERE.parent
INDEX = """# SSD300, from the first box to the last point of AP

The chapters of the course for reading. Explorers stand still here; to move them, run the notebooks in JupyterLab.

```{{toctree}}
:maxdepth: 1

{pages}
glossary
```
"""


def write_sources(folder: Path) -> None:
    """Notebooks with the words for their pictures where Sphinx looks for them, the glossary, and a list of pages."""
    pages = sorted(CHAPTERS.glob("*.ipynb"))
    for path in pages:
        book = nbformat.read(path, as_version=4)
        for cell in book.cells:
            words = [
                out.metadata.get("image/png", {}).get("alt")
                for out in cell.get("outputs", ())
                if "image/png" in out.get("data", {})
            ]
            if any(words):
                cell.metadata["mystnb"] = {"image": {"alt": next(filter(None, words))}}
        nbformat.write(book, folder / path.name)
    shutil.copy(CHAPTERS / "glossary.md", folder)
    (folder / "index.md").write_text(INDEX.format(pages="\n".join(path.stem for path in pages)))


def main(out: Path) -> int:
    from sphinx.cmd.build import build_main

    with tempfile.TemporaryDirectory() as folder:
        write_sources(Path(folder))
        arguments = [
            "-q",
            "-b",
            "html",
            "-c",
            str(HERE),
            "-d",
            str(Path(folder) / "doctrees"),
            folder,
            str(out),
        ]
        status = build_main(arguments)
    if status == 0:
        print(f"open {out / 'index.html'}")
    return status


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python chapters/book/book.py OUT")
    sys.exit(main(Path(sys.argv[1])))
