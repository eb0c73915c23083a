"""Checks of chapter 12: formats, a split that stays, rows of a new head, coverage, tiles, rare classes."""

from math import prod, sqrt
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.kit.checking import Case, Either, Exercise
from ssdlib import box_ops
from ssdlib.data.own import TEST_SHARE, share_of
from ssdlib.plots import BLACK, BLUE, ORANGE, RED

# ---- 12.1 three formats


def _corners(kind: str, numbers: tuple, size: tuple) -> list[float]:
    a, b, c, d = numbers
    width, height = size
    if kind == "xml":
        return [a - 1, b - 1, c, d]
    if kind == "coco":
        return [a, b, a + c, b + d]
    return [(a - c / 2) * width, (b - d / 2) * height, (a + c / 2) * width, (b + d / 2) * height]


def _but(kind: str, other: Any) -> Any:
    """The right function with another rule for one kind."""
    return lambda k, n, s: other(*n, *s) if k == kind else _corners(k, n, s)


def _box_on(ax: Axes, box: Any, color: str, style: str, width: float) -> None:
    x1, y1, x2, y2 = torch.as_tensor(box).double().reshape(4).tolist()
    ax.add_patch(
        Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linestyle=style, linewidth=width)
    )


def _corners_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    width, height = case.arguments[2]
    _box_on(ax, [0, 0, width, height], BLUE, "-", 1.0)
    _box_on(ax, wanted, ORANGE, "-", 3.0)
    _box_on(ax, found, RED, "--", 2.0)
    ax.set(xlim=(-0.2 * width, 1.2 * width), ylim=(1.2 * height, -0.2 * height), aspect="equal")
    ax.set_title("blue: image; orange: wanted; dashed red: yours", fontsize=9)


corners = Exercise(
    "12.1 three formats",
    _corners,
    cases=[
        Case("Pascal XML", ("xml", (101, 51, 300, 250), (400, 300))),
        Case("COCO", ("coco", (100.0, 50.0, 200.0, 150.0), (400, 300))),
        Case("YOLO", ("yolo", (0.6, 0.25, 0.5, 0.3), (640, 200))),
        Case("XML, the whole image", ("xml", (1, 1, 400, 300), (400, 300))),
        Case("COCO, no whole numbers", ("coco", (10.25, 20.5, 30.5, 40.75), (400, 300))),
        Case("YOLO, no whole numbers", ("yolo", (0.3, 0.7, 0.123, 0.25), (333, 250))),
    ],
    mistakes={
        "your boxes of XML begin a pixel too late, because XML counts from 1 here ||: the two minima lose one": _but(
            "xml", lambda a, b, c, d, w, h: [a, b, c, d]
        ),
        "your boxes of XML end a pixel too early ||: the maxima keep their number, because pixel 300, counted from 1, ends at 300": _but(
            "xml", lambda a, b, c, d, w, h: [a - 1, b - 1, c - 1, d - 1]
        ),
        "COCO's last two numbers are no corner ||; they are width and height": _but(
            "coco", lambda a, b, c, d, w, h: [a, b, c, d]
        ),
        "COCO's first two numbers aren't the centre ||; they are the upper left corner": _but(
            "coco", lambda a, b, c, d, w, h: [a - c / 2, b - d / 2, a + c / 2, b + d / 2]
        ),
        "YOLO's first two numbers aren't the corner ||; they are the centre": _but(
            "yolo", lambda a, b, c, d, w, h: [a * w, b * h, (a + c) * w, (b + d) * h]
        ),
        "YOLO's numbers are fractions of the image's sides, and yours aren't px yet ||: multiply by its width and height": _but(
            "yolo", lambda a, b, c, d, w, h: [a - c / 2, b - d / 2, a + c / 2, b + d / 2]
        ),
        "your boxes of YOLO are twice as wide and as high as they should be ||: from the centre to an edge it is half of the size": _but(
            "yolo", lambda a, b, c, d, w, h: [(a - c) * w, (b - d) * h, (a + c) * w, (b + d) * h]
        ),
        "YOLO: x belongs to the width and y to the height; yours are exchanged": _but(
            "yolo",
            lambda a, b, c, d, w, h: [
                (a - c / 2) * h,
                (b - d / 2) * w,
                (a + c / 2) * h,
                (b + d / 2) * w,
            ],
        ),
    },
    praise="One box, three ways to write it.",
    draw=_corners_on,
)


# ---- 12.2 frames of one video stay together


def _video(name: str) -> str:
    return name.rpartition("_")[0]


def _to_test(names: list[str]) -> list[str]:
    return [name for name in names if share_of(_video(name)) < TEST_SHARE]


