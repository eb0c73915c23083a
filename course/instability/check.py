"""Checks of chapter 07: levels of the loss, curvature and its edge, warm-up, clipping, plateaus, microbatches."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course.instability import curvature, starts
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib.plots import BLUE, GREEN, ORANGE, RED

OBJECTS = 20  # classes of VOC


def _level(background: float, negatives: int = 3, rest: int = OBJECTS) -> float:
    """Confidence / N of a network that says the same everywhere: background with this probability, the rest even."""
    return -negatives * math.log(background) - math.log((1 - background) / rest)


level = Exercise(
    "7.1 the second level",
    starts.BACKGROUND_ONLY,
    mistakes={
        "too high: that is the first level, where all 21 classes are equally likely": starts.NO_OPINION,
        "too low: that is one positive and one negative ||; each positive comes with three": _level(0.75, 1),
        "a little too high: you share the quarter among all classes, but background has its own 0.75 ||, so share it among the 20 classes of objects": _level(
            0.75, rest=21
        ),
        "too low: that is with the logarithm to base 10; the loss takes the natural one": starts.BACKGROUND_ONLY
        / math.log(10),
        "too low: you divided by 4, and N counts the positives alone": starts.BACKGROUND_ONLY / 4,
        "too low: those are the three negatives; the positive pays too": -3 * math.log(0.75),
        "too low: that is the positive; its three negatives pay too": -math.log(0.25 / OBJECTS),
        "too low: the positive pays for *its* class, one of twenty ||: -ln(0.25 / 20), not -ln 0.25": -3
        * math.log(0.75)
        - math.log(0.25),
    },
    praise="3 · 0.288 + 4.382: the level to which the recorded curves fall next.",
    tolerance=2e-3,
)

# ---- curvature


def _matrix(*rows: Sequence[float]) -> Callable[[Tensor], Tensor]:
    matrix = torch.tensor(rows, dtype=torch.float64)
    return lambda v: matrix @ v.double()


def _power(turn: Callable, start: Tensor, rounds: int, normed: bool = True, signed: bool = True) -> float:
    v = start.double()
    v = v / v.norm()
    value = 0.0
    for _ in range(rounds):
        turned = turn(v)
        value = float(v @ turned) if signed else float(turned.norm())
        v = turned / turned.norm() if normed else turned
    return value


def _never_divided(turn: Callable, start: Tensor, rounds: int) -> float:
    v = start.double()
    for _ in range(rounds):
        before, v = v, turn(v)
    return float(before @ v)


BOWL = _matrix([4, 0], [0, 1])
TILTED = _matrix([3, 1, 0], [1, 3, 0], [0, 0, 0.5])
RIDGE = _matrix([1, 2], [2, -6])
ONES = torch.ones(2, dtype=torch.float64)

power = Exercise(
    "7.2 the largest curvature",
    lambda turn, start, rounds: curvature.largest_curvature(turn, start.double(), rounds)[0],
    cases=[
        Case("a bowl with curvatures 4 and 1", (BOWL, ONES, 40)),
        Case("a start that isn't of length 1", (BOWL, 5 * ONES, 40)),
        Case("three weights", (TILTED, torch.tensor([1.0, 0.2, 0.5], dtype=torch.float64), 60)),
        Case("a ridge: it bends downwards most", (RIDGE, ONES, 200)),
        Case("one round", (BOWL, ONES, 1)),
        Case("two rounds", (BOWL, ONES, 2)),
    ],
    mistakes={
        "the length of H·v has no sign, so a ridge looks like a bowl ||: take v · (H·v)": lambda turn, start, rounds: (
            _power(turn, start, rounds, signed=False)
        ),
        "v grows or shrinks from round to round ||; divide it by its length each time": lambda turn, start, rounds: (
            _power(turn, start, rounds, normed=False)
        ),
        "v grows from round to round, and the number with it ||: divide v by its length, at the start and each time": _never_divided,
        "one round too few": lambda turn, start, rounds: _power(turn, start, max(1, rounds - 1)),
        "you stopped after one round; the direction needs `rounds` of them": lambda turn, start, rounds: (
            _power(turn, start, 1)
        ),
        "one round too many ||: v · (H·v) belongs to the v before it is replaced": lambda turn, start, rounds: (
            _power(turn, start, rounds + 1)
        ),
        "the start isn't of length 1, and your first round takes it as it is ||; divide it by its length first": lambda turn, start, rounds: (
            _power(turn, start, rounds) * (float(start.norm()) ** 2 if rounds == 1 else 1)
        ),
    },
    praise="`curvature.largest_curvature` does this with a network's 779,550 weights.",
    tolerance=1e-3,
)

edge = Exercise(
    "7.3 the edge",
    curvature.edge,
    cases=[
        Case("curvature 4, momentum 0.9", (4.0, 0.9)),
        Case("curvature 4, no momentum", (4.0, 0.0)),
        Case("curvature 250, momentum 0.5", (250.0, 0.5)),
    ],
    mistakes={
        "momentum moves the edge ||: 2 · (1 + momentum) / curvature": lambda c, m: 2 / c,
        "with momentum the edge is further out, not nearer ||: multiply by 1 + momentum": lambda c, m: (
            2 * (1 - m) / c
        ),
        "1 / curvature reaches the bottom in one step ||; the edge is twice that": lambda c, m: (1 + m) / c,
        "you divided by 1 - momentum, which moves the edge too far ||: multiply by 1 + momentum": lambda c, m: (
            2 / c / (1 - m)
        ),
        "a steeper bowl allows only a smaller learning rate ||: divide by the curvature": lambda c, m: (
            2 * (1 + m) * c
        ),
    },
    praise="For momentum 0.9 it is 3.8 / curvature.",
)

# ---- remedies


def _warm(step: int, peak: float, steps: int, shift: int = 1, cap: bool = True) -> float:
    share = (step + shift) / steps if steps else 1.0
    return peak * (min(1.0, share) if cap else share)


def _steps_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Learning rates over the first steps: the point that failed among the right ones."""
    step, peak, steps = case.arguments
    some = range(0, max(2 * steps, step + 5))
    ax.plot(some, [_warm(s, peak, steps) for s in some], color=BLUE, label="wanted")
    ax.plot([step], [float(found)], "s", color=RED, label="yours")
    ax.set(xlabel="step", ylabel="learning rate", ylim=(0, None))
    ax.legend(frameon=False)


