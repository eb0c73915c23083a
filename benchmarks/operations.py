"""What a training step on a GPU demands of the host: how many operations it starts, and how often it waits.

    python benchmarks/operations.py [--batch 32] [--data DEVKIT --sets 2007-trainval]

A GPU that computes faster than its host starts operations is idle, so their number counts, not their size. No GPU is
needed to count them. Views and detached tensors don't count, since they start nothing. A call of numpy counts as one.
Batches are made for a GPU of fake tensors, which have a device and a shape and no content: an operation that has to
read the content raises an error there, and a copy between host and GPU that isn't asynchronous is counted as a wait.
Each copy counts twice, because on a real GPU pinned memory is written first. Backward and update are counted on the
CPU, because autograd needs a device that exists.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import inputs
import timing
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ssdlib.anchors import default_boxes
from ssdlib.data import ahead, augment, batches, store
from ssdlib.data.batches import BatchMaker
from ssdlib.loss import multibox_loss
from ssdlib.model import SSD300
from ssdlib.records import Example, Predictions, Targets
from ssdlib.training import engine, faster, inference
from ssdlib.training.recipes import RunConfig

GOALS = {"making a batch": "at most 120", "forward, loss and backward": "at most 350"}
GPU = torch.device("cuda", 0)
STARTS_NOTHING = ("aten.detach", "aten._unsafe_view", "aten.alias", "aten.empty", "profiler.", "prim.")


class Operations(TorchDispatchMode):
    """Within it, `started` counts the operations that start something, by name, and `waits` those that make the host
    wait for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.started: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = str(operation)
        result = operation(*args, **(kwargs or {}))
        if operation.is_view or name.startswith(STARTS_NOTHING):
            return result
        self.started[name] += 1
        devices = {tensor.device.type for tensor in _tensors((args, kwargs, result))}
        if {"cpu", "cuda"} <= devices and name.startswith(("aten._to_copy", "aten.copy_")):
            asynchronous = (kwargs or {}).get("non_blocking", len(args) > 2 and args[2])
            self.started["into pinned memory"] += 1
            self.waits[name] += not asynchronous
        if name.startswith(("aten._local_scalar_dense", "aten.nonzero")) and "cuda" in devices:
            self.waits[name] += 1
        return result

    @contextlib.contextmanager
    def of_numpy(self) -> Iterator[None]:
        """Within it, each random seed that numpy computes counts as an operation, too."""
        real = batches.generator

        def counting(*key: int) -> torch.Generator:
            self.started["numpy"] += 1
            return real(*key)

        batches.generator = counting
        try:
            yield
        finally:
            batches.generator = real


def _tensors(nested: object) -> list[Tensor]:
    return [x for x in tree_leaves(nested) if isinstance(x, Tensor)]


def making(examples: Sequence[Example], size: int, rule: str = "caffe") -> Operations:
    """Of making the batches of all steps that are drawn together, on the host and on a GPU."""
    photographs = store.Jpegs(examples)
    maker = BatchMaker(examples, photographs, size, device=GPU, rule=rule, anchors=default_boxes())
    counted = Operations()
    with counted, counted.of_numpy():
        plans = ahead.planned(maker, 0, max(1, ahead.TOGETHER // size))
    maker.photographs = [photographs[i] for i in range(len(examples))]  # decoding has an operation of its own
    with FakeTensorMode(allow_non_fake_inputs=True):
        augment._mean(GPU)  # made once, at the first batch of a run
        with counted:
            for plan in plans:
                ahead.rendered(maker, plan)
    return counted


def learning(
    precision: str = "bfloat16", width: float = 1.0, wrap: Callable[[SSD300], nn.Module] | None = None
) -> dict[str, int]:
    """Operations of forward, loss and backward, as on a GPU, but on the CPU. `wrap` may put something around the
    network."""
    model = SSD300(width=width).to(memory_format=torch.channels_last)
    model = wrap(model) if wrap else model
    images = torch.rand(2, 3, 300, 300).contiguous(memory_format=torch.channels_last)
    labels = torch.ones(2, 8732, dtype=torch.int64)
    goal = Targets(*(x.as_subclass(AsOnGPU) for x in (torch.rand(2, 8732, 4), labels, labels)))
    with Operations() as forward, inference.autocast(torch.device("cpu"), precision):
        said = model(images)
    said = Predictions(*(x.as_subclass(AsOnGPU) for x in vars(said).values()))
    with Operations() as loss:
        losses = multibox_loss(said, goal)
    with Operations() as backward:
        losses.multibox.backward()
    counts = {"forward": forward, "loss": loss, "backward": backward}
    return {name: counted.started.total() for name, counted in counts.items()}


class AsOnGPU(Tensor):
    """On the CPU, but with a GPU as its device, so that it is treated as one there."""

    is_cuda = True


def updating(fused: bool = False) -> int:
    """Operations of an update by SGD, after the first one."""
    config = RunConfig(width=1 / 16, faster=("fused",) if fused else ())
    model, optimizer, _ = engine.build(config, torch.device("cpu"))
    for group in optimizer.param_groups:
        group["foreach"] = None if fused else True  # PyTorch's choice on a GPU
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    with Operations() as counted:
        optimizer.step()
    return counted.started.total()


def main() -> None:
    given = timing.arguments(
        __doc__,
        1,
        batch=dict(type=int, default=32),
        data=dict(type=Path, default=timing.MINI),
        sets=dict(nargs="+", default=["2007-trainval"]),
    )
    examples = inputs.painted(given.data, given.sets, 4 * given.batch)
    goal_making, goal_learning = GOALS.values()
    cells = []
    for rule in augment.RULES:
        counted = making(examples, given.batch, rule)
        each = counted.started.total() / max(1, ahead.TOGETHER // given.batch)
        goal = goal_making if rule == "caffe" else ""
        cells.append([f"making a batch, {rule}'s rule", f"{each:.0f}", str(counted.waits.total()), goal])
    for name, wrap in (("", None), (", kernels cast together", faster.CastOnce)):
        counts = learning(wrap=wrap, width=1 / 16)
        parts = " + ".join(map(str, counts.values()))
        goal = "" if wrap else goal_learning
        cells.append([f"forward + loss + backward{name}", f"{parts} = {sum(counts.values())}", "0", goal])
    cells.append(["update", str(updating()), "0", ""])
    cells.append(["update, fused", str(updating(fused=True)), "0", ""])
    cells.append(["the step as one CUDA graph", "8, by its source", "0", ""])
    title = f"Operations that the host of a GPU starts for a step, batch {given.batch}, bfloat16"
    timing.say(timing.grid(title, ["what", "operations", "waits", "goal"], cells))


if __name__ == "__main__":
    main()
