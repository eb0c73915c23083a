"""Pictures of one's own as a data set: a folder in one of three formats -> examples, classes, and what was left out.

The rules, which a report repeats with counts:

- Nobody is asked for a list of pictures or of classes: both follow from the folder.
- A picture that its camera noted as turned (EXIF) is read upright, as browsers and most tools show it, unless the
  annotation states the width and height of the pixels as they are stored.
- A box that reaches out of its picture is cut off at the border; what has no area then is left out.
- A picture that can't be read is left out, and so is one whose XML can't. A wrong line of YOLO's text, or a wrong
  entry of COCO's JSON, stops the reading and is named: what made it may have made others.
- A picture without any annotation is used as one without objects in YOLO's format only: there it means that.
- If the folders say train and val, valid or test, or COCO's files do, that decides what a picture is for; else a
  hash of its path below the folder does, so that it stays where it is when others come or go.

Which pictures of a set can be trained on, and how many may be missing.

VOC is whole or it isn't VOC: one bad file stops everything, unless somebody says what share may be left out. In a
folder of one's own some always are bad. What is left out is named before a training starts; the same files leave out
the same, so that a run can go on.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from ssdlib.data import formats, voc
from ssdlib.data.formats import PICTURES, Annotation, FormatError, pictures_below
from ssdlib.data.store import StoreError, checked_photograph
from ssdlib.data.voc import VOCError, image_ids, read_listed, read_sets
from ssdlib.records import CLASSES, Example

TEST_SHARE = 0.2
PARTS = {"train": "train", "training": "train"} | dict.fromkeys(
    ("val", "valid", "validation", "test", "testing"), "test"
)
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
ORIENTATION = 274  # the number of that tag


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    kind: str  # which format
    examples: tuple[Example, ...]
    classes: tuple[str, ...]  # names of labels 1, 2, ...
    parts: tuple[str, ...]  # "train" or "test", one for each example
    notes: dict[str, tuple[str, ...]]  # what was done or left out -> where, once for each time

    def part(self, name: str) -> list[Example]:
        """The examples of "train" or "test". Raises FormatError if there are none or `name` is another word."""
        chosen = [e for e, part in zip(self.examples, self.parts, strict=True) if part == name]
        if not chosen:
            raise FormatError(f"no pictures in the part {name!r}; there are {Counter(self.parts) or 'none'}")
        return chosen

    def __str__(self) -> str:
        empty = sum(len(e.labels) == 0 for e in self.examples)
        there = Counter(self.parts)
        lines = [
            f"{self.kind}: {len(self.examples)} pictures ({there['train']} train, {there['test']} test), "
            f"{sum(len(e.labels) for e in self.examples)} objects, {empty} pictures without any"
        ]
        wide = max(map(len, self.classes), default=0)
        for label, name in enumerate(self.classes, 1):
            counts = [
                sum(int((e.labels == label).sum()) for e in self._of(part)) for part in ("train", "test")
            ]
            lines.append(f"  {name:<{wide}} {counts[0]:>6} train {counts[1]:>6} test")
        for what, where in self.notes.items():
            lines.append(f"{what}: {len(where)}, first {where[0]}" if where[0] else what)
        return "\n".join(lines)

    def _of(self, part: str) -> list[Example]:
        return [e for e, p in zip(self.examples, self.parts, strict=True) if p == part]


def is_devkit(folder: Path) -> bool:
    """Does the folder look like VOC's: has it a VOC2007, a VOC2012 or the like?"""
    return any(re.fullmatch(r"VOC\d{4}", p.name) and p.is_dir() for p in Path(folder).glob("VOC*"))


def is_own(folder: Path) -> bool:
    """Is there something to read: no devkit, but a picture or an annotation somewhere?"""
    folder = Path(folder)
    wanted = (*PICTURES, ".xml", ".json", ".yaml", ".txt")
    return (
        folder.is_dir()
        and not is_devkit(folder)
        and any(p.suffix.lower() in wanted for p in folder.rglob("*"))
    )


