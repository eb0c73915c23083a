"""Processes: the only module that knows there may be more than one.

Started by torchrun, every process trains on its share of each batch; started plainly, there is one process and
everything here does nothing.
"""

import gc
import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def start() -> torch.device:
    """Join the other processes, if torchrun started this one, and say on which device to work."""
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if torch.cuda.is_available() else None
    if device:
        torch.cuda.set_device(device)
    if dist.is_torchelastic_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device else "gloo")
    return device or torch.device("cpu")


def stop() -> None:
    """Leave the other processes, once all are ready to. Only for the end of a success: a process that fails must
    not wait for the others, it has to end, so that torchrun ends them too."""
    if dist.is_initialized():
        dist.barrier()
        gc.collect()  # a wrapped model that lingers in a reference cycle keeps threads of its own alive
        dist.destroy_process_group()


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def processes() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def is_first() -> bool:
    """The one process that prints and writes files."""
    return rank() == 0


def wrap(model: nn.Module) -> nn.Module:
    """The model with its gradients averaged over all processes after each backward."""
    if processes() == 1:
        return model
    if next(model.parameters()).is_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return nn.parallel.DistributedDataParallel(model, device_ids=[torch.cuda.current_device()])
    return nn.parallel.DistributedDataParallel(model)


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
    """What each process passed, in order of rank, for all of them. Any object that can be pickled."""
    if processes() == 1:
        return [value]
    everyone: list[Any] = [None] * processes()
    dist.all_gather_object(everyone, value)
    return everyone


def wait() -> None:
    """Go on when all processes have come here."""
    if processes() > 1:
        dist.barrier()
