"""Decoded photographs, in one memory-mapped file or read from their JPEGs as they are asked for.

Training shows every photograph hundreds of times; decoding it each time costs more than everything else
the processor has to do. A store is a folder of two files: `photographs.u8`, all pixels one after the other,
RGB, row by row, and `index.json`, which says whose pixels lie where.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ssdlib.records import Example
from ssdlib.voc import read_photograph

PIXELS, INDEX = "photographs.u8", "index.json"
FORMAT = 1


class StoreError(ValueError):
    """A store can't serve the data set it was asked for."""


class Jpegs:
    """Photographs straight from disk, for small sets and for looking around: `Jpegs(examples)[i]`."""

    def __init__(self, examples: Sequence[Example]):
        self.paths = [example.path for example in examples]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        return read_photograph(self.paths[i])


class Store:
    """Photographs from a store folder: `Store(folder, examples)[i]` is (H, W, 3) uint8, RGB, not copied.

    Raises StoreError if the folder was made for other photographs.
    """

    def __init__(self, folder: Path, examples: Sequence[Example]):
        index = _read_index(folder)
        if index["fingerprint"] != fingerprint(examples):
            raise StoreError(
                f"{folder}: a store of {len(index['sizes'])} photographs that differ from the {len(examples)} "
                "asked for (names, bytes on disk or order); delete the folder to have it built again"
            )
        self.sizes = index["sizes"]
        lengths = [3 * width * height for width, height in self.sizes]
        self.starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
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

    Raises StoreError before anything is written if the disk is too small or a photograph hasn't the size
    that its annotation states (its boxes would be wrong).
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed = sum(3 * width * height for width, height in (e.size for e in examples))
    free = shutil.disk_usage(folder.parent).free
    if needed > free:
        raise StoreError(f"{folder}: needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")
    part = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    part.mkdir()
    try:
        with open(part / PIXELS, "wb") as file:
            for example in progress(examples, desc="decoding"):
                file.write(_checked(example).numpy().tobytes())
        index = {"format": FORMAT, "fingerprint": fingerprint(examples), "sizes": [e.size for e in examples]}
        (part / INDEX).write_text(json.dumps(index))
        try:
            part.rename(folder)
        except OSError:
            if not folder.exists():  # otherwise another process was faster; the caller checks what it made
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def fingerprint(examples: Sequence[Example]) -> str:
    """Changes when a photograph comes, goes, moves in the order or is replaced by one of another length."""
    text = "\n".join(f"{e.path.parent.parent.name} {e.image_id} {_bytes(e.path)}" for e in examples)
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        raise StoreError(f"{path}: not there; the image list names it") from None


def _checked(example: Example) -> Tensor:
    photograph = read_photograph(example.path)
    height, width, _ = photograph.shape
    if (width, height) != example.size:
        wanted = "x".join(map(str, example.size))
        raise StoreError(f"{example.path}: {width}x{height} px; its annotation says {wanted}")
    return photograph


def _read_index(folder: Path) -> dict:
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
    return index
