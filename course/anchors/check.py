"""Checks of chapter 02: the exercises on anchors."""

from math import floor, sqrt
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.anchors.anchor_browser import crossing as _crossing_boxes
from course.anchors.places import place_of
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.plots import ORANGE, RED

# ---- 2.1 sizes


def _sizes(first: int, low: int, high: int, maps: int) -> list[float]:
    step = floor((high - low) / (maps - 2))
    return [300 * p / 100 for p in (first, *(low + step * i for i in range(maps)))]


def _stepping(make: Any) -> Any:
    """The same with another step: `make(range, maps)`."""

    def wrong(first: int, low: int, high: int, maps: int) -> list[float]:
        step = make(high - low, maps)
        return [300 * p / 100 for p in (first, *(low + step * i for i in range(maps)))]

    return wrong


sizes = BuildingBlock(
    "2.1 sizes",
    _sizes,
    cases=[
        Case("the numbers of VOC", (10, 20, 90, 6)),
        Case("the numbers of COCO", (7, 15, 90, 6)),
        Case("four maps", (5, 10, 61, 4)),
        Case("eight maps with small steps", (10, 20, 31, 8)),
    ],
    mistakes={
        "your step isn't a whole number of percent, and it has to be one ||: floor(17.5) = 17": _stepping(
            lambda r, m: r / (m - 2)
        ),
        "your step was rounded up: 17.5 became 18 ||, and floor makes it 17": _stepping(
            lambda r, m: round(r / (m - 2))
        ),
        "your step is too small: the first map has its own percentage, so the others have fewer gaps between them ||: divide the range by maps - 2": _stepping(
            lambda r, m: floor(r / (m - 1))
        ),
        "the size of the first map is missing ||: it comes from `first`, outside of the steps": lambda first, low, high, maps: (
            _sizes(first, low, high, maps)[1:]
        ),
        "the last size is missing: there is one more than there are maps": lambda first, low, high, maps: (
            _sizes(first, low, high, maps)[:-1]
        ),
        "these are percentages, and px were asked for ||: a size is that share of 300 px": lambda first, low, high, maps: [
            s / 3 for s in _sizes(first, low, high, maps)
        ],
    },
    praise="With 7, 15 and 90 these are the sizes that the released code uses for COCO: 21, 45, 99 ... 315.",
    name="sizes",
)


# ---- 2.2 shapes


def _shapes(small: float, following: float, ratios: tuple[int, ...]) -> list[tuple[float, float]]:
    large = sqrt(small * following)
    found = [(small, small), (large, large)]
    for ratio in ratios:
        found.append((small * sqrt(ratio), small / sqrt(ratio)))
        found.append((small / sqrt(ratio), small * sqrt(ratio)))
    return found


def _with_large(make: Any) -> Any:
    def wrong(small: float, following: float, ratios: tuple[int, ...]) -> list[tuple[float, float]]:
        found = _shapes(small, following, ratios)
        found[1] = (make(small, following),) * 2
        return found

    return wrong


def _without_root(small: float, following: float, ratios: tuple[int, ...]) -> list[tuple[float, float]]:
    found = _shapes(small, following, ())
    for ratio in ratios:
        found += [(small * ratio, small / ratio), (small / ratio, small * ratio)]
    return found


def _half_scaled(small: float, following: float, ratios: tuple[int, ...]) -> list[tuple[float, float]]:
    found = _shapes(small, following, ())
    for ratio in ratios:
        found += [(small * ratio, small), (small, small * ratio)]
    return found


def _wide_first(small: float, following: float, ratios: tuple[int, ...]) -> list[tuple[float, float]]:
    found = _shapes(small, following, ratios)
    return [*found[:2], *found[2::2], *found[3::2]]


def _outlines_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """Wanted shapes around one centre in orange, yours in red and dashed, numbered in their order."""
    for shapes, color, style, width in ((wanted, ORANGE, "-", 3.5), (found, RED, "--", 1.5)):
        for i, (w, h) in enumerate(torch.as_tensor(shapes).double().tolist()):
            box = dict(fill=False, edgecolor=color, linestyle=style, linewidth=width)
            ax.add_patch(Rectangle((-w / 2, -h / 2), w, h, **box))
            corner = (-w / 2, -h / 2, "bottom") if color == ORANGE else (w / 2, h / 2, "top")
            ax.text(*corner[:2], f"{i}", va=corner[2], fontsize=9, color="white", backgroundcolor=color)
    ax.autoscale_view()
    ax.set(aspect="equal", title="orange: wanted; dashed red: yours")
    ax.invert_yaxis()


