"""Average precision by the rules of the Pascal VOC development kit, and its result files.

The rules are those of VOCevaldet.m (VOC2007 development kit): the detections of a class are taken in
order of confidence, equal ones in order of the file. Each is compared with the object of its image that it overlaps
most, whether that has been found before or not. An overlap of 0.5 or more is a hit, unless the object is difficult:
then the detection is ignored. A second hit on an object is a false alarm. Overlaps are those of inclusive pixel
numbers ("+1"). All is computed in float64.

A class without objects to be found has no AP (NaN) and is left out of the mean. The kit's rule would divide by zero
there, but it never meets that case on VOC, where every class has objects in every set.
"""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ssdlib import box_ops, files
from ssdlib.records import CLASSES, Detections, Example

METRICS = ("11point", "area")
HIT = 0.5
NO_AP = "-"  # in a table, where a class has no AP
ONE_BASED = (1.0, 1.0, 0.0, 0.0)  # our corners -> VOC's: the inverse of what `voc` does to annotations


class ResultError(ValueError):
    """A result file can't be judged. The message names file, line, what was found and what was wanted."""


@dataclass(frozen=True)
class Results:
    """What the devkit's files hold for one class: n detections in the order of the file."""

    image_ids: Sequence[str]
    scores: np.ndarray  # (n,) float64
    boxes: np.ndarray  # (n, 4) float64, px counted from 1, corners inclusive


@dataclass(frozen=True)
class Objects:
    """All annotated objects of a set, image after image."""

    image_of: dict[str, int]  # position of an image by its id
    images: np.ndarray  # (n,) int64, ascending
    boxes: np.ndarray  # (n, 4) float64, px counted from 1, corners inclusive
    labels: np.ndarray  # (n,) int64
    difficult: np.ndarray  # (n,) bool

    @classmethod
    def of(cls, truth: Sequence[Example]) -> "Objects":
        """Raises as `refuse_repeated`."""
        refuse_repeated(truth)
        return cls(
            image_of={example.image_id: i for i, example in enumerate(truth)},
            images=np.repeat(np.arange(len(truth)), [len(e.labels) for e in truth]),
            boxes=torch.cat([e.boxes for e in truth]).double().numpy() + ONE_BASED,
            labels=torch.cat([e.labels for e in truth]).numpy(),
            difficult=torch.cat([e.difficult for e in truth]).numpy(),
        )


def refuse_repeated(truth: Sequence[Example]) -> None:
    """Raise ResultError if two examples have one id. Detections are told apart by ids, so those in both images would
    be judged by the objects of one of them."""
    first: dict[str, Example] = {}
    for example in truth:
        if (known := example.image_id) in first:
            raise ResultError(
                f"{example.path}: its id {known!r} is that of {first[known].path} too; wanted each id once among the "
                "images that are judged; judge sets that share ids one at a time, or rename the files"
            )
        first[known] = example


@dataclass(frozen=True)
class Curve:
    """Judgement of one class: after each detection, best first, how much was found and how much of it is right."""

    recall: np.ndarray  # (n,) float64
    precision: np.ndarray  # (n,) float64; NaN while only difficult objects were hit
    scores: np.ndarray  # (n,) float64, descending
    objects: int  # those that count, which leaves out difficult ones

    def average_precision(self, metric: str = "11point") -> float:
        return average_precision(self.recall, self.precision, metric)


