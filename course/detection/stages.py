"""What chapter 10 looks at: the recorded network's predictions on the mini VOC, and every stage of detection."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from course.kit import opening, pictures
from ssdlib import box_ops, coding, detect, evaluate
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.data import batches, store, voc
from ssdlib.detect import KEEP, NMS_IOU, SCORE, TOP_K
from ssdlib.model import SSD300
from ssdlib.records import Detections, Example, Predictions

STAYS = -1
AT_A_TIME = 8  # scenes shown together, always the same ones, so that the numbers are, too
# By hand: class, score, corners in px of the 300 x 300 input. The five boxes of the page, and two more cases
FIVE = (
    ("dog", 0.9, (60.0, 10.0, 220.0, 170.0)),
    ("dog", 0.8, (60.0, 50.0, 220.0, 210.0)),
    ("dog", 0.7, (60.0, 90.0, 220.0, 250.0)),
    ("cat", 0.6, (60.0, 25.0, 220.0, 185.0)),
    ("dog", 0.5, (60.0, 130.0, 220.0, 290.0)),
)
HANDS = {
    "by hand: the five of the page": FIVE,
    "by hand: a person on a horse": (
        ("horse", 0.9, (60.0, 80.0, 240.0, 260.0)),
        ("person", 0.8, (80.0, 60.0, 220.0, 240.0)),
        ("horse", 0.4, (70.0, 95.0, 255.0, 270.0)),
    ),
    "by hand: two of a kind, close together": (
        ("sheep", 0.9, (60.0, 60.0, 180.0, 180.0)),
        ("sheep", 0.8, (60.0, 100.0, 180.0, 220.0)),
        ("sheep", 0.3, (50.0, 80.0, 190.0, 240.0)),
    ),
}


@dataclass(frozen=True)
class Recorded:
    """Scenes, those of the mini VOC for example, and what a network says about them. It looks at a scene when asked
    about it, and once."""

    examples: list[Example]
    network: SSD300
    anchors: Tensor  # (K, 4) px of the 300 x 300 input
    _said: dict[int, Predictions] = field(default_factory=dict)  # by the first scene of a batch

    @functools.cached_property
    def predictions(self) -> Predictions:
        """Of all B scenes. Takes seconds the first time."""
        firsts = range(0, len(self.examples), AT_A_TIME)
        said = [self._look(first) for first in firsts]
        offsets, logits = (torch.cat([getattr(p, name) for p in said]) for name in ("offsets", "logits"))
        for first in firsts:  # the same numbers, kept once
            mine = slice(first, first + AT_A_TIME)
            self._said[first] = Predictions(offsets[mine], logits[mine])
        return Predictions(offsets, logits)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [example.size for example in self.examples]

    def of(self, i: int) -> Predictions:
        """What is said about scene i: a batch of one."""
        first = i - i % AT_A_TIME
        said, mine = self._look(first), slice(i - first, i - first + 1)
        return Predictions(said.offsets[mine], said.logits[mine])

    def _look(self, first: int) -> Predictions:
        if first not in self._said:
            few = self.examples[first : first + AT_A_TIME]
            with torch.no_grad():
                [batch] = batches.in_order(few, store.Jpegs(few), AT_A_TIME)
                self._said[first] = self.network(batch.images)
        return self._said[first]

    def detect(self, **limits: float) -> list[Detections]:
        """`detect.detect` on all scenes; `limits` are its four numbers."""
        return detect.detect(self.predictions, self.anchors, self.sizes, **limits)

    def mean_ap(self, found: Sequence[Detections]) -> float:
        """mAP of detections in all scenes, in percent, by the rules of VOC2007 (chapter 11)."""
        results = evaluate.collect([e.image_id for e in self.examples], found)
        return 100 * evaluate.evaluate(results, self.examples).mean


@functools.cache
def recorded() -> Recorded:
    """The recorded mini network before the 200 test scenes. In float32, so that every machine agrees."""
    return Recorded(pictures.mini_test_set(), pictures.recorded_network(), default_boxes())


@functools.cache
def opened() -> Recorded:
    """The same network before the scene of chapter 00 with its three objects, which it hasn't seen either."""
    return Recorded([opening.example()], recorded().network, recorded().anchors)


