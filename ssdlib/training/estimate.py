"""How long a run will take and how much memory, from a few of its own steps measured before it starts."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssdlib.data.store import Jpegs
from ssdlib.training import distributed, engine, faster, inference, memory, scaling, threads
from ssdlib.training.inference import Data
from ssdlib.training.runs import RunConfig

STEPS = 3  # measured, after one that isn't counted, because a first step makes buffers and chooses kernels; a CUDA
# graph is recorded after some more
IMAGES = 16  # in which validation and detection are measured


@dataclass(frozen=True)
class Pace:
    """How long the parts of a run take on a machine, in seconds, and how much memory, in bytes."""

    making: float  # one batch: photographs to augmented tensors
    update: float  # one update with that batch
    validated: float  # one photograph's validation loss
    detected: float  # detections in one photograph, by a network with candidates everywhere
    ahead: bool  # batches are made while the update before runs, as beside a GPU
    peak: int | None = None  # bytes a step needs at most; None where the system doesn't tell
    threads: int | None = None  # with which the CPU computed, chosen or fixed

    @property
    def step(self) -> float:
        return max(self.making, self.update) if self.ahead else self.making + self.update


@dataclass(frozen=True)
class Shares:
    """How the time of a run is divided, in seconds."""

    training: float
    validation: float
    evaluation: float

    @property
    def total(self) -> float:
        return self.training + self.validation + self.evaluation


def shares(config: RunConfig, pace: Pace, test_images: int, done: int = 0) -> Shares:
    """The time that a run still takes after `done` steps. Starting up and writing checkpoints aren't counted."""
    evaluations = _times(config.map_every, done, config.steps - 1) + 1  # one more at the end
    return Shares(
        training=pace.step * (config.steps - done),
        validation=pace.validated * test_images * _times(config.val_every, done, config.steps),
        evaluation=pace.detected * test_images * evaluations,
    )


@memory.keeping()
@threads.restored()
def measure(
    config: RunConfig, train_data: Data, test_data: Data, weights: dict[str, Tensor] | None = None
) -> Pace:
    """Take a few steps of the run, at a learning rate of 0, with a network that is thrown away; validate and detect
    in a few photographs.

    Raises OutOfMemory, which says how many images at a time fit, if a step doesn't.
    """
    memory.free()  # otherwise memory kept from before would count as the step's
    return _measure(config, train_data, test_data, weights, distributed.start())


def report(config: RunConfig, pace: Pace, train_data: Data, test_data: Data, done: int = 0) -> str:
    """A few lines: how long the run and its parts take, how much memory, and what would make it faster."""
    device = distributed.start()
    time_ = shares(config, pace, len(test_data[0]), done)
    parts = f"training {in_words(time_.training)}, validation {in_words(time_.validation)}"
    lines = [
        f"about {in_words(time_.total)} on {memory.where(device)}: {parts}, evaluation {in_words(time_.evaluation)}",
        f"{pace.step:.2g} s a step of {config.batch_size}, {config.batch_size / pace.step:.3g} images a second"
        + (f"; a step needs {pace.peak / 2**30:.1f} GiB" if pace.peak else "")
        + (f"; {pace.threads} thread{'s' * (pace.threads > 1)}" if pace.threads else ""),
        *(f"faster: {line}" for line in remarks(config, pace, time_, device, train_data)),
    ]
    return "\n".join(lines)


def remarks(config: RunConfig, pace: Pace, time_: Shares, device: torch.device, data: Data) -> list[str]:
    """What would shorten this run here, each with its reason."""
    found = []
    days = time_.total / 86_400
    if device.type == "cpu" and days > 1:
        found.append(f"a GPU; {days:.0f} days is what a CPU takes (--recipe mini is for laptops)")
    if inference.precision_on(device, config.precision) == "float32":
        if inference.precision_on(device) == "bfloat16":
            found.append("bfloat16 instead of float32 (--precision auto)")
        elif inference.has_float16_units(device):
            found.append("float16, its gradients scaled, instead of float32 (--precision float16)")
        else:
            found.append("a device with units for bfloat16; this one computes in float32")
    cores, most = os.cpu_count() or 1, torch.get_num_threads()
    if device.type == "cpu" and most < cores:
        found.append(f"all {cores} cores; torch uses {most} (--threads, OMP_NUM_THREADS)")
    elif pace.threads and pace.threads < most:
        found.append(f"no other programs: with {most} threads, which wait for each other, steps took longer")
    if (load := _load()) > 1.5 * (os.cpu_count() or 1):
        found.append(
            f"no other programs: {load:.0f} programs or threads want to run (this was measured among them)"
        )
    if pace.ahead and pace.making > pace.update:
        idle = 1 - pace.update / pace.making
        found.append(f"batches: the device waits for them {idle:.0%} of the time")
    if isinstance(data[1], Jpegs):
        found.append("a store: photographs decoded once instead of at every step")
    if time_.validation > 0.1 * time_.total:
        found.append(
            f"validation less often than every {config.val_every} steps: {in_words(time_.validation)}"
        )
    if 0 < config.microbatch < config.batch_size:
        found.append(f"parts larger than {config.microbatch} images, if they fit (--microbatch)")
    return found


