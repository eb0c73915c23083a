"""Your own images as a dataset: a folder in one of four formats -> examples, classes, and a report.

The rules, which the report repeats with counts:

- The lists of images and of classes follow from the folder, so that you needn't write them.
- An image that its camera noted as turned (EXIF) is read upright, as browsers and most tools show it, unless the
  annotation states the width and height of the pixels as they are stored.
- A box whose corners are exchanged is corrected. One that reaches out of its image is clipped to the border, and left
  out if it has no area then.
- An image that can't be read is left out, and so is one whose XML can't. A wrong line of YOLO's text, or a wrong
  entry of COCO's JSON, stops the reading and is named, because its cause may have made other lines wrong, too.
- An image without any annotation is used as one without objects in YOLO's format only, where it means that.
- What the folder states about training and testing is followed, see `split`; a hash decides where it states nothing.

Which images of a set can be trained on, and how many may be missing.

VOC has to be complete, so one bad file stops everything unless you say what share may be left out. Your own folder
usually has some bad files. What is left out is named before a training starts. The same files always leave out the
same images, so that a run can be resumed.
"""

import math
import re
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image

from ssdlib.data import formats, split, voc
from ssdlib.data.formats import CONVERT, UNREAD, Annotation, Files, ForeignError, FormatError
from ssdlib.data.origin import origin, way_out
from ssdlib.data.report import Notes, Report
from ssdlib.data.split import TEST_SHARE as TEST_SHARE
from ssdlib.data.split import share_of as share_of
from ssdlib.data.store import StoreError, checked_photograph
from ssdlib.data.voc import VOCError, read_listed, read_sets
from ssdlib.records import CLASSES, Example

KINDS = {"xml": "Pascal XML", "coco": "COCO JSON", "yolo": "YOLO text", "labelme": "LabelMe JSON"}
TURNED = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


@dataclass(frozen=True)
class Found:
    """What a folder holds."""

    kind: str  # which format, and the program that it comes from if that can be told
    examples: tuple[Example, ...]
    classes: tuple[str, ...]  # names of labels 1, 2, ...
    parts: tuple[str, ...]  # "train", "test" or "both", for each example
    report: Report

    @property
    def notes(self) -> dict[str, tuple[str, ...]]:
        """What was ignored, repaired, guessed or joined -> where, one entry for each time."""
        return {note.what: note.where for note in self.report.notes}

    def part(self, name: str) -> list[Example]:
        """The examples of "train" or "test". Raises FormatError if there are none or `name` is another word."""
        chosen = self._of(name)
        if chosen:
            return chosen
        there = ", ".join(f"{len(self._of(part))} {part}" for part in (split.TRAIN, split.TEST))
        found = f"no images in the part {name!r}; there are {there} ({self.report.split})"
        if name == split.TEST:
            raise FormatError(
                f"{found}; to evaluate on the images that are trained on, as for a first try, pass --test-sets train "
                "(evaluate: --sets train)"
            )
        raise FormatError(f"{found}; wanted train or test")

    def require_trainable(self) -> None:
        """Raise FormatError if no network can be trained on these classes."""
        if self.report.refusal:
            raise FormatError(self.report.refusal)

    def __str__(self) -> str:
        empty = sum(len(e.labels) == 0 for e in self.examples)
        parts = {name: self._of(name) for name in (split.TRAIN, split.TEST)}
        lines = [
            f"{self.kind}: {len(self.examples)} images ({len(parts['train'])} train, {len(parts['test'])} test), "
            f"{sum(len(e.labels) for e in self.examples)} objects, {empty} images without any"
        ]
        wide = max(map(len, self.classes), default=0)
        for label, name in enumerate(self.classes, 1):
            counts = [sum(int((e.labels == label).sum()) for e in part) for part in parts.values()]
            lines.append(f"  {name:<{wide}} {counts[0]:>6} train {counts[1]:>6} test")
        return "\n".join([*lines, str(self.report)])

    def _of(self, part: str) -> list[Example]:
        wanted = (part, split.BOTH) if part in (split.TRAIN, split.TEST) else (part,)
        return [e for e, p in zip(self.examples, self.parts, strict=True) if p in wanted]


def is_devkit(folder: Path) -> bool:
    """Does the folder look like VOC's: has it a VOC2007, a VOC2012 or the like?"""
    return any(re.fullmatch(r"VOC\d{4}", p.name) and p.is_dir() for p in Path(folder).glob("VOC*"))


