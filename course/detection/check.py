"""Checks of chapter 10: the exercises on decoding, thresholds, suppression and the way back to the photograph."""

from collections.abc import Callable
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib import box_ops, detect
from ssdlib.coding import VARIANCES
from ssdlib.plots import BLACK, BLUE, ORANGE, RED

SIDE = 300.0


def _boxes_on(ax: Axes, boxes: Tensor, color: str, style: str, width: float, names: list[str] = ()) -> None:
    for i, (x1, y1, x2, y2) in enumerate(torch.as_tensor(boxes).double().reshape(-1, 4).tolist()):
        ax.add_patch(_rectangle(x1, y1, x2, y2, edgecolor=color, linestyle=style, linewidth=width))
        if i < len(names):
            ax.text(x1, y1 - 3, names[i], fontsize=9, color=color)


def _rectangle(x1: float, y1: float, x2: float, y2: float, **style: Any) -> Rectangle:
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, **style)


def _fit(ax: Axes, *groups: Any) -> None:
    every = torch.cat([torch.as_tensor(g).double().reshape(-1, 4) for g in groups])
    low, high = every[:, :2].amin(dim=0) - 25, every[:, 2:].amax(dim=0) + 25
    ax.set(xlim=(low[0], high[0]), ylim=(high[1], low[1]), aspect="equal")


