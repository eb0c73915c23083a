"""Anatomy of errors, in the spirit of Hoiem (2012) and TIDE (2020): what kind each false detection is, which objects
no detection came near, and what mAP would be if one kind were put right.

Every false detection asks four questions, and the first yes names it (`kind`). Difficult objects count as objects
here: a box that lies badly on one is no box on background.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from course.evaluation.devkit_rule import FALSE, IGNORED, TRUE, TWICE
from course.evaluation.judging import NOTHING, Judged, Subject, average_precision, overlap
from course.kit.tables import Table, table
from ssdlib.evaluate import HIT
from ssdlib.plots import BLACK, ORANGE, PURPLE, RED, SKY, YELLOW
from ssdlib.records import CLASSES, LABELS

NEAR = 0.1  # below it a box has nothing to do with an object
DUPLICATE, CONFUSION, PLACE, BOTH, BACKGROUND = (
    *("duplicate", "confusion", "localisation", "both", "background"),
)
MISSED = "missed"
KINDS = (DUPLICATE, CONFUSION, PLACE, BOTH, BACKGROUND)
ALL = (*KINDS, MISSED)
STYLES = dict(
    zip(ALL, ((SKY, ""), (PURPLE, "//"), (ORANGE, "\\\\"), (RED, "xx"), (BLACK, ""), (YELLOW, "..")), strict=True)
)  # fmt: skip


def kind(own: float, other: float) -> str:
    """Kind of a false detection whose largest overlap with an object of its class is `own`, with one of any other
    class `other`."""
    if own >= HIT:
        return DUPLICATE
    if other >= HIT:
        return CONFUSION
    if own >= NEAR:
        return PLACE
    return BOTH if other >= NEAR else BACKGROUND


@dataclass(frozen=True)
class ErrorAnatomy:
    """The errors of one class: kinds of its n detections, best first, and objects that no detection came near."""

    judged: Judged
    kinds: np.ndarray  # (n,) one of KINDS, "" where the detection isn't false
    targets: np.ndarray  # (n,) the object that the kind is about, a row of `Objects`; NOTHING for background
    missed: int  # objects that count, aren't found, and that no confusion or localisation is about

    def count(self, name: str) -> int:
        return self.missed if name == MISSED else int((self.kinds == name).sum())


def error_anatomy(subject: Subject) -> dict[str, ErrorAnatomy]:
    """The errors of every class, by the devkit's rule."""
    objects = subject.objects
    there: dict[int, list[tuple[int, list[float]]]] = {}
    for row, (image, box) in enumerate(zip(objects.images.tolist(), objects.boxes.tolist(), strict=True)):
        there.setdefault(image, []).append((row, box))
    labels = objects.labels.tolist()
    parts, near = {}, set()  # near: objects that a confusion or localisation is about
    for name, judged in subject.judged.items():
        results, places = subject.results[name], subject.results[name].boxes.tolist()
        kinds, targets = np.full(len(judged.said), "", dtype=object), judged.nearest.copy()
        for place in np.flatnonzero((judged.said == FALSE) | (judged.said == TWICE)).tolist():
            i = judged.order[place]
            image = objects.image_of[results.image_ids[i]]
            others = [(r, box) for r, box in there.get(image, ()) if labels[r] != LABELS[name]]
            shares = [(overlap(places[i], box), r) for r, box in others]
            other, row = max(shares, key=lambda pair: pair[0], default=(0.0, NOTHING))
            kinds[place] = kind(judged.overlap[place], other)
            if kinds[place] in (CONFUSION, BOTH):
                targets[place] = row
            elif kinds[place] == BACKGROUND:
                targets[place] = NOTHING
        parts[name] = kinds, targets
        near |= set(targets[(kinds == CONFUSION) | (kinds == PLACE)].tolist())
    found = _found(subject)
    missing = [r for r in range(len(labels)) if not objects.difficult[r] and r not in found and r not in near]
    lost = np.bincount([labels[r] for r in missing], minlength=len(LABELS))
    return {n: ErrorAnatomy(subject.judged[n], *parts[n], int(lost[LABELS[n]])) for n in parts}


def _found(subject: Subject) -> set[int]:
    return {row for j in subject.judged.values() for row in j.nearest[j.said == TRUE].tolist()}


def put_right(subject: Subject, found: dict[str, ErrorAnatomy], name: str) -> dict[str, float]:
    """AP of every class if there were no errors of one kind.

    Duplicates, both and background vanish. A confusion gets its object's class, a localisation its object's box:
    it becomes true if no other detection has found that object (the best of several), else it vanishes. Missed
    objects are no longer counted.
    """
    if name == MISSED:
        return {c: _ap(a.judged.said, a.judged.total - a.missed) for c, a in found.items()}
    objects, taken = subject.objects, _found(subject)
    classes = {LABELS[c]: c for c in found}
    lists = {
        c: [(s, v) for s, v, k in zip(a.judged.scores, a.judged.said, a.kinds, strict=True) if k != name]
        for c, a in found.items()
    }
    if name in (CONFUSION, PLACE):
        hits = [
            (a.judged.scores[p], a.targets[p])
            for a in found.values()
            for p in np.flatnonzero(a.kinds == name)
        ]
        for score, row in sorted(hits, key=lambda hit: -hit[0]):
            if row not in taken and not objects.difficult[row]:
                taken.add(row)
                lists[classes[objects.labels[row]]].append((score, TRUE))
    ap = {}
    for c, rows in lists.items():
        rows = sorted(rows, key=lambda row: -row[0])
        ap[c] = _ap(np.array([v for _, v in rows], dtype=object), found[c].judged.total)
    return ap


