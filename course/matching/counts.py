"""How many anchors an object gets, by its size and shape, and how many objects a rule leaves without one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from course.anchors.coverage import BANDS, BIN
from course.boxes.voc_facts import shapes
from ssdlib import matching
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.box_ops import iou


def anchors_each(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(n, 4) objects, each alone in its image, and (K, 4) anchors, px -> (n,) how many anchors answer for it.

    An object inside the image touches an anchor and so has the one of step one: at least 1, where none reaches 0.5.
    """
    counts = [(iou(part[:, None], anchors) >= matching.THRESHOLD).sum(dim=1) for part in boxes.split(256)]
    return torch.cat(counts).clamp(min=1)


def laid(sizes: Tensor) -> Tensor:
    """(n, 2) widths and heights -> (n, 4) boxes wholly inside the image, spread evenly without random numbers."""
    step = torch.tensor([0.754877666, 0.569840291])  # the golden section's counterpart in two dimensions
    corner = (torch.arange(len(sizes))[:, None] * step + 0.5).frac() * (SSD300_ANCHORS.canvas - sizes)
    return torch.cat([corner, corner + sizes], dim=1)


def voc_by_size(every: int = 20) -> list[tuple[str, float, float, float]]:
    """For each band of √(width · height), px: its name, its share of VOC's objects, anchors for each, its share of
    all positives. One object in `every` is taken, with the size that the genuine annotations give it, to 5 px."""
    table = shapes()
    middle = (torch.arange(len(table)) + 0.5) * BIN
    high, wide = middle.repeat_interleave(len(table)), middle.repeat(len(table))  # of each bin
    sizes = torch.stack([wide, high], dim=1).repeat_interleave(table.flatten(), dim=0)[::every]
    sizes += ((torch.arange(len(sizes)) % 5 - 2) / 5)[:, None] * BIN  # a bin stands for all sizes in it
    counts = anchors_each(laid(sizes), default_boxes()).double()
    size, found = sizes.prod(dim=1).sqrt(), []
    for low, top in zip(BANDS, BANDS[1:], strict=False):
        mine = (size >= low) & (size < top)
        shares = (
            float(mine.double().mean()),
            float(counts[mine].mean()),
            float(counts[mine].sum() / counts.sum()),
        )
        found.append((f"{low} to {top}", *shares))
    return found


def without_an_anchor(boxes: Sequence[Tensor], anchors: Tensor) -> dict[str, int]:
    """Of the objects of several images, (R, 4) in px each: how many there are; how many lose their own anchor to a
    later object if each takes its best one; how many have no anchor at all with the threshold alone."""
    found = {"objects": 0, "overwritten": 0, "below the threshold": 0}
    for own in filter(len, boxes):
        table = matching.overlaps(own, anchors)
        best = table.argmax(dim=1).tolist()
        found["objects"] += len(own)
        found["overwritten"] += sum(anchor in best[i + 1 :] for i, anchor in enumerate(best))
        best, matched = table.max(dim=0)
        served = matched[best >= matching.THRESHOLD].unique()
        found["below the threshold"] += len(own) - len(served)
    return found
