"""Checks of chapter 11: verdicts, recall and precision, both averages, kinds of errors, one on paper."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from course.evaluation import devkit_rule, errors, judging
from course.evaluation.devkit_rule import OBJECTS, TEN
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Either, Exercise
from ssdlib.plots import BLACK, BLUE, ORANGE, RED

T, F, I = "true", "false", "ignored"  # noqa: E741
SHORT = {devkit_rule.TRUE: T, devkit_rule.FALSE: F, devkit_rule.TWICE: F, devkit_rule.IGNORED: I}


# ---- 11.1 verdicts


def _verdicts(detections: list, objects: list) -> list[str]:
    return [SHORT[v] for v in devkit_rule.verdicts(detections, objects)]


def _judged(
    detections: list,
    objects: list,
    order: Callable = lambda rows: sorted(rows, key=lambda d: -d[1]),
    strict: bool = False,
    same_image: bool = True,
    first: bool = False,
    free_only: bool = False,
    again: str = F,
    difficult: str = I,
    once: bool = False,
    last: bool = False,
    extent: float = 1.0,
    easy_first: bool = False,
    hit: float = 0.5,
    anew: bool = False,
) -> list[str]:
    """The loop with one thing done differently."""
    said, found = [], set()
    for image, _, box in order(list(detections)):
        pairs = [
            (judging.overlap(box, there, extent), number)
            for number, (where, there, hard) in enumerate(objects)
            if (where == image or not same_image)
            and not (free_only and number in found)
            and not (difficult == "unseen" and hard)
        ]
        if first:
            pairs = [pair for pair in pairs if pair[0] >= 0.5][:1]
        if easy_first:
            pairs = [pair for pair in pairs if pair[0] >= 0.5 and not objects[pair[1]][2]] or pairs
        pairs = pairs[::-1] if last else pairs
        most, best = max(pairs, key=lambda pair: pair[0], default=(-math.inf, None))
        mark = best
        if anew and best is not None:  # counted within its image, and not remembered with it
            mark = sum(where == image for where, *_ in objects[:best])
        if most < hit or (strict and most == 0.5):
            said.append(F)
        elif objects[best][2] and difficult == I and not (once and best in found):
            said.append(I)
            found |= {best} if once else set()
        elif objects[best][2] and difficult == F:
            said.append(F)
        elif mark in found:
            said.append(again)
        else:
            said.append(T)
            found.add(mark)
    return said


def _true_to_the_best_overlap(detections: list, objects: list) -> list[str]:
    """Of all hits on an object the one that overlaps it most is true."""
    rows = sorted(detections, key=lambda d: -d[1])
    said, hits = [F] * len(rows), {}
    for place, (image, _, box) in enumerate(rows):
        pairs = [
            (devkit_rule.overlap(box, o[1]), -number) for number, o in enumerate(objects) if o[0] == image
        ]
        share, number = max(pairs, default=(0.0, 0))
        if share >= 0.5 and objects[-number][2]:
            said[place] = I
        elif share >= 0.5:
            hits.setdefault(number, []).append((share, -place))
    for found in hits.values():
        said[-max(found)[1]] = T
    return said


def _as_given(detections: list, objects: list) -> list[str]:
    """The right verdicts, in the order of the input."""
    order = sorted(range(len(detections)), key=lambda i: -detections[i][1])
    there = dict(zip(order, _verdicts(detections, objects), strict=True))
    return [there[i] for i in range(len(detections))]


def _verdicts_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The image of the first detection that is judged wrongly: it, and the objects there."""
    rows = sorted(case.arguments[0], key=lambda d: -d[1])
    wrong = next((i for i in range(len(rows)) if i >= len(found) or found[i] != wanted[i]), 0)
    image, score, box = rows[wrong]
    shown = [(box, BLUE, "-", f"{score:g}")]
    shown += [
        (there, ORANGE, ":" if hard else "-", "difficult" if hard else "object")
        for where, there, hard in case.arguments[1]
        if where == image
    ]
    for (x1, y1, x2, y2), color, style, name in reversed(shown):
        width = 2 if color == BLUE else 4
        ax.add_patch(
            Rectangle(
                (x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linestyle=style, linewidth=width
            )
        )
        ax.text(x1, y1 - 3, name, fontsize=9, color=BLACK)
    every = np.array([corners for corners, *_ in shown], dtype=float)
    ax.set(xlim=(every[:, 0].min() - 15, every[:, 2].max() + 15), aspect="equal")
    ax.set(ylim=(every[:, 3].max() + 15, every[:, 1].min() - 25))
    ax.set_title(f"image {image}: wanted {wanted[wrong]}", fontsize=9)


DOG = (11, 11, 110, 110)
# neighbours: the second box lies nearer to the object that is found already
NEIGHBOURS = (
    [("a", 0.9, (11, 11, 110, 110)), ("a", 0.8, (21, 11, 120, 110))],
    [("a", (11, 11, 110, 110), False), ("a", (41, 11, 140, 110), False)],
)
# the second object of the list is overlapped more
LATER = (
    [("a", 0.9, (41, 11, 140, 110)), ("a", 0.6, (11, 11, 110, 110))],
    [("a", (11, 11, 110, 110), False), ("a", (36, 11, 135, 110), True)],
)
# both objects are overlapped alike, 90 columns of 110; the earlier one is difficult
ALIKE = (
    [("a", 0.9, (21, 11, 120, 110)), ("b", 0.4, (21, 11, 120, 110))],
    [("a", (11, 11, 110, 110), True), ("a", (31, 11, 130, 110), False), ("b", DOG, False)],
)
HARD = (
    [("a", 0.9, DOG), ("a", 0.8, (12, 11, 111, 110)), ("b", 0.7, DOG), ("b", 0.3, (300, 300, 350, 350))],
    [("a", DOG, True), ("b", DOG, False)],
)
verdicts = BuildingBlock(
    "11.1 verdicts",
    _verdicts,
    cases=[
        Case("the ten of the page", (list(TEN), list(OBJECTS))),
        Case("the ten in another order", (list(TEN[::-1]), list(OBJECTS))),
        Case("two objects side by side", NEIGHBOURS),
        Case("an easy and a difficult object side by side", LATER),
        Case("two hits on a difficult object", HARD),
        Case(
            "the lower score fits better",
            ([("a", 0.9, (31, 11, 130, 110)), ("a", 0.8, DOG)], [("a", DOG, False)]),
        ),
        Case(
            "a small object: the + 1 decides",
            ([("a", 0.9, (13, 12, 21, 20))], [("a", (11, 11, 19, 19), False)]),  # 0.528, without it 0.488
        ),
        Case("two objects overlapped alike", ALIKE),
        Case("an overlap of exactly 0.5", ([("a", 0.9, (11, 11, 110, 60))], [("a", DOG, False)])),
        Case("an object of the next image", ([("a", 0.9, DOG)], [("b", DOG, False)])),
        Case("an overlap of 0.47", ([("a", 0.9, (47, 11, 146, 110))], [("a", DOG, False)])),
        Case("no objects at all", ([("a", 0.9, DOG), ("b", 0.2, DOG)], [])),
        Case("no detections", ([], [("a", DOG, False)])),
    ],
    mistakes={
        "your numbers of found objects begin anew in every image, so an object of one image counts as found in another ||; remember image and number": lambda d, o: (
            _judged(d, o, anew=True)
        ),
        "0.45 is the threshold of NMS; here an overlap of less than 0.5 is a miss": lambda d, o: _judged(
            d, o, hit=0.45
        ),
        "you went through the detections as they came ||; the best score comes first": lambda d, o: _judged(
            d, o, order=lambda rows: rows
        ),
        "the worst score came first ||; sort descending": lambda d, o: _judged(
            d, o, order=lambda rows: sorted(rows, key=lambda r: r[1])
        ),
        "right, but in the order of the input; the best score comes first": _as_given,
        "your overlap lacks the + 1 ||; `devkit_rule.overlap` has it": lambda d, o: _judged(d, o, extent=0),
        "an overlap of exactly 0.5 is enough ||: the rule is >= 0.5": lambda d, o: _judged(d, o, strict=True),
        "you call a second hit on an object true ||; it is false, because of all hits on an object only the one with the best score is true": lambda d, o: (
            _judged(d, o, again=T)
        ),
        "you ignore a second hit on an object ||; it is false, and only what hits a difficult object is ignored": lambda d, o: (
            _judged(d, o, again=I)
        ),
        "of several hits on an object you call the one that overlaps best true ||; the one with the best score is true, and every later one is a second hit": _true_to_the_best_overlap,
        "you pass over an object that is found already, so the detection takes a neighbour ||; the devkit looks for the best object, found or not": lambda d, o: (
            _judged(d, o, free_only=True)
        ),
        "you call a hit on a difficult object true ||; it is neither true nor false: ignored": lambda d, o: (
            _judged(d, o, difficult=T)
        ),
        "you call a hit on a difficult object false, although the detector was right ||: it is ignored": lambda d, o: (
            _judged(d, o, difficult=F)
        ),
        "you leave difficult objects out of the search ||; they take part in it, and a hit on one is ignored": lambda d, o: (
            _judged(d, o, difficult="unseen")
        ),
        "you prefer an easy object ||; the devkit takes the one that is overlapped most, also if that is a difficult one": lambda d, o: (
            _judged(d, o, easy_first=True)
        ),
        "you judge the second hit on a difficult object otherwise than the first ||; every one is ignored": lambda d, o: (
            _judged(d, o, once=True)
        ),
        "objects of other images were hit ||: compare only within one image": lambda d, o: _judged(
            d, o, same_image=False
        ),
        "you took the first object with 0.5 or more ||; take the one that is overlapped most": lambda d, o: (
            _judged(d, o, first=True)
        ),
        "of two objects that are overlapped alike you took the later one ||; the earlier one counts": lambda d, o: (
            _judged(d, o, last=True)
        ),
        'right, but say just "false" for a second hit': lambda d, o: devkit_rule.verdicts(d, o),
        'right, but in words, please: "true", "false", "ignored"': lambda d, o: [
            {T: True, F: False, I: None}[v] for v in _verdicts(d, o)
        ],
    },
    praise="Best score first, best object of its image, 0.5 or more, once: VOCevaldet.m in a dozen lines.",
    draw=_verdicts_on,
    name="verdicts",
)


# ---- 11.2 recall and precision


def _curve(said: list[str], total: int) -> tuple[list[float], list[float]]:
    return _counted(said, total, lambda t, f, i: (t / total, t / (t + f) if t + f else 0.0))


def _counted(said: list[str], total: int, point: Callable) -> tuple[list[float], list[float]]:
    counts, points = {T: 0, F: 0, I: 0}, []
    for verdict in said:
        counts[verdict] += 1
        points.append(point(*counts.values()))
    return [float(r) for r, _ in points], [float(p) for _, p in points]


def _both_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    ax.plot(wanted[0], wanted[1], "o-", color=ORANGE, linewidth=3, markersize=9)
    ax.plot(found[0], found[1], "x--", color=RED, markersize=8)
    ax.set(xlim=(-0.03, 1.05), ylim=(0, 1.08), xlabel="recall", ylabel="precision")
    ax.set_title("orange: wanted; dashed red: yours", fontsize=9)


curve = BuildingBlock(
    "11.2 recall and precision",
    _curve,
    cases=[
        Case("true, false, true", ([T, F, T], 4)),
        Case("an ignored one between", ([T, I, F, I, T], 4)),
        Case("ignored ones at the beginning", ([I, I, T, F], 2)),
        Case("false ones only", ([F, F], 3)),
        Case("no detections", ([], 3)),
    ],
    mistakes={
        "ignored ones lower your precision ||; they are neither true nor false, so they don't count": lambda s, n: (
            _counted(s, n, lambda t, f, i: (t / n, t / (t + f + i)))
        ),
        "you count an ignored one as true; it counts for nothing": lambda s, n: _counted(
            s, n, lambda t, f, i: ((t + i) / n, (t + i) / (t + f + i))
        ),
        "your recall divides by the number of detections ||; it is the share of the objects, `total`, that are found": lambda s, n: (
            _counted(s, n, lambda t, f, i: (t / len(s), t / (t + f) if t + f else 0.0))
        ),
        "your recall ends at 1, even where objects are missed ||: divide by all objects, `total`, not by those that are found in the end": lambda s, n: (
            _counted(s, n, lambda t, f, i: (t / max(s.count(T), 1), t / (t + f) if t + f else 0.0))
        ),
        "recall and precision have changed places": lambda s, n: _curve(s, n)[::-1],
        "one point after each detection was asked for; an ignored one repeats the point before it": lambda s, n: (
            _curve([v for v in s if v != I], n)
        ),
        "before anything counts, precision is 0 / 0, and you give 1 there ||; give 0": lambda s, n: _counted(
            s, n, lambda t, f, i: (t / n, t / (t + f) if t + f else 1.0)
        ),
        "before anything counts, precision is 0 / 0; the devkit has NaN there, here 0 was asked for": lambda s, n: (
            _counted(s, n, lambda t, f, i: (t / n, t / (t + f) if t + f else math.nan))
        ),
    },
    praise="Recall never falls. Precision never rises with a false one and never falls with a true one.",
    draw=_both_on,
    parts=("recall", "precision"),
    name="curve",
)


# ---- 11.3 eleven points, 11.4 area


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
TEN_POINTS = "one of your eleven points is missing ||: a recall of 0 is one of them, and so is 1"
eleven_points = BuildingBlock(
    "11.3 eleven points",
    _eleven,
    cases=CURVES,
    mistakes={
        "that is the precision where the recall is reached first ||; the best precision from there on was asked for": lambda r, p: _points(r, p, LEVELS, lambda s: s[0] if s else 0.0, 11),
        "a recall of exactly 0.2 reaches the point at 0.2 ||: >=, not >": lambda r, p: sum(
                max([q for x, q in zip(r, p, strict=True) if x > t], default=0.0) for t in LEVELS
            ) / 11,
        TEN_POINTS: Either((lambda r, p: _points(r, p, LEVELS[1:], lambda s: max(s, default=0.0), 10), lambda r, p: _points(r, p, LEVELS[1:], lambda s: max(s, default=0.0), 11), lambda r, p: _points(r, p, LEVELS[:-1], lambda s: max(s, default=0.0), 10), lambda r, p: _points(r, p, LEVELS[:-1], lambda s: max(s, default=0.0), 11))),



        "you divide by the number of points that are reached ||; those that are never reached count as 0": lambda r, p: _points(
                r, p, [t for t in LEVELS if r and t <= max(r)] or [2.0], lambda s: max(s, default=0.0),
                max(1, len([t for t in LEVELS if r and t <= max(r)])),
            ),
        "you add up eleven points and divide by ten ||: divide by 11": lambda r, p: _points(r, p, LEVELS, lambda s: max(s, default=0.0), 10),
        "you take the mean of the precisions from each recall on ||; take the best of them": lambda r, p: _points(r, p, LEVELS, lambda s: sum(s) / len(s) if s else 0.0, 11),
        "that is the area; here only eleven values of recall are looked at": _area,
        "in percent; a number between 0 and 1 was asked for": lambda r, p: 100 * _eleven(r, p),
    },
    praise="`ssdlib.evaluate` does it in one line, and passes over NaN.",
    draw=_curve_on,
    name="eleven_points",
)  # fmt: skip

area = Exercise(
    "11.4 area",
    _area,
    cases=CURVES,
    mistakes={
        "your heights go up and down: the curve hasn't been made monotonically decreasing first ||; each height is the best precision from there on": _steps,
        "what lies before the first recall is missing ||: the first step begins at a recall of 0, whatever the first recall is": lambda r, p: _steps(r, [max(p[i:]) for i in range(len(p))], begin=r[0] if r else 0.0),
        "your steps have the height of their left ends, and what lies before the first recall is missing ||; take the height of the right end, and begin at a recall of 0": lambda r, p: _left(sorted(set(r)), r, p),
        "your heights leave out the step's own precision ||: the best from i on, not from i + 1 on": lambda r, p: _steps(r, [max(p[i + 1 :], default=0.0) for i in range(len(p))]),
        "you take the best precision so far ||; take the best from there on, up to the end": lambda r, p: _steps(r, [max(p[: i + 1]) for i in range(len(p))]),
        "those are trapezoids under the curve as it is ||; make it monotonically decreasing first, then it consists of steps": lambda r, p: float(
                sum((b - a) * (u + v) / 2 for a, b, u, v in zip([0.0, *r], r, [*p[:1], *p], p, strict=False))
            ),
        "those are trapezoids, and what lies before the first recall is missing ||; the curve is made of steps, from 0 on": lambda r, p: float(
                sum((b - a) * (u + v) / 2 for (a, b), (u, v) in zip(pairwise(r), pairwise(p), strict=True))
            ),
        "those are the eleven points of VOC2007; the area under the whole curve was asked for": _eleven,
        "in percent; a number between 0 and 1 was asked for": lambda r, p: 100 * _area(r, p),
    },
    praise="Every true detection adds a step of 1 / total, as high as the best precision from there on.",
    draw=_curve_on,
)  # fmt: skip


# ---- 11.5 kinds of errors


def _named(own: float, other: float, order: str = "dcpb", hit: float = 0.5, near: float = 0.1) -> str:
    questions = {
        "d": (own >= hit, errors.DUPLICATE),
        "c": (other >= hit, errors.CONFUSION),
        "p": (own >= near, errors.PLACE),
        "b": (other >= near, errors.BOTH),
    }
    return next((name for yes, name in (questions[q] for q in order) if yes), errors.BACKGROUND)


kind = Exercise(
    "11.5 kinds of errors",
    errors.kind,
    cases=[
        Case("own 0.6, other 0", (0.6, 0.0)),
        Case("own 0.6, other 0.7", (0.6, 0.7)),
        Case("own 0.3, other 0.8", (0.3, 0.8)),
        Case("own 0.3, other 0.2", (0.3, 0.2)),
        Case("own 0.2, other 0.4", (0.2, 0.4)),
        Case("own 0.05, other 0.3", (0.05, 0.3)),
        Case("own 0, other 0.6", (0.0, 0.6)),
        Case("own 0, other 0", (0.0, 0.0)),
        Case("own 0.5, other 0", (0.5, 0.0)),
        Case("own 0.1, other 0", (0.1, 0.0)),
        Case("own 0.47, other 0.47", (0.47, 0.47)),
        Case("own 0, other 0.5", (0.0, 0.5)),
        Case("own 0, other 0.1", (0.0, 0.1)),
    ],
    mistakes={
        "you ask for localisation before confusion ||; confusion comes first, because the box fits an object of another class": lambda a, b: (
            _named(a, b, "dpcb")
        ),
        "you ask for confusion before duplicate ||; duplicate comes first, because where an object of the own class is hit, it was found before": lambda a, b: (
            _named(a, b, "cdpb")
        ),
        "you ask for *both* before localisation ||; localisation comes first, because the class is right": lambda a, b: (
            _named(a, b, "dcbp")
        ),
        "0.5 itself is a hit, 0.1 itself is near ||: >=, not >": lambda a, b: _named(
            a, b, hit=0.5 + 1e-9, near=0.1 + 1e-9
        ),
        "you answer *both* for a box that is near no object ||; if it overlaps nothing by 0.1 or more, it lies on background": lambda a, b: (
            errors.BOTH if _named(a, b) == errors.BACKGROUND else _named(a, b)
        ),
        "you answer *background* for a box that is near an object ||: background is less than 0.1, not less than 0.5": lambda a, b: (
            _named(a, b, near=0.5)
        ),
    },
    praise="Four questions in this order, and every false detection has one name.",
)


# ---- 11.6 on paper

best_ap = Exercise(
    "11.6 half of the objects",
    6 / 11,
    mistakes={
        "a little too low: that is the area under the curve; of the eleven points, how many have a recall up to 0.5?": 0.5,
        "too low: you miss one of the points that are reached ||; a recall of 0 is a point, too: 0, 0.1, 0.2, "
        "0.3, 0.4, 0.5": 5 / 11,
        "a number between 0 and 1 was asked for, not percent": Either((600 / 11, 54, 55)),
        "too high: you divided by ten points ||; there are eleven": 0.6,
        "that is the area, and in percent; a number between 0 and 1 from eleven points was asked for": 50,
        "that is how many points are reached; a number between 0 and 1 was asked for ||: points divided by 11": 6,
    },
    tolerance=6e-3,
    praise="54.5 percent for one half of the objects: a recall of 0 is a point, too.",
)