warmup = BuildingBlock(
    "7.4 warm-up",
    _warm,
    cases=[
        Case("half-way", (99, 0.02, 200)),
        Case("long after it", (1000, 0.02, 200)),
        Case("the first step", (0, 0.02, 200)),
        Case("the last step of the warm-up", (199, 0.02, 200)),
        Case("the step after it", (200, 0.02, 200)),
        Case("no warm-up at all", (0, 0.02, 0)),
    ],
    mistakes={
        "the first step has learning rate 0 and learns nothing ||: take step + 1, since `step` counts the updates before it": lambda step, peak, steps: (
            _warm(step, peak, steps, shift=0)
        ),
        "it goes on rising after the warm-up ||; the learning rate is `peak` there": lambda step, peak, steps: (
            _warm(step, peak, steps, cap=False)
        ),
        "that is no warm-up: the learning rate is `peak` from the first step": lambda step, peak, steps: peak,
        "after the warm-up your learning rate is 0 ||; it is `peak`": lambda step, peak, steps: (
            _warm(step, peak, steps) if step < steps or not steps else 0.0
        ),
        "your learning rate rises with the square of the step ||; it is a straight line up to `peak`": lambda step, peak, steps: (
            _warm(step, peak, steps) ** 2 / peak
        ),
    },
    praise="`engine.learning_rate` does the same.",
    draw=_steps_on,
    tolerance=1e-9,
    name="warm_up",
)


def _lengths(gradients: Sequence[Tensor]) -> float:
    return float(torch.stack([g.norm() for g in gradients]).norm()) if gradients else 0.0


def clipped(gradients: Sequence[Tensor], limit: float) -> list[Tensor]:
    """The same direction, at most `limit` long; all tensors together count as one vector."""
    length = _lengths(gradients)
    return [g * min(1.0, limit / length) if length else g for g in gradients]


