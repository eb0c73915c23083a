"""Chapter 12's film: the frames that `show` has drawn its detections into, played, with what each of them shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets
from torch import Tensor

from course.kit.board import Board, as_url
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.motion import Motion
from ssdlib.cli.show import read_frames

WIDE, HIGH = 480, 420  # screen px that the board may take: with all its lines it is seen at once on a laptop
SPEEDS = {"slow": 2.0, "normal": 6.0, "fast": 12.0}  # frames a second


class Film(Explorer):
    """Play a film with detections, or go through its frames."""

    alt = "A frame of a film with the boxes, classes and scores that the detector found in it, and the same as text"

    def __init__(self, images: Sequence[Tensor], frames: Sequence[dict[str, Any]]):
        """`images` are (H, W, 3) uint8, with boxes drawn into them; `frames` what `show` says of each."""
        self.images, self.frames = [as_url(image) for image in images], list(frames)
        height, width, _ = images[0].shape
        whole = [0.0, 0.0, float(width), float(height)]
        self.board = Board(
            label="A frame of the film",
            hint="Keys: left, right, n or Shift+n: another frame.",
            view=whole,
            frame=whole,
            width=min(WIDE, round(HIGH * width / height)),
            pointer_mode="press",
        )
        self.place = ipywidgets.IntSlider(0, min=0, max=len(self.frames) - 1, description="frame")
        self.play = Motion("Play the film", self._forward, SPEEDS)
        self.text = html_text()
        self.place.observe(self._show, "value")
        for counter in ("arrows", "steps"):
            self.board.observe(self._stepped, counter)
        super().__init__([row(self.place, self.play), beside(self.board, self.text)])
        self._show()

    @classmethod
    def of(cls, path: Path, frames: Sequence[dict[str, Any]]) -> "Film":
        """The film that `show` wrote, and what it returned of its frames. Raises VideoError where PyAV is missing."""
        return cls([image for _, image in read_frames(path)], frames)

    def _stepped(self, change: dict) -> None:
        new, old = (sum(v) if isinstance(v, list) else v for v in (change["new"], change["old"]))
        self.place.value = min(max(self.place.value + new - old, 0), self.place.max)

    def _forward(self) -> bool:
        self.place.value = self.place.value + 1 if self.place.value < self.place.max else 0
        return self.place.value < self.place.max

    def _show(self, change: object = None) -> None:
        lines = self.summary()
        with self.board.hold_sync():
            self.board.picture, self.board.status = self.images[self.place.value], lines[0]
        self.text.value = "<br>".join(lines[1:])

    def summary(self) -> list[str]:
        frame = self.frames[self.place.value]
        found = [f"{one['class']} {one['score']:.2f}" for one in frame["detections"]]
        second = f"second {frame['seconds']:.2f}"
        return [
            f"frame {self.place.value + 1} of {len(self.frames)}, {second}",
            *(found or ["nothing found"]),
        ]

    def state(self) -> str:
        return f"frame {self.place.value + 1} of {len(self.frames)}"