def _decoded_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Anchors thin and black, wanted boxes orange, the others red and dashed."""
    _boxes_on(ax, case.arguments[1], BLACK, ":", 1.0)
    _boxes_on(ax, wanted, ORANGE, "-", 3.0)
    _boxes_on(ax, found, RED, "--", 2.0)
    _fit(ax, case.arguments[1], wanted, found)
    ax.set_title("dotted: anchors; orange: wanted; dashed red: yours", fontsize=9)


def _kept_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """All boxes thin; those to keep orange, those that were kept dashed and red."""
    boxes, scores = case.arguments[:2]
    names = [f"{i}: {s:.2f}" for i, s in enumerate(scores.tolist())]
    _boxes_on(ax, boxes, BLACK, ":", 1.0, names)
    _boxes_on(ax, boxes[torch.as_tensor(wanted).long()], ORANGE, "-", 4.0)
    _boxes_on(ax, boxes[torch.as_tensor(found).long()], RED, "--", 2.0)
    _fit(ax, boxes)
    ax.set_title("orange: to keep; dashed red: you kept", fontsize=9)


def _placed_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    width, height = case.arguments[1]
    ax.add_patch(_rectangle(0, 0, width, height, edgecolor=BLUE, linewidth=1.0))
    _boxes_on(ax, wanted, ORANGE, "-", 3.0)
    _boxes_on(ax, found, RED, "--", 2.0)
    _fit(ax, [0.0, 0.0, width, height], wanted, found)
    ax.set_title("blue: photograph; orange: wanted; dashed red: yours", fontsize=9)


# ---- 10.1 from offsets to boxes


def _decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    return _moved(offsets * torch.tensor(VARIANCES), box_ops.to_cxcywh(anchors))


def _moved(scaled: Tensor, anchor_cxcywh: Tensor) -> Tensor:
    centre = anchor_cxcywh[:, :2] + scaled[:, :2] * anchor_cxcywh[:, 2:]
    size = anchor_cxcywh[:, 2:] * scaled[:, 2:].exp()
    return box_ops.to_xyxy(torch.cat([centre, size], dim=1))


LIMIT = 4.135  # log(1000 / 16), torchvision's: no box grows to more than 62.5 times its anchor


def _sized(offsets: Tensor, anchors: Tensor, size: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    anchor, scaled = box_ops.to_cxcywh(anchors), offsets * torch.tensor(VARIANCES)
    centre = anchor[:, :2] + scaled[:, :2] * anchor[:, 2:]
    return box_ops.to_xyxy(torch.cat([centre, size(anchor[:, 2:], scaled[:, 2:])], dim=1))


def _in_pixels(offsets: Tensor, anchors: Tensor) -> Tensor:
    anchor, scaled = box_ops.to_cxcywh(anchors), offsets * torch.tensor(VARIANCES)
    size = anchor[:, 2:] * scaled[:, 2:].exp()
    return box_ops.to_xyxy(torch.cat([anchor[:, :2] + scaled[:, :2], size], dim=1))


ANCHORS = torch.tensor([[60.0, 60, 120, 180], [150, 90, 250, 140], [20, 200, 80, 260]])
OFFSETS = torch.tensor([[1.0, -0.5, 0.5, -1.0], [-2.0, 1.0, 1.0, 2.0], [0.5, 0.5, -1.5, 0.5]])
decode = BuildingBlock(
    "10.1 decode",
    _decode,
    cases=[
        Case("one anchor, only moved", (torch.tensor([[1.0, -2.0, 0.0, 0.0]]), ANCHORS[:1])),
        Case("three anchors", (OFFSETS, ANCHORS)),
        Case("beyond the border", (torch.tensor([[0.0, 0, 5, 22.5]]), torch.tensor([[250.0, 90, 290, 130]]))),
        Case("no anchor at all", (torch.zeros(0, 4), torch.zeros(0, 4))),
    ],
    mistakes={
        "nothing is clipped here ||: a decoded box may reach beyond the border; exercise 10.6 clips": lambda offsets, anchors: (
            _decode(offsets, anchors).clamp(0, 300)
        ),
        "nothing limits the growth here ||; torchvision has a limit, Caffe has none": lambda offsets, anchors: (
            _sized(offsets, anchors, lambda size, t: size * t.clamp(max=LIMIT).exp())
        ),
        "your boxes move and grow too much: the variances are missing ||; multiply the offsets by 0.1, 0.1, 0.2, 0.2 first": lambda offsets, anchors: (
            _moved(offsets, box_ops.to_cxcywh(anchors))
        ),
        "you divided by the variances, as encoding does ||; decoding multiplies": lambda offsets, anchors: (
            _moved(offsets / torch.tensor(VARIANCES), box_ops.to_cxcywh(anchors))
        ),
        "an offset of 0 keeps the anchor's size, but yours makes it 0 ||: the size is the anchor's times exp(0.2 · offset)": lambda offsets, anchors: (
            _sized(offsets, anchors, lambda size, t: size * t)
        ),
        "you added the growth to the size, but it is a factor ||: multiply": lambda offsets, anchors: _sized(
            offsets, anchors, lambda size, t: size + t.exp()
        ),
        "your centre moves by pixels ||; it moves by a part of the anchor's width and height": _in_pixels,
        "you took the anchors for centres and sizes; they come as corners ||, so convert them first with `box_ops.to_cxcywh`": lambda offsets, anchors: (
            _moved(offsets * torch.tensor(VARIANCES), anchors)
        ),
        "these are centres and sizes; corners were asked for ||: `box_ops.to_xyxy`": lambda offsets, anchors: (
            box_ops.to_cxcywh(_decode(offsets, anchors))
        ),
    },
    praise="Centre moved in units of the anchor, size multiplied: `coding.decode`.",
    draw=_decoded_on,
    name="decode",
)


# ---- 10.2 candidates


def _candidates(probabilities: Tensor, score: float) -> Tensor:
    label, anchor = (probabilities.T[1:] > score).nonzero(as_tuple=True)
    return torch.stack([label + 1, anchor], dim=1)


def _best_only(probabilities: Tensor, score: float, first: int) -> Tensor:
    """Each anchor's best class only, among those from `first` on."""
    best, label = probabilities[:, first:].max(dim=1)
    label = label + first
    rows = [[int(label[k]), k] for k in range(len(best)) if best[k] > score and label[k] > 0]
    return torch.tensor(sorted(rows), dtype=torch.int64).reshape(-1, 2)


