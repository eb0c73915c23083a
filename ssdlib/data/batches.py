"""Which photographs make up step t, and the batch itself.

A batch is a pure function of (seed, step): no random state is kept. Therefore a run that was
killed resumes with the very same batches, and several processes can each make their share of one.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ssdlib.data import augment, packed
from ssdlib.data.store import Jpegs, Store
from ssdlib.matching import make_targets
from ssdlib.records import Batch, Example, Targets

ORDER, AUGMENTATION = 0, 1  # streams of random numbers that must not depend on each other


class BatchMaker:
    """Training batches of a dataset: `maker(step)`, the same one at every call.

    `share` is (rank, processes): this process makes only its part of the global batch of `batch_size`. With `anchors`
    (K, 4) px on the CPU a batch contains its targets.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        photographs: Store | Jpegs,
        batch_size: int,
        seed: int = 0,
        steps: Sequence[str] = augment.STEPS,
        difficult: bool = True,
        device: torch.device | str = "cpu",
        share: tuple[int, int] = (0, 1),
        rule: str = "caffe",
        anchors: Tensor | None = None,
    ):
        if batch_size % share[1]:
            raise ValueError(f"a batch of {batch_size} can't be divided among {share[1]} processes")
        self.examples = [e if difficult else without_difficult(e) for e in examples]
        self.photographs, self.batch_size, self.seed = photographs, batch_size, seed
        self.steps, self.device, self.share, self.rule = tuple(steps), device, share, rule
        self.anchors = anchors

    def __call__(self, step: int) -> Batch:
        shown, random_numbers = self.chosen(step)
        return make_batch(
            [self.examples[i] for i in shown],
            [self.photographs[i] for i in shown],
            random_numbers,
            self.steps,
            self.device,
            self.rule,
            self.anchors,
        )

    def chosen(self, step: int) -> tuple[list[int], Tensor]:
        """Which photographs a step shows, and the random numbers (B, n) that they are augmented with."""
        rank, processes = self.share
        size = self.batch_size // processes
        mine = slice(rank * size, (rank + 1) * size)
        shown = shuffled(len(self.examples), step * self.batch_size, self.batch_size, self.seed)
        source = generator(self.seed, AUGMENTATION, step)
        return shown[mine], augment.uniforms(self.batch_size, source, self.rule)[mine]


def make_batch(
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
    random_numbers: Tensor | None = None,
    steps: Sequence[str] = (),
    device: torch.device | str = "cpu",
    rule: str = "caffe",
    anchors: Tensor | None = None,
) -> Batch:
    """B examples and their photographs (H, W, 3) uint8 on the input; only resized unless augmentation `steps` are
    named, which need `random_numbers` (B, n) from `augment.uniforms`.

    -> images (B, 3, 300, 300) float32 on `device`, boxes (B, R, 4) px of them and labels (B, R), R that of the
    fullest image, empty slots 0; targets where there are `anchors`.
    """
    sizes = torch.tensor([e.size for e in examples])
    drawn = augment.draw(sizes, *padded(examples), random_numbers, steps, rule)
    images = augment.warp(photographs, drawn, device)
    targets = None if anchors is None else make_targets(drawn.boxes, drawn.labels, anchors)
    if images.device.type == "cpu":
        return Batch(images, drawn.boxes, drawn.labels, targets)
    (boxes, labels, *goal), _ = packed.send(
        [drawn.boxes, drawn.labels, *vars(targets or {}).values()], device
    )
    return Batch(images, boxes, labels, Targets(*goal) if goal else None)


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Boxes (B, R, 4) and labels (B, R) of examples, R that of the fullest; empty slots are zeros."""
    most = max((len(e.labels) for e in examples), default=0)
    boxes = torch.zeros(len(examples), most, 4)
    labels = torch.zeros(len(examples), most, dtype=torch.int64)
    if most:
        counts = torch.tensor([len(e.labels) for e in examples])
        there = torch.arange(most) < counts[:, None]
        boxes[there] = torch.cat([e.boxes for e in examples])
        labels[there] = torch.cat([e.labels for e in examples])
    return boxes, labels


def in_order(
    examples: Sequence[Example],
    photographs: Store | Jpegs,
    size: int,
    device: torch.device | str = "cpu",
    which: Sequence[int] | None = None,
) -> Iterator[Batch]:
    """Examples one after the other, only resized, `size` at a time: all of them, or those named in `which`."""
    which = range(len(examples)) if which is None else which
    for start in range(0, len(which), size):
        chosen = which[start : start + size]
        yield make_batch([examples[i] for i in chosen], [photographs[i] for i in chosen], device=device)


def shuffled(count: int, start: int, length: int, seed: int) -> list[int]:
    """Positions start ... start + length of an endless sequence of epochs, each a new order of 0 ... count - 1."""
    indices, position = [], start
    while len(indices) < length:
        epoch, offset = divmod(position, count)
        order = torch.randperm(count, generator=generator(seed, ORDER, epoch))
        indices += order[offset : offset + length - len(indices)].tolist()
        position = start + len(indices)
    return indices


def fingerprint(examples: Sequence[Example]) -> str:
    """Changes when an image comes, goes or moves in the order, or when its id, its size, a label or a box changes:
    what a run was trained on. The pixels have no part in it, nor has which objects are difficult."""
    state = hashlib.sha256()
    for e in examples:
        text = f"{e.image_id} {e.size} {e.labels.tolist()} {e.boxes.tolist()}\n"
        state.update(text.encode(errors="surrogateescape"))  # names of files needn't be UTF-8
    return state.hexdigest()


def generator(*key: int) -> torch.Generator:
    """A source of random numbers for this key and no other."""
    state = np.random.SeedSequence(key).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


def without_difficult(example: Example) -> Example:
    easy = ~example.difficult
    return replace(
        example, boxes=example.boxes[easy], labels=example.labels[easy], difficult=example.difficult[easy]
    )