def is_own(folder: Path) -> bool:
    """Is it a folder and no devkit? Then `read_folder` reads it, or says what is missing."""
    return Path(folder).is_dir() and not is_devkit(folder)


def read_folder(
    folder: Path,
    classes: Sequence[str] | None = None,
    kind: str | None = None,
    progress: Callable = lambda x, **_: x,
) -> Found:
    """Everything in a folder of images with Pascal XML, COCO JSON, YOLO text or LabelMe JSON.

    `classes` chooses and orders the names; without it, all that occur. `kind` is "xml", "coco", "yolo" or
    "labelme" where the folder doesn't show which. Raises FormatError in one sentence if it can't be told or nothing
    is left.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FormatError(f"{folder}: no such folder; wanted one with images and annotations")
    files, notes = Files(folder), Notes()
    if not files.pictures:
        unread = files.of(*UNREAD)
        there = f"{files.where(unread[0])} is in {CONVERT}" if unread else "no images in it"
        raise FormatError(f"{folder}: {there}; wanted some of {', '.join(formats.PICTURES)}")
    kind, annotations, names = _annotations(files, kind, notes)
    _refuse_exchanged(annotations, folder)
    parts_of_1 = kind == "yolo" or _all_below_1(annotations, notes)
    first = _counts_from(annotations) if kind == "xml" and not parts_of_1 else 0
    if kind == "xml" and not parts_of_1:
        notes.guessed(f"corners are taken to be counted from {first}")
    if kind in ("xml", "labelme"):
        names = sorted({name for a in annotations for name, _, _ in a.objects})
    used = _used(annotations, names, notes)
    wanted = tuple(classes) if classes is not None else used
    for name in wanted:
        if name not in used:
            notes.ignored("requested classes without objects", name)
    _say_what_is_not_read(files, annotations, notes)

    examples: dict[str, Example] = {}
    by: dict[str, Annotation] = {}
    measure = Measure(KINDS[kind])
    for annotation in progress(annotations, desc="pictures"):
        example = _example(annotation, folder, wanted, first, parts_of_1, notes, measure)
        if example is None:
            continue
        name = files.where(example.path)
        if name in by:
            if annotation.objects != by[name].objects:
                raise FormatError(
                    f"{example.path}: annotated twice, by {by[name].said} and {annotation.said}; wanted one "
                    "annotation for each image; move one elsewhere, or rename one of two images of the same name"
                )
            notes.joined(
                "images annotated twice in the same way", f"{name}: {by[name].said} and {annotation.said}"
            )
        examples[name], by[name] = example, annotation
    measure.refuse_another_order(folder)
    if not examples or not wanted or not any(len(e.labels) for e in examples.values()):
        why = "; ".join(f"{what} ({len(where)} times)" for (_, what), where in notes.found.items())
        raise FormatError(
            f"{folder}: {KINDS[kind]}, but no object is left to train on: {why or 'no annotations'}"
        )
    parts, how = split.divide(files, {name: a.said for name, a in by.items()}, notes)
    order = sorted((name for name in examples if parts[name]), key=lambda name: examples[name].image_id)
    program = origin(files)
    return Found(
        KINDS[kind] if program in ("", *KINDS[kind].split()) else f"{KINDS[kind]} of {program}",
        tuple(examples[name] for name in order),
        wanted,
        tuple(parts[name] for name in order),
        notes.frozen(how, _refusal(wanted, annotations)),
    )


def _annotations(files: Files, kind: str | None, notes: Notes) -> tuple[str, list[Annotation], list[str]]:
    """Format, annotations and known classes of a folder."""
    xml, jsons = files.of(".xml"), formats.jsons_of(files)
    with_categories = [p for p in jsons["coco"] if b'"categories"' in p.read_bytes()]  # captions have none
    coco = with_categories or jsons["coco"]
    coco = formats.of_boxes(coco, files, notes)
    texts = any(map(formats.looks_like_yolo, files.of(".txt")))
    sure = {"xml": xml, "coco": coco, "labelme": jsons["labelme"], "yolo": texts}
    there = [name for name, found in sure.items() if found]
    lists = formats.ClassLists(files, Notes()).everything if kind == "yolo" or not there else []
    there = there or (["yolo"] if lists else [])
    if kind is None and len(there) != 1:
        if not there:
            raise FormatError(f"{files.folder}: {way_out(files)}")
        raise FormatError(
            f"{files.folder}: {' and '.join(there)} in it; wanted annotations of one kind; move the others "
            "elsewhere, or "
            f"--format {there[0]}"
        )
    kind = kind or there[0]
    if kind not in there:
        raise FormatError(
            f"{files.folder}: no annotations of the kind {kind}; it has {', '.join(there) or 'none'}"
        )
    for other in set(there) - {kind}:
        notes.ignored(f"annotations of another kind, as asked for ({KINDS[other]})")
    if kind == "xml":
        try:
            return kind, list(formats.read_xml(files, notes)), []
        except ForeignError as error:
            raise FormatError(
                f"{error}; wanted Pascal VOC, COCO, YOLO or LabelMe; export it as 'Pascal VOC 1.1' or 'COCO 1.0'"
            ) from None
    if kind == "yolo":
        return kind, *formats.read_yolo(files, notes)
    if kind == "labelme":
        return kind, list(formats.read_labelme(files, jsons["labelme"], notes)), []
    annotations, names = [], []
    for file in coco:
        more, theirs = formats.read_coco(files, file, notes)
        annotations += more
        names += [name for name in theirs if name not in names]
        if len(coco) > 1:
            notes.joined("COCO files, joined by the names of their classes", files.where(file))
    return kind, annotations, names


def _refusal(classes: Sequence[str], annotations: Sequence[Annotation]) -> str:
    """Why a network can't be trained on these classes, where the first one is, and the way out; "" if it can."""
    trouble = voc.refused_name(classes)
    if not trouble:
        return ""
    good: list[str] = []
    for name in classes:
        good += [name] if not voc.refused_name([*good, name]) else []
    bad = next(name for name in classes if name not in good)
    first = next((a.said for a in annotations if any(name == bad for name, _, _ in a.objects)), "")
    without = f", or leave it out: --classes {shlex.join(good)}" if good else ""
    return f"{first}: class {trouble}; rename it where it was annotated{without}"


