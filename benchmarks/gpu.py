"""All that we want to measure on a GPU, in under eight minutes, one table for each question. It has not run on one
yet.

    python benchmarks/gpu.py [--data DEVKIT --sets 2007-trainval]

The photographs (the mini VOC, or those named) are decoded into a store first, as `train` does, and the loop that is
measured is that of `train`. The most important sections come first: the loss against float32 on the CPU; the loop
of `train` at batch 32 and 128, plain and with what `--faster` names; a step and detections beside torchvision under
autocast and channels last; every part of a step by the roofline; where a step makes the host wait; batches alone, as
the threads beside a GPU make them; larger batches and their memory; a profile.

On paper, for a GPU of the class of a T4 (8.1 TFLOP/s in float32, 65 in float16, 16 GB): at 188 GFLOP an image 26 to
43 images/s in float32, 25 to 41 hours for 120,000 steps of 32; in float16 at 30 percent of the peak about 10 hours. A
float32 step of 32 images takes 4.6 GiB. Two host cores supply some 900 images/s from a store.

A row or a section that fails says why, and the next one begins. A section that would begin after `--minutes`
is left out and says so. `--device cpu --quick` runs the same code with tiny sizes, only to see that it works.
"""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import inputs
import roofline
import timing
import torch

from ssdlib.anchors import default_boxes
from ssdlib.data import ahead, store
from ssdlib.detect import detect
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.records import Batch, Example, Targets
from ssdlib.training import distributed, engine, inference, memory
from ssdlib.training.estimate import in_words
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import RunConfig

TEST_IMAGES, STEPS = 4952, 120_000  # of the full run
ALONE = "GPU_GRAPHS_ALONE"  # set in the process that records graphs
GOALS = {32: "at least 2,000", 128: "at least 3,000", "step": "at least 3x"}
WAYS = (), ("fused", "cast", "benchmark"), ("fused", "cast", "benchmark", "resident")
# A recording that fails leaves a process that can't use its GPU any more, so these are measured in another process
GRAPHS = ("graph", "cast", "benchmark"), ("graph", "cast", "benchmark", "resident")


@dataclass
class Bench:
    """What all sections need."""

    device: torch.device
    batch: int
    steps: int
    rounds: int
    config: RunConfig  # the network's; narrow if only the code is tested
    examples: list[Example]
    photographs: store.Store

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def rate(self, work: Callable[[], object], images: int, calls: int | None = None) -> float:
        """Images a second of calls made without waiting in between, after two that aren't counted."""
        calls = calls or self.steps
        for _ in range(min(2, calls)):
            work()
        begun = self.now()
        for _ in range(calls):
            work()
        return calls * images / (self.now() - begun)

    def batch_here(self, size: int) -> Batch:
        batch = inputs.training_batch(size)
        targets = make_targets(batch.boxes, batch.labels, default_boxes())
        there = [
            x.to(self.device) for x in (batch.images, batch.boxes, batch.labels, *vars(targets).values())
        ]
        return Batch(*there[:3], Targets(*there[3:]))

    def peak(self, work: Callable[[], object]) -> str:
        if self.device.type != "cuda":
            work()
            return "?"
        memory.free()
        torch.cuda.reset_peak_memory_stats()
        work()
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def our_step(bench: Bench, batch: Batch, precision: str = "auto") -> Callable[[], object]:
    config = replace(bench.config, precision=precision, batch_size=len(batch.images))
    model, optimizer, anchors = engine.build(config, bench.device)
    return lambda: engine.update(model, optimizer, batch, anchors, 1e-6, config)


