"""Figure of chapter 00: what a network finds in the same scenes before it has learned and afterwards."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from torch import Tensor

from course.kit.box_figures import ANNOTATED, FOUND, titled
from ssdlib import plots
from ssdlib.box_ops import iou
from ssdlib.records import Detections, Example

ROWS = ("before", "after")


def before_and_after(
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
    before: Sequence[Detections],
    after: Sequence[Detections],
    score: float = 0.5,
    most: int = 4,
    title: str = "Before and after the training",
) -> Figure:
    """Each scene twice, one above the other: annotated in orange, found with `score` or more in blue, of those the
    `most` best before and all afterwards.

    Photographs (H, W, 3) uint8; detections in pixels of their photograph."""
    size = (3.0 * len(examples), 2.4 * len(ROWS) + 0.3)
    figure, axes = plt.subplots(len(ROWS), len(examples), figsize=size, layout="constrained", squeeze=False)
    for row, name, found in zip(axes, ROWS, (before, after), strict=True):
        for ax, example, photograph, one in zip(row, examples, photographs, found, strict=True):
            plots.photograph_on(ax, photograph)
            plots.boxes_on(ax, example.boxes)
            sure = one.above(score)
            drawn = len(sure) if name == "after" else min(most, len(sure))
            plots.detections_on(ax, Detections(sure.boxes[:drawn], sure.scores[:drawn], sure.labels[:drawn]))
            if len(sure) > drawn:
                ax.set_title(f"and {len(sure) - drawn} more boxes", loc="right", fontsize=10)
        row[0].set_title(name, loc="left", fontsize=12, fontweight="bold")
    return titled(figure, title, [FOUND, ANNOTATED])


def found_again(examples: Sequence[Example], found: Sequence[Detections], score: float = 0.5) -> int:
    """How many of the objects have a detection of their class with `score` or more and an IoU of 0.5 or more."""
    count = 0
    for example, one in zip(examples, found, strict=True):
        sure = one.above(score)
        hits = (iou(example.boxes[:, None], sure.boxes[None]) >= 0.5) & (
            example.labels[:, None] == sure.labels[None]
        )
        count += int(hits.any(dim=1).sum()) if hits.numel() else 0
    return count
