"""What chapter 07 draws: ten starts side by side, parabolas, mined negatives, curvature, a NaN layer by layer."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from course.instability import curvature
from course.instability.starts import (
    ARMS,
    BACKGROUND_ONLY,
    NO_OPINION,
    WINDOW,
    Start,
    arm,
    running_mean,
)
from course.instability.watched_start import Layer, WatchedStep
from course.kit import experiments
from course.kit.pictures import ROOT
from course.kit.tables import Table, table
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY, YELLOW

RECORDINGS = ROOT / "chapters/recordings"
ANATOMY, CURVATURE = RECORDINGS / "anatomy", RECORDINGS / "curvature"
LONG = RECORDINGS / "restarts_1000"
KINDS_OF_START = {
    "recipe": "as it is",
    "plateau": "on a plateau",
    "nearly_broken": "nearly broken",
}
FOLLOWED = (0, 1)  # random seeds of the runs that questions 4 and 6 to 8 ask for
CHANGED = {
    "nearly_broken": "nothing",
    "revived": "the batch norm of dead channels",
    "head_anew": "the confidence head on conv4_3",
    "layer_anew": "conv4_3, its L2Norm and both its heads",
    "later": "nothing, but drops and end come 2,500 steps later",
}
MAP_COLORS = (SKY, BLUE, GREEN, YELLOW, ORANGE, PURPLE)
LIVING, BROKEN = dict(color=BLUE, linewidth=0.9), dict(color=RED, linestyle="--", linewidth=1)


def ten(names: Sequence[str], claim: str, top: float = 35.0) -> Figure:
    """The confidence loss of all starts of some arms, a panel each; a cross where one broke. `claim` is the title."""
    columns = 2 if len(names) == 4 else min(3, len(names))
    rows = -(-len(names) // columns)
    size = (3.2 * columns + 0.4, 2.8 * rows + 0.5)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharey=True, layout="constrained", squeeze=False)
    for ax, name in zip(axes.flat, names, strict=False):
        starts = arm(name)
        for start in starts:
            confidence = start["confidence"].clamp(max=1.5 * top)
            ax.plot(confidence, **(BROKEN if start.broke else LIVING))
            if start.broke:
                ax.plot([len(start)], [min(float(confidence[-1]), top - 1)], "x", color=RED, markersize=8)
        levels_on(ax)
        broken = sum(start.broke is not None for start in starts)
        way = re.sub(r"(rate [\d.]+), ", r"\1,\n", ARMS[name])
        title = f"{way}\n{len(starts)} starts, {broken} NaN"
        ax.set(ylim=(3, top), xlabel="step")
        ax.set_title(title, fontsize=9.5)
    for ax in axes.flat[len(names) :]:
        ax.set_axis_off()
    for ax in axes[:, 0]:
        ax.set_ylabel("confidence loss / N")
    ax = axes[0, 0]
    for level, name in ((NO_OPINION, "no opinion"), (BACKGROUND_ONLY, "background only")):
        words = ax.text(
            ax.get_xlim()[1], level + 0.3, f"{name} ", ha="right", va="bottom", fontsize=9, color=BLACK
        )
        words.set_path_effects([withStroke(linewidth=3, foreground="white")])  # curves run below them
    figure.suptitle(claim, fontsize=11)
    if any(start.broke for name in names for start in arm(name)):
        lines = [Line2D([], [], **LIVING), Line2D([], [], marker="x", **BROKEN)]
        labels = ["a start that doesn't break", "a start that breaks: NaN at the cross"]
        figure.legend(lines, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def ends(claim: str) -> Figure:
    """What docs/experiments.md found for question 4. Left the loss of ten starts over 1,000 steps, each point the
    mean of `WINDOW` steps; right the final mAP of runs that began smoothly, on a plateau or nearly broken, over the
    range of the recipe's ten random seeds."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9.6, 3.4), width_ratios=(1, 1.1), layout="constrained"
    )
    for start in arm("paper", LONG):
        loss = running_mean(start.multibox, WINDOW)
        left.plot(range(WINDOW - 1, WINDOW - 1 + len(loss)), loss, **(BROKEN if start.broke else LIVING))
    left.axvspan(900, 1000, color="0.9")
    left.set(xlabel="step", ylabel="multibox loss", ylim=(0, 20))
    left.set_title("ten starts at a learning rate of 0.001", fontsize=10)
    ten = [run.map for run in experiments.runs("recipe").values()]
    right.axvspan(min(ten), max(ten), color="0.9")
    rows = {"ten random seeds": ten}
    rows |= {
        f"{words}, seeds 0 and 1": [run.map for run in followed(name).values()]
        for name, words in KINDS_OF_START.items()
    }
    for y, values in enumerate(rows.values()):
        right.plot(values, [y] * len(values), "o", color=BLUE if y == 0 else ORANGE, markersize=7, alpha=0.75)
    right.set_yticks(range(len(rows)), list(rows))
    right.set(ylim=(len(rows) - 0.5, -0.5), xlim=(0, 0.8), xlabel="mAP after 2,500 steps")
    right.set_title("the recipe mini, by the kind of its start", fontsize=10)
    figure.suptitle(claim, fontsize=11)
    return figure


