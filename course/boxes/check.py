"""Checks of chapter 01: the exercises on boxes, IoU and VOC's annotations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import WRONG, Case, Either, Exercise, Verdict
from ssdlib.data import voc
from ssdlib.plots import BLUE, ORANGE, RED, boxes_on
from ssdlib.records import LABELS, Example

NONE = torch.zeros(0, 4)


def _boxes_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The boxes that came, dashed, over those that were wanted."""
    wanted = torch.as_tensor(wanted, dtype=torch.float32).reshape(-1, 4)
    found = torch.as_tensor(found, dtype=torch.float32).reshape(-1, 4)
    boxes_on(ax, wanted, color=ORANGE)
    boxes_on(ax, found, color=RED, dashed=True)
    points = torch.cat([found, wanted]).reshape(-1, 2)
    margin = 0.1 * float(points.max() - points.min())
    (left, top), (right, bottom) = (
        (points.amin(dim=0) - margin).tolist(),
        (points.amax(dim=0) + margin).tolist(),
    )
    ax.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    ax.set_title("solid: wanted; dashed red: yours", fontsize=10)


# ---- 1.1 the way back


def _to_corners(boxes_cxcywh: Tensor) -> Tensor:
    cx, cy, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1)


def _from_corner(boxes_cxcywh: Tensor) -> Tensor:
    x, y, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([x, y, x + w, y + h], dim=-1)


def _without_half(boxes_cxcywh: Tensor) -> Tensor:
    cx, cy, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([cx - w, cy - h, cx + w, cy + h], dim=-1)


def _x_first(boxes_cxcywh: Tensor) -> Tensor:
    cx, cy, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2], dim=-1)


def _y_first(boxes_cxcywh: Tensor) -> Tensor:
    return _to_corners(boxes_cxcywh)[..., [1, 0, 3, 2]]


to_corners = BuildingBlock(
    "1.1 the way back",
    _to_corners,
    cases=[
        Case("one box", (torch.tensor([25.0, 60, 30, 80]),)),
        Case("two boxes", (torch.tensor([[25.0, 60, 30, 80], [150, 100, 21, 42]]),)),
        Case(
            "a batch of two images with one box each",
            (torch.tensor([[[9.0, 8, 4, 2]], [[40, 30, 20, 10]]]),),
        ),
        Case("a box that reaches beyond the image", (torch.tensor([5.0, 290, 30, 40]),)),
        Case("no box", (NONE,)),
    ],
    mistakes={
        "nothing is cut off here ||: a box may reach beyond the border": lambda boxes: _to_corners(
            boxes
        ).clamp(min=0),
        "the first two numbers are the centre; you took them for the upper left corner": _from_corner,
        "your boxes are twice as wide and twice as high as they should be ||: from the centre to an edge it is half the width, and half the height": _without_half,
        "yours is xmin, xmax, ymin, ymax ||; the order is xmin, ymin, xmax, ymax": _x_first,
        "x and y have changed places in your corners ||; x comes first: xmin, ymin, xmax, ymax": _y_first,
        "the four numbers of a box stand in the last dimension, and yours stand in the first ||: torch.stack([...], dim=-1)": lambda boxes_cxcywh: (
            _to_corners(boxes_cxcywh).movedim(-1, 0)
        ),
    },
    praise="It works for one box, for R boxes and for a batch, because only the last dimension is touched.",
    draw=_boxes_on,
    name="to_corners",
)


# ---- 1.2 which format is this?

# One object of a 500 x 375 photograph, seven times
WRITTEN = {
    "A": (100, 75, 100, 225),
    "B": (0.3, 0.5, 0.2, 0.6),
    "C": (101, 76, 200, 300),
    "D": (150, 187.5, 100, 225),
    "E": (0.2, 0.2, 0.4, 0.8),
    "F": (100, 75, 200, 300),
    "G": (75, 100, 300, 200),
}


class Drill(Exercise):
    """A list of names, one for each letter. Says which letters are wrong, and takes VOC for voc."""

    def __call__(self, answer: Any) -> Verdict:
        if not isinstance(answer, list | tuple) or not all(isinstance(name, str) for name in answer):
            return super().__call__(answer)
        names = [" ".join(name.lower().split()) for name in answer]
        if len(names) != len(WRITTEN):
            return Verdict(
                self.title, WRONG, f"{len(WRITTEN)} names are wanted, A to G; yours are {len(names)}"
            )
        unknown = [name for name in names if name not in self.right]
        if unknown:
            return Verdict(
                self.title, WRONG, f"there is no {unknown[0]!r}; choose from {', '.join(self.right)}"
            )
        found = super().__call__(names)
        if found.state != WRONG or any(names == wrong for wrong in self.mistakes.values()):
            return found
        wrong = [letter for letter, a, b in zip(WRITTEN, names, self.right, strict=True) if a != b]
        return Verdict(
            self.title,
            WRONG,
            f"{len(wrong)} of {len(names)} {'isn' if len(wrong) == 1 else 'aren'}'t right: {', '.join(wrong)}",
        )


