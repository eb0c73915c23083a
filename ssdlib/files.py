"""Files written whole or not at all, and errors that name the file when the disk is full. Checkpoints are such files.

A checkpoint holds everything a run needs to resume as if it had never been interrupted. A crash at any instant leaves
either the old file or the new one, never half of one.
"""

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

TRIES, WAIT = 100, 0.1  # how often a file is replaced, and seconds between


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Give errors of the operating system that name no file the name of this one. A full disk is such a case, because
    it shows in a write, which doesn't know the name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write `content` beside `path`, as NAME.part-PROCESS, and rename that over `path`, so that either the old file
    or the new one is there at any instant. Raises OSError with the file's name."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with named(path), open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise the new name could reach the disk before the bytes do
        _replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace(part: Path, path: Path) -> None:
    """Rename over `path`. Windows refuses that while another program has the file open, so this waits."""
    for left in reversed(range(TRIES)):
        try:
            return os.replace(part, path)
        except PermissionError:
            if not left:
                raise
            time.sleep(WAIT)


FORMAT = 1


class CheckpointError(ValueError):
    """A file isn't a checkpoint of this library. The message names the file, what was found, what was wanted."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, see `write_whole`."""
    packed = io.BytesIO()  # because torch's own writer doesn't say that a disk is full
    torch.save({"format": FORMAT, **state}, packed)
    write_whole(Path(path), packed.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save_checkpoint` wrote, on the CPU. Only tensors and plain values are ever unpickled."""
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not there; wanted a checkpoint") from None
    except Exception as error:  # torch raises many kinds of errors on broken files
        raise CheckpointError(
            f"{path}: broken, or not a file of tensors ({type(error).__name__}); wanted a checkpoint"
        ) from error
    return checked(state, path)


def checked(state: Any, path: Path) -> dict[str, Any]:
    """What was read from `path`, if `save_checkpoint` wrote it; else CheckpointError."""
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not written by this library; wanted a checkpoint of format {FORMAT}")
    return state
