"""Recorded runs that differ in nothing but their learning-rate drops, and the published run's curve, as data.

The recordings were made by `data_scripts/drops.py`: a folder for each random seed, a file for each schedule. All
schedules leave one trunk at their first drop, so two of them that share a step have seen the same batches up to it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from course.kit.pictures import ROOT

FOLDER = ROOT / "chapters/recordings/drops"
FACTS = Path(__file__).parents[1] / "facts"
IMAGES = 16_551  # of VOC 07+12 trainval: an epoch
SETTLING = 10  # steps after leaving the trunk with a validation of their own


@dataclass(frozen=True)
class Schedule:
    """One recorded run, from the step where it leaves the trunk to the end."""

    name: str
    drops: tuple[int, ...]  # steps done before each of them
    steps: int  # of the whole run
    begin: int  # where it leaves the trunk; 0 = the trunk itself, or a start of its own
    losses: Tensor  # (steps - begin, 2) localisation and confidence of each training step
    checks: tuple[
        dict[str, float], ...
    ]  # validation: step, learning rate, multibox, l2 ..., in the order of the steps
    map: float | None  # mAP on the test scenes at the end; None if the run isn't finished
    head: Mapping[str, Any]  # settings, commit, date, device, versions

    @property
    def label(self) -> str:
        """ "drops at 1667, 2083": what to call it on a page."""
        if self.name == "cosine":
            return "cosine"
        many = "drops" if len(self.drops) > 1 else "drop"
        return f"{many} at {', '.join(map(str, self.drops))}" if self.drops else "no drop"

    @property
    def shares(self) -> tuple[float, float]:
        """First and second drop as shares of the run, 1 for a drop that never comes."""
        first, second, *_ = [drop / self.steps for drop in self.drops] + [1.0, 1.0]
        return first, second

    def train(self, first: int, last: int) -> Tensor:
        """(last - first,) multibox loss of the training steps first ... last - 1."""
        if not self.begin <= first <= last <= self.begin + len(self.losses):
            raise ValueError(f"{self.name} has no steps {first} to {last}")
        return self.losses[first - self.begin : last - self.begin].sum(dim=1)

    def check(self, step: int, name: str = "multibox") -> float:
        """A number of the validation after `step` steps. Raises ValueError if there was none."""
        for row in self.checks:
            if row["step"] == step:
                return row[name]
        raise ValueError(f"{self.name} wasn't validated at step {step}")

    def curve(self, name: str = "multibox") -> tuple[list[int], list[float]]:
        """Steps and values of the regular validations, the one right after a drop left out."""
        rows = [row for row in self.checks if row["step"] != self.begin + SETTLING]
        return [row["step"] for row in rows], [row[name] for row in rows]

    @property
    def origin(self) -> str:
        """When, where and with which code it was recorded."""
        facts = self.head
        device = facts["device"].replace("1 threads", "1 thread")
        return (
            f"recorded {facts['date']} on {device}, {facts['precision']}, "
            f"commit {facts['commit'][:10]}, random seed {facts['seed']}"
        )


def read_schedule(path: Path) -> Schedule:
    """A file of `data_scripts/drops.py`. Raises ValueError if it is something else; one that isn't finished has no
    mAP."""
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        head, *rows = map(json.loads, lines)
        steps, begin = head["config"]["steps"], head["begin"]
        losses = [row for row in rows if isinstance(row, list)]
        found = [row for row in rows if isinstance(row, dict)]
        complete = [row for row in found if "map" in row]
        checks = tuple(row for row in found if "multibox" in row)
        name, drops = head["schedule"], tuple(head["drops"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: no recording of a schedule ({type(error).__name__})") from error
    if [row[0] for row in losses] != list(range(begin, begin + len(losses))):
        raise ValueError(f"{path}: its steps aren't {begin}, {begin + 1}, ... one after the other")
    table = torch.tensor([row[1:] for row in losses], dtype=torch.float64).reshape(-1, 2)
    return Schedule(name, drops, steps, begin, table, checks, complete[0]["map"] if complete else None, head)


def recorded(folder: Path = FOLDER / "0") -> dict[str, Schedule]:
    """All recorded schedules of one random seed by their names, the earliest first drop first."""
    found = [read_schedule(path) for path in folder.glob("*.jsonl")]
    if not found:
        raise ValueError(f"{folder}: holds no recorded schedule")
    return {one.name: one for one in sorted(found, key=lambda s: (s.name == "cosine", s.shares, s.name))}


def random_seeds(folder: Path = FOLDER) -> list[Path]:
    """The folders with recordings, one for each random seed."""
    return sorted(
        (path for path in folder.glob("*/") if path.name.isdigit()), key=lambda path: int(path.name)
    )


def maps_by_seed(runs: Sequence[Mapping[str, Schedule]], names: Sequence[str]) -> dict[str, dict[int, float]]:
    """What each schedule is called on a page -> random seed -> mAP, for the random seeds that have it."""
    return {
        runs[0][name].label: {run[name].head["seed"]: run[name].map for run in runs if name in run}
        for name in names
    }


def distance(one: Sequence[float], other: Sequence[float]) -> float:
    """For which share of a run the learning rates of two plans differ, a factor of 100 counted twice; both plans as
    the shares of their two drops."""
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


def nearest(found: Mapping[str, Schedule], shares: Sequence[float]) -> tuple[Schedule, float]:
    """The recorded schedule with the most similar drops, and how far away it is (0 = recorded with these)."""
    by_drops = [one for one in found.values() if one.name != "cosine"]
    best = min(by_drops, key=lambda one: distance(one.shares, shares))
    return best, distance(best.shares, shares)


def gain(trunk: Schedule, branch: Schedule, first: int, last: int) -> Tensor:
    """(last - first,) by how much the branch's training loss lies below the trunk's, on the very same batches;
    `first` and `last` count from the step where the branch leaves."""
    begin = branch.begin
    return trunk.train(begin + first, begin + last) - branch.train(begin + first, begin + last)


# ---- schedules on paper, and the published run


@dataclass(frozen=True)
class SchedulePlan:
    """A schedule on paper: where its learning rate falls, how long it is, how many images a step sees."""

    shares: tuple[float, float]  # of the run, 1 = never
    steps: int
    batch: int

    @property
    def lengths(self) -> tuple[float, float, float]:
        """Steps at the learning rate it begins with, at a tenth of it, at a hundredth."""
        first, second = self.shares
        return self.steps * first, self.steps * (second - first), self.steps * (1 - second)

    @property
    def images(self) -> int:
        return self.steps * self.batch

    def epochs(self, steps: float) -> float:
        """How many times so many steps show every image of VOC 07+12."""
        return steps * self.batch / IMAGES


@dataclass(frozen=True)
class Published:
    """The curve that ssd_keras published for its SSD300 on VOC 07+12, read off its plot to about ±0.03."""

    steps: tuple[int, ...]  # where the thousand steps of a point begin
    train: tuple[float, ...]  # mean over the thousand steps, Keras total: multibox + L2; nan where unreadable
    val: tuple[float, ...]  # at their end, VOC2007 test
    map: Mapping[int, float]  # step -> mAP on VOC2007 test

    drops = (56_000, 76_000)
    length = 102_000
    batch = 31

    def rate(self, step: float) -> float:
        return 1e-3 * 0.1 ** sum(step >= drop for drop in self.drops)


def published() -> Published:
    """The two files in `course/facts`."""
    rows = _table(FACTS / "published_loss_history.csv")[1:]
    steps, train, val = zip(*rows, strict=True)
    head, *classes = _table(FACTS / "published_map_by_step.csv")
    scores = dict(zip(map(int, head[1:]), map(float, classes[-1][1:]), strict=True))
    return Published(tuple(map(int, steps)), _numbers(train), _numbers(val), scores)


def _table(path: Path) -> list[list[str]]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line.split(",") for line in lines if not line.startswith("#")]


def _numbers(texts: Sequence[str]) -> tuple[float, ...]:
    return tuple(float(text) if text else math.nan for text in texts)


@dataclass(frozen=True)
class Jump:
    """A curve at one point against the straight line through the points before it."""

    trend: float  # what the line says for the point
    found: float
    slope: float  # of the line, from point to point
    scatter: float  # standard deviation of the points around their line

    @property
    def size(self) -> float:
        return self.found - self.trend

    def line(self, at: float) -> float:
        """The line `at` points after the one that was looked at; before it where `at` is negative."""
        return self.trend + self.slope * at


def jump(values: Sequence[float], at: int, window: int = 10) -> Jump:
    """Does point `at` lie on the line through the `window` points before it? Unreadable points are left out.

    Raises ValueError if there are fewer points before it."""
    if not window <= at < len(values):
        raise ValueError(f"point {at} of {len(values)} hasn't {window} points before it")
    pairs = [(i, v) for i, v in enumerate(values[at - window : at]) if not math.isnan(v)]
    x, y = torch.tensor(pairs, dtype=torch.float64).T
    slope = float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())
    line = y.mean() + slope * (x - x.mean())
    scatter = float(((y - line).square().sum() / (len(x) - 2)).sqrt())
    return Jump(float(y.mean() + slope * (window - x.mean())), values[at], slope, scatter)
