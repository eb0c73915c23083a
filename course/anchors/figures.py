"""Figures of chapter 02: cells with their anchors, a square on a stretched photograph, shapes of VOC, detections."""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from torch import Tensor

from course.anchors.anchor_browser import STYLES
from course.anchors.coverage import BANDS, BIN, BINS, by_size, covered
from course.anchors.other_anchors import Answers, variants
from course.anchors.places import anchors_of
from course.boxes.voc_facts import shapes as voc_shapes
from course.kit.legend import legend_below
from course.kit.pictures import Scene
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes
from ssdlib.data import voc
from ssdlib.plots import BLACK, BLUE, GREEN, RED, boxes_on, part_captions, photograph_on

KINDS = {  # longer side / shorter side: marker, colour, name
    1: ("s", BLUE, "square anchors"),
    2: (">", RED, "ratio 2 and 1/2"),
    3: ("D", BLACK, "ratio 3 and 1/3"),
}


def of_cells(scene: Scene, cells: tuple[tuple[int, int, int], ...]) -> Figure:
    """One image for each (map, row, column): the centres of that map, and the anchors of that cell, at one scale."""
    shown = [default_boxes()[anchors_of(*cell)] for cell in cells]
    ends = [(min(0.0, float(boxes.min())) - 8, max(312.0, float(boxes.max())) + 8) for boxes in shown]
    wide = [right - left for left, right in ends]
    figure, axes = plt.subplots(
        1, len(cells), figsize=(10.8, 4.9), width_ratios=wide, layout="constrained", squeeze=False
    )
    for ax, boxes, (left, right), (level, row, column) in zip(axes[0], shown, ends, cells, strict=True):
        stride, side = SSD300_ANCHORS.strides[level], SSD300_ANCHORS.feature_maps[level]
        photograph_on(ax, scene.pixels)
        along = (torch.arange(side) + 0.5) * stride
        x, y = torch.meshgrid(along, along, indexing="xy")
        ax.plot(x.flatten(), y.flatten(), ".", color=BLACK, markersize=1.5 if side > 20 else 4)
        for (x1, y1, x2, y2), style in zip(boxes.tolist(), STYLES, strict=False):
            ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **_line(*style)))
        centre, size = ((column + 0.5) * stride, (row + 0.5) * stride), 7 if side > 20 else 11
        ax.plot(*centre, "+", color="white", markersize=size + 1, markeredgewidth=3)
        ax.plot(*centre, "+", color=BLACK, markersize=size, markeredgewidth=1.5)
        ax.set(xlim=(left, right), ylim=(max(right for _, right in ends), -8))
        ax.set_title(f"{side} x {side} map, row {row}, column {column}", fontsize=10)
    names = ("small square", "large square", "wide", "tall", "wider", "taller")
    legend_below(figure, {name: _line(*style) for name, style in zip(names, STYLES, strict=True)})
    figure.suptitle(
        "All cells of a map carry the same shapes, and coarser maps have larger ones", fontsize=12
    )
    return figure


def best_of_each_map(scene: Scene) -> Figure:
    """The first object of a scene in orange and, one image for each map, the anchor of that map that overlaps it
    most, in blue."""
    overlap = box_ops.iou(default_boxes(), scene.boxes[0])
    parts = zip(
        default_boxes().split(SSD300_ANCHORS.per_map), overlap.split(SSD300_ANCHORS.per_map), strict=True
    )
    best = torch.stack([part[values.argmax()] for part, values in parts])
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.6), layout="constrained")
    for ax, side, anchor in zip(axes.flat, SSD300_ANCHORS.feature_maps, best, strict=True):
        photograph_on(ax, scene.pixels)
        boxes_on(ax, scene.boxes[:1], scene.names[:1])
        boxes_on(ax, anchor[None], color=BLUE)
        low, high = min(-5, float(best.min()) - 5), max(305, float(best.max()) + 5)
        ax.set(xlim=(low, high), ylim=(high, low))  # all of the anchors, at one scale
        ax.set_title(f"{side} x {side} map: best IoU {box_ops.iou(anchor, scene.boxes[0]):.2f}", fontsize=10)
    figure.suptitle("For a large object the coarse maps have the best anchor (blue)", fontsize=12)
    return figure


