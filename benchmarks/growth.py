"""How cost grows with size: matching with objects, evaluation with detections, a store with photographs.

    python benchmarks/growth.py

The exponent is the slope of log time over log size: over all sizes, and over the last two, which predict the cost
of larger ones. 1 means that twice the size takes twice as long. Memory is the largest amount that the process needed
beyond what it had before.
"""

import ctypes
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import inputs
import timing
import torch

from ssdlib import evaluate
from ssdlib.anchors import default_boxes
from ssdlib.data import store
from ssdlib.matching import make_targets
from ssdlib.training import memory
from ssdlib.training.estimate import _most, _start_counting

OBJECTS = (1, 2, 5, 10, 20, 50, 100)
DETECTIONS = (10_000, 100_000, 1_000_000)
PHOTOGRAPHS = (50, 100, 200, 400, 800)
BATCH = 8


def cost(work: Callable[[], object], rounds: int) -> tuple[float, float | None]:
    """Least seconds of several calls, and MiB at most in one of them; None where the system doesn't tell."""
    memory.free()
    with suppress(OSError, AttributeError):  # without glibc
        ctypes.CDLL("libc.so.6").malloc_trim(
            0
        )  # otherwise memory freed after making the inputs would count as in use before
    before = _start_counting(torch.device("cpu"))
    times = [timing.took(work)]
    most = _most(torch.device("cpu"), before)
    times += [timing.took(work) for _ in range(rounds - 1)]
    return min(times), None if most is None else most / 2**20


def matching(objects: int) -> Callable[[], object]:
    chance = torch.Generator().manual_seed(objects)
    boxes = torch.stack([inputs.boxes_inside(objects, chance) for _ in range(BATCH)])
    labels = torch.randint(1, 21, (BATCH, objects), generator=chance)
    anchors = default_boxes()
    return lambda: make_targets(boxes, labels, anchors)


def judging(detections: int) -> Callable[[], object]:
    results, truth = inputs.detections(detections)
    return lambda: evaluate.evaluate(results, truth)


def storing(photographs: int, folder: Path) -> Callable[[], object]:
    examples = inputs.painted(timing.MINI, ("2007-trainval", "2012-trainval", "2007-test"), photographs)
    tries = iter(range(10**6))
    return lambda: store.build_store(folder / f"{photographs}-{next(tries)}", examples)


def exponent(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Slope of the straight line through the logarithms, by least squares."""
    x, y = [math.log(s) for s in sizes], [math.log(t) for t in times]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)


def grown(
    name: str, sizes: Sequence[int], make: Callable[[int], Callable[[], object]], rounds: int
) -> list[str]:
    costs = [cost(make(size), rounds if size < 10**6 else 1) for size in sizes]
    times, (last, most) = [time for time, _ in costs], costs[-1]
    whole, end = exponent(sizes, times), exponent(sizes[-2:], times[-2:])
    needed = "?" if most is None else f"{timing.three(most)} MiB"
    span = f"{sizes[0]:,} to {sizes[-1]:,}"
    return [name, span, f"{whole:.2f}", f"{end:.2f}", f"{timing.three(1000 * last)} ms", needed]


def main() -> None:
    given = timing.arguments(
        __doc__, 3, threads=1, largest=dict(type=int, default=DETECTIONS[-1], help="detections at most")
    )
    cut = 2 if given.quick else None
    rows = [grown(f"matching a batch of {BATCH}, by objects an image", OBJECTS[:cut], matching, given.rounds)]
    sizes = (1_000, 2_000) if given.quick else [n for n in DETECTIONS if n <= given.largest]
    rows.append(grown("evaluation, by detections in memory", sizes, judging, given.rounds))
    with tempfile.TemporaryDirectory() as folder:
        sizes = (2, 4) if given.quick else PHOTOGRAPHS
        make = lambda size: storing(size, Path(folder))  # noqa: E731
        rows.append(grown("building a store, by photographs", sizes, make, min(2, given.rounds)))
    names = ["what", "from", "exponent", "at the end", "the largest takes", "memory above"]
    timing.say(timing.grid("How cost grows, one thread (CPU time)", names, rows))


if __name__ == "__main__":
    main()
