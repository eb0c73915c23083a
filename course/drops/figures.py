"""Figures of chapter 08 from its toy, from the recorded runs and from the run that forks on the page."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.drops.noisy_quadratic import valley
from course.drops.schedules import SETTLING, Schedule, gain, jump, maps_by_seed
from course.kit.experiment_figures import differences
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
HATCHES = ("", "//", "..", "xx")
SINGLE = ("never", "at_500", "at_1000", "at_1500", "at_2000")  # those with one drop at most


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
    upper.set(ylabel="loss", ylim=(0, None))
    upper.set_title("toy, computed: a valley, steep and noisy across, flat along", fontsize=10)
    lower.set(ylabel="validation loss / N", xlabel="step")
    lower.set_title("SSD on the mini VOC, recorded", fontsize=10)
    lower.set_ylim(top=float(max(joined(found["never"], shown[0])[1][2:])))
    upper.legend(frameon=False)
    figure.suptitle("A drop makes a step down, and then the curve is flatter", fontsize=11)
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


def saved(found: Mapping[str, Schedule], steps: int, width: int, title: str) -> Figure:
    """How far a branch's training loss lies below the trunk's on the same batches, from the drop on: means of `width`
    steps, over `steps` steps or as many as there are."""
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name in SINGLE[1:]:
        if name in found:
            last = min(steps, len(found[name].losses))
            below = smooth(gain(found["never"], found[name], 0, last), width)
            ax.plot(range(width, last + 1), below, linewidth=2, label=found[name].label, **PENS[name])
    ax.axhline(0, color="0.5", linewidth=1)
    ax.set(xlabel=f"steps since the drop (means over the last {width})", ylabel="training loss saved")
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False)
    return figure


def gains(found: Mapping[str, Schedule], windows: Sequence[tuple[int, int]], title: str) -> Figure:
    """The training loss that each branch saves in some windows of steps after its drop, as numbered bars."""
    names = [name for name in SINGLE[1:] if name in found]
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    wide = 0.8 / len(names)
    for i, name in enumerate(names):
        for x, (first, last) in enumerate(windows):
            if last > len(found[name].losses):
                continue
            saves = float(gain(found["never"], found[name], first, last).mean())
            at = x + (i + 0.5) * wide - 0.4
            label = found[name].label if x == 0 else None
            ax.bar(
                at, saves, 0.9 * wide, color=PENS[name]["color"], hatch=HATCHES[i % 4], alpha=0.6, label=label
            )
            up, away = ("bottom", 2) if saves >= 0 else ("top", -3)
            words = dict(textcoords="offset points", ha="center", va=up, fontsize=9)
            ax.annotate(_signed(saves, ".2f"), (at, saves), (0, away), **words)
    ax.axhline(0, color="0.5", linewidth=1)
    ax.set_xticks(range(len(windows)), [f"{first} to {last}" for first, last in windows])
    ax.set(xlabel="steps since the drop", ylabel="training loss saved")
    ax.margins(y=0.12)
    ax.set_title(title, fontsize=11)
    ax.legend(frameon=False)
    return figure


def after_ten_steps(found: Mapping[str, Schedule], names: Sequence[str]) -> Figure:
    """Validation loss of some branches before their drop and ten steps after it, and what of it is the L2 term."""
    figure, ax = plt.subplots(figsize=(8, 0.6 * len(names) + 1.2), layout="constrained")
    ends = []
    for y, name in enumerate(names):
        trunk, one = found["never"], found[name]
        step, color = one.begin + SETTLING, PENS[name]["color"]
        before, after = trunk.check(one.begin), one.check(step)
        weights = one.check(step, "l2") - trunk.check(one.begin, "l2")
        ends += [before, after]
        ax.plot([before], [y], "o", color=color, markersize=8, fillstyle="none")
        ax.annotate("", (after, y), (before, y), arrowprops=dict(arrowstyle="->", color=color, lw=2))
        ax.annotate(f"{before:.2f}", (before, y), (8, 0), textcoords="offset points", va="center")
        said = f"{after:.2f}: {_signed(after - before, '.2f')}, the L2 term {_signed(weights, '.4f')}"
        ax.annotate(said, (after, y), (-6, 0), textcoords="offset points", va="center", ha="right")
    wide = max(ends) - min(ends)
    ax.set_yticks(range(len(names)), [found[name].label for name in names])
    ax.set(xlabel="validation loss before the drop (circle) and ten steps after it (arrow)")
    ax.set(xlim=(min(ends) - 0.9 * wide, max(ends) + 0.25 * wide), ylim=(len(names) - 0.4, -0.6))
    ax.set_title("Ten steps after the drop the validation loss is lower", fontsize=11)
    return figure


def jitter(rows: Mapping[str, tuple[Sequence[float], int]], count: int = 10) -> Figure:
    """How far each of the `count` values before a place lies from the straight line through them, a row for each
    curve and place; the number is their scatter."""
    figure, ax = plt.subplots(figsize=(8, 0.5 * len(rows) + 1.3), layout="constrained")
    for y, (values, at) in enumerate(rows.values()):
        one = jump(values, at, count)
        off = [values[at + i] - one.line(i) for i in range(-count, 0)]
        ax.plot(off, [y] * count, "o", color=BLUE, alpha=0.6)
        ax.text(1.01, y, f"{one.scatter:.2f}", transform=ax.get_yaxis_transform(), va="center")
    ax.text(1.01, -0.8, "scatter", transform=ax.get_yaxis_transform(), va="center", fontsize=9)
    ax.axvline(0, color="0.5", linewidth=1)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set(xlabel="validation loss, distance from the line through ten points", ylim=(len(rows) - 0.5, -1.1))
    ax.set_title("The validation loss jitters at the high learning rate and hardly at a low one", fontsize=11)
    return figure


def endings(runs: Sequence[Mapping[str, Schedule]]) -> Figure:
    """The end of every schedule, a dot for each random seed: the mean of the last five validation losses, and mAP.
    Bars and numbers are means."""
    names = [name for name, one in runs[0].items() if one.map is not None]
    size = (9, 0.5 * len(names) + 1.4)
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, layout="constrained")
    for y, name in enumerate(names):
        found = [run[name] for run in runs if name in run and run[name].map is not None]
        lasts = [one.curve()[1][-5:] for one in found]
        _ends(left, [sum(last) / len(last) for last in lasts], y, ORANGE, ".2f")
        _ends(right, [one.map for one in found], y, BLUE, ".3f")
    left.set_yticks(range(len(names)), [runs[0][name].label for name in names])
    left.set(ylim=(len(names) - 0.5, -0.8), xlabel="validation loss, mean of the last five")
    right.set(xlabel="mAP on 200 test scenes")
    for ax in (left, right):
        ax.margins(x=0.12)  # room for the numbers at both ends
    figure.suptitle("The order by validation loss isn't the order by mAP", fontsize=11)
    return figure


PAIRED = ("never", "at_500", "at_1000", "seed", "paper")  # recorded with several random seeds


def paired_endings(runs: Sequence[Mapping[str, Schedule]]) -> Figure:
    """Differences of mAP between schedules of one random seed: neighbours in the order of the drops, the latest drops
    against the earliest, and the two late schedules against none."""
    found = maps_by_seed(runs, PAIRED)
    never, earliest, *_, later, latest = found
    pairs = [*zip(list(found)[1:], found, strict=False), (latest, earliest), (later, never), (latest, never)]
    return differences(found, pairs, "The later the drop, the higher the mAP; early drops lose against none")


def _ends(ax: Axes, values: Sequence[float], y: int, color: str, form: str) -> None:
    middle = sum(values) / len(values)
    ax.plot(values, [y] * len(values), "o", color=color, markersize=7, alpha=0.75)
    ax.plot([middle, middle], [y - 0.25, y + 0.25], color=color, linewidth=2)
    ax.annotate(
        f"{middle:{form}}", (middle, y - 0.25), (0, 1), textcoords="offset points", ha="center", fontsize=9
    )


def _signed(value: float, form: str) -> str:
    """A number with its sign, a minus at which no line is broken, and no sign where nothing is left."""
    written = f"{value:+{form}}"
    return written.replace("-", "\N{MINUS SIGN}") if set(written) - set("+-0.") else written[1:]


def weights_part(found: Mapping[str, Schedule], names: Sequence[str]) -> Figure:
    """Multibox loss and L2 term of recorded runs at their validations, on axes of the same height, and by how much
    each changed since the first validation."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), sharex=True, layout="constrained")
    for name in names:
        for ax, part in zip(axes, ("multibox", "l2"), strict=True):
            steps, values = found[name].curve(part)
            change = values[-1] - found["never"].curve(part)[1][0]
            label = f"{found[name].label}: {_signed(change, '.2f')}"
            ax.plot(steps, values, linewidth=2, label=label, **PENS[name])
    heights = [torch.tensor(found[name].curve("multibox")[1]) for name in names]
    span = float(torch.cat(heights).max() - torch.cat(heights).min())
    middle = sum(axes[1].get_ylim()) / 2
    axes[1].set_ylim(middle - span / 2, middle + span / 2)
    for ax, name in zip(axes, ("multibox loss, validation", "L2 term, same scale"), strict=True):
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("step")
        ax.legend(frameon=False)
    first = found["never"].curve()[0][0]
    figure.suptitle(
        f"The multibox loss falls, the L2 term doesn't (recorded, changes since step {first})", fontsize=11
    )
    return figure