def _ap(said: np.ndarray, total: int) -> float:
    right = np.cumsum(said == TRUE)
    wrong = np.cumsum((said != TRUE) & (said != IGNORED))
    with np.errstate(invalid="ignore", divide="ignore"):
        return average_precision(right / np.float64(total), right / (right + wrong))


# ---- tables and figures


def counts(found: dict[str, ErrorAnatomy]) -> dict[str, int]:
    """How many errors of each kind there are, all classes together."""
    return {name: sum(a.count(name) for a in found.values()) for name in ALL}


def gains(subject: Subject, found: dict[str, ErrorAnatomy]) -> dict[str, dict[str, float]]:
    """kind -> points of AP that each class would gain if there were none of that kind."""
    now = {c: a.judged.ap() for c, a in found.items()}
    return {
        name: {c: 100 * (ap - now[c]) for c, ap in put_right(subject, found, name).items()} for name in ALL
    }


def totals(found: dict[str, ErrorAnatomy]) -> tuple[int, int]:
    """How many objects are found under their right name by any detection, and how many count."""
    return sum(int((a.judged.said == TRUE).sum()) for a in found.values()), sum(
        a.judged.total for a in found.values()
    )


Column = tuple[str, dict[str, int], dict[str, float], int]  # title, errors, points of mAP they cost, objects


def column(title: str, found: dict[str, ErrorAnatomy], gained: dict[str, dict[str, float]]) -> Column:
    """A pair of columns of `error_table`."""
    return title, counts(found), means(gained), sum(a.judged.total for a in found.values())


def recorded_column(title: str, facts: Mapping[str, Any]) -> Column:
    """The same of what `data_scripts/price_rules.py` or `judge_photographs.py` has written."""
    return title, facts["errors"], means(facts["gains"]), facts["objects"]


def means(gained: dict[str, dict[str, float]]) -> dict[str, float]:
    """kind -> points of mAP, from the points of AP of each class."""
    return {name: float(np.mean(list(by_class.values()))) for name, by_class in gained.items()}


def first_false(found: dict[str, ErrorAnatomy], name: str, count: int = 3) -> list[tuple[str, int]]:
    """The errors of one kind with the highest scores: class, and place in the ranking of the class."""
    rows = [
        (a.judged.scores[p], c, int(p)) for c, a in found.items() for p in np.flatnonzero(a.kinds == name)
    ]
    return [(c, p) for _, c, p in sorted(rows, key=lambda row: -row[0])[:count]]


def confused(
    subject: Subject, found: dict[str, ErrorAnatomy], score: float = 0.5
) -> list[tuple[int, str, str]]:
    """Which class is taken for which, by detections with at least this score: how often, said, is. Frequent first."""
    pairs: dict[tuple[str, str], int] = {}
    for name, a in found.items():
        for place in np.flatnonzero((a.kinds == CONFUSION) & (a.judged.scores >= score)):
            pair = name, CLASSES[subject.objects.labels[a.targets[place]]]
            pairs[pair] = pairs.get(pair, 0) + 1
    return sorted(((n, *pair) for pair, n in pairs.items()), key=lambda row: (-row[0], row[1:]))


def error_table(*columns: Column, note: str = "") -> Table:
    """Kinds of errors, a pair of columns for each `column` or `recorded_column`: share of the false detections (for
    the missed ones of the objects), and the points of mAP they cost."""
    rows = []
    for name in ALL:
        row = [name]
        for _, numbers, gained, objects in columns:
            of = objects if name == MISSED else sum(numbers[k] for k in KINDS)
            row += [numbers[name] / max(of, 1), gained[name]]
        rows.append(row)
    head = [f"{title}, {what}" for title, *_ in columns for what in ("share", "points")]
    return table(rows, ("error", *head), form=("", *[".0%", "+.1f"] * len(columns)), note=note)


def draw_gains(gained: dict[str, dict[str, float]], title: str) -> Figure:
    """Points of AP that each kind costs each class, side by side: one small panel a kind, one bar a class."""
    figure, axes = plt.subplots(
        1, len(ALL), figsize=(10, 4.8), sharey=True, sharex=True, layout="constrained"
    )
    costs = means(gained)
    most = max(costs, key=costs.get)
    figure.suptitle(
        f"{title}: the errors called {most} cost most, {costs[most]:.1f} points of mAP", fontsize=11
    )
    classes = sorted(gained[PLACE], key=lambda c: max(gained[k][c] for k in ALL))
    for ax, name in zip(axes, ALL, strict=True):
        color, hatch = STYLES[name]
        values = [gained[name][c] for c in classes]
        ax.barh(classes, values, color=color, hatch=hatch, edgecolor="white", linewidth=0.4)
        ax.set_title(f"{name}\n{sum(values) / len(values):+.1f}", fontsize=10)
        ax.tick_params(labelsize=9)
        ax.grid(axis="x", color="0.9")
        ax.set_axisbelow(True)
        ax.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("points of AP gained if this kind were put right", fontsize=9)
    return figure
