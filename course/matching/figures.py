"""Figures of chapter 03: the anchors of the objects of an image, and how many an object gets."""

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from course.kit import pictures
from course.kit.pictures import Scene
from course.matching.counts import anchors_each, laid
from course.matching.matcher import FADED, Matching
from ssdlib import matching
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, RED, boxes_on, photograph_on

SHOWN = 4  # anchors of step two that are drawn; more would hide the object


def draw_matching(scene: Scene, found: Matching, chosen: int = 0) -> Figure:
    """The objects of a scene in orange with the anchors of step one, thick and blue, that of the `chosen` object in
    full, the others' faded. Of its anchors of step two those that overlap it most are dashed and green. All anchors
    are counted below."""
    grid, counts = default_boxes(), []
    figure, ax = plt.subplots(figsize=(5.6, 6.0), layout="constrained")
    photograph_on(ax, scene.pixels)
    for i, name in enumerate(pictures.numbered(scene.names)):
        second = found.by_threshold(i)
        best = second[found.table[i, second].argsort(descending=True)[:SHOWN]]
        for anchor in grid[best] if i == chosen else ():
            _outline(ax, anchor, GREEN, linewidth=1.4, linestyle="--")
        if found.own[i] >= 0:
            _outline(ax, grid[found.own[i]], BLUE, linewidth=3, alpha=1.0 if i == chosen else 2 * FADED)
        boxes_on(ax, scene.boxes[i : i + 1], [name])
        counts.append(f"{name} {int(found.own[i] >= 0)} + {len(second)}")
    lines = (
        Line2D([], [], color=ORANGE, linewidth=1.8, label="object"),
        Line2D([], [], color=BLUE, linewidth=3, label="step one"),
        Line2D([], [], color=GREEN, linewidth=1.4, linestyle="--", label="step two, the best"),
    )
    said = f"anchors of step one + step two: {', '.join(counts)}"
    style = dict(loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, fontsize=9, title_fontsize=9)
    ax.legend(handles=lines, title=said, ncols=3, **style)
    figure.suptitle("Each object gets one anchor of its own, then others like it", fontsize=12)
    return figure


def draw_counts(places: int = 36) -> Figure:
    """How many anchors an object gets, over its size, for three shapes: the mean over places in the image."""
    grid = default_boxes()
    figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for ratio, color, style in ((1, BLUE, "-"), (2, RED, "--"), (3, BLACK, ":")):
        shape = torch.tensor([ratio**0.5, ratio**-0.5])
        sides = torch.arange(9.0, SSD300_ANCHORS.canvas / ratio**0.5 + 1, 3)
        sizes = (sides[:, None] * shape).clamp(max=SSD300_ANCHORS.canvas).repeat_interleave(places, dim=0)
        mean = anchors_each(laid(sizes), grid).float().reshape(-1, places).mean(dim=1)
        name = "squares" if ratio == 1 else f"{ratio} : 1"
        ax.plot(sides, mean, style, color=color, linewidth=2, label=name)
    ax.set_title("Below 21 px there is one anchor; above, long objects get fewer", fontsize=12)
    ax.set(xlabel="size of the object, √(width · height), px", ylabel="anchors, mean over places")
    ax.set(xlim=(0, 305), ylim=(0, 20))
    ticks = (SSD300_ANCHORS.min_sizes[0] * matching.THRESHOLD**0.5, *SSD300_ANCHORS.min_sizes)
    ax.set_xticks(ticks, [f"{side:.0f}" for side in ticks])
    ax.get_xticklabels()[0].set_ha("right")  # 21 and 30 are near each other
    ax.set_yticks(range(0, 21, 5))
    ax.grid(axis="x", alpha=0.3)
    ax.legend(frameon=False, ncols=3, loc="upper right")
    return figure


def _outline(ax: Axes, box: Tensor, color: str, **style: object) -> None:
    x1, y1, x2, y2 = box.tolist()
    ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, **style))