# background and three classes; eighths and quarters, so that "exactly the threshold" is exact
MIXED = torch.tensor(
    [[0.375, 0.25, 0.0, 0.375], [0.125, 0.5, 0.375, 0.0], [0.875, 0.0, 0.0, 0.125], [0.25, 0.0, 0.375, 0.375]]
)
candidates = BuildingBlock(
    "10.2 candidates",
    _candidates,
    cases=[
        Case("four anchors, threshold 0.2", (MIXED, 0.2)),
        Case("threshold 0.3", (MIXED, 0.3)),
        Case("a score of exactly the threshold", (MIXED, 0.125)),
        Case("nothing is found", (MIXED[2:3], 0.5)),
    ],
    mistakes={
        "background is in your list ||; class 0 is no object, so it is never a candidate": lambda p, score: (
            p.T > score
        ).nonzero(),
        "your labels are one too low ||: without the column of background, column 0 is class 1": lambda p, score: (
            (p.T[1:] > score).nonzero()
        ),
        "you took each anchor's best class only, background included ||; compare every class but background with the threshold": lambda p, score: (
            _best_only(p, score, 0)
        ),
        "you took each anchor's best class only ||; one anchor may be a candidate for several classes": lambda p, score: (
            _best_only(p, score, 1)
        ),
        "a score of exactly the threshold isn't enough ||: the rule is >, yours is >=": lambda p, score: (
            (p.T[1:] >= score).nonzero() + torch.tensor([1, 0])
        ),
        "the label comes first, then the anchor": lambda p, score: _candidates(p, score).flip(1),
        "class by class was asked for; yours go anchor by anchor": lambda p, score: (
            (p[:, 1:] > score).nonzero() + torch.tensor([0, 1])
        ).flip(1),
    },
    praise="Every class is asked for itself, background never: an anchor may be two candidates.",
    name="candidates",
)


# ---- 10.3 the best of each class


