"""Processes and devices: the only module that handles more than one.

If torchrun starts the program, every process trains on its share of each batch. Otherwise there is one process, and
the functions here do nothing.
"""

import contextlib
import gc
import os
import re
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ssdlib.training.recipes import RunError

_asked = ""  # the device that was named, see `use`


def use(device: str) -> None:
    """Compute on this device from now on: cpu, cuda, cuda:1 (counted from 0) or mps; "" for the first GPU of CUDA, or
    else the CPU. Raises RunError in one sentence if it isn't there."""
    global _asked
    refuse_device(device)
    _asked = device


def refuse_device(device: str) -> None:
    """Raise RunError, which names the devices that are there, unless this one is among them."""
    kind, _, number = device.partition(":")
    here, several = devices(), dist.is_torchelastic_launched() and int(os.environ.get("WORLD_SIZE", 1)) > 1
    if several and (number or kind == "mps"):
        raise RunError(
            f"device {device}: several processes compute on the CPU, or each on its own GPU; wanted cpu or cuda"
        )
    if not device or device in here or (kind == "cuda" and not number and "cuda:0" in here):
        return
    if kind == "cuda" and "cuda:0" not in here:
        built = torch.version.cuda or torch.version.hip
        why = "no driver or no GPU answers" if built else f"torch {torch.__version__} is built without CUDA"
    elif kind == "mps":
        built = torch.backends.mps.is_built()
        why = "macOS doesn't offer it" if built else f"torch {torch.__version__} is built without it"
    else:
        why = "not one of this machine's"
    raise RunError(f"device {device}: {why}; there is {', '.join(here)}")


def devices() -> list[str]:
    """What this machine can compute on: cpu, and cuda:0 ... or mps."""
    gpus = [f"cuda:{i}" for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0)]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def lacking(error: NotImplementedError) -> str | None:
    """A sentence about an operator that this version of PyTorch lacks on Apple's GPUs; None for another error."""
    operator = re.search(r"The operator '([^']+)' is not.* implemented for the MPS device", str(error), re.S)
    if operator is None:
        return None
    return (
        f"device mps: torch {torch.__version__} has no {operator[1]} there; with PYTORCH_ENABLE_MPS_FALLBACK=1 in "
        "the environment the CPU computes it, and with --device cpu it computes everything"
    )


def start() -> torch.device:
    """Join the other processes, if torchrun started this one. -> the device to compute on: the one that `use` was
    told, each process's own GPU if there are several processes, or what the machine has.

    From here on float32 means float32 on a GPU, too, whereas by PyTorch's default its convolutions would round their
    factors to TF32's ten bits. For speed there is bfloat16.
    """
    torch.backends.cudnn.allow_tf32 = False
    device = torch.device(_asked or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device


def stop() -> None:
    """Leave the other processes once all are ready. Only for the end of a successful run: a process that fails must
    end without waiting for the others, so that torchrun ends them too."""
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # a wrapped model that lingers in a reference cycle keeps threads of its own alive
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """Whether this is the one process that prints and writes files."""
    return rank() == 0


def wrap(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over all processes after each backward."""
    if processes() == 1:
        return model
    if next(model.parameters()).is_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return nn.parallel.DistributedDataParallel(model, device_ids=[torch.cuda.current_device()])
    return nn.parallel.DistributedDataParallel(model)


def exchanging(network: nn.Module, now: bool) -> contextlib.AbstractContextManager:
    """For a forward and backward: a wrapped network averages its gradients `now`, or adds them up until it does."""
    wrapped = isinstance(network, nn.parallel.DistributedDataParallel)
    return network.no_sync() if wrapped and not now else contextlib.nullcontext()


def total(value: Tensor) -> Tensor:
    """Sum of a tensor over all processes."""
    if processes() > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def concatenated(value: Tensor) -> Tensor:
    """The tensors (n, ...) of all processes, one below the other in order of rank."""
    if processes() == 1:
        return value
    value = value.contiguous()
    everyone = [torch.empty_like(value) for _ in range(processes())]
    dist.all_gather(everyone, value)
    return torch.cat(everyone)


def gather(value: Any) -> list[Any]:
    """What each process passed, in order of rank; all processes get the list. Any object that can be pickled."""
    if processes() == 1:
        return [value]
    everyone: list[Any] = [None] * processes()
    dist.all_gather_object(everyone, value)
    return everyone


def wait() -> None:
    """Continue once all processes have reached this call."""
    if processes() > 1:
        dist.barrier()
