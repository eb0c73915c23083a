"""Explorer of chapter 12: one object in a photograph of your size, the anchor that is nearest to it, and tiles."""

from dataclasses import dataclass
from functools import cache

import ipywidgets
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from course.anchors.places import place_of
from course.kit import free_photographs
from course.kit.board import Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, once, row
from course.own_images import example_datasets
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.data import own, survey, voc
from ssdlib.matching import THRESHOLD
from ssdlib.plots import BLACK, BLUE, GREEN

# name: width and height of the photograph, and an object to begin with, both in px
PHOTOGRAPHS = {
    "zoo, 480 x 360": ((480, 360), (210, 150, 234, 170)),
    "VOC, 500 x 375": ((500, 375), (150, 90, 330, 300)),
    "phone, 4000 x 3000": ((4000, 3000), (1800, 1400, 1920, 1510)),
    "aerial, 2299 x 2472": ((2299, 2472), (992, 1087, 1032, 1126)),
    "panorama, 3000 x 1000": ((3000, 1000), (1300, 300, 1500, 700)),
}
KEYS = "Keys: arrows move the object, Shift+arrows resize it, Alt+arrows by one pixel."
SETS = ("the zoo", "tree crowns")
CUTS = (1, 2, 3, 4, 5, 6, 8, 10)
LEGEND = ("orange: your object; blue: its tile", "dashed green: the nearest anchor, as large as it is there")


# What lies behind an object: a free photograph cut to that shape, called as in `free_photographs`
BEHIND = {"VOC, 500 x 375": "chelsea", "phone, 4000 x 3000": "camera", "panorama, 3000 x 1000": "rocket"}
WIDE = 480  # px of the image that is sent to the browser


@cache
def picture(name: str) -> tuple[Tensor, str]:
    """(H, W, 3) uint8 in the shape of a photograph, and what it is."""
    size, box = PHOTOGRAPHS[name]
    if name.startswith("zoo"):
        return _zoo(size, box), "an image of the zoo"
    if name.startswith("aerial"):
        return _crowns(
            size
        ), "tree crowns, drawn from their 574 boxes; the photograph isn't part of this course"
    stand_in = BEHIND[name]
    pixels = Image.fromarray(voc.read_photograph(free_photographs.example(stand_in).path).numpy())
    cut = ImageOps.fit(pixels, (WIDE, round(WIDE * size[1] / size[0])))
    return torch.from_numpy(np.array(cut)), f"cut to this shape: {free_photographs.credit(stand_in)}"


def _zoo(size: tuple[int, int], box: tuple[int, ...]) -> Tensor:
    """The zoo's image of this size that has an animal most like the object at the beginning, in size and place."""
    wanted, best = torch.tensor(box).float(), None
    for example in own.read_folder(example_datasets.folder()).examples:
        if example.size == size and len(example.boxes):
            away = float((example.boxes - wanted).abs().sum(dim=1).min())
            best = min(best or (away, example.path), (away, example.path))
    return voc.read_photograph(best[1])


