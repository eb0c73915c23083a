"""Memory: what the allocator keeps while a network works, and what to do when it doesn't suffice."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable, Iterator, Sequence

import torch

# torch has a type of its own for its own allocator on a GPU only; what others say: CPU, Windows, CUDA, cuDNN, cuBLAS
SAYS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names for them in malloc.h
LARGEST = 32 * 2**20  # bytes; the highest threshold that glibc takes, and what its own adjustment comes to
_keeping = 0  # how many blocks of `keeping` we are in


class OutOfMemory(RuntimeError):
    """A step doesn't fit into the memory of its device. The message says what does."""


def ran_out(error: Exception) -> bool:
    """Whether an error means that a device, or the machine itself, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in SAYS
    )


def fitting(attempt: Callable[[int], object], sizes: Sequence[int]) -> int:
    """The first of `sizes` with which `attempt(size)` has memory enough, else 0.

    Call it after the failed step's `except` clause: as long as an exception lives, so do the tensors it passed.
    """
    for size in sizes:
        free()
        try:
            attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error):
                raise
        else:
            free()
            return size
    return 0


def free() -> None:
    """Give back what nobody uses any more: of a GPU's memory, and to the system where that is Linux with glibc."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Let the allocator keep the blocks that are freed in this block, or in the function that this decorates, and
    give them back at the end.

    glibc hands large blocks back to the system at once, and the system has to clear them anew for every tensor: a
    tenth of a training step on a CPU. Other systems, and whoever has set MALLOC_... by himself, are left alone.
    """
    global _keeping
    _keeping += 1
    try:
        if _keeping == 1:
            _thresholds(LARGEST, -1)  # -1: nothing is given back
        yield
    finally:
        _keeping -= 1
        if not _keeping:
            _thresholds(
                LARGEST, 2 * LARGEST
            )  # as glibc sets them itself once it has seen blocks of that size
            free()


def _thresholds(mmap: int, trim: int) -> None:
    """From how many bytes on a block is the system's own, and how many free ones are kept."""
    if not any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        with contextlib.suppress(OSError, AttributeError):
            _glibc().mallopt(MMAP_THRESHOLD, mmap)
            _glibc().mallopt(TRIM_THRESHOLD, trim)


def _glibc() -> ctypes.CDLL:
    """The C library of Linux. Raises OSError elsewhere; another one lacks `mallopt`, which is an AttributeError."""
    return ctypes.CDLL("libc.so.6")


def advice(
    images: int,
    fits: int | None,
    device: torch.device,
    batch_norm: bool = False,
    perhaps: int | None = None,
    in_parts: bool = True,
) -> str:
    """What to tell whoever asked for `images` at a time; `fits` have room, None = nobody has tried, `perhaps` might.
    A batch that can't be computed `in_parts` has to become smaller."""
    problem = f"{images} images at a time don't fit into the memory of {where(device)}"
    if fits == 0:
        return f"{problem}, no smaller part either; close what else uses it, or train a narrower network (--width)"
    size = fits or perhaps or images // 2
    say = f"{size} do (tried)" if fits else f"perhaps {size} do"
    if not in_parts:
        return (
            f"{problem}; {say}. Mining over the batch with batch norm can't be computed in parts: start a run with "
            f"--batch-size {size}, or with --mining image and --microbatch {size}"
        )
    same = "the same training, but for batch norm, which sees parts" if batch_norm else "the same training"
    return (
        f"{problem}; {say}. With --microbatch {size} the batch is computed in parts and their "
        f"gradients are added up: {same}. --resume goes on from the last checkpoint"
    )


def where(device: torch.device) -> str:
    """A device with its size, for a sentence."""
    if device.type != "cuda":
        return "this machine"
    return f"{torch.cuda.get_device_name(device)} ({torch.cuda.mem_get_info(device)[1] / 2**30:.0f} GiB)"