FRAMES = [f"{video}_{i:04d}.jpg" for video in "gate yard pond cam0 cam1 cam7".split() for i in range(1, 5)]
FRAMES += [f"{video}_{i:04d}.jpg" for video in ("gate_night", "cam1_night", "lane_dusk") for i in (1, 2)]
to_test = Exercise(
    "12.2 a split that stays",
    _to_test,
    cases=[
        Case("30 frames of 9 videos", (FRAMES,)),
        Case("the same, in another order", (FRAMES[::-1],)),
        Case("numbers of other lengths", (["cam0_123456.jpg", "gate_7.jpeg"],)),
        Case("no image at all", ([],)),
    ],
    mistakes={
        "you asked for the share of every frame by itself: frames of one video land on both sides, and the "
        "network is tested on images that it has nearly seen": lambda names: [
            name for name in names if share_of(name) < TEST_SHARE
        ],
        "gate_night isn't gate: you cut the name at its first _ ||; the video's name ends before the last one": lambda names: [
            name for name in names if share_of(name.partition("_")[0]) < TEST_SHARE
        ],
        "the first fifth of the list: with every new image, others change sides": lambda names: names[
            : len(names) // 5
        ],
        "every fifth image: with every new image, others change sides": lambda names: names[::5],
        "those are the images for training; below 0.2 is for testing": lambda names: [
            name for name in names if share_of(_video(name)) >= TEST_SHARE
        ],
        "these are videos; the names of the images were asked for": lambda names: list(
            dict.fromkeys(_video(name) for name in names if share_of(_video(name)) < TEST_SHARE)
        ),
    },
    praise="An image's side depends on its video's name alone.",
)


# ---- 12.3 how many outputs

outputs = Exercise(
    "12.3 outputs of a head",
    42,
    mistakes={
        "too few: a class that isn't among the six names has a score, too ||: background, so seven scores a box": 36,
        "too many: that is VOC's head, with the scores of its classes ||; the zoo has 7 scores a box, not 21": 126,
        "too many: the four offsets are the other head's": 66,
        "too few: that is for one box; a cell of fc7 has several ||: six": 7,
        "too few: a cell of fc7 has more boxes than one of conv4_3 ||: six; those of conv4_3 and of the last two maps have four": 28,
        "too few: that is the localisation head, and it doesn't change": 24,
        "too few: background has a score in each of the six boxes, not once for all": 37,
        "too many: those are the outputs on the whole map; channels are counted in one cell": 15_162,
    },
    praise="6 boxes, 7 scores each. Nothing else in the network knows how many classes there are.",
)


# ---- 12.4 rows that can be taken over


def _rows(old: list[str], new: list[str]) -> list[int]:
    return [0] + [old.index(name) + 1 if name in old else -1 for name in new]


rows = Exercise(
    "12.4 rows of the new head",
    _rows,
    cases=[
        Case("the page's example", (["bird", "cat", "dog"], ["dog", "fox"])),
        Case("the same classes in another order", (["bird", "cat", "dog"], ["cat", "dog", "bird"])),
        Case("nothing in common", (["bird", "cat"], ["fox", "owl", "elk"])),
    ],
    mistakes={
        "row 0, the background, is missing ||: both heads have it, and it is worth taking": lambda old, new: (
            _rows(old, new)[1:]
        ),
        "the background's row is one that both have, and you didn't take it ||: row 0 comes from row 0": lambda old, new: [
            -1,
            *_rows(old, new)[1:],
        ],
        "your rows are one too small: another class stands before the first of the list ||, the background": lambda old, new: (
            [0] + [old.index(name) if name in old else -1 for name in new]
        ),
        "you took rows by their place; a row belongs to a name": lambda old, new: (
            [0] + [i + 1 if i < len(old) else -1 for i in range(len(new))]
        ),
        "a class that the old network doesn't know would begin as background with your rows ||: it has no row in the old head, so -1": lambda old, new: (
            [0] + [old.index(name) + 1 if name in old else 0 for name in new]
        ),
        "one entry for each row of the NEW head was asked for": lambda old, new: _rows(new, old),
    },
    praise="What both know is taken by name; the rest starts from random numbers.",
)


# ---- 12.5 coverage


def _share(boxes: Tensor, anchors: Tensor) -> float:
    best = box_ops.iou(boxes[:, None], anchors).amax(dim=1)
    return float((best >= 0.5).float().mean())


