"""Figures of the recorded experiments: a dot for every run, and the paired differences beside them."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.kit.experiments import Run, Values, paired
from ssdlib.plots import BLUE, ORANGE

GREY = "#707070"
WHITE = dict(facecolor="white", edgecolor="none", pad=0.5)  # behind letters that the line at 0 would cross


Pairs = Sequence[tuple[str, str]]  # an arm, and the one it is compared with


def arms(
    found: Mapping[str, Values],
    pairs: Pairs,
    title: str,
    what: str = "mAP on 200 test scenes",
    form: str = ".3f",
) -> Figure:
    """Left a dot for every run, one row for each arm, runs of one random seed joined; right `differences`."""
    high = max(len(found), len(pairs))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 0.62 * high + 1.5), layout="constrained")
    _dots(left, found, what, form)
    _differences(right, found, pairs, form)
    figure.suptitle(title, fontsize=11)
    return figure


def differences(found: Mapping[str, Values], pairs: Pairs, title: str, form: str = ".3f") -> Figure:
    """The differences of `pairs`, a dot for each random seed, with their mean, twice its standard error and the
    verdict."""
    figure, ax = plt.subplots(figsize=(8, 0.62 * len(pairs) + 1.3), layout="constrained")
    _differences(ax, found, pairs, form)
    figure.suptitle(title, fontsize=11)
    return figure


def _dots(ax: Axes, found: Mapping[str, Values], what: str, form: str) -> None:
    rows = list(found.values())
    for seed in sorted(set().union(*rows)):
        line = [(row[seed], y) for y, row in enumerate(rows) if seed in row]
        ax.plot(*zip(*line, strict=True), color=GREY, linewidth=0.8, alpha=0.5)
    for y, row in enumerate(rows):
        ax.plot(list(row.values()), [y] * len(row), "o", color=BLUE, markersize=7, alpha=0.75)
        middle = sum(row.values()) / len(row)
        ax.plot([middle, middle], [y - 0.25, y + 0.25], color=BLUE, linewidth=2)
        ax.annotate(
            f"{middle:{form}}",
            (middle, y - 0.25),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=9,
        )
    ax.set_yticks(range(len(rows)), list(found))
    ax.set(ylim=(len(rows) - 0.5, -0.8), xlabel=f"{what} (bar: the mean)")


def _differences(ax: Axes, found: Mapping[str, Values], pairs: Pairs, form: str) -> None:
    ax.axvline(0, color=GREY, linewidth=1)
    for y, (one, other) in enumerate(pairs):
        pair = paired(found[one], found[other])
        values = list(pair.by_seed.values())
        ax.plot(values, [y] * len(values), "o", color=ORANGE, markersize=6, alpha=0.75)
        reach = [pair.mean - 2 * pair.error, pair.mean + 2 * pair.error]
        ax.plot(reach, [y, y], color=ORANGE, linewidth=1.5)
        ax.plot([pair.mean, pair.mean], [y - 0.2, y + 0.2], color=ORANGE, linewidth=2)
        words = f"{pair.mean:+{form}}: {pair.verdict}".replace("-", "\N{MINUS SIGN}")
        ax.annotate(
            words,
            (pair.mean, y - 0.2),
            (0, 2),
            textcoords="offset points",
            ha="center",
            fontsize=9,
            bbox=WHITE,
        )
    ax.set_yticks(range(len(pairs)), [f"{one}\nagainst {other}" for one, other in pairs])
    ax.set(ylim=(len(pairs) - 0.5, -0.8), xlabel="paired differences (line: mean ± 2 standard errors)")
    ax.margins(x=0.2)


def spread(found: Mapping[int, Run], published: Sequence[float] = ()) -> Figure:
    """The runs of one arm that differ in their random seed alone: mAP as dots, below them what was `published` of
    another program's runs, and AP of each class, the class with the widest range first."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.6), width_ratios=(2, 3), layout="constrained")
    rows = [("the recipe mini", [run.map for run in found.values()])]
    rows += [("the published program,\nafter 20,000 steps", list(published))] if published else []
    for y, (_, values) in enumerate(rows):
        left.plot(values, [y] * len(values), "o", color=BLUE if y == 0 else ORANGE, markersize=7, alpha=0.75)
    left.set_yticks(range(len(rows)), [name for name, _ in rows])
    left.set(ylim=(len(rows) - 0.5, -0.5), xlabel="mAP")
    classes = [name for name in next(iter(found.values())).ap if name != "mean"]
    table = {name: [run.ap[name] for run in found.values()] for name in classes}
    order = sorted(classes, key=lambda name: max(table[name]) - min(table[name]), reverse=True)
    for y, name in enumerate(order):
        right.plot(table[name], [y] * len(found), "o", color=BLUE, markersize=4, alpha=0.6)
    right.set_yticks(range(len(order)), order, fontsize=8)
    right.set(ylim=(len(order) - 0.5, -0.8), xlabel="AP of a class")
    low, high = min(rows[0][1]), max(rows[0][1])
    title = f"Runs by random seed: from {low:.3f} to {high:.3f} in mAP, farther apart in single classes"
    figure.suptitle(title, fontsize=11)
    return figure
