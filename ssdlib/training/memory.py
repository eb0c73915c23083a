"""Memory: what the allocator keeps during training, and what to do when there isn't enough."""

import contextlib
import ctypes
import gc
import os
from collections.abc import Callable, Iterator, Sequence

import torch

# torch has an error type only for its allocator on a GPU; messages of the CPU, Windows, CUDA, cuDNN and cuBLAS
SAYS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")
# oneDNN's, where there is no memory for the code it makes. It has other reasons for them, too, so they count only
# while smaller parts are tried of a step that did run out
NO_CODE = "could not create a primitive"

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # glibc's names for them in malloc.h
LARGEST = 32 * 2**20  # bytes; the highest threshold that glibc takes, and what its own adjustment comes to
_keeping = 0  # how many blocks of `keeping` we are in


class OutOfMemory(RuntimeError):
    """A step doesn't fit into the memory of its device. The message says what fits."""


def ran_out(error: Exception) -> bool:
    """Whether an error means that a device, or the machine itself, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in SAYS
    )


def fitting(attempt: Callable[[int], object], sizes: Sequence[int]) -> int:
    """The first of `sizes` with which `attempt(size)` has memory enough, else 0.

    Call it after the failed step's `except` clause, because an exception keeps the tensors of its frames alive.
    """
    for size in sizes:
        free()
        try:
            attempt(size)
        except (RuntimeError, MemoryError) as error:
            if not ran_out(error) and NO_CODE not in str(error):
                raise
        else:
            free()
            return size
    return 0


def free() -> None:
    """Give unused memory back: a GPU's, and to the operating system where that is Linux with glibc."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        _glibc().malloc_trim(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Let the allocator keep the blocks that are freed in this block, or in the function that this decorates, and
    give them back at the end.

    glibc gives large blocks back to the system at once, and the system has to clear them again for every tensor,
    which takes a tenth of a training step on a CPU. Nothing is changed on other systems, or if you have set
    MALLOC_... .
    """
    global _keeping
    _keeping += 1
    try:
        if _keeping == 1:
            _thresholds(LARGEST, -1)  # -1: free blocks are never given back
        yield
    finally:
        _keeping -= 1
        if not _keeping:
            # as glibc sets them itself once it has seen blocks of that size
            _thresholds(LARGEST, 2 * LARGEST)
            free()


def _thresholds(mmap: int, trim: int) -> None:
    """From how many bytes on a block is mapped separately, and how many free bytes are kept."""
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
    """The message for somebody who wanted `images` at a time. `fits` is how many do (None: not tried), `perhaps` how
    many may. A batch that can't be computed `in_parts` has to become smaller."""
    problem = f"{images} images at a time don't fit into the memory of {where(device)}"
    if fits == 0:
        return (
            f"{problem}, no smaller part either; close other programs that use it, or train a narrower network "
            "(--width)"
        )
    size = fits or perhaps or images // 2
    say = f"{size} do (tried)" if fits else f"perhaps {size} do"
    if not in_parts:
        return (
            f"{problem}; {say}. Mining over the batch with batch norm can't be computed in parts: start a run with "
            f"--batch-size {size}, or with --mining image and --microbatch {size}"
        )
    same = "the same training, except for batch norm, which sees parts" if batch_norm else "the same training"
    return (
        f"{problem}; {say}. With --microbatch {size} the batch is computed in parts and their "
        f"gradients are added up: {same}. --resume continues from the last checkpoint"
    )


def where(device: torch.device) -> str:
    """A device with its size, for a sentence."""
    if device.type != "cuda":
        return "this machine"
    return f"{torch.cuda.get_device_name(device)} ({torch.cuda.mem_get_info(device)[1] / 2**30:.0f} GiB)"
