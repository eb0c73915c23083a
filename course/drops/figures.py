"""Figures of chapter 08: the published curve, toy and recorded runs above each other, what a drop does at once."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.drops.noisy_quadratic import valley
from course.drops.schedules import Published, Schedule, gain
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY

# one look for a schedule, wherever it is drawn; a line's pattern says the same as its colour
PENS = {
    "never": dict(color=BLACK, linestyle="-"),
    "at_500": dict(color=RED, linestyle=(0, (1, 1))),
    "at_1000": dict(color=ORANGE, linestyle=(0, (4, 1, 1, 1))),
    "at_1500": dict(color=GREEN, linestyle="--"),
    "at_2000": dict(color=BLUE, linestyle=(0, (6, 2))),
    "seed": dict(color=PURPLE, linestyle="-."),
    "paper": dict(color=SKY, linestyle=(0, (3, 1))),
    "cosine": dict(color="#707070", linestyle=":"),
}
EPOCH = 1000  # steps, of the published run: a point of its curve stands for so many
SINGLE = ("never", "at_500", "at_1000", "at_1500", "at_2000")  # those with one drop at most


def published_drawn(curve: Published, begin: int = 10_000) -> Figure:
    """Training and validation loss of the published run from step `begin`, its drops and its mAP."""
    at = curve.steps.index(begin)
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    middles = [
        step + EPOCH / 2 for step in curve.steps[at:]
    ]  # a mean over the thousand steps that begin there
    ends = [step + EPOCH for step in curve.steps[at:]]
    ax.plot(middles, curve.train[at:], color=BLUE, linewidth=2, label="training")
    ax.plot(ends, curve.val[at:], color=ORANGE, linewidth=2, linestyle="--", label="validation")
    ax.text(12_000, 5.2, f"rate {curve.rate(0):.0e}", fontsize=9)
    for drop in curve.drops:
        ax.axvline(drop, color="0.5", linestyle=":")
        ax.text(drop + 500, 5.95, f"rate {curve.rate(drop):.0e}", fontsize=9)
    for step, score in curve.map.items():
        if step != curve.length:  # 102k, on top of 100k
            ground = dict(facecolor="white", edgecolor="none", pad=1)
            ax.text(step, 3.62, f"mAP {score:.3f}", fontsize=9, ha="center", bbox=ground)
    ax.set(xlabel="step", ylabel="loss, L2 included", ylim=(3.5, 6.3))
    ax.legend(frameon=False)
    return figure


def toy_and_recorded(found: Mapping[str, Schedule]) -> Figure:
    """The same schedules in the toy valley and in the recorded runs, above each other on one axis of steps."""
    shown = [found[name] for name in SINGLE if name in found]
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 7), sharex=True, layout="constrained")
    for name in SINGLE:
        drops = tuple(int(part) for part in name.split("_")[1:])  # "at_500"
        label = f"drop at {drops[0]}" if drops else "no drop"
        upper.plot(valley(drops, shown[0].steps), linewidth=2, label=label, **PENS[name])
    for one in shown:
        lower.plot(*joined(found["never"], one), linewidth=2, **PENS[one.name])
    upper.set(
        ylabel="loss", title="toy: a valley, steep and noisy across, flat along (computed)", ylim=(0, None)
    )
    lower.set(ylabel="validation loss / N", xlabel="step", title="SSD on the mini VOC (recorded)")
    lower.set_ylim(top=float(max(joined(found["never"], shown[0])[1][2:])))
    upper.legend(frameon=False)
    return figure


def joined(trunk: Schedule, one: Schedule) -> tuple[list[int], list[float]]:
    """Steps and validation losses of a branch, with the trunk's last one before it as its beginning."""
    steps, values = one.curve()
    if one.begin:
        before = [(s, v) for s, v in zip(*trunk.curve(), strict=True) if s <= one.begin]
        steps, values = [before[-1][0], *steps], [before[-1][1], *values]
    return steps, values


def smooth(values: Tensor, width: int) -> Tensor:
    """Means over `width` neighbours: (n,) -> (n - width + 1,)."""
    return values.unfold(0, width, 1).mean(dim=1)


def saved(found: Mapping[str, Schedule], steps: int, width: int) -> Figure:
    """How far a branch's training loss lies below the trunk's on the same batches, from the drop on: means of `width`
    steps, over `steps` steps or as many as there are."""
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name in SINGLE[1:]:
        if name in found:
            last = min(steps, len(found[name].losses))
            below = smooth(gain(found["never"], found[name], 0, last), width)
            ax.plot(range(width, last + 1), below, linewidth=2, label=found[name].label, **PENS[name])
    ax.axhline(0, color="0.5", linewidth=1)
    ax.set(
        xlabel="steps since the drop",
        ylabel="training loss saved",
        title=f"recorded; means over the last {width} steps",
    )
    ax.legend(frameon=False)
    return figure


def scores(runs: Sequence[Mapping[str, Schedule]], spread: float) -> Figure:
    """mAP at the end of every schedule, a dot for each random seed, and how far two random seeds may lie apart."""
    names = [name for name, one in runs[0].items() if one.map is not None]
    figure, ax = plt.subplots(figsize=(8, 0.45 * len(names) + 1), layout="constrained")
    for y, name in enumerate(names):
        found = [run[name].map for run in runs if name in run and run[name].map is not None]
        _dots_on(ax, y, found, spread)
    ax.set_yticks(range(len(names)), [runs[0][name].label for name in names])
    ax.invert_yaxis()
    ax.set(xlabel="mAP on 200 test scenes (recorded)")
    return figure


def _dots_on(ax: Axes, y: int, found: Sequence[float], spread: float) -> None:
    ax.plot(found, [y] * len(found), "o", color=BLUE, markersize=8)
    middle = sum(found) / len(found)
    ax.plot([middle - spread, middle + spread], [y, y], color=BLUE, linewidth=1.5, alpha=0.7)


def weights_part(found: Mapping[str, Schedule], names: Sequence[str]) -> Figure:
    """Multibox loss and L2 term of recorded runs at their validations, on axes of the same height."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharex=True, layout="constrained")
    for name in names:
        for ax, part in zip(axes, ("multibox", "l2"), strict=True):
            steps, values = found[name].curve(part)
            ax.plot(steps, values, linewidth=2, label=found[name].label, **PENS[name])
    heights = [torch.tensor(found[name].curve("multibox")[1]) for name in names]
    span = float(torch.cat(heights).max() - torch.cat(heights).min())
    axes[0].set(title="multibox loss, validation (recorded)", xlabel="step")
    middle = sum(axes[1].get_ylim()) / 2
    axes[1].set(
        title="L2 term, the same height (recorded)",
        xlabel="step",
        ylim=(middle - span / 2, middle + span / 2),
    )
    for ax in axes:
        ax.legend(frameon=False)
    return figure
