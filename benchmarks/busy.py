"""Speed beside other programs: a short training and a full step, alone and beside a busy process.

    python benchmarks/busy.py

The first table is the command of `make train` with 60 steps, start and evaluation included, in a process of its own:
as it is, which chooses its number of threads, and with the number fixed. The second is a step of the full network
beside torchvision's, which always uses all threads; ours as in `train`, after it has chosen. The
third is the full network with all threads in one process, and with one thread in each of as many processes. A busy
process multiplies matrices with a given number of threads, without a pause. Times are wall-clock times, so nothing
else may run while this measures. For that reason it isn't part of `make bench`.
"""

import contextlib
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import inputs
import network
import timing
import torch

from ssdlib.training import memory, threads
from ssdlib.training.runlog import read_log

SPIN = """
import torch
torch.set_num_threads({})
a = torch.rand(600, 600)
print("begun", flush=True)
while True:
    a @ a
"""
# name -> threads of each busy process
BESIDE = {
    "nothing": (),
    "one busy process of one thread": (1,),
    "two busy processes of one thread": (1, 1),
    "one busy process of two threads": (2,),
}


@contextlib.contextmanager
def busy(counts: tuple[int, ...]) -> Iterator[None]:
    """Busy processes with these numbers of threads, while the block runs."""
    running = [
        subprocess.Popen([sys.executable, "-c", SPIN.format(count)], stdout=subprocess.PIPE)
        for count in counts
    ]
    try:
        for process in running:
            process.stdout.readline()  # it has begun
        yield
    finally:
        for process in running:
            process.kill()
            process.wait()


def command(steps: int, *more: str) -> float:
    """Seconds of a short training of the mini recipe, from the start of Python to the end."""
    words = ["train", "--recipe", "mini", "--steps", str(steps), "--drops", "--val-every", "0", *more]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = subprocess.run(
            [*(sys.executable, "-m", "ssdlib", *words), "--data", str(timing.MINI), "--out", f"{folder}/run"],
            cwd=timing.ROOT,
            env={name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
            capture_output=True,
            text=True,
        )
        took = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"the training stopped:\n{done.stderr[-2000:]}")
    return took


def trainings(steps: int, beside: list[str], most: int) -> str:
    command(2)  # not counted: it reads from the disk what the others find in memory
    cells = []
    for name in beside:
        with busy(BESIDE[name]):
            took = [
                command(steps),
                command(steps, "--threads", str(most)),
                command(steps, "--threads", "1"),
            ]
        cells.append([name, *(f"{one:.1f} s" for one in took), f"{took[0] / min(took[1:]):.2f}x"])
    names = ["beside it", "chosen", f"{most} threads", "1 thread", "chosen, by the better one"]
    return timing.grid(f"{steps} steps of the mini recipe, start and evaluation included", names, cells)


def full_steps(size: int, rounds: int, beside: list[str], most: int) -> str:
    """Seconds an image of a step of the full network, medians; ours after the choice."""
    cells = []
    batch = inputs.training_batch(size)
    for name in beside:
        model, peer = inputs.networks()
        ours, theirs = network.our_step(model.train(), batch, "auto"), network.their_step(peer.train(), batch)
        with busy(BESIDE[name]), memory.keeping(), threads.restored():
            chooser = threads.Chooser(network.CPU)
            while chooser.trying:
                with chooser.step():
                    ours()
            torch.set_num_threads(most)
            theirs()
            pairs = []
            for _ in range(rounds):
                torch.set_num_threads(chooser.now)
                mine = _took(ours)
                torch.set_num_threads(most)
                pairs.append((mine / size, _took(theirs) / size))
        row = timing.Row(f"beside {name}; ours chose {chooser.now}", *zip(*pairs, strict=True))
        cells.append(row.cells()[:-1])
    names = ["what", "ours", "peer", "ratio", "spread"]
    title = f"A step of the full network, batch {size}, per image; peer: torchvision's, {most} threads"
    return timing.grid(title, names, cells)


def processes(steps: int, size: int, most: int) -> str:
    """Seconds an image of the full network: one process with all threads, and as many processes with one."""
    words = f"-m ssdlib train --steps 100 --stop-after {steps} --batch-size {size} --drops --val-every 0"
    words += f" --log-every 1 --learning-rate 1e-5 --data {timing.MINI}"
    ways = {
        f"one process, {most} threads": ["--threads", str(most)],
        f"{most} processes, one thread each": ["--threads", "1"],
    }
    cells = []
    for (name, more), start in zip(
        ways.items(), ("", f"-m torch.distributed.run --nproc-per-node {most}"), strict=True
    ):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, *start.split(), *words.split(), *more, "--out", f"{folder}/run"]
            subprocess.run(command, cwd=timing.ROOT, check=True, stdout=subprocess.DEVNULL)
            at = [row["seconds"] for row in read_log(Path(folder) / "run")]
        each = [
            (b - a) / size for a, b in itertools.pairwise(at)
        ]  # without the first step, which makes buffers
        cells.append([name, f"{statistics.median(each):.2f} s", f"{min(each):.2f} to {max(each):.2f}"])
    title = f"The full network, a batch of {size}, seconds an image over {steps - 1} steps"
    return timing.grid(title, ["how", "median", "spread"], cells)


def _took(step) -> float:
    begun = time.perf_counter()
    step()
    return time.perf_counter() - begun


def main() -> None:
    given = timing.arguments(
        __doc__,
        3,
        steps=dict(type=int, default=60, help="of the mini recipe"),
        batch=dict(type=int, default=2, help="of the full network"),
        beside=dict(nargs="+", default=list(BESIDE), choices=BESIDE, help="for the trainings"),
        only=dict(choices=("trainings", "full", "processes"), help="one of the tables"),
    )
    os.environ.pop("OMP_NUM_THREADS", None)  # it would fix the number of threads
    beside = given.beside[:1] if given.quick else given.beside
    if given.only in (None, "trainings"):
        timing.say(trainings(2 if given.quick else given.steps, beside, given.threads))
    if given.only in (None, "full"):
        beside = list(BESIDE)[: 1 if given.quick else 2]
        timing.say(full_steps(1 if given.quick else given.batch, given.rounds, beside, given.threads))
    if given.only in (None, "processes"):
        timing.say(processes(3 if given.quick else 6, 2 if given.quick else 8, given.threads))


if __name__ == "__main__":
    main()
