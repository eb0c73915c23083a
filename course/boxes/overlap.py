"""Explorer of chapter 01: drag two boxes, see their intersection and union as areas, read IoU and four notations."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets
import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from course.kit.board import KEYS, Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, row
from ssdlib import box_ops
from ssdlib.plots import BLACK, BLUE, GREEN, RED, SKY
from ssdlib.records import Example

SIZE = (500, 375)  # width and height in px, as most photographs of VOC
CANVAS = (300, 300)  # of the network's input
NAMES = ("A", "B")

# Two boxes, corners in px of the photograph
PRESETS = {
    "half shifted": [[40, 60, 160, 180], [100, 60, 220, 180]],
    "same box": [[40, 60, 160, 180], [40, 60, 160, 180]],
    "one inside the other": [[40, 60, 160, 180], [70, 90, 130, 150]],
    "touching edge": [[40, 60, 160, 180], [160, 60, 280, 180]],
    "one pixel wide": [[100, 60, 101, 72], [100, 60, 102, 72]],
    "disjoint": [[40, 60, 130, 140], [180, 150, 280, 200]],
}

MARGIN = 20  # what one sees around the photograph, px
ZOOMED = {"one pixel wide": [90.0, 57.0, 114.0, 75.0]}  # part of the photograph that the board shows

# How the four numbers of each notation are called
NOTATIONS = {
    "corners, px": ("xmin", "ymin", "xmax", "ymax"),
    "centre, px": ("cx", "cy", "w", "h"),
    "unit, corners": ("xmin", "ymin", "xmax", "ymax"),
    "VOC, from 1": ("xmin", "ymin", "xmax", "ymax"),
}


@dataclass(frozen=True)
class Overlap:
    """What two boxes have in common; areas in px²."""

    shared: Tensor  # (4,) corners of the intersection; of no size where there is none
    intersection: float
    union: float
    iou: float
    iou_plus_one: float  # with extent 1, as if these were inclusive pixel numbers


def measure(first: Tensor, second: Tensor) -> Overlap:
    """Intersection and union of two boxes, each (4,) corners in px."""
    low, high = torch.maximum(first[:2], second[:2]), torch.minimum(first[2:], second[2:])
    shared = torch.cat([low, torch.maximum(low, high)])
    both = float(box_ops.area(shared))
    return Overlap(
        shared=shared,
        intersection=both,
        union=float(box_ops.area(first) + box_ops.area(second)) - both,
        iou=float(box_ops.iou(first, second)),
        iou_plus_one=float(box_ops.iou(first, second, extent=1)),
    )


def notations(box: Tensor, size: tuple[float, float]) -> dict[str, list[float]]:
    """(4,) corners in px of an image of `size` = (width, height) -> the same box in four notations."""
    width, height = size
    first, top, last, bottom = box.round().tolist()
    found = (
        box.tolist(),
        box_ops.to_cxcywh(box).tolist(),
        box_ops.scale(box, 1 / width, 1 / height).tolist(),
        [first + 1, top + 1, last, bottom],
    )
    return {name: numbers for name, numbers in zip(NOTATIONS, found, strict=True)}


def written(numbers: list[float]) -> str:
    """Four numbers as short as they can be said, four digits at most behind the point."""
    return ", ".join(f"{round(x, 4):g}" for x in numbers)


def px2(area: float) -> str:
    """An area in words, with one digit behind the point where it has any."""
    return f"{round(area, 1):,g} px²"


class Overlaps(Explorer):
    """Drag A and B, or their corners. Green and filled: the intersection. Sky blue: the union."""

    alt = "Two boxes A and B on an image, their intersection filled green, their union shaded, with IoU in numbers"

    def __init__(self, picture: Tensor | None = None, preset: str = "half shifted"):
        """`picture` (H, W, 3) uint8 lies behind the boxes; without it the frame has VOC's commonest size."""
        self.size = SIZE if picture is None else (picture.shape[1], picture.shape[0])
        self.board = Board(
            label="Two boxes and what they share",
            hint=KEYS,
            picture="" if picture is None else as_url(picture),
            picture_alpha=0.35,
            box_colors=[RED, BLUE],
            box_names=list(NAMES),
        )
        self.preset = ipywidgets.Dropdown(options=list(PRESETS), value=preset, description="case")
        self.squeeze = ipywidgets.Checkbox(
            False, description="resampled to 300 x 300", indent=False, layout=ipywidgets.Layout(width="200px")
        )
        self.notation = ipywidgets.ToggleButtons(
            options=list(NOTATIONS), style=ipywidgets.ToggleButtonsStyle(button_width="110px")
        )
        self.again = ipywidgets.Button(description="reset")
        self.table = html_text()
        self.preset.observe(self._load, "value")
        self.again.on_click(self._load)
        self.squeeze.observe(self._squeeze, "value")
        self.notation.observe(self._update, "value")
        self.board.observe(self._update, ["boxes", "active"])
        super().__init__(
            [
                row(self.preset, self.squeeze, self.again),
                beside(self.board, ipywidgets.VBox([self.notation, self.table])),
            ]
        )
        self._load()

    @property
    def frame(self) -> tuple[int, int]:
        """Width and height in px of the image as it lies on the board."""
        return CANVAS if self.squeeze.value else self.size

    def _load(self, change: object = None) -> None:
        self._place(torch.tensor(PRESETS[self.preset.value], dtype=torch.float32), self.size)

    def _squeeze(self, change: object = None) -> None:
        self._place(torch.tensor(self.board.boxes), self.size if self.squeeze.value else CANVAS)

    def _place(self, boxes: Tensor, size: tuple[int, int]) -> None:
        """Put boxes in px of an image of `size` on the board, in px of what the board shows."""
        width, height = self.frame
        x, y = width / size[0], height / size[1]
        whole = [-MARGIN, -MARGIN, self.size[0] + MARGIN, self.size[1] + MARGIN]
        view = torch.tensor(ZOOMED.get(self.preset.value, whole), dtype=torch.float32)
        with self.board.hold_sync(), self.board.hold_trait_notifications():
            self.board.frame = [0.0, 0.0, float(width), float(height)]
            self.board.view = box_ops.scale(view, width / self.size[0], height / self.size[1]).tolist()
            self.board.width = 400 if self.squeeze.value else 500
            self.board.key_step = 1.0 if self.preset.value in ZOOMED else 5.0
            self.board.active = 0
            self.board.boxes = [[round(v, 1) for v in box] for box in box_ops.scale(boxes, x, y).tolist()]
        self._update()

    def _update(self, change: object = None) -> None:
        first, second = pair = torch.tensor(self.board.boxes)
        self.result = measure(first, second)
        left, _, _, bottom = self.result.shared.tolist()
        below = bottom + 18 * (self.board.view[2] - self.board.view[0]) / self.board.width
        shared = f"intersection {px2(self.result.intersection)}"
        layers = [layer(pair, SKY, line=0, fill=0.45)]
        if self.result.intersection > 0:
            layers.append(
                layer(
                    self.result.shared, GREEN, line=1.5, fill=0.75, dash=(5, 3), texts=[(left, below, shared)]
                )
            )
        lines = self.summary()
        with self.board.hold_sync():  # one message, so that image and words change together
            self.board.scene = {"layers": layers}
            self.board.status = f"IoU {self.result.iou:.3f}; {shared}, union {px2(self.result.union)}"
        self.table.value = "<br>".join(f"<b>{line}</b>" if line.startswith("IoU") else line for line in lines)

    def summary(self) -> list[str]:
        found, name = self.result, self.notation.value
        width, height = self.frame
        numbers = [notations(box, self.frame)[name] for box in torch.tensor(self.board.boxes)]
        areas = box_ops.area(torch.tensor(self.board.boxes)).tolist()
        return [
            f"area of A {px2(areas[0])}, of B {px2(areas[1])}",
            f"intersection {px2(found.intersection)}  (green, dashed)",
            f"union {px2(found.union)}  (all that is shaded)",
            f"IoU = {px2(found.intersection)} / {px2(found.union)} = {found.iou:.3f}",
            f"with a +1, which is wrong here: {found.iou_plus_one:.3f}",
            "",
            f"{name}, image {width} x {height}:",
            f"   ({', '.join(NOTATIONS[name])})",
            *(f"   {label}: {written(four)}" for label, four in zip(NAMES, numbers, strict=True)),
        ]

    def state(self) -> str:
        a, b = ([round(x, 1) for x in box] for box in self.board.boxes)
        return f"A {a}, B {b}, IoU {self.result.iou:.3f}"


