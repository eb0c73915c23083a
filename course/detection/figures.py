"""Figures of chapter 10: a scene through the stages, guesses about one object, what each number is worth."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.detection.stages import Ranking, captions
from course.kit.legend import legend_below
from ssdlib import box_ops, plots
from ssdlib.data import voc
from ssdlib.plots import BLACK, BLUE, ORANGE, RED, boxes_on, part_captions, photograph_on
from ssdlib.records import Detections, Example

SMALL = 9  # points, of the smallest letters
TITLES = {"score": "score threshold", "top_k": "top-k", "nms_iou": "NMS IoU", "keep": "keep"}
USUAL = dict(color=RED, marker="D", linestyle="", markersize=8)  # of the value that Caffe has
AROUND, FADED = 12, 0.07  # boxes of one object that are drawn in full; how faint all others are


def stages_drawn(pixels: Tensor, ranking: Ranking, score: float = 0.5) -> Figure:
    """One scene three times: all candidates, what NMS leaves of them, and what one would show. Of the first two the
    boxes around one object are drawn in full, the others faintly; the titles count them."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 4.0), layout="compressed")
    all_of_them = torch.arange(len(ranking.scores))
    left, shown = ranking.kept, ranking.kept[ranking.scores[ranking.kept] >= score]
    for ax, places, title, width in (
        (axes[0], all_of_them, f"{len(all_of_them)} boxes with a score above 0.01", 0.6),
        (axes[1], left, f"{len(left)} boxes after NMS", 0.9),
        (axes[2], shown, f"{len(shown)} with a score of {score:g} or more", 2.2),
    ):
        photograph_on(ax, pixels)
        near = _around_the_best(ranking, places)
        for (x1, y1, x2, y2), full in zip(ranking.boxes[places].tolist(), near.tolist(), strict=True):
            style = dict(linewidth=width, alpha=1.0 if full or places is shown else FADED)
            ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, color=BLUE, **style))
        ax.set(xlim=(0, 300), ylim=(300, 0))
        ax.set_title(title, fontsize=10)
    boxes_on(axes[2], ranking.boxes[shown], captions(ranking, shown), color=BLUE)
    if len(shown):
        best = captions(ranking, shown[:1])[0].split()[0]
        legend_below(
            figure,
            {
                f"boxes around the {best}, at most {AROUND}": dict(color=BLUE, linewidth=1.5),
                "all other boxes": dict(color=BLUE, linewidth=1.5, alpha=0.3),
            },
        )
    part_captions([axes[2]])
    return figure


def _around_the_best(ranking: Ranking, places: Tensor) -> Tensor:
    """Which of these candidates lie around the object of the highest score."""
    near, best = torch.zeros(len(places), dtype=torch.bool), ranking.boxes[ranking.kept[:1]]
    if len(best):
        around = box_ops.iou(best, ranking.boxes[places])
        near[around.argsort(descending=True)[:AROUND]] = True
        near &= around >= 0.3
    return near


def guesses_drawn(pixels: Tensor, ranking: Ranking, score: float = 0.5) -> Figure:
    """One scene with what one would show of it, each box in a line style of its own, named beside the scene."""
    figure, ax = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
    photograph_on(ax, pixels)
    shown = ranking.kept[ranking.scores[ranking.kept] >= score]
    styles = zip(cycle(("-", "--", ":")), cycle((BLUE, RED, BLACK)), strict=False)
    named = zip(ranking.boxes[shown].tolist(), captions(ranking, shown), styles, strict=False)
    for (x1, y1, x2, y2), name, (dash, color) in named:
        drawn = dict(fill=False, edgecolor=color, linestyle=dash, linewidth=2.5, label=name)
        ax.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, **drawn))
    ax.set_title(f"NMS within each class leaves {len(shown)} boxes on one horse", fontsize=10)
    figure.legend(loc="outside right upper", frameon=False, handlelength=3)
    return figure


def swept(found: Mapping[str, Mapping[float, float]], usual: Mapping[str, float]) -> Figure:
    """mAP against each of the four numbers, one small plot each; the usual value is a red diamond."""
    figure, axes = plt.subplots(1, len(found), figsize=(10, 3.1), sharey=True, layout="constrained")
    for ax, (name, line) in zip(axes, found.items(), strict=True):
        worth_on(ax, line, usual[name], BLUE, "o-")
        ax.set_title(TITLES[name], fontsize=10)
    axes[0].set_ylabel("mAP, %")
    figure.suptitle("Caffe's values lie at the top of each curve, or where it has become flat", fontsize=11)
    legend_below(figure, {"Caffe's value": USUAL})
    return figure


def worth_on(ax: Axes, line: Mapping[float, float], usual: float, color: str, style: str) -> None:
    """mAP against one of the four numbers, its values at equal distances; a diamond at the usual one."""
    ax.plot(range(len(line)), list(line.values()), style, color=color)
    at = list(line).index(usual)
    ax.plot(at, line[usual], "D", color=RED, markersize=8)
    ax.set(xticks=range(len(line)), xticklabels=[f"{v:g}" for v in line], ylim=(0, 80))
    ax.tick_params(labelsize=SMALL)
    ax.grid(axis="y", color="0.9")


def mistakes_drawn(example: Example, found: Mapping[str, Detections], score: float = 0.5) -> Figure:
    """One scene once for each name, with what is annotated and the boxes that one would show, without their names."""
    figure, axes = plt.subplots(1, len(found), figsize=(10, 2.8), layout="compressed")
    for ax, (name, detections) in zip(axes, found.items(), strict=True):
        photograph_on(ax, voc.read_photograph(example.path))
        shown = detections.above(score)
        boxes_on(ax, example.boxes, color=ORANGE)
        boxes_on(ax, shown.boxes, color=BLUE)
        ax.set_title(f"{name}: {len(shown)} boxes", fontsize=10)
    figure.suptitle(
        f"The same outputs, detected in {len(found)} ways: boxes with a score above {score:g}", fontsize=11
    )
    legend_below(figure, {"annotated": dict(color=ORANGE), "detected": dict(color=BLUE)})
    return figure


def photographs_drawn(
    chosen: Sequence[Example],
    found: Sequence[Detections],
    title: str,
    score: float = 0.5,
    pixels: Sequence[Tensor] = (),
) -> Figure:
    """Photographs with the boxes that were drawn by hand and what was detected. The second line of the title says
    which is which, because what is below them is for the credit. `pixels` are shown in place of the files."""
    figure = plots.detections(chosen, pixels or [voc.read_photograph(e.path) for e in chosen], found, score)
    figure.set_figheight(figure.get_figheight() + 1.0)  # for the lines above and below
    figure.suptitle(
        f"{title}\norange: drawn by hand; blue: detected with a score above {score:g}", fontsize=11
    )
    return figure
