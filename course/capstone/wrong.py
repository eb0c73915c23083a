"""Four famous mistakes, as functions that raise no error: the culprits of the detective
exercises. Each takes the place of a learner's function; `data_scripts/record_capstone.py` trains with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


def argmax_greedy(table: Tensor) -> Tensor:
    """Step one as most ports have it: each object takes the anchor it overlaps most, whoever else wants it."""
    best, anchor = table.max(dim=1)
    return torch.where(best > 0, anchor, -1)


def one_maximum(offsets: Tensor, logits: Tensor, wanted: Tensor, labels: Tensor, negative: Tensor) -> Tensor:
    """The whole loss, its softmax with one maximum for the whole batch."""
    positive, used = labels > 0, labels.gt(0) | negative
    error = torch.nn.functional.smooth_l1_loss(offsets[positive], wanted[positive], reduction="sum")
    largest = logits.max()
    normaliser = (logits - largest).exp().sum(dim=-1).log() + largest
    own = logits.gather(-1, labels[..., None])[..., 0]
    return (error + (normaliser - own)[used].sum()) / positive.sum().clamp(min=1)


def not_mirrored(boxes: Tensor, width: float) -> Tensor:
    """The image is mirrored, its boxes stay."""
    return boxes.clone()


def not_permuted(x: Tensor, numbers: int) -> Tensor:
    """The heads' channels cut into anchors without being moved to the end."""
    return x.reshape(len(x), -1, numbers)


@dataclass(frozen=True)
class Culprit:
    """A mistake: the function of `my_ssd.py` whose place it takes, and the block that this belongs to."""

    block: str
    replaces: Mapping[str, Callable]


CULPRITS = {
    "argmax": Culprit("matching", {"greedy": argmax_greedy}),
    "one_maximum": Culprit("loss", {"multibox": one_maximum}),
    "not_mirrored": Culprit("boxes of a crop", {"mirrored": not_mirrored}),
    "not_permuted": Culprit("head outputs", {"per_anchor": not_permuted}),
}
