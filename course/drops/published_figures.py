"""Figures of the published run, from its curve as read off the plot; and schedules laid side by side in epochs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from course.drops.schedules import Jump, Published, SchedulePlan, jump
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED, SKY

EPOCH = 1000  # steps: a point of the curve stands for so many
WINDOW = 10  # points that a line is laid through
PENS = {"training": dict(color=BLUE, linestyle="-"), "validation": dict(color=ORANGE, linestyle="--")}


def losses(curve: Published, begin: int = 10_000) -> Figure:
    """Training and validation loss from step `begin`, the drops and the mAP."""
    at = curve.steps.index(begin)
    figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
    # a point is the mean over the thousand steps that begin there; validation is measured at their end
    for (name, pen), values, shift in zip(
        PENS.items(), (curve.train, curve.val), (EPOCH / 2, EPOCH), strict=True
    ):
        ax.plot([s + shift for s in curve.steps[at:]], values[at:], linewidth=2, label=name, **pen)
    ax.text(11_000, 4.6, f"learning rate {curve.rate(0):g}", fontsize=9)
    for drop in curve.drops:
        ax.axvline(drop, color="0.5", linestyle=":")
        ax.text(drop + 500, 5.95, f"learning rate\n{curve.rate(drop):.0e}", fontsize=9, va="center")
    for step, score in curve.map.items():
        if step != curve.length:  # 102k, on top of 100k
            ground = dict(facecolor="white", edgecolor="none", pad=1)
            ax.text(step, 3.62, f"mAP {score:.3f}", fontsize=9, ha="center", bbox=ground)
    ax.set(xlabel="step", ylabel="loss, L2 included", ylim=(3.5, 6.3))
    ax.set_title("Both losses step down at 56,000, where the learning rate drops", fontsize=11)
    ax.legend(frameon=False, loc="upper right", bbox_to_anchor=(1, 0.8))
    return figure


def steps_down(curve: Published) -> Figure:
    """At each drop, both losses against the straight line through the ten points before it."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), sharey=True, layout="constrained")
    for ax, drop in zip(axes, curve.drops, strict=True):
        for (name, pen), values in zip(PENS.items(), (curve.train, curve.val), strict=True):
            _step_on(ax, curve, values, curve.steps.index(drop), name, pen)
        ax.set_title(f"the drop at {drop:,}", fontsize=10)
        ax.set_xlabel("step")
        ax.locator_params(axis="x", nbins=4)
    axes[0].set_ylabel("loss, L2 included")
    axes[0].legend(frameon=False, loc="lower left", fontsize=9)
    figure.suptitle("At 56,000 both losses fall below their line, at 76,000 hardly", fontsize=11)
    return figure


def _step_on(ax: Axes, curve: Published, values: Sequence[float], at: int, name: str, pen: Mapping) -> None:
    one, shown = jump(values, at, WINDOW), slice(at - WINDOW, at + 4)
    ax.plot(curve.steps[shown], values[shown], "o", markersize=4, color=pen["color"], label=name)
    steps = (curve.steps[at - WINDOW], curve.steps[at])
    ax.plot(steps, (one.line(-WINDOW), one.trend), linewidth=1.5, **pen)
    arrow = dict(arrowstyle="->", color=BLACK, shrinkA=0, shrinkB=2)
    ax.annotate("", (steps[1], one.found), (steps[1], one.trend), arrowprops=arrow)
    far = abs(one.size) > 0.1  # room beside the arrow, which keeps clear of the points
    y, va = ((one.trend + one.found) / 2, "center") if far else (max(one.trend, one.found) + 0.03, "bottom")
    ax.text(steps[1] + 400, y, _said(one), fontsize=9, va=va, color=BLACK)
    ax.set_xlim(steps[0] - 700, steps[1] + 6500)


def _said(one: Jump) -> str:
    return f"{one.size:+.2f}, scatter {one.scatter:.2f}".replace("-", "\N{MINUS SIGN}")


def gap(curve: Published, marked: Sequence[int], begin: int = 10_000) -> Figure:
    """How far validation lies above training, with the numbers at some steps."""
    at = curve.steps.index(begin)
    above = {s: v - t for s, t, v in zip(curve.steps, curve.train, curve.val, strict=True)}
    figure, ax = plt.subplots(figsize=(8, 2.9), layout="constrained")
    ax.plot(curve.steps[at:], [above[s] for s in curve.steps[at:]], color=PURPLE, linewidth=2)
    ax.axhline(0, color="0.5", linewidth=1)
    for drop in curve.drops:
        ax.axvline(drop, color="0.5", linestyle=":")
    ax.plot(marked, [above[s] for s in marked], "o", color=PURPLE)
    for step in marked:
        ax.annotate(f"{above[step]:.2f}", (step, above[step]), (5, -12), textcoords="offset points")
    ax.set(xlabel="step (dotted: drops)", ylabel="validation minus training")
    ax.set_title("The distance between the losses grows before the drop and after it", fontsize=11)
    return figure


def scores(curve: Published) -> Figure:
    """mAP by step with its changes, above the validation loss of the same steps."""
    checks = list(curve.map.items())[:-1]  # the last one is 2,000 steps after the one before it
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, layout="constrained")
    upper.plot(*zip(*checks, strict=True), "o-", color=BLUE, linewidth=2)
    for (a, before), (b, after) in zip(checks, checks[1:], strict=False):
        place = ((a + b) / 2, (before + after) / 2)
        upper.annotate(f"{after - before:+.3f}", place, (-6, 6), textcoords="offset points", ha="right")
    for step, score in checks:
        upper.annotate(f"{score:.3f}", (step, score), (4, -12), textcoords="offset points", fontsize=9)
    upper.set(ylabel="mAP", ylim=(0.67, 0.79))
    at = curve.steps.index(20_000)
    lower.plot(curve.steps[at:], curve.val[at:], color=ORANGE, linewidth=2)
    lower.set(ylabel="validation loss", xlabel="step (dotted: drops)")
    for ax in (upper, lower):
        for drop in curve.drops:
            ax.axvline(drop, color="0.5", linestyle=":")
    upper.set_title(
        "From 60k to 80k the mAP rises by 0.028, while the validation loss hardly moves", fontsize=11
    )
    return figure


def epochs(plans: Mapping[str, SchedulePlan]) -> Figure:
    """How many epochs each schedule spends at each learning rate, and its images in all."""
    figure, ax = plt.subplots(figsize=(9, 0.55 * len(plans) + 1.2), layout="constrained")
    for y, plan in enumerate(plans.values()):
        left = 0.0
        for steps, color, hatch in zip(plan.lengths, (SKY, GREEN, RED), ("", "//", "xx"), strict=True):
            if steps:
                many = plan.epochs(steps)
                ax.barh(
                    y, many, left=left, height=0.6, color=color, alpha=0.55, hatch=hatch, edgecolor="white"
                )
                ax.text(left + many / 2, y, f"{many:.0f}", ha="center", va="center")
                left += many
        said = f"{left:.0f} epochs, {plan.images / 1e6:.2f} million images"
        ax.text(left + 3, y, said, va="center", fontsize=9)
    ax.set_yticks(range(len(plans)), list(plans))
    ax.invert_yaxis()
    ax.set(xlim=(0, 390), xlabel="epochs (plain: high learning rate, hatched: a tenth, crossed: a hundredth)")
    ax.set_title("In epochs, the published run drops much earlier than the paper's long one", fontsize=11)
    return figure
