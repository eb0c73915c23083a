"""The exercises as they stand in the sources of the chapters: their cells, and which of them hold a solution."""

import sys
from pathlib import Path

import jupytext
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "chapters"))  # for `build`
SOURCES = sorted((ROOT / "chapters/source").glob("*.py"))


def cells_of(source: Path) -> list[NotebookNode]:
    """The code cells."""
    return [cell for cell in jupytext.read(source).cells if cell.cell_type == "code"]


def is_exercise(cell: NotebookNode) -> bool:
    return "exercise" in cell.metadata.get("tags", ())
