"""Whose functions a page works with: the learner's, or, where it lies in no learner's folder, the solutions."""

import inspect
from collections.abc import Callable

from course.capstone import reference as solutions
from course.capstone.blocks import BLOCKS
from course.kit import my_ssd, places
from course.kit.tables import Table, table


def functions() -> dict[str, Callable]:
    """What `my_ssd.py` holds, {} where nothing is solved yet; the solutions on a page that is nobody's.

    Raises NotKept, with the line, if the learner's file can't be run."""
    return my_ssd.read() if places.page_home() else reference()


def reference() -> dict[str, Callable]:
    """The solutions of the chapters."""
    return {
        name: value
        for name, value in vars(solutions).items()
        if inspect.isfunction(value) and value.__module__ == solutions.__name__
    }


def whose() -> str:
    """Whose they are, in a sentence."""
    if places.page_home() is None:
        return "This page lies in no learner's folder, so it works with the solutions of the chapters."
    if not my_ssd.path_in().is_file():
        return f"There is no {my_ssd.FILE} yet: the library lends every block. It begins with your first solution."
    return f"Your functions are in {my_ssd.FILE}, beside this page."


def inventory(found: dict[str, Callable]) -> Table:
    """A row for each block: whether it is there, and what it does in a run."""
    rows = []
    for block in BLOCKS:
        missing = block.missing(found)
        state = "✓ yours" if not missing else f"○ lent; missing: {', '.join(missing)}"
        rows.append((block.name, block.chapter, ", ".join(block.needs), state, block.does))
    there = sum(not block.missing(found) for block in BLOCKS)
    note = f"{there} of {len(BLOCKS)} blocks are yours."
    return table(rows, head=("block", "chapter", "functions", "whose", "in a run it"), note=note)