def stretched(scene: Scene, photograph: Tensor, squares: Tensor) -> Figure:
    """The same (n, 4) boxes on the input and, stretched back, on the (H, W, 3) photograph it was squeezed from."""
    height, width, _ = photograph.shape
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 4.2), width_ratios=(1, width / height), layout="constrained"
    )
    for ax, pixels, x, y in (
        (left, scene.pixels, 1, 1),
        (right, photograph, width / SSD300_ANCHORS.canvas, height / SSD300_ANCHORS.canvas),
    ):
        photograph_on(ax, pixels)
        for a, b, c, d in squares.tolist():
            style = dict(fill=False, edgecolor=BLUE, linewidth=3)
            ax.add_patch(plt.Rectangle((a * x, b * y), (c - a) * x, (d - b) * y, **style))
            size = f"{(c - a) * x:.0f} x {(d - b) * y:.0f}"
            where = ((a + c) / 2 * x, (b + d) / 2 * y)
            style = dict(ha="center", va="center", fontsize=10, bbox=dict(facecolor=BLACK))
            ax.text(*where, size, color="white", **style)
    left.set_title("the 300 x 300 input", fontsize=10)
    right.set_title(f"the image as stored, {width} x {height}", fontsize=10)
    figure.suptitle("A square on the input is a rectangle on an image that isn't square", fontsize=12)
    return figure


def shapes_of_voc(spec: AnchorSpec = SSD300_ANCHORS) -> Figure:
    """Left: the shapes of VOC's objects, the darker the more, and the anchors' shapes on them. Right: which share
    of the objects the anchors cover, by size."""
    table = voc_shapes()
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 5.1), width_ratios=(1.25, 1), layout="constrained"
    )
    shown = table.clamp(min=0.7).numpy()
    image = left.imshow(
        shown, origin="lower", extent=(0, 300, 0, 300), cmap="Greys", norm=LogNorm(0.7, shown.max() * 3)
    )
    figure.colorbar(image, ax=left, label="objects in a bin of 5 x 5 px", shrink=0.9)
    share = covered(spec)
    middle = ((torch.arange(BINS) + 0.5) * BIN).numpy()
    left.contour(middle, middle, share.numpy(), levels=[0.5], colors=[GREEN], linewidths=2)
    left.plot([], [], color=GREEN, linewidth=2, label="inside: covered at half the places or more")
    _shapes_on(left, spec)
    left.set(xlim=(0, 390), ylim=(0, 390), xlabel="width, px", ylabel="height, px", facecolor="#f2f2f2")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    bands = by_size(share, table)
    names = [f"{low}-{high}" for low, high in zip(BANDS, BANDS[1:], strict=False)]
    bars = right.bar(names, [100 * share for _, share in bands], color=BLUE)
    right.bar_label(bars, [f"{100 * share:.0f} %\n{count:,}" for count, share in bands], fontsize=9)
    right.set(xlabel="size of the object √(width · height), px", ylabel="covered, %", ylim=(0, 118))
    right.set_title("share covered with an IoU of 0.5; number of objects", fontsize=10)
    left.set_title("how many objects have which width and height", fontsize=10)
    figure.suptitle("What no anchor covers: small objects, and very long ones", fontsize=12)
    return figure


def detections(answers: Answers, names: Sequence[str], scene: int) -> Figure:
    """What the network detects in one scene with the anchors of each name: a detection that fits an object of its
    class is blue and solid, one that doesn't is red and dashed."""
    figure, axes = plt.subplots(
        1, len(names), figsize=(3.6 * len(names), 3.35), layout="constrained", squeeze=False
    )
    example = answers.examples[scene]
    for ax, name in zip(axes[0], names, strict=True):
        found = answers.found(variants()[name])[scene]
        fits = box_ops.iou(found.boxes[:, None], example.boxes) * (found.labels[:, None] == example.labels)
        right = (fits >= 0.5).any(dim=1)
        photograph_on(ax, answers.photographs[scene])
        for mine, color in ((right, BLUE), (~right, RED)):
            captions = [voc.CLASSES[label] for label in found.labels[mine].tolist()]
            boxes_on(ax, found.boxes[mine], captions, color, dashed=color == RED)
        ax.set_title(name, fontsize=10)
    wrong = dict(color=RED, linestyle="--", linewidth=2)
    legend_below(
        figure, {"right class and place": dict(color=BLUE, linewidth=2), "wrong class or place": wrong}
    )
    figure.suptitle("Right outputs, read with other anchors, become long wrong boxes", fontsize=12)
    part_captions(list(axes[0]))
    return figure


def _line(color: str, width: float, dash: tuple[int, ...]) -> dict[str, Any]:
    """A style of the explorer as matplotlib wants it."""
    return dict(color=color, linewidth=0.75 * width, linestyle=(0, dash) if dash else "-")


def _shapes_on(ax: Axes, spec: AnchorSpec) -> None:
    """A marker for each shape of the spec: squares, ratio 2 and ratio 3 differ in colour and in form."""
    shapes = [shape for i in range(len(spec.feature_maps)) for shape in spec.shapes(i)]
    for ratio, (marker, color, name) in KINDS.items():
        mine = [(w, h) for w, h in shapes if round(max(w, h) / min(w, h)) == ratio]
        ax.plot(
            *(zip(*mine, strict=True) if mine else ([], [])),
            *(marker,),
            color=color,
            markersize=6,
            mec="white",
            label=name,
        )
