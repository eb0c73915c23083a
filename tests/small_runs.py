"""A tiny run and painted photographs for tests that train."""

import torch

from ssdlib.records import Example
from ssdlib.training import runs

TINY = runs.RunConfig(
    train_sets=("2007-trainval",),
    width=1 / 16,
    batch_norm=True,
    strided_stem=True,
    steps=6,
    batch_size=2,
    learning_rate=0.01,
    drops=(4,),
    precision="float32",
    log_every=2,
    val_every=3,
    map_every=0,
    checkpoint_every=2,
)


def painted():
    """Eight painted photographs, the last one without objects, as (examples, photographs)."""
    chance = torch.Generator().manual_seed(0)
    examples, photographs = [], []
    for i in range(8):
        photograph = torch.full((150, 200, 3), 90, dtype=torch.uint8)
        boxes = torch.tensor([[30.0, 20, 110, 120], [120, 40, 180, 140]])[: 0 if i == 7 else 1 + i % 2]
        labels = 1 + torch.randint(20, (len(boxes),), generator=chance)
        for box, label in zip(boxes.int().tolist(), labels.tolist(), strict=True):
            colour = torch.tensor([255 * (label % 3) // 2, 255 * (label % 5) // 4, 12 * label])
            photograph[box[1] : box[3], box[0] : box[2]] = colour.to(torch.uint8)
        nothing_hard = torch.zeros(len(boxes), dtype=torch.bool)
        examples.append(Example(f"{i:06d}", None, (200, 150), boxes, labels, nothing_hard))
        photographs.append(photograph)
    return examples, photographs


def weights_of(out):
    return torch.load(out / runs.CHECKPOINT, weights_only=True)


def same(a, b):
    """Equal to the last bit, through dicts, lists and tensors."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b
