"""Checks of chapter 08: learning rates, images, the floor, resuming, two kinds of momentum, when to drop the learning rate."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes

from course.drops.noisy_quadratic import floor
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib.plots import BLACK, ORANGE, RED

MOMENTUM = 0.9

# ---- 8.1 the rate


def _rate(step: int, base: float, drops: Sequence[int]) -> float:
    return base * 0.1 ** sum(step >= drop for drop in drops)


def _staircase_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The schedule around the step, wanted and yours at the step."""
    step, base, drops = case.arguments
    steps = range(0, max([step, *drops]) * 5 // 4 + 2)
    ax.semilogy(steps, [_rate(s, base, drops) for s in steps], color=ORANGE, drawstyle="steps-post", lw=3)
    ax.semilogy([step], [float(found)], "x", color=RED, markersize=11, markeredgewidth=3)
    ax.semilogy([step], [wanted], "o", color=BLACK, markersize=7)
    ax.set(xlabel="step", ylabel="learning rate", title="orange: the schedule; dot: wanted; x: yours")
    ax.title.set_fontsize(9)


rate = BuildingBlock(
    "8.1 the rate",
    _rate,
    cases=[
        Case("between the drops", (90_000, 1e-3, [80_000, 100_000])),
        Case("after both", (119_999, 1e-3, [80_000, 100_000])),
        Case("before the first drop", (79_999, 1e-3, [80_000, 100_000])),
        Case("80,000 updates are done", (80_000, 1e-3, [80_000, 100_000])),
        Case("other drops, two of them past", (60, 0.02, [50, 55, 70])),
        Case("three drops, all past", (70, 0.02, [50, 55, 70])),
        Case("a single drop", (60, 0.02, [50])),
        Case("no drops at all", (500, 0.03, [])),
    ],
    mistakes={
        "the drop comes one step late: after 80,000 updates the next one has the lower learning rate ||, so `>=`": lambda step, base, drops: (
            base * 0.1 ** sum(step > drop for drop in drops)
        ),
        "the drop comes one step early: `step` counts the updates that are done": lambda step, base, drops: (
            _rate(step + 1, base, drops)
        ),
        "after both drops your learning rate is a tenth ||; it is a hundredth, because each of them takes it to a tenth": lambda step, base, drops: (
            base * (0.1 if any(step >= drop for drop in drops) else 1)
        ),
        "your learning rate is low for one single step ||: it has to stay low after the drop": lambda step, base, drops: (
            base * 0.1 ** sum(step == drop for drop in drops)
        ),
        "that is the factor alone ||; the learning rate is `base` times the factor": lambda step, base, drops: (
            _rate(step, 1.0, drops)
        ),
        "your learning rate rises at a drop ||: multiply by 0.1, don't divide": lambda step, base, drops: (
            base * 10.0 ** sum(step >= drop for drop in drops)
        ),
        "your learning rate is low before the drops and whole after them ||: the comparison is the wrong way round": lambda step, base, drops: (
            base * 0.1 ** sum(step < drop for drop in drops)
        ),
        "your learning rate is halved at a drop ||; a drop takes it to a tenth": lambda step, base, drops: (
            base * 0.5 ** sum(step >= drop for drop in drops)
        ),
    },
    praise="That is `engine.learning_rate` without its warm-up. It needs the step and nothing it has to remember.",
    draw=_staircase_on,
    tolerance=1e-9,
    name="rate",
)

# ---- 8.2 the same images with a batch of 8

images = Exercise(
    "8.2 the same images",
    [320_000, 400_000, 480_000],
    mistakes={
        "too few: these are the paper's steps; with a batch of 8 the network would see a quarter of its "
        "images": [80000, 100000, 120000],
        "too few: you went the wrong way round, and smaller batches need more steps for as many images": [
            20000,
            25000,
            30000,
        ],
        "too many: those are images; a step takes 8 of them": [2_560_000, 3_200_000, 3_840_000],
        "too few: with a batch of 8 the network would see half of the paper's images ||; it takes four steps for "
        "one of the paper's": [80000.0 * 32 / 16, 100000.0 * 32 / 16, 120000.0 * 32 / 16],
        "those are epochs; steps were asked for": [155, 193, 232],
        "in thousands, yes; write the steps out": [320, 400, 480],
    },
    praise="Four steps for each of the paper's. In epochs it is the same schedule: 155, 193, 232.",
)

# ---- 8.3 the floor

ground = Exercise(
    "8.3 the floor",
    floor(0.4),
    mistakes={
        "twice as much: that is the mean of w² ||; the loss is half of it": 2 * floor(0.4),
        "a little too low: rate / 4 is the limit for small learning rates ||; at 0.4 the 2 - rate in the denominator counts": 0.1,
        "too high: parentheses are missing ||: rate / (2 · (2 - rate)), not rate / 2 · (2 - rate)": 0.32,
        "too high: w² shrinks more in a step than w does ||: to (1 - rate)² = 0.36 of itself, not to 1 - rate = 0.6": 0.2,
        "that is rate², one step's kick alone, and the kicks before it aren't forgotten": 0.16,
        "too low: that is half of rate², one step's kick alone; the kicks before it aren't forgotten": 0.08,
    },
    praise="0.36 V + 0.16 = V, so V = 1/4, and half of it is the loss.",
    tolerance=6e-3,
)

# ---- 8.4 going on across a drop


def _go_on(
    saved: dict[str, float],
    noise: Sequence[float],
    base: float,
    drops: Sequence[int],
    schedule: Callable[[int, float, Sequence[int]], float] = _rate,
    ahead: int = 0,
    keep: bool = True,
    counted: bool = True,
    pull: float = 1.0,
    sign: float = -1.0,
    caffe: bool = False,
    damped: float = 1.0,
    momentum: float = MOMENTUM,
) -> dict[str, float]:
    """The loop, and with other words for its parts the loops that people write instead."""
    w, v, step = saved["w"], saved["v"] * keep, saved["step"]
    for error in noise:
        lr = schedule(step + ahead, base, drops)
        v = momentum * v + damped * (lr if caffe else 1.0) * (pull * w + error)
        w = w + sign * (1.0 if caffe else lr) * v
        step += 1
    return {"w": w, "v": v, "step": step if counted else saved["step"]}


def _instead(**words: Any) -> Any:
    return lambda *arguments: _go_on(*arguments, **words)


def _anew(saved: dict[str, float], noise: Sequence[float], base: float, drops: Sequence[int]) -> Any:
    """The schedule counts from 0 in every session, the returned step doesn't."""
    found = _go_on(saved | {"step": 0}, noise, base, drops)
    return found | {"step": saved["step"] + len(noise)}


def _by_counter(saved: dict[str, float], noise: Sequence[float], base: float, drops: Sequence[int]) -> Any:
    """The learning rate falls when the loop passes a drop; a session that begins behind one never hears of it."""
    passed = 0

    def lr(step: int, base: float, drops: Sequence[int]) -> float:
        nonlocal passed
        passed += step in drops
        return base * 0.1**passed

    return _go_on(saved, noise, base, drops, schedule=lr)


def _fixed(saved: dict[str, float], noise: Sequence[float], base: float, drops: Sequence[int]) -> Any:
    at = _rate(saved["step"], base, drops)
    return _go_on(saved, noise, base, drops, schedule=lambda *_: at)


def _w_first(saved: dict[str, float], noise: Sequence[float], base: float, drops: Sequence[int]) -> Any:
    w, v, step = saved["w"], saved["v"], saved["step"]
    for error in noise:
        gradient = w + error
        w = w - _rate(step, base, drops) * v
        v, step = MOMENTUM * v + gradient, step + 1
    return {"w": w, "v": v, "step": step}


def _numbers_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """w after each of the steps that the case asks for: the right loop's way, and where yours ended."""
    saved, noise, base, drops = case.arguments
    way = [_go_on(saved, noise[:n], base, drops)["w"] for n in range(len(noise) + 1)]
    steps = range(saved["step"], saved["step"] + len(way))
    ax.plot(steps, way, "o-", color=ORANGE, linewidth=3)
    ax.plot([steps[-1]], [float(found["w"])], "x", color=RED, markersize=11, markeredgewidth=3)
    for drop in drops:
        ax.axvline(drop, color="0.4", linestyle=":")
    ax.set(xlabel="updates done", ylabel="w", title="orange: wanted; x: yours; dotted: drops")
    ax.title.set_fontsize(9)


START = {"w": 8.0, "v": 0.0, "step": 0}
_NOISE = [0.5, -1.0, 0.25, 1.0, -0.75, 0.5, 1.5, -0.5]
_SAVED = _go_on(START, _NOISE[:4], 0.2, [3, 6])

go_on = Exercise(
    "8.4 going on across a drop",
    _go_on,
    cases=[
        Case("from the start over both drops", (START, _NOISE, 0.2, [3, 6])),
        Case("saved after the first drop", (_SAVED, _NOISE[4:], 0.2, [3, 6])),
        Case("saved at the very step of a drop", ({"w": 3.0, "v": 4.0, "step": 3}, _NOISE[:2], 0.2, [3])),
        Case("nothing left to do", (_SAVED, [], 0.2, [3, 6])),
    ],
    mistakes={
        "the momentum is lost ||: go on with the saved v, not with 0": _instead(keep=False),
        "the schedule begins anew: after resuming the learning rate was high again ||; count from saved['step']": _anew,
        "your learning rate falls when the loop passes a drop, so a run that was saved behind one goes on with the high one ||: compute it from the step": _by_counter,
        "the learning rate is read once before the loop; it may fall inside": _fixed,
        "the state that you return is still at the old step: the next session would start there": _instead(
            counted=False
        ),
        "the drop comes one step early ||: first the update with the learning rate of `step`, then step + 1": _instead(
            ahead=1
        ),
        "that is Caffe's momentum, with the learning rate inside v ||; here it is PyTorch's, v <- 0.9 v + gradient": _instead(
            caffe=True
        ),
        "your gradient is the error alone ||; it is w + error": _instead(pull=0.0),
        "the update goes uphill ||: w minus the learning rate times v": _instead(sign=1.0),
        "that is a running mean, 0.9 v + 0.1 gradient ||; here the gradient comes in whole": _instead(
            damped=0.1
        ),
        "v is the last gradient alone, as if nothing had come before ||: 0.9 of the old v belongs to it": _instead(
            momentum=0.0
        ),
        "w moves with the old v in your loop ||: change v first, then w with the new v": _w_first,
        "step counts all updates of the run, not those of this session alone": lambda saved, noise, base, drops: (
            _go_on(saved, noise, base, drops) | {"step": len(noise)}
        ),
    },
    praise="Stop it where you like: weights, momentum and step are all it has to know, and the learning rate follows.",
    draw=_numbers_on,
    tolerance=1e-7,
    uses=rate,
)

# ---- 8.5 Caffe's momentum


def _caffe(
    w: float, gradients: Sequence[float], rates: Sequence[float], inside: bool = True, sign: float = -1.0
) -> list[float]:
    velocity, weights = 0.0, []
    for gradient, lr in zip(gradients, rates, strict=True):
        velocity = MOMENTUM * velocity + (lr if inside else 1.0) * gradient
        w = w + sign * (1.0 if inside else lr) * velocity
        weights.append(w)
    return weights


def _rescaled(w: float, gradients: Sequence[float], rates: Sequence[float]) -> list[float]:
    """The learning rate inside, and outside as well."""
    velocity, weights = 0.0, []
    for gradient, lr in zip(gradients, rates, strict=True):
        velocity = MOMENTUM * velocity + lr * gradient
        w -= lr * velocity
        weights.append(w)
    return weights


def _velocities(w: float, gradients: Sequence[float], rates: Sequence[float]) -> list[float]:
    places = [w, *_caffe(w, gradients, rates)]
    return [before - after for before, after in zip(places, places[1:], strict=False)]


def _way_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    ax.plot(range(1, len(wanted) + 1), wanted, "o-", color=ORANGE, linewidth=3, label="wanted")
    ax.plot(range(1, len(found) + 1), [float(w) for w in found], "x--", color=RED, label="yours")
    ax.set(xlabel="step", ylabel="w")
    ax.legend(frameon=False)


caffe = Exercise(
    "8.5 Caffe's momentum",
    _caffe,
    cases=[
        Case("a learning rate that stays", (1.0, [1.0, 2.0, -1.0, 0.5], [0.1] * 4)),
        Case("a drop after three steps", (0.0, [1.0] * 6, [0.1] * 3 + [0.01] * 3)),
        Case("no steps", (2.0, [], [])),
    ],
    mistakes={
        "that is PyTorch's: with a learning rate that stays it is the same, after a drop it isn't ||; put the learning rate inside V": lambda *given: (
            _caffe(*given, inside=False)
        ),
        "the learning rate is in twice: V holds it already": _rescaled,
        "the update goes uphill ||: w minus V": lambda *given: _caffe(*given, sign=1.0),
        "that is how far w moved in each step; return w itself": _velocities,
        "the start is in your list; it begins with w after the first step": lambda w, gradients, rates: [
            w,
            *_caffe(w, gradients, rates),
        ],
        "that is w at the end; a list of w after each step was asked for": lambda w, gradients, rates: [
            w,
            *_caffe(w, gradients, rates),
        ][-1],
        "each step forgets those before it, so there is no momentum ||: V keeps 0.9 of what it was": lambda w, gradients, rates: [
            w - sum(lr * g for g, lr in zip(gradients[:n], rates[:n], strict=True))
            for n in range(1, len(rates) + 1)
        ],
    },
    praise="As long as the learning rate stays, it can't be told from PyTorch's.",
    draw=_way_on,
)

# ---- 8.6 the first step after a drop

coasting = Exercise(
    "8.6 the first step after a drop",
    9.1,
    mistakes={
        "too far: 10 is an old step, and V doesn't stay what it was ||; only 0.9 of it is left, and the new gradient comes with a tenth of the learning rate": 10.0,
        "not quite far enough: 9 is what is left of the old V ||; the new gradient comes on top, with a tenth of the learning rate": 9.0,
        "not far enough: 8.1 is how much *more* than one it is ||: 9.1 times as far": 8.1,
        "not far enough: that is Caffe's step against an old one ||; against PyTorch's new one it is ten times that": 0.91,
        "upside down: that is PyTorch's step against Caffe's; the other way round was asked for": 1 / 9.1,
        "not far enough: they are equal only while the learning rate stays ||, and V still holds the old one, ten times as high": 1.0,
    },
    praise="9 + 0.1. Step n after the drop is 1 + 9 · 0.9ⁿ times as long: 4.1 at the tenth, 2.1 at the twentieth.",
    tolerance=1e-3,
)


def _when(
    losses: Sequence[float],
    patience: int,
    least: float,
    creeping: bool = False,
    total: bool = False,
    late: int = 0,
) -> int:
    """The rule. `creeping`: any lower loss is the new best; `total`: bad checks needn't be in a row."""
    best, bad = losses[0], 0
    for i, loss in enumerate(losses[1:], 1):
        good = loss < best - least
        bad = bad * (total or not good) + (not good)
        if good or creeping:
            best = min(best, loss)
        if bad == patience + late:
            return i
    return -1


def _against_the_last(losses: Sequence[float], patience: int, least: float) -> int:
    bad = 0
    for i in range(1, len(losses)):
        bad = 0 if losses[i] < losses[i - 1] - least else bad + 1
        if bad == patience:
            return i
    return -1


def _never_better(losses: Sequence[float], patience: int, least: float) -> int:
    """The best stays the first loss for ever."""
    bad = 0
    for at, loss in enumerate(losses[1:], 1):
        bad = 0 if loss < losses[0] - least else bad + 1
        if bad == patience:
            return at
    return -1


def _place_of_best(losses: Sequence[float], patience: int, least: float) -> int:
    found = _when(losses, patience, least)
    return found - patience if found >= 0 else -1


def _curve_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    losses, patience, least = case.arguments
    ax.plot(losses, "o-", color=BLACK, linewidth=1)
    for at, color, style in ((wanted, ORANGE, "-"), (found, RED, "--")):
        if at is not None and float(at) >= 0:
            ax.axvline(float(at), color=color, linestyle=style, linewidth=3)
    ax.set(xlabel="check", ylabel="validation loss", title=f"patience {patience}; orange: wanted; red: yours")
    ax.title.set_fontsize(9)


when = Exercise(
    "8.7 when to drop",
    _when,
    cases=[
        Case("a plateau", ([8.0, 6.0, 5.0, 5.0, 5.0, 5.0, 5.0], 3, 0.25)),
        Case(
            "a noisy fall",
            ([8.0, 7.0, 7.5, 6.0, 6.5, 6.25, 5.0, 5.5, 4.0, 4.5, 4.25, 4.125, 4.5], 3, 0.25),
        ),
        Case("a slow fall", ([6.0, 5.875, 5.75, 5.625, 5.5, 5.375, 5.25], 3, 0.25)),
        Case("a slow fall, then a plateau", ([6.0, 5.875, 5.75, 5.625, 5.625, 5.625], 3, 0.25)),
        Case("up and down", ([8.0, 6.0, 7.0, 6.5, 7.0, 6.5, 7.0, 6.5], 3, 0.25)),
        Case("it falls to the end", ([8.0, 7.0, 6.0, 5.0, 4.0], 2, 0.25)),
        Case("a dip that is only noise", ([5.0, 4.9375, 4.875, 4.8125, 4.875, 4.9375], 4, 0.25)),
        Case("a gain of exactly `least`", ([5.0, 4.75, 4.75], 2, 0.25)),
    ],
    mistakes={
        "you compare with the check before, so that after one bad check the next looks good ||: compare with the best so far": _against_the_last,
        "your count of bad checks goes on after a good one ||; they have to come in a row, so a good one sets it back to 0": lambda *given: (
            _when(*given, total=True)
        ),
        "one check too late ||: at the `patience`-th bad one it is time": lambda *given: _when(
            *given, late=1
        ),
        "`least` isn't used: a gain of a thousandth is no reason to wait": lambda losses, patience, least: (
            _when(losses, patience, 0.0)
        ),
        "the best is moved by gains that are too small, so a slow fall never counts as good ||: it moves at a good check only": lambda *given: (
            _when(*given, creeping=True)
        ),
        "that is the best check ||; the drop comes `patience` checks after it": _place_of_best,
        "your best stays the first loss for ever ||: a good check also becomes the new best": _never_better,
        "your number is one too small ||: losses[1] is check 1, and `enumerate(losses[1:])` begins with 0": lambda *given: (
            _when(*given) - 1 if _when(*given) >= 0 else -1
        ),
        "your number is one too large: checks are counted from 0": lambda *given: (
            _when(*given) + 1 if _when(*given) >= 0 else -1
        ),
        "where the plateau never comes the answer is -1": lambda *given: (
            _when(*given) if _when(*given) >= 0 else None
        ),
        "where the plateau never comes the answer is -1, not the last check": lambda *given: (
            _when(*given) if _when(*given) >= 0 else len(given[0]) - 1
        ),
        "a gain of exactly `least` isn't *more* than `least` ||: `<`, not `<=`": lambda losses, patience, least: (
            _when(losses, patience, least - 1e-9)
        ),
        "that is the loss at that check; its number was asked for": lambda *given: (
            given[0][_when(*given)] if _when(*given) >= 0 else -1
        ),
    },
    praise="PyTorch's ReduceLROnPlateau with threshold_mode='abs' is this rule: its `patience` is one less, its "
    "`threshold` your `least`.",
    draw=_curve_on,
)