def fork(before: float, shaken: float, stayed: float, dropped: float, steps: tuple[int, int]) -> Figure:
    """The validation losses of a run that is given its high learning rate back and then forks; `steps` before the
    fork and at the end."""
    figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    at, end = steps
    ax.plot([0, at], [before, shaken], "o-", color=BLACK, linewidth=2)
    ax.plot([at, end], [shaken, stayed], "o-", color=BLACK, linewidth=2)
    ax.plot([at, end], [shaken, dropped], "o--", color=ORANGE, linewidth=2)
    for x, value, said in (
        (0, before, f"trained: {before:.2f}"),
        (at, shaken, f"shaken: {shaken:.2f}"),
        (end, stayed, f"at 0.03: {stayed:.2f}"),
        (end, dropped, f"at 0.003: {dropped:.2f}"),
    ):
        away = (8, -14) if x == 0 else (6, 4)
        ax.annotate(said, (x, value), away, textcoords="offset points")
    ax.margins(y=0.25)
    ax.set(xlim=(-1, 1.25 * end), xlabel="steps", ylabel="validation loss")
    ax.set_title(
        "A high learning rate lifts the loss of a trained network; a drop brings it down", fontsize=11
    )
    return figure


def coasting(ratios: Sequence[float], marked: Sequence[int]) -> Figure:
    """How many times as long Caffe's step is as PyTorch's, by the step after a drop, beside 1 + 9 · 0.9ⁿ."""
    figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    steps = range(1, len(ratios) + 1)
    ax.plot(
        steps, [1 + 9 * 0.9**n for n in steps], color=ORANGE, linewidth=4, alpha=0.5, label="1 + 9 · 0.9ⁿ"
    )
    ax.plot(steps, ratios, ".", color=BLUE, markersize=5, label="computed step by step")
    for n in marked:
        offset = dict(textcoords="offset points", fontsize=9)
        ax.annotate(f"step {n}: {ratios[n - 1]:.2f}", (n, ratios[n - 1]), (8, 2), **offset)
    ax.axhline(1, color="0.5", linewidth=1)
    ax.set(xlabel="step after the drop", ylabel="times as long", ylim=(0, 10.5))
    ax.set_title("After a drop Caffe's steps are longer than PyTorch's, for some forty steps", fontsize=11)
    ax.legend(frameon=False)
    return figure


def resumed(wanted: Mapping[int, float], found: Mapping[int, float], at: int) -> Figure:
    """The learning rate by step: as the schedule has it, and as a program had it that was stopped and resumed."""
    figure, ax = plt.subplots(figsize=(8, 3), layout="constrained")
    for rates, name, pen in (
        (wanted, "by the step", dict(color=BLUE, linewidth=5, alpha=0.4)),
        (found, "by a counter", dict(color=RED, linewidth=2, linestyle="--")),
    ):
        ax.semilogy(list(rates), list(rates.values()), drawstyle="steps-post", label=name, **pen)
    ax.axvline(at, color="0.5", linestyle=":")
    ax.text(at - 500, 2e-5, f"resumed at {at:,}", fontsize=9, ha="right")
    ax.set(xlim=(60_000, None), xlabel="step", ylabel="learning rate")
    ax.set_title("Resumed after a drop, a counter goes back to the first learning rate", fontsize=11)
    ax.legend(frameon=False, loc="lower left")
    return figure
