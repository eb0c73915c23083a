"""What each rule of judging is worth: the same detections judged as the devkit does, and with one thing different.

`data_scripts/price_rules.py` has recorded the same prices on 52,404 real detections; `recorded_prices` reads them.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from course.evaluation.devkit_rule import FALSE, TRUE, TWICE
from course.evaluation.judging import Rule, Subject, average_precision, judge, mean
from course.kit.tables import Table, table
from ssdlib.evaluate import ONE_BASED, Results
from ssdlib.records import LABELS

RECORDED = Path(__file__).parents[1] / "facts" / "real_detections.json"
DEVKIT, POOLED = "the devkit's rule", "one ranking of all classes"
Change = Callable[[dict[str, Results], Subject], dict[str, Results]]


@dataclass(frozen=True)
class Variant:
    """One thing done differently: the rule, or the detections before they are judged."""

    group: str
    name: str
    rule: Rule = Rule()
    change: Change | None = None


# ---- changes to detections


def each(change: Callable[[Results], Results]) -> Change:
    """A change that looks at one class alone."""
    return lambda results, subject: {name: change(r) for name, r in results.items()}


def moved(r: Results, by: Sequence[float]) -> Results:
    return Results(r.image_ids, r.scores, r.boxes + by)


def chosen(r: Results, keep: np.ndarray) -> Results:
    """The detections at these places, in this order."""
    return Results([r.image_ids[i] for i in keep.tolist()], r.scores[keep], r.boxes[keep])


def rounded(digits: int) -> Change:
    return each(lambda r: Results(r.image_ids, r.scores.round(digits), r.boxes))


def reversed_equals(results: dict[str, Results], subject: Subject) -> dict[str, Results]:
    """Scores with two decimals in a file read backwards: what a sort that isn't stable may do to equals."""
    return {
        name: chosen(r, np.arange(len(r.scores))[::-1]) for name, r in rounded(2)(results, subject).items()
    }


def above(score: float) -> Change:
    return each(lambda r: chosen(r, np.flatnonzero(r.scores > score)))


def best_of_image(count: int) -> Change:
    """The `count` best detections of each image, all classes together."""

    def change(results: dict[str, Results], subject: Subject) -> dict[str, Results]:
        rows = [(s, i) for r in results.values() for i, s in zip(r.image_ids, r.scores.tolist(), strict=True)]
        taken: dict[str, int] = {}
        stays = np.zeros(len(rows), dtype=bool)
        for place in sorted(range(len(rows)), key=lambda n: -rows[n][0]):
            image = rows[place][1]
            taken[image] = taken.get(image, 0) + 1
            stays[place] = taken[image] <= count
        ends = np.cumsum([len(r.scores) for r in results.values()])[:-1]
        parts = np.split(stays, ends)
        return {
            name: chosen(r, np.flatnonzero(part))
            for (name, r), part in zip(results.items(), parts, strict=True)
        }

    return change


whole = each(lambda r: moved(r, r.boxes.round() - r.boxes))


def where_the_class_is(results: dict[str, Results], subject: Subject) -> dict[str, Results]:
    """Only the detections in images that hold an object of their class."""
    there = {
        name: {e.image_id for e in subject.examples if (e.labels == LABELS[name]).any()} for name in results
    }
    return {
        name: chosen(r, np.flatnonzero([i in there[name] for i in r.image_ids]))
        for name, r in results.items()
    }


