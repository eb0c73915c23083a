"""Boxes as other tools write them: Pascal XML, COCO's JSON, YOLO's text. One reader each, one kind of answer.

    Pascal XML   corners in px, counted from 1 by VOC and from 0 by many others; one file a picture
    COCO JSON    corner, width, height in px, counted from 0; one file for all
    YOLO text    class number, then centre and size as parts of the picture, 0 ... 1; one file a picture

All become corners in px of the picture, counted from 0, as everywhere in this library. A picture is found by its
place below the folder; nothing in an annotation can lead out of it.
"""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ssdlib.data.voc import VOCError, parse

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
NAMES = ("classes.txt", "obj.names", "names.txt")  # lists of classes, one a line


class FormatError(ValueError):
    """A folder can't be read as a data set. The message names the file, what was found and what was wanted."""


@dataclass(frozen=True)
class Annotation:
    """What a tool noted about one picture. The picture has not been opened."""

    path: Path  # of the picture, or of what should be one
    objects: tuple[tuple[str, tuple[float, ...], bool], ...]  # class, four numbers, difficult
    stated: tuple[int, int] | None = None  # width and height as the annotation states them
    said: str = ""  # the file that says so, with its folder: "train" or "test" may stand there
    fault: str = ""  # why it can't be used, if so


def pictures_below(folder: Path) -> dict[str, Path]:
    """Every picture in the folder and in those within it, by its path from there; hidden ones are left out."""
    found = (p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURES and p.is_file())
    named = {p.relative_to(folder).as_posix(): p for p in found}
    return {name: p for name, p in named.items() if not any(part[0] == "." for part in name.split("/"))}


# ---- Pascal XML


