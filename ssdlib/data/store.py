"""Decoded photographs, in one memory-mapped file or read from their JPEGs as they are asked for.

Training shows every photograph hundreds of times; decoding it each time costs more than everything else
the CPU has to do. A store is a folder of two files: `photographs.u8`, all pixels one after the other,
RGB, row by row, and `index.json`, which says whose pixels lie where.
"""

import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ssdlib import files
from ssdlib.data.voc import VOCError, read_photograph
from ssdlib.records import Example

PIXELS, INDEX = "photographs.u8", "index.json"
FORMAT = 1
KEPT_EVERY = 500  # photographs; a killed build loses at most so many, a few seconds of decoding


class StoreError(ValueError):
    """A store can't serve the data set it was asked for."""


class Jpegs:
    """Photographs straight from disk, for small sets and for looking around: `Jpegs(examples)[i]`."""

    def __init__(self, examples: Sequence[Example]):
        self.paths = [(example.path, example.upright) for example in examples]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        return read_photograph(*self.paths[i])


class Store:
    """Photographs from a store folder: `Store(folder, examples)[i]` is (H, W, 3) uint8, RGB, not copied.

    Raises StoreError if the folder was made for other photographs.
    """

    def __init__(self, folder: Path, examples: Sequence[Example]):
        self.sizes = [list(example.size) for example in examples]
        if _read_index(folder) != (fingerprint(examples), self.sizes):
            raise StoreError(
                f"{folder}: a store of photographs that differ from the {len(examples)} asked for "
                "(names, sizes, bytes on disk or order); delete the folder to have it built again"
            )
        self.starts = _starts(self.sizes)
        pixels, wanted = folder / PIXELS, int(self.starts[-1])
        found = pixels.stat().st_size if pixels.is_file() else 0
        if found != wanted:
            raise StoreError(f"{pixels}: {found} bytes, wanted {wanted}; delete {folder} to rebuild it")
        # copy-on-write: torch wants writable memory, the file must never change
        self.pixels = torch.from_numpy(np.memmap(pixels, dtype=np.uint8, mode="c"))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, i: int) -> Tensor:
        width, height = self.sizes[i]
        return self.pixels[self.starts[i] : self.starts[i + 1]].view(height, width, 3)


def open_store(folder: Path, examples: Sequence[Example], progress: Callable = lambda x, **_: x) -> Store:
    """The store in `folder`, built first if there is none. `progress` may be tqdm."""
    folder = Path(folder)
    if not folder.exists():
        build_store(folder, examples, progress)
    return Store(folder, examples)


