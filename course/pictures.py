"""The pictures a chapter works on: genuine VOC where it is on disk, else the mini VOC, painted if need be."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssdlib import batches, boxes, voc
from ssdlib.model import MEAN
from ssdlib.records import Example

ROOT = Path(__file__).parents[1]
GENUINE, MINI = Path("data/VOCdevkit"), Path("data/mini/VOCdevkit")


@dataclass(frozen=True)
class Scene:
    """A picture squeezed to the canvas, with its objects in px of the canvas."""

    example: Example
    pixels: Tensor  # (300, 300, 3) uint8
    image: Tensor  # (1, 3, 300, 300) float32, what the network sees
    boxes: Tensor  # (R, 4) float32, px of the canvas
    labels: Tensor  # (R,) int64

    @property
    def names(self) -> list[str]:
        return [voc.CLASSES[label] for label in self.labels.tolist()]


def devkit() -> Path:
    """A VOCdevkit folder: what COURSE_VOC names, else genuine VOC under data/, else the mini VOC."""
    if "COURSE_VOC" in os.environ:
        return Path(os.environ["COURSE_VOC"])
    if (ROOT / GENUINE / "VOC2007/ImageSets/Main/test.txt").is_file():
        return ROOT / GENUINE
    if not (ROOT / MINI).exists():
        painter = [sys.executable, ROOT / "data_scripts/make_mini_voc.py", "--out", ROOT / MINI]
        done = subprocess.run(painter, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"painting the mini VOC failed: {done.stderr.strip().splitlines()[-1]}")
    return ROOT / MINI


def is_genuine() -> bool:
    """Whether the pictures are photographs rather than painted scenes."""
    return devkit().parent.name != "mini"


def test_set() -> list[Example]:
    """All examples of VOC2007 test."""
    return voc.read_sets(devkit(), ["2007-test"])


test_set.__test__ = False  # a name that pytest would take for a test


def pick(objects: int, skip: int = 0) -> Example:
    """The first test picture with exactly so many objects, none difficult and none on top of another; `skip` passes
    over some of them."""
    found = [e for e in test_set() if len(e.labels) == objects and not e.difficult.any() and _apart(e)]
    return found[skip]


def _apart(example: Example) -> bool:
    return bool((boxes.iou(example.boxes[:, None], example.boxes).fill_diagonal_(0) < 0.02).all())


def scene(example: Example) -> Scene:
    """An example on the canvas, only resized."""
    batch = batches.make_batch([example], [voc.read_photograph(example.path)])
    pixels = (batch.images[0].permute(1, 2, 0) + torch.tensor(MEAN)).round().clamp(0, 255).to(torch.uint8)
    return Scene(example, pixels, batch.images, batch.boxes[0], batch.labels[0])
