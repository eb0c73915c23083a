"""A diagram on a board: where it lies and which values its edges stand for."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from course.kit.board import layer

GREY, PALE = "#5a5a5a", "#e8e8e8"  # of axes, and of the ground their words stand on


@dataclass(frozen=True)
class Panel:
    """Edges in px of the board, and the values there. `log`: the upright scale is logarithmic."""

    left: float
    top: float
    right: float
    bottom: float
    x: tuple[float, float] = (0.0, 1.0)  # at the left edge, at the right one
    y: tuple[float, float] = (0.0, 1.0)  # at the lower edge, at the upper one
    log: bool = False

    def across(self, value: Any) -> Any:
        """px at which a value of x lies, or as many as there are values."""
        first, last = self.x
        return self.left + (self.right - self.left) * (value - first) / (last - first)

    def up(self, value: Any) -> Any:
        """px at which a value of y lies, or as many as there are values."""
        low, high = self.y
        if self.log:
            share = np.log(value / low) / math.log(high / low)
        else:
            share = (value - low) / (high - low)
        return self.bottom - (self.bottom - self.top) * share

    def x_at(self, px: float) -> float:
        """The value of x that lies there; beyond the edges that of the edge."""
        share = min(max((px - self.left) / (self.right - self.left), 0.0), 1.0)
        return self.x[0] + (self.x[1] - self.x[0]) * share

    def curve(self, x: Any, y: Any) -> list[float]:
        """Values (T,), (T,) -> x, y, x, y ... in px, as `layer` takes them."""
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        return np.stack([self.across(x), self.up(y)], axis=1).flatten().tolist()

    def upright(self, x: float) -> list[float]:
        """A line from top to bottom at a value of x."""
        return [self.across(x), self.top, self.across(x), self.bottom]

    def level(self, y: float) -> list[float]:
        """A line from left to right at a value of y."""
        return [self.left, float(self.up(y)), self.right, float(self.up(y))]

    def levels(self, values: Iterable[float], alpha: float = 1.0) -> dict[str, Any]:
        """Thin lines at some values of y."""
        return layer(color=GREY, line=0.5, alpha=alpha, curves=[self.level(y) for y in values])

    def beside(self, marks: Mapping[float, str], away: float) -> list[tuple[float, float, str]]:
        """Words that begin `away` px left of it, each as high as its value of y, as `layer` takes them."""
        return [(self.left - away, self.up(value) + 8, words) for value, words in marks.items()]

    def below(self, marks: Mapping[float, str], away: float) -> list[tuple[float, float, str]]:
        """Words whose lower edge is `away` px under it, in the middle below their value of x."""
        wide = {words: 6 + 6 * len(words) for words in marks.values()}  # in a font of 12 px, about
        return [(self.across(x) - wide[words] / 2, self.bottom + away, words) for x, words in marks.items()]

    def box(self) -> torch.Tensor:
        """(4,) its edges."""
        return torch.tensor([self.left, self.top, self.right, self.bottom])

    def ground(self, frame: float = 0.0, color: str = GREY) -> list[dict[str, Any]]:
        """White, where it doesn't lie on the board's own frame; with a `frame` of so many px around it."""
        white = layer(self.box(), "#ffffff", line=0, fill=1)
        return [white, layer(self.box(), color, line=frame)] if frame else [white]
