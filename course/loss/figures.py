"""Figures of chapter 04: which anchors decide the loss, what four offsets mean on a box, how they are spread, what
one costs, and what hard negative mining leaves of the background."""

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.kit import pictures
from course.kit.legend import legend_below
from course.kit.pictures import Scene
from course.loss.loss_anatomy import DRAWN, LossTerms
from ssdlib import box_ops, coding
from ssdlib.anchors import default_boxes
from ssdlib.plots import BLACK, BLUE, ORANGE, RED, SKY, boxes_on, photograph_on

SPECK, PER_NAT = 1.5, 120.0  # area of a dot, points²: what each anchor gets, and more by what it costs


def draw_negatives(scene: Scene, positive: Tensor, chosen: dict[str, Tensor]) -> Figure:
    """A scene with its positives in blue, those of one object in full, and, a panel each, some choice of negatives in
    dashed red, title -> (K,) bool. A dozen of these are drawn as boxes, and all of them as dots at their centres."""
    grid, names = default_boxes(), pictures.numbered(scene.names)
    nearest = box_ops.iou(scene.boxes[:, None], grid).argmax(dim=0) if len(scene.boxes) else positive.long()
    first = positive & (nearest == 0)
    figure = plt.figure(figsize=(4.8 * len(chosen), 5.2), layout="constrained")
    for i, (title, mask) in enumerate(chosen.items(), 1):
        ax = figure.add_subplot(1, len(chosen), i)
        photograph_on(ax, scene.pixels)
        those = mask.nonzero()[:, 0]
        few = those[:: max(1, -(-len(those) // DRAWN))]
        boxes_on(ax, grid[few], color=RED, dashed=True)
        boxes_on(ax, grid[first], color=BLUE)
        plt.setp(ax.patches, linewidth=1.2)
        boxes_on(ax, grid[positive & ~first], color=SKY)
        plt.setp(ax.patches[len(few) + int(first.sum()) :], linewidth=0.8, alpha=0.6)
        middles = (grid[those, :2] + grid[those, 2:]) / 2
        ax.plot(*middles.T.numpy(), ".", color=RED, markersize=3)
        boxes_on(ax, scene.boxes, names)
        ax.set(xlim=(0, 300), ylim=(300, 0))
        said = f"{int(positive.sum())} positives; {len(few)} of {len(those)} negatives as boxes, all as dots"
        ax.set_title(f"{title}\n{said}", fontsize=10)
    kinds = {"object": (ORANGE, "-"), f"positive, of {names[0]}" if names else "positive": (BLUE, "-")}
    kinds |= {"positive, of another object": (SKY, "-")} if len(names) > 1 else {}
    kinds |= {"hard negative": (RED, "--")}
    legend_below(
        figure, {name: dict(color=c, linestyle=style) for name, (c, style) in kinds.items()}, columns=2
    )
    return figure


def offsets_drawn(anchor: Tensor, box: Tensor) -> Figure:
    """An anchor (dashed) and its object (orange), both (4,) corners in px: on the left how far their centres are
    apart, on the right how their sides differ, each with the offset that says so."""
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.9), layout="constrained")
    (px, py, pw, ph), (gx, gy, gw, gh) = (box_ops.to_cxcywh(b).tolist() for b in (anchor, box))
    tx, ty, tw, th = coding.encode(box, anchor).tolist()
    for ax in axes:
        for (x1, y1, x2, y2), color, dash in ((anchor.tolist(), BLACK, "--"), (box.tolist(), ORANGE, "-")):
            style = dict(fill=False, edgecolor=color, linestyle=dash, linewidth=2)
            ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, **style))
        low, high = torch.minimum(anchor, box)[:2].tolist(), torch.maximum(anchor, box)[2:].tolist()
        ax.set(xlim=(low[0] - 20, high[0] + 100), ylim=(high[1] + 22, low[1] - 14), aspect="equal")
        ax.set_axis_off()
    shift, growth = axes
    shift.plot([px, gx], [py, gy], "o", color=BLUE, markersize=5)
    _arrow(shift, (px, py), (gx, py), BLUE)
    _arrow(shift, (gx, py), (gx, gy), BLUE)
    x2 = float(torch.maximum(anchor, box)[2]) + 6
    shift.text(
        x2, py - 8, f"x: {gx - px:.0f} / {pw:.0f} / 0.1 = {tx:.2f}", color=BLUE, va="bottom", fontsize=10
    )
    shift.text(x2, py + 8, f"y: {gy - py:.0f} / {ph:.0f} / 0.1 = {ty:.2f}", color=BLUE, va="top", fontsize=10)
    shift.set_title("shift: from centre to centre, in widths and heights of the anchor", fontsize=10)
    bottom, left = float(torch.maximum(anchor, box)[3]) + 6, float(torch.minimum(anchor, box)[0]) - 6
    for at, half, center, color in ((bottom, pw / 2, px, BLACK), (bottom + 9, gw / 2, gx, ORANGE)):
        _both_ways(growth, (center - half, at), (center + half, at), color)
    for at, half, center, color in ((left, ph / 2, py, BLACK), (left - 9, gh / 2, gy, ORANGE)):
        _both_ways(growth, (at, center - half), (at, center + half), color)
    growth.text(
        x2, py - 8, f"w: ln({gw:.0f} / {pw:.0f}) / 0.2 = {tw:.2f}", color=RED, va="bottom", fontsize=10
    )
    growth.text(x2, py + 8, f"h: ln({gh:.0f} / {ph:.0f}) / 0.2 = {th:.2f}", color=RED, va="top", fontsize=10)
    growth.set_title("growth: how many times as wide and as high, as a logarithm", fontsize=10)
    for ax in axes:
        ax.text(float(anchor[0]), float(anchor[1]) - 4, "anchor", fontsize=9, color=BLACK)
    shift.text(float(box[2]) - 2, float(box[3]) + 12, "object", fontsize=9, color=RED, ha="right")
    return figure


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    style = dict(arrowstyle="-|>", color=color, linewidth=2, shrinkA=0, shrinkB=0)
    ax.annotate("", end, start, arrowprops=style)


