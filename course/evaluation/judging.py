"""What chapter 11 judges: detections, annotations, and a verdict on each detection, by the devkit's rule or another.

`ssdlib.evaluate` gives curves; here each detection keeps its verdict, its object and its overlap, so that one can
look at it. A `Rule` says what other programs do differently. The devkit's is `Rule()`.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course.detection import stages
from course.evaluation.devkit_rule import FALSE, IGNORED, TRUE, TWICE
from ssdlib import evaluate
from ssdlib.data import voc
from ssdlib.data.results import read_results, result_name
from ssdlib.evaluate import Objects, Results
from ssdlib.records import LABELS, Example

CODES = (TRUE, FALSE, TWICE, IGNORED)
NOTHING = -1
METRICS = ("11point", "area", "101point", "integrate")


@dataclass(frozen=True)
class Subject:
    """Detections of all classes and the examples they were made in."""

    name: str
    results: dict[str, Results]
    examples: list[Example]

    @functools.cached_property
    def objects(self) -> Objects:
        return Objects.of(self.examples)

    @functools.cached_property
    def judged(self) -> dict[str, "Judged"]:
        """By the devkit's rule, class by class."""
        return {name: judge(self.results[name], self.objects, LABELS[name]) for name in self.results}

    @property
    def count(self) -> int:
        return sum(len(r.scores) for r in self.results.values())


@functools.cache
def recorded() -> Subject:
    """What the recorded mini network finds in the 200 test scenes of the mini VOC."""
    seen = stages.recorded()
    results = evaluate.collect([e.image_id for e in seen.examples], seen.detect())
    return Subject("200 painted scenes", results, seen.examples)


@functools.cache
def opened() -> Subject:
    """What the same network finds in the scene of chapter 00."""
    seen = stages.opened()
    results = evaluate.collect([e.image_id for e in seen.examples], seen.detect())
    return Subject("the scene of chapter 00", results, seen.examples)


def from_files(folder: Path | str, devkit: Path | str, sets: Sequence[str] = ("2007-test",)) -> Subject:
    """A folder of the devkit's result files (`runs/.../results`) and the VOCdevkit with the annotations.

    Raises ResultError or VOCError, naming the file, if one of them can't be read."""
    results = read_results(Path(folder), result_name(sets))
    examples = voc.read_sets(Path(devkit), sets)
    known = {example.image_id for example in examples}
    for name, r in results.items():
        if unknown := next((i for i in r.image_ids if i not in known), None):
            raise evaluate.ResultError(
                f"{folder}: {name} in image {unknown!r}; wanted images of {', '.join(sets)} in {devkit}"
            )
    return Subject(f"{folder}", results, examples)


def rows(subject: Subject, name: str) -> tuple[list[tuple], list[tuple]]:
    """One class as `devkit_rule` takes it: (image, score, box) and (image, box, difficult)."""
    r, objects = subject.results[name], subject.objects
    mine = np.flatnonzero(objects.labels == LABELS[name])
    ids = [subject.examples[image].image_id for image in objects.images[mine].tolist()]
    return (
        list(zip(r.image_ids, r.scores.tolist(), r.boxes.tolist(), strict=True)),
        list(zip(ids, objects.boxes[mine].tolist(), objects.difficult[mine].tolist(), strict=True)),
    )


@dataclass(frozen=True)
class Rule:
    """How detections are judged. The defaults are the devkit's."""

    extent: float = 1.0  # added to widths and heights
    hit: float = 0.5  # the overlap that is enough ...
    strict: bool = False  # ... or has to be exceeded
    difficult: str = "ignored"  # "counted" as any other, "unknown": not even annotated
    again: str = "false"  # of a second hit; "next": the best object that is still free; "ignored"
    metric: str = "11point"


