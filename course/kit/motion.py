"""Play, step and speed for an explorer: the browser counts, the explorer says what a step is."""

from collections.abc import Callable
from pathlib import Path

import anywidget
import traitlets

SPEEDS = {"slow": 1.0, "normal": 3.0, "fast": 12.0}  # steps a second


class Motion(anywidget.AnyWidget):
    """Three controls in a line. Nothing moves before somebody presses play, and one step a second at most where the
    system asks for less motion."""

    _esm = Path(__file__).parent / "motion.js"
    _css = Path(__file__).parent / "motion.css"

    label = traitlets.Unicode("Play").tag(sync=True)  # what moves, for a screen reader
    value = traitlets.Int(0).tag(sync=True)  # steps asked for so far
    seen = traitlets.Int(0).tag(sync=True)  # steps that are shown
    playing = traitlets.Bool(False).tag(sync=True)
    speeds = traitlets.Dict(SPEEDS).tag(sync=True)
    speed = traitlets.Unicode("normal").tag(sync=True)

    def __init__(self, label: str, step: Callable[[], bool], speeds: dict[str, float] | None = None):
        """`step` moves the explorer one on and says whether there is more; after the last one it begins again."""
        super().__init__(label=label, speeds=speeds or SPEEDS)
        self._step = step
        self.observe(self._asked, "value")

    def _asked(self, change: dict) -> None:
        for _ in range(change["new"] - change["old"]):
            if not self._step():
                self.playing = False
                break
        self.seen = change["new"]

    def toggle(self, change: object = None) -> None:
        """Play or stop, for a key."""
        self.playing = not self.playing

    def __repr__(self) -> str:
        return f"Motion({self.label!r}, {'playing' if self.playing else 'still'})"