OBJECTS = torch.tensor([[0.0, 0, 20, 10], [30, 30, 90, 90], [100, 100, 130, 130], [200, 10, 208, 18]])
GRID = torch.tensor([[0.0, 0, 10, 10], [30, 30, 90, 80], [28, 32, 88, 92], [100, 100, 160, 160]])
covered = Exercise(
    "12.5 coverage",
    _share,
    cases=[
        Case("four objects, four anchors", (OBJECTS, GRID)),
        Case("one object, two good anchors", (OBJECTS[1:2], GRID[1:3])),
        Case("four objects, four anchors in another order", (OBJECTS, GRID[[3, 2, 0, 1]])),
        Case("an overlap of exactly one half", (OBJECTS[:1], GRID[:1])),
    ],
    mistakes={
        "an overlap of exactly 0.5 is enough ||: matching asks for >=": lambda b, a: float(
            (box_ops.iou(b[:, None], a).amax(dim=1) > 0.5).float().mean()
        ),
        "that is the mean of the best overlaps; asked for is the share of objects that reach 0.5": lambda b, a: (
            float(box_ops.iou(b[:, None], a).amax(dim=1).mean())
        ),
        "you counted anchors: how many of them have an object ||; count objects that have an anchor": lambda b, a: (
            float((box_ops.iou(b[:, None], a).amax(dim=0) >= 0.5).float().mean())
        ),
        "you compared each object with one anchor, the one in the same row ||; every object with every anchor: `places[:, None]`": lambda b, a: (
            float((box_ops.iou(b, a) >= 0.5).float().mean())
        ),
        "you counted pairs; an object with two good anchors is still one object": lambda b, a: float(
            (box_ops.iou(b[:, None], a) >= 0.5).float().sum() / len(b)
        ),
        "that is a number of objects; a share was asked for": lambda b, a: int(
            (box_ops.iou(b[:, None], a).amax(dim=1) >= 0.5).sum()
        ),
    },
    praise="The share of your objects that step two of matching can serve.",
)


# ---- 12.6 tiles


def _in_tile(box: Tensor, size: tuple, cut: int) -> Tensor:
    tile = torch.tensor(size) / cut
    corner = ((box[:2] + box[2:]) / 2 / tile).floor() * tile
    return (box - corner.repeat(2)).clamp(min=0).minimum(tile.repeat(2)) * (300 / tile).repeat(2)


def _tile_of(box: Tensor, size: tuple, cut: int) -> Tensor:
    tile = torch.tensor(size) / cut
    return ((box[:2] + box[2:]) / 2 / tile).floor() * tile


def _tile_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    _box_on(ax, [0, 0, 300, 300], BLACK, "-", 1.0)
    _box_on(ax, wanted, ORANGE, "-", 3.0)
    _box_on(ax, found, RED, "--", 2.0)
    every = torch.stack([torch.as_tensor(x).double().reshape(4) for x in (found, wanted)])
    low, high = min(float(every.min()), 0) - 20, max(float(every.max()), 300) + 20
    ax.set(xlim=(low, high), ylim=(high, low), aspect="equal")
    ax.set_title("the tile in the 300 x 300 input; orange: wanted; dashed red: yours", fontsize=9)


def _stretch(tile: Tensor) -> Tensor:
    return (300 / tile).repeat(2)


in_tile = Exercise(
    "12.6 into the tile",
    _in_tile,
    cases=[
        Case("one tile", (torch.tensor([100.0, 40, 200, 140]), (400, 200), 1)),
        Case("2 x 2, lower right", (torch.tensor([250.0, 120, 350, 180]), (400, 200), 2)),
        Case("across a border", (torch.tensor([150.0, 20, 280, 90]), (400, 200), 2)),
        Case("across the other two borders", (torch.tensor([120.0, 70, 230, 120]), (400, 200), 2)),
        Case("4 x 4", (torch.tensor([310.0, 60, 330, 70]), (400, 200), 4)),
        Case("a portrait of 375 x 500 px, 2 x 2", (torch.tensor([200.0, 260, 300, 340]), (375, 500), 2)),
    ],
    mistakes={
        "your box is still measured from the photograph's corner ||: subtract the tile's": lambda b, s, c: (
            b.minimum(torch.tensor(s).repeat(2)) * _stretch(torch.tensor(s) / c)
        ),
        "you scaled by the photograph's size, but the input shows a tile ||: the factor is 300 / the tile's size": lambda b, s, c: (
            (b - _tile_of(b, s, c).repeat(2)).clamp(min=0).minimum((torch.tensor(s) / c).repeat(2))
            * _stretch(torch.tensor(s))
        ),
        "your box reaches beyond its tile, and the network won't see the rest ||: cut it off at the border of the tile": lambda b, s, c: (
            (b - _tile_of(b, s, c).repeat(2)) * _stretch(torch.tensor(s) / c)
        ),
        "your box is cut off on the left and at the top, and still reaches beyond its tile ||: cut it off at the right and lower border, too": lambda b, s, c: (
            (b - _tile_of(b, s, c).repeat(2)).clamp(min=0) * _stretch(torch.tensor(s) / c)
        ),
        "you took the tile that holds the upper left corner ||; an object goes to the tile with its centre": lambda b, s, c: (
            (b - ((b[:2] / (torch.tensor(s) / c)).floor() * (torch.tensor(s) / c)).repeat(2))
            .clamp(min=0)
            .minimum((torch.tensor(s) / c).repeat(2))
            * _stretch(torch.tensor(s) / c)
        ),
        "you stretched y by the factor of the width ||; a tile is stretched in x and y by factors of its own": lambda b, s, c: (
            (b - _tile_of(b, s, c).repeat(2)).clamp(min=0).minimum((torch.tensor(s) / c).repeat(2))
            * (300 * c / s[0])
        ),
    },
    praise="That is how large your object is to the anchors.",
    draw=_tile_on,
)


