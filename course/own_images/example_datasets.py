"""What chapter 12 brings along as one's own: the painted zoo in three formats, and boxes of genuine tree crowns."""

import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course.kit import places
from course.kit.interruptible import Attempt
from course.kit.pictures import ROOT
from ssdlib import evaluate
from ssdlib.data import own
from ssdlib.data.store import beside, open_store
from ssdlib.interop import published
from ssdlib.records import Detections, Example
from ssdlib.training import engine, inference, runs
from ssdlib.training.runs import RECIPES, RunConfig

CROWNS = Path(__file__).parents[1] / "facts/crowns_boxes.csv"
MINI_RUN = ROOT / "chapters/recordings/mini"


def folder(kind: str = "xml") -> Path:
    """The zoo as "xml", "coco" or "yolo", painted first if it isn't there."""
    out = ROOT / "data/zoo" / kind
    if not out.exists():
        painter = [sys.executable, ROOT / "data_scripts/make_zoo.py", "--out", out.parent]
        done = subprocess.run(painter, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"painting the zoo failed: {done.stderr.strip().splitlines()[-1]}")
    return out


def compared(one: own.Found, other: own.Found) -> tuple[int, float]:
    """How many images two readings have in common, and by how many px their boxes differ at most.

    Raises ValueError if an image has other classes in the one than in the other."""
    there, most = {e.image_id: e for e in other.examples}, 0.0
    pairs = [(e, there[e.image_id]) for e in one.examples if e.image_id in there]
    for a, b in pairs:
        if not torch.equal(a.labels, b.labels):
            raise ValueError(f"{a.image_id}: classes {a.labels.tolist()} and {b.labels.tolist()}")
        if len(a.boxes):
            most = max(most, float((a.boxes - b.boxes).abs().max()))
    return len(pairs), most


def agree(detections: Detections, boxes: np.ndarray) -> bool:
    """Whether an exported network's boxes (n, 4) are those of the detections, to a tenth of a pixel."""
    return len(detections) == len(boxes) and bool(
        torch.allclose(detections.boxes, torch.from_numpy(boxes), rtol=0, atol=0.1)
    )


def crowns() -> list[Example]:
    """Size and boxes of four aerial photographs of trees; the photographs themselves are not here."""
    with open(CROWNS, encoding="utf-8", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    found = []
    for number in sorted({row["picture"] for row in rows}):
        mine = [row for row in rows if row["picture"] == number]
        boxes = torch.tensor([[row[side] for side in ("xmin", "ymin", "xmax", "ymax")] for row in mine])
        labels, hard = torch.ones(len(mine), dtype=torch.int64), torch.zeros(len(mine), dtype=torch.bool)
        size = int(mine[0]["width"]), int(mine[0]["height"])
        found.append(Example(f"{number:g}", Path(), size, boxes, labels, hard))
    return found


def recipe(found: own.Found, steps: int, **changes: object) -> RunConfig:
    """Settings to train the small network on a folder of one's own for a few steps."""
    settings = dict(
        classes=found.classes,
        train_sets=("train",),
        test_sets=("test",),
        steps=steps,
        learning_rate=0.01,
        drops=(steps * 7 // 10, steps * 9 // 10),
        warmup=steps // 10,
        val_every=0,
        checkpoint_every=10 * steps,
    )
    return dataclasses.replace(RECIPES["mini"], **(settings | changes))


def data(found: own.Found, where: Path, part: str) -> inference.Data:
    """Examples of a part and their photographs, decoded once beside the folder `where`."""
    examples = found.part(part)
    return examples, open_store(beside(where) / part, examples)


def train(
    config: RunConfig,
    found: own.Found,
    where: Path,
    out: Path,
    start: dict[str, Tensor] | None = None,
    bar: Callable[..., Any] | None = None,
) -> evaluate.Table:
    """Train from nothing or from a state, and judge. A run that is there already is only judged again."""
    parts = [data(found, where, part) for part in ("train", "test")]
    return engine.train(config, *parts, out, resume=True, weights=start, bar=bar)


def table_of(attempt: Attempt, say: Callable[[str], Any] = print) -> evaluate.Table:
    """The AP of a training if it is finished; else the table that was recorded of the same training, without curves,
    and that is said."""
    if attempt.table is not None:
        return attempt.table
    facts = json.loads((attempt.recorded / "recording.json").read_text("utf-8"))
    with open(attempt.recorded / "ap.csv", encoding="utf-8", newline="") as file:
        ap = {row["class"]: float(row["ap"]) for row in csv.DictReader(file)}
    name = attempt.recorded.relative_to(places.recording()).as_posix()
    say(
        f"{attempt.said or 'Your run is not finished.'}\nUntil it is finished, what follows shows the recorded "
        f"table, recordings/{name} ({facts['device']}, {facts['date']}, commit {facts['commit'][:7]}, random seed "
        f"{facts['config']['seed']}, torch {facts['versions']['torch']})."
    )
    return evaluate.Table("11point", {key: value for key, value in ap.items() if key != "mean"}, {})


def started(config: RunConfig) -> tuple[dict[str, Tensor], str]:
    """The recorded mini network's weights for a network with other classes, and what was taken."""
    state, said = published.starting_weights(MINI_RUN, config)
    return state, said.replace(f"{ROOT}/", "")


def load(out: Path, say: Callable[[str], Any] = print) -> tuple[torch.nn.Module, RunConfig]:
    """A trained network, to detect in float32: an exported one computes so, too. Where `out` has no checkpoint, it is
    the recorded network of the mini VOC, and that is said."""
    if not (Path(out) / runs.CHECKPOINT).exists():
        say(
            "Your fine-tuned network isn't finished, and its weights aren't recorded. Until it is finished, what "
            "follows uses the recorded network of the mini VOC. That one knows none of the six animals, so it calls "
            "them by names of VOC's classes."
        )
        out = MINI_RUN
    model, config, _ = runs.load_run(out)
    return model, dataclasses.replace(config, precision="float32")
