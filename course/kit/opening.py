"""The scene of chapter 00, which comes back in later ones: a car, a dog and a person, each of which can be
moved.

It is painted like the mini VOC but isn't part of it, so the recorded network hasn't seen it. Its images are made by
`data_scripts/make_opening_scene.py`; the glyphs are OpenMoji's, CC BY-SA 4.0.
"""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from course.kit import pictures
from course.kit.pictures import Scene
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.records import LABELS, Example

FOLDER = Path(__file__).with_name("opening_scene")
SIZE = (500, 375)  # width, height of the scene, px
PLACES = {  # of the objects, corners in px of the scene; later ones lie over earlier ones
    "car": (40, 40, 170, 140),
    "dog": (80, 210, 240, 349),
    "person": (350, 90, 424, 290),
}
NAMES = tuple(PLACES)


def example() -> Example:
    """The scene with its annotation, as one of VOC's would be read."""
    return Example(
        image_id="opening",
        path=FOLDER / "scene.jpg",
        size=SIZE,
        boxes=torch.tensor(list(PLACES.values()), dtype=torch.float32),
        labels=torch.tensor([LABELS[name] for name in NAMES]),
        difficult=torch.zeros(len(NAMES), dtype=torch.bool),
    )


def scene() -> Scene:
    """The scene as the network gets it, 300 x 300."""
    return pictures.scene(example())


class Painter:
    """Paints the scene with its objects anywhere, in any size, in some milliseconds."""

    def __init__(self, size: tuple[int, int] = (SSD300_ANCHORS.canvas,) * 2):
        """`size`: width and height of what is painted, px."""
        self.background = Image.open(FOLDER / "background.jpg").convert("RGB").resize(size, Image.BILINEAR)
        self.glyphs = {name: Image.open(FOLDER / f"{name}.png").convert("RGBA") for name in NAMES}
        self._fitted: dict[str, Image.Image] = {}  # each glyph in the size in which it was painted last

    def paint(self, boxes: Tensor) -> Tensor:
        """(R, 4) corners of the first R objects, px of what is painted -> (height, width, 3) uint8. Whole pixels are
        painted, and an object may reach beyond the border."""
        painted = self.background.copy()
        for name, (left, top, right, bottom) in zip(NAMES, boxes.round().int().tolist(), strict=False):
            glyph = self._fit(name, (max(right - left, 1), max(bottom - top, 1)))
            painted.paste(glyph, (left, top), glyph)
        return torch.frombuffer(bytearray(painted.tobytes()), dtype=torch.uint8).reshape(
            painted.height, painted.width, 3
        )

    def _fit(self, name: str, size: tuple[int, int]) -> Image.Image:
        if name not in self._fitted or self._fitted[name].size != size:
            self._fitted[name] = self.glyphs[name].resize(size, Image.BICUBIC)
        return self._fitted[name]
