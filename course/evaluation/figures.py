"""Figures of chapter 11: ten detections on paper, a ranking as cut-outs, a curve with its points and its area."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.evaluation import errors, rule_variants
from course.evaluation.devkit_rule import FALSE, IGNORED, OBJECTS, TEN, TRUE, TWICE
from course.evaluation.judging import Judged, Subject
from course.kit import pictures
from course.kit.legend import legend_below
from ssdlib.evaluate import ONE_BASED, Results
from ssdlib.plots import BLACK, BLUE, ORANGE, RED, SKY, photograph_on
from ssdlib.records import LABELS, Example

MARKS = {TRUE: ("o", BLUE), FALSE: ("x", RED), TWICE: ("^", RED), IGNORED: ("s", "0.5")}
NAMES = {TRUE: "true", FALSE: "false", TWICE: "false, a second hit", IGNORED: "ignored"}
SHOWN = (
    *(
        "area under the curve (VOC2010 and later)",
        "no + 1",
        "counted as any other",
        "not annotated: a hit is false",
    ),
    *("may take the next object that is free", "the 10 best of an image", "only scores above 0.5"),
    "only images that hold the class",
)  # of the variants, those at the top of the page
LINES = {TRUE: (BLUE, "-"), FALSE: (RED, "--"), TWICE: (RED, "-."), IGNORED: ("0.35", ":")}


def by_hand() -> Subject:
    """The ten detections and five objects of the page, as dogs in three images of 400 x 400 px."""
    examples = []
    for image in "abc":
        mine = [(box, hard) for where, box, hard in OBJECTS if where == image]
        corners = torch.tensor([box for box, _ in mine], dtype=torch.float32) - torch.tensor(ONE_BASED)
        labels = torch.full((len(mine),), LABELS["dog"])
        difficult = torch.tensor([hard for _, hard in mine])
        examples.append(Example(image, Path(f"{image}.jpg"), (400, 400), corners, labels, difficult))
    ids, scores, boxes = zip(*TEN, strict=True)
    return Subject(
        "by hand", {"dog": Results(ids, np.array(scores), np.array(boxes, dtype=np.float64))}, examples
    )


def ten_drawn() -> Figure:
    """The three images: objects thick (dotted = difficult), detections thin with their place in the ranking."""
    figure, axes = plt.subplots(1, 3, figsize=(9.4, 3.6), layout="constrained")
    for ax, image in zip(axes, "abc", strict=True):
        for where, (x1, y1, x2, y2), hard in OBJECTS:
            if where == image:
                style = dict(fill=True, facecolor="0.9", edgecolor=ORANGE, linewidth=4)
                ax.add_patch(
                    plt.Rectangle((x1, y1), x2 - x1, y2 - y1, linestyle=":" if hard else "-", **style)
                )
        for place, (where, _, (x1, y1, x2, y2)) in enumerate(TEN, 1):
            if where == image:
                ax.add_patch(
                    plt.Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=BLUE, linewidth=1.6)
                )
                style = dict(color="white", fontsize=9, bbox=dict(facecolor=BLUE, edgecolor="none", pad=1.2))
                if place < 3:  # another corner, where boxes lie upon each other
                    ax.text(x1 + 5, y1 + 6, f"{place}", ha="left", va="top", **style)
                else:
                    ax.text(x2 - 5, y2 - 6, f"{place}", ha="right", va="bottom", **style)
        ax.set(xlim=(0, 410), ylim=(410, 0), aspect="equal", xticks=(), yticks=())
        ax.set_title(f"image {image}", fontsize=10)
    legend_below(
        figure,
        {
            "object": dict(color=ORANGE, linewidth=4),
            "difficult object": dict(color=ORANGE, linewidth=4, linestyle=":"),
            "detection, with its place in the ranking": dict(color=BLUE, linewidth=1.6),
        },
    )
    return figure


def one_scene_drawn(subject: Subject, least: float = 0.1) -> Figure:
    """The detections of score `least` or more in a subject's only image, all classes together, best first: their
    boxes, and their scores as bars, each with its verdict."""
    [example] = subject.examples
    found = [
        (judged.scores[place], name, subject.results[name].boxes[judged.order[place]], judged.said[place])
        for name, judged in subject.judged.items()
        for place in np.flatnonzero(judged.scores >= least)
    ]
    found.sort(key=lambda one: -one[0])
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.4, 4), layout="constrained", gridspec_kw={"width_ratios": (1.35, 1)}
    )
    photograph_on(left, pictures.read_or_grey(example))
    for _, _, box, verdict in reversed(found):
        _box_on(left, box - np.array(ONE_BASED), *LINES[verdict], width=3.0 if verdict == TRUE else 1.5)
    left.set_axis_off()
    names = [name for _, name, _, _ in found]
    bars = right.barh(range(len(found)), [score for score, *_ in found], height=0.7)
    for bar, (score, _, _, verdict) in zip(bars, found, strict=True):
        color, style = LINES[verdict]
        bar.set(facecolor=color if verdict == TRUE else "white", edgecolor=color, linestyle=style)
        right.text(score + 0.02, bar.get_y() + 0.35, f"{score:.2f} {verdict}", va="center", fontsize=9)
    right.set(xlim=(0, 1.3), ylim=(len(found) - 0.4, -0.6), xticks=(0, 0.5, 1), xlabel="score")
    right.set_yticks(range(len(found)), names)
    right.spines[["top", "right"]].set_visible(False)
    verdicts = [verdict for *_, verdict in found]
    true = verdicts.count(TRUE)
    first = f", and these {true} have the highest scores" if set(verdicts[:true]) == {TRUE} else ""
    figure.suptitle(f"{true} of the {len(found)} best boxes are true{first}", fontsize=11)
    return figure


def ranking_drawn(subject: Subject, name: str, count: int = 12) -> Figure:
    """The first detections of a class cut out of their images, best first, each with its verdict."""
    judged, results = subject.judged[name], subject.results[name]
    by_id = {example.image_id: example for example in subject.examples}
    columns = 6
    rows = -(-min(count, len(judged.scores)) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(10, 2.05 * rows + 0.6), layout="constrained", squeeze=False
    )
    for ax in axes.flat:
        ax.set_axis_off()
    for place, ax in zip(range(min(count, len(judged.scores))), axes.flat, strict=False):
        i = judged.order[place]
        example, box = by_id[results.image_ids[i]], results.boxes[i] - np.array(ONE_BASED)
        photograph_on(ax, pictures.read_or_grey(example))
        _box_on(ax, box, *LINES[judged.said[place]], width=3.0)
        here = (example.labels == LABELS[name]).nonzero()[:, 0].tolist()
        for k in here:
            _box_on(ax, example.boxes[k].numpy(), ORANGE, ":" if example.difficult[k] else "-", width=1.5)
        _look_at(ax, box, example.size)
        ax.set_title(f"{place + 1}: {judged.scores[place]:.2f} {judged.said[place]}", fontsize=9)
    said = judged.said[:count]
    figure.suptitle(
        f"{(said == TRUE).sum()} of the {len(said)} best detections of {name} are true", fontsize=11
    )
    styles = {
        NAMES[verdict]: dict(color=color, linestyle=style, linewidth=3)
        for verdict, (color, style) in LINES.items()
        if verdict in said
    }
    legend_below(figure, styles | {f"annotated as {name}": dict(color=ORANGE, linewidth=1.5)})
    return figure


def prices_drawn(found: dict[str, dict[str, float]], names: Sequence[str] = SHOWN) -> Figure:
    """mAP of the same detections with one rule changed, a line for each of these variants of `rules`, highest first;
    the upright line is the devkit's own."""
    group = {v.name: v.group for v in rule_variants.VARIANTS}
    official = rule_variants.mean(found[rule_variants.DEVKIT])
    order = sorted(names, key=lambda name: rule_variants.mean(found[name]))
    figure, ax = plt.subplots(figsize=(9, 0.32 * len(order) + 1.4), layout="constrained")
    for y, name in enumerate(order):
        value = rule_variants.mean(found[name])
        ax.plot(
            [official, value],
            [y, y],
            color=BLUE if value > official else RED,
            linewidth=2,
            marker="o",
            markevery=[1],
        )
        side = 1 if value > official else -1
        ax.annotate(
            f"{value:.1f}",
            (value, y),
            (8 * side, 0),
            textcoords="offset points",
            va="center",
            ha="left" if side > 0 else "right",
        )
    ax.vlines(official, -0.5, len(order) - 0.5, color=BLACK)
    ax.text(official, len(order) - 0.4, f"{rule_variants.DEVKIT}: {official:.1f}", ha="center", va="bottom")
    ax.set(
        yticks=range(len(order)), yticklabels=[f"{group[name]}: {name}" for name in order], xlabel="mAP, %"
    )
    means = [rule_variants.mean(found[name]) for name in (rule_variants.DEVKIT, *names)]
    span = f"from {min(means):.1f} to {max(means):.1f}"
    figure.suptitle(f"The same detections judged by {len(means)} rules: mAP {span}", fontsize=11)
    ax.margins(x=0.2)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return figure


