"""Pascal VOC on disk: classes, image lists, annotations. The only module that handles VOC's quirks.

VOC counts pixels from 1 and its corners are inclusive: a box over a whole W x H image reads (1, 1, W, H).
Here it becomes (0, 0, W, H): 1 is subtracted from the two minima and nothing from the maxima, which is
geometrically exact. (Caffe keeps all four numbers, others subtract 1 from all four.)
"""

import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ssdlib.data.results import result_file
from ssdlib.records import CLASSES, Example

# Counted on the genuine XML files: images, objects, of which difficult
COUNTS = {
    "2007-trainval": (5011, 15662, 3054),
    "2012-trainval": (11540, 31561, 4111),
    "2007-test": (4952, 14976, 2944),
}


# The formats that are read, whatever the name of a file says. Pillow knows more, and passes some of them to other
# programs: a file called .jpg that is PostScript would be executed.
PICTURES = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP")


ORIENTATION = 274  # the number of EXIF's tag
# what makes an image upright that was stored with an orientation; 1 is upright, 5 to 8 exchange width and height
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACK = TURNS | {6: TURNS[8], 8: TURNS[6]}  # the others undo themselves


# Bytes in the name of a result file without its sets, which may be several (see `results.refused_sets`)
LONGEST = 200


class VOCError(ValueError):
    """Something on disk isn't in VOC's format. The message names the file, what was found, what was wanted."""


class PhotographError(VOCError):
    """A photograph can't be decoded."""


def refused_name(classes: Sequence[str]) -> str:
    """Why no network can be trained on classes of these names, or "". Names of classes become names of files, and two
    that differ only in case are nearly always a mistake."""
    seen: dict[str, str] = {}
    for name in classes:
        if name != name.strip() or not name.isprintable() or set(name) & set("/\\:") or not name:
            return f"{name!r}; wanted a name without / \\ : and spaces around it"
        if (size := len(result_file("", name).encode())) > LONGEST:
            return (
                f"{name[:20]!r}..., {size - len(result_file('', ''))} bytes in the name of a file; "
                f"wanted {LONGEST - len(result_file('', ''))} at most"
            )
        if name.casefold() == "background":
            return f"{name!r}; it is class 0 always, wanted the objects' names only"
        if name.casefold() in seen:
            return f"{seen[name.casefold()]!r} and {name!r}; wanted each name once"
        seen[name.casefold()] = name
    return ""


def split_name(name: str) -> tuple[str, str]:
    """ "2007-trainval" -> ("2007", "trainval")."""
    match = re.fullmatch(r"(\d{4})-(\w+)", name)
    if not match:
        raise VOCError(f"image set {name!r}: wanted a year and a list, such as 2007-trainval")
    return match[1], match[2]


def image_ids(devkit: Path, name: str) -> list[str]:
    """The ids in ImageSets/Main of set `name` ("2007-test"), in the order of the file. Raises as `read_ids`."""
    year, part = split_name(name)
    path = Path(devkit) / f"VOC{year}" / "ImageSets" / "Main" / f"{part}.txt"
    if not path.is_file():
        raise VOCError(f"{path}: not there; wanted the image list of {name}. Is {devkit} a VOCdevkit folder?")
    ids = read_ids(path)
    for image_id, line in ids.items():
        if set(image_id) & set("/\\:") or image_id[0] == ".":  # it becomes part of a path
            raise VOCError(f"{path}, line {line}: {image_id!r}; wanted an image id, a name without / \\ :")
    return list(ids)


