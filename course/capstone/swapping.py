"""The one place where the learner's functions take the library's places, and give them back.

with swapped(functions, ("IoU", "matching")):
    engine.train(...)
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from course.capstone.blocks import BY_NAME, Functions, Replacement, solved

LOOKED_IN = ("ssdlib", "course.evaluation.devkit_rule")


@contextmanager
def swapped(functions: Functions, names: Iterable[str] | None = None) -> Iterator[tuple[str, ...]]:
    """Put the learner's functions of the named blocks, by default of all that are there, in place of the library's,
    and the library's back at the end, whatever happens. -> the names of the blocks.

    Raises KeyError for a block that isn't known, and LookupError for one whose functions aren't all there.
    """
    chosen = solved(functions) if names is None else tuple(names)
    replacements: list[Replacement] = []
    for name in chosen:
        block = BY_NAME[name]
        if missing := block.missing(functions):
            raise LookupError(
                f"{name}: {', '.join(missing)} isn't in my_ssd.py; chapter {block.chapter} asks for it"
            )
        replacements += block.replacements(functions)
    places = [(*place, new) for owner, name, new in replacements for place in _everywhere(owner, name)]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
    try:
        for owner, name, new in places:
            setattr(owner, name, new)
        yield chosen
    finally:
        for owner, name, old in before:
            setattr(owner, name, old)


def _everywhere(owner: Any, name: str) -> list[tuple[Any, str]]:
    """Where the library has what `owner` calls `name`: modules that imported it have a name for it, too."""
    wanted = getattr(owner, name)
    modules = [module for key, module in list(sys.modules.items()) if key.startswith(LOOKED_IN) and module]
    found = [
        (module, key) for module in modules for key, value in list(vars(module).items()) if value is wanted
    ]
    return found if (owner, name) in found else [(owner, name), *found]
