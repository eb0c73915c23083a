"""The recorded starts of chapter 07: read, told apart, counted. `data_scripts/restarts.py` made them."""

import functools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from course.kit.pictures import ROOT
from ssdlib.loss import NEGATIVE_RATIO
from ssdlib.records import CLASSES

FOLDER = ROOT / "chapters/recordings/restarts"
ARMS = {
    "paper": "SGD, learning rate 0.001",
    "safe": "SGD, learning rate 0.003",
    "near": "SGD, learning rate 0.01",
    "edge": "SGD, learning rate 0.012",
    "beyond": "SGD, learning rate 0.02",
    "warmup": "SGD, learning rate 0.02, warm-up of 200 steps",
    "clipped": "SGD, learning rate 0.02, gradient clipped to length 10",
    "batch_norm": "SGD, learning rate 0.02, batch norm",
    "adam": "Adam, learning rate 0.001",
    "pixels": "SGD, learning rate 0.001, pixels from 0 to 255",
    "prior": "SGD, learning rate 0.001, background known",
    "no_momentum": "SGD without momentum, learning rate 0.02",
}
WINDOW = 10  # steps that a mean goes over: one batch is easier than the next
LEFT = 0.8  # of the level of no opinion: below it a network has left the level

# What the confidence part of the loss is while a network treats all anchors alike
NO_OPINION = (1 + NEGATIVE_RATIO) * math.log(len(CLASSES))  # all classes equally likely
BACKGROUND = NEGATIVE_RATIO / (1 + NEGATIVE_RATIO)  # of the anchors that count
BACKGROUND_ONLY = -NEGATIVE_RATIO * math.log(BACKGROUND) - math.log((1 - BACKGROUND) / (len(CLASSES) - 1))


@dataclass(frozen=True)
class Start:
    """One recorded start: T steps, and how it broke if it did."""

    arm: str
    seed: int
    head: dict  # settings, commit, date, device, versions
    values: dict[str, Tensor]  # column -> (T,) float64
    detections: dict[int, list[list[float]]]  # step -> label, score, corners in px of the input, best first
    by_map: dict[
        int, dict[str, list[float]]
    ]  # step -> positives, negatives, background logit of the six feature maps
    broke: dict | None  # {"tensor": what wasn't finite first, ...}

    def __getitem__(self, column: str) -> Tensor:
        return self.values[column]

    def __len__(self) -> int:
        return len(self.values["step"])

    @property
    def multibox(self) -> Tensor:
        return self["localisation"] + self["confidence"]

    @property
    def left(self) -> int | None:
        """How many steps it took to leave the level of no opinion for good; None if it never did."""
        return first_below(self["confidence"], LEFT * NO_OPINION)

    def alarm(self, share: float = 0.5) -> int | None:
        """The first step that moved some kernel by more than this share of its length; None if none did."""
        beyond = (self["update_ratio"] > share).nonzero()[:, 0]
        return int(beyond[0]) if len(beyond) else None

    def seen_at(self, step: int) -> list[list[float]]:
        """What was detected in the watched scene at the last look up to `step`."""
        return self.detections[max(s for s in self.detections if s <= max(step, 0))]


def first_below(values: Tensor, level: float, window: int = WINDOW) -> int | None:
    """The first step from which the mean of `window` steps is below `level` and stays there; None if there's none."""
    means = running_mean(values, window)
    above = (means >= level).nonzero()[:, 0]
    first = int(above[-1]) + 1 if len(above) else 0
    return None if first >= len(means) else first


def running_mean(values: Tensor, window: int = WINDOW) -> Tensor:
    """(T,) -> (T - window + 1,), the mean of each step and the `window` - 1 after it."""
    return values.unfold(0, window, 1).mean(dim=1) if len(values) >= window else values[:0]


def read_start(path: Path) -> Start:
    """One file of a recording."""
    head, *lines = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    table = torch.tensor([line["row"] for line in lines if "row" in line], dtype=torch.float64)
    table = table.reshape(-1, len(head["columns"]))
    looks = [line for line in lines if "detections" in line]
    return Start(
        head["arm"],
        head["seed"],
        head,
        dict(zip(head["columns"], table.T, strict=True)),
        {line["step"]: line["detections"] for line in looks},
        {line["step"]: line["by_map"] for line in looks if "by_map" in line},
        next((line["broke"] for line in lines if "broke" in line), None),
    )


@functools.cache
def arm(name: str, folder: Path = FOLDER) -> tuple[Start, ...]:
    """All recorded starts of an arm, by random seed."""
    found = sorted((folder / name).glob("*.jsonl"), key=lambda path: int(path.stem))
    if not found:
        raise FileNotFoundError(f"{folder / name}: no recorded starts; wanted some SEED.jsonl")
    return tuple(map(read_start, found))


def made(starts: Sequence[Start]) -> str:
    """Where and when some starts were recorded, in a line."""
    heads = [start.head for start in starts]
    commits, dates, devices = (sorted({h[key] for h in heads}) for key in ("commit", "date", "device"))
    made = (
        f"recorded on {', '.join(dates)}, {', '.join(devices)}, commit {', '.join(c[:10] for c in commits)}"
    )
    return made.replace(" 1 threads", " 1 thread")  # as the recordings have it


@dataclass(frozen=True)
class Summary:
    """What the starts of an arm came to. The lists are sorted and leave out the starts that broke."""

    arm: str
    starts: int
    broke: list[int]  # after how many steps
    left: list[float]  # the level of no opinion, after how many steps; infinite if never
    confidence: list[float]  # mean of ten steps
    dead: list[float]  # share of the body's channels, mean of ten steps

    def cells(self) -> tuple[str, str, str, str, str]:
        """A row of a table: the arm, how many broke, and from the least to the largest when the first level was left,
        the confidence loss and the dead channels."""

        def between(values: Sequence[float], form: str) -> str:
            return f"{values[0]:{form}} to {values[-1]:{form}}" if values else "–"

        left = [x for x in self.left if x < math.inf]
        never = f", {len(self.left) - len(left)} never" if len(left) < len(self.left) else ""
        broke = f"{len(self.broke)} of {self.starts}"
        found = (between(left, ".0f") + never, between(self.confidence, ".2f"), between(self.dead, ".0%"))
        return ARMS[self.arm], broke, *found


def summary(name: str, at: int = 190) -> Summary:
    """An arm in numbers; the means are those of ten steps from step `at` on."""
    found = arm(name)
    alive = [s for s in found if s.broke is None]
    return Summary(
        name,
        len(found),
        sorted(len(s) for s in found if s.broke),
        sorted(math.inf if s.left is None else float(s.left) for s in alive),
        sorted(float(s["confidence"][at : at + WINDOW].mean()) for s in alive),
        sorted(float(s["dead"][at : at + WINDOW].mean()) for s in alive),
    )


def linked(start: Start, after: int = 20, around: int = 21) -> float:
    """Whether batches with few positives have long gradients: the correlation of the number of positives with the
    logarithm of the gradient's length, taken relative to the median of the `around` steps around it."""
    gradient = start["gradient"][after:].log()
    padded = torch.nn.functional.pad(gradient[None], (around // 2,) * 2, mode="replicate")[0]
    relative = gradient - padded.unfold(0, around, 1).median(dim=1)[0]
    return float(torch.corrcoef(torch.stack([relative, start["positives"][after:]]))[0, 1])
