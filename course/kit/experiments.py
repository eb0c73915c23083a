"""The recorded runs of docs/experiments.md as data, and the rule that says what their differences mean.

The recordings were made by `data_scripts/experiments.py`: a folder for each arm, which is the recipe `mini` with one
change, and in it a folder for each random seed.
"""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from course.kit.places import recording

Values = Mapping[int, float]  # random seed -> a number of that run


@dataclass(frozen=True)
class Run:
    """One run that was trained to its end."""

    seed: int
    ap: Mapping[str, float]  # class -> AP, 0 to 1; "mean" is the mAP
    sizes: Mapping[str, Sequence[float]]  # size -> mAP in percent, classes, objects (`ap_by_size.means`)
    losses: Sequence[tuple[int, float]]  # step, mean multibox loss of the training steps since the last row
    loss: float  # multibox loss on the validation scenes at the end
    head: Mapping[str, Any]  # settings, commit, date, device, versions

    @property
    def map(self) -> float:
        return self.ap["mean"]


def read_run(folder: Path) -> Run:
    """A folder that `data_scripts/experiments.py` kept. Raises ValueError if it holds no finished run."""
    try:
        head = json.loads((folder / "recording.json").read_text("utf-8"))
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]
        table = list(csv.reader((folder / "ap.csv").read_text("utf-8").splitlines()))[1:]
        ap = {name: float(value) for name, value in table}
        if "mean" not in ap:
            raise ValueError("ap.csv has no mean")
        sizes = json.loads((folder / "sizes.json").read_text("utf-8"))
        losses = [(row["step"], row["multibox"]) for row in rows if "multibox" in row]
        loss = [row["val"]["multibox"] for row in rows if "val" in row][-1]
        return Run(head["config"]["seed"], ap, sizes, losses, loss, head)
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{folder}: holds no finished run ({type(error).__name__}: {error})") from error


def runs(arm: str) -> dict[int, Run]:
    """All finished runs of an arm by their random seeds."""
    folders = [path.parent for path in recording("experiments", arm).glob("*/ap.csv")]
    return {run.seed: run for run in sorted(map(read_run, folders), key=lambda run: run.seed)}


# ---- how far runs differ


def deviation(values: Sequence[float]) -> float:
    """Standard deviation of a sample, with n - 1."""
    return float(torch.tensor(list(values), dtype=torch.float64).std())


def deviation_between(values: Sequence[float], share: float = 0.9) -> tuple[float, float]:
    """The interval that holds the standard deviation behind a sample with probability `share`, if the numbers are
    normally distributed: (n - 1) s² / sigma² has a chi-square distribution with n - 1 degrees of freedom."""
    free = len(values) - 1
    low, high = (_chi_square(free, (1 + sign * share) / 2) for sign in (-1, 1))
    return deviation(values) * math.sqrt(free / high), deviation(values) * math.sqrt(free / low)


def _chi_square(free: int, share: float) -> float:
    """Below which value a chi-square variable lies with probability `share`, by halving."""
    low, high = 0.0, 10.0 * free + 100
    for _ in range(60):
        middle = (low + high) / 2
        half = torch.tensor([free / 2, middle / 2], dtype=torch.float64)
        low, high = (middle, high) if torch.special.gammainc(*half) < share else (low, middle)
    return low


@dataclass(frozen=True)
class Paired:
    """Differences between two arms, each between two runs of one random seed."""

    by_seed: Values

    @property
    def mean(self) -> float:
        return sum(self.by_seed.values()) / len(self.by_seed)

    @property
    def error(self) -> float:
        """Standard error of the mean: standard deviation of the differences over the root of their number."""
        return deviation(list(self.by_seed.values())) / math.sqrt(len(self.by_seed))

    @property
    def tells(self) -> bool:
        """The rule of docs/experiments.md: the mean is farther from 0 than twice its standard error, and all
        differences but one at most have its sign."""
        others = sum(value * self.mean <= 0 for value in self.by_seed.values())
        return abs(self.mean) > 2 * self.error and others <= 1

    @property
    def verdict(self) -> str:
        """ "more", "less" or "can't be told"."""
        return ("more" if self.mean > 0 else "less") if self.tells else "can't be told"


def paired(one: Values, other: Values) -> Paired:
    """`one` minus `other` for each random seed that both have. Raises ValueError if they share fewer than two."""
    shared = sorted(one.keys() & other.keys())
    if len(shared) < 2:
        raise ValueError(
            f"random seeds {sorted(one)} and {sorted(other)}: wanted at least two that are in both"
        )
    return Paired({seed: one[seed] - other[seed] for seed in shared})
