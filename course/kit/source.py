"""The library's own lines on a page, in colour and never more than fit on a screen.

    source(box_ops.iou)
    source(engine.train, start="for done, batch", stop="progress.update()")

A page shows them as code in the colours of its theme; a terminal and the tests of the chapters read plain text.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable

LONGEST = 25  # lines
LEFT_OUT = "..."


class Source:
    """Code to look at."""

    def __init__(self, text: str, fold: str = ""):
        self.text, self.fold = text, fold

    def __repr__(self) -> str:
        return self.text

    def _repr_markdown_(self) -> str:
        code = f"```python\n{self.text}\n```"
        return f"<details><summary>{self.fold}</summary>\n\n{code}\n\n</details>" if self.fold else code


def source(*things: Callable | type, start: str = "", stop: str = "", fold: str = "") -> Source:
    """The lines of functions or classes, their docstrings cut to the first sentence.

    `start` and `stop` are pieces of the first and of the last line to show, where one thing is too long; what is left
    out before and after is said by "...". `fold` is a line to click on (words or HTML), below which a page hides the
    code. Raises ValueError where a piece isn't found or more than 25 lines would be shown.
    """
    shown = "\n\n".join("\n".join(_part(_lines(thing), start, stop, thing.__qualname__)) for thing in things)
    if (found := len(shown.splitlines())) > LONGEST:
        raise ValueError(
            f"{things[0].__qualname__}: {found} lines; at most {LONGEST} fit on a screen: say start= and stop="
        )
    return Source(shown, fold)


def _lines(thing: Callable | type) -> list[str]:
    """The lines of a thing without what its docstring says after the first sentence."""
    lines = textwrap.dedent(inspect.getsource(thing)).splitlines()
    body = ast.parse("\n".join(lines)).body[0].body
    if ast.get_docstring(ast.parse("\n".join(lines)).body[0]) is None:
        return lines
    words = body[0]
    sentence = inspect.cleandoc(words.value.value).partition("\n\n")[0].replace("\n", " ")
    sentence = sentence.partition(". ")[0].removesuffix(".") + "."
    indent = " " * words.col_offset
    short = textwrap.wrap(f'"""{sentence}"""', 110, initial_indent=indent, subsequent_indent=indent)
    rest = lines[words.end_lineno :]
    while len(body) > 1 and rest and not rest[0].strip():
        rest = rest[1:]
    return [*lines[: words.lineno - 1], *short, *rest]


def _part(lines: list[str], start: str, stop: str, name: str) -> list[str]:
    """The lines from the one with `start` through the next one with `stop`."""
    first = _where(lines, start, 0, name) if start else 0
    last = _where(lines, stop, first, name) if stop else len(lines) - 1
    chosen = textwrap.dedent("\n".join(lines[first : last + 1])).splitlines() if start else lines[: last + 1]
    return [*[LEFT_OUT] * bool(first), *chosen, *[LEFT_OUT] * (last + 1 < len(lines))]


def _where(lines: list[str], piece: str, since: int, name: str) -> int:
    for number in range(since, len(lines)):
        if piece in lines[number]:
            return number
    raise ValueError(f"{name}: no line with {piece!r}; wanted: a piece of a line of its source")