def _best(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    chosen = [
        i
        for i in range(len(scores))
        if sum(1 for j in range(len(scores)) if labels[j] == labels[i] and scores[j] > scores[i]) < k
    ]
    return torch.tensor(chosen, dtype=torch.int64)


def _in_class_places(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    parts = [scores[labels == label].argsort(descending=True)[:k] for label in labels.unique()]
    return torch.cat(parts).sort().values if parts else torch.zeros(0, dtype=torch.int64)


SEVEN = torch.tensor([0.3, 0.9, 0.6, 0.5, 0.95, 0.1, 0.7])
KINDS = torch.tensor([7, 3, 3, 7, 3, 7, 3])
top_k = BuildingBlock(
    "10.3 the best of each class",
    _best,
    cases=[
        Case("two of each class", (SEVEN, KINDS, 2)),
        Case("one of each class", (SEVEN, KINDS, 1)),
        Case("fewer than k are there", (SEVEN, KINDS, 5)),
        Case("no candidates", (torch.zeros(0), torch.zeros(0, dtype=torch.int64), 2)),
    ],
    mistakes={
        "those are the best of all classes together; each class has a list of its own": lambda scores, labels, k: (
            scores.argsort(descending=True)[:k].sort().values
        ),
        "those are the worst of each class ||: sort descending": lambda scores, labels, k: _best(
            -scores, labels, k
        ),
        "those are the first of each class, not the best ||: sort by score before you cut": lambda scores, labels, k: (
            _best(-torch.arange(len(scores)), labels, k)
        ),
        "those are indices within the class; the indices in `scores` were asked for": _in_class_places,
    },
    praise="Each class has its own list, so a crowd of one class pushes no other class out.",
    name="top_k",
)


# ---- 10.4 suppression


def _suppress(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(box_ops.iou(boxes[i], boxes[j]) <= max_iou for j in kept):
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def _ghosts(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    order = scores.argsort(descending=True, stable=True)
    close = box_ops.iou(boxes[order, None], boxes[order]) > max_iou
    return order[~close.triu(1).any(dim=0)]


def _last_only(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if not kept or box_ops.iou(boxes[i], boxes[kept[-1]]) <= max_iou:
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


def _removed_in_the_loop(boxes: Tensor, scores: Tensor, max_iou: float) -> Tensor:
    order, kept = scores.argsort(descending=True, stable=True).tolist(), []
    while order:
        kept.append(order.pop(0))
        for j in order:
            if box_ops.iou(boxes[kept[-1]], boxes[j]) > max_iou:
                order.remove(j)  # the loop goes on behind what has moved up
    return torch.tensor(kept, dtype=torch.int64)


def _rows(*tops: float) -> Tensor:
    """Boxes of 160 x 160 px: shifted by 40 px two have IoU 0.6, by 80 px one third."""
    return torch.tensor([[60.0, y, 220.0, y + 160.0] for y in tops])


FOUR = (_rows(90, 10, 130, 50), torch.tensor([0.7, 0.9, 0.5, 0.8]), 0.45)
HALVES = (
    torch.tensor([[0.0, 0, 80, 40], [0, 0, 40, 40], [0, 0, 80, 36]]),
    torch.tensor([0.9, 0.8, 0.7]),
    0.5,
)
APART = (
    torch.tensor([[0.0, 0, 80, 80], [150, 0, 230, 80], [5, 0, 85, 80], [155, 0, 235, 80]]),
    torch.tensor([0.6, 0.9, 0.8, 0.7]),
    0.45,
)
NOTHING = (torch.zeros(0, 4), torch.zeros(0), 0.45)
suppress = BuildingBlock(
    "10.4 suppression",
    _suppress,
    cases=[
        Case("four boxes below one another", FOUR),
        Case("two objects", APART),
        Case("an IoU of exactly the threshold", HALVES),
        Case("three boxes on one object", (_rows(10, 14, 18), torch.tensor([0.9, 0.8, 0.7]), 0.45)),
        Case("no boxes", NOTHING),
    ],
    mistakes={
        "after a box is taken off the list, your loop passes over the next one ||; don't remove from a list while you loop over it": _removed_in_the_loop,
        "an IoU of exactly the threshold suppresses nothing ||: it has to exceed it (>, not >=)": lambda b, s, m: (
            _suppress(b, s, m - 1e-6)
        ),
        "a suppressed box has suppressed another one ||: compare with the boxes that you have kept, not with all better ones": _ghosts,
        "you took the boxes as they came ||; go from the best score down": lambda b, s, m: _suppress(
            b, -torch.arange(len(b)).float(), m
        ),
        "you compared with the last kept box only ||; every kept box counts": _last_only,
        "those are the boxes that go; the ones that stay were asked for": lambda b, s, m: (
            order := s.argsort(descending=True)
        )[~torch.isin(order, _suppress(b, s, m))],
        "that says for each box whether it stays; the indices of those that stay were asked for": lambda b, s, m: (
            torch.isin(torch.arange(len(b)), _suppress(b, s, m))
        ),
        "right boxes, but the best score comes first": lambda b, s, m: _suppress(b, s, m).sort().values,
    },
    praise="Best first, and only a box that stays can suppress: what `detect.nms` does for one class.",
    draw=_kept_on,
    name="suppress",
)


# ---- 10.5 class by class


def _by_class(boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float) -> Tensor:
    kept = []
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept += mine[_suppress(boxes[mine], scores[mine], max_iou)].tolist()
    kept = torch.tensor(kept, dtype=torch.int64)
    return kept[scores[kept].argsort(descending=True, stable=True)]


def _places_lost(boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float) -> Tensor:
    parts = []
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        parts += _suppress(boxes[mine], scores[mine], max_iou).tolist()
    return torch.tensor(parts, dtype=torch.int64)


RIDER = (
    torch.tensor([[60.0, 80, 240, 260], [70, 60, 230, 240], [75, 95, 255, 270], [80, 60, 235, 235]]),
    torch.tensor([0.8, 0.9, 0.3, 0.4]),
    torch.tensor([13, 15, 13, 15]),
    0.45,
)
class_by_class = BuildingBlock(
    "10.5 class by class",
    _by_class,
    cases=[
        Case("a person on a horse", RIDER),
        Case("three classes", (APART[0], APART[1], torch.tensor([9, 3, 9, 5]), 0.45)),
        Case("no boxes", (*NOTHING[:2], torch.zeros(0, dtype=torch.int64), 0.45)),
    ],
    mistakes={
        "boxes of different classes suppressed each other: the rider is gone, or the horse": lambda boxes, scores, labels, max_iou: (
            _suppress(boxes, scores, max_iou)
        ),
        "right boxes, but in the order they came in; the best score comes first": lambda *given: (
            _by_class(*given).sort().values
        ),
        "all there, but class after class; the best score of all comes first": lambda *given: (
            kept := _by_class(*given)
        )[given[2][kept].argsort(stable=True)],
        "those are indices within a class; indices among all boxes were asked for ||: carry them back, `mine[...]` with the places of that class": _places_lost,
    },
    praise="Rider and horse both stay: this is the whole of `detect.nms`, only slower.",
    draw=_kept_on,
    name="class_by_class",
    uses=suppress,
)


# ---- 10.6 back to the photograph


def _to_photograph(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    width, height = size
    inside = boxes.clamp(0, SIDE)
    return inside * torch.tensor([width, height, width, height]) / SIDE


INSIDE = torch.tensor([[30.0, 60, 90, 210], [150, 15, 285, 120]])
BEYOND = torch.tensor([[-12.0, 30, 90, 330], [240, -6, 315, 60]])
to_photograph = Exercise(
    "10.6 back to the photograph",
    _to_photograph,
    cases=[
        Case("inside, photograph of 500 x 375", (INSIDE, (500, 375))),
        Case("beyond the border, 500 x 375", (BEYOND, (500, 375))),
        Case("beyond the border, 120 x 240", (BEYOND, (120, 240))),
    ],
    mistakes={
        "x goes with the width and y with the height; yours are swapped": lambda b, size: _to_photograph(
            b, (size[1], size[0])
        ),
        "your boxes are far too large: the given ones are in px of the 300 x 300 input, not fractions of it ||, so divide by 300": lambda b, size: (
            b.clamp(0, SIDE) * torch.tensor([*size, *size])
        ),
        "nothing was clipped: decoded boxes may reach beyond the border": lambda b, size: (
            b * torch.tensor([*size, *size]) / SIDE
        ),
        "you clipped at 300 after scaling; 300 is the border of the input, not of the photograph": lambda b, size: (
            (b * torch.tensor([*size, *size]) / SIDE).clamp(0, SIDE)
        ),
        "these are still px of the 300 x 300 input": lambda b, size: b.clamp(0, SIDE),
        "these are fractions of the photograph, 0 to 1; px were asked for": lambda b, size: (
            b.clamp(0, SIDE) / SIDE
        ),
    },
    praise="Clipped at the border of the input, then one factor for x and one for y.",
    draw=_placed_on,
)


# ---- 10.7 a number

most = Exercise(
    "10.7 the most that can be left",
    8000,
    mistakes={
        "too many: you count background, which is never a candidate ||: 20 classes, not 21": 8400,
        "too few: that is what `keep` lets through; the question is before it": 200,
        "too few: that is one class; each of them has its own list": 400,
        "too few: `keep` lets 200 through of all classes together, and after NMS ||; before it each class has its best 400": 4000,
        "too many: that is before top-k, every class at every anchor": 174640,
        "too many: that is the number of anchors; the limit of each class is far below it": 8732,
    },
    praise="20 classes of 400 that all stay: 8,000, and `keep` takes the 200 best of them.",
)


def library_agrees(boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float) -> bool:
    """Whether the naive loops above and `detect.nms` keep the same, for the chapter's own comparison."""
    return torch.equal(_by_class(boxes, scores, labels, max_iou), detect.nms(boxes, scores, labels, max_iou))