def read_ids(path: Path) -> dict[str, int]:
    """The ids in a file, one a line -> the line of each. Blank lines, Windows line ends and a byte order mark
    are accepted.

    Raises VOCError naming the line if one holds more than an id, or an id for the second time, which would count
    twice.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VOCError(f"{path}: {error}; wanted one image id a line") from None
    ids: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) > 1 or not all(map(str.isprintable, words)):
            raise VOCError(f"{path}, line {number}: {line!r}; wanted one image id")
        if words and words[0] in ids:
            raise VOCError(
                f"{path}, line {number}: {words[0]} again, as in line {ids[words[0]]}; wanted each once"
            )
        ids |= {word: number for word in words}
    if not ids:
        raise VOCError(f"{path}: empty; wanted one image id a line")
    return ids


def read_sets(
    devkit: Path,
    names: Sequence[str],
    progress: Callable = lambda ids, **_: ids,
    classes: Sequence[str] = CLASSES[1:],
) -> list[Example]:
    """All examples of the named sets, one after the other; of an image in several of them, one. `progress` may be
    tqdm; see `read_example`."""
    return [read_listed(*one, classes) for one in progress(listed(devkit, names), desc="annotations")]


def listed(devkit: Path, names: Sequence[str]) -> list[tuple[Path, str, str]]:
    """What `read_listed` takes, for every image of the named sets. One that several sets list (2007-val and
    2007-trainval) is taken once, by the first of them: twice it would count twice. Raises as `image_ids`."""
    wanted: dict[tuple[str, str], tuple[Path, str, str]] = {}
    for name in names:
        for image_id in image_ids(devkit, name):
            wanted.setdefault((split_name(name)[0], image_id), (devkit, name, image_id))
    return list(wanted.values())


def read_listed(devkit: Path, name: str, image_id: str, classes: Sequence[str] = CLASSES[1:]) -> Example:
    """One example of set `name`; raises as `read_example`."""
    folder = Path(devkit) / f"VOC{split_name(name)[0]}"
    annotation = folder / "Annotations" / f"{image_id}.xml"
    return read_example(annotation, folder / "JPEGImages" / f"{image_id}.jpg", image_id, classes)


def read_example(
    annotation: Path, photograph: Path, image_id: str, classes: Sequence[str] = CLASSES[1:]
) -> Example:
    """One XML file as an `Example`; the photograph is not opened. `classes` are the names of labels 1, 2, ...

    Raises VOCError if the XML is broken, a class is unknown, or a box has no area or leaves the image. The
    parts of persons (heads, hands) that VOC nests inside some objects are not objects; an object without
    `difficult` isn't difficult.
    """
    root, label_of = parse(annotation), {known: label for label, known in enumerate(classes, 1)}
    width, height = (int(_number(root, f"size/{side}", annotation)) for side in ("width", "height"))
    if min(width, height) < 1:
        raise VOCError(f"{annotation}: <size> is {width}x{height}; wanted 1 px or more")
    boxes, labels, difficult = [], [], []
    for node in root.findall("object"):
        name = (node.findtext("name") or "").strip()
        if name not in label_of:
            raise VOCError(f"{annotation}: class {name!r}; wanted one of {', '.join(classes)}")
        corners = [_number(node, f"bndbox/{side}", annotation) for side in ("xmin", "ymin", "xmax", "ymax")]
        x1, y1, x2, y2 = corners[0] - 1, corners[1] - 1, corners[2], corners[3]
        if not (0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height):
            found = ", ".join(f"{c:g}" for c in corners)
            exchanged = " (its corners are exchanged)" if x1 >= x2 or y1 >= y2 else ""
            raise VOCError(
                f"{annotation}: {name} at ({found}){exchanged}; wanted 1 <= xmin <= xmax <= {width} "
                f"and 1 <= ymin <= ymax <= {height}. Correct the file, or leave such images out (--skip-bad)"
            )
        boxes.append((x1, y1, x2, y2))
        labels.append(label_of[name])
        difficult.append((node.findtext("difficult") or "0").strip() == "1")
    return Example(
        image_id=image_id,
        path=photograph,
        size=(width, height),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        difficult=torch.tensor(difficult, dtype=torch.bool),
    )


def read_photograph(path: Path, upright: bool = False) -> torch.Tensor:
    """Decode an image: (H, W, 3) uint8 RGB. Raises PhotographError naming the file if it can't be decoded.

    `upright` turns an image as its camera noted (EXIF); annotations count pixels as they are stored.
    """
    try:
        with Image.open(path, formats=PICTURES) as image:
            if image.mode[0] in "IF":  # Pillow would clip everything above 255
                raise ValueError("more than 8 bits a colour")
            turns_itself = image.format == "TIFF"  # Pillow turns these as it loads them, and forgets the note
            turn = (TURNS if upright else BACK).get(orientation(image)) if upright != turns_itself else None
            # not by exif_transpose: it writes the EXIF anew, which fails for notes that are slightly damaged
            pixels = image.convert("RGB")
            return torch.from_numpy(np.array(pixels if turn is None else pixels.transpose(turn)))
    except MemoryError:
        raise  # says nothing about the file
    except Exception as error:  # Pillow raises many kinds of errors on broken files
        said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise PhotographError(f"{path}: {said or 'unreadable'}; wanted a complete image") from error


def orientation(image: Image.Image) -> int:
    """How an image that isn't loaded yet is stored, by EXIF's table (1 to 8); 1 where that can't be told. Raises
    what Pillow does if a PNG can't be decoded."""
    if image.format == "PNG":
        image.load()  # its notes may follow its pixels
    try:
        noted = image.getexif().get(ORIENTATION)
        return noted if noted in TURNS else 1
    except Exception:  # Pillow raises many kinds of errors on broken notes, whatever the pixels are
        return 1


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an image as it is stored. Newer versions of Pillow state those of a TIFF as it is shown."""
    if image.format == "TIFF":
        return image.tag_v2[256], image.tag_v2[257]
    return image.size


def frame_count(path: Path) -> int:
    """How many images are to be shown in a file, of which `read_photograph` takes the first; 1 where that
    can't be told. Two JPEGs in one file (MPO) are one image with something beside it."""
    try:
        with Image.open(path, formats=PICTURES) as image:
            return getattr(image, "n_frames", 1) if image.format in ("GIF", "TIFF", "WEBP", "PNG") else 1
    except Exception:  # Pillow raises many kinds of errors on broken files
        return 1


class _Plain(ET.TreeBuilder):
    """A document type may define words that grow a billion times as they are read; an annotation needs none."""

    def doctype(self, *_: str) -> None:
        raise ValueError("a document type")


def parse(path: Path) -> ET.Element:
    """The root of an XML file. Raises VOCError that names it, and the line where there is one."""
    try:
        return ET.parse(path, ET.XMLParser(target=_Plain())).getroot()
    except FileNotFoundError:
        raise VOCError(f"{path}: not there; the image list names it") from None
    except (ET.ParseError, OSError, ValueError, LookupError) as error:
        raise VOCError(f"{path}: {error}; wanted well-formed XML") from error


def _number(node: ET.Element, tag: str, path: Path) -> float:
    text = node.findtext(tag)
    try:
        number = float(text)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise VOCError(f"{path}: <{tag}> is {text!r}; wanted a number")
    return number