VARIANTS = (
    Variant("AP of the curve", "area under the curve (VOC2010 and later)", Rule(metric="area")),
    Variant("AP of the curve", "101 points of recall (COCO)", Rule(metric="101point")),
    Variant("AP of the curve", "'integrate' of ssd_keras's evaluator", Rule(metric="integrate")),
    Variant("overlap", "no + 1", Rule(extent=0.0)),
    Variant("overlap", "more than 0.5, not 0.5 itself", Rule(strict=True)),
    Variant("overlap", "no + 1 and more than 0.5 (amdegroot)", Rule(extent=0.0, strict=True)),
    Variant("overlap", "whole pixels, and more than 0.5", Rule(strict=True), whole),
    Variant("overlap", "an overlap of 0.75 wanted", Rule(hit=0.75)),
    Variant("difficult objects", "counted as any other", Rule(difficult="counted")),
    Variant("difficult objects", "not annotated: a hit is false", Rule(difficult="unknown")),
    Variant("second hits", "ignored", Rule(again="ignored")),
    Variant("second hits", "may take the next object that is free", Rule(again="next")),
    Variant("files", "boxes rounded to whole pixels", change=whole),
    Variant("files", "boxes cut to whole pixels", change=each(lambda r: moved(r, np.trunc(r.boxes) - r.boxes))),
    Variant("files", "counted from 0: all corners 1 px less", change=each(lambda r: moved(r, -1.0))),
    Variant("files", "our own corners: minima 1 px less", change=each(lambda r: moved(r, -np.array(ONE_BASED)))),
    Variant("files", "scores with 4 decimals", change=rounded(4)),
    Variant("files", "scores with 3 decimals", change=rounded(3)),
    Variant("files", "scores with 2 decimals", change=rounded(2)),
    Variant("files", "2 decimals, equals in reverse order", change=reversed_equals),
    Variant("cut off", "only scores above 0.05", change=above(0.05)),
    Variant("cut off", "only scores above 0.1", change=above(0.1)),
    Variant("cut off", "only scores above 0.5", change=above(0.5)),
    Variant("cut off", "the 100 best of an image", change=best_of_image(100)),
    Variant("cut off", "the 10 best of an image", change=best_of_image(10)),
    Variant("images and classes", "only images that hold the class", change=where_the_class_is),
)  # fmt: skip


# ---- prices


def ap_by_class(subject: Subject, variant: Variant | None = None) -> dict[str, float]:
    """AP of every class, 0 to 1, with one thing done differently."""
    rule = variant.rule if variant else Rule()
    results = variant.change(subject.results, subject) if variant and variant.change else subject.results
    return {
        name: judge(r, subject.objects, LABELS[name], rule).ap(rule.metric) for name, r in results.items()
    }


def pooled(subject: Subject) -> float:
    """AP of all classes in one ranking by score, as if they were one."""
    judged = subject.judged.values()
    order = np.argsort(-np.concatenate([j.scores for j in judged]), kind="stable")
    said = np.concatenate([j.said for j in judged])[order]
    found, wrong = np.cumsum(said == TRUE), np.cumsum((said == FALSE) | (said == TWICE))
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, precision = found / np.float64(sum(j.total for j in judged)), found / (found + wrong)
    return average_precision(recall, precision)


def prices(subject: Subject) -> dict[str, dict[str, float]]:
    """name of a variant -> AP by class; the devkit's own rule first. Takes seconds for 50,000 detections."""
    found = {DEVKIT: ap_by_class(subject)} | {v.name: ap_by_class(subject, v) for v in VARIANTS}
    return found | {POOLED: dict.fromkeys(subject.results, pooled(subject))}


def recorded_prices() -> dict[str, Any]:
    """What `data_scripts/price_rules.py` wrote: the prices on real detections, and where they come from."""
    return json.loads(RECORDED.read_text(encoding="utf-8"))


def price_list(here: dict[str, dict[str, float]], there: dict[str, dict[str, float]]) -> Table:
    """Points of mAP above or below the devkit's rule, a line for each variant: `here`, `there`, and the class of
    `there` that it changes most."""
    groups = {v.name: v.group for v in VARIANTS} | {POOLED: "images and classes"}
    rows = []
    for name, group in groups.items():
        points = [mean(c[name]) - mean(c[DEVKIT]) for c in (here, there)]
        most, worst = extreme(there, name)
        alone = name == POOLED or not round(most, 2)  # no class of its own, or no change at all
        rows.append((group, name, *points, "" if alone else worst, None if alone else most))
    by_rule = f"{DEVKIT}: mAP {mean(here[DEVKIT]):.1f} here, {mean(there[DEVKIT]):.2f} on VOC2007"
    head = ("about", "changed", "here", "VOC2007", "most changed class", "by")
    return table(rows, head, form=("", "", "+.1f", "+.2f", "", "+.2f"), caption=f"{by_rule}. Points of mAP:")


def extreme(found: dict[str, dict[str, float]], name: str) -> tuple[float, str]:
    """By how many points a variant changes the class that it changes most, and which class that is."""
    change = {c: 100 * (ap - found[DEVKIT][c]) for c, ap in found[name].items()}
    worst = max(change, key=lambda c: abs(change[c]))
    return change[worst], worst


def origin(facts: dict[str, Any]) -> str:
    """What a recording was made of, when, where, with which code."""
    return (
        f"{facts['count']:,} detections in {facts['images']:,} images: {facts['detections']}; recorded "
        f"{facts['date']} on {facts['device']}, commit {facts['commit'][:10]}, random seed: {facts['seed']}"
    )
