"""From a JPEG, or from the store, to an augmented 300 x 300 tensor, on one core, beside torchvision's SSD recipe.

    python benchmarks/data_path.py [--data DEVKIT --sets 2007-trainval]

The peer is the recipe that torchvision's reference training uses for SSD: RandomPhotometricDistort, RandomZoomOut,
RandomIoUCrop, RandomHorizontalFlip of transforms.v2, then Resize, and the same numbers at the end (float32, minus the
mean). It is measured on tensors and on PIL images, and the faster one counts.
"""

import tempfile
from pathlib import Path

import inputs
import timing
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from ssdlib.data import augment, store
from ssdlib.data.batches import BatchMaker, make_batch
from ssdlib.model import MEAN
from ssdlib.records import Example

BATCH = 32


def recipe(on: str, chance: bool = True) -> v2.Compose:
    """torchvision's steps for SSD on "tensor" or "pil"; without random steps only resizing and normalisation."""
    steps = [
        v2.RandomPhotometricDistort(),
        v2.RandomZoomOut(fill=dict.fromkeys([tv_tensors.Image, Image.Image], MEAN) | {"others": 0}),
        v2.RandomIoUCrop(),
        v2.RandomHorizontalFlip(),
    ]
    # antialias would smooth before a reduction; the original doesn't, and neither does ours
    ends = [
        v2.Resize((300, 300), antialias=False),
        v2.SanitizeBoundingBoxes(),
        v2.ToImage(),
        v2.ToDtype(torch.float32),
    ]
    begins = [v2.ToImage()] if on == "tensor" else []
    return v2.Compose(begins + (steps if chance else []) + ends + [v2.Normalize(MEAN, [1.0, 1.0, 1.0])])


def by_torchvision(examples: list[Example], transform: v2.Compose, decoded: list[Image.Image] | None = None):
    """All examples, one after the other."""

    def work() -> list[Tensor]:
        images = []
        for i, example in enumerate(examples):
            image = decoded[i] if decoded else Image.open(example.path).convert("RGB")
            width, height = example.size
            boxes = tv_tensors.BoundingBoxes(example.boxes, format="XYXY", canvas_size=(height, width))
            images.append(transform(image, {"boxes": boxes, "labels": example.labels})[0])
        return images

    return work


def by_ours(maker: BatchMaker, batches: int):
    steps = iter(range(10**9))
    return lambda: [maker(next(steps)) for _ in range(batches)]


def resized_alike(examples: list[Example], photographs: store.Jpegs) -> str:
    """The difference in grey levels, away from the border: without random steps both should give the same image."""
    few = examples[:4]
    ours = make_batch(few, [photographs[i] for i in range(len(few))]).images
    theirs = torch.stack(by_torchvision(few, recipe("tensor", chance=False))())
    return timing.agree("resized only, grey levels", float((ours - theirs).abs().max()), 1.01)


def main() -> None:
    given = timing.arguments(
        __doc__,
        7,
        threads=1,
        data=dict(type=Path, default=timing.MINI, help="a VOCdevkit folder (the mini VOC)"),
        sets=dict(nargs="+", default=["2007-trainval"]),
        images=dict(type=int, default=64, help="photographs used"),
    )
    count = 4 if given.quick else given.images
    examples = inputs.painted(given.data, given.sets, count)
    jpegs = store.Jpegs(examples)
    timing.say(resized_alike(examples, jpegs) + " Random draws are compared by the tests, not here.\n")
    batch = min(BATCH, len(examples))
    batches = max(1, len(examples) // batch)
    per = batch * batches
    mine = examples[:per]
    decoded = [Image.fromarray(jpegs[i].numpy()) for i in range(per)]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kept = store.open_store(Path(folder) / "store", examples)
        for what, photographs, pictures, goal in (
            ("JPEG to augmented tensor", jpegs, None, "at most 3.6 ms"),
            ("store (peer: decoded images) to augmented tensor", kept, decoded, "at most 2.2 ms"),
        ):
            ours = by_ours(BatchMaker(examples, photographs, batch, steps=augment.STEPS), batches)
            peers = [by_torchvision(mine, recipe(on), pictures) for on in ("tensor", "pil")]
            faster = min((timing.took(peer), place) for place, peer in enumerate(peers))[1]
            times = timing.in_turn(ours, peers[faster], given.rounds, per=per / 1000)
            name = f"{what}, an image (peer on {('tensors', 'PIL')[faster]})"
            rows.append(timing.Row(name, *times, goal, "ms"))
    pixels = sum(e.size[0] * e.size[1] for e in examples) / len(examples)
    size = f"{len(examples)} photographs of {pixels / 1000:.0f} kilopixels on average"
    timing.say(timing.table(f"Data path, {timing.threads(given.threads)}; {size}", rows))


if __name__ == "__main__":
    main()
