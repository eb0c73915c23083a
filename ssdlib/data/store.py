"""Decoded photographs, in one memory-mapped file, or read from their JPEGs on request.

Training shows every photograph hundreds of times; decoding it each time costs more than all other
work of the CPU. A store is a folder of two files: `photographs.u8`, all pixels one after the other,
RGB, row by row, and `index.json`, which says where the pixels of each photograph lie, and what the files were like
when they were decoded. A store is never older than its source: if the size or time of a file has changed, it is read,
and decoded again if its content has changed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ssdlib import files
from ssdlib.data.voc import VOCError, read_photograph
from ssdlib.records import Example

PIXELS, INDEX = "photographs.u8", "index.json"
FORMAT = 2
KEPT_EVERY = 500  # photographs; a killed build loses at most so many, a few seconds of decoding
OURS = re.compile(rf"{re.escape(PIXELS)}|{re.escape(INDEX)}(\.part-\d+)?")  # all that a store ever holds
LEFT = re.compile(r"\.(part-[0-9a-f]{12}|old-\d+)")  # what a stopped build adds to the name of its store


class StoreError(ValueError):
    """A store can't serve the dataset it was asked for."""


class BadPhotograph(StoreError):
    """A photograph isn't of the size that its annotation states."""


class Jpegs:
    """Photographs read from disk, for small sets, for judging and for exploring: `Jpegs(examples)[i]`, which raises
    as `checked_photograph`."""

    def __init__(self, examples: Sequence[Example]):
        self.examples = list(examples)

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, i: int) -> Tensor:
        return checked_photograph(self.examples[i])


@dataclass(frozen=True)
class Row:
    """One photograph in an index: its name, its size, and the file as it was when it was decoded."""

    name: str
    width: int
    height: int
    bytes: int
    modified: int  # ns, as the file system says
    content: str  # SHA-256

    def is_of(self, example: Example) -> bool:
        """Are these the pixels of the example's file as it is now? Its content is read if size or time differ."""
        if (self.name, self.width, self.height) != (_name(example), *example.size):
            return False
        now = _stat(example.path)
        return self.bytes == now.st_size and (
            self.modified == now.st_mtime_ns or self.content == _content(example.path)
        )


class Store:
    """Photographs from a store folder: `Store(folder, examples)[i]` is (H, W, 3) uint8, RGB, not copied.

    Raises StoreError if the folder was made for other photographs, or for what their files held before.
    """

    def __init__(self, folder: Path, examples: Sequence[Example], news: str = ""):
        self.news = news  # which photographs were decoded to bring it up to date
        self.sizes = [list(example.size) for example in examples]
        rows = _read_index(folder)
        if len(rows) != len(examples) or not all(r.is_of(e) for r, e in zip(rows, examples, strict=True)):
            raise StoreError(
                f"{folder}: a store of photographs that differ from the {len(examples)} asked for (names, sizes, "
                "content or order); open_store brings it up to date"
            )
        self.starts = _starts(self.sizes)
        pixels, wanted = folder / PIXELS, int(self.starts[-1])
        found = pixels.stat().st_size if pixels.is_file() else 0
        if found != wanted:
            raise StoreError(f"{pixels}: {found} bytes, wanted {wanted}; open_store builds it again")
        # copy-on-write, because torch wants writable memory and the file must never change
        self.pixels = torch.from_numpy(np.memmap(pixels, dtype=np.uint8, mode="c"))

    def __len__(self) -> int:
        return len(self.sizes)

    def on(self, device: torch.device | str) -> "Store":
        """The same photographs in the memory of a device."""
        there = copy(self)
        there.pixels = self.pixels.to(device)
        return there

    def __getitem__(self, i: int) -> Tensor:
        width, height = self.sizes[i]
        return self.pixels[self.starts[i] : self.starts[i + 1]].view(height, width, 3)


def open_store(folder: Path, examples: Sequence[Example], progress: Callable = lambda x, **_: x) -> Store:
    """The store in `folder`, built if there is none and brought up to date if photographs came, went or changed, or
    if it is damaged. `progress` may be tqdm.

    Raises StoreError if the folder holds anything but a store, which this must not replace.
    """
    folder = Path(folder)
    if not folder.exists():
        build_store(folder, examples, progress)
        return Store(folder, examples)
    try:
        opened = Store(folder, examples)
    except StoreError:
        if strange := _strange(folder):
            raise StoreError(
                f"{folder}: holds {min(strange)}, so it isn't a store; wanted a separate folder, named by --store"
            ) from None
        kept = build_store(folder, examples, progress)
        words = f"{folder}: {len(examples) - kept} photographs decoded anew, {kept} kept as they were"
        return Store(folder, examples, words)
    _refresh(folder, examples)
    return opened