def read_xml(folder: Path, files: Sequence[Path], pictures: dict[str, Path]) -> Iterator[Annotation]:
    """One annotation for each XML file. The four numbers are corners, counted as the tool counted them.

    The picture is the one of the same stem: in the same folder, else anywhere below `folder`. What <filename> and
    <path> say is asked only if two pictures have that stem: files are renamed, their insides are not.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in pictures.values():
        by_stem.setdefault(path.stem, []).append(path)
    for file in files:
        candidates = by_stem.get(file.stem, [])
        near = [p for p in candidates if p.parent == file.parent] or candidates
        near = [p for p in near if p.parent.name == file.parent.name] or near  # train/ beside train/
        try:
            root = parse(file)
            stated = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
            near = [p for p in near if p.name == stated] or near
            if len(near) != 1:
                fault = "no picture of its name" if not near else "several pictures of its name"
                yield Annotation(file.with_suffix(".jpg"), (), None, str(file.relative_to(folder)), fault)
                continue
            objects = tuple(_xml_object(node, file) for node in root.findall("object"))
            size = _size(root.findtext("size/width"), root.findtext("size/height"))
            yield Annotation(near[0], objects, size, str(file.relative_to(folder)))
        except (VOCError, FormatError) as error:
            torn = isinstance(error, VOCError)
            fault = "XML that can't be read" if torn else "an object without name or box"
            detail = str(error).split("; wanted")[0].replace(f"{file}: ", "")
            said = f"{file.relative_to(folder)} ({detail})"
            yield Annotation(near[0] if near else file.with_suffix(".jpg"), (), None, said, fault)


def _xml_object(node: Any, file: Path) -> tuple[str, tuple[float, ...], bool]:
    corners = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    name = (node.findtext("name") or "").strip()
    if not name or not all(_is_number(corner) for corner in corners):
        raise FormatError(f"{file}: {name!r} at {corners}; wanted a <name> and a <bndbox> of four numbers")
    difficult = (node.findtext("difficult") or "0").strip() == "1"
    return name, tuple(map(float, corners)), difficult


# ---- COCO JSON


def read_coco(folder: Path, file: Path, pictures: dict[str, Path]) -> tuple[list[Annotation], list[str]]:
    """Annotations and class names of one JSON file, classes in the order of their numbers.

    `file_name` is looked for beside the JSON file, from `folder`, and at last anywhere below it if its own name is
    there once, or once in a folder that the JSON's name names. "iscrowd" becomes difficult: it isn't judged.
    """
    try:
        whole = json.loads(file.read_text(encoding="utf-8-sig"))
        names = {int(c["id"]): str(c["name"]).strip() for c in whole["categories"]}
        entries = {_id(e["id"]): e for e in whole["images"]}
        boxes: dict[Any, list] = {number: [] for number in entries}
        for entry in whole["annotations"]:
            boxes[_id(entry["image_id"])].append(_coco_object(entry, names, file))
        plain = all(isinstance(e["file_name"], str) for e in entries.values())
    except FormatError:
        raise
    except KeyError as error:
        words = "is missing or names nothing; wanted COCO's images, annotations and categories"
        raise FormatError(f"{file}: {error} {words}") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise FormatError(f"{file}: {type(error).__name__}; wanted COCO's JSON") from None
    if not plain or len(names) != len(set(names.values())):
        raise FormatError(f"{file}: a file_name that is no text or a class named twice; wanted COCO's JSON")
    by_name: dict[str, list[Path]] = {}
    for path in pictures.values():
        by_name.setdefault(path.name, []).append(path)
    found = []
    for number, entry in entries.items():
        place = safe_path(entry["file_name"], file)
        near = file.parent.relative_to(folder).as_posix()
        spots = [(PurePosixPath(near) / place).as_posix(), place.as_posix()]
        path = next((pictures[spot] for spot in spots if spot in pictures), None)
        elsewhere = by_name.get(place.name, [])
        words = re.split(r"[\W_]+", file.stem.lower())  # instances_train.json -> train/
        elsewhere = [p for p in elsewhere if p.parent.name.lower() in words] or elsewhere
        path = path or (elsewhere[0] if len(elsewhere) == 1 else None)
        fault = "" if path else f"{'several pictures' if elsewhere else 'no picture'} of its name"
        size = _size(entry.get("width"), entry.get("height"))
        said = f"{file.relative_to(folder)}/{place}"
        found.append(Annotation(path or folder / place, tuple(boxes[number]), size, said, fault))
    return found, [names[number] for number in sorted(names)]


def _coco_object(entry: dict, names: dict[int, str], file: Path) -> tuple[str, tuple[float, ...], bool]:
    box = entry.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(x) for x in box):
        raise FormatError(f"{file}: annotation {entry.get('id')} has bbox {box}; wanted x, y, width, height")
    name = names.get(_id(entry["category_id"]))
    if name is None:
        raise FormatError(f"{file}: category {entry['category_id']!r}; wanted one of {sorted(names)}")
    x, y, width, height = map(float, box)
    return name, (x, y, x + width, y + height), entry.get("iscrowd") == 1


# ---- YOLO text


def read_yolo(folder: Path, pictures: dict[str, Path], names: Sequence[str]) -> Iterator[Annotation]:
    """One annotation for each picture: its text lies in labels/ as the picture lies in images/, or beside it.

    The four numbers are corners as parts of the picture, 0 ... 1. No text means a picture without objects, as it
    does to the programs that write this format. A line of more numbers is an outline; its box is taken.
    """
    used = set()
    for name, path in pictures.items():
        parts = name.split("/")
        if "images" in parts:
            last = len(parts) - 1 - parts[::-1].index("images")
            parts[last] = "labels"
        spots = (folder / "/".join(parts)).with_suffix(".txt"), path.with_suffix(".txt")
        text = next((spot for spot in spots if spot.is_file()), spots[0])
        used.add(text)
        try:
            lines, fault = _lines(text) if text.is_file() else [], ""
        except FormatError:
            lines, fault = [], "its text can't be read"
        yield Annotation(path, tuple(_yolo_objects(lines, names, text)), None, name, fault)
    for text in sorted(p for p in folder.rglob("*.txt") if p not in used and p.is_file()):
        if re.match(r"\s*\d+(\s+[-+.e\d]+){4}", text.read_text(encoding="utf-8-sig", errors="replace")):
            said = str(text.relative_to(folder))
            yield Annotation(text.with_suffix(".jpg"), (), None, said, "no picture of its name")


def _yolo_objects(lines: Sequence[str], names: Sequence[str], file: Path) -> Iterator[tuple]:
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words:
            continue
        numbers = [float(word) for word in words if _is_number(word)]
        # an odd number of numbers: class, then pairs
        if len(numbers) != len(words) or len(words) < 5 or len(words) % 2 == 0:
            raise FormatError(f"{file}, line {number}: {line!r}; wanted a class number and four parts of 1")
        which, *rest = numbers
        if which != int(which) or not 0 <= which < len(names):
            raise FormatError(f"{file}, line {number}: class {words[0]}; wanted 0 to {len(names) - 1}")
        if max(map(abs, rest)) > 2:
            raise FormatError(f"{file}, line {number}: {line!r}; wanted parts of the picture, 0 to 1, not px")
        if len(rest) == 4:
            x, y, width, height = rest
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        else:
            corners = (min(rest[::2]), min(rest[1::2]), max(rest[::2]), max(rest[1::2]))
        yield names[int(which)], corners, False


def yolo_names(folder: Path) -> tuple[list[str], Path] | None:
    """The class list of a YOLO folder and the file it stands in: classes.txt, or `names:` in a .yaml file.

    Of YAML only what these files hold is read: names: [a, b] or {0: a, 1: b}, or with "- a" or with "0: a" lines.
    """
    for file in (place / name for place in (folder, folder / "labels") for name in NAMES):
        if file.is_file():
            return [line.strip() for line in _lines(file) if line.strip()], file
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    found = ((_yaml_names(file), file) for file in files)
    return next((pair for pair in found if pair[0] is not None), None)


def _yaml_names(file: Path) -> list[str] | None:
    lines = [re.sub(r"(^|\s)#.*", "", line).rstrip() for line in _lines(file)]
    start = next((i for i, line in enumerate(lines) if re.match(r"names\s*:", line)), None)
    if start is None:
        return None
    block = lines[start].split(":", 1)[1].strip()
    for line in lines[start + 1 :]:
        if line and not line[0].isspace() and not line.startswith(("-", "]")):
            break
        block += "\n" + line.strip() if line.strip() else ""
    flat = block.replace("\n", " ").strip()
    if flat.startswith("[") and flat.endswith("]"):
        names = [_unquoted(word) for word in flat[1:-1].split(",") if word.strip()]
    else:
        block = flat[1:-1].replace(",", "\n") if flat[:1] == "{" and flat[-1:] == "}" else block
        rows = [row.strip() for row in block.split("\n") if row.strip()]
        items = [re.fullmatch(r"(?:-|(\d+)\s*:)\s+(.+)", row) for row in rows]
        numbers = [int(item[1]) for item in items if item and item[1]]
        if not rows or not all(items) or (numbers and numbers != list(range(len(items)))):
            raise FormatError(f"{file}: names aren't a plain list; wanted names: [a, b], or a line for each")
        names = [_unquoted(item[2]) for item in items]
    if not names or any(set(name) & set("{}[]&*!|>\"'") for name in names):
        raise FormatError(f"{file}: names {names}; wanted plain names, or a classes.txt with one a line")
    return names


# ---- what all have in common


def safe_path(text: str, said: Path) -> PurePosixPath:
    """A path from an annotation, which may not lead anywhere but down."""
    place = PurePosixPath(text.replace("\\", "/"))
    if not text.strip() or place.is_absolute() or ".." in place.parts or re.match(r"[A-Za-z]:", text):
        raise FormatError(f"{said}: names the picture {text!r}; wanted a path below the folder")
    return place


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{file}: {error}; wanted text in UTF-8") from None


def _unquoted(word: str) -> str:
    word = word.strip()
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word


def _is_number(value: Any) -> bool:
    try:
        return not isinstance(value, bool) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _size(*sides: Any) -> tuple[int, int] | None:
    """Width and height in px, or None where one is missing."""
    width, height = (int(float(side)) if _is_number(side) else 0 for side in sides)
    return (width, height) if width and height else None


def _id(value: Any) -> Any:
    return int(value) if isinstance(value, str) and value.isdecimal() else value