shapes = BuildingBlock(
    "2.2 shapes of a cell",
    _shapes,
    cases=[
        Case("conv4_3: 30, next 60, ratio 2", (30.0, 60.0, (2,))),
        Case("conv6_2: 111, next 162, ratios 2 and 3", (111.0, 162.0, (2, 3))),
        Case("60, next 96, ratios 3 and 5", (60.0, 96.0, (3, 5))),
        Case("squares only", (100.0, 144.0, ())),
    ],
    mistakes={
        "width and height are swapped ||: a ratio is width / height, and the wide box of a pair comes first": lambda small, following, ratios: [
            (h, w) for w, h in _shapes(small, following, ratios)
        ],
        "your box of ratio 2 is four times as wide as it is high, s · 2 by s / 2 ||: the root is missing, and with √2 the ratio is 2": _without_root,
        "you stretched one side alone, and that changes the area ||; a box of ratio 2 has the area of the small square, s²": _half_scaled,
        "your large square is as large as the next map's small one, but it should lie between the two ||: its side is √(small · next)": _with_large(
            lambda small, following: following
        ),
        "the side of your large square is the arithmetic mean of the two sizes ||; it is their geometric mean, √(small · next)": _with_large(
            lambda small, following: (small + following) / 2
        ),
        "each ratio is followed by its inverse: 2, 1/2, 3, 1/3; yours has first all wide boxes, then all tall ones": _wide_first,
        "each ratio gives two shapes, wide and tall; the tall ones are missing": lambda small, following, ratios: [
            *_shapes(small, following, ())[:2],
            *_shapes(small, following, ratios)[2::2],
        ],
        "the second square is missing ||: 1', whose side is √(small · next)": lambda small, following, ratios: [
            shape for i, shape in enumerate(_shapes(small, following, ratios)) if i != 1
        ],
        "don't round: these are sides in px with all their digits": lambda small, following, ratios: [
            (round(w), round(h)) for w, h in _shapes(small, following, ratios)
        ],
    },
    praise="The order of these is the order of the network's channels. Chapter 05 meets it again.",
    draw=_outlines_on,
    name="shapes",
)


# ---- 2.3 centres


def _centres(cells: int, stride: float) -> Tensor:
    along = (torch.arange(cells) + 0.5) * stride
    return torch.stack([along.repeat(cells), along.repeat_interleave(cells)], dim=1)


def _points_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The image's border, wanted centres as orange rings, yours as red crosses, the first three numbered."""
    ax.add_patch(Rectangle((0, 0), 300, 300, fill=False, edgecolor="0.4"))
    for points, color, style in (
        (wanted, ORANGE, dict(marker="o", fillstyle="none")),
        (found, RED, dict(marker="x")),
    ):
        points = torch.as_tensor(points).double().reshape(-1, 2)
        ax.plot(points[:, 0], points[:, 1], color=color, linestyle="", markersize=8, **style)
        for i, (x, y) in enumerate(points[:3].tolist()):
            ax.annotate(
                f"{i}",
                (x, y),
                (5, -12) if color == ORANGE else (-12, 4),
                textcoords="offset points",
                color=color,
            )
    ax.set(aspect="equal", title="rings: wanted; crosses: yours; grey: the image")
    ax.title.set_fontsize(9)
    ax.invert_yaxis()


