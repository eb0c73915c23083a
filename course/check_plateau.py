"""Checks of chapter 08: the exercise on when to drop the rate."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes

from course.checking import Case, Exercise, Mistake
from ssdlib.plots import BLACK, ORANGE, RED


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
        Case("up and down", ([8.0, 6.0, 7.0, 6.5, 7.0, 6.5, 7.0, 6.5], 3, 0.25)),
        Case("it falls to the end", ([8.0, 7.0, 6.0, 5.0, 4.0], 2, 0.25)),
        Case("a dip that is only noise", ([5.0, 4.9375, 4.875, 4.8125, 4.875, 4.9375], 4, 0.25)),
        Case("a gain of exactly `least`", ([5.0, 4.75, 4.75], 2, 0.25)),
    ],
    mistakes=[
        Mistake(
            "compare with the best so far, not with the check before: after one bad check the next looks good",
            _against_the_last,
        ),
        Mistake(
            "the bad checks have to come in a row: a good one sets the count back to 0",
            lambda *given: _when(*given, total=True),
        ),
        Mistake(
            "one check too late: at the `patience`-th bad one it is time",
            lambda *given: _when(*given, late=1),
        ),
        Mistake(
            "`least` isn't used: a gain of a thousandth is no reason to wait",
            lambda losses, patience, least: _when(losses, patience, 0.0),
        ),
        Mistake(
            "the best is moved by gains that are too small, so a slow fall never counts as good: it moves at a good "
            "check only",
            lambda *given: _when(*given, creeping=True),
        ),
        Mistake("that is the best check; the drop comes `patience` checks after it", _place_of_best),
        Mistake("a good check also becomes the new best", _never_better),
        Mistake(
            "one too small: losses[1] is check 1, and `enumerate(losses[1:])` begins with 0",
            lambda *given: _when(*given) - 1 if _when(*given) >= 0 else -1,
        ),
        Mistake(
            "checks are counted from 0",
            lambda *given: _when(*given) + 1 if _when(*given) >= 0 else -1,
        ),
        Mistake(
            "where the plateau never comes the answer is -1",
            lambda *given: _when(*given) if _when(*given) >= 0 else None,
        ),
        Mistake(
            "where the plateau never comes the answer is -1, not the last check",
            lambda *given: _when(*given) if _when(*given) >= 0 else len(given[0]) - 1,
        ),
        Mistake(
            "a gain of exactly `least` isn't *more* than `least`: `<`, not `<=`",
            lambda losses, patience, least: _when(losses, patience, least - 1e-9),
        ),
        Mistake(
            "that is the loss at that check; its number was asked for",
            lambda *given: given[0][_when(*given)] if _when(*given) >= 0 else -1,
        ),
    ],
    praise="PyTorch's ReduceLROnPlateau with threshold_mode='abs' is this rule: its `patience` is one less, its "
    "`threshold` your `least`.",
    draw=_curve_on,
)