def left_behind() -> Table:
    """For each run of question 4: mAP, AP of small and of large objects, and the dead channels of conv4_3."""
    rows = []
    for kind, words in KINDS_OF_START.items():
        for seed, run in followed(kind).items():
            dead, channels = _dead(kind, seed)
            small, large = (run.sizes[name][0] for name in ("30 to 60", "162 to 213"))
            rows.append((words, seed, 100 * run.map, small, large, f"{dead} of {channels}"))
    head = (
        "start",
        "random seed",
        "mAP",
        "AP, 30 to 60 px",
        "AP, 162 to 213 px",
        "dead channels of conv4_3",
    )
    return table(rows, head, form=("", "", ".1f", ".1f", ".1f"))


def mended() -> Table:
    """Questions 6 to 8: the final mAP of nearly broken starts in which a part began anew at step 300, or which were
    given more time, by random seed, and the dead channels of conv4_3 at the end."""
    rows = []
    for kind, words in CHANGED.items():
        dead = [_dead(kind, seed)[0] for seed in FOLLOWED]
        rows.append((words, f"{dead[0]} and {dead[1]}", *(100 * run.map for run in followed(kind).values())))
    ten = [100 * run.map for run in experiments.runs("recipe").values()]
    note = (
        "mAP of two random seeds; the part that is changed begins anew at step 300. Dead are so many of the 64 "
        f"channels of conv4_3. Ten random seeds of the recipe as it is: {min(ten):.1f} to {max(ten):.1f}."
    )
    head = ("changed", "dead at the end", *(f"random seed {seed}" for seed in FOLLOWED))
    return table(rows, head, form=("", "", ".1f", ".1f"), note=note)


def _dead(kind: str, seed: int) -> tuple[int, int]:
    """Dead channels of conv4_3 at the end of a run, and all."""
    for name in ("dead", "dead_anew"):
        told = json.loads((RECORDINGS / f"experiments/{name}.json").read_text("utf-8"))["runs"]
        if f"{kind}/{seed}" in told:
            return tuple(told[f"{kind}/{seed}"]["layers"]["conv4_3"])
    raise LookupError(f"{kind}/{seed}: its dead channels were not counted")


def followed(kind: str) -> dict[int, experiments.Run]:
    """The runs of a kind of start that are asked for, by random seed."""
    found = experiments.runs(kind)
    return {seed: found[seed] for seed in FOLLOWED}


def late(first: int = 900, last: int = 1000) -> torch.Tensor:
    """(10, steps) multibox loss of steps `first` to `last` of the ten starts that were recorded for 1,000 steps."""
    return torch.stack([start.multibox[first:last] for start in arm("paper", LONG)])


def levels_on(ax: Axes) -> None:
    for level in (NO_OPINION, BACKGROUND_ONLY):
        ax.axhline(level, color=GREEN, linestyle=":", linewidth=1.4)


@dataclass(frozen=True)
class FullWidth:
    """One start of the full network on photographs: what it began from, and its log as far as it goes."""

    name: str
    files: tuple[str, ...]  # in chapters/recordings, one after the other
    style: dict[str, object]


FULL_WIDTH = (
    FullWidth(
        "random weights, learning rate 0.001",
        ("photographs_broken/log.jsonl",),
        dict(color=RED, linestyle=":"),
    ),
    FullWidth(
        "fc6, fc7 by He's rule, learning rate 0.001",
        ("full_width/trial_he/log.jsonl",),
        dict(color=RED, linestyle="--"),
    ),
    FullWidth(
        "fc6, fc7 scaled, learning rate 0.001",
        ("full_width/trial_scaled/log.jsonl",),
        dict(color=ORANGE, linestyle="-."),
    ),
    FullWidth(
        "fc6 scaled, learning rate 0.0005, warm-up",
        ("full_width/first_200_steps/log.jsonl",),
        dict(color=BLUE),
    ),
)