# ---- 12.7 rare classes


def _repeats(images: list[list[str]], enough: float) -> list[float]:
    share = _shares(images)
    return [max([1.0, *(sqrt(enough / share[name]) for name in names)]) for names in images]


def _shares(images: list[list[str]]) -> dict[str, float]:
    every = {name for names in images for name in names}
    return {name: sum(name in names for names in images) / len(images) for name in every}


def _with(images: list[list[str]], share: dict[str, float], enough: float, rule: Any) -> list[float]:
    return [max([1.0, *(rule(enough / share[name]) for name in names)]) for names in images]


def _by_objects(images: list[list[str]], enough: float) -> list[float]:
    every = [name for names in images for name in names]
    return _with(images, {name: every.count(name) / len(every) for name in every}, enough, sqrt)


def _by_objects_an_image(images: list[list[str]], enough: float) -> list[float]:
    every = [name for names in images for name in names]
    return _with(images, {name: every.count(name) / len(images) for name in every}, enough, sqrt)


def _not_below_one(images: list[list[str]], enough: float) -> list[float]:
    share = _shares(images)
    return [max([0.0, *(sqrt(enough / share[name]) for name in names)]) for names in images]


def _least_rare(images: list[list[str]], enough: float) -> list[float]:
    share = _shares(images)
    return [min([max(1.0, sqrt(enough / share[name])) for name in names], default=1.0) for names in images]


def _product(images: list[list[str]], enough: float) -> list[float]:
    share = _shares(images)
    return [prod(max(1.0, sqrt(enough / share[name])) for name in set(names)) for names in images]


def _last(images: list[list[str]], enough: float) -> list[float]:
    share = _shares(images)
    return [max([1.0, *(sqrt(enough / share[name]) for name in names[-1:])]) for names in images]


TWO_RARE = [["a", "b", "c"], ["c"], ["c", "b"], *[["c"]] * 5]
PARK = [["penguin", "penguin"], ["penguin", "crab"], ["penguin"], [], ["turtle"], ["penguin"], ["turtle"]]
PARK += [["penguin", "penguin", "penguin"]] * 3
repeats = Exercise(
    "12.7 rare classes",
    _repeats,
    cases=[
        Case("ten images, enough is 0.4", (PARK, 0.4)),
        Case("the same, enough is 0.1", (PARK, 0.1)),
        Case("two rare ones in one image", (TWO_RARE, 0.5)),
        Case("every image has it", ([["a"], ["a", "a"]], 0.5)),
        Case("several of a rare one in one image", ([["crab", "crab", "crab", "owl"], ["owl"], [], []], 0.8)),
    ],
    mistakes={
        "you counted objects, but an image with three penguins is one image ||: the share of images counts": Either(
            (_by_objects, _by_objects_an_image)
        ),
        "you show a class that is four times too rare four times as often ||; the root is missing, with which it is shown twice as often": lambda p, e: (
            _with(p, _shares(p), e, lambda x: x)
        ),
        "you show an image less than once ||: it is shown at least once, and exactly once if it holds no animals": _not_below_one,
        "an image counts for the rarest class in it; you took the most frequent one": _least_rare,
        "an image counts for the rarest class in it; you multiplied": _product,
        "an image counts for the rarest class in it; you took the last one": _last,
        "these are the classes' numbers; one for each image was asked for": lambda p, e: [
            max(1.0, sqrt(e / share)) for share in _shares(p).values()
        ],
    },
    praise="The rule that is used for LVIS, a set with many rare classes.",
)
