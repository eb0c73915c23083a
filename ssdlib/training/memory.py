"""When memory doesn't suffice: noticing it, and finding how many images at a time would fit."""

import gc
from collections.abc import Callable

import torch

# torch has a type of its own for its own allocator on a GPU only; what others say: CPU, Windows, CUDA, cuDNN, cuBLAS
SAYS = ("can't allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


class OutOfMemory(RuntimeError):
    """A step doesn't fit into the memory of its device. The message says what does."""


def ran_out(error: Exception) -> bool:
    """Whether an error means that a device, or the machine itself, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        words in str(error) for words in SAYS
    )


def fitting(attempt: Callable[[int], object], size: int, least: int = 1) -> int:
    """The largest of size/2, size/4 ... `least` images with which `attempt(images)` has memory enough, else 0.

    Call it after the failed step's `except` clause: as long as an exception lives, so do the tensors it passed.
    """
    while size // 2 >= least:
        size //= 2
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
    """Give back what nobody uses any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def advice(images: int, fits: int | None, device: torch.device, batch_norm: bool = False) -> str:
    """What to tell whoever asked for `images` at a time; `fits` have room, None = nobody has tried."""
    problem = f"{images} images at a time don't fit into the memory of {where(device)}"
    if fits == 0:
        return f"{problem}, no smaller part either; close what else uses it, or train a narrower network (--width)"
    say = f"{fits} do (tried)" if fits else f"perhaps {images // 2} do"
    same = "the same training, but for batch norm, which sees parts" if batch_norm else "the same training"
    return (
        f"{problem}; {say}. With --microbatch {fits or images // 2} the batch is computed in parts and their "
        f"gradients are added up: {same}. --resume goes on from the last checkpoint"
    )


def where(device: torch.device) -> str:
    """A device with its size, for a sentence."""
    if device.type != "cuda":
        return "this machine"
    return f"{torch.cuda.get_device_name(device)} ({torch.cuda.mem_get_info(device)[1] / 2**30:.0f} GiB)"
