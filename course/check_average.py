"""Checks of chapter 11, continued: eleven points, area, kinds of errors, and the exercise on paper."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from course import devkit_rule, errors
from course.checking import Case, Exercise, Mistake
from ssdlib.plots import BLUE

# ---- 11.4 eleven points, 11.5 area


def _eleven(recall: list, precision: list) -> float:
    return devkit_rule.eleven_points(recall, precision)


def _points(recall: list, precision: list, levels: Any, value: Callable, by: int) -> float:
    return sum(value([p for r, p in zip(recall, precision, strict=True) if r >= t]) for t in levels) / by


def _area(recall: list, precision: list) -> float:
    heights = [max(precision[i:]) for i in range(len(precision))]
    return float(sum((r - b) * h for b, r, h in zip([0.0, *recall], recall, heights, strict=False)))


def _steps(recall: list, heights: list, begin: float = 0.0) -> float:
    return float(sum((r - b) * h for b, r, h in zip([begin, *recall], recall, heights, strict=False)))


def _left(levels: list, recall: list, precision: list) -> float:
    heights = [max(p for r, p in zip(recall, precision, strict=True) if r >= level) for level in levels]
    return float(sum((b - a) * h for (a, b), h in zip(pairwise(levels), heights, strict=False)))


def _curve_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    recall, precision = case.arguments
    ax.plot(recall, precision, "o-", color=BLUE)
    ax.vlines(np.arange(11) * 0.1, 0, 1, color="0.85", linewidth=1)
    ax.set(xlim=(-0.03, 1.05), ylim=(0, 1.08), xlabel="recall", ylabel="precision")
    ax.set_title(f"wanted {wanted:.4f}, yours {float(found):.4f}", fontsize=9)


SAW = ([0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 1.0, 1.0],) + (
    [1.0, 1.0, 1 / 2, 2 / 3, 2 / 4, 3 / 5, 3 / 5, 3 / 6, 4 / 7, 4 / 8],
)
LATE = ([0.0, 0.2, 0.4, 0.62], [0.0, 1 / 2, 2 / 3, 3 / 4])
SHORTER = ([0.15, 0.15, 0.35], [1.0, 1 / 2, 2 / 3])
CURVES = [
    Case("the ten of the page", SAW),
    Case("precision that rises", LATE),
    Case("recall stops early", SHORTER),
    Case("nothing is found", ([0.0, 0.0], [0.0, 0.0])),
    Case("no detections", ([], [])),
]
LEVELS = [t * 0.1 for t in range(11)]
TEN_POINTS = "ten points in yours: a recall of 0 is one of them, and so is 1"
eleven_points = Exercise(
    "11.4 eleven points",
    _eleven,
    cases=CURVES,
    mistakes=[
        Mistake(
            "that is the precision where the recall is reached first; the best precision from there on was asked for",
            lambda r, p: _points(r, p, LEVELS, lambda s: s[0] if s else 0.0, 11),
        ),
        Mistake(
            "a recall of exactly .2 reaches the point at .2: >=, not >",
            lambda r, p: sum(
                max([q for x, q in zip(r, p, strict=True) if x > t], default=0.0) for t in LEVELS
            ) / 11,
        ),
        Mistake(TEN_POINTS, lambda r, p: _points(r, p, LEVELS[1:], lambda s: max(s, default=0.0), 10)),
        Mistake(TEN_POINTS, lambda r, p: _points(r, p, LEVELS[1:], lambda s: max(s, default=0.0), 11)),
        Mistake(TEN_POINTS, lambda r, p: _points(r, p, LEVELS[:-1], lambda s: max(s, default=0.0), 10)),
        Mistake(TEN_POINTS, lambda r, p: _points(r, p, LEVELS[:-1], lambda s: max(s, default=0.0), 11)),
        Mistake(
            "points that are never reached count as 0; yours divides by those that are reached",
            lambda r, p: _points(
                r, p, [t for t in LEVELS if r and t <= max(r)] or [2.0], lambda s: max(s, default=0.0),
                max(1, len([t for t in LEVELS if r and t <= max(r)])),
            ),
        ),
        Mistake(
            "eleven points, so divide by 11", lambda r, p: _points(r, p, LEVELS, lambda s: max(s, default=0.0), 10)
        ),
        Mistake(
            "the mean of the precisions from there on is taken in yours; take the best of them",
            lambda r, p: _points(r, p, LEVELS, lambda s: sum(s) / len(s) if s else 0.0, 11),
        ),
        Mistake("that is the area; here only eleven values of recall are looked at", _area),
        Mistake(
            "in percent; a number between 0 and 1 was asked for", lambda r, p: 100 * _eleven(r, p)
        ),
    ],
    praise="`ssdlib.evaluate` does it in one line, and passes over NaN.",
    draw=_curve_on,
)  # fmt: skip

area = Exercise(
    "11.5 area",
    _area,
    cases=CURVES,
    mistakes=[
        Mistake(
            "the curve hasn't been made to fall first: each height is the best precision from there on",
            _steps,
        ),
        Mistake(
            "the first step begins at a recall of 0, whatever the first recall is",
            lambda r, p: _steps(r, [max(p[i:]) for i in range(len(p))], begin=r[0] if r else 0.0),
        ),
        Mistake(
            "each step has the height of its left end in yours, and nothing lies before the first recall; take the "
            "right end, from 0 on",
            lambda r, p: _left(sorted(set(r)), r, p),
        ),
        Mistake(
            "the step's own precision belongs to it: the best from i on, not from i + 1 on",
            lambda r, p: _steps(r, [max(p[i + 1 :], default=0.0) for i in range(len(p))]),
        ),
        Mistake(
            "the best precision so far is taken in yours; take the best from there on, up to the end",
            lambda r, p: _steps(r, [max(p[: i + 1]) for i in range(len(p))]),
        ),
        Mistake(
            "those are trapezoids under the curve as it is; make it fall first, then it consists of steps",
            lambda r, p: float(
                sum((b - a) * (u + v) / 2 for a, b, u, v in zip([0.0, *r], r, [*p[:1], *p], p, strict=False))
            ),
        ),
        Mistake(
            "those are trapezoids, and what lies before the first recall is missing; the curve is made of steps",
            lambda r, p: float(
                sum((b - a) * (u + v) / 2 for (a, b), (u, v) in zip(pairwise(r), pairwise(p), strict=True))
            ),
        ),
        Mistake("those are the eleven points of VOC2007; the area under the whole curve was asked for", _eleven),
        Mistake("in percent; a number between 0 and 1 was asked for", lambda r, p: 100 * _area(r, p)),
    ],
    praise="Every true detection adds a step of 1 / total, as high as the best precision from there on.",
    draw=_curve_on,
)  # fmt: skip


# ---- 11.6 kinds of errors


def _named(own: float, other: float, order: str = "dcpb", hit: float = 0.5, near: float = 0.1) -> str:
    questions = {
        "d": (own >= hit, errors.DUPLICATE),
        "c": (other >= hit, errors.CONFUSION),
        "p": (own >= near, errors.PLACE),
        "b": (other >= near, errors.BOTH),
    }
    return next((name for yes, name in (questions[q] for q in order) if yes), errors.BACKGROUND)


kind = Exercise(
    "11.6 kinds of errors",
    errors.kind,
    cases=[
        Case("own .6, other 0", (0.6, 0.0)),
        Case("own .6, other .7", (0.6, 0.7)),
        Case("own .3, other .8", (0.3, 0.8)),
        Case("own .3, other .2", (0.3, 0.2)),
        Case("own .2, other .4", (0.2, 0.4)),
        Case("own .05, other .3", (0.05, 0.3)),
        Case("own 0, other .6", (0.0, 0.6)),
        Case("own 0, other 0", (0.0, 0.0)),
        Case("own .5, other 0", (0.5, 0.0)),
        Case("own .1, other 0", (0.1, 0.0)),
        Case("own 0, other .5", (0.0, 0.5)),
        Case("own 0, other .1", (0.0, 0.1)),
    ],
    mistakes=[
        Mistake(
            "confusion is asked before localisation: the box fits an object of another class",
            lambda a, b: _named(a, b, "dpcb"),
        ),
        Mistake(
            "duplicate is asked first: where an object of the own class is hit, it was found before",
            lambda a, b: _named(a, b, "cdpb"),
        ),
        Mistake(
            "localisation is asked before both: the class is right",
            lambda a, b: _named(a, b, "dcbp"),
        ),
        Mistake(
            ".5 itself is a hit, .1 itself is near: >=, not >",
            lambda a, b: _named(a, b, hit=0.5 + 1e-9, near=0.1 + 1e-9),
        ),
        Mistake(
            "a box that overlaps nothing by .1 or more lies on background",
            lambda a, b: errors.BOTH if _named(a, b) == errors.BACKGROUND else _named(a, b),
        ),
        Mistake(
            "a box on background has nothing to do with an object: less than .1, not less than .5",
            lambda a, b: _named(a, b, near=0.5),
        ),
    ],
    praise="Four questions in this order, and every false detection has one name.",
)


# ---- 11.7 on paper

best_ap = Exercise(
    "11.7 half of the objects",
    6 / 11,
    mistakes=[
        Mistake(
            "that is the area under the curve; of the eleven points, how many have a recall up to .5?", 0.5
        ),
        Mistake("a recall of 0 is a point, too: 0, .1, .2, .3, .4, .5", 5 / 11),
        Mistake("a number between 0 and 1 was asked for, not percent", 600 / 11),
        Mistake("divide by eleven points, not ten", 0.6),
        Mistake(
            "that is the area, and in percent; a number between 0 and 1 from eleven points was asked for", 50
        ),
        Mistake("a number between 0 and 1 was asked for: points divided by 11", 6),
    ],
    tolerance=1e-3,
    praise="54.5 percent for one half of the objects: a recall of 0 is a point, too.",
)
