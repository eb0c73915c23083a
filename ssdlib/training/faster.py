"""Options that may make a step faster on a GPU. None has run on one yet, so each is off unless `--faster` names it.

- resident: the photographs of the store lie in the GPU's memory, 9 GB for VOC 07+12
- cast: all kernels are converted to bfloat16 together once a step, instead of one by one where they are used
- fused: SGD updates all weights in one operation
- graph: forward, loss, backward and update are recorded once and replayed as one CUDA graph, which costs the host one
  operation; with fused
- benchmark: cuDNN tries its ways to convolve and takes the fastest

Each computes what the plain step computes, up to rounding.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ssdlib.data.store import Jpegs, Store
from ssdlib.records import Batch, Losses, Targets
from ssdlib.training import distributed
from ssdlib.training.inference import precision_on
from ssdlib.training.recipes import RunConfig, RunError

WARM = 3  # steps before a graph is recorded, in which libraries make their buffers

Step = Callable[..., Losses]  # as `engine.update`


def prepare(config: RunConfig, device: torch.device) -> None:
    """Make the settings of a run, and raise RunError where an option that `faster` names can't work."""
    wanted, precision = set(config.faster), precision_on(device, config.precision)
    torch.backends.cudnn.benchmark = "benchmark" in wanted
    if "graph" in wanted and device.type != "cuda":
        raise RunError(
            f"faster names graph, but this run computes on {device.type}; CUDA graphs need a CUDA GPU; leave it out"
        )
    if "cast" in wanted and precision != "bfloat16":
        raise RunError(
            f"faster names cast, but this run computes in {precision}; cast converts kernels to "
            "bfloat16; leave it out"
        )
    if wanted & {"graph", "cast"} and distributed.processes() > 1:
        raise RunError(
            "faster names graph or cast, which work in one process; leave them out, or start one process"
        )
    whole = config.microbatch in (0, config.batch_size)
    if "graph" in wanted and (config.batch_norm or not whole or precision == "float16"):
        raise RunError("faster names graph, which can't take batch_norm, microbatch or float16; leave it out")


def resident(photographs: Store | Jpegs, device: torch.device) -> Store:
    """A store whose pixels lie on the device. Raises RunError if they don't fit beside the training."""
    if not isinstance(photographs, Store):
        raise RunError("faster names resident, but photographs are read from JPEGs; it needs a store")
    if device.type == "cuda":
        free, needed = torch.cuda.mem_get_info(device)[0], photographs.pixels.nbytes
        if needed > 0.7 * free:
            raise RunError(
                f"faster names resident, but the photographs take {needed / 1e9:.1f} GB and the GPU has "
                f"{free / 1e9:.1f} GB free, of which a step needs some; leave it out"
            )
    return photographs.on(device)


# --- cast -----------------------------------------------------------------------------------------------


class CastOnce(nn.Module):
    """A network whose convolutions get all their kernels and biases in bfloat16 at once. To be used under autocast,
    which then has only the images left to convert."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self.names = [
            f"{name}.{one}"
            for name, module in model.named_modules()
            if isinstance(module, nn.Conv2d)
            for one, _ in module.named_parameters()
        ]

    def forward(self, images: Tensor) -> object:
        known = dict(self.model.named_parameters())
        learning = [name for name in self.names if known[name].requires_grad]
        frozen = [name for name in self.names if not known[name].requires_grad]  # they need no backward
        cast = dict(zip(learning, _Cast.apply(*(known[name] for name in learning)), strict=True))
        copies = _copied([known[name].detach() for name in frozen], torch.bfloat16) if frozen else []
        return functional_call(self.model, cast | dict(zip(frozen, copies, strict=True)), images)


class _Cast(torch.autograd.Function):
    """float32 -> bfloat16 for many tensors in one operation, and their gradients back in another."""

    @staticmethod
    def forward(_: object, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(_copied(tensors, torch.bfloat16))

    @staticmethod
    def backward(_: object, *gradients: Tensor) -> tuple[Tensor, ...]:
        return tuple(_copied(gradients, torch.float32))


def _copied(tensors: Sequence[Tensor], kind: torch.dtype) -> list[Tensor]:
    copies = [torch.empty_like(tensor, dtype=kind) for tensor in tensors]
    torch._foreach_copy_(copies, list(tensors))
    return copies


# --- graph ----------------------------------------------------------------------------------------------


def capture(work: Callable[[], object]) -> Callable[[], None]:
    """Record the operations of `work` on the GPU without executing them. -> a function that executes them.

    What other threads ask of the GPU meanwhile, such as memory for the next batch, doesn't end the recording.
    """
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        work()
    return graph.replay


class Graphed:
    """An update for batches of one size: a few `plain` steps, then a recording of `update` is replayed.

    A recording always reads and writes the same memory, so each batch and its learning rate are copied there, and the
    losses are copied from there.
    """

    def __init__(self, plain: Step, update: Step, record: Callable = capture):
        self.plain, self.update, self.record, self.warm, self.replay = plain, update, record, WARM, None

    def __call__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batch: Batch,
        anchors: Tensor,
        rate: float,
        config: RunConfig,
        *more: object,
    ) -> Losses:
        if self.warm:
            self.warm -= 1
            return _in_a_queue_of_its_own(self.plain, network, optimizer, batch, anchors, rate, config, *more)
        if self.replay is None:
            self.batch = replace(batch, images=batch.images.clone(), targets=_cloned(batch.targets))
            self.rate = torch.tensor(rate, device=batch.images.device)

            def work() -> None:
                self.losses = self.update(network, optimizer, self.batch, anchors, self.rate, config, *more)

            self.replay = self.record(work)
        for mine, given in zip(_read(self.batch), _read(batch), strict=True):
            mine.copy_(given, non_blocking=True)
        self.rate.fill_(rate)
        self.replay()
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]  # for checkpoints; the recording has its own
        return _cloned(self.losses)


def _read(batch: Batch) -> list[Tensor]:
    """The tensors that a step reads of a batch. Boxes and labels aren't among them, since the targets contain
    them."""
    return [batch.images, *(getattr(batch.targets, field.name) for field in fields(Targets))]


def _cloned(record: Targets | Losses) -> Targets | Losses:
    return type(record)(*(getattr(record, field.name).clone() for field in fields(record)))


def _in_a_queue_of_its_own(
    update: Step, network: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, *rest: object
) -> Losses:
    """A plain step. Autograd's nodes remember the CUDA stream in which they first worked, and a recording is made in
    a stream other than the default."""
    if not batch.images.is_cuda:
        return update(network, optimizer, batch, *rest)
    queue, usual = torch.cuda.Stream(), torch.cuda.current_stream()
    queue.wait_stream(usual)
    with torch.cuda.stream(queue):
        losses = update(network, optimizer, batch, *rest)
    usual.wait_stream(queue)
    return losses
