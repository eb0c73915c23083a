"""Paint the zoo: a small dataset of six animals that aren't Pascal VOC's.

    python data_scripts/make_zoo.py [--out data/zoo] [--kinds xml coco yolo] [--seed 0]

It stands for your own folder in chapter 12: 360 images of three sizes, annotated in each of the
three usual formats. The classes are as unequal as in real datasets: four of ten animals are penguins, and crabs are
rare. Butterflies are small. Every twelfth image is without animals. And as in real datasets some files are faulty or
unusual:

    an image without annotation, an annotation without image, an image that breaks off,
    an image that the camera held upright and stored lying (EXIF), a grey one, a PNG,
    a box that reaches out of its image

The painter is that of the mini VOC (`make_mini_voc`), and so are its rules: the same random seed gives the same
images everywhere. The glyphs: OpenMoji, licence CC BY-SA 4.0, https://openmoji.org.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from make_mini_voc import Pose, Stage, background, draw_glyph, film_grain, random_corner, write_text
from PIL import Image
from tqdm import tqdm

VERSION = 1
NAME = "The zoo of this course"
STAMP = "zoo.json.stamp"
KINDS = ("xml", "coco", "yolo")

# name: (code points of OpenMoji, share of the animals, shortest and longest side in px before turning)
ANIMALS = {
    "butterfly": ("1F98B", 0.16, (18, 46)),
    "crab": ("1F980", 0.04, (50, 140)),
    "elephant": ("1F418", 0.12, (90, 280)),
    "octopus": ("1F419", 0.12, (50, 180)),
    "penguin": ("1F427", 0.40, (40, 160)),
    "turtle": ("1F422", 0.16, (40, 150)),
}
# Glyphs of no class, none of them an animal
OTHERS = "1F332 1F333 1F344 1F341 1F340 2600 26C5 1F308 26FA 1F6A9 1F388 1F3E0 1F331 1F335".split()

SIZES = ((480, 360), (360, 480), (400, 400))  # width, height in px
COUNT = 360
EMPTY_EVERY = 12
MOST = 5  # animals in an image
STICKS_OUT = 0.15

# faulty or unusual files: image number -> what is special about it
UNLABELLED, NO_PICTURE, BROKEN, TURNED, GREY, PNG, BEYOND = 10, 20, 30, 40, 50, 60, 70


@dataclass(frozen=True)
class Painted:
    """One image and the annotation that a person would make: px from 0, right and bottom exclusive."""

    pixels: np.ndarray
    animals: tuple[tuple[str, tuple[int, int, int, int]], ...]


def paint(seed: int, index: int) -> Painted:
    """Image number `index`, from 1. It depends on these two numbers and nothing else."""
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2000, index]))
    width, height = SIZES[rng.integers(len(SIZES))]
    stage = Stage(background(rng, width, height))
    names, shares = list(ANIMALS), [share for _, share, _ in ANIMALS.values()]
    count = 0 if index % EMPTY_EVERY == 0 else int(rng.integers(1, MOST + 1))
    cast = [str(rng.choice(names, p=shares)) for _ in range(count)] + [None] * int(rng.integers(0, 4))
    for i in rng.permutation(len(cast)):
        put(rng, stage, cast[i], name_on_stage=cast[i] or (None if count else "thing"))
    animals = tuple((item.name, item.box) for item in stage.items if item.name not in (None, "thing"))
    return Painted(film_grain(rng, stage.pixels), animals)


def put(rng: np.random.Generator, stage: Stage, name: str | None, name_on_stage: str | None) -> None:
    """Draw one glyph at a random free place; leave it out when none is found.

    The painter wants an object in every image, so where there are no animals, the other things count as objects.
    """
    code = ANIMALS[name][0] if name else OTHERS[rng.integers(len(OTHERS))]
    low, high = ANIMALS[name][2] if name else (30, 120)
    pose = Pose(
        code=code,
        side=round(low * (high / low) ** rng.random()),
        angle=round(rng.uniform(-20, 20), 1),
        mirrored=bool(rng.integers(2)),
        brightness=int(rng.integers(190, 291)),
        saturation=int(rng.integers(150, 311)),
    )
    glyph = draw_glyph(pose)
    sticks_out = name is not None and rng.random() < STICKS_OUT
    for _ in range(40):
        left, top = random_corner(rng, glyph.shape[1::-1], (stage.width, stage.height), sticks_out)
        if stage.try_to_place(name_on_stage, pose, glyph, left, top):
            return


def make_zoo(out: Path, kinds: Sequence[str] = ("xml",), seed: int = 0, count: int = COUNT) -> None:
    """Paint the set once, into a folder `out/kind` for each of the kinds. What is there already stays as it is.

    Raises FileExistsError if one of the folders holds anything else.
    """
    out = Path(out).resolve()
    stamps = {
        kind: f"{NAME}, version {VERSION}, {kind}, seed {seed}, {count} pictures; OpenMoji, CC BY-SA 4.0\n"
        for kind in kinds
    }
    missing = [kind for kind in kinds if not _is_there(out / kind, stamps[kind])]
    if not missing:
        return
    out.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".zoo.", dir=out))
    try:
        noted = []
        for index in tqdm(range(1, count + 1), desc="the zoo", unit="picture"):
            painted = paint(seed, index)
            name = write_picture(part, index, painted.pixels)
            if index != UNLABELLED:
                noted.append((name, *as_noted(index, painted)))
        for kind in missing:
            made = part / f"{kind}.set"
            shutil.copytree(part, made / "images", ignore=shutil.ignore_patterns("*.set"))
            {"xml": write_xml, "coco": write_coco, "yolo": write_yolo}[kind](made, noted)
            write_text(made / STAMP, stamps[kind])
            made.chmod(0o755)  # a temporary folder belongs to its owner alone
            if (out / kind).exists():
                shutil.rmtree(out / kind)
            made.rename(out / kind)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _is_there(folder: Path, stamp: str) -> bool:
    """Whether this very set is there; False where there is none or an older one."""
    if not folder.exists() or not any(folder.iterdir()):
        return False
    note = folder / STAMP
    if not note.is_file() or not note.read_text("utf-8").startswith(NAME):
        raise FileExistsError(f"{folder} is there already and is not a zoo; nothing was changed.")
    return note.read_text("utf-8") == stamp


def write_picture(folder: Path, index: int, pixels: np.ndarray) -> str:
    """Write image number `index` with what is special about it. -> the name of its file."""
    picture, suffix, more = Image.fromarray(pixels), "jpg", {"quality": 88}
    if index == GREY:
        picture = picture.convert("L")
    if index == PNG:
        suffix, more = "png", {}
    if index == TURNED:  # stored lying on its side; 6 tells the reader to turn it a quarter clockwise
        picture = picture.transpose(Image.Transpose.ROTATE_90)
        exif = Image.Exif()
        exif[274] = 6
        more["exif"] = exif
    path = folder / f"zoo_{index:04d}.{suffix}"
    if index != NO_PICTURE:
        picture.save(path, **more)
    if index == BROKEN:
        path.write_bytes(path.read_bytes()[:20])
    return path.name


def as_noted(index: int, painted: Painted) -> tuple[tuple[int, int], list[tuple[str, tuple[int, ...]]]]:
    """Size of the image and its annotation, made by a person who sees it upright."""
    animals = list(painted.animals)
    if index == BEYOND and animals:
        name, (left, top, right, bottom) = animals[0]
        animals[0] = name, (left, top, painted.pixels.shape[1] + 9, bottom)
    return painted.pixels.shape[1::-1], animals


def write_xml(folder: Path, noted: list) -> None:
    """Pascal XML, as many tools write it: corners counted from 0, a <path> that leads nowhere."""
    (folder / "annotations").mkdir()
    for name, (width, height), animals in noted:
        lines = ["<annotation>", f"\t<filename>{name}</filename>", f"\t<path>C:\\zoo\\{name}</path>"]
        lines += [f"\t<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"]
        for animal, corners in animals:
            sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)
            box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in sides)
            lines.append(f"\t<object><name>{animal}</name><bndbox>{box}</bndbox></object>")
        write_text(
            folder / "annotations" / f"{Path(name).stem}.xml", "\n".join([*lines, "</annotation>", ""])
        )


def write_coco(folder: Path, noted: list) -> None:
    """COCO's JSON. Its first category has no objects, as in the exports of some web sites."""
    numbers = {name: i for i, name in enumerate(("animals", *ANIMALS))}
    images, annotations = [], []
    for i, (name, (width, height), animals) in enumerate(noted, 1):
        images.append({"id": i, "file_name": name, "width": width, "height": height})
        for animal, (left, top, right, bottom) in animals:
            box = [left, top, right - left, bottom - top]
            entry = {"id": len(annotations) + 1, "image_id": i, "category_id": numbers[animal], "bbox": box}
            annotations.append(entry | {"area": box[2] * box[3], "iscrowd": 0})
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    write_text(folder / "annotations.json", json.dumps(whole) + "\n")


