"""What chapter 12 brings along as one's own: the painted zoo in three formats, and boxes of genuine tree crowns."""

import csv
import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

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
    config: RunConfig, found: own.Found, where: Path, out: Path, start: dict[str, Tensor] | None = None
) -> evaluate.Table:
    """Train from nothing or from a state, and judge. A run that is there already is only judged again."""
    parts = [data(found, where, part) for part in ("train", "test")]
    return engine.train(config, *parts, out, resume=True, weights=start)


def started(config: RunConfig) -> tuple[dict[str, Tensor], str]:
    """The recorded mini network's weights for a network with other classes, and what was taken."""
    state, said = published.starting_weights(MINI_RUN, config)
    return state, said.replace(f"{ROOT}/", "")


def load(out: Path) -> tuple[torch.nn.Module, RunConfig]:
    """A trained network, to detect in float32: an exported one computes so, too."""
    model, config, _ = runs.load_run(out)
    return model, dataclasses.replace(config, precision="float32")