def full_width_rows(start: FullWidth) -> tuple[list[tuple[int, float]], int | None]:
    """(step, confidence loss) of each line that has one, and the step at which it broke, if it did."""
    rows = []
    for file in start.files:
        rows += [json.loads(line) for line in (RECORDINGS / file).read_text("utf-8").splitlines()]
    broke = next((row["step"] for row in rows if row.get("diverged")), None)
    return [(row["step"], row["confidence"]) for row in rows if "confidence" in row], broke


def full_width(top: float = 30.0) -> Figure:
    """The confidence loss of the full network's starts on photographs; a cross where one broke."""
    figure, ax = plt.subplots(figsize=(8, 3.9), layout="constrained")
    for start in FULL_WIDTH:
        rows, broke = full_width_rows(start)
        if broke:  # the way there went far beyond the figure
            rows = [*rows, (broke, math.inf)]
            ax.plot([broke], [top - 1], "x", color=start.style["color"], markersize=9)
        steps, losses = zip(*rows, strict=True)
        ax.plot(steps, np.minimum(losses, 3 * top), ".", color=start.style["color"])
        ax.plot(
            steps,
            np.minimum(losses, 3 * top),
            linewidth=1.6,
            label=start.name + (f": NaN in step {broke}" if broke else ""),
            **start.style,
        )
    levels_on(ax)
    for level, name in ((NO_OPINION, "no opinion"), (BACKGROUND_ONLY, "background only")):
        ax.text(203, level + 0.3, name, ha="right", va="bottom", fontsize=9, color=BLACK)
    ax.set(ylim=(3, top), xlim=(0, 205), xlabel="step", ylabel="confidence loss / N")
    ax.set_title(
        "One of four starts of the full network gets to the same two levels and rests there", fontsize=11
    )
    ax.legend(fontsize=9, loc="upper right")
    return figure


def parabolas(panels: dict[float, Sequence[float]], steps: int = 24) -> Figure:
    """A weight on a parabola, from 1 on: for each momentum a panel, for each learning rate · curvature a line."""
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 3.6), sharey=True, layout="constrained")
    for ax, (momentum, products) in zip(axes, panels.items(), strict=True):
        for product, color, style in zip(products, (BLUE, GREEN, RED), ("-", "--", ":"), strict=False):
            places = rolled(product, momentum, steps)
            ax.plot(places, style, color=color, marker=".", label=f"{product:g}")
        ax.axhline(0, color="0.7", linewidth=1)
        ax.set(xlabel="step", ylim=(-4, 4))
        ax.set_title(f"momentum {momentum:g}: edge {2 * (1 + momentum):g}", fontsize=10)
        ax.legend(
            title="learning rate · curvature",
            frameon=False,
            loc="upper center",
            bbox_to_anchor=(0.5, -0.2),
            ncols=3,
            fontsize=9,
            title_fontsize=9,
        )
    axes[0].set_ylabel("weight")
    figure.suptitle(
        "Inside the edge the jumps of a weight die out in the end, beyond it they grow", fontsize=11
    )
    return figure


def rolled(product: float, momentum: float, steps: int) -> list[float]:
    """Where a weight is that starts at 1: w <- w - v, v <- momentum · v + product · w."""
    w, v, places = 1.0, 0.0, [1.0]
    for _ in range(steps):
        v = momentum * v + product * w
        w -= v
        places.append(w)
    return places


def mined_by_map(panels: dict[str, Start], until: int = 200) -> Figure:
    """For each look at a start: which feature maps the mined negatives come from, in percent."""
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 3.3), sharey=True, layout="constrained"
    )
    for ax, (title, start) in zip(np.atleast_1d(axes), panels.items(), strict=True):
        looks = [step for step in start.by_map if step <= until]
        shares = np.array([start.by_map[step]["negatives"] for step in looks], dtype=float)
        shares = 100 * shares / shares.sum(axis=1, keepdims=True)
        below = np.zeros(len(looks))
        for i, (side, color) in enumerate(zip(SSD300_ANCHORS.feature_maps, MAP_COLORS, strict=True)):
            hatch = ("", "//", "", "..", "", "xx")[i]
            ax.bar(
                range(len(looks)),
                shares[:, i],
                bottom=below,
                color=color,
                hatch=hatch,
                edgecolor="white",
                label=f"{side} x {side}",
            )
            below += shares[:, i]
        ax.set(xlabel="step", xticks=range(len(looks)), ylim=(0, 100))
        ax.set_title(title, fontsize=10)
        ax.set_xticklabels(looks)
    np.atleast_1d(axes)[0].set_ylabel("mined negatives, %")
    figure.legend(
        *np.atleast_1d(axes)[0].get_legend_handles_labels(),
        loc="outside right upper",
        frameon=False,
        title="feature map",
    )
    figure.suptitle(
        "On the plateau (left), most mined negatives come from the small feature maps", fontsize=11
    )
    return figure