which = Drill(
    "1.2 which format is this?",
    ["xywh", "unit cxcywh", "voc", "cxcywh", "unit xyxy", "xyxy", "yxyx"],
    mistakes={
        "two boxes have the same maxima, and you took the one that counts pixels from 0 for the one that counts "
        "from 1 ||: C and F are swapped, and C has the minima that are larger by 1": [
            "xywh",
            "unit cxcywh",
            "xyxy",
            "cxcywh",
            "unit xyxy",
            "voc",
            "yxyx",
        ],
        "two boxes both say 100 wide and 225 high, and you took an upper left corner for a centre ||: A and D "
        "are swapped, and only D's first two numbers are the centre": [
            "cxcywh",
            "unit cxcywh",
            "voc",
            "xywh",
            "unit xyxy",
            "xyxy",
            "yxyx",
        ],
        "of the two boxes with numbers up to 1, you took the one that begins with its left edge for the one that "
        "begins with its centre ||: B and E are swapped, and E's first number is 100 / 500, the left edge": [
            "xywh",
            "unit xyxy",
            "voc",
            "cxcywh",
            "unit cxcywh",
            "xyxy",
            "yxyx",
        ],
        "two boxes hold the same four numbers, and you exchanged the one that begins with x and the one that "
        "begins with y ||: F and G are swapped, because E times (500, 375, 500, 375) is F": [
            "xywh",
            "unit cxcywh",
            "voc",
            "cxcywh",
            "unit xyxy",
            "yxyx",
            "xyxy",
        ],
    },
    praise="Seven notations, one object. All of them are in use somewhere, and none says which it is.",
)


# ---- 1.3 VOC's corners


def _moved(low: float, high: float) -> Callable[[Tensor], Tensor]:
    return lambda corners_voc: corners_voc + torch.tensor([low, low, high, high])


from_voc = Exercise(
    "1.3 VOC's corners",
    _moved(-1.0, 0.0),
    cases=[
        Case("the shaded box of the drawing", (torch.tensor([2.0, 2, 5, 3]),)),
        Case("a box over the whole 500 x 375 photograph", (torch.tensor([1.0, 1, 500, 375]),)),
        Case("two objects", (torch.tensor([[16.0, 136, 162, 256], [99, 321, 145, 357]]),)),
        Case("the first pixel alone", (torch.tensor([[1.0, 1, 1, 1]]),)),
        Case("no object", (NONE,)),
    ],
    mistakes={
        "you took 1 off all four: the whole photograph is then 499 px wide, and a box of one pixel has no area": _moved(
            -1.0, -1.0
        ),
        "these are VOC's own numbers; its first pixel is 1, our left edge is 0": _moved(0.0, 0.0),
        "you changed the maxima, and the minima still count from 1 ||: 1 comes off the minima, not off the maxima": _moved(
            0.0, -1.0
        ),
        "your box of the whole photograph ends 1 px beyond it ||: nothing is added to the maxima, because the right edge of pixel 500 is at 500": _moved(
            -1.0, 1.0
        ),
        "the minima moved the wrong way, although VOC's numbers are larger than ours ||, so 1 comes off": _moved(
            1.0, 0.0
        ),
    },
    praise="One off the minima, nothing off the maxima: the first pixel becomes a box of 1 x 1.",
    draw=_boxes_on,
)


# ---- 1.4 IoU


def _iou_with(
    clamp: bool = True, plus: float = 0.0, subtract: bool = True, guard: bool = True, order: str = "xyxy"
) -> Callable[[Tensor, Tensor], Tensor]:
    """IoU with known mistakes built in. `order` says for what the four numbers are taken."""

    def iou(first: Tensor, second: Tensor) -> Tensor:
        if order == "cxcywh":
            first, second = _to_corners(first), _to_corners(second)
        elif order == "xxyy":
            first, second = first[..., [0, 2, 1, 3]], second[..., [0, 2, 1, 3]]
        elif order == "xywh":
            first, second = _from_corner(first), _from_corner(second)
        x1, y1, x2, y2 = first.unbind(dim=-1)
        u1, v1, u2, v2 = second.unbind(dim=-1)
        width = torch.minimum(x2, u2) - torch.maximum(x1, u1) + plus
        height = torch.minimum(y2, v2) - torch.maximum(y1, v1) + plus
        if clamp:
            width, height = width.clamp(min=0), height.clamp(min=0)
        both = width * height
        union = (x2 - x1 + plus) * (y2 - y1 + plus) + (u2 - u1 + plus) * (v2 - v1 + plus)
        union = union - both if subtract else union + 0 * both
        return torch.where(both > 0, both / union, 0.0) if guard else both / union

    return iou


