"""What is written: whole or not at all, and with its name where the disk is full. Checkpoints are written so.

A checkpoint is everything a run needs to go on as if nothing had happened. A crash at any instant leaves either the
old file or the new one, never half of one.
"""

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the operating system that say no file say this one: a full disk is noticed by a write, which knows
    no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """First beside `path`, as NAME.part-PROCESS, then renamed over it: whatever happens, the old file is there or the
    new one. Raises OSError with the file's name."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with named(path), open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the name could reach the disk before the bytes do
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


FORMAT = 1


class CheckpointError(ValueError):
    """A file isn't a checkpoint of this library. The message names the file, what was found, what was wanted."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, see `disk`."""
    packed = io.BytesIO()  # where the disk is full, torch's own writer says nothing about a disk
    torch.save({"format": FORMAT, **state}, packed)
    write_whole(Path(path), packed.getbuffer())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """What `save` wrote, on the CPU. Nothing but tensors and plain values is ever unpickled."""
    path = Path(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: not there; wanted a checkpoint") from None
    except Exception as error:  # torch raises whatever the broken file provokes
        raise CheckpointError(
            f"{path}: broken, or not a file of tensors ({type(error).__name__}); wanted a checkpoint"
        ) from error
    return checked(state, path)


def checked(state: Any, path: Path) -> dict[str, Any]:
    """What was read from `path`, if `save_checkpoint` wrote it; else CheckpointError."""
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not written by this library; wanted a checkpoint of format {FORMAT}")
    return state
