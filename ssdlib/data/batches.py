"""Which photographs make up step t, and the batch itself.

A batch is a pure function of (seed, step): no random state is carried along. That is why a run that was
killed can go on with the very same batches, and why several processes can each make their share of one.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ssdlib.data import augment
from ssdlib.data.store import Jpegs, Store
from ssdlib.records import Batch, Example

ORDER, AUGMENTATION = 0, 1  # streams of random numbers that must not depend on each other


class BatchMaker:
    """Training batches of a data set: `maker(step)`, the same one each time it is asked for.

    `share` is (rank, processes): this process makes only its part of the global batch of `batch_size`.
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
    ):
        if batch_size % share[1]:
            raise ValueError(f"a batch of {batch_size} can't be shared by {share[1]} processes")
        self.examples = [e if difficult else without_difficult(e) for e in examples]
        self.photographs, self.batch_size, self.seed = photographs, batch_size, seed
        self.steps, self.device, self.share, self.rule = tuple(steps), device, share, rule

    def __call__(self, step: int) -> Batch:
        rank, processes = self.share
        size = self.batch_size // processes
        mine = slice(rank * size, (rank + 1) * size)
        indices = shuffled(len(self.examples), step * self.batch_size, self.batch_size, self.seed)[mine]
        random_numbers = augment.uniforms(
            self.batch_size, generator(self.seed, AUGMENTATION, step), self.rule
        )[mine]
        return make_batch(
            [self.examples[i] for i in indices],
            [self.photographs[i] for i in indices],
            random_numbers,
            self.steps,
            self.device,
            self.rule,
        )

    def ahead(self, first: int, last: int) -> Iterator[Batch]:
        """Batches of steps first ... last - 1, each made in a thread while the one before is used."""
        make = self._beside() if torch.device(self.device).type == "cuda" else self
        with ThreadPoolExecutor(max_workers=1) as pool:
            future = pool.submit(make, first) if first < last else None
            for step in range(first, last):
                batch = future.result()
                future = pool.submit(make, step + 1) if step + 1 < last else None
                yield batch

    def _beside(self) -> Callable[[int], Batch]:
        """The same batches from a queue of the GPU's own: in the one queue they would wait for the training step
        before them, and the next step for them."""
        using, making = torch.cuda.current_stream(self.device), torch.cuda.Stream(self.device)

        def make(step: int) -> Batch:
            with torch.cuda.stream(making):
                batch = self(step)
            making.synchronize()  # this thread may wait
            for tensor in (batch.images, batch.boxes, batch.labels):
                tensor.record_stream(using)  # its memory is free again when the step is done, not before
            return batch

        return make


def make_batch(
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
    random_numbers: Tensor | None = None,
    steps: Sequence[str] = (),
    device: torch.device | str = "cpu",
    rule: str = "caffe",
) -> Batch:
    """B examples and their photographs (H, W, 3) uint8 on the canvas; only resized unless augmentation `steps` are
    named, which need `random_numbers` (B, n) from `augment.uniforms`.

    -> images (B, 3, 300, 300) float32 on `device`, boxes (B, R, 4) px of them and labels (B, R), R that of the
    fullest image, empty slots 0.
    """
    sizes = torch.tensor([e.size for e in examples])
    drawn = augment.draw(sizes, *padded(examples), random_numbers, steps, rule)
    images = augment.warp(photographs, drawn, device)
    return Batch(images, drawn.boxes.to(device), drawn.labels.to(device))


def padded(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Boxes (B, R, 4) and labels (B, R) of examples, R that of the fullest; empty slots are zeros."""
    most = max((len(e.labels) for e in examples), default=0)
    boxes = torch.zeros(len(examples), most, 4)
    labels = torch.zeros(len(examples), most, dtype=torch.int64)
    for i, example in enumerate(examples):
        boxes[i, : len(example.labels)] = example.boxes
        labels[i, : len(example.labels)] = example.labels
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
    """Positions start ... start + length of an endless row of epochs, each a new order of 0 ... count - 1."""
    indices, position = [], start
    while len(indices) < length:
        epoch, offset = divmod(position, count)
        order = torch.randperm(count, generator=generator(seed, ORDER, epoch))
        indices += order[offset : offset + length - len(indices)].tolist()
        position = start + len(indices)
    return indices


def fingerprint(examples: Sequence[Example]) -> str:
    """Changes when a photograph, its order, its size or a box changes: what a run was trained on."""
    state = hashlib.sha256()
    for e in examples:
        state.update(f"{e.image_id} {e.size} {e.labels.tolist()} {e.boxes.tolist()}\n".encode())
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