def their_step(bench: Bench, batch: Batch) -> Callable[[], object]:
    """torchvision's under autocast, as its reference training does with --amp, but in bfloat16 and channels last."""
    peer = inputs.networks()[1].to(bench.device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(peer.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    images, targets = inputs.as_torchvision(batch)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(bench.device.type, torch.bfloat16):
            losses = peer(images, targets)
        sum(losses.values()).backward()
        optimizer.step()

    return step


def same_loss(bench: Bench) -> str:
    """The loss of one batch on this device, in bfloat16 and float32, against float32 on the CPU."""
    model = engine.build(bench.config, torch.device("cpu"))[0]
    batch = inputs.training_batch(min(8, bench.batch))
    anchors, losses = default_boxes(), {}
    for device, precision in (("cpu", "float32"), (bench.device, "float32"), (bench.device, "auto")):
        device = torch.device(device)
        model.to(device)
        with torch.no_grad(), inference.autocast(device, precision):
            said = model(batch.images.to(device).contiguous(memory_format=torch.channels_last))
        goal = make_targets(batch.boxes, batch.labels, anchors)
        goal = Targets(*(tensor.to(device) for tensor in vars(goal).values()))
        losses[device.type, precision] = float(multibox_loss(said, goal).multibox)
    wanted = losses["cpu", "float32"]
    rest = {f"{d} {p}": abs(loss - wanted) / wanted for (d, p), loss in losses.items()}
    return "loss, relative to float32 on the CPU: " + ", ".join(f"{k} {v:.1e}" for k, v in rest.items())


def real_loop(bench: Bench) -> str:
    """Images a second of `engine.train` between two lines of its log, by batch and by what `--faster` names; and how
    long the whole run would take with each."""
    cells = loop_rows(bench, [*[("auto", way) for way in WAYS], ("float16", ())])
    model, _, anchors = engine.build(bench.config, bench.device)
    model.eval()
    few = bench.examples[:256], bench.photographs
    for name, work, times in (
        ("validation loss", inference.validation_loss, STEPS // 1000),
        ("detection, new network", inference.detect_all, STEPS // 20_000),
    ):
        rate = bench.rate(lambda w=work: w(model, few, anchors, bench.config), len(few[0]), 1)
        cells.append([name, f"{rate:,.0f}", "", in_words(TEST_IMAGES * times / rate)])
    return timing.grid("The loop of `train`", ["what", "images/s", "goal", "120,000 steps of 32"], cells)


def graphs(bench: Bench) -> str:
    """The rows of `real_loop` for CUDA graphs, made by a process of their own where there is a GPU."""
    if bench.device.type == "cuda" and not os.environ.get(ALONE):
        command = [sys.executable, *sys.argv, "--only", "graphs"]
        done = subprocess.run(command, env=os.environ | {ALONE: "1"}, capture_output=True, text=True)
        return done.stdout + done.stderr[-2000:]
    cells = loop_rows(bench, [("auto", way) for way in GRAPHS])
    return timing.grid("The loop of `train` as a CUDA graph", ["what", "images/s", "goal", "run"], cells)


def loop_rows(bench: Bench, choices: Sequence[tuple[str, tuple[str, ...]]]) -> list[list[str]]:
    """A row for each batch, precision and way; each is printed at once, for the time may be over before the last."""
    cells = []
    for size in dict.fromkeys([bench.batch, 4 * bench.batch]):
        for precision, ways in choices:
            name = f"training, batch {size}, {' '.join(ways) or 'plain'}"
            name += f", {precision}" if precision != "auto" else ""
            try:
                rate = loop_rate(bench, size, precision, ways)
                cells.append([name, f"{rate:,.0f}", GOALS.get(size, ""), in_words(STEPS * 32 / rate)])
                memory.free()
            except Exception as error:  # one option may fail; the others still count
                cells.append([name, *broken(error), ""])
            timing.say(f"({': '.join(cells[-1][:2])})")
    return cells


def loop_rate(bench: Bench, size: int, precision: str, ways: tuple[str, ...]) -> float:
    every = max(1, bench.steps * bench.batch // size // 5)
    config = replace(bench.config, batch_size=size, val_every=0, map_every=0, learning_rate=1e-5)
    config = replace(config, log_every=every, checkpoint_every=10**6, precision=precision, faster=ways)
    data = bench.examples, bench.photographs
    with tempfile.TemporaryDirectory() as folder:
        engine.train(config, data, data, Path(folder) / "run", stop_after=6 * every)
        rows = [row for row in read_log(Path(folder) / "run") if "seconds" in row]
    first, last = rows[0], rows[-1]
    return (
        size * (last["step"] - first["step"]) / max(last["seconds"] - first["seconds"], 0.1)
    )  # its clock has tenths of a second


def broken(error: Exception) -> list[str]:
    """Two cells of a row that failed."""
    words = str(error).splitlines() or [""]
    return ["broke", f"{type(error).__name__}: {words[0][:70]}"]


def beside_torchvision(bench: Bench) -> str:
    """A training step and detection on a batch that is already there."""
    batch = bench.batch_here(bench.batch)
    rows = []
    makers = (lambda: our_step(bench, batch)), (lambda: their_step(bench, batch))
    ours, peer = (make() for make in makers)
    rates = [(bench.rate(ours, bench.batch), bench.rate(peer, bench.batch)) for _ in range(bench.rounds)]
    rows.append(_milliseconds("training step, an image", rates, GOALS["step"]))
    model, peer = inputs.networks()
    layout = torch.channels_last
    model, peer = (network.to(bench.device, memory_format=layout).eval() for network in (model, peer))
    anchors, images = default_boxes().to(bench.device), inputs.as_torchvision(batch)[0]
    sizes = [(300, 300)] * bench.batch

    def ours_found() -> None:
        with torch.inference_mode(), inference.autocast(bench.device):
            said = model(batch.images.contiguous(memory_format=torch.channels_last))
        detect(said, anchors, sizes)

    def peer_found() -> None:
        with torch.inference_mode(), torch.autocast(bench.device.type, torch.bfloat16):
            peer(images)  # its weights are channels last, and so are the outputs of its convolutions

    few = max(1, bench.steps // 10)
    rates = [
        (bench.rate(ours_found, bench.batch, few), bench.rate(peer_found, bench.batch, few))
        for _ in range(bench.rounds)
    ]
    rows.append(_milliseconds("detections, an image", rates, ""))
    return timing.table(f"Beside torchvision under autocast and channels last, batch {bench.batch}", rows)


def waits(bench: Bench) -> str:
    """How often one step makes the CPU wait for the device, and where."""
    if bench.device.type != "cuda":
        return "waits: only a GPU has them"
    step = our_step(bench, bench.batch_here(bench.batch))
    step()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    waited = [w for w in caught if "called a synchronizing" in str(w.message)]
    places = [f"{Path(w.filename).name}:{w.lineno}" for w in waited]
    counts = {place: places.count(place) for place in dict.fromkeys(places)}
    where = ", ".join(f"{place} {count}x" for place, count in counts.items()) or "nowhere"
    return f"waits of the CPU in one step (goal: 0): {len(places)}; {where}"


def batches(bench: Bench) -> str:
    """Throughput and memory of larger batches, a step on a batch that is there."""
    cells = []
    for size in [bench.batch * times for times in (1, 2, 4, 8)]:
        try:
            step = our_step(bench, bench.batch_here(size))
            rate = bench.rate(step, size, max(2, bench.steps * bench.batch // size // 2))
            cells.append([str(size), f"{rate:,.0f}", bench.peak(step)])
        except RuntimeError as error:
            if not memory.ran_out(error):
                raise
            cells.append([str(size), "doesn't fit", ""])
        memory.free()
    return timing.grid("Larger batches", ["batch", "images/s", "memory"], cells)


def parts(bench: Bench) -> str:
    """Roofline of this device, and every part of a step by it."""
    roof = roofline.roofs(bench.device, torch.bfloat16, 8192 if bench.device.type == "cuda" else 256)
    rounds, data = max(1, min(10, bench.steps // 10)), (bench.examples, bench.photographs)
    found = roofline.step_parts(bench.batch, rounds, bench.device, bench.config, *data)
    precision = inference.precision_on(bench.device)
    return roofline.report(found, bench.batch, roof, precision)


def profile(bench: Bench) -> str:
    """The ten kernels that take most of the device's time in a step."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    cuda = bench.device.type == "cuda"
    step = our_step(bench, bench.batch_here(bench.batch))
    step()
    with watch(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as seen:
        for _ in range(3 if cuda else 1):
            step()
        bench.now()
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(seen.key_averages(), key=lambda e: -getattr(e, key))
    total = sum(getattr(e, key) for e in events) or 1
    cells = [[e.key[:70], f"{getattr(e, key) / total:.1%}", str(e.count)] for e in events[:10]]
    return timing.grid("Where a step's time goes", ["kernel", "share", "calls"], cells)


def making(bench: Bench) -> str:
    """Training batches alone, as the threads beside a GPU make them."""
    cells = []
    for where in ("the host's memory", "the device's memory"):
        photographs = bench.photographs if "host" in where else bench.photographs.on(bench.device)
        config = replace(bench.config, batch_size=bench.batch)
        maker = engine.batch_maker(config, (bench.examples, photographs), bench.device)
        batches = ahead.ahead(maker, 0, 10 + bench.steps)
        cells.append([where, f"{bench.rate(lambda b=batches: next(b), bench.batch):,.0f}"])
        batches.close()
    return timing.grid("Batches alone", ["photographs in", "images/s"], cells)


SECTIONS = (same_loss, real_loop, graphs, beside_torchvision, parts, waits, making, batches, profile)


def run(bench: Bench, minutes: float, sections: Sequence[Callable[[Bench], str]] = SECTIONS) -> None:
    begun = time.monotonic()
    for section in sections:
        name = section.__name__.replace("_", " ")
        if time.monotonic() - begun > 60 * minutes:
            timing.say(f"{name}: left out, {minutes:g} minutes were over")
            continue
        with telling(name):
            timing.say(section(bench))
        memory.free()


@contextmanager
def telling(name: str):
    """A section that fails says so, and the next one begins, because there may be no second try."""
    try:
        yield
    except Exception as error:
        timing.say(f"{name}: failed, {type(error).__name__}: {error}\n")
        if os.environ.get("BENCH_STOPS"):
            raise


def _milliseconds(what: str, rates: Sequence[tuple[float, float]], goal: str) -> timing.Row:
    ours, peer = ([1000 / rate for rate in side] for side in zip(*rates, strict=True))
    return timing.Row(what, ours, peer, goal, "ms")


def main() -> None:
    given = timing.arguments(
        __doc__,
        3,
        device=dict(default="cuda"),
        batch=dict(type=int, default=32),
        only=dict(nargs="+", default=[], help="names of sections, same_loss real_loop ...; all"),
        steps=dict(type=int, default=200, help="of each measurement (200)"),
        minutes=dict(type=float, default=6.5, help="no section begins later (6.5)"),
        data=dict(type=Path, default=timing.MINI),
        sets=dict(nargs="+", default=["2007-trainval"]),
    )
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no GPU that PyTorch can use; wanted one (--device cpu --quick only tests the code)")
    distributed.start()  # float32 as a training has it
    examples = inputs.painted(given.data, given.sets, 8 if given.quick else 512)
    small = given.quick or device.type == "cpu"
    config = replace(RunConfig(), width=1 / 16, strided_stem=True) if small else RunConfig()
    size, steps = (2, 2) if small else (given.batch, given.steps)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    timing.say(f"measured on: {name}\n")
    with tempfile.TemporaryDirectory() as folder:
        photographs = store.open_store(Path(folder) / "store", examples)
        bench = Bench(device, size, steps, given.rounds, config, examples, photographs)
        run(bench, given.minutes, [one for one in SECTIONS if not given.only or one.__name__ in given.only])


if __name__ == "__main__":
    main()
