"""The pictures a chapter works on: genuine VOC where it is on disk, else the mini VOC, painted if need be."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ssdlib import box_ops
from ssdlib.data import batches, voc
from ssdlib.model import MEAN, SSD300
from ssdlib.records import Example
from ssdlib.training import runs

ROOT = Path(__file__).parents[2]
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


def numbered(names: list[str]) -> list[str]:
    """Names of objects, told apart where they are the same: "dog", "cow 1", "cow 2"."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(f"{name} {seen[name]}" if names.count(name) > 1 else name)
    return found


def devkit() -> Path:
    """A VOCdevkit folder: what COURSE_VOC names, else genuine VOC under data/, else the mini VOC."""
    if "COURSE_VOC" in os.environ:
        return Path(os.environ["COURSE_VOC"])
    if (ROOT / GENUINE / "VOC2007/ImageSets/Main/test.txt").is_file():
        return ROOT / GENUINE
    return mini_voc()


def mini_voc() -> Path:
    """The mini VOC, painted first if it isn't there; the recorded network has seen nothing else."""
    if not (ROOT / MINI).exists():
        painter = [sys.executable, ROOT / "data_scripts/make_mini_voc.py", "--out", ROOT / MINI]
        done = subprocess.run(painter, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"painting the mini VOC failed: {done.stderr.strip().splitlines()[-1]}")
    return ROOT / MINI


def mini_test_set() -> list[Example]:
    """The 200 test scenes of the mini VOC, also where genuine VOC is on disk."""
    return voc.read_sets(mini_voc(), ["2007-test"])


def recorded_network() -> SSD300:
    """The narrow network of the recorded mini run, in eval mode. Takes none of torch's random numbers."""
    with torch.random.fork_rng(devices=[]):
        model, _, _ = runs.load_run(ROOT / "chapters/recordings/mini")
    return model


def test_set() -> list[Example]:
    """All examples of VOC2007 test."""
    return voc.read_sets(devkit(), ["2007-test"])


test_set.__test__ = False  # a name that pytest would take for a test


def pick(objects: int, skip: int = 0) -> Example:
    """The first test picture with exactly so many objects, none difficult and none on top of another; `skip` passes
    over some of them. Where there are too few such pictures, those come next whose objects overlap least."""
    found = [e for e in test_set() if len(e.labels) == objects and not e.difficult.any()]
    found.sort(key=_crowding)  # keeps the order among equals
    if len(found) <= skip:
        raise LookupError(
            f"{devkit()}: {len(found)} test pictures with exactly {objects} objects, none difficult; "
            f"wanted {skip + 1}"
        )
    return found[skip]


def read_or_grey(example: Example) -> Tensor:
    """The photograph or scene as (H, W, 3) uint8, or a grey one of its size where only annotations are on disk."""
    if example.path.is_file():
        return voc.read_photograph(example.path)
    return torch.full((example.size[1], example.size[0], 3), 225, dtype=torch.uint8)


def _crowding(example: Example) -> float:
    """The largest IoU of two objects; up to .02 counts as none."""
    overlap = box_ops.iou(example.boxes[:, None], example.boxes).fill_diagonal_(0)
    return float(overlap.max()) if (overlap >= 0.02).any() else 0.0


def scene(example: Example) -> Scene:
    """An example on the canvas, only resized."""
    batch = batches.make_batch([example], [voc.read_photograph(example.path)])
    pixels = (batch.images[0].permute(1, 2, 0) + torch.tensor(MEAN)).round().clamp(0, 255).to(torch.uint8)
    return Scene(example, pixels, batch.images, batch.boxes[0], batch.labels[0])
