"""Checkpoints: everything a run needs to go on as if nothing had happened, written so that a crash at any
instant leaves either the old file or the new one, never half of one.
"""

import io
from pathlib import Path
from typing import Any

import torch

from ssdlib import disk

FORMAT = 1


class CheckpointError(ValueError):
    """A file isn't a checkpoint of this library. The message names the file, what was found, what was wanted."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`, see `disk`."""
    packed = io.BytesIO()  # where the disk is full, torch's own writer says nothing about a disk
    torch.save({"format": FORMAT, **state}, packed)
    disk.write_whole(Path(path), packed.getbuffer())


def load(path: Path) -> dict[str, Any]:
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
    """What was read from `path`, if `save` wrote it; else CheckpointError."""
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(f"{path}: not written by this library; wanted a checkpoint of format {FORMAT}")
    return state
