"""Folders as people have them, written small: pictures of 40 x 30 px with annotations of four kinds.

Each function writes and says nothing of what is right; that is for the tests. `BOX` is the box that they all mean, in
px counted from 0.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

SIZE = (40, 30)
BOX = (4.0, 5.0, 24.0, 20.0)
YOLO = "0.35 0.416667 0.5 0.5"  # the same as parts of the picture
COLOUR = (120, 90, 60)


def text(path: Path, content: str | bytes | Iterable[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = content if isinstance(content, str | bytes) else "".join(f"{line}\n" for line in content)
    path.write_bytes(whole if isinstance(whole, bytes) else whole.encode())
    return path


def picture(
    path: Path, size: Sequence[int] = SIZE, colour: Any = COLOUR, mode: str = "RGB", **more: Any
) -> Path:
    """In the format of the suffix, or the one named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, tuple(size), colour).save(path, **more)
    return path


def corners(box: Sequence[Any]) -> str:
    tags = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    return "<bndbox>" + "".join(f"<{tag}>{x}</{tag}>" for tag, x in tags) + "</bndbox>"


def xml(path: Path, *objects: tuple[str, Any], filename: str = "", size: Sequence[int] = SIZE) -> Path:
    """VOC's XML, counted from 1; an object is a name and a box, or a name and other tags."""
    objects = objects or (("cat", (5, 6, 24, 20)),)
    inside = "".join(
        f"<object><name>{name}</name>{box if isinstance(box, str) else corners(box)}</object>"
        for name, box in objects
    )
    sides = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    return text(path, f"<annotation><filename>{filename}</filename>{sides}{inside}</annotation>")


def annotated(folder: Path, *names: str, objects: Sequence[tuple[str, Any]] = (), **more: Any) -> Path:
    """Pictures with their XML beside them."""
    for name in names:
        picture(folder / name, **more)
        xml((folder / name).with_suffix(".xml"), *objects, filename=Path(name).name)
    return folder


def many(count: int, suffix: str = ".jpg") -> list[str]:
    return [f"{number:02d}{suffix}" for number in range(count)]


def yolo(folder: Path, *names: str, lines: Sequence[str] = (f"0 {YOLO}",), labels: bool = True) -> Path:
    """Pictures with a text each: labels/ for images/, or beside them."""
    for name in names:
        path = picture(folder / name)
        place = str(path).replace("/images/", "/labels/") if labels else str(path)
        text(Path(place).with_suffix(".txt"), lines)
    return folder


def coco(file: Path, names: Sequence[str], boxes: Any = None, **change: Any) -> Path:
    """COCO's JSON of pictures with a box each; `boxes` are other annotations, `change` another part of the whole."""
    whole = {
        "images": [
            {"id": i, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for i, name in enumerate(names, 1)
        ],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [4, 5, 20, 15], "iscrowd": 0}
            for i in range(1, len(names) + 1)
        ],
        "categories": [{"id": 1, "name": "cat"}],
    }
    if boxes is not None:
        whole["annotations"] = [{"id": i, "category_id": 1} | entry for i, entry in enumerate(boxes)]
    return text(file, json.dumps(whole | change))


def labelme(file: Path, *shapes: dict[str, Any], image: str = "", **more: Any) -> Path:
    """LabelMe's JSON; a shape without kind is a rectangle of `BOX`."""
    plain = {"label": "cat", "shape_type": "rectangle", "group_id": None, "points": [BOX[:2], BOX[2:]]}
    whole = {
        "version": "5.4.1",
        "shapes": [plain | shape for shape in shapes or ({},)],
        "imagePath": image or f"{file.stem}.jpg",
        "imageWidth": SIZE[0],
        "imageHeight": SIZE[1],
        "imageData": None,
    }
    return text(file, json.dumps(whole | more))