def _both_ways(ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    style = dict(arrowstyle="<|-|>", color=color, linewidth=1.6, shrinkA=0, shrinkB=0)
    ax.annotate("", end, start, arrowprops=style)


def spread(undivided: Tensor, divided: Tensor) -> Figure:
    """How the four offsets of all assigned anchors are spread, (n, 4) each: before the division by the "variances"
    and after it, with their standard deviations."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
    for ax, values, when in zip(axes, (undivided, divided), ("before", "after the division"), strict=True):
        for name, color, one, deviation in zip(
            "xywh", (BLUE, SKY, RED, ORANGE), values.T.numpy(), values.std(dim=0).tolist(), strict=True
        ):
            style, label = "--" if name in "wh" else "-", f"{name}, {deviation:.2f}"
            ax.hist(one, 40, histtype="step", color=color, linestyle=style, linewidth=1.5, label=label)
        ax.set(xlabel="offset", yticks=())
        ax.set_title(when, fontsize=10)
        ax.legend(title="standard deviation", frameon=False, fontsize=9, title_fontsize=9)
    figure.suptitle("The division brings shifts (x, y) and growths (w, h) to the same spread", fontsize=11)
    return figure


def smooth_l1_drawn() -> Figure:
    """Smooth L1 over the error of an offset, between the parabola that it follows near 0 and |d|."""
    d = torch.linspace(-3, 3, 241)
    figure, ax = plt.subplots(figsize=(6, 3.1), layout="constrained")
    ax.plot(d, F.smooth_l1_loss(d, 0 * d, reduction="none"), color=BLUE, linewidth=3)
    ax.plot(d, 0.5 * d * d, "--", color=ORANGE)
    ax.plot(d, d.abs(), ":", color=BLACK)
    for x, y, name, color in (
        (2.15, 1.4, "smooth L1", BLUE),
        (1.68, 2.5, "0.5 d²", RED),
        (1.05, 1.4, "|d|", BLACK),
    ):
        ax.text(x, y, name, color=color)
    ax.set(ylim=(0, 3), xlabel="error d of an offset", ylabel="cost")
    ax.set_title("Smooth L1 is a parabola near 0 and straight beyond 1", fontsize=10)
    return figure


def mining_drawn(scene: Scene, terms: LossTerms, image: int = 0) -> Figure:
    """Background anchors of one image as dots at their centres, the larger the more they cost: all of them, and those
    that mining keeps."""
    loss, positive, chosen = terms.class_loss[image], terms.positive[image], terms.chosen[image]
    centres = box_ops.to_cxcywh(default_boxes())[:, :2]
    everything = float(loss[~positive].sum(dtype=torch.float64))
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.9), layout="constrained")
    for ax, mask, title in zip(axes, (~positive, chosen), ("before mining", "after mining"), strict=True):
        cost = float(loss[mask].sum(dtype=torch.float64))
        photograph_on(ax, scene.pixels)
        ax.images[0].set_alpha(0.45)  # paler than the dots
        boxes_on(ax, scene.boxes, pictures.numbered(scene.names))
        ax.scatter(*centres[mask].T, s=SPECK + PER_NAT * loss[mask], color=RED, alpha=0.6, linewidths=0)
        share = f", {cost / everything:.0%}" if mask is chosen else ""
        ax.set_title(f"{title}: {int(mask.sum()):,} anchors cost {cost:.1f}{share}", fontsize=10)
        ax.set(xlim=(0, 300), ylim=(300, 0))
    return figure