def write_yolo(folder: Path, noted: list) -> None:
    """YOLO's text and data.yaml. An empty image has no text."""
    (folder / "labels").mkdir()
    numbers = {name: i for i, name in enumerate(ANIMALS)}
    for name, (width, height), animals in noted:
        lines = []
        for animal, (left, top, right, bottom) in animals:
            middle = (left + right) / 2 / width, (top + bottom) / 2 / height
            size = (right - left) / width, (bottom - top) / height
            lines.append(" ".join([str(numbers[animal]), *(f"{x:.6f}" for x in (*middle, *size))]))
        if lines:
            write_text(folder / "labels" / f"{Path(name).stem}.txt", "\n".join([*lines, ""]))
    names = "".join(f"  {i}: {name}\n" for name, i in numbers.items())
    write_text(folder / "data.yaml", f"path: .\nnames:\n{names}")


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Paint the zoo: a small dataset of six animals.")
    parser.add_argument("--out", type=Path, default=Path("data/zoo"), help="default: %(default)s")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS, help="formats; default: all")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        make_zoo(options.out, options.kinds, options.seed)
    except (OSError, ModuleNotFoundError) as error:
        sys.exit(str(error))
    print(f"{options.out}: the zoo as {', '.join(options.kinds)}")


if __name__ == "__main__":
    main()