def in_words(seconds: float, exact: bool = False) -> str:
    """A duration in words: "40 s", "12 min", "31 h", "9 days"; `exact` gives two units, if the second isn't
    0, and tenths below 10 s: "0.4 s", "4 min 53 s", "2 days 5 h"."""
    if not math.isfinite(seconds):
        return "unknown"
    if not exact:
        for most, unit, name in ((90, 1, "s"), (90 * 60, 60, "min"), (72 * 3600, 3600, "h")):
            if seconds < most:
                return f"{seconds / unit:.0f} {name}"
        return f"{seconds / 86_400:.0f} days"
    if seconds < 10 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for least, unit, name, smaller in (
        (48 * 3600, 86_400, "days", "h"),
        (3600, 3600, "h", "min"),
        (60, 60, "min", "s"),
    ):
        if whole >= least:
            rest = whole % unit // {"h": 3600, "min": 60, "s": 1}[smaller]
            return f"{whole // unit} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def _measure(
    config: RunConfig,
    train_data: Data,
    test_data: Data,
    weights: dict[str, Tensor] | None,
    device: torch.device,
) -> Pace:
    faster.prepare(config, device)
    before = _start_counting(device)
    model, optimizer, anchors = engine.build(config, device, weights)
    network, advance = engine.stepping(model, config)
    uncounted = 1 + (faster.WARM if "graph" in config.faster else 0)  # the last of them records the graph
    maker = engine.batch_maker(config, train_data, device)
    scaler, chooser = scaling.scaler_for(device, config), threads.Chooser(device)
    making, update, used = [], [], []
    # a choice that is obvious ends before the chosen number has taken enough steps
    while chooser.trying or used.count(chooser.now) < uncounted + STEPS:
        begun = _now(device)
        batch = maker(len(update))
        made = _now(device)
        with chooser.step():
            used.append(torch.get_num_threads())
            advance(network, optimizer, batch, anchors, 0.0, config, scaler)
        making.append(made - begun)
        update.append(_now(device) - made)
    update = [seconds for seconds, count in zip(update, used, strict=True) if count == chooser.now]
    peak = _most(device, before)
    few = list(test_data[0][:IMAGES]), test_data[1]
    validated = _took(lambda: inference.validation_loss(model, few, anchors, config), device)
    detected = _took(lambda: inference.detect_all(model, few, anchors, config), device)
    each = len(few[0])
    return Pace(
        statistics.median(making[uncounted:]),
        statistics.median(update[uncounted:]),
        validated / each,
        detected / each,
        device.type == "cuda",
        peak,
        chooser.now if device.type == "cpu" else None,
    )


def _times(every: int, after: int, until: int) -> int:
    """How many multiples of `every` lie above `after` and not above `until`."""
    return max(0, until // every - after // every) if every else 0


def _load() -> float:
    """How many programs or threads wanted to run in the last minute; 0 where the system doesn't tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def _now(device: torch.device) -> float:
    """The time, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
    return time.perf_counter()


def _took(work: Callable[[], object], device: torch.device) -> float:
    begun = _now(device)
    work()
    return _now(device) - begun


def _start_counting(device: torch.device) -> int:
    """Begin to record the most memory in use. -> bytes in use before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return 0
    try:
        Path("/proc/self/clear_refs").write_text("5", "utf-8")  # Linux forgets the process's highest mark
    except OSError:
        return 0
    return _status("VmRSS") or 0


def _most(device: torch.device, before: int) -> int | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    mark = _status("VmHWM") if device.type == "cpu" else None
    return mark - before if mark else None


def _status(name: str) -> int | None:
    """A line of Linux's account of this process, in bytes."""
    try:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None
