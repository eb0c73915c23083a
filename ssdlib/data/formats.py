"""Boxes as other tools write them: Pascal XML, COCO's JSON, YOLO's text, LabelMe's JSON. Each has its reader, and all
return the same records.

    Pascal XML    corners in px, counted from 1 by VOC and from 0 by many others; one file an image
    COCO JSON     corner, width, height in px, counted from 0; one file for all
    YOLO text     class number, then centre and size as fractions of the image, 0 ... 1; one file an image
    LabelMe JSON  points of a shape in px, counted from 0; one file an image

All become corners of the image, as everywhere in this library. An image is searched among the files below the
folder, so nothing in an annotation can lead out of it. What a reader repairs, guesses or leaves out goes into the
`Notes`.
"""

import json
import math
import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from ssdlib.data.report import Notes, some
from ssdlib.data.voc import VOCError, parse

JPEGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".jif")
PICTURES = (*JPEGS, ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# Common image formats that aren't read: a report names such files with the way out.
UNREAD = (
    *(
        ".heic",
        ".heif",
        ".avif",
        ".jxl",
        ".jp2",
        ".j2k",
        ".svg",
        ".psd",
        ".xcf",
        ".tga",
        ".ppm",
        ".pgm",
        ".pbm",
    ),
    *(".pnm", ".exr", ".hdr", ".ico", ".pcx", ".sgi", ".dcm", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf"),
    *(".rw2", ".raw", ".eps", ".ai", ".pdf", ".fits"),
)
NAMES = ("classes.txt", "obj.names", "names.txt")  # lists of classes, one a line; so is every other *.names
CONVERT = "an image format that isn't read, convert it to JPEG or PNG"
LISTS = "classes.txt with one name a line, obj.names, or data.yaml with names: [a, b]"
BOX = ("xmin", "ymin", "xmax", "ymax")
# a folder with both holds a run; the names of the layer above aren't imported
RUN = {"checkpoint.pt", "config.json"}
OUTLINE = "outlines, of which the box around them is taken"

Object = tuple[str, tuple[float, ...], bool]  # class, four numbers, difficult


class FormatError(ValueError):
    """A folder can't be read as a dataset. The message names the file, what was found, what was wanted and what to
    do."""


@dataclass(frozen=True)
class Annotation:
    """What a tool noted about one image. The image has not been opened."""

    path: Path  # of the image, or of what should be one
    objects: tuple[Object, ...]
    stated: tuple[int, int] | None = None  # width and height as the annotation states them
    said: str = ""  # the annotation file, with its folder, whose name may contain "train" or "test"
    fault: str = ""  # why it can't be used; "" if it can


# ---- files


class Files:
    """The files in a folder and below it, listed once. Hidden files and runs are counted, never read."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.all: dict[str, Path] = {}  # by the path from the folder, with / in it
        self.hidden: list[str] = []
        self.runs: list[str] = []  # folders below this one
        seen = set()
        for place, folders, names in os.walk(self.folder, followlinks=True):
            real = os.path.realpath(place)
            if real in seen:  # a link to a folder above it
                folders.clear()
                continue
            seen.add(real)
            if set(names) >= RUN and Path(place) != self.folder:  # its figures are no images of the set
                self.runs.append(Path(place).relative_to(self.folder).as_posix())
                folders.clear()
                continue
            folders[:] = sorted(name for name in folders if not _is_hidden(name))
            for name in names:
                path = Path(place, name)
                where = path.relative_to(self.folder).as_posix()
                if _is_hidden(name):
                    self.hidden += [where] if _suffix(name) in (*PICTURES, *TEXTS) else []
                elif path.is_file():
                    self.all[where] = path
        self.all = dict(sorted(self.all.items(), key=lambda item: item[0].split("/")))
        self.hidden.sort()
        self.runs.sort()
        self.pictures = {name: path for name, path in self.all.items() if _suffix(name) in PICTURES}
        self._by_name, self._by_stem = {}, {}
        for name in self.pictures:
            last = name.rpartition("/")[2].lower()
            self._by_name.setdefault(last, []).append(name)
            self._by_stem.setdefault(last.rpartition(".")[0], []).append(name)

    def of(self, *suffixes: str) -> list[Path]:
        """All files whose name ends like that."""
        return [path for name, path in self.all.items() if _suffix(name) in suffixes]

    def named(self, name: str) -> list[str]:
        """Images of that name wherever they lie, upper and lower case alike."""
        return self._by_name.get(name.lower(), [])

    def of_stem(self, stem: str) -> list[str]:
        """Images of that name without its suffix."""
        return self._by_stem.get(stem.lower(), [])

    def meant(self, text: str, near: str = "") -> tuple[list[str], str]:
        """Images that a path in an annotation in the folder `near` may mean, and what had to be assumed.

        Its own place comes first, then the name, then the name without a suffix; among several those whose folders
        agree with the end of the path.
        """
        for base in (near, ""):
            exact = posixpath.normpath(posixpath.join(base, text.replace("\\", "/")))
            if exact in self.pictures:
                return [exact], ""
        for name, how in _spellings(text):
            last = name.rpartition("/")[2]
            exact = [one for one in self.named(last) if one.rpartition("/")[2] == last]
            if found := _nearest(exact or self.named(last), name):
                moved = "/" in name and not f"/{found[0]}".endswith(f"/{name}")
                how = how or ("names found in another folder than the one stated" if moved else "")
                return found, how if exact else "names with other upper or lower case"
        for name, _ in _spellings(text):
            last = name.rpartition("/")[2]
            stem = last.rpartition(".")[0] if _suffix(last) in (*PICTURES, *UNREAD) else last
            if found := _nearest(self.of_stem(stem), name):
                return found, "names with another suffix than the image"
        return [], ""

    def where(self, path: Path) -> str:
        """A path from the folder, with / in it."""
        return path.relative_to(self.folder).as_posix()


TEXTS = (".xml", ".json", ".yaml", ".yml", ".txt", ".names", ".data")


def pictures_below(folder: Path) -> dict[str, Path]:
    """Every image in the folder and in those within it, by its path from there; hidden ones are left out."""
    return Files(folder).pictures


def _is_hidden(name: str) -> bool:
    """Whether it is hidden or made by a system: macOS's ._ files and its __MACOSX folder, previews that a NAS
    makes."""
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _spellings(text: str) -> Iterator[tuple[str, str]]:
    """A path as it is written, and what it may have been before a tool made a URL or a longer name of it."""
    path = text.replace("\\", "/")
    outside = path.startswith("/") or ".." in path.split("/") or re.match(r"[A-Za-z]:", path)
    url = "URLs, found by the name at their end"
    yield path, url if "://" in path else "paths that lead elsewhere, found by name" if outside else ""
    parts = urlsplit(path) if "://" in path or "?" in path or "%" in path else None
    if parts is not None:
        inner = parse_qs(parts.query).get("d", [""])[0] or unquote(
            parts.path
        )  # Label Studio's local-files/?d=
        yield inner, url
        path = inner
    if bare := re.fullmatch(r"(.*/)?[0-9a-f]{8}-(.+)", path):
        yield bare[2], "names with eight digits before them, as Label Studio makes them, found without"


def _nearest(names: Sequence[str], text: str) -> list[str]:
    """Of some paths those whose end agrees with that of `text` for the most folders."""
    if len(names) < 2:
        return list(names)
    wanted = text.lower().split("/")[::-1]
    agree = [
        next(
            (i for i, (a, b) in enumerate(zip(n.lower().split("/")[::-1], wanted, strict=False)) if a != b),
            99,
        )
        for n in names
    ]
    return [name for name, count in zip(names, agree, strict=True) if count == max(agree)]


def _together(names: Sequence[str], text: str) -> list[str]:
    """Of some paths those that share the most folders with `text`, from the outermost on."""
    folders = text.split("/")[:-1]
    shared = [len(os.path.commonprefix([name.split("/")[:-1], folders])) for name in names]
    return [name for name, count in zip(names, shared, strict=True) if count == max(shared)]


# ---- Pascal XML


def read_xml(files: Files, notes: Notes) -> Iterator[Annotation]:
    """One annotation for each XML file. The four numbers are corners, counted as the tool counted them.

    The image is the one of the same stem: in the same folder, else anywhere below. <filename> counts only
    if none has that stem, or two have, because people rename files without changing their contents. Among several
    that are left, the one that shares the most folders with the XML file counts.
    """
    for file in files.of(".xml"):
        said, stem = files.where(file), file.stem
        near = files.of_stem(stem) or files.named(stem)  # a.xml, or a.jpg.xml
        near = [name for name in near if Path(name).stem == stem] or near
        near = [name for name in near if posixpath.dirname(name) == posixpath.dirname(said)] or near
        folder = posixpath.basename(posixpath.dirname(said))
        near = [
            n for n in near if posixpath.basename(posixpath.dirname(n)) == folder
        ] or near  # train/ by train/
        try:
            root = parse(file)
            if root.tag == "annotations" and root.find("image") is not None:
                raise ForeignError(f"{file}: CVAT's own XML (CVAT for images)")
            if root.tag != "annotation" and not near and root.find("object") is None:
                notes.ignored("XML that isn't an annotation", said)
                continue
            stated = re.split(r"[/\\]", (root.findtext("filename") or "").strip())[-1]
            if not near and stated:
                near, _ = files.meant(stated, posixpath.dirname(said))
                if len(near) == 1:
                    notes.repaired(
                        "annotations whose name differs from their image's, found by <filename>", said
                    )
            elif stated and len(near) == 1 and not _agree(near[0], stated) and files.named(stated):
                notes.guessed(
                    "annotations whose <filename> is another image of the folder; the one of the same stem is used",
                    f"{said} ({stated})",
                )
            near = [name for name in near if posixpath.basename(name) == stated] or near
            near = _together(near, said)  # train/images/ by train/annotations/
            if len(near) != 1:
                yield Annotation(file.with_suffix(".jpg"), (), None, said, _missing(files, stem, near))
                continue
            objects = tuple(_xml_object(node, file, said, notes) for node in root.findall("object"))
            size = _size(root.findtext("size/width"), root.findtext("size/height"))
            yield Annotation(files.pictures[near[0]], objects, size, said)
        except ForeignError:
            raise
        except (VOCError, FormatError) as error:
            torn = isinstance(error, VOCError)
            fault = "XML that can't be read" if torn else "an object without name or box"
            detail = str(error).split("; wanted")[0].replace(f"{file}: ", "")
            path = files.pictures[near[0]] if near else file.with_suffix(".jpg")
            yield Annotation(path, (), None, f"{said} ({detail})", fault)


class ForeignError(FormatError):
    """An annotation of a program whose own format isn't read; the caller adds the way out."""


def _agree(picture: str, stated: str) -> bool:
    return Path(picture).stem.lower() == stated.lower().rpartition(".")[0] or Path(picture).name == stated


def _missing(files: Files, stem: str, near: Sequence[str]) -> str:
    """Why an annotation has no image."""
    if near:
        return "several images of its name"
    others = [n for n in files.all if Path(n).stem == stem and _suffix(n) in UNREAD]
    return f"its image isn't read ({_suffix(others[0])}: {CONVERT})" if others else "no image of its name"


def _xml_object(node: Any, file: Path, said: str, notes: Notes) -> Object:
    corners = [node.findtext(f"bndbox/{side}") for side in BOX]
    name = (node.findtext("name") or "").strip()
    if not all(map(_is_number, corners)) and (around := _xml_outline(node)):
        notes.guessed(OUTLINE, said)
        corners = around
    if not name or not all(map(_is_number, corners)):
        raise FormatError(f"{file}: {name!r} at {corners}; wanted a <name> and a <bndbox> of four numbers")
    difficult = (node.findtext("difficult") or "0").strip().lower() in ("1", "true")
    return name, tuple(map(float, corners)), difficult


def _xml_outline(node: Any) -> list[float] | None:
    """Corners around a <polygon>, as x1 y1 x2 y2 ... or points with x and y, or around roLabelImg's <robndbox>."""
    turned = [node.findtext(f"robndbox/{name}") for name in ("cx", "cy", "w", "h", "angle")]
    if all(map(_is_number, turned)):
        x, y, w, h, angle = map(float, turned)
        cos, sin = abs(math.cos(angle)), abs(math.sin(angle))
        across, down = (w * cos + h * sin) / 2, (w * sin + h * cos) / 2
        return [x - across, y - down, x + across, y + down]
    axes: dict[str, list[float]] = {"x": [], "y": []}
    for part in node.findall("polygon//*"):
        if re.fullmatch(r"[xy]\d*", part.tag) and _is_number(part.text):
            axes[part.tag[0]].append(float(part.text))
    if len(axes["x"]) != len(axes["y"]):
        return None
    return around(zip(axes["x"], axes["y"], strict=True))


def around(points: Iterable[Sequence[float]]) -> list[float] | None:
    """xmin, ymin, xmax, ymax of points; None if there are fewer than two."""
    points = list(points)
    if len(points) < 2:
        return None
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


# ---- COCO JSON


def read_coco(files: Files, file: Path, notes: Notes) -> tuple[list[Annotation], list[str]]:
    """Annotations and class names of one JSON file, classes in the order of their numbers.

    `file_name` is looked for beside the JSON file, from the folder, and at last anywhere below it if its own name is
    there once, or once in a folder that the JSON's name names. "iscrowd" becomes difficult: it isn't judged.
    """
    said = files.where(file)
    try:
        whole = json.loads(file.read_text(encoding="utf-8-sig"))
        names = _categories(whole, file, said, notes)
        entries = _entries(whole["images"], file, said, notes)
        boxes: dict[Any, list] = {number: [] for number in entries}
        for entry in whole["annotations"]:
            number = _id(entry["image_id"])
            if number not in boxes:
                notes.ignored(
                    "annotations of images that aren't in the list", f"{said}, image_id {entry['image_id']}"
                )
            elif (thing := _coco_object(entry, names, file, said, notes)) is not None:
                boxes[number].append(thing)
        plain = all(isinstance(e["file_name"], str) and e["file_name"].strip() for e in entries.values())
    except FormatError:
        raise
    except KeyError as error:
        words = "is missing or names nothing; wanted COCO's images, annotations and categories"
        raise FormatError(f"{file}: {error} {words}; export it again") from None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise FormatError(f"{file}: {type(error).__name__}; wanted COCO's JSON; export it again") from None
    if not plain:
        raise FormatError(f"{file}: a file_name that is no text; wanted a file name in each entry of images")
    if whole["annotations"] and not any(boxes.values()):
        one = whole["annotations"][0].get("image_id")
        if _id(one) not in boxes:
            raise FormatError(
                f"{file}: {one!r} is the image_id of an annotation and names nothing; wanted the id of one of its "
                "images; export it again"
            )
    found, words = (
        [],
        re.split(r"[\W_]+|(?<=[a-z])(?=\d)", file.stem.lower()),
    )  # instances_train.json -> train/
    for number, entry in entries.items():
        text = entry["file_name"]
        near, how = files.meant(text, posixpath.dirname(said))
        near = [n for n in near if posixpath.basename(posixpath.dirname(n)).lower() in words] or near
        if how and len(near) == 1:
            notes.repaired(how, f"{said}, {text}")
        path = files.pictures[near[0]] if len(near) == 1 else files.folder / posixpath.basename(text)
        fault = "" if len(near) == 1 else _missing(files, Path(text).stem, near)
        size = _size(entry.get("width"), entry.get("height"))
        found.append(Annotation(path, tuple(boxes[number]), size, f"{said}/{text}", fault))
    return found, list(dict.fromkeys(names[number] for number in sorted(names)))


def _categories(whole: dict, file: Path, said: str, notes: Notes) -> dict[int, str]:
    """Names by number. Of two numbers for one name, one without annotations is left out; otherwise both count as one
    class."""
    names: dict[int, str] = {}
    for entry in whole["categories"]:
        number, name = int(entry["id"]), str(entry["name"]).strip()
        if names.get(number, name) != name:
            raise FormatError(
                f"{file}: category id {entry['id']!r} twice, {names[number]!r} and {name!r}; wanted each id once; "
                "give the categories new numbers where two sets were joined"
            )
        names[number] = name
    used = {_id(entry.get("category_id")) for entry in whole["annotations"] if isinstance(entry, dict)}
    for number, name in list(names.items()):
        same = [other for other in names if names[other] == name]
        if len(same) > 1 and number not in used and any(other in used for other in same):
            notes.ignored("categories without objects, named like another", f"{said}, {number} {name}")
            del names[number]
        elif len(same) > 1 and number != same[0]:
            notes.joined("categories of one name", f"{said}, {same[0]} and {number} {name}")
    return names


def _entries(images: list, file: Path, said: str, notes: Notes) -> dict[Any, dict]:
    """COCO's images by their id."""
    entries: dict[Any, dict] = {}
    for entry in images:
        number = _id(entry["id"])
        if number in entries and entries[number]["file_name"] != entry["file_name"]:
            raise FormatError(
                f"{file}: image id {entry['id']!r} twice, {entries[number]['file_name']!r} and "
                f"{entry['file_name']!r}; wanted each id once, since boxes would lie on the wrong image; number the "
                "images again where two sets were joined"
            )
        if number in entries:
            notes.joined("images listed twice", f"{said}, {entry['file_name']}")
        entries[number] = entry
    return entries


def _coco_object(entry: dict, names: dict[int, str], file: Path, said: str, notes: Notes) -> Object | None:
    box, name = entry.get("bbox"), names.get(_id(entry["category_id"]))
    where = f"{said}, annotation {entry.get('id')}"
    if name is None:
        raise FormatError(
            f"{file}: annotation {entry.get('id')} has category {entry['category_id']!r}; wanted one of "
            f"{some(sorted(names), 9)}; add it to categories, or export it again"
        )
    if not box or (isinstance(box, list) and box == [0] * 4):
        corners = _coco_outline(entry.get("segmentation"))
        if corners is None:
            notes.ignored("annotations with neither bbox nor outline", where)
            return None
        notes.guessed(OUTLINE, where)
        return name, tuple(corners), entry.get("iscrowd") == 1
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(x) for x in box):
        raise FormatError(
            f"{file}: annotation {entry.get('id')} has bbox {box}; wanted x, y, width, height; take it out, or "
            "export it again"
        )
    x, y, width, height = map(float, box)
    return name, (x, y, x + width, y + height), entry.get("iscrowd") == 1


def _coco_outline(shape: Any) -> list[float] | None:
    """Corners around polygons or a mask in runs (RLE), plain or packed."""
    if isinstance(shape, dict):
        return _around_runs(shape)
    if not isinstance(shape, list) or not shape:
        return None
    rings = shape if isinstance(shape[0], list) else [shape]
    if not all(
        isinstance(ring, list) and len(ring) % 2 == 0 and all(map(_is_number, ring)) for ring in rings
    ):
        return None
    numbers = [[float(x) for x in ring] for ring in rings]
    return around(pair for ring in numbers for pair in zip(ring[::2], ring[1::2], strict=True))


def _around_runs(mask: dict) -> list[float] | None:
    """Corners around the pixels of COCO's RLE: runs of 0 and 1 by turns, column after column."""
    counts, size = mask.get("counts"), mask.get("size")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not isinstance(size, list) or len(size) != 2 or not isinstance(counts, list):
        return None
    if not all(isinstance(n, int) and n >= 0 for n in (*counts, *size)) or not size[0]:
        return None
    height, at, boxes = size[0], 0, []
    for place, run in enumerate(counts):
        if place % 2 and run:
            first, last = at, at + run - 1
            left, right = first // height, last // height
            top, bottom = (first % height, last % height) if left == right else (0, height - 1)
            boxes += [(left, top), (right + 1, bottom + 1)]
        at += run
    return around(boxes)


def _unpacked(text: str) -> list[int]:
    """COCO's packed RLE: five bits a letter, the lowest first; from the third run on differences to two before."""
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        number -= (1 << shift) if bits & 16 else 0
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts


# ---- YOLO text


def read_yolo(files: Files, notes: Notes) -> tuple[list[Annotation], list[str]]:
    """One annotation for each image, and all class names.

    The text file of an image lies in labels/ as the image lies in images/, or beside it, or anywhere below if its
    name and its folders say whose it is. The four numbers are corners as fractions of the image, 0 ... 1. No text
    file means an image without objects, as it does to the programs that write this format. The nearest class list
    counts, from the folder of the text file upwards.
    """
    lists = ClassLists(files, notes)
    texts = {name for name, path in files.all.items() if looks_like_yolo(path)}
    own = {name: text for name in files.pictures if (text := _own_text(name, files.all))}
    # an image without objects has no text file, so one that is another image's isn't looked at for it
    free: dict[str, list[str]] = {}
    for text in sorted(texts - set(own.values())):
        free.setdefault(Path(text).stem, []).append(text)
    used: dict[str, str] = {}
    annotations, rows = [], []
    for name, path in files.pictures.items():
        rivals = [n for n in files.of_stem(path.stem) if n not in own and Path(n).stem == path.stem]
        text = own.get(name) or _text_elsewhere(name, free.get(path.stem, []), rivals, notes)
        if text is None:
            notes.guessed("images without a text file, taken as images without objects", name)
            annotations.append(Annotation(path, (), None, name))
            continue
        if text in used:
            notes.guessed("text files that belong to several images", f"{text}: {used[text]} and {name}")
        used[text] = name
        try:
            rows.append((path, name, text, _rows(files.all[text])))
        except FormatError:
            annotations.append(Annotation(path, (), None, name, "its text file can't be read"))
    shape = _shapes(rows, lists, notes)
    for path, _, text, lines in rows:
        objects = tuple(_yolo_objects(lines, lists, shape, text, files.all[text], notes))
        annotations.append(Annotation(path, objects, None, text))
    for text in sorted(texts - set(used)):
        annotations.append(
            Annotation(
                files.all[text].with_suffix(".jpg"), (), None, text, _missing(files, Path(text).stem, [])
            )
        )
    return annotations, lists.everything


def looks_like_yolo(path: Path) -> bool:
    """Is it a text file whose first line is a class number and four numbers or more?"""
    if path.suffix.lower() != ".txt" or path.name in NAMES:
        return False
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            # all in one line: a list of image ids has one number in each
            return re.match(r"\s*\d+(\.0*)?([^\S\n]+[-+.e\d]+){4}", file.read(4096)) is not None
    except OSError:
        return False


def _own_text(name: str, everything: dict[str, Path]) -> str | None:
    """The text file in an image's own place: in labels/, or beside it."""
    parts, spots = name.split("/"), []
    for word in ("images", "JPEGImages"):
        if word in parts[:-1]:
            last = len(parts) - 2 - parts[:-1][::-1].index(word)
            spots.append("/".join([*parts[:last], "labels", *parts[last + 1 :]]))
    for spot in (*spots, name):
        for text in (f"{os.path.splitext(spot)[0]}.txt", f"{spot}.txt"):
            if text in everything and posixpath.basename(text) not in NAMES:
                return text
    return None


def _text_elsewhere(name: str, free: Sequence[str], rivals: Sequence[str], notes: Notes) -> str | None:
    """Of the texts of an image's name that lie in no image's own place the one whose folders agree most with the
    image's; None if it isn't clear which, or if they agree more with those of a rival, another image of the name."""

    def agree(image: str, text: str) -> tuple[int, int]:
        """How many folders are the same from the innermost on, and from the outermost on."""
        ours, its = image.split("/")[:-1], text.split("/")[:-1]
        return len(os.path.commonprefix([ours[::-1], its[::-1]])), len(os.path.commonprefix([ours, its]))

    agreed = {text: agree(name, text) for text in free}
    best = max(agreed.values(), default=(0, 0))
    found = [text for text in free if agreed[text] == best]
    if len(found) != 1 or any(agree(rival, found[0]) > best for rival in rivals):
        return None
    notes.guessed("text files found by their name in another folder", found[0])
    return found[0]


Rows = list[tuple[int, str, list[str]]]  # number of the line, the line, its words


def _rows(file: Path) -> Rows:
    lines = enumerate(_lines(file), 1)
    return [(number, line, words) for number, line in lines if (words := line.split())]


def _shapes(rows: Sequence[tuple[Path, str, str, Rows]], lists: "ClassLists", notes: Notes) -> str:
    """How lines of more than five numbers are to be read: "outline" or "pose", where no kpt_shape says so.

    A pose's first four numbers are a box that holds all of its points, and every line has as many numbers; an outline
    seldom looks like that by chance.
    """
    long = [(text, words) for _, _, text, lines in rows for _, _, words in lines if len(words) > 6]
    long = [words for text, words in long if lists.keypoints(text) is None and all(map(_is_number, words))]
    if not long or len({len(words) for words in long}) != 1:
        return "outline"
    rest = len(long[0]) - 5
    for step in (2, 3):
        if rest % step == 0 and all(_holds_its_points([float(w) for w in words[1:]], step) for words in long):
            notes.guessed(
                f"lines of {len(long[0])} numbers, taken as a box and {rest // step} keypoints: the box holds "
                f"them all (kpt_shape: [{rest // step}, {step}] in data.yaml says so for certain)"
            )
            return "pose"
    return "outline"


def _holds_its_points(numbers: Sequence[float], step: int) -> bool:
    x, y, width, height, *rest = numbers
    points = [p for p in zip(rest[::step], rest[1::step], strict=True) if p != (0, 0)]  # 0, 0: not labelled
    seen = step == 2 or all(v in (0, 1, 2) for v in rest[2::3])
    return seen and all(abs(a - x) <= width / 2 + 0.01 and abs(b - y) <= height / 2 + 0.01 for a, b in points)


def _yolo_objects(
    lines: Rows, lists: "ClassLists", shape: str, text: str, file: Path, notes: Notes
) -> Iterator[Object]:
    names, listed = lists.nearest(text)
    keypoints = lists.keypoints(text)
    for number, line, words in lines:
        at = f"{file}, line {number}"
        shown = line if len(line) < 80 else line[:77] + "..."
        if len(words) < 5 or not all(map(_is_number, words)):
            raise FormatError(
                f"{at}: {shown!r}; wanted a class number and four numbers from 0 to 1; correct the line or remove it"
            )
        which, *rest = map(float, words)
        if which != int(which) or not 0 <= which < len(names):
            raise FormatError(
                f"{at}: class {words[0]}; wanted 0 to {len(names) - 1}, as {listed} has {len(names)} names; complete "
                "that list, or correct the line"
            )
        posed = len(rest) > 5 and (shape == "pose" if keypoints is None else True)
        if posed and keypoints is not None and len(rest) != 4 + keypoints[0] * keypoints[1]:
            raise FormatError(
                f"{at}: {len(words)} numbers; wanted 5 + {keypoints[0]} x {keypoints[1]}, as kpt_shape of {listed} "
                "says; correct kpt_shape, or the line"
            )
        if posed:
            notes.ignored("keypoints; the first four numbers are the box", f"{text}, line {number}")
            rest = rest[:4]
        elif len(rest) == 5:
            notes.ignored("a sixth number in a line, such as a score or a track", f"{text}, line {number}")
            rest = rest[:4]
        elif len(rest) != 4 and len(rest) % 2:
            raise FormatError(
                f"{at}: {len(words)} numbers; wanted 5, or a class and pairs of an outline; if they are keypoints, "
                "data.yaml has to say so in kpt_shape"
            )
        if max(map(abs, rest)) > 2:
            raise FormatError(
                f"{at}: {shown!r}; wanted fractions of the image, 0 to 1, not px; divide by its width and height"
            )
        if len(rest) == 4:
            x, y, width, height = rest
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        else:
            notes.guessed(OUTLINE, f"{text}, line {number}")
            corners = (min(rest[::2]), min(rest[1::2]), max(rest[::2]), max(rest[1::2]))
        yield names[int(which)], corners, False


class ClassLists:
    """The class lists of a folder in YOLO's format: the nearest to a text counts, looking upwards."""

    def __init__(self, files: Files, notes: Notes):
        self.folder = files.folder
        self.by_place: dict[str, tuple[list[str], str]] = {}  # folder -> names and the file they stand in
        self.shapes: dict[str, tuple[int, int]] = {}  # folder -> kpt_shape
        for name, path in files.all.items():
            names = self._names(name, path, notes)
            if names is None:
                continue
            place = posixpath.dirname(name)
            there = self.by_place.get(place)
            if there and there[0] != names:
                raise FormatError(
                    f"{path}: {some(names)}, but {there[1]} has {some(there[0])}; wanted one class list in a folder; "
                    "move the wrong one elsewhere"
                )
            self.by_place[place] = there or (names, name)
        self.everything = list(dict.fromkeys(n for names, _ in self.by_place.values() for n in names))
        if len({tuple(names) for names, _ in self.by_place.values()}) > 1:
            for names, name in self.by_place.values():
                notes.joined("class lists that differ; the nearest counts", f"{name} ({some(names)})")
        for names, name in self.by_place.values():
            for twice in sorted({one for one in names if names.count(one) > 1}):
                notes.joined("names listed twice in a class list", f"{name}: {twice}")

    def nearest(self, text: str) -> tuple[list[str], str]:
        """The names for a text, and the file they stand in."""
        for place in _upwards(text):
            if place in self.by_place:
                return self.by_place[place]
        others = list(self.by_place.values())
        if others and all(names == others[0][0] for names, _ in others):
            return others[0]
        found = " and ".join(name for _, name in others[:2]) or "no class list"
        raise FormatError(
            f"{self.folder / text}: {found} for its class numbers; wanted {LISTS}, beside it or in a folder above it"
        )

    def keypoints(self, text: str) -> tuple[int, int] | None:
        """Number of keypoints and of numbers for each, if the nearest data.yaml says so."""
        return next((self.shapes[place] for place in _upwards(text) if place in self.shapes), None)

    def _names(self, name: str, path: Path, notes: Notes) -> list[str] | None:
        if path.name in NAMES or path.suffix == ".names":
            return [line.strip() for line in _lines(path) if line.strip()] or None
        if path.suffix.lower() not in (".yaml", ".yml"):
            return None
        settings = read_yaml(path)
        if "names" not in settings:
            return None
        names, place = names_of(settings["names"], path), posixpath.dirname(name)
        shape = settings.get("kpt_shape")
        if isinstance(shape, list) and len(shape) == 2 and all(str(x).isdecimal() for x in shape):
            self.shapes[place] = int(shape[0]), int(shape[1])
        if str(settings.get("nc", len(names))).strip() != str(len(names)):
            notes.guessed("nc isn't the number of names, which are taken", f"{name}: nc {settings['nc']}")
        return names


def _upwards(name: str) -> Iterator[str]:
    """The folder of a file and all above it, to "" for the outermost."""
    place = posixpath.dirname(name)
    while place:
        yield place
        place = posixpath.dirname(place)
    yield ""


class _Strings(yaml.BaseLoader):
    """YAML of strings, lists and mappings alone, each key once."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"{twice!r} twice", node.start_mark)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file whose values are all strings; {} for one that describes no dataset. Raises FormatError if it is
    broken and has class names."""
    text = "\n".join(_lines(file))
    if not re.search(r"^\s*['\"]?(names|train|val)['\"]?\s*:", text, re.MULTILINE):
        return {}
    try:
        whole = _Strings(text).get_single_data()  # a BaseLoader makes strings, lists and mappings only
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        said = " ".join(str(getattr(error, "problem", "") or type(error).__name__).split())
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{file}, line {line + 1}" if line is not None else str(file)
        raise FormatError(f"{where}: {said}; wanted YAML with a line such as names: [a, b]") from None
    return whole if isinstance(whole, dict) else {}


def names_of(names: Any, file: Path) -> list[str]:
    """What stands behind `names:`, a list or a mapping from 0, 1, ... Raises FormatError if it is something else."""
    if isinstance(names, dict) and list(names) == [str(i) for i in range(len(names))]:
        names = list(names.values())
    elif isinstance(names, dict) and sorted(names, key=str) == sorted(map(str, range(len(names)))):
        names = [names[str(i)] for i in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and n.strip() for n in names):
        raise FormatError(
            f"{file}: names aren't a plain list; wanted names: [a, b], or a line for each from 0 on"
        )
    return [name.strip() for name in names]


# ---- LabelMe JSON


def jsons_of(files: Files) -> dict[str, list[Path]]:
    """The JSON files of COCO and of LabelMe, told apart by their keys; broken ones that seem to be either are
    named."""
    found: dict[str, list[Path]] = {"coco": [], "labelme": []}
    for path in files.of(".json"):
        text = path.read_bytes()
        if all(word in text for word in (b'"annotations"', b'"images"')):
            found["coco"].append(path)
        elif b'"shapes"' in text and (b'"imagePath"' in text or b'"imageHeight"' in text):
            found["labelme"].append(path)
    return found


def of_boxes(coco: Sequence[Path], files: Files, notes: Notes) -> list[Path]:
    """COCO's own archive has keypoints and captions of the same images beside the instances; those are left out."""
    others = ("person_keypoints", "captions", "panoptic", "stuff", "image_info")
    if not any(path.stem.startswith("instances") for path in coco):
        return list(coco)
    for path in coco:
        if path.stem.startswith(others):
            notes.ignored("COCO files without instances", files.where(path))
    return [path for path in coco if not path.stem.startswith(others)]


def read_labelme(files: Files, jsons: Sequence[Path], notes: Notes) -> Iterator[Annotation]:
    """One annotation for each JSON file. The image is that of `imagePath`, else the one of the file's stem.

    A rectangle is its two corners in any order; of a polygon, a mask or a circle the box around it is taken, of those
    with one group_id and label the box around all of them. Points and lines have no box.
    """
    for file in jsons:
        said = files.where(file)
        near: list[str] = []
        try:
            whole = json.loads(file.read_text(encoding="utf-8-sig"))
            text = str(whole.get("imagePath") or "")
            near, how = files.meant(text, posixpath.dirname(said)) if text else ([], "")
            near = [n for n in near if posixpath.dirname(n) == posixpath.dirname(said)] or near
            own = [n for n in files.of_stem(file.stem) if posixpath.dirname(n) == posixpath.dirname(said)]
            if not near and (near := own or files.of_stem(file.stem)):
                notes.repaired("annotations whose imagePath isn't there, found by their own name", said)
            elif how and len(near) == 1:
                notes.repaired(how, f"{said}, {text}")
            elif own and near and not set(own) & set(near):
                notes.guessed(
                    "annotations whose name differs from their imagePath, which is used", f"{said} ({text})"
                )
            if len(near) != 1:
                fault = _missing(files, file.stem, near)
                if not near and whole.get("imageData"):
                    fault += " (it is inside the JSON, as imageData: labelme_export_json takes it out)"
                yield Annotation(file.with_suffix(".jpg"), (), None, said, fault)
                continue
            objects = tuple(_labelme_objects(whole["shapes"], file, said, notes))
            size = _size(whole.get("imageWidth"), whole.get("imageHeight"))
            yield Annotation(files.pictures[near[0]], objects, size, said)
        except (
            OSError,
            ValueError,
            TypeError,
            KeyError,
            AttributeError,
            RecursionError,
            OverflowError,
        ) as error:
            shape = isinstance(error, FormatError)
            fault = "an object without name or box" if shape else "JSON that can't be read"
            detail = (
                str(error).split("; wanted")[0].replace(f"{file}: ", "") if shape else type(error).__name__
            )
            path = files.pictures[near[0]] if len(near) == 1 else file.with_suffix(".jpg")
            yield Annotation(path, (), None, f"{said} ({detail})", fault)


def _labelme_objects(shapes: list, file: Path, said: str, notes: Notes) -> Iterator[Object]:
    groups: dict[Any, list[tuple[list[float], bool]]] = {}
    for place, shape in enumerate(shapes):
        name, kind = str(shape.get("label") or "").strip(), shape.get("shape_type") or "polygon"
        if kind in ("point", "points", "line", "linestrip"):
            notes.ignored(f"shapes without area ({kind})", said)
            continue
        points = shape.get("points")
        corners = None
        if isinstance(points, list) and all(isinstance(p, list) and len(p) == 2 for p in points):
            if all(_is_number(x) for p in points for x in p):
                corners = _labelme_box(kind, [(float(x), float(y)) for x, y in points])
        if not name or corners is None:
            raise FormatError(
                f"{file}: {name!r}, a {kind} of {points!r:.60}; wanted a label and two points or more"
            )
        if kind != "rectangle":
            notes.guessed(OUTLINE, said)
        group = shape.get("group_id")
        key = place if group is None or kind == "rectangle" else (name, str(group))
        groups.setdefault((name, key), []).append((corners, shape.get("difficult") is True))
    for (name, _), members in groups.items():
        if len(members) > 1:
            notes.joined("shapes of one group_id, taken as one object", f"{said}, {name}")
        corners = around(point for box, _ in members for point in (box[:2], box[2:]))
        yield name, tuple(corners), all(hard for _, hard in members)


def _labelme_box(kind: str, points: list[tuple[float, float]]) -> list[float] | None:
    if kind == "circle" and len(points) == 2:  # its centre, and a point on it
        (x, y), on = points
        radius = math.dist((x, y), on)
        return [x - radius, y - radius, x + radius, y + radius]
    return around(points)


# ---- shared by all readers


def _lines(file: Path) -> list[str]:
    try:
        content = file.read_bytes()
        code = (
            "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        )  # as PowerShell writes it
        return content.decode(code).splitlines()
    except (OSError, UnicodeError) as error:
        raise FormatError(f"{file}: {error}; wanted text in UTF-8; save it in that encoding") from None


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
