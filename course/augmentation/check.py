"""Checks of chapter 06: the exercises on augmentation."""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Either, Exercise
from ssdlib import box_ops
from ssdlib.plots import BLACK, BLUE, ORANGE, RED

SIDE = 300.0


def _boxes_on(ax: Axes, shown: Any, color: str, style: str = "-", line: float = 2.5) -> None:
    for x1, y1, x2, y2 in torch.as_tensor(shown, dtype=torch.float32).reshape(-1, 4).tolist():
        outline = dict(fill=False, edgecolor=color, linestyle=style, linewidth=line)
        ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, **outline))


def _frame(ax: Axes, limits: tuple[float, float, float, float], title: str) -> None:
    x1, y1, x2, y2 = limits
    margin = 0.15 * max(x2 - x1, y2 - y1)
    ax.set(xlim=(x1 - margin, x2 + margin), ylim=(y2 + margin, y1 - margin), aspect="equal")
    ax.set_title(title, fontsize=9)


def _on_input(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Boxes on the input, wanted in orange, what came instead in red and dashed."""
    side = case.arguments[1] if isinstance(case.arguments[1], float) else SIDE
    _boxes_on(ax, [0, 0, side, side], BLACK, line=1)
    _boxes_on(ax, wanted, ORANGE, line=4)
    _boxes_on(ax, found, RED, "--")
    _frame(ax, (0, 0, side, side), "px of the input. orange: wanted; dashed red: yours")


# ---- 6.1 from the photograph to the input

OBJECTS = torch.tensor([[120.0, 90, 240, 210], [250, 200, 380, 290], [110, 70, 140, 100], [60, 30, 130, 110]])
SQUARE, WIDE = torch.tensor([100.0, 60, 300, 260]), torch.tensor([90.0, 50, 390, 200])
OUTSIDE = torch.tensor([-200.0, -100, 600, 500])
WINDOWS = [
    Case("a square crop", (OBJECTS, SQUARE)),
    Case("a crop twice as wide as high", (OBJECTS, WIDE)),
    Case("a crop that reaches beyond the photograph", (OBJECTS, OUTSIDE)),
]


def _move(objects: Tensor, window: Tensor, clip: bool = True) -> Tensor:
    x1, y1, x2, y2 = window.tolist()
    shifted = objects - torch.tensor([x1, y1, x1, y1])
    across, down = SIDE / (x2 - x1), SIDE / (y2 - y1)
    moved = shifted * torch.tensor([across, down, across, down])
    return moved.clamp(0, SIDE) if clip else moved


def _other_corner(objects: Tensor, window: Tensor) -> Tensor:
    extent = window[2:] - window[:2]
    return ((objects - window) * (SIDE / extent).repeat(2)).clamp(0, SIDE)


def _swapped(objects: Tensor, window: Tensor) -> Tensor:
    extent = (window[2:] - window[:2]).flip(0)
    return ((objects - window[:2].repeat(2)) * (SIDE / extent).repeat(2)).clamp(0, SIDE)


def _scaled_first(objects: Tensor, window: Tensor) -> Tensor:
    extent = window[2:] - window[:2]
    return (objects * (SIDE / extent).repeat(2) - window[:2].repeat(2)).clamp(0, SIDE)


def _one_stretch(objects: Tensor, window: Tensor) -> Tensor:
    across = SIDE / (window[2] - window[0])
    return ((objects - window[:2].repeat(2)) * across).clamp(0, SIDE)


def _unit(objects: Tensor, window: Tensor) -> Tensor:
    extent = window[2:] - window[:2]
    return ((objects - window[:2].repeat(2)) / extent.repeat(2)).clamp(0, 1)


move = BuildingBlock(
    "6.1 from the photograph to the input",
    _move,
    cases=WINDOWS,
    mistakes={
        "the boxes are shifted but not scaled ||: the crop becomes 300 px wide and high": lambda objects, window: (
            (objects - window[:2].repeat(2)).clamp(0, SIDE)
        ),
        "the boxes are only shifted ||: they have to be scaled, by 300 over the crop's size, and clipped": lambda objects, window: (
            objects - window[:2].repeat(2)
        ),
        "you subtracted the crop's lower right corner from the box's lower right one ||; both corners of a box move by the crop's upper left corner": _other_corner,
        "x was scaled by the crop's height and y by its width; it is the other way round": _swapped,
        "nothing is clipped, so boxes reach beyond the input ||: a box ends where the input ends, at 0 and at 300": lambda objects, window: (
            _move(objects, window, clip=False)
        ),
        "you subtracted the crop's corner, in px of the photograph, from boxes that are in px of the input already ||: shift first, then scale": _scaled_first,
        "these are shares of the crop, 0 to 1; px of the input were asked for ||: multiply by 300": _unit,
        "these are shares of the crop; px of the input were asked for, and boxes that end at its border ||: multiply by 300, then clip": lambda objects, window: (
            (objects - window[:2].repeat(2)) / (window[2:] - window[:2]).repeat(2)
        ),
        "you scale x and y by the same factor, but the crop needn't be a square ||: y has a factor of its own": _one_stretch,
        "objects whose centre is outside are dropped in the next exercise; here all R boxes are wanted": lambda objects, window: (
            _move(objects, window)[_keep(objects, window)]
        ),
    },
    praise="Shift, scale, clip: crop, zoom-out and resizing are this one function.",
    draw=_on_input,
    name="move",
)


# ---- 6.2 which objects stay


def _centres(objects: Tensor) -> Tensor:
    return (objects[:, :2] + objects[:, 2:]) / 2


def _inside(points: Tensor, window: Tensor) -> Tensor:
    """(R, 2) whether x and whether y lies in the crop."""
    return (points >= window[:2]) & (points <= window[2:])


def _keep(objects: Tensor, window: Tensor) -> Tensor:
    return _inside(_centres(objects), window).all(dim=1)


def _strictly(objects: Tensor, window: Tensor) -> Tensor:
    centre = _centres(objects)
    return ((centre > window[:2]) & (centre < window[2:])).all(dim=1)


def _clipped_first(objects: Tensor, window: Tensor) -> Tensor:
    cut = objects.maximum(window[:2].repeat(2)).minimum(window[2:].repeat(2))
    return _keep(cut, window)


def _share_in(objects: Tensor, window: Tensor) -> Tensor:
    low, high = objects[:, :2].maximum(window[:2]), objects[:, 2:].minimum(window[2:])
    return (high - low).clamp(min=0).prod(dim=1) / box_ops.area(objects)


def _fates_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Crop and objects with their centres; what was wanted and what came in words."""
    objects, window = case.arguments
    _boxes_on(ax, window, BLUE, line=3)
    _boxes_on(ax, objects, ORANGE)
    answers = zip(
        objects.tolist(), torch.as_tensor(found).tolist(), torch.as_tensor(wanted).tolist(), strict=True
    )
    for (x1, y1, x2, y2), mine, right in answers:
        ax.plot((x1 + x2) / 2, (y1 + y2) / 2, "o", color=BLACK)
        word = "kept" if right else "dropped"
        yours = "" if mine == right else f" (yours: {'kept' if mine else 'dropped'})"
        ax.text(x1, y1, word + yours, fontsize=8, va="bottom")
    low, high = objects[:, :2].min(dim=0)[0].tolist(), objects[:, 2:].max(dim=0)[0].tolist()
    _frame(ax, (*low, *high), "blue: crop; dots: centres")


CROWD = torch.tensor([[20.0, 20, 90, 90], [60, 100, 120, 180], [180, 60, 260, 120], [280, 20, 310, 50]])
keep = BuildingBlock(
    "6.2 which objects stay",
    _keep,
    cases=[
        Case("four objects at the border", (CROWD, torch.tensor([70.0, 40, 240, 200]))),
        Case("an object that is larger than the crop", (CROWD, torch.tensor([200.0, 70, 240, 110]))),
        Case("a centre on the border itself", (CROWD, torch.tensor([90.0, 40, 240, 200]))),
        Case("a centre on the lower right corner", (CROWD, torch.tensor([40.0, 40, 220, 90]))),
        Case(
            "a centre half a pixel outside",
            (torch.tensor([[40.0, 20, 101, 90]]), torch.tensor([10.0, 10, 70, 100])),
        ),
        Case("objects above and below the crop", (CROWD, torch.tensor([40.0, 60, 310, 130]))),
        Case("no object at all", (torch.zeros(0, 4), torch.tensor([70.0, 40, 240, 200]))),
    ],
    mistakes={
        "you keep every object that overlaps the crop ||; the centre of the whole object has to lie in it": lambda objects, window: (
            _share_in(objects, window) > 0
        ),
        "you keep only objects that lie in the crop as a whole ||; it is enough that the centre does": lambda objects, window: (
            _share_in(objects, window) == 1
        ),
        "a centre on the border itself counts ||: >= and <=, as in the original": _strictly,
        "every object stays, even those far outside ||; if you clipped the boxes first, every centre lies in the crop after that, so compute the centres before you clip": _clipped_first,
        "you keep an object whose centre is inside in one direction only ||; it has to lie in the crop in x and in y": lambda objects, window: (
            _inside(_centres(objects), window).any(dim=1)
        ),
        "you asked how much of an object is in view ||; only its centre counts": lambda objects, window: (
            _share_in(objects, window) >= 0.5
        ),
        "you asked where the upper left corner lies ||; the centre is (xmin + xmax) / 2, (ymin + ymax) / 2": lambda objects, window: (
            _inside(objects[:, :2], window).all(dim=1)
        ),
        "there is one answer for x and one for y; one for each object was asked for ||: it stays if both are True, so it needs .all(dim=1)": lambda objects, window: (
            _inside(_centres(objects), window)
        ),
    },
    praise="The centre of the whole object decides, before anything is clipped.",
    draw=_fates_on,
    name="keep",
)


# ---- 6.3 zoom-out as a crop


def _plane(width: float, height: float, ratio: float, left: float, top: float) -> list[float]:
    return [-left, -top, ratio * width - left, ratio * height - top]


def _planes_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The photograph, the padded one wanted in orange, yours in red and dashed."""
    width, height = case.arguments[:2]
    _boxes_on(ax, [0, 0, width, height], BLACK, line=1.5)
    ax.text(width / 2, height / 2, "photograph", ha="center", fontsize=8)
    _boxes_on(ax, wanted, ORANGE, line=4)
    _boxes_on(ax, found, RED, "--")
    _frame(ax, tuple(wanted), "orange: the padded photograph; dashed red: yours")


zoom_out = Exercise(
    "6.3 zoom-out as a crop",
    _plane,
    cases=[
        Case("three times as wide, a little off the corner", (500.0, 375.0, 3.0, 200.0, 50.0)),
        Case("four times, photograph in the upper left corner", (400.0, 300.0, 4.0, 0.0, 0.0)),
        Case("not expanded", (500.0, 375.0, 1.0, 0.0, 0.0)),
    ],
    mistakes={
        "the sign is wrong: your larger area begins inside the photograph ||; it begins `left` px before it, at -left": lambda w, h, r, left, top: [
            left,
            top,
            r * w + left,
            r * h + top,
        ],
        "you took `ratio` for the ratio of the areas ||; it is the ratio of the sides, so 4 means 4 times as wide and 16 times the area": lambda w, h, r, left, top: [
            -left,
            -top,
            r**0.5 * w - left,
            r**0.5 * h - top,
        ],
        "that is the larger area in its own pixels; those of the photograph were asked for, whose corner is (0, 0)": lambda w, h, r, left, top: [
            0.0,
            0.0,
            r * w,
            r * h,
        ],
        "your area is too large: its near edges moved by `left` and `top`, but its far ones didn't ||; subtract `left` and `top` from them as well": lambda w, h, r, left, top: [
            -left,
            -top,
            r * w,
            r * h,
        ],
        "that is where the photograph lies in the larger area; asked for is where that area lies around the photograph": lambda w, h, r, left, top: [
            left,
            top,
            left + w,
            top + h,
        ],
    },
    praise="A crop that reaches beyond the photograph: that is all a zoom-out is.",
    draw=_planes_on,
)


# ---- 6.4 a sampler decides


def _accepts(patch: Tensor, objects: Tensor, bound: float) -> bool:
    return bool((box_ops.iou(objects, patch) >= bound).any())


def _covered(patch: Tensor, objects: Tensor, bound: float) -> bool:
    return bool((_share_in(objects, patch) >= bound).any())


def _filled(patch: Tensor, objects: Tensor, bound: float) -> bool:
    return bool((_share_in(objects, patch) * box_ops.area(objects) / box_ops.area(patch) >= bound).any())


def _patch_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Crop and objects, with the IoU of each."""
    patch, objects, bound = case.arguments
    _boxes_on(ax, patch, BLUE, line=3)
    _boxes_on(ax, objects, ORANGE)
    for box, overlap in zip(objects.tolist(), box_ops.iou(objects, patch).tolist(), strict=True):
        ax.text(box[0], box[1], f"IoU {overlap:.2f}", fontsize=8, va="bottom")
    corners = torch.cat([patch[None], objects])
    limits = (*corners[:, :2].min(dim=0)[0].tolist(), *corners[:, 2:].max(dim=0)[0].tolist())
    _frame(ax, limits, f"bound {bound}: {'accepted' if wanted else 'refused'} is right")


PATCH = torch.tensor([0.0, 0, 100, 100])
PAIR = torch.tensor([[0.0, 0, 100, 80], [90, 90, 190, 190]])  # IoU 0.8 and about 0
HALVES = torch.tensor([[0.0, 0, 100, 40], [0, 60, 100, 100]])  # IoU 0.4 each
UNLIKE = torch.tensor([[0.0, 0, 100, 25], [0, 0, 100, 95]])  # IoU 0.25 and 0.95
accepts = Exercise(
    "6.4 does the sampler accept this crop?",
    _accepts,
    cases=[
        Case("one object fits well, the other hardly", (PATCH, PAIR, 0.7)),
        Case("a small object that lies wholly in the crop", (PATCH, torch.tensor([[10.0, 10, 30, 30]]), 0.5)),
        Case("no object reaches the bound", (PATCH, PAIR, 0.9)),
        Case("an object much larger than the crop", (PATCH, torch.tensor([[-100.0, -100, 200, 200]]), 0.5)),
        Case("two objects that both stay below the bound", (PATCH, HALVES, 0.5)),
        Case("one object fits very well, the other a little", (PATCH, UNLIKE, 0.5)),
        Case(
            "two objects that both reach the bound",
            (PATCH, torch.tensor([[0.0, 0, 100, 80], [0, 0, 100, 90]]), 0.5),
        ),
        Case("an IoU of exactly the bound", (PATCH, torch.tensor([[0.0, 0, 100, 50]]), 0.5)),
        Case("an image without objects", (PATCH, torch.zeros(0, 4), 0.1)),
    ],
    mistakes={
        "you ask that all objects reach the bound ||; one is enough": Either(
            (
                lambda patch, objects, bound: bool((box_ops.iou(objects, patch) >= bound).all()),
                lambda patch, objects, bound: (
                    len(objects) > 0 and bool((box_ops.iou(objects, patch) >= bound).all())
                ),
            )
        ),
        "that is one answer for each object; one for the crop was asked for ||: `.any()`": lambda patch, objects, bound: (
            box_ops.iou(objects, patch) >= bound
        ),
        "you added the IoUs up ||; one object has to reach the bound by itself": lambda patch, objects, bound: (
            bool(box_ops.iou(objects, patch).sum() >= bound)
        ),
        "you asked how much of the crop the object fills; the bound is on the IoU, intersection over union": _filled,
        "you accept a crop of an image without objects, though no object reaches the bound there ||: it is refused": lambda patch, objects, bound: (
            len(objects) == 0 or _accepts(patch, objects, bound)
        ),
        "an IoU of exactly the bound counts ||: >=, not >": lambda patch, objects, bound: bool(
            (box_ops.iou(objects, patch) > bound).any()
        ),
        "you asked how much of the object lies in the crop; the bound is on the IoU, intersection over union": _covered,
        "you averaged the IoUs ||; one object that reaches the bound is enough": lambda patch, objects, bound: (
            bool(box_ops.iou(objects, patch).sum() / max(len(objects), 1) >= bound)
        ),
        "your sampler accepts every crop, so the bound has no effect": lambda patch, objects, bound: True,
    },
    praise="Any one object, IoU, the bound itself included. Without an object no sampler succeeds.",
    draw=_patch_on,
)


# ---- 6.5 a number

untouched = Exercise(
    "6.5 left as it was",
    1 / 28,
    mistakes={
        "too often: that is how often no crop is chosen; the image must also be neither expanded nor flipped": 1
        / 7,
        "too often: you have two of the three events ||; expansion and flip have a coin each": 1 / 14,
        "too often: you count the six samplers, but they aren't all the candidates ||; *no crop* is the "
        "seventh": 1 / 24,
        "your probability is above 1, because you added ||; all three have to happen, so they are "
        "multiplied": 1 / 2 + 1 / 7 + 1 / 2,
        "that is the probability of the opposite": 27 / 28,
        "too often: you tossed a coin for *no crop*, as for the other two ||; it is one of seven candidates, so its "
        "probability is 1/7": 1 / 8,
        "too often: those are the two coins; the image has to stay uncropped as well": 1 / 4,
        "that says one in how many; a probability lies between 0 and 1": 28,
        "rounded too far; write four digits after the point, or the fraction": Either((0.04, 0.036)),
        "that is in percent; a number between 0 and 1 was asked for": Either((3.57, 3.6)),
        "too rare: colours don't count here; leave their coins out": 1 / 28 / 16,
    },
    praise="1/2 · 1/7 · 1/2 = 1/28. With fewer samplers that succeed it is more, at most 1/2 · 1/2 · 1/2 = 1/8.",
    tolerance=2e-4,
)
