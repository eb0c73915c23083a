"""How much of Pascal VOC a set of anchors covers: from the sizes of its objects, without a photograph.

`facts/voc0712_shapes.csv` holds how many objects of VOC 07+12 have which width and height, but not where they lie.
So each size is laid at places spread evenly over the image, and the best IoU with any anchor is taken there. The
numbers don't depend on chance, and they take a few milliseconds: enough to follow a slider.
"""

import torch
from torch import Tensor

from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec
from ssdlib.matching import THRESHOLD

BINS, BIN = 60, 5.0  # widths and heights: 60 bins of 5 px of the input
PLACES = 7  # along x and, independently, along y
BANDS = (0, 20, 40, 80, 160, 300)  # px, bounds of √(width · height)


def placed(canvas: float, places: int = PLACES) -> tuple[Tensor, Tensor]:
    """Sizes and centres of what stands for the objects of each bin along one axis, px: two (60, places) tensors.

    The k-th of them has a size k + ½ parts into its bin, and lies (3k + 1 mod places) + ½ parts of the way from
    one border of the image to the other: sizes and places are both spread evenly, and in different orders.
    """
    k = torch.arange(places)
    sizes = (torch.arange(BINS)[:, None] + (k + 0.5) / places) * BIN
    along = ((3 * k + 1) % places + 0.5) / places
    return sizes, sizes / 2 + along * (canvas - sizes)


def covered(spec: AnchorSpec = SSD300_ANCHORS, threshold: float = THRESHOLD, places: int = PLACES) -> Tensor:
    """(60, 60) share of the places at which an object of this height (row) and width (column) has an anchor with
    at least this IoU.

    Of all anchors of one shape the nearest is the best, along x and along y. So one anchor for each of the spec's
    shapes is enough, not 8,732.
    """
    sizes, centres = placed(spec.canvas, places)
    objects = sizes.reshape(-1)
    best = torch.full((len(objects), len(objects)), -torch.inf)
    for i, (cells, stride) in enumerate(zip(spec.feature_maps, spec.strides, strict=True)):
        nearest = ((centres / stride).floor().clamp(0, cells - 1) + 0.5) * stride
        away = (centres - nearest).abs().reshape(-1)
        for width, height in spec.shapes(i):
            # IoU >= t means: intersection · (1 + t) / t - area of the anchor >= area of the object
            high = _overlap(objects, height, away) * ((1 + threshold) / threshold)
            both = high[:, None] * _overlap(objects, width, away)
            torch.maximum(best, both.sub_(width * height), out=best)
    hit = best >= objects[:, None] * objects
    return hit.reshape(BINS, places, BINS, places).float().mean(dim=(1, 3))


def coverage(spec: AnchorSpec, table: Tensor, threshold: float = THRESHOLD) -> float:
    """Share of the objects of a (60, 60) table that some anchor covers with at least this IoU, 0..1.

    What an object's place does is averaged over, so this is an estimate. A table without objects gives 0.
    """
    return float((covered(spec, threshold) * table).sum() / table.sum().clamp(min=1))


def by_size(share: Tensor, table: Tensor) -> list[tuple[int, float]]:
    """For each band of sizes √(width · height): how many objects, and which share of them is covered (0..1)."""
    middle = (torch.arange(BINS) + 0.5) * BIN
    size = (middle[:, None] * middle).sqrt()
    found = []
    for low, high in zip(BANDS, BANDS[1:], strict=False):
        mine = table * ((size >= low) & (size < high))
        found.append((int(mine.sum()), float((mine * share).sum() / mine.sum().clamp(min=1))))
    return found


def _overlap(sizes: Tensor, length: float, away: Tensor) -> Tensor:
    """Length that two intervals share: of `sizes`, of `length`, centres `away` from each other."""
    return torch.minimum((sizes + length) / 2 - away, sizes.clamp(max=length)).clamp_(min=0)
