"""Cells that stopped before they gave a name its new value: a check below them would judge the old one.

After a SyntaxError, say, the function of the last run is still there, and nothing shows that it isn't the one on the
page. The cells of a page are watched from the import of this module on.
"""

import re
from typing import Any

from IPython import get_ipython

BINDS = re.compile(r"^(?:def|class)\s+(\w+)|^(\w+)\s*(?::[^=\n]+)?=(?!=)", re.M)


def bound(code: str) -> set[str]:
    """The names that a cell's code defines or assigns at its left margin, whether it can be parsed or not."""
    return {first or second for first, second in BINDS.findall(code)}


class StoppedCells:
    """Listens to the cells that an IPython shell runs. `stopped` holds the names that a cell failed to bind, with its
    error."""

    def __init__(self, shell: Any):
        self.shell = shell
        self.stopped: dict[str, BaseException] = {}
        self.running = ""  # the code of the cell that is being run
        self._before: dict[str, Any] = {}
        shell.events.register("pre_run_cell", self._begins)
        shell.events.register("post_run_cell", self._ends)

    def _begins(self, info: Any) -> None:
        self.running = info.raw_cell or ""
        self._before = {name: self.shell.user_ns.get(name) for name in bound(self.running)}

    def _ends(self, result: Any) -> None:
        error = result.error_before_exec or result.error_in_exec
        for name, value in self._before.items():
            if error is not None and self.shell.user_ns.get(name) is value:
                self.stopped[name] = error
            else:
                self.stopped.pop(name, None)
        self._before = {}

    def sentence(self) -> str:
        """About a name of the running cell that still has its value of before; "" where there is none."""
        words = set(re.findall(r"\w+", self.running))
        for name, error in self.stopped.items():
            if name in words:
                what = str(error.args[0] if error.args else error).splitlines() or [""]
                line = f" in its line {error.lineno}" if getattr(error, "lineno", None) else ""
                why = f"{type(error).__name__}{line}{': ' * bool(what[0])}{what[0]}"
                return (
                    f"the cell with `{name}` hasn't run since you changed it: it stopped with {why}. What it was "
                    "before isn't judged. Mend that cell, run it, then run this one again."
                )
        return ""


def _watch() -> StoppedCells | None:
    shell = get_ipython()
    return StoppedCells(shell) if shell is not None else None


WATCHED = _watch()


def sentence() -> str:
    """`StoppedCells.sentence` of this page; "" outside of a notebook."""
    return WATCHED.sentence() if WATCHED is not None else ""