# ---- figures of the chapter


def worth_reading(examples: Sequence[Example]) -> list[Example]:
    """Those with up to four objects of which one is difficult and two overlap, in a photograph 500 px wide."""

    def overlapping(example: Example) -> bool:
        return bool((box_ops.iou(example.boxes[:, None], example.boxes).fill_diagonal_(0) > 0.05).any())

    few = [e for e in examples if len(e.labels) <= 4 and e.difficult.any() and e.size[0] == SIZE[0]]
    return [example for example in few if overlapping(example)]


def on_squared_paper(first: Tensor, second: Tensor) -> Figure:
    """Two boxes with whole corners on squared paper, every square of the intersection with a dot."""
    figure, ax = plt.subplots(figsize=(4.6, 3.9), layout="constrained")
    right, bottom = (int(torch.maximum(first, second)[i]) + 1 for i in (2, 3))
    for name, box, color, style in (("A", first, RED, "-"), ("B", second, BLUE, "--")):
        x1, y1, x2, y2 = box.tolist()
        ax.fill([x1, x2, x2, x1], [y1, y1, y2, y2], facecolor=SKY, alpha=0.3)
        ax.plot([x1, x2, x2, x1, x1], [y1, y1, y2, y2, y1], color=color, linewidth=2.6, linestyle=style)
        inside = (
            (x1 + 0.15, y1 + 0.1, "left", "top") if name == "A" else (x2 - 0.15, y2 - 0.1, "right", "bottom")
        )
        ax.text(*inside[:2], name, color=color, fontsize=13, weight="bold", ha=inside[2], va=inside[3])
    x1, y1, x2, y2 = measure(first, second).shared.int().tolist()
    dots = [(x + 0.5, y + 0.5) for x in range(x1, x2) for y in range(y1, y2)]
    ax.scatter(*zip(*dots, strict=True), color=GREEN, s=40, zorder=3)
    _squares(ax, right, bottom)
    ax.set_title("How many squares do A and B share?", fontsize=11)
    return figure


def pixels_and_edges(box_voc: tuple[int, int, int, int], width: int = 6, height: int = 4) -> Figure:
    """A tiny image: VOC's numbers stand in the pixels, ours on the lines between them; `box_voc` is inclusive."""
    figure, ax = plt.subplots(figsize=(4.8, 3.8), layout="constrained")
    first, top, last, bottom = box_voc
    ax.fill([first - 1, last, last, first - 1], [top - 1, top - 1, bottom, bottom], facecolor=SKY, alpha=0.6)
    for x in range(width):
        for y in range(height):
            ax.text(x + 0.5, y + 0.5, f"{x + 1},{y + 1}", ha="center", va="center", fontsize=9, color=BLACK)
    _squares(ax, width, height)
    ax.set_title("VOC numbers the pixels, we number the lines between them", fontsize=11)
    ax.set_xlabel("in the squares: VOC's x,y; along the edges: ours", fontsize=10)
    return figure


def _squares(ax: Axes, right: int, bottom: int) -> None:
    ax.set(
        xlim=(0, right), ylim=(bottom, 0), aspect="equal", xticks=range(right + 1), yticks=range(bottom + 1)
    )
    ax.grid(color="0.75", linewidth=0.8)
    ax.xaxis.tick_top()