def _refuse_exchanged(annotations: Sequence[Annotation], folder: Path) -> None:
    """Refuse boxes most of whose corners are exchanged, since the numbers are something else then. A few exchanged
    ones come from boxes that were drawn from the lower right."""
    boxes = [(a.said, box) for a in annotations for _, box, _ in a.objects]
    wrong = [(said, box) for said, box in boxes if box[0] > box[2] or box[1] > box[3]]
    if len(wrong) > 2 and len(wrong) > len(boxes) / 2:
        said, box = wrong[0]
        shown = ", ".join(f"{x:g}" for x in box)
        raise FormatError(
            f"{folder / said}: xmin, ymin, xmax, ymax are {shown}, and in {len(wrong)} of {len(boxes)} boxes a "
            "minimum exceeds its maximum; wanted corners; if they are x, y, width and height, add x and y to these"
        )


def _all_below_1(annotations: Sequence[Annotation], notes: Notes) -> bool:
    numbers = [x for a in annotations for _, box, _ in a.objects for x in box]
    if not numbers or min(numbers) < 0 or max(numbers) > 1 or all(x == int(x) for x in numbers):
        return False
    notes.guessed("all numbers of boxes lie between 0 and 1: taken as fractions of the image, not as px")
    return True


def _counts_from(annotations: Sequence[Annotation]) -> int:
    """0 if some corner of the set is 0, which can't occur by VOC's rule; else 1, as VOC counts."""
    return 0 if any(min(box) < 1 for a in annotations for _, box, _ in a.objects) else 1


def _used(annotations: Sequence[Annotation], names: Sequence[str], notes: Notes) -> tuple[str, ...]:
    """The classes that occur; nothing could be learned about the others."""
    there = {name for a in annotations if not a.fault for name, _, _ in a.objects}
    for name in names:
        if name not in there:
            notes.ignored("classes of the list without objects, left out", name)
    return tuple(name for name in names if name in there)


def _say_what_is_not_read(files: Files, annotations: Sequence[Annotation], notes: Notes) -> None:
    known = {a.path for a in annotations}
    for name, path in files.pictures.items():
        if path not in known:
            notes.ignored(
                "images without annotation, left out (no file: unlabelled; one without objects: empty)",
                name,
            )
    for path in files.of(*UNREAD):
        notes.ignored(f"{path.suffix.lower()}: {CONVERT}", files.where(path))
    for name in files.hidden:
        notes.ignored("hidden files, never read", name)
    for name in files.runs:
        notes.ignored("folders that hold a run, never read", name)