def _one(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _gradients_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Every number of the gradient: before, wanted, yours."""
    shown = (
        (case.arguments[0], ORANGE, "o", "before"),
        (wanted, BLUE, "o", "wanted"),
        (found, RED, "x", "yours"),
    )
    for parts, color, mark, name in shown:
        values = torch.cat([torch.as_tensor(p).reshape(-1) for p in parts]).tolist()
        ax.plot(values, mark, color=color, label=name, fillstyle="none", markersize=9)
    ax.axhline(0, color="0.7")
    ax.set(xlabel="number in the gradient", xticks=range(len(values)))
    ax.legend(frameon=False)


clip = Exercise(
    "7.5 clipping",
    clipped,
    cases=[
        Case("two tensors, together 13 long", ([_one(3, 4), _one(12)], 6.5)),
        Case("short enough already", ([_one(0.3, -0.4), _one(0)], 10.0)),
        Case("one long, one short", ([_one(-60, 80), _one(0.5)], 10.0)),
        Case("a kernel and a bias", ([torch.tensor([[3.0, 0.0], [0.0, 4.0]]).double(), _one(12)], 6.5)),
        Case("nothing but zeros", ([_one(0, 0)], 1.0)),
    ],
    mistakes={
        "each tensor was clipped by itself, so the direction has changed ||; use one factor for all": lambda gradients, limit: [
            p for g in gradients for p in clipped([g], limit)
        ],
        "each number was clipped by itself, so the direction has changed ||; use one factor for all": lambda gradients, limit: [
            g.clamp(-limit, limit) for g in gradients
        ],
        "a short gradient was made longer ||; shorten only what is longer than `limit`": lambda gradients, limit: [
            g * (limit / _lengths(gradients)) if _lengths(gradients) else g for g in gradients
        ],
        "you added the lengths of the tensors, and that is more than the whole length ||, which is the root of the sum of all squares": lambda gradients, limit: [
            g * min(1.0, limit / max(1e-12, sum(float(p.norm()) for p in gradients))) for g in gradients
        ],
        "that isn't the length yet ||: it is the sum of squares, and the root is missing": lambda gradients, limit: [
            g * min(1.0, limit / max(1e-12, _lengths(gradients) ** 2)) for g in gradients
        ],
        "a gradient of zeros gives 0 / 0 ||; leave it as it is": lambda gradients, limit: [
            g * min(1.0, limit / _lengths(gradients)) if _lengths(gradients) else g * math.nan
            for g in gradients
        ],
        "nothing was clipped": lambda gradients, limit: list(gradients),
    },
    praise="The same direction, at most `limit` long: `torch.nn.utils.clip_grad_norm_`.",
    draw=_gradients_on,
)

# ---- plateaus


def left_for_good(losses: Sequence[float], level: float, window: int) -> int | None:
    return starts.first_below(torch.as_tensor(losses, dtype=torch.float64), level, window)


def _means(losses: Sequence[float], window: int) -> list[float]:
    return starts.running_mean(torch.as_tensor(losses, dtype=torch.float64), window).tolist()


def _short_windows(losses: Sequence[float], level: float, window: int) -> int | None:
    means = [sum(losses[i : i + window]) / window for i in range(len(losses))]
    return next((i for i in range(len(means)) if max(means[i:]) < level), None)


def _or(value: int | None, otherwise: int) -> int:
    return otherwise if value is None else value


def _first(values: Sequence[float], level: float, shift: int = 0) -> int | None:
    return next((i + shift for i, value in enumerate(values) if value < level), None)


def _losses_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The losses, the level, and the two answers as lines."""
    losses, level_, _ = case.arguments
    ax.plot(losses, ".-", color=BLUE)
    ax.axhline(level_, color=GREEN, linestyle="--")
    for value, color, style, name in ((wanted, ORANGE, "-", "wanted"), (found, RED, ":", "yours")):
        if isinstance(value, int):
            ax.axvline(value, color=color, linestyle=style, linewidth=2.5, label=name)
    ax.set(xlabel="step", ylabel="loss")
    ax.legend(frameon=False)


FALLING = [12.0, 12.2, 11.9, 12.1, 12.0, 11.0, 9.0, 7.0, 6.0, 6.0, 5.0, 5.0]
DIPPING = [12.0, 8.0, 12.2, 12.1, 8.0, 7.0, 12.5, 12.0, 11.0, 9.0, 8.0, 7.0, 6.5, 6.0]

plateau = Exercise(
    "7.6 off the plateau",
    left_for_good,
    cases=[
        Case("one fall", (FALLING, 9.75, 3)),
        Case("two dips before the fall", (DIPPING, 9.75, 2)),
        Case("single steps", (FALLING, 9.75, 1)),
        Case("back at the last step", ([12.0, 8.0, 8.0, 8.0, 14.0], 9.75, 2)),
        Case("below from the start", ([8.0, 7.0, 6.0, 5.0], 9.75, 2)),
        Case("never", ([12.0, 12.1, 11.8, 12.3], 9.75, 2)),
        Case("never, and far above the level", ([12.0, 12.0, 12.0, 12.0], 5.0, 3)),
        Case("shorter than the window", ([8.0, 7.0], 9.75, 5)),
        Case("just on the level", ([12.0, 9.75, 9.75, 8.0], 9.75, 1)),
    ],
    mistakes={
        "you compared single losses, and one lucky batch isn't an escape ||: compare the mean of `window` steps": lambda losses, level, window: (
            _first(losses, level) if window > 1 else left_for_good(losses, level, 1)
        ),
        "the loss comes back above the level later than that ||; the answer is the step from which *all* later means are below the level": lambda losses, level, window: (
            _first(_means(losses, window), level)
        ),
        "that is the last step of the window, and its first was asked for ||: `window` - 1 steps before it": lambda losses, level, window: (
            None
            if left_for_good(losses, level, window) is None
            else left_for_good(losses, level, window) + window - 1
        ),
        "your last means have fewer than `window` losses in them, so they are too small ||: there are len(losses) - window + 1 means": lambda losses, level, window: (
            _short_windows(losses, level, window)
        ),
        "where it never leaves, the answer is None": lambda losses, level, window: _or(
            left_for_good(losses, level, window), len(_means(losses, window))
        ),
        "where it never leaves, the answer is None, not -1": lambda losses, level, window: _or(
            left_for_good(losses, level, window), -1
        ),
        "one mean is missing, the last one ||: there are len(losses) - window + 1 of them": lambda losses, level, window: (
            left_for_good(losses[:-1], level, window)
        ),
        "a mean just on the level is not below it": lambda losses, level, window: left_for_good(
            losses, level + 1e-9, window
        ),
        "that is the last step above the level ||; the next one is the first below": lambda losses, level, window: (
            None if left_for_good(losses, level, window) is None else left_for_good(losses, level, window) - 1
        ),
    },
    praise="`starts.first_below`; the table of this page is counted with it.",
    draw=_losses_on,
    size=(5.5, 2.8),
)

# ---- N

Part = tuple[float, int]


def whole_loss(parts: Sequence[Part]) -> float:
    """Sums of all terms and positives of microbatches -> the loss of the batch they make up."""
    return sum(total for total, _ in parts) / max(1, sum(count for _, count in parts))


accumulate = Exercise(
    "7.7 a batch in parts",
    whole_loss,
    cases=[
        Case("two halves of one size", ([(60.0, 10), (40.0, 10)],)),
        Case("a crowded half and a sparse one", ([(120.0, 30), (20.0, 2)],)),
        Case("a part without objects", ([(90.0, 15), (0.0, 0), (10.0, 5)],)),
        Case("a single positive", ([(3.0, 1), (2.0, 0)],)),
        Case("no objects at all", ([(0.0, 0), (0.0, 0)],)),
    ],
    mistakes={
        "the mean of the parts' losses: a part with two objects now weighs as much as one with thirty": lambda parts: (
            sum(t / max(1, n) for t, n in parts) / len(parts)
        ),
        "the mean of the losses of those parts that have objects: a sparse part weighs as much as a crowded one": lambda parts: (
            sum(t / n for t, n in parts if n) / max(1, sum(n > 0 for _, n in parts))
        ),
        "the sum of the parts' losses: that is the loss times the number of parts, and so is the step": lambda parts: (
            sum(t / max(1, n) for t, n in parts)
        ),
        "you divided by the number of parts ||; N is the number of positives": lambda parts: (
            sum(t for t, _ in parts) / len(parts)
        ),
        "your sum isn't divided by N at all": lambda parts: sum(t for t, _ in parts),
        "a batch without objects gives 0 / 0 ||: N is at least 1": lambda parts: (
            whole_loss(parts) if sum(n for _, n in parts) else math.nan
        ),
        "a part without objects adds 1 to your N ||; N is at least 1 for the whole batch, not for each part": lambda parts: (
            sum(t for t, _ in parts) / sum(max(1, n) for _, n in parts)
        ),
    },
    praise="`engine.update` hands every part the N of the whole batch.",
    tolerance=1e-9,
)