def read_folder(
    folder: Path,
    classes: Sequence[str] | None = None,
    kind: str | None = None,
    progress: Callable = lambda x, **_: x,
) -> Found:
    """Everything in a folder of pictures with Pascal XML, COCO JSON or YOLO text.

    `classes` chooses and orders the names; without it they are all that occur. `kind` is "xml", "coco" or "yolo"
    where the folder doesn't show which. Raises FormatError in one sentence if it can't be told or nothing is left.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder; wanted one with pictures and annotations")
    pictures = pictures_below(folder)
    if not pictures:
        raise FormatError(f"{folder}: no pictures in it; wanted some of {', '.join(PICTURES)}")
    kind, annotations, names = _annotations(folder, pictures, kind)
    notes: dict[str, list[str]] = {}
    note = lambda what, where: notes.setdefault(what, []).append(where)  # noqa: E731
    first = _counts_from(annotations) if kind == "Pascal XML" else 0
    if kind == "Pascal XML":
        note(f"corners are taken to be counted from {first}", "")
        names = sorted({name for a in annotations for name, _, _ in a.objects})
    wanted = tuple(classes) if classes is not None else _used(annotations, names, note)
    _say_what_is_not_annotated(folder, pictures, annotations, note)

    examples, parts = {}, {}
    for annotation in progress(annotations, desc="pictures"):
        example = _example(annotation, folder, wanted, first, kind == "YOLO text", note)
        if example is None:
            continue
        if example.image_id in examples:
            raise FormatError(f"{example.path}: annotated twice; wanted one annotation a picture")
        examples[example.image_id] = example
        parts[example.image_id] = _told_part(annotation)
    if not examples or not wanted or not any(len(e.labels) for e in examples.values()):
        why = "; ".join(f"{what} ({len(where)} times)" for what, where in notes.items())
        raise FormatError(f"{folder}: {kind}, but no object is left to learn from: {why or 'no annotations'}")
    order = sorted(examples)
    if {"train", "test"} <= set(parts.values()):
        note("the folder says which pictures are for training and which for testing", "")
    else:  # a single word may mean a railway
        parts = dict.fromkeys(order, "")
    final = (parts[i] or ("test" if share_of(i) < TEST_SHARE else "train") for i in order)
    kept = {what: tuple(where) for what, where in notes.items()}
    return Found(kind, tuple(examples[i] for i in order), wanted, tuple(final), kept)


def share_of(name: str, seed: int = 0) -> float:
    """A number in [0, 1) that a name has for ever: below `TEST_SHARE` it is for testing."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:6], "big") / 2**48


def _annotations(
    folder: Path, pictures: dict[str, Path], kind: str | None
) -> tuple[str, list[Annotation], list[str]]:
    """Format, annotations and known classes of a folder."""
    xml = sorted(p for p in folder.rglob("*.xml") if p.is_file() and not p.name.startswith("."))
    coco = [p for p in sorted(folder.rglob("*.json")) if p.is_file() and _is_coco(p)]
    coco = [p for p in coco if b'"categories"' in p.read_bytes()] or coco  # captions have none
    yolo = formats.yolo_names(folder)
    there = [name for name, found in (("xml", xml), ("coco", coco), ("yolo", yolo)) if found]
    if kind is None and len(there) != 1:
        what = " and ".join(there) if there else "neither XML, nor COCO's JSON, nor classes.txt or data.yaml"
        raise FormatError(f"{folder}: {what} in it; wanted annotations of one kind, the others moved away")
    kind = kind or there[0]
    if kind not in there:
        raise FormatError(f"{folder}: no annotations of the kind {kind}; it has {', '.join(there) or 'none'}")
    if kind == "xml":
        return "Pascal XML", list(formats.read_xml(folder, xml, pictures)), []
    if kind == "yolo":
        return "YOLO text", list(formats.read_yolo(folder, pictures, yolo[0])), yolo[0]
    annotations, names = [], []
    for file in coco:
        more, theirs = formats.read_coco(folder, file, pictures)
        annotations += more
        names += [name for name in theirs if name not in names]
    return "COCO JSON", annotations, names


def _is_coco(file: Path) -> bool:
    """Other JSON files may lie beside; one that was meant and is broken is still COCO's, and will be named."""
    text = file.read_bytes()
    return all(key in text for key in (b'"annotations"', b'"images"'))


def _counts_from(annotations: Sequence[Annotation]) -> int:
    """0 if some corner of the set is 0, which VOC's rule can't write; else 1, as VOC counts."""
    return 0 if any(min(box[:2]) < 1 for a in annotations for _, box, _ in a.objects) else 1


def _used(annotations: Sequence[Annotation], names: Sequence[str], note: Callable) -> tuple[str, ...]:
    """The classes that occur; the others would be learned from nothing and have an AP of 0."""
    there = {name for a in annotations if not a.fault for name, _, _ in a.objects}
    for name in names:
        if name not in there:
            note("classes in the list that no object has, left out", name)
    for name in sorted(there):
        if name != name.lower() and name.lower() in map(str.lower, there - {name}):
            note("classes that differ in case alone, which no run takes", name)
    return tuple(name for name in names if name in there)


def _say_what_is_not_annotated(
    folder: Path, pictures: dict[str, Path], annotations: Sequence[Annotation], note: Callable
) -> None:
    known = {a.path for a in annotations}
    for name, path in pictures.items():
        if path not in known:
            note(
                "pictures without annotation, left out (no file: unlabelled; one without objects: empty)",
                name,
            )