centres = BuildingBlock(
    "2.3 centres",
    _centres,
    cases=[
        Case("conv8_2: three cells, 100 px apart", (3, 100)),
        Case("conv6_2: ten cells, 32 px apart", (10, 32)),
        Case("four cells, 75 px apart", (4, 75)),
        Case("one cell", (1, 300)),
    ],
    mistakes={
        "your centres are the upper left corners of their cells ||: a centre is at (i + 0.5) · stride, not at i · stride": lambda f, s: (
            _centres(f, s) - s / 2
        ),
        "your centres are 300 / cells apart, so that they just fill the image ||; the distance is the stride, 32 px and not 30 on conv6_2, and the last centre is at 304, outside": lambda f, s: (
            _centres(f, 300 / f)
        ),
        "x and y are swapped ||: the second centre lies to the right of the first, not below it": lambda f, s: (
            _centres(f, s).flip(dims=(1,))
        ),
        "you moved the centres that lie outside of the image to its border ||; nothing is cut off, and the last centre of conv6_2 may be at 304": lambda f, s: (
            _centres(f, s).clamp(max=300)
        ),
        "your centres are counted in cells, and px were asked for ||: multiply by the stride": lambda f, s: (
            _centres(f, s) / s
        ),
        "you are half a cell too far ||: the first cell is number 0, so its centre lies at stride / 2": lambda f, s: (
            _centres(f, s) + s / 2
        ),
        "your first centre is half a pixel in, whatever the size of a cell ||: (i + 0.5) · stride, not i · stride + 0.5": lambda f, s: (
            _centres(f, s) - s / 2 + 0.5
        ),
    },
    praise="Rows from the top, in each row from the left. The last centre of conv6_2 lies 4 px outside, as in Caffe.",
    draw=_points_on,
    name="centres",
)


# ---- 2.4 how many

SSD512 = (64, 32, 16, 8, 4, 2, 1)
RATIOS512 = (1, 2, 2, 2, 2, 1, 1)  # how many ratios besides 1
count512 = Exercise(
    "2.4 how many",
    sum(f * f * (2 + 2 * n) for f, n in zip(SSD512, RATIOS512, strict=True)),
    mistakes={
        "too many: not every map has 6 anchors a cell ||; the map of 64² and the last two have 4": sum(
            f * f * 6 for f in SSD512
        ),
        "too few: not every map has 4 anchors a cell ||; a list [2, 3] means 6": sum(
            f * f * 4 for f in SSD512
        ),
        "too few: you count one shape for each ratio ||; each counts twice, wide and tall: [2, 3] is 2, 1/2, 3, 1/3": sum(
            f * f * (2 + n) for f, n in zip(SSD512, RATIOS512, strict=True)
        ),
        "too few: you count one square in each cell ||; there are two, 1 and 1'": sum(
            f * f * (1 + 2 * n) for f, n in zip(SSD512, RATIOS512, strict=True)
        ),
        "too few: a map has cells in two directions ||, f · f of them": sum(
            f * (2 + 2 * n) for f, n in zip(SSD512, RATIOS512, strict=True)
        ),
        "Python reads a number with a comma as two numbers; write it without the comma": (24, 564),
    },
    praise="24,564: the number in the paper's table 7. Nearly three times as many as SSD300's.",
    tolerance=1e-9,
)


# ---- 2.5 where is anchor number ...


def _place(index: int) -> tuple[int, int, int, int]:
    found = place_of(index)
    return found.map, found.row, found.column, found.shape


def _down(index: int) -> tuple[int, int, int, int]:
    level, row, column, shape = _place(index)
    return level, column, row, shape


def _by_shapes(index: int) -> tuple[int, int, int, int]:
    """As if the anchors came shape by shape: what a (shapes, rows, columns) tensor gives without a permute."""
    level = _place(index)[0]
    side = SSD300_ANCHORS.feature_maps[level]
    shape, cell = divmod(index - sum(SSD300_ANCHORS.per_map[:level]), side * side)
    return level, *divmod(cell, side), shape


def _late(index: int) -> tuple[int, int, int, int]:
    level = 0
    while index > SSD300_ANCHORS.per_map[level]:
        index -= SSD300_ANCHORS.per_map[level]
        level += 1
    cell, shape = divmod(index, SSD300_ANCHORS.boxes_per_cell[level])
    return level, *divmod(cell, SSD300_ANCHORS.feature_maps[level]), shape


def _always_six(index: int) -> tuple[int, int, int, int]:
    level = _place(index)[0]
    cell, shape = divmod(index - sum(SSD300_ANCHORS.per_map[:level]), 6)
    return level, *divmod(cell, SSD300_ANCHORS.feature_maps[level]), shape


