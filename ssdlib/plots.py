"""Figures of records and logs: boxes on photographs, loss curves, precision-recall curves.

Every function returns a matplotlib Figure and draws on nothing else, so it works in a chapter and in a script.
`classes` are the names of labels 1, 2, ... where they aren't VOC's.
Colours are those of Okabe and Ito, which colour-blind people can tell apart.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from ssdlib.evaluate import Table
from ssdlib.files import named
from ssdlib.model import MEAN
from ssdlib.records import CLASSES, Batch, Detections, Example

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, RED, PURPLE = (
    *("#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"),
)


def boxes_on(
    ax: Axes, boxes: Tensor, captions: Sequence[str] = (), color: str = ORANGE, dashed: bool = False
) -> None:
    """Outline (n, 4) boxes, px, with a caption in the upper left corner of each."""
    for i, (x1, y1, x2, y2) in enumerate(boxes.tolist()):
        style = dict(fill=False, linewidth=1.8, edgecolor=color, linestyle="--" if dashed else "-")
        ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
        if i < len(captions):
            ax.text(
                *(x1, y1, shown(captions[i])),
                fontsize=9,
                color="white",
                va="bottom" if y1 > 14 else "top",
                bbox=dict(facecolor=color if color != ORANGE else RED, edgecolor="none", pad=1, alpha=0.85),
                clip_on=True,
            )


def shown(text: str) -> str:
    """A name as figures can show it: a white square for each letter that their font lacks, and dollars that start no
    formula."""
    there = _letters(font_manager.findfont(font_manager.FontProperties()))
    return "".join(letter if ord(letter) in there else "\N{WHITE SQUARE}" for letter in text).replace(
        "$", r"\$"
    )


@functools.cache
def _letters(font: str) -> frozenset[int]:
    return frozenset(font_manager.get_font(font).get_charmap())


def part_captions(axes: Sequence[Axes]) -> None:
    """Move captions up or down until none covers another, and into the axes where they reach out of them."""
    for figure in {ax.figure for ax in axes}:
        figure.draw_without_rendering()  # captions have a size only after this
    for ax in axes:
        frame, taken = ax.get_window_extent(), np.empty((0, 4))
        for text in ax.texts:
            box = text.get_bbox_patch().get_window_extent()
            right = max(frame.x0 - box.x0, min(0, frame.x1 - box.x1))
            steps = np.clip(np.arange(-60, 61) * box.height / 4, frame.y0 - box.y0, frame.y1 - box.y1)
            steps = steps[np.argsort(abs(steps), kind="stable")]
            others = taken[(taken[:, 0] < box.x1 + right) & (taken[:, 2] > box.x0 + right)]
            low, high = box.y0 + steps[:, None], box.y1 + steps[:, None]  # (121, 1), against all others
            free = ~((others[:, 1] < high) & (others[:, 3] > low)).any(axis=1)
            up = steps[free.argmax()]  # the first one that is free; 0 where none is
            taken = np.vstack([taken, box.translated(right, up).extents])
            x, y = ax.transData.transform(text.get_position())
            text.set_position(ax.transData.inverted().transform((x + right, y + up)))


def photograph_on(ax: Axes, photograph: Tensor) -> None:
    """Show (H, W, 3) uint8 without axes, pixel edges at whole numbers, as our boxes count."""
    height, width, _ = photograph.shape
    ax.imshow(photograph.numpy(), extent=(0, width, height, 0))
    ax.set_axis_off()


def examples(
    chosen: Sequence[Example],
    photographs: Sequence[Tensor],
    columns: int = 4,
    classes: Sequence[str] = CLASSES[1:],
    size: tuple[float, float] = (3.0, 2.4),
) -> Figure:
    """Photographs, each in `size` inches, with what is annotated: solid boxes, dashed where the object is marked
    difficult."""
    figure, axes = _grid(len(chosen), columns, size)
    for ax, example, photograph in zip(axes, chosen, photographs, strict=False):
        photograph_on(ax, photograph)
        _truth_on(ax, example, classes)
    part_captions(axes)
    return figure


def batch(shown: Batch, count: int = 8, columns: int = 4, classes: Sequence[str] = CLASSES[1:]) -> Figure:
    """The first images of a batch as the network receives them, the mean added back, with their boxes."""
    figure, axes = _grid(min(count, len(shown.images)), columns, size=(2.4, 2.5))
    for ax, image, boxes, labels in zip(axes, shown.images, shown.boxes, shown.labels, strict=False):
        pixels = (image.permute(1, 2, 0).cpu() + torch.tensor(MEAN)).clamp(0, 255).to(torch.uint8)
        photograph_on(ax, pixels)
        there = labels > 0
        boxes_on(ax, boxes[there], [classes[label - 1] for label in labels[there].tolist()])
    part_captions(axes)
    return figure


def detections(
    chosen: Sequence[Example],
    photographs: Sequence[Tensor],
    found: Sequence[Detections],
    score: float = 0.5,
    columns: int = 4,
    classes: Sequence[str] = CLASSES[1:],
) -> Figure:
    """What was found (blue, class and score) beside what is there (orange; dashed = difficult)."""
    figure, axes = _grid(len(chosen), columns)
    for ax, example, photograph, d in zip(axes, chosen, photographs, found, strict=False):
        photograph_on(ax, photograph)
        _truth_on(ax, example)
        detections_on(ax, d.above(score), classes)
    part_captions(axes)
    return figure


def picture(photograph: Tensor, found: Detections, classes: Sequence[str] = CLASSES[1:]) -> Figure:
    """One photograph with its detections, at its own size."""
    height, width, _ = photograph.shape
    figure = plt.figure(figsize=(width / 100, height / 100))
    ax = figure.add_axes((0, 0, 1, 1))
    photograph_on(ax, photograph)
    detections_on(ax, found, classes)
    part_captions([ax])
    return figure


def detections_on(ax: Axes, found: Detections, classes: Sequence[str] = CLASSES[1:]) -> None:
    """Boxes of detections with class and score."""
    names = [classes[label - 1] for label in found.labels.tolist()]
    captions = [f"{name} {score:.2f}" for name, score in zip(names, found.scores.tolist(), strict=True)]
    boxes_on(ax, found.boxes, captions, color=BLUE)


def loss_curve(log: Sequence[dict[str, Any]], title: str = "Loss of the run") -> Figure:
    """Training loss and its parts, validation loss and the drops of the learning rate of a run against the step."""
    train = [row for row in log if "multibox" in row]
    val = [row for row in log if "val" in row]
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    steps = [row["step"] for row in train]
    for name, color, width in (("multibox", BLUE, 1.8), ("confidence", SKY, 1), ("localisation", GREEN, 1)):
        ax.plot(steps, [row[name] for row in train], color=color, linewidth=width, label=f"training, {name}")
    if val:
        ax.plot(
            [r["step"] for r in val], [r["val"]["multibox"] for r in val], "o-", color=RED, label="validation"
        )
    rates = [row["rate"] for row in train]
    # a drop is a fall to a tenth; the first point of the lower learning rate is where it shows
    for step, before, after in zip(steps[1:], rates, rates[1:], strict=False):
        if after < 0.5 * before:
            ax.axvline(step, color="0.6", linestyle=":", linewidth=1)
            where = dict(ha="right", va="top", rotation=90, transform=ax.get_xaxis_transform())
            ax.text(step, 0.98, f"learning rate {after:.0e}", fontsize=9, color="0.3", **where)
    ax.set(xlabel="step", ylabel="loss / N", ylim=(0, None), title=title)
    ax.legend(frameon=False, loc="upper center")  # a falling loss leaves this place free
    return figure


def precision_recall(table: Table, columns: int = 5) -> Figure:
    """One small precision-recall curve a class, with its AP."""
    figure, axes = _grid(len(table.curves), columns, size=(2.0, 1.8), sharex=True, sharey=True)
    for ax, (name, curve) in zip(axes, table.curves.items(), strict=False):
        ax.plot(curve.recall, curve.precision, color=BLUE, linewidth=1.5)
        ax.fill_between(curve.recall, np.nan_to_num(curve.precision), color=SKY, alpha=0.35, linewidth=0)
        ax.set(xlim=(0, 1), ylim=(0, 1.03), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        absent = name in table.absent
        ax.set_title(shown(name) + (": no objects" if absent else f" {100 * table.ap[name]:.1f}"), fontsize=9)
    figure.supxlabel("recall", fontsize=9)
    figure.supylabel("precision", fontsize=9)
    return figure


def save(figure: Figure, path: Path, **metadata: str) -> Path:
    """Write a figure as PNG and close it. `metadata` are notes inside the file, by their PNG keyword."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with named(path):
        figure.savefig(path, dpi=100, metadata=metadata or None)
    plt.close(figure)
    return path


def _truth_on(ax: Axes, example: Example, classes: Sequence[str] = ()) -> None:
    for dashed in (False, True):
        mine = example.difficult == dashed
        names = [classes[label - 1] for label in example.labels[mine].tolist()] if classes else ()
        boxes_on(ax, example.boxes[mine], names, dashed=dashed)


def _grid(
    count: int, columns: int, size: tuple[float, float] = (3.0, 2.4), **kwargs: Any
) -> tuple[Figure, list[Axes]]:
    columns = max(1, min(columns, count))
    rows = max(1, -(-count // columns))
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(size[0] * columns, size[1] * rows),
        layout="constrained",
        squeeze=False,
        **kwargs,
    )
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, list(axes.flat)