def _crowns(size: tuple[int, int]) -> Tensor:
    """Ellipses in place of the crowns of the first aerial photograph."""
    scale = WIDE / size[0]
    drawn = Image.new("RGB", (2 * WIDE, round(2 * WIDE * size[1] / size[0])), (186, 176, 150))
    pen = ImageDraw.Draw(drawn)
    for box in example_datasets.crowns()[0].boxes.tolist():
        pen.ellipse([2 * scale * v for v in box], fill=(96, 128, 84), outline=(60, 88, 56))
    return torch.from_numpy(np.array(drawn.resize((WIDE, drawn.height // 2), Image.Resampling.LANCZOS)))


@dataclass(frozen=True)
class Under:
    """An object under the anchors, once its photograph is cut into tiles and its tile is stretched to the input."""

    tile: tuple[float, float, float, float]  # px of the photograph
    on_canvas: Tensor  # (4,) px of the 300 x 300 input
    inside: float  # share of the object's area that lies in the tile
    anchor: int
    overlap: float  # IoU with that anchor
    map: int  # which of the six feature maps it belongs to
    matched: int  # anchors with an overlap of 0.5 or more: what step two gives


def under(box: Tensor, size: tuple[int, int], cut: int = 1) -> Under:
    """(4,) px of a photograph of (width, height) px, which is cut into cut x cut tiles without overlap.

    Of equal overlaps the lowest anchor counts.
    """
    tile = torch.tensor(size).float() / cut
    centre = (box[:2] + box[2:]) / 2
    corner = (centre / tile).floor().clamp(0, cut - 1) * tile
    whole = torch.cat([corner, corner + tile])
    part = torch.cat([box[:2].maximum(whole[:2]), box[2:].minimum(whole[2:])])
    placed = (part - corner.repeat(2)) * (SSD300_ANCHORS.canvas / tile).repeat(2)
    overlaps = box_ops.iou(placed, default_boxes())
    best = int(overlaps.argmax())
    share = float(box_ops.area(part) / box_ops.area(box))
    matched = int((overlaps >= THRESHOLD).sum())
    return Under(
        tuple(whole.tolist()), placed, share, best, float(overlaps[best]), place_of(best).map, matched
    )


@cache
def shares(name: str) -> dict[int, float]:
    """For each number of tiles a side, the share of a set's objects that some anchor covers."""
    examples = (
        own.read_folder(example_datasets.folder()).examples if name == SETS[0] else example_datasets.crowns()
    )
    return {
        cut: float(survey.survey(*survey.on_canvas(examples, cut)).covered.float().mean()) for cut in CUTS
    }


class TileBench(Explorer):
    """Orange: the object, to be dragged. Blue: its tile. Dashed green: the nearest anchor, on the photograph."""

    alt = "A photograph with a grid of tiles, an object in one of them, and the nearest anchor, dashed"

    def __init__(self, photograph: str = "zoo, 480 x 360", cut: int = 1):
        self.board = Board(
            label="A photograph and an object in it",
            hint=KEYS,
            width=480,
            box_names=["object"],
            picture_alpha=0.7,
        )
        self.photograph = ipywidgets.Dropdown(
            options=list(PHOTOGRAPHS), value=photograph, description="photo"
        )
        self.cut = ipywidgets.SelectionSlider(options=CUTS, value=cut, description="tiles a side")
        self.table = html_text()
        self.photograph.observe(self._load, "value")
        self.cut.observe(self._update, "value")
        self.board.observe(self._update, "boxes")
        super().__init__([row(self.photograph, self.cut), beside(self.board, self.table)])
        self._load()

    @property
    def size(self) -> tuple[int, int]:
        return PHOTOGRAPHS[self.photograph.value][0]

    def _load(self, change: object = None) -> None:
        """Another photograph, and its object."""
        (width, height), box = PHOTOGRAPHS[self.photograph.value]
        margin = 0.04 * max(width, height)
        with self.setting(), self.board.hold_sync():
            self.board.view = [-margin, -margin, width + margin, height + margin]
            self.board.frame = [0.0, 0.0, float(width), float(height)]
            pixels, self.shows = picture(self.photograph.value)
            self.board.picture = as_url(pixels)
            self.board.key_step = max(1.0, round(max(width, height) / 100))
            self.board.boxes = [[float(x) for x in box]]
        self._update()

    @once
    def _update(self, change: object = None) -> None:
        with self.board.hold_sync():  # one message, so that image and words change together
            self.found = under(torch.tensor(self.board.boxes[0]), self.size, self.cut.value)
            self.board.scene = {"layers": self._layers()}
            self.board.status = self.sentence()
        self.table.value = "<br>".join(self.summary())

    def _layers(self) -> list[dict]:
        (width, height), cut = self.size, self.cut.value
        lines = [[i * width / cut, 0, i * width / cut, height] for i in range(1, cut)]
        lines += [[0, i * height / cut, width, i * height / cut] for i in range(1, cut)]
        x1, y1, x2, y2 = self.found.tile
        scale = torch.tensor([x2 - x1, y2 - y1]).repeat(2) / SSD300_ANCHORS.canvas
        anchor = default_boxes()[self.found.anchor] * scale + torch.tensor([x1, y1, x1, y1])
        return [
            layer(curves=lines, color=BLACK, line=0.8, alpha=0.6),
            layer(torch.tensor([self.found.tile]), BLUE, line=2.5),
            layer(anchor[None], GREEN, line=2.5, dash=(7, 4)),
        ]

    def sentence(self) -> str:
        """What the anchors are to the object, in one line."""
        found = self.found
        width, height = (found.on_canvas[2:] - found.on_canvas[:2]).tolist()
        verdict = (
            f"covered, it is matched to {found.matched} anchor{'s' * (found.matched > 1)}"
            if found.matched
            else "not covered, it is matched to one anchor only"
        )
        return f"{width:.0f} x {height:.0f} px in the input, best IoU {found.overlap:.2f}: {verdict}"

    def summary(self) -> list[str]:
        found = self.found
        box = torch.tensor(self.board.boxes[0])
        width, height = (box[2:] - box[:2]).tolist()
        x1, y1, x2, y2 = default_boxes()[found.anchor].tolist()
        cut_off = (
            f"{found.inside:.0%} of it lies in its tile" if found.inside < 0.999 else "it lies in one tile"
        )
        lines = [
            f"in the photograph: {width:.0f} x {height:.0f} px",
            f"in the input: {self.sentence().split(' px')[0]} px",
            cut_off,
            f"nearest anchor: {x2 - x1:.0f} x {y2 - y1:.0f} px of map {SSD300_ANCHORS.sources[found.map]}",
            f"IoU {found.overlap:.2f}; {found.matched} anchors with 0.5 or more",
            "",
            f"covered with {self.cut.value} x {self.cut.value} tiles:",
            *(f"{name}: {shares(name)[self.cut.value]:.0%} of the objects" for name in SETS),
            "",
            *LEGEND,
            f"behind: {self.shows}",
        ]
        return lines

    def state(self) -> str:
        corners = ", ".join(f"{x:.0f}" for x in self.board.boxes[0])
        return (
            f"{self.photograph.value}, {self.cut.value} tiles a side, object ({corners}): {self.sentence()}"
        )
