"""What chapter 06 draws: random versions, a crop of every sampler, inputs side by side, the sizes of objects."""

from dataclasses import replace

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.augmentation.single_draws import (
    FILL,
    SAMPLERS,
    SingleDraw,
    around,
    judge,
    pixels,
    single_draw,
    successes,
)
from ssdlib import plots
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.plots import BLACK, BLUE, GREEN, PURPLE, RED, boxes_on, photograph_on
from ssdlib.records import Batch, Example


def versions(shown: Batch) -> Figure:
    """The inputs of a batch with their boxes, at half their side: eight of them fill the width of a page twice."""
    return plots.batch(replace(shown, images=F.avg_pool2d(shown.images, 2), boxes=shown.boxes / 2))


def candidates(example: Example, photograph: Tensor, count: int = 1000) -> Figure:
    """A crop of every sampler, above on the padded photograph, below as the input: all from the same random numbers,
    those of `count` with which most samplers succeed; a sampler that fails there shows its first crop of others."""
    steps = ("expand", "crop")  # the same crops, seen in plain colours
    found = successes(example, range(count))
    fullest = (found.sum(dim=1) == found.sum(dim=1).max()).nonzero()[:, 0].tolist()
    expanded = [seed for seed in fullest if single_draw(example, seed, steps).plane[0] < 0]
    fullest = (expanded or fullest)[0]
    figure, axes = plt.subplots(
        2, len(SAMPLERS), figsize=(9.8, 3.2), height_ratios=(0.75, 1), layout="constrained"
    )
    for number, (above, below) in enumerate(axes.T):
        seed = fullest if found[fullest, number] else int(found[:, number].int().argmax())
        one = single_draw(example, seed, steps, sampler=number)
        if number not in one.found:
            above.set(title=f"{SAMPLERS[number]}: none", xticks=(), yticks=())
            below.set_axis_off()
            continue
        _padded_on(above, example, photograph, one)
        above.set_title(SAMPLERS[number] + ("" if seed == fullest else "*"), fontsize=11)
        photograph_on(below, pixels(photograph, one.drawn))
        boxes_on(below, one.drawn.boxes[0])
    figure.suptitle("The higher the bound, the closer the crop (blue) follows one object", fontsize=12)
    return figure


def _padded_on(ax: Axes, example: Example, photograph: Tensor, one: SingleDraw) -> None:
    """The padded photograph with its objects, dropped ones dashed, and the crop."""
    (x1, y1, x2, y2), window = one.plane.tolist(), one.drawn.window
    photograph_on(ax, photograph)
    for a, b, c, d in around(one.plane, example.size).tolist():
        ax.add_patch(plt.Rectangle((a, b), c - a, d - b, facecolor=FILL))
    kept = judge(window[0], example.boxes, one.plane).kept
    boxes_on(ax, example.boxes[kept])
    boxes_on(ax, example.boxes[~kept], color=PURPLE, dashed=True)
    boxes_on(ax, window, color=BLUE)
    ax.set(xlim=(x1 - 20, x2 + 20), ylim=(y2 + 20, y1 - 20))


def strip(shown: dict[str, Tensor], columns: int = 5) -> Figure:
    """Images (H, W, 3) uint8 in rows, each under its name."""
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, image) in zip(axes.flat, shown.items(), strict=False):
        photograph_on(ax, image)
        ax.set_title(name, fontsize=10)
    return figure


def size_curves(sides: dict[str, Tensor]) -> Figure:
    """For each group of objects the share whose side (root of the area, px of the input) is below x."""
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    styles = zip(sides.items(), (BLACK, BLUE, GREEN, RED), ("-", "--", ":", "-."), strict=False)
    for (name, values), color, style in styles:
        shares = 100 * (torch.arange(len(values)) + 1) / len(values)
        ax.plot(values.sort().values, shares, style, color=color, linewidth=2.2, label=name)
    smallest, ticks = SSD300_ANCHORS.min_sizes[0], (5, 10, 20, 50, 100, 200, 300)
    ax.axvline(smallest, color="0.5", linewidth=1)
    ax.text(smallest * 0.97, 96, "smallest square anchor", fontsize=9, va="top", ha="right", color="0.3")
    ax.set(xscale="log", xlim=(4, 300), ylim=(0, 100), xticks=ticks, xticklabels=ticks)
    ax.set(xlabel="size of the object: √(width · height), px of the input")
    ax.set(ylabel="objects of a smaller size, percent")
    ax.set_title(
        "Crops make objects larger, zoom-out makes them smaller, both spread them widely", fontsize=11
    )
    ax.legend(frameon=False, loc="lower right")
    return figure