def _example(
    annotation: Annotation, folder: Path, classes: Sequence[str], first: int, parts_of_1: bool, note: Callable
) -> Example | None:
    if annotation.fault:
        note(f"left out: {annotation.fault}", annotation.said)
        return None
    name = annotation.path.relative_to(folder).as_posix()
    try:
        with Image.open(annotation.path, formats=voc.PICTURES) as picture:
            width, height = picture.size
            turned = picture.getexif().get(ORIENTATION, 1)
            deep = picture.mode.startswith("I")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        note("left out: no picture, or a broken one", name)
        return None
    if deep:
        note("left out: more than 8 bits a colour", name)
        return None
    as_stored = turned in TURNED and width != height and annotation.stated == (width, height)
    upright = turned not in (0, 1) and not as_stored
    if turned not in (0, 1):
        note("turned by the camera, read " + ("upright" if upright else "as stored"), name)
    if upright and turned in TURNED:
        width, height = height, width
    if annotation.stated and annotation.stated != (width, height):
        stated = "x".join(map(str, annotation.stated))
        note("left out: its annotation states another size", f"{name} ({width}x{height}, stated {stated})")
        return None
    boxes, labels, difficult = [], [], []
    for kind, box, hard in annotation.objects:
        if kind not in classes:
            note(f"objects of other classes, left out ({kind})", name)
            continue
        # counted from 1, corners are inclusive: the minima lose one, the maxima nothing
        scale, shift = ((width, height) * 2, 0) if parts_of_1 else ((1, 1, 1, 1), first)
        box = tuple(x * k - d for x, k, d in zip(box, scale, (shift, shift, 0, 0), strict=True))
        inside = tuple(min(max(x, 0.0), side) for x, side in zip(box, (width, height) * 2, strict=True))
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            note("boxes without area inside the picture, left out", name)
            continue
        if max(abs(a - b) for a, b in zip(box, inside, strict=True)) > 1:
            note("boxes that reached out of the picture by more than 1 px, cut off", name)
        boxes.append(inside)
        labels.append(classes.index(kind) + 1)
        difficult.append(hard)
    return Example(
        image_id=re.sub(r"[\s%]", lambda letter: f"%{ord(letter[0]):02X}", name),
        path=annotation.path,
        size=(width, height),
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        difficult=torch.tensor(difficult, dtype=torch.bool),
        upright=upright,
    )


def _told_part(annotation: Annotation) -> str:
    """What the folders above a picture or its annotation say, or the name of COCO's file; "" if nothing."""
    folders = f"{annotation.said.rpartition('/')[0]}/{annotation.path.parent.name}".lower()
    known = [PARTS[word] for word in re.findall(r"[a-z]+", folders) if word in PARTS]
    return known[0] if known else ""


OWN_SHARE = 0.1  # of one's own pictures, unless said otherwise
SHOWN = 3  # sentences about bad files; all others are like them


class TooManyBad(ValueError):
    """More of a set can't be used than may be left out. The message counts them and names the first."""


def read_usable(
    folder: Path,
    sets: Sequence[str],
    classes: Sequence[str] = CLASSES[1:],
    found: Found | None = None,
    share: float | None = None,
    progress: Callable = lambda x, **_: x,
) -> tuple[list[Example], str]:
    """-> all examples of the sets of a devkit, or of the parts of what was `found` in a folder of one's own; "".

    With a `share`, all photographs are decoded, and the words say what was left out. Raises TooManyBad if that is
    more than `share` of all; without one, VOCError at the first bad annotation.
    """
    if found:
        listed, bad = [example for name in sets for example in found.part(name)], list(bad_of(found))
    elif share is None:
        listed, bad = read_sets(folder, sets, progress, classes), []
    else:
        named = [(folder, name, image_id) for name in sets for image_id in image_ids(folder, name)]
        listed, bad = _sifted(progress(named, desc="annotations"), lambda one: read_listed(*one, classes))
    if share is None:
        return listed, ""
    good, broken = _sifted(progress(listed, desc="checking"), lambda e: (checked_photograph(e), e)[1])
    return good, f"{' + '.join(sets)}: {within(bad + broken, len(listed) + len(bad), share)}"


def bad_of(found: Found) -> list[str]:
    """A sentence about each picture that was left out as a folder of one's own was read."""
    notes = ((what, where) for what, where in found.notes.items() if what.startswith("left out: "))
    return [f"{one}: {what.removeprefix('left out: ')}" for what, where in notes for one in where]


def within(bad: Sequence[str], total: int, share: float) -> str:
    """Words about what is left out of `total` pictures; raises TooManyBad if that is more than `share` of them."""
    first = "; ".join(bad[:SHOWN]) + (f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")
    if len(bad) > share * total:
        raise TooManyBad(
            f"{len(bad)} of {total} pictures can't be used, wanted {share:.2%} at most (--skip-bad): {first}"
        )
    return f"{len(bad)} of {total} pictures can't be used and are left out{': ' * bool(bad)}{first}"


def _sifted(things: Iterable, read: Callable) -> tuple[list[Example], list[str]]:
    good, bad = [], []
    for thing in things:
        try:
            good.append(read(thing))
        except (VOCError, StoreError) as error:
            bad.append(str(error))
    return good, bad