def _guarded_or_not(**kind: Any) -> Either:
    """A mistake with or without the guard against 0 / 0."""
    return Either(_iou_with(guard=guard, **kind) for guard in (True, False))


def _all_pairs(first: Tensor, second: Tensor) -> Tensor:
    return _iou_with()(first[:, None], second)


def _intersection(first: Tensor, second: Tensor) -> Tensor:
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    return (high - low).clamp(min=0).prod(dim=-1)


def _over_one(first: Tensor, second: Tensor) -> Tensor:
    both = _intersection(first, second)
    return torch.where(both > 0, both / (first[..., 2:] - first[..., :2]).prod(dim=-1), 0.0)


def _pair_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The first pair that came out wrong, with both numbers."""
    first, second = torch.broadcast_tensors(*case.arguments)
    found, wanted = torch.as_tensor(found), torch.as_tensor(wanted)
    i = int((~torch.isclose(found.double(), wanted.double(), 1e-4, 1e-4)).flatten().nonzero()[0])
    pair = torch.stack([first.reshape(-1, 4)[i], second.reshape(-1, 4)[i]])
    boxes_on(ax, pair[:1], ["first"], color=ORANGE)
    boxes_on(ax, pair[1:], ["second"], color=BLUE, dashed=True)
    ends = torch.cat([pair[:, :2].amin(dim=0) - 12, pair[:, 2:].amax(dim=0) + 12]).tolist()
    ax.set(xlim=(ends[0], ends[2]), ylim=(ends[3], ends[1]), aspect="equal")
    ax.set_title(f"wanted {wanted.flatten()[i]:.4f}, yours {found.flatten()[i]:.4f}", fontsize=10)


_FIRST = torch.tensor([[40.0, 60, 160, 180], [0, 0, 40, 20], [30, 30, 60, 50]])
_SECOND = torch.tensor([[100.0, 60, 220, 180], [10, 5, 40, 30], [30, 30, 60, 50]])
iou = BuildingBlock(
    "1.4 IoU",
    _iou_with(),
    cases=[
        Case("three pairs", (_FIRST, _SECOND)),
        Case(
            "far apart in x and in y", (torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[50.0, 50, 70, 80]]))
        ),
        Case("apart in x only", (torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[50.0, 5, 70, 18]]))),
        Case("a table: two boxes against three", (_FIRST[:2, None], _SECOND)),
        Case("touching edges", (torch.tensor([[0.0, 0, 20, 20]]), torch.tensor([[20.0, 0, 40, 20]]))),
        Case(
            "a box without area, with itself",
            (torch.tensor([[5.0, 5, 5, 9]]), torch.tensor([[5.0, 5, 5, 9]])),
        ),
        Case(
            "boxes in parts of the image",
            (torch.tensor([[0.1, 0.2, 0.5, 0.6]]), torch.tensor([[0.3, 0.2, 0.7, 0.6]])),
        ),
        Case("no box", (NONE, NONE)),
    ],
    mistakes={
        "boxes apart in x and in y have a negative width times a negative height, and that is positive ||: clamp both at 0": (
            _guarded_or_not(clamp=False)
        ),
        "your boxes are a pixel wider and higher than they should be, so that even touching boxes share something ||: no + 1 here, because our edges are lines, not pixels": _guarded_or_not(
            plus=1.0
        ),
        "your union is the sum of both areas, and that holds the intersection twice ||: subtract it once": _guarded_or_not(
            subtract=False
        ),
        "you read the corners as centre and size": _guarded_or_not(order="cxcywh"),
        "you read the last two numbers as width and height; they are xmax and ymax": _guarded_or_not(
            order="xywh"
        ),
        "you took the numbers for xmin, xmax, ymin, ymax; the order is xmin, ymin, xmax, ymax": (
            _guarded_or_not(order="xxyy")
        ),
        "two boxes without area give 0 / 0, which is NaN ||; say 0 where nothing is shared": _iou_with(
            guard=False
        ),
        "you compared every box with every other; here pairs go element by element": _all_pairs,
        "that is the intersection, in px² ||; divide it by the union": _intersection,
        "you divided by the area of the first box alone, as if the second covered nothing ||: divide by the union of both boxes": _over_one,
    },
    praise="With `first[:, None]` the same function gives the table of all pairs.",
    draw=_pair_on,
    name="iou",
)


# ---- 1.5 on paper

shift = Exercise(
    "1.5 how far for one half",
    40.0,
    mistakes={
        "too far: after a shift by half its width, the IoU is 1/3 ||, because the union has grown as well": 60.0,
        "that is what they still share; by how much is the box shifted?": 80.0,
        "not far enough: a quarter of the width gives an IoU of 0.6": 30.0,
        "that is the part of the width; the answer is wanted in px": 1 / 3,
    },
    praise="(120 - d) / (120 + d) = 1/2, so d = 40 px. An IoU of 0.5 is a third of the width away, not a half.",
    tolerance=2e-3,
)


# ---- 1.6 the mirror


def _mirrored(boxes: Tensor, width: float) -> Tensor:
    return torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], dim=-1)


def _edges_kept(boxes: Tensor, width: float) -> Tensor:
    return _mirrored(boxes, width)[..., [2, 1, 0, 3]]


def _overwritten(boxes: Tensor, width: float) -> Tensor:
    return torch.stack([width - boxes[..., 2], boxes[..., 1], boxes[..., 2], boxes[..., 3]], dim=-1)


def _upside_down(boxes: Tensor, width: float) -> Tensor:
    return torch.stack([boxes[..., 0], width - boxes[..., 3], boxes[..., 2], width - boxes[..., 1]], dim=-1)


mirrored = BuildingBlock(
    "1.6 the mirror",
    _mirrored,
    cases=[
        Case("one box", (torch.tensor([10.0, 20, 40, 100]), 300.0)),
        Case("two boxes", (torch.tensor([[0.0, 0, 50, 30], [100, 40, 130, 90]]), 200.0)),
        Case("a batch", (torch.tensor([[[5.0, 5, 25, 45]], [[60, 10, 90, 20]]]), 100.0)),
        Case("no box", (NONE, 300.0)),
    ],
    mistakes={
        "your xmin is larger than your xmax ||: in the mirror the right edge becomes the left one": _edges_kept,
        "that is upside down ||; left and right change, y stays": _upside_down,
        "your xmax comes from the xmin that you had already overwritten ||; keep the old one": _overwritten,
        "you mirrored y as well as x ||; y stays as it is": lambda boxes, width: (
            width - boxes[..., [2, 3, 0, 1]]
        ),
        "width - 1 - x mirrors the number of a pixel, but these are edges ||: the edge x = 0 goes to x = width": lambda boxes, width: (
            _mirrored(boxes, width - 1)
        ),
        "the box has left the image ||: x becomes width - x": lambda boxes, width: _mirrored(boxes, 0.0),
    },
    praise="Mirrored twice, a box is where it was.",
    draw=_boxes_on,
    name="mirrored",
)


# ---- 1.7 which objects count


def _example(labels: list[int], difficult: list[bool]) -> Example:
    corners = torch.tensor([[10.0 * i, 5, 10.0 * i + 30, 60] for i in range(len(labels))]).reshape(-1, 4)
    flags = torch.tensor(difficult, dtype=torch.bool)
    return Example(
        "000000", Path("000000.jpg"), (500, 375), corners, torch.tensor(labels, dtype=torch.int64), flags
    )


def _count(judge_difficult: bool = False, first: int = 1) -> Callable[[Example, str], int]:
    def judged(example: Example, name: str) -> int:
        mine = example.labels == voc.CLASSES.index(name) - 1 + first
        return int((mine if judge_difficult else mine & ~example.difficult).sum())

    return judged


judged = Exercise(
    "1.7 which objects count",
    _count(),
    cases=[
        Case(
            "three persons, one of them difficult, and a bird",
            (_example([15, 15, 3, 15], [False, True, False, False]), "person"),
        ),
        Case(
            "two dogs and a horse, the horse difficult", (_example([12, 12, 13], [False, False, True]), "dog")
        ),
        Case("an aeroplane", (_example([1], [False]), "aeroplane")),
        Case("a horse and a person, no dog", (_example([13, 15], [False, False]), "dog")),
        Case("two difficult cows", (_example([10, 10], [True, True]), "cow")),
        Case("an image without objects", (_example([], []), "train")),
    ],
    mistakes={
        "you counted the difficult objects too ||; detections aren't judged on them, so leave them out": _count(
            judge_difficult=True
        ),
        "your labels are one too small, as if the first class had label 0 ||: they begin with aeroplane = 1, because 0 is background, and `LABELS` knows them": _count(
            first=0
        ),
        "you counted the objects of all classes": lambda example, name: int((~example.difficult).sum()),
        "you counted the difficult ones; those are the ones to leave out": lambda example, name: int(
            ((example.labels == LABELS[name]) & example.difficult).sum()
        ),
        "you counted all objects": lambda example, name: len(example.labels),
        "that says yes or no for each object; a number was asked for ||: add them up with .sum()": lambda example, name: (
            (example.labels == LABELS[name]) & ~example.difficult
        ),
    },
    praise="This is `npos` of the evaluation in chapter 11, for one image.",
)
