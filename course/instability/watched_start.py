"""A recorded start of chapter 07 made again here and now, with every layer watched: how a NaN comes about."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from course.instability.starts import Start
from course.kit import pictures
from ssdlib.data import voc
from ssdlib.data.store import beside, open_store
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import PIXEL_DEVIATION
from ssdlib.records import Batch, Targets
from ssdlib.training import engine
from ssdlib.training.runs import RunConfig, config_from


@dataclass(frozen=True)
class Layer:
    """What a convolution was and did in one step."""

    output: float  # largest size of a number that came out of it, before the ReLU
    weight: float  # length of its kernel
    update: float  # length of the step it took, relative to the kernel; NaN if it took none


@dataclass(frozen=True)
class WatchedStep:
    """One step of SGD, layer by layer in the order of computation."""

    step: int
    localisation: float
    confidence: float
    gradient: float  # length
    layers: dict[str, Layer]

    @property
    def farthest(self) -> tuple[float | None, str]:
        """How far the kernel moved that moved farthest, relative to its length, and its name; (None, "none") where no
        step was taken."""
        if not self.finite:
            return None, "none"
        name, layer = max(self.layers.items(), key=lambda item: item[1].update)
        return layer.update, name.removesuffix(".0")

    @property
    def finite(self) -> bool:
        return all(map(math.isfinite, (self.localisation, self.confidence, self.gradient)))


def again(start: Start) -> "Beginning":
    """A recorded start, as it was before its first step."""
    return Beginning(config_from(start.head["config"]), start.head["pixels"])


class Beginning:
    """A network before its first step, and the batches of the mini VOC it is going to see.

    With `pixels` they are 0 ... 255 minus the mean; else divided by 64 and the first kernel times 64, which is the
    same function. Batch norm needs neither.
    """

    def __init__(self, config: RunConfig, pixels: bool = False):
        self.config = config
        self.model, self.optimizer, self.anchors = engine.build(config, torch.device("cpu"))
        self.scale = 1.0 if pixels or config.batch_norm else PIXEL_DEVIATION
        with torch.no_grad():
            next(iter(self.model.body.values()))[0].weight.mul_(self.scale)
        devkit = pictures.mini_voc()
        examples = voc.read_sets(devkit, self.config.train_sets)
        data = examples, open_store(beside(devkit) / "+".join(self.config.train_sets), examples)
        self.maker = engine.batch_maker(self.config, data, torch.device("cpu"))

    def batch(self, step: int) -> tuple[Batch, Targets]:
        """What step `step` learns from, on the scale the network expects."""
        batch = self.maker(step)
        images = (batch.images / self.scale).contiguous(memory_format=torch.channels_last)
        batch = dataclasses.replace(batch, images=images)
        return batch, make_targets(batch.boxes, batch.labels, self.anchors)

    @property
    def factors(self) -> list[float]:
        """Of each parameter, how many times the learning rate it learns with."""
        factor = {
            id(p): group["rate_factor"] for group in self.optimizer.param_groups for p in group["params"]
        }
        return [factor[id(p)] for p in self.model.parameters()]

    def steps(self, count: int) -> Iterator[WatchedStep]:
        """Train by SGD, without warm-up or clipping; ends with the step whose loss or gradient isn't finite."""
        convolutions = {n: m for n, m in self.model.named_modules() if isinstance(m, torch.nn.Conv2d)}
        largest: dict[str, float] = {}
        for name, module in convolutions.items():
            note = lambda _, __, out, name=name: largest.update({name: float(out.detach().abs().max())})  # noqa: E731
            module.register_forward_hook(note)
        for step in range(count):
            batch, targets = self.batch(step)
            self.optimizer.zero_grad(set_to_none=True)
            losses = multibox_loss(self.model(batch.images), targets)
            losses.multibox.backward()
            length = torch.nn.utils.clip_grad_norm_(self.model.parameters(), math.inf)
            before = {name: m.weight.detach().clone() for name, m in convolutions.items()}
            whole = bool(losses.multibox.isfinite() and length.isfinite())
            if whole:
                self.set_rate(step)
                self.optimizer.step()
            layers = {
                name: Layer(largest[name], float(w.norm()), _relative(convolutions[name].weight, w, whole))
                for name, w in before.items()
            }
            parts = (float(x.detach()) for x in (losses.localisation, losses.confidence, length))
            yield WatchedStep(step, *parts, layers)
            if not whole:
                return

    def set_rate(self, step: int) -> float:
        """Give the optimiser the learning rate of the update that follows `step` updates."""
        rate = engine.learning_rate(self.config, step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        return rate


def _relative(now: Tensor, before: Tensor, moved: bool) -> float:
    return float((now.detach() - before).norm() / before.norm()) if moved else math.nan