# ---- curvature along a start


@dataclass(frozen=True)
class Bend:
    """The largest curvature of the loss of one batch, before the step was taken."""

    step: int
    rate: float
    loss: float
    curvature: float  # negative where the loss bends downwards most
    most: str  # the parameter with the largest share of that direction
    share: float


def bends(name: str, seed: int, folder: Path = CURVATURE) -> list[Bend]:
    """A recording of `data_scripts/curvature.py`."""
    _, *lines = (
        json.loads(line) for line in (folder / f"{name}-{seed}.jsonl").read_text("utf-8").splitlines()
    )
    return [Bend(**line) for line in lines]


def edges_along(tracks: dict[str, list[Bend]]) -> Figure:
    """The learning rate that the curvature of the moment allows, over the steps, and the one that was used."""
    figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
    for (title, track), color, mark in zip(tracks.items(), (BLUE, RED, GREEN, ORANGE), "osD^", strict=False):
        up = [b for b in track if b.curvature > 0]
        ax.plot(
            [b.step for b in up],
            [curvature.edge(b.curvature, 0.9) for b in up],
            mark + "-",
            color=color,
            markersize=4,
            label=title,
        )
        ax.axhline(track[-1].rate, color=color, linestyle=":", linewidth=1.4)
        ax.text(55, track[-1].rate, f"used: {track[-1].rate:g}", color=color, va="bottom", fontsize=9)
    ax.set(xlabel="step", ylabel="allowed learning rate", yscale="log", xscale="log", xlim=(0.85, 300))
    ax.set_xticks([1, 3, 10, 30, 100, 300], ["1", "3", "10", "30", "100", "300"])
    ax.set_title("The edge is low at step 1 and again when start 0 leaves the plateau", fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


# ---- a NaN, layer by layer


def watched_steps(name: str, seed: int, folder: Path = ANATOMY) -> list[WatchedStep]:
    """A recording of `data_scripts/anatomy.py`."""
    _, *lines = (
        json.loads(line) for line in (folder / f"{name}-{seed}.jsonl").read_text("utf-8").splitlines()
    )
    return [
        WatchedStep(**line | {"layers": {n: Layer(**v) for n, v in line["layers"].items()}}) for line in lines
    ]


def layers_drawn(steps: Sequence[WatchedStep]) -> Figure:
    """Layers over steps, twice: the largest number that came out, and the step relative to the kernel."""
    names = [name for name in steps[0].layers if name.startswith("body")] + [
        "loc.fc7",
        "conf.conv4_3",
        "conf.fc7",
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 6), sharey=True, layout="constrained")
    for ax, what, limits, title in (
        (axes[0], "output", (1e-1, 1e6), "largest number that comes out"),
        (axes[1], "update", (1e-3, 1e1), "step, relative to the kernel"),
    ):
        table = np.array([[getattr(step.layers[name], what) for step in steps] for name in names])
        shown = ax.imshow(
            np.where(np.isfinite(table), table, np.nan), norm=LogNorm(*limits), cmap="cividis", aspect="auto"
        )
        for (y, x), value in np.ndenumerate(table):
            if not math.isfinite(value) and what == "output":
                ax.text(
                    x,
                    y,
                    "inf" if math.isinf(value) else "NaN",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color=BLACK,
                )
        ax.set(xlabel="step", xticks=range(len(steps)))
        ax.set_title(title, fontsize=10)
        figure.colorbar(shown, ax=ax, extend="both", shrink=0.8)
    figure.suptitle(
        "A kernel moves by more than its length at step 10, and the loss is NaN at step 13", fontsize=11
    )
    axes[0].set_yticks(
        range(len(names)), [n.removeprefix("body.").removesuffix(".0") for n in names], fontsize=9
    )
    return figure