place = Exercise(
    "2.5 where is it",
    _place,
    cases=[
        Case("anchor 2,215", (2215,)),
        Case("anchor 7,940", (7940,)),
        Case("anchor 0", (0,)),
        Case("anchor 5,776, the first of fc7", (5776,)),
        Case("anchor 8,691, the last of conv7_2", (8691,)),
        Case("anchor 8,730, on the last map", (8730,)),
    ],
    mistakes={
        "row and column are swapped ||: along a row it is the column that counts up": _down,
        "a map with 5,776 anchors has the numbers 0 to 5,775; number 5,776 is on the next one ||: >=, not >": _late,
        "all shapes of a cell stand together, then comes the next cell; you read shape after shape. The same "
        "happens to a network's output that isn't permuted": _by_shapes,
        "not every map has 6 anchors a cell ||: conv4_3, conv8_2 and conv9_2 have 4": _always_six,
        "the numbers begin at 0, and so do maps, rows, columns and shapes": lambda index: tuple(
            v + 1 for v in _place(index)
        ),
        "you are one anchor too far: anchor 0 is the first": lambda index: _place(index + 1),
    },
    praise="So the number of the anchor behind a strange detection tells you its map, its cell and its shape.",
    parts=("map", "row", "column", "shape"),
)


# ---- 2.6 crossing

EDGES = torch.tensor(
    [
        [10.0, 10, 50, 50],
        [0, 0, 300, 300],  # fits exactly
        [-1, 20, 30, 60],
        [270, 20, 301, 60],
        [100, -5, 140, 60],
        [100, 250, 140, 310],
        [-40, -40, 340, 340],
        [300, 300, 320, 320],
    ]
)


def _crossing(boxes: Tensor) -> int:
    return int(_crossing_boxes(boxes).sum())


def _boxes_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The image in grey, the boxes that cross it in orange and thick, the others thin."""
    if len(case.arguments[0]) > 100:
        raise ValueError("too many to see anything")
    ax.add_patch(Rectangle((0, 0), 300, 300, facecolor="0.9"))
    for box, out in zip(case.arguments[0].tolist(), _crossing_boxes(case.arguments[0]).tolist(), strict=True):
        style = dict(edgecolor=ORANGE, linewidth=3) if out else dict(edgecolor="0.2", linewidth=1)
        ax.add_patch(Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False, **style))
    ax.autoscale_view()
    ax.set(aspect="equal", title=f"thick orange: these {wanted} cross the border")
    ax.invert_yaxis()


crossing = Exercise(
    "2.6 across the border",
    _crossing,
    cases=[
        Case("eight boxes", (EDGES,)),
        Case("all 8,732", (default_boxes(),)),
        Case("no boxes at all", (torch.zeros(0, 4),)),
    ],
    mistakes={
        "a box that ends exactly at 0 or 300 is still inside ||: < and >, not <= and >=": lambda boxes: int(
            ((boxes <= 0) | (boxes >= 300)).any(dim=1).sum()
        ),
        "you don't count boxes that leave the input on the left or at the top ||: a corner below 0 counts too": lambda boxes: (
            int((boxes > 300).any(dim=1).sum())
        ),
        "you don't count boxes that leave the input on the right or at the bottom ||: a corner above 300 counts too": lambda boxes: (
            int((boxes < 0).any(dim=1).sum())
        ),
        "you counted corners; a box that crosses twice is one box ||: use any(dim=1)": lambda boxes: int(
            ((boxes < 0) | (boxes > 300)).sum()
        ),
        "that is how many stay inside": lambda boxes: len(boxes) - _crossing(boxes),
        "that is True or False for each box; a number was asked for ||: add them up with .sum()": lambda boxes: (
            _crossing_boxes(boxes)
        ),
        "x and y both count, and you compared only one of them": lambda boxes: int(
            ((boxes[:, 0] < 0) | (boxes[:, 2] > 300)).sum()
        ),
        "you counted boxes whose centre is outside ||; one corner outside is enough": lambda boxes: int(
            (((boxes[:, :2] + boxes[:, 2:]) / 2 < 0) | ((boxes[:, :2] + boxes[:, 2:]) / 2 > 300))
            .any(dim=1)
            .sum()
        ),
    },
    praise="2,869 of the 8,732 cross the border, one in three, and stay as they are.",
    draw=_boxes_on,
)
