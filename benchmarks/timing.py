"""Shared by all benchmarks: ours and a peer in turn in one process, medians of several rounds, one table.

A ratio says how many times as fast ours is as the peer (or how many times as much memory it takes, where the goal
says "at most"). It is the median of the ratios of single rounds, in which the two ran one right after the other, so
that a slow minute of the machine affects both; `spread` is the lowest and the highest of those ratios.
With one thread CPU time is measured, with more wall-clock time.
"""

import argparse
import datetime
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]
MINI = ROOT / "data/mini/VOCdevkit"
SAID = "BENCHMARK_HEAD_SAID"  # in the environment: the line of `head` has been printed
if str(ROOT / "data_scripts") not in sys.path:
    sys.path.append(str(ROOT / "data_scripts"))


@dataclass(frozen=True)
class Row:
    """One line of a table. Values are in `unit`, ratios are peer / ours unless `inverse`."""

    what: str
    ours: Sequence[float]
    peer: Sequence[float]
    goal: str = ""
    unit: str = "s"
    inverse: bool = False  # memory: ours / peer, less is better

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.peer, strict=True)
        return [ours / peer if self.inverse else peer / ours for ours, peer in pairs]

    def cells(self) -> list[str]:
        one, other = statistics.median(self.ours), statistics.median(self.peer)
        ratios = self.ratios
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if len(ratios) > 1 else "one round"
        amounts = [f"{three(one)} {self.unit}", f"{three(other)} {self.unit}"]
        return [self.what, *amounts, f"{statistics.median(ratios):.2f}x", spread, self.goal]


def in_turn(
    ours: Callable[[], object], peer: Callable[[], object], rounds: int, per: float = 1.0
) -> tuple[list[float], list[float]]:
    """Seconds of ours and of the peer, divided by `per`, one pair for each round; the order changes every round.
    A first round isn't counted, because it makes buffers and chooses kernels."""
    taken = ([], [])
    both = ours, peer
    for round_ in range(-1, rounds):
        for which in (0, 1) if round_ % 2 else (1, 0):
            seconds = took(both[which])
            if round_ >= 0:
                taken[which].append(seconds / per)
    return taken


def took(work: Callable[[], object]) -> float:
    """Seconds of one call, after a garbage collection: CPU time where torch uses one thread, because other programs
    don't count then, otherwise wall-clock time."""
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    gc.collect()
    begun = clock()
    work()
    return clock() - begun


def table(title: str, rows: Sequence[Row]) -> str:
    """A Markdown table that is also readable as text."""
    names = ["what", "ours", "peer", "ratio", "spread", "goal"]
    return grid(title, names, [row.cells() for row in rows])


def grid(title: str, names: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A title and a Markdown table whose columns are padded to one width."""
    lines = [list(names), *map(list, cells)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    text = "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )
    return f"\n**{title}**\n\n{text}\n"  # a blank line first, otherwise the title would belong to the text before


def three(value: float) -> str:
    """Three significant digits, without exponents: 0.0123, 1.23, 123, 12300."""
    if value == 0:
        return "0"
    digits = max(0, 2 - int(f"{value:.2e}".split("e")[1]))
    return f"{float(f'{value:.2e}'):.{digits}f}"


def head() -> str:
    """The machine and the versions with which a table was measured, in one line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "numpy"))
    load = f"load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    date = datetime.datetime.now().isoformat(" ", "minutes")
    return f"{processor()}, {load}; Python {platform.python_version()}, {versions}; commit {commit()}, {date}"


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    units = torch.backends.cpu.get_cpu_capability()  # AVX2, AVX512 ...: what torch computes with
    return f"{names[0] if names else platform.machine()} with {os.cpu_count()} cores ({units})"


def threads(count: int) -> str:
    return "one thread (CPU time)" if count == 1 else f"{count} threads"


def commit() -> str:
    """The commit that ran, marked where the library or the benchmarks differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()

    changed = git("status", "--porcelain", "ssdlib", "benchmarks")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + (" and changes" if changed else "")


def arguments(doc: str, rounds: int, threads: int | None = None, **more: dict) -> argparse.Namespace:
    """The options of every benchmark, and `more` of its own. Sets torch's threads and prints `head`, unless the
    process that started it has printed it."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, one round: only to see that it runs"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help=f"pairs measured ({rounds})")
    parser.add_argument("--threads", type=int, default=threads or os.cpu_count(), help="of torch")
    for name, keywords in more.items():
        parser.add_argument(f"--{name}", **keywords)
    given = parser.parse_args()
    given.rounds = 1 if given.quick else max(1, given.rounds)
    torch.set_num_threads(given.threads)
    if SAID not in os.environ:
        say(head() + "\n")
    return given


def say(text: str) -> None:
    print(text, flush=True)


def agree(what: str, difference: float, most: float) -> str:
    """A sentence that says how far ours and the peer differ; stops the benchmark if that is too far."""
    if not difference <= most:
        raise SystemExit(f"{what}: ours and the peer differ by {difference:.3g}, more than {most:g}")
    return f"Checked: {what}: they differ by {difference:.1e} at most (allowed {most:g})."