# ---- every stage, one image


@dataclass(frozen=True)
class Ranking:
    """The candidates of one image, best first, and what became of each. n of them, boxes in px of the input."""

    boxes: Tensor  # (n, 4)
    scores: Tensor  # (n,)
    labels: Tensor  # (n,)
    anchors: Tensor  # (n,) which anchor said it
    suppressor: Tensor  # (n,) place of the candidate that suppressed it, STAYS if none did
    kept: Tensor  # (m,) places of those that are left at the end
    above: int  # how many scores exceeded the threshold

    def detections(self, size: tuple[int, int]) -> Detections:
        """What is left, cut off at the border and carried to a photograph of this (width, height)."""
        side = SSD300_ANCHORS.canvas
        placed = box_ops.scale(
            box_ops.clip(self.boxes[self.kept], side, side), size[0] / side, size[1] / side
        )
        return Detections(placed, self.scores[self.kept], self.labels[self.kept])


def verdicts(boxes_: Tensor, scores: Tensor, max_iou: float, labels: Tensor | None = None) -> Tensor:
    """Who suppresses whom: (n, 4), (n,) -> (n,) index of the best kept box that overlaps by more than `max_iou`,
    STAYS for a kept one. With `labels` (n,) only boxes of the same class meet (Caffe, bbox_util.cpp)."""
    labels = torch.zeros(len(scores), dtype=torch.int64) if labels is None else labels
    kept = detect.nms(boxes_, scores, labels, max_iou)  # best first
    found = torch.full((len(scores),), STAYS)
    gone = torch.ones(len(scores), dtype=torch.bool)
    gone[kept] = False
    if gone.any():
        meets = box_ops.iou(boxes_[gone, None], boxes_[kept]) > max_iou
        meets &= labels[gone, None] == labels[kept]
        found[gone] = kept[meets.int().argmax(dim=1)]  # the first of the equals: the best kept one
    return found


def rank(
    probabilities: Tensor,
    boxes_: Tensor,
    score: float = SCORE,
    top_k: int = TOP_K,
    nms_iou: float = NMS_IOU,
    keep: int = KEEP,
    across: bool = False,
) -> Ranking:
    """(K, C) probabilities and (K, 4) decoded boxes of one image, through every stage of `detect.detect`.

    `across` suppresses over all classes together, which the library never does."""
    labels, anchors = detect.best_per_class(probabilities, score, top_k).unbind(dim=1)
    order = probabilities[anchors, labels].argsort(descending=True, stable=True)
    labels, anchors = labels[order], anchors[order]
    scores, places = probabilities[anchors, labels], boxes_[anchors]
    suppressor = verdicts(places, scores, nms_iou, None if across else labels)
    kept = (suppressor == STAYS).nonzero()[:keep, 0]
    above = int((probabilities[:, 1:] > score).sum())
    return Ranking(places, scores, labels, anchors, suppressor, kept, above)


def rank_image(predictions: Predictions, anchors: Tensor, **limits: float) -> Ranking:
    """`rank` on what the network says about one image (a batch of one)."""
    boxes_ = coding.decode(predictions.offsets[0], anchors)
    return rank(predictions.logits[0].softmax(dim=-1), boxes_, **limits)


def funnel(predictions: Predictions, anchors: Tensor, **limits: float) -> dict[str, int]:
    """How much of one image's predictions is left after each stage."""
    _, count, classes = predictions.logits.shape
    ranking = rank_image(predictions, anchors, **limits)
    return {
        "numbers from the network": count * (classes + 4),
        "scores of a class at an anchor": count * (classes - 1),
        "above the score threshold": ranking.above,
        "top-k of each class": len(ranking.scores),
        "left by NMS": int((ranking.suppressor == STAYS).sum()),
        "best of the image (keep)": len(ranking.kept),
        "shown, score of 0.5 or more": int((ranking.scores[ranking.kept] >= 0.5).sum()),
    }


def captions(ranking: Ranking, places: Tensor) -> list[str]:
    """ "dog 0.93" for each of some candidates."""
    names = [voc.CLASSES[label] for label in ranking.labels[places].tolist()]
    return [f"{n} {s:.2f}" for n, s in zip(names, ranking.scores[places].tolist(), strict=True)]