@dataclass(frozen=True)
class Judged:
    """The n detections of one class, best first, and what became of each."""

    order: np.ndarray  # (n,) their places in `Results`
    scores: np.ndarray  # (n,)
    said: np.ndarray  # (n,) one of CODES
    nearest: np.ndarray  # (n,) object of the class it overlaps most, a row of `Objects`; NOTHING if none
    overlap: np.ndarray  # (n,) with that object
    total: int  # objects that count

    @functools.cached_property
    def found(self) -> np.ndarray:
        """(n,) true ones so far."""
        return np.cumsum(self.said == TRUE)

    @functools.cached_property
    def wrong(self) -> np.ndarray:
        """(n,) false ones so far, second hits among them."""
        return np.cumsum((self.said == FALSE) | (self.said == TWICE))

    @functools.cached_property
    def recall(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.found / np.float64(self.total)

    @functools.cached_property
    def precision(self) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.found / (self.found + self.wrong)

    def ap(self, metric: str = "11point") -> float:
        return average_precision(self.recall, self.precision, metric)


def judge(results: Results, objects: Objects, label: int, rule: Rule = Rule()) -> Judged:
    """Verdicts on all detections of one class: a loop, so that every rule is one line of it."""
    rows = np.flatnonzero(objects.labels == label)
    if rule.difficult == "unknown":
        rows = rows[~objects.difficult[rows]]
    there: dict[int, list[tuple[int, list[float]]]] = {}
    for row, image, box in zip(
        rows.tolist(), objects.images[rows].tolist(), objects.boxes[rows].tolist(), strict=True
    ):
        there.setdefault(image, []).append((row, box))
    ignored = set(rows[objects.difficult[rows]].tolist()) if rule.difficult == "ignored" else set()
    order = np.argsort(-results.scores, kind="stable")
    images = [objects.image_of[image_id] for image_id in results.image_ids]
    places = results.boxes.tolist()
    said, nearest, overlaps, taken = [], [], [], set()
    for i in order.tolist():
        pairs = [(overlap(places[i], box, rule.extent), row) for row, box in there.get(images[i], ())]
        if rule.again == "next":  # a taken object is no longer seen, unless there is no other
            free = [pair for pair in pairs if pair[1] not in taken and _enough(pair[0], rule)]
            pairs = [pair for pair in free if pair[1] not in ignored] or free or pairs
        share, row = max(pairs, key=lambda pair: pair[0], default=(0.0, NOTHING))  # the first of equals
        if not _enough(share, rule):
            verdict = FALSE
        elif row in ignored:
            verdict = IGNORED
        elif row in taken:
            verdict = IGNORED if rule.again == "ignored" else TWICE
        else:
            verdict = TRUE
            taken.add(row)
        said.append(verdict)
        nearest.append(row if share > 0 else NOTHING)
        overlaps.append(share)
    return Judged(
        order,
        results.scores[order],
        np.array(said, dtype=object),
        np.array(nearest, dtype=np.int64),
        np.array(overlaps),
        len(rows) - len(ignored),
    )


def _enough(share: float, rule: Rule) -> bool:
    return share > rule.hit if rule.strict else share >= rule.hit


@dataclass(frozen=True)
class Standing:
    """Where one stands after the best n detections of a class."""

    true: int
    false: int  # second hits among them
    again: int
    ignored: int
    recall: float
    precision: float  # NaN before anything counts


def standing(judged: Judged, n: int) -> Standing:
    """What the best `n` detections have found."""
    said = judged.said[:n]
    true, ignored, again = (int((said == verdict).sum()) for verdict in (TRUE, IGNORED, TWICE))
    false = n - true - ignored
    return Standing(
        *(true, false, again, ignored),
        true / judged.total if judged.total else float("nan"),
        true / (true + false) if true + false else float("nan"),
    )


def overlap(a: Sequence[float], b: Sequence[float], extent: float = 1.0) -> float:
    """IoU of two boxes of pixel numbers, without a tensor for each pair."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + extent
    height = min(a[3], b[3]) - max(a[1], b[1]) + extent
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = [(x2 - x1 + extent) * (y2 - y1 + extent) for x1, y1, x2, y2 in (a, b)]
    return both / (areas[0] + areas[1] - both)


def average_precision(recall: np.ndarray, precision: np.ndarray, metric: str = "11point") -> float:
    """AP of a curve. Beside the library's two: "101point" (COCO's recalls 0, 0.01, ... 1) and "integrate" (what
    ssd_keras's evaluator calls so: the left height of each step, nothing before the first recall, and the last
    point never looked at). Raises ValueError for another name."""
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; it has to be one of {', '.join(METRICS)}")
    if metric in evaluate.METRICS:
        return evaluate.average_precision(recall, precision, metric)
    precision = np.nan_to_num(precision)
    if metric == "101point":
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, np.linspace(0, 1, 101))
        return float(np.append(envelope, 0.0)[at].mean())
    levels = np.unique(np.nan_to_num(recall))
    best = np.array([precision[recall == level].max(initial=0.0) for level in levels])[:-1]
    height = np.maximum.accumulate(best[::-1])[::-1]
    return float(np.sum(np.diff(levels) * height))


def mean(ap: dict[str, float]) -> float:
    """mAP in percent."""
    return 100 * float(np.mean(list(ap.values())))
