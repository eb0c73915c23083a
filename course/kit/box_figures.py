"""Images with their boxes, the claim as the title and a legend of the lines: what chapters show before they explain.

`ssdlib.plots` draws the boxes; here it is said what they mean.
"""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from course.kit.legend import legend_below
from ssdlib import plots
from ssdlib.plots import BLUE, ORANGE
from ssdlib.records import Detections, Example

ANNOTATED = ("annotated", ORANGE, "-")
DIFFICULT = ("annotated as difficult", ORANGE, "--")
FOUND = ("found, with class and score", BLUE, "-")
Kind = tuple[str, str, str]  # what a line means, its colour, its style


def annotated(
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
    title: str,
    columns: int = 2,
    size: tuple[float, float] = (3.0, 2.4),
) -> Figure:
    """Photographs, each (H, W, 3) uint8 and about `size` inches large, with their annotated boxes and classes."""
    figure = plots.examples(examples, photographs, columns, size=size)
    return titled(figure, title, _kinds(examples))


def detected(
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
    found: Sequence[Detections],
    title: str,
    score: float = 0.5,
    columns: int = 2,
) -> Figure:
    """Photographs with what was found with `score` or more, over their annotated boxes."""
    figure = plots.detections(examples, photographs, found, score, columns)
    return titled(figure, title, [FOUND, *_kinds(examples)])


def titled(figure: Figure, title: str, kinds: Sequence[Kind] = ()) -> Figure:
    """A figure of images with a title above it and a legend of its lines below it."""
    figure.suptitle(title, fontsize=12)
    if kinds:
        styles = {name: dict(color=color, linestyle=style, linewidth=1.8) for name, color, style in kinds}
        legend_below(figure, styles, size=10)
    plots.part_captions(figure.axes)  # the words have made the images smaller
    return figure


def _kinds(examples: Sequence[Example]) -> list[Kind]:
    """The kinds of annotated boxes that a figure of these examples shows."""
    flags = [flag for example in examples for flag in example.difficult.tolist()]
    return [kind for kind, there in ((ANNOTATED, not all(flags)), (DIFFICULT, any(flags))) if there]