def curve_drawn(judged: Judged, title: str) -> Figure:
    """Left: every detection as a point of the curve, and the eleven points. Right: the area under the curve once it
    is made monotonically decreasing."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.4, 3.9), sharey=True, layout="constrained")
    recall, precision = judged.recall, np.nan_to_num(judged.precision)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    for ax in (left, right):
        ax.plot(recall, precision, color="0.55", linewidth=1, zorder=1)
        ax.set(xlim=(-0.02, 1.04), ylim=(0, 1.06), xlabel="recall")
        ax.spines[["top", "right"]].set_visible(False)
    if len(recall) < 40:
        for verdict, (mark, color) in MARKS.items():
            mine = judged.said == verdict
            fill = "none" if verdict == IGNORED else color
            style = dict(color=color) if mark == "x" else dict(facecolor=fill, edgecolor=color)
            left.scatter(
                recall[mine],
                precision[mine],
                marker=mark,
                s=70 if fill == "none" else 30,
                label=verdict,
                zorder=3,
                **style,
            )
    points = np.arange(11) * 0.1
    heights = [precision[recall >= t].max(initial=0.0) for t in points]
    left.vlines(points, 0, heights, color=SKY, linewidth=4, alpha=0.6, zorder=0)
    left.scatter(
        points, heights, marker="D", facecolor="white", edgecolor=BLACK, s=44, label="the 11 points", zorder=2
    )
    left.legend(fontsize=9, loc="upper right", edgecolor="none", framealpha=0.9)
    steps = np.concatenate([[0.0], recall])
    right.stairs(envelope, steps, fill=True, color=SKY, alpha=0.6)
    right.stairs(envelope, steps, color=BLACK, linewidth=1.5)
    left.set_ylabel("precision")
    left.set_title(f"mean height of 11 points: {100 * judged.ap():.1f}", fontsize=10)
    right.set_title(f"area below the steps: {100 * judged.ap('area'):.1f}", fontsize=10)
    figure.suptitle(f"The same {title} have two APs", fontsize=11)
    return figure


def errors_drawn(subject: Subject, found: dict[str, errors.ErrorAnatomy]) -> Figure:
    """Of each kind the false detection with the highest score: it dashed, the object it is about in orange."""
    by_id = {example.image_id: example for example in subject.examples}
    figure, axes = plt.subplots(1, len(errors.KINDS), figsize=(10, 3.1), layout="constrained")
    for ax, kind in zip(axes, errors.KINDS, strict=True):
        ax.set_axis_off()
        ax.set_title(kind, fontsize=10)
        for name, place in errors.first_false(found, kind, 1):
            one, results = found[name], subject.results[name]
            i = one.judged.order[place]
            example = by_id[results.image_ids[i]]
            photograph_on(ax, pictures.read_or_grey(example))
            around = box = results.boxes[i] - np.array(ONE_BASED)
            if one.targets[place] >= 0:
                target = subject.objects.boxes[one.targets[place]] - np.array(ONE_BASED)
                _box_on(ax, target, ORANGE, "-", width=3)
                around = np.concatenate([np.minimum(box, target)[:2], np.maximum(box, target)[2:]])
            _box_on(ax, box, RED, "--", width=2)
            _look_at(ax, around, example.size)
            ax.set_title(f"{kind}:\n{name} {one.judged.scores[place]:.2f}", fontsize=10)
    figure.suptitle("Of each kind of error the one with the highest score", fontsize=11)
    legend_below(
        figure,
        {
            "detection, with its class and score above": dict(color=RED, linestyle="--", linewidth=2),
            "object that the error is about": dict(color=ORANGE, linewidth=3),
        },
    )
    return figure


def _box_on(ax: Axes, box: np.ndarray, color: str, style: str, width: float) -> None:
    x1, y1, x2, y2 = box.tolist()
    ax.add_patch(
        plt.Rectangle(
            (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linestyle=style, linewidth=width
        )
    )


def _look_at(ax: Axes, box: np.ndarray, size: tuple[int, int]) -> None:
    """A square part of the image around a box."""
    x1, y1, x2, y2 = box.tolist()
    half = 0.75 * max(x2 - x1, y2 - y1, 40)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    ax.set(xlim=(x - half, x + half), ylim=(y + half, y - half))
