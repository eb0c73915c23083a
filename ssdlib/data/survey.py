"""Boxes under the anchors: which objects of a dataset the anchors cover, before anything is trained.

An object is *covered* if some anchor overlaps it by 0.5 or more: then step two of matching gives it anchors, too. The
others get one anchor each, by step one, with whatever overlap it has. All sizes are those on the input, to which
every image is stretched.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes
from ssdlib.matching import THRESHOLD
from ssdlib.records import Example

BANDS = (0, 15, 30, 60, 120, 300)  # px of the input, bounds of the root of the area
# first_percent, lowest and highest percent of the others: the paper's for VOC, the paper's for COCO, smaller ones
TRIED = ((10, 20, 90), (7, 15, 90), (5, 12, 60), (4, 8, 40), (3, 6, 30))
CUTS = (1, 2, 3, 4, 6, 8)  # tiles a side


@dataclass(frozen=True)
class Survey:
    """How well a set of anchors covers a set of objects."""

    sizes: Tensor  # (n,) px of the input, root of the area
    labels: Tensor  # (n,)
    overlaps: Tensor  # (n,) best IoU with any anchor

    @property
    def covered(self) -> Tensor:
        """(n,) bool."""
        return self.overlaps >= THRESHOLD

    def by_size(self) -> list[tuple[int, int, int, float, float]]:
        """For each band of sizes: its bounds in px, how many objects, share covered, mean of the best IoU."""
        rows = []
        for low, high in zip(BANDS, BANDS[1:], strict=False):
            mine = (self.sizes >= low) & (self.sizes < high + (high == BANDS[-1]))
            count = int(mine.sum())
            share, mean = (
                (float(x[mine].float().mean()) if count else 0.0) for x in (self.covered, self.overlaps)
            )
            rows.append((low, high, count, share, mean))
        return rows

    def __str__(self) -> str:
        lines = ["size in the input    objects   covered   mean of the best IoU"]
        for low, high, count, share, mean in self.by_size():
            words = f"{share:>9.0%}{mean:>12.2f}" if count else ""
            lines.append(f"{low:>4} to {high:<3} px{count:>16}{words}")
        covered = f"{float(self.covered.float().mean()):>9.0%}" if len(self.sizes) else ""
        lines.append(f"{'all':<14}{len(self.sizes):>14}{covered}")
        return "\n".join(lines)


def on_canvas(examples: Sequence[Example], cut: int = 1) -> tuple[Tensor, Tensor]:
    """(n, 4) boxes of all objects on the input and (n,) their labels.

    With `cut` they are those of the same images cut into cut x cut tiles without overlap: an object goes to the
    tile that holds its centre and is cut off at the tile's border.
    """
    boxes, labels = [torch.zeros(0, 4)], [torch.zeros(0, dtype=torch.int64)]
    for example in examples:
        boxes.append(_in_tiles(example.boxes, example.size, cut))
        labels.append(example.labels)
    return torch.cat(boxes), torch.cat(labels)


def survey(boxes: Tensor, labels: Tensor, anchors: Tensor | None = None) -> Survey:
    """(n, 4) boxes in px of the input under (K, 4) anchors, those of SSD300 if none are given."""
    anchors = default_boxes() if anchors is None else anchors
    best = [box_ops.iou(part[:, None], anchors).amax(dim=1) for part in boxes.split(256)]
    sides = boxes[:, 2:] - boxes[:, :2]
    return Survey(sides.prod(dim=1).sqrt(), labels, torch.cat(best) if best else torch.zeros(0))


def suggestions(boxes: Tensor, labels: Tensor) -> list[tuple[AnchorSpec, float]]:
    """Other sizes of anchors and the share of objects that they cover, the paper's first."""
    found = []
    for first, low, high in TRIED:
        spec = AnchorSpec(first_percent=first, percent_range=(low, high))
        found.append(
            (spec, float(survey(boxes, labels, default_boxes(spec)).covered.float().mean().nan_to_num()))
        )
    return found


def advice(examples: Sequence[Example]) -> str:
    """A survey of the examples in words: by size, with other anchors, and with the images cut into tiles; of images
    without objects the sizes alone, since there is nothing to cover."""
    boxes, labels = on_canvas(examples)
    lines = [str(survey(boxes, labels))]
    if not len(boxes):
        return lines[0]
    lines.append("covered, if the images were cut into tiles:")
    for cut in CUTS:
        share = float(survey(*on_canvas(examples, cut)).covered.float().mean())
        lines.append(f"  {cut} x {cut}{share:>8.0%}")
    lines.append("covered, if the anchors had other sizes (percent of the input):")
    for spec, share in suggestions(boxes, labels):
        lines.append(
            f"  {' '.join(map(str, spec.percents)):<24}{share:>5.0%}{'  the paper' * (spec == SSD300_ANCHORS)}"
        )
    return "\n".join(lines)


def _in_tiles(boxes: Tensor, size: tuple[int, int], cut: int) -> Tensor:
    """(n, 4) px of an image -> px of the input of the tile with their centre."""
    tile = torch.tensor(size).float() / cut
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = (centre / tile).floor().clamp(0, cut - 1) * tile
    moved = (boxes - corner.repeat(1, 2)) * (SSD300_ANCHORS.canvas / tile).repeat(2)
    return box_ops.clip(moved, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas)