def build_store(folder: Path, examples: Sequence[Example], progress: Callable = lambda x, **_: x) -> int:
    """Decode every photograph into `folder`, which appears, or takes the place of an older store, only when it is
    complete. -> how many of them the older store had already.

    A build stopped at any instant leaves a folder `NAME.part-...` beside it, and the same call resumes from there.
    Raises StoreError before anything is written if the disk is too small; StoreError or VOCError, leaving nothing,
    if a photograph can't be decoded or hasn't the size that its annotation states (its boxes would be wrong).
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _require_space({folder: examples})
    part, rows, starts = _plan(folder, examples)
    older, done, kept = Older(folder), len(rows), 0
    part.mkdir(exist_ok=True)
    try:
        (part / PIXELS).touch()
        # Never truncated, only overwritten: another process that builds the same store writes the same bytes.
        with files.named(part / PIXELS), open(part / PIXELS, "r+b") as file:
            file.seek(starts[done])
            todo = progress(examples[done:], desc="decoding", initial=done, total=len(examples))
            for count, example in enumerate(todo, done + 1):
                row, pixels = older.find(example)
                kept += pixels is not None
                if pixels is None:
                    row = _row(example)  # before decoding: if the file changes now, the next check notices it
                    pixels = checked_photograph(example).numpy()
                file.write(pixels.tobytes())
                rows.append(row)
                if count % KEPT_EVERY == 0:
                    _keep(part, file, rows)
            _keep(part, file, rows)
        _put_in_place(part, folder)
    except OSError:
        # without it, another process was faster and has put it in place; the caller checks what it made
        if part.exists() or not folder.exists():
            raise
    except (StoreError, VOCError):
        shutil.rmtree(part, ignore_errors=True)
        raise
    for left in folder.glob(f"{INDEX}.part-*"):  # by a build stopped while it wrote its progress
        left.unlink(missing_ok=True)
    for left in folder.parent.iterdir():  # by a build that was never resumed
        name = left.name
        if name.startswith(folder.name) and LEFT.fullmatch(name[len(folder.name) :]):
            with contextlib.suppress(OSError):  # another process clears away, too, or it may not be read
                if not _strange(left):
                    shutil.rmtree(left)
    return kept


def _strange(folder: Path) -> set[str]:
    """Names of what is in `folder` and no store ever holds; its own name if it is no folder."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    return {name for name in names if not OURS.fullmatch(name)}


class Older:
    """What the new store can take from the one that it replaces."""

    def __init__(self, folder: Path):
        self.rows: dict[str, tuple[Row, int]] = {}
        self.pixels = np.zeros(0, dtype=np.uint8)
        try:
            rows = _read_index(folder)
            starts = _starts([(row.width, row.height) for row in rows])
            if (folder / PIXELS).stat().st_size == starts[-1] > 0:
                self.pixels = np.memmap(folder / PIXELS, dtype=np.uint8, mode="r")
                self.rows = {row.name: (row, int(start)) for row, start in zip(rows, starts, strict=False)}
        except (StoreError, OSError):
            pass  # no store, or a damaged one: everything is decoded

    def find(self, example: Example) -> tuple[Row, np.ndarray | None]:
        """The row and the pixels of an example whose file hasn't changed; None instead of pixels if it has."""
        row, start = self.rows.get(_name(example), (None, 0))
        if row is None or not row.is_of(example):
            return row, None
        size = 3 * row.width * row.height
        return replace(row, modified=_stat(example.path).st_mtime_ns), self.pixels[start : start + size]


def _put_in_place(part: Path, folder: Path) -> None:
    """Rename a finished build. An older store is moved aside first, because a folder can't be renamed onto one that
    isn't empty, and a process that has the older one open keeps its pixels."""
    old = folder.with_name(f"{folder.name}.old-{os.getpid()}")
    if folder.exists() and (part / INDEX).exists():
        folder.rename(old)
    try:
        part.rename(folder)
    except OSError:
        if old.exists() and not folder.exists():
            old.rename(folder)
        raise


def beside(devkit: Path) -> Path:
    """The folder that holds the stores of a devkit, each under the names of its sets joined by +."""
    name = devkit.resolve().name if devkit.name in ("", "..") else devkit.name  # "." has no name of its own
    return devkit.resolve().parent / f"{name}.store"