@dataclass(frozen=True)
class Table:
    """AP per class, in the order of the class list, and the curves it was read from."""

    metric: str
    ap: dict[str, float]  # NaN where a class has no objects to be found
    curves: dict[str, Curve]

    @property
    def mean(self) -> float:
        """Over the classes that have an AP; NaN if none has."""
        known = [ap for ap in self.ap.values() if not np.isnan(ap)]
        return float(np.mean(known)) if known else np.nan

    @property
    def absent(self) -> tuple[str, ...]:
        """The classes without an AP: there are no objects of theirs, or difficult ones only."""
        return tuple(name for name, ap in self.ap.items() if np.isnan(ap))

    def __str__(self) -> str:
        wide = max(12, *map(len, self.ap))
        cells = [f"{name:<{wide}} {percent(ap):>5}" for name, ap in self.ap.items()]
        rows = -(-len(cells) // 4)
        lines = ["   ".join(cells[i::rows]) for i in range(rows)]
        lines.append(f"mAP ({self.metric}) {percent(self.mean, 2)}")
        if self.absent:
            few = ", ".join(self.absent[:5]) + f" and {len(self.absent) - 5} more" * (len(self.absent) > 5)
            lines.append(
                f"no AP ({NO_AP}) and no part in the mean, because the judged images hold no object to find: {few}"
            )
        return "\n".join(lines)

    def as_json(self) -> dict[str, float | None]:
        """AP by class as JSON takes it: null where there is none."""
        return {name: number_or_null(ap) for name, ap in self.ap.items()}

    def write_csv(self, path: Path) -> None:
        """`class,ap` rows and a `mean` row, 12 decimals; nan where there is no AP. Names with a comma are quoted."""
        rows = [*self.ap.items(), ("mean", self.mean)]
        with files.named(path), open(path, "w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerows([("class", "ap"), *((name, f"{ap:.12f}") for name, ap in rows)])


def percent(ap: float, decimals: int = 1) -> str:
    """An AP as text: in percent, or a dash where there is none."""
    return NO_AP if np.isnan(ap) else f"{100 * ap:.{decimals}f}"


def number_or_null(ap: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(ap) else ap


def evaluate(
    results: dict[str, Results],
    truth: Sequence[Example],
    metric: str = "11point",
    classes: Sequence[str] = CLASSES[1:],
) -> Table:
    """Judge detections of every class against the annotated examples. `classes` are the names of labels 1, 2, ...

    Raises ResultError if a detection names an image that isn't among the examples, or if two examples have one id,
    and ValueError for an unknown metric ("11point" is VOC2007's, "area" that of VOC2010 and later).
    """
    if metric not in METRICS:
        raise ValueError(f"metric is {metric!r}; it has to be one of {', '.join(METRICS)}")
    objects = Objects.of(truth)
    curves = {name: judge(results[name], objects, label, classes) for label, name in enumerate(classes, 1)}
    ap = {name: c.average_precision(metric) if c.objects else np.nan for name, c in curves.items()}
    return Table(metric, ap, curves)


def judge(results: Results, objects: Objects, label: int, classes: Sequence[str] = CLASSES[1:]) -> Curve:
    """Precision and recall of the detections of one class."""
    mine = objects.labels == label
    images, boxes, difficult = objects.images[mine], objects.boxes[mine], objects.difficult[mine]
    order = np.argsort(-results.scores, kind="stable")
    try:
        image = np.array([objects.image_of[i] for i in results.image_ids], dtype=np.int64)[order]
    except KeyError as unknown:
        raise ResultError(
            f"{classes[label - 1]}: image {unknown} isn't in the set that is judged"
            f"{_alike(str(unknown.args[0]), objects.image_of)}"
        ) from None

    # the object that each detection overlaps most: of its image the first, then the second, and so on
    first = np.searchsorted(images, image)
    count = np.searchsorted(images, image, side="right") - first
    detected = results.boxes[order]
    best, chosen = np.full(len(image), -np.inf), np.zeros(len(image), np.int64)
    for number in range(count.max(initial=0)):
        asked = np.flatnonzero(number < count)
        object_ = first[asked] + number
        pairs = torch.from_numpy(detected[asked]), torch.from_numpy(boxes[object_])
        overlap = box_ops.iou(*pairs, extent=1.0).numpy()
        better = overlap > best[asked]  # of equals the first one stays
        best[asked[better]], chosen[asked[better]] = overlap[better], object_[better]

    hit = best >= HIT
    ignored = np.zeros(len(image), dtype=bool)
    ignored[hit] = difficult[chosen[hit]]
    counted = np.flatnonzero(hit & ~ignored)
    _, earliest = np.unique(chosen[counted], return_index=True)
    true = np.zeros(len(image), dtype=bool)
    true[counted[earliest]] = True
    false = ~true & ~ignored

    total = int((~difficult).sum())
    found, wrong = np.cumsum(true), np.cumsum(false)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0/0 where a class has no objects or no verdict yet
        return Curve(found / np.float64(total), found / (found + wrong), results.scores[order], total)


def average_precision(recall: np.ndarray, precision: np.ndarray, metric: str = "11point") -> float:
    """AP of a curve. "11point": mean over recall >= 0, 0.1, ... 1 of the best precision from there on
    (VOCevaldet.m); "area": under the curve once it is made
    monotonically decreasing (VOCap.m). NaN precisions count as 0."""
    precision = np.nan_to_num(precision, nan=0.0)
    if metric == "11point":
        # arange(11) * 0.1 gives Octave's 0:.1:1, whose 0.3, 0.6 and 0.7 lie one bit above the decimal number
        return float(np.mean([precision[recall >= t].max(initial=0.0) for t in np.arange(11) * 0.1]))
    recall = np.concatenate([[0.0], np.nan_to_num(recall), [1.0]])
    precision = np.concatenate([[0.0], precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def collect(
    image_ids: Sequence[str], detections: Sequence[Detections], classes: Sequence[str] = CLASSES[1:]
) -> dict[str, Results]:
    """Detections of many photographs as the devkit keeps them: class by class, boxes counted from 1."""
    where = np.repeat(np.arange(len(detections)), [len(d) for d in detections])
    labels = torch.cat([d.labels for d in detections]).numpy()
    scores = torch.cat([d.scores for d in detections]).double().numpy()
    boxes = torch.cat([d.boxes for d in detections]).double().numpy() + ONE_BASED
    ids = np.array(image_ids, dtype=object)[where]
    return {
        name: Results(ids[labels == label].tolist(), scores[labels == label], boxes[labels == label])
        for label, name in enumerate(classes, 1)
    }


def only(results: dict[str, Results], image_ids: Collection[str]) -> dict[str, Results]:
    """The detections in the named images."""
    chosen = {}
    for name, r in results.items():
        keep = np.array([i in image_ids for i in r.image_ids], dtype=bool)
        ids = [i for i, kept in zip(r.image_ids, keep, strict=True) if kept]
        chosen[name] = Results(ids, r.scores[keep], r.boxes[keep])
    return chosen


def _alike(found: str, known: Collection[str]) -> str:
    """Half a sentence that shows how an id should look: the one that was meant, if the set has a similar one."""
    if not known:
        return ""
    last = found.replace("\\", "/").rpartition("/")[2]
    stem = last.rpartition(".")[0] or last
    alike = [
        k
        for k in known
        if k.rpartition("/")[2] == last or k.rpartition("/")[2].rpartition(".")[0] in (last, stem)
    ]
    alike += [k for k in known if k == stem]
    meant = f"{alike[0]!r} is" if alike else f"its ids look like {min(known)!r}"
    return f", {meant}{'' if not alike else ' in it'}; wanted ids as in the set, name by name"