def build_store(folder: Path, examples: Sequence[Example], progress: Callable = lambda x, **_: x) -> None:
    """Decode every photograph into `folder`, which appears only when it is complete.

    A build stopped at any instant leaves a folder `NAME.part-...` beside it, and the same call goes on from there.
    Raises StoreError before anything is written if the disk is too small; StoreError or VOCError, leaving nothing,
    if a photograph can't be decoded or hasn't the size that its annotation states (its boxes would be wrong).
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    require_space({folder: examples})
    part, index, starts, done = _plan(folder, examples)
    part.mkdir(exist_ok=True)
    try:
        (part / PIXELS).touch()
        # Never cut off, only written over: whoever builds the same store at the same time writes the same bytes.
        with files.named(part / PIXELS), open(part / PIXELS, "r+b") as file:
            file.seek(starts[done])
            todo = progress(examples[done:], desc="decoding", initial=done, total=len(examples))
            for count, example in enumerate(todo, done + 1):
                file.write(checked_photograph(example).numpy().tobytes())
                if count % KEPT_EVERY == 0:
                    _keep(part, file, index | {"done": count})
            _keep(part, file, index)
        part.rename(folder)
    except OSError:
        if not folder.exists():  # otherwise another process was faster; the caller checks what it made
            raise
    except (StoreError, VOCError):
        shutil.rmtree(part, ignore_errors=True)
        raise
    for left in folder.glob(f"{INDEX}.part-*"):  # by a build stopped while it noted its progress
        left.unlink(missing_ok=True)
    for left in folder.parent.glob(f"{glob.escape(folder.name)}.part-*"):  # by one not taken up again
        shutil.rmtree(left, ignore_errors=True)


def beside(devkit: Path) -> Path:
    """The folder that holds the stores of a devkit, each under the names of its sets joined by +."""
    return devkit.resolve().parent / f"{devkit.name}.store"


def require_space(wanted: dict[Path, Sequence[Example]]) -> None:
    """Raise StoreError if what is still to be written of the wanted stores (folder -> examples) exceeds the disk."""
    plans = [_plan(folder, examples) for folder, examples in wanted.items() if not folder.exists()]
    needed = sum(int(starts[-1] - starts[done]) for _, _, starts, done in plans)
    there = next(parent for parent in next(iter(wanted)).absolute().parents if parent.exists())
    if needed > (free := shutil.disk_usage(there).free):
        names = ", ".join(map(str, wanted))
        raise StoreError(f"{names}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def checked_photograph(example: Example) -> Tensor:
    """Decode (H, W, 3) uint8 RGB. Raises VOCError, or StoreError if it hasn't the size its annotation states."""
    photograph = read_photograph(example.path, example.upright)
    height, width, _ = photograph.shape
    if (width, height) != example.size:
        wanted = "x".join(map(str, example.size))
        raise StoreError(f"{example.path}: {width}x{height} px; its annotation says {wanted}")
    return photograph


def fingerprint(examples: Sequence[Example]) -> str:
    """Changes when a photograph comes, goes, moves in the order or is replaced by one of another length."""
    text = "\n".join(
        f"{e.path.parent.parent.name} {e.image_id} {_bytes(e.path)}{' upright' * e.upright}" for e in examples
    )
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise StoreError(f"{path}: not there; the image list names it") from None


def _starts(sizes: Sequence[Sequence[int]]) -> np.ndarray:
    """Where each photograph's bytes begin in the pixel file; last, where the file ends."""
    return np.cumsum([0] + [3 * width * height for width, height in sizes], dtype=np.int64)


def _plan(folder: Path, examples: Sequence[Example]) -> tuple[Path, dict, np.ndarray, int]:
    """-> folder of an unfinished build, index of the finished one, `_starts`, photographs that can be kept."""
    marks = fingerprint(examples)
    index = {"format": FORMAT, "fingerprint": marks, "sizes": [list(e.size) for e in examples]}
    part, starts = folder.with_name(f"{folder.name}.part-{marks[:12]}"), _starts(index["sizes"])
    try:
        note = json.loads((part / INDEX).read_text())
        done = note.pop("done", len(examples))  # without: all is there, only the renaming was missed
        whole = (part / PIXELS).stat().st_size >= starts[done]
    except (OSError, ValueError):
        return part, index, starts, 0
    return part, index, starts, done if whole and note == index else 0


def _keep(part: Path, file: BinaryIO, index: dict) -> None:
    """Note how far the pixels have come, after they have reached the disk: a power cut makes no holes."""
    file.flush()
    os.fsync(file.fileno())
    files.write_whole(part / INDEX, json.dumps(index).encode())


def _read_index(folder: Path) -> tuple[str, list]:
    """-> fingerprint and sizes of the photographs in a store, whatever they are: who asks compares them."""
    path = Path(folder) / INDEX
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: {error}; wanted the index of a store, delete {folder} to rebuild it"
        ) from None
    complete = isinstance(index, dict) and {"fingerprint", "sizes"} <= index.keys()
    if not complete or index.get("format") != FORMAT:
        raise StoreError(f"{path}: not a store of format {FORMAT}; delete {folder} to have it built again")
    return index["fingerprint"], index["sizes"]