@dataclass
class Measure:
    """How many boxes reach out of their images, and how many wouldn't if their numbers were corners."""

    kind: str
    boxes: int = 0
    reaching: list[str] = field(default_factory=list)
    corners: int = 0

    def add(self, box: Sequence[float], width: int, height: int, name: str, out: bool) -> None:
        x1, y1, x2, y2 = box
        self.boxes += 1
        self.reaching += [name] if out else []
        if self.kind == "COCO JSON":
            x1, y1, x2, y2 = x1, y1, x2 - x1, y2 - y1
        elif self.kind == "YOLO text":
            x1, y1, x2, y2 = (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1
        else:
            return
        self.corners += 0 <= x1 < x2 <= width + 1 and 0 <= y1 < y2 <= height + 1

    def refuse_another_order(self, folder: Path) -> None:
        """Raise FormatError if the numbers seem to be corners."""
        if self.boxes > 2 and self.corners == self.boxes and len(self.reaching) > self.boxes / 3:
            wanted = "x, y, width, height" if self.kind == "COCO JSON" else "centre, width, height"
            raise FormatError(
                f"{folder / self.reaching[0]}: as {wanted} {len(self.reaching)} of {self.boxes} boxes reach out of "
                f"their images, as corners none does; wanted {wanted}; export the boxes as such"
            )


def _example(
    annotation: Annotation,
    folder: Path,
    classes: Sequence[str],
    first: int,
    parts_of_1: bool,
    notes: Notes,
    measure: Measure,
) -> Example | None:
    if annotation.fault:
        notes.ignored(f"left out: {annotation.fault}", annotation.said)
        return None
    name = annotation.path.relative_to(folder).as_posix()
    shown = _size_upright(annotation, name, notes)
    if shown is None:
        return None
    size, upright = shown
    rows = _rows(annotation, name, size, classes, 0 if parts_of_1 else first, parts_of_1, notes, measure)
    return Example(
        image_id=split.spelled(name),
        path=annotation.path,
        size=size,
        boxes=torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor([row[1] for row in rows], dtype=torch.int64),
        difficult=torch.tensor([row[2] for row in rows], dtype=torch.bool),
        upright=upright,
    )


def _size_upright(annotation: Annotation, name: str, notes: Notes) -> tuple[tuple[int, int], bool] | None:
    """Width and height of an image as it is used, and whether it is read upright although it is stored turned. None
    if it can't be used."""
    try:
        with Image.open(annotation.path, formats=voc.PICTURES) as picture:
            width, height = voc.stored_size(picture)
            turned = voc.orientation(picture)
            deep = picture.mode[0] in "IF"
    except Exception:  # Pillow raises many kinds of errors on broken files
        notes.ignored("left out: no image, or a broken one", name)
        return None
    if deep:
        notes.ignored("left out: more than 8 bits a colour, convert it to 8", name)
        return None
    if (frames := voc.frame_count(annotation.path)) > 1:
        notes.ignored("frames after the first of an image that has several", f"{name} ({frames} frames)")
    as_stored = turned in TURNED and width != height and annotation.stated == (width, height)
    upright = turned != 1 and not as_stored
    if turned != 1:
        notes.repaired("turned by the camera, read " + ("upright" if upright else "as stored"), name)
    if upright and turned in TURNED:
        width, height = height, width
    if annotation.stated and annotation.stated != (width, height):
        stated = "x".join(map(str, annotation.stated))
        notes.ignored(
            "left out: its annotation states another size", f"{name} ({width}x{height}, stated {stated})"
        )
        return None
    return (width, height), upright


Row = tuple[tuple[float, ...], int, bool]  # box in px, label, difficult


def _rows(
    annotation: Annotation,
    name: str,
    size: tuple[int, int],
    classes: Sequence[str],
    first: int,
    parts_of_1: bool,
    notes: Notes,
    measure: Measure,
) -> list[Row]:
    """The objects of an image, their boxes in px and inside of it. `first` is the number of the first pixel."""
    rows: list[Row] = []
    scale = size * 2 if parts_of_1 else (1, 1, 1, 1)
    for kind, box, hard in annotation.objects:
        if kind not in classes:
            notes.ignored(f"objects of other classes, left out ({kind})", name)
            continue
        x1, y1, x2, y2 = box
        if x1 > x2 or y1 > y2:
            notes.repaired("boxes with exchanged corners, corrected", name)
            box = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
        # counted from 1, corners are inclusive: the minima lose one, the maxima nothing
        box = tuple(x * k - d for x, k, d in zip(box, scale, (first, first, 0, 0), strict=True))
        inside = tuple(min(max(x, 0.0), side) for x, side in zip(box, size * 2, strict=True))
        out = max(abs(a - b) for a, b in zip(box, inside, strict=True)) > 1
        measure.add(box, *size, name, out)
        if inside[0] >= inside[2] or inside[1] >= inside[3]:
            notes.ignored("boxes without area inside the image, left out", name)
            continue
        if out:
            notes.repaired("boxes that reached out of the image by more than 1 px, cut off", name)
        row = (inside, classes.index(kind) + 1, hard)
        if any(row[:2] == other[:2] for other in rows):
            notes.joined("objects annotated twice in one image, taken as one", name)
            continue
        rows.append(row)
    return rows


OWN_SHARE = 0.1  # of your own images, unless --skip-bad says otherwise
SHOWN = 3  # sentences about bad files; the others are counted


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
    """-> all examples of the sets of a devkit, or of the parts of what was `found` in your own folder; "".

    With a `share`, all photographs are decoded, and the text says what was left out. Raises TooManyBad if that is
    more than `share` of all, or all of them; without one, VOCError at the first bad annotation.
    """
    if share is None:
        return _parts(found, sets) if found else read_sets(folder, sets, progress, classes), ""
    if found:
        listed, bad = _parts(found, sets), list(bad_of(found))
    else:
        named = progress(voc.listed(folder, sets), desc="annotations")
        listed, bad = _sifted(named, lambda one: read_listed(*one, classes))
    good, broken = _sifted(progress(listed, desc="checking"), lambda e: (checked_photograph(e), e)[1])
    bad += broken
    total = len(good) + len(bad)
    if not good:
        raise TooManyBad(
            f"{folder}, {' + '.join(sets)}: {len(bad)} of {total} images can't be used, wanted one at least that "
            f"can; repair some of them: {_first(bad)}"
        )
    return good, f"{' + '.join(sets)}: {within(bad, total, share)}"


def _parts(found: Found, names: Sequence[str]) -> list[Example]:
    """The examples of the parts, one after the other; of an image that is in several of them, one."""
    return list({example.path: example for name in names for example in found.part(name)}.values())


def bad_of(found: Found) -> list[str]:
    """A sentence about each image that was left out when your own folder was read."""
    notes = ((what, where) for what, where in found.notes.items() if what.startswith("left out: "))
    return [f"{one}: {what.removeprefix('left out: ')}" for what, where in notes for one in where]


def undecodable(found: Found, progress: Callable = lambda x, **_: x) -> str:
    """Words about images whose pixels can't be decoded, which no header shows, and the least share that leaves them
    out; "" if there are none."""
    _, bad = _sifted(progress(found.examples, desc="decoding"), lambda e: (checked_photograph(e), e)[1])
    if not bad:
        return ""
    shares = []
    for name in (split.TRAIN, split.TEST):
        if not (listed := found._of(name)):
            continue
        broken = sum(any(text.startswith(f"{e.path}: ") for text in bad) for e in listed)
        others = len(bad_of(found))
        shares.append((broken + others) / (len(listed) + others))
    least = math.ceil(100 * max(shares)) / 100
    way = f" unless --skip-bad {least:g} leaves them out" if max(shares) < 1 else ""  # else no image remains
    count = f"{len(bad)} of {len(found.examples)} images"
    return f"{count} can't be decoded, at which a training stops{way}: {_first(bad)}"


def within(bad: Sequence[str], total: int, share: float) -> str:
    """Words about what is left out of `total` images; raises TooManyBad if that is more than `share` of them."""
    if len(bad) > share * total + 1e-9:  # 0.58 * 50 is less than 29
        raise TooManyBad(
            f"{len(bad)} of {total} images can't be used, wanted {share:.2%} at most (--skip-bad): {_first(bad)}"
        )
    return f"{len(bad)} of {total} images can't be used and are left out{': ' * bool(bad)}{_first(bad)}"


def _first(bad: Sequence[str]) -> str:
    """Some of the sentences, and how many more there are."""
    return "; ".join(bad[:SHOWN]) + (f"; and {len(bad) - SHOWN} more" if len(bad) > SHOWN else "")


def _sifted(things: Iterable, read: Callable) -> tuple[list[Example], list[str]]:
    good, bad = [], []
    for thing in things:
        try:
            good.append(read(thing))
        except (VOCError, StoreError) as error:
            bad.append(str(error))
    return good, bad