def require_space(wanted: dict[Path, Sequence[Example]]) -> None:
    """Raise StoreError if what is still to be written of the wanted stores (folder -> examples) exceeds the disk."""
    _require_space({folder: examples for folder, examples in wanted.items() if not folder.exists()})


def _require_space(wanted: dict[Path, Sequence[Example]]) -> None:
    plans = [_plan(folder, examples) for folder, examples in wanted.items()]
    needed = sum(int(starts[-1] - starts[len(rows)]) for _, rows, starts in plans)
    there = next((p for folder in wanted for p in folder.absolute().parents if p.exists()), None)
    if there is not None and needed > (free := shutil.disk_usage(there).free):
        names = ", ".join(map(str, wanted))
        raise StoreError(f"{names}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def checked_photograph(example: Example) -> Tensor:
    """Decode (H, W, 3) uint8 RGB. Raises VOCError, or StoreError if it hasn't the size its annotation states."""
    photograph = read_photograph(example.path, example.upright)
    height, width, _ = photograph.shape
    if (width, height) != example.size:
        wanted = "x".join(map(str, example.size))
        raise BadPhotograph(f"{example.path}: {width}x{height} px; its annotation says {wanted}")
    return photograph


def fingerprint(examples: Sequence[Example]) -> str:
    """Changes when a photograph comes, goes, moves in the order or is replaced by one of another length."""
    text = "\n".join(f"{_name(e)} {_stat(e.path).st_size}" for e in examples)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()  # names needn't be UTF-8


def _name(example: Example) -> str:
    return f"{example.path.parent.parent.name} {example.image_id}{' upright' * example.upright}"


def _row(example: Example) -> Row:
    now = _stat(example.path)
    return Row(_name(example), *example.size, now.st_size, now.st_mtime_ns, _content(example.path))


def _content(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""  # decoding raises the error


def _stat(path: Path) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError:
        raise StoreError(f"{path}: not there; the image list names it") from None


def _starts(sizes: Sequence[Sequence[int]]) -> np.ndarray:
    """Where each photograph's bytes begin in the pixel file; last, where the file ends."""
    return np.cumsum([0] + [3 * width * height for width, height in sizes], dtype=np.int64)


def _plan(folder: Path, examples: Sequence[Example]) -> tuple[Path, list[Row], np.ndarray]:
    """-> folder of an unfinished build, the rows of it that can be kept, `_starts`."""
    part, starts = (
        folder.with_name(f"{folder.name}.part-{fingerprint(examples)[:12]}"),
        _starts([e.size for e in examples]),
    )
    try:
        rows = _read_index(part)
        whole = (part / PIXELS).stat().st_size >= starts[len(rows)]
        sound = whole and all(row.is_of(e) for row, e in zip(rows, examples, strict=False))
    except (OSError, StoreError, IndexError):
        return part, [], starts
    return part, rows if sound else [], starts


def _keep(part: Path, file: BinaryIO, rows: Sequence[Row]) -> None:
    """Write how many photographs are done, after their pixels have reached the disk, so that a power cut leaves no
    gaps."""
    file.flush()
    os.fsync(file.fileno())
    _write_index(part, rows)


def _write_index(folder: Path, rows: Sequence[Row]) -> None:
    index = {"format": FORMAT, "photographs": [list(vars(row).values()) for row in rows]}
    files.write_whole(folder / INDEX, json.dumps(index).encode())


def _refresh(folder: Path, examples: Sequence[Example]) -> None:
    """Write the new times of files whose content is unchanged, so that it isn't read again, if the folder is
    writable."""
    rows = _read_index(folder)
    times = [_stat(example.path).st_mtime_ns for example in examples]
    if [row.modified for row in rows] != times:
        with contextlib.suppress(OSError):
            _write_index(folder, [replace(r, modified=t) for r, t in zip(rows, times, strict=True)])


def _read_index(folder: Path) -> list[Row]:
    """-> what a store says of its photographs, which the caller compares."""
    path = Path(folder) / INDEX
    try:
        index = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{path}: {error}; wanted the index of a store, open_store builds it again"
        ) from None
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise StoreError(f"{path}: not a store of format {FORMAT}; open_store builds it again")
    try:
        rows = [Row(*row) for row in index["photographs"]]
        sound = all(type(n) is int and n >= 0 for r in rows for n in (r.width, r.height, r.bytes, r.modified))
        sound = sound and all(isinstance(text, str) for r in rows for text in (r.name, r.content))
    except (TypeError, KeyError):
        sound = False
    if not sound:
        raise StoreError(f"{path}: an index without its photographs; open_store builds it again")
    return rows
