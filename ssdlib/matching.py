"""Which anchor is assigned to which object: greedy bipartite first, then the threshold (paper, section 2.2).

Step one gives every object one anchor of its own: of all free (object, anchor) pairs the best overlapping
is assigned first, again and again. Step two gives every anchor that is still free its best object if they
overlap by at least 0.5. This is the rule of the released code (src/caffe/util/bbox_util.cpp 584-818); the
common shortcut, each object takes its argmax, loses an object whenever two share their best anchor.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssdlib import coding
from ssdlib.box_ops import iou
from ssdlib.records import Targets

THRESHOLD = 0.5
TOUCHES = 1e-6  # Caffe: an IoU up to this is no overlap at all


def overlaps(boxes: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
    """IoU of every object with every anchor: (B, R, 4), (B, R), (K, 4) -> (B, R, K).

    Empty slots (label 0) and pairs that barely touch get 0, so that no later step has to ask.
    """
    boxes = boxes.masked_fill((labels <= 0)[..., None], 0.0)  # without area, so without overlap
    return F.threshold(iou(boxes[:, :, None], anchors), TOUCHES, 0.0)


def bipartite(table: Tensor) -> Tensor:
    """Step one: the anchor of each object, (B, R, K) overlaps -> (B, R) int64, -1 where it touches none.

    Equal to assigning the best pair of the whole table over and over (ties: lowest anchor, then lowest
    object), but done for many objects at once: a pair that is the best of its row and of its column is
    assigned in any order of events. Two or three rounds usually settle a batch; it never takes more than R.
    """
    images, objects, anchors = table.shape
    chosen = table.new_full((images, objects), -1, dtype=torch.int64)
    table = F.pad(table, (0, 1))  # a dummy column receives the unmatched objects, which avoids a branch
    before = torch.ones(objects, objects, dtype=torch.bool, device=table.device).tril(-1)  # [g, h]: h < g
    for _ in range(objects):
        best, anchor = table.max(dim=2)  # (B, R) each object's best free anchor; first one of equals
        best = best.where(chosen < 0, 0.0)
        # not on a GPU, where reading the answer would be a synchronisation; rounds without a new pair change nothing
        if not table.is_cuda and not (best > 0).any():
            break
        # rivals[b, g, h]: what object h, if it is free, could get from the anchor that g wants
        rivals = table.gather(2, anchor[:, None].expand(-1, objects, -1)).transpose(1, 2)
        rivals = rivals.where((chosen < 0)[:, None], 0.0)
        loses = (rivals > best[..., None]) | ((rivals == best[..., None]) & before)
        assigned = (best > 0) & ~loses.any(dim=2)  # (B, R)
        chosen = anchor.where(assigned, chosen)
        taken = anchor.where(assigned, anchors)
        table.scatter_(2, taken[:, None].expand(-1, objects, -1), 0.0)  # these anchors aren't free any more
    return chosen


def match(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Both steps: (B, R, 4) px, (B, R), (K, 4) px -> (B, K) int64, the object's slot or -1 for background."""
    images, objects = labels.shape
    if objects == 0:
        return labels.new_full((images, len(anchors)), -1)
    table = overlaps(boxes, labels, anchors)
    best, matched = table.max(dim=1)  # (B, K) each anchor's best object; first one of equals
    matched = matched.where(best >= threshold, -1)
    own = bipartite(table)
    own = own.where(own >= 0, len(anchors))  # objects without an anchor write into a column that is cut off
    slots = torch.arange(objects, device=own.device).expand_as(own)
    return F.pad(matched, (0, 1)).scatter(1, own, slots)[:, :-1]  # step one overrules step two


def make_targets(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Targets:
    """What the network should say: match, then write each match as class and offset.

    (B, R, 4) boxes in px of the canvas, (B, R) labels with 0 for empty slots, (K, 4) anchors in px. An
    image without objects is background everywhere. Offsets are 0 where an anchor has no object.
    """
    matched = match(boxes, labels, anchors, threshold)
    positive = matched >= 0
    offsets = boxes.new_zeros((*matched.shape, 4))
    classes = torch.zeros_like(matched)
    if labels.shape[1] == 0:
        return Targets(offsets, classes, matched)
    there = places(positive)
    image = torch.arange(len(labels), device=labels.device)[:, None].expand_as(matched)[there]
    object_ = matched.clamp(min=0)[there]
    encoded = coding.encode(boxes[image, object_], anchors.expand_as(offsets)[there])
    offsets[there] = encoded.where(positive[there][..., None], 0.0)
    classes[there] = labels[image, object_].where(positive[there], 0)
    return Targets(offsets, classes, matched)


def places(mask: Tensor) -> tuple[Tensor, Tensor] | tuple[slice, slice]:
    """An index of what there is to compute where a (B, K) mask says so.

    On a CPU that is where the mask is set. A GPU gets all places, and the caller leaves out the rest
    afterwards: it computes them in no time, but to count those that are set would be a GPU synchronisation.
    """
    return (slice(None), slice(None)) if mask.is_cuda else mask.nonzero(as_tuple=True)
