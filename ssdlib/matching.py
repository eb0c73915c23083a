"""Which anchor answers for which object: greedy bipartite first, then the threshold (paper, section 2.2).

Step one gives every object one anchor of its own: of all free (object, anchor) pairs the best overlapping
is married first, again and again. Step two gives every anchor that is still free its best object if they
overlap by at least 0.5. This is the rule of the released code (src/caffe/util/bbox_util.cpp 584-818); the
common shortcut, each object takes its argmax, loses an object whenever two share their best anchor.
"""

import torch
from torch import Tensor

from ssdlib import coding
from ssdlib.boxes import iou
from ssdlib.records import Targets

THRESHOLD = 0.5
TOUCHES = 1e-6  # Caffe: an IoU up to this is no overlap at all


def overlaps(boxes: Tensor, labels: Tensor, anchors: Tensor) -> Tensor:
    """IoU of every object with every anchor: (B, R, 4), (B, R), (K, 4) -> (B, R, K).

    Empty slots (label 0) and pairs that barely touch get 0, so that no later step has to ask.
    """
    table = iou(boxes[:, :, None], anchors)
    return table * ((table > TOUCHES) & (labels > 0)[:, :, None])


def bipartite(table: Tensor) -> Tensor:
    """Step one: the anchor of each object, (B, R, K) overlaps -> (B, R) int64, -1 where it touches none.

    Equal to marrying the best pair of the whole table over and over (ties: lowest anchor, then lowest
    object), but done for many objects at once: a pair that is the best of its row and of its column is
    married in any order of events. Two or three rounds usually settle a batch; it never takes more than R.
    """
    images, objects, anchors = table.shape
    chosen = table.new_full((images, objects), -1, dtype=torch.int64)
    if objects == 0:
        return chosen
    table = table.clone()
    before = torch.ones(objects, objects, dtype=torch.bool, device=table.device).tril(-1)  # [g, h]: h < g
    for _ in range(objects):
        best, anchor = table.max(dim=2)  # (B, R) each object's best free anchor; first one of equals
        if not (best > 0).any():
            break
        # rivals[b, g, h]: what object h could get from the anchor that g wants
        rivals = table.gather(2, anchor[:, None].expand(-1, objects, -1)).transpose(1, 2)
        loses = (rivals > best[..., None]) | ((rivals == best[..., None]) & before)
        married = (best > 0) & ~loses.any(dim=2)  # (B, R)
        chosen = torch.where(married, anchor, chosen)
        image, object_ = married.nonzero(as_tuple=True)
        table[image, object_] = 0  # both leave the pool
        table[image, :, anchor[image, object_]] = 0
    return chosen


def match(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Both steps: (B, R, 4) px, (B, R), (K, 4) px -> (B, K) int64, the object's slot or -1 for background."""
    images, objects = labels.shape
    if objects == 0:
        return labels.new_full((images, len(anchors)), -1)
    table = overlaps(boxes, labels, anchors)
    best, matched = table.max(dim=1)  # (B, K) each anchor's best object; first one of equals
    matched = torch.where(best >= threshold, matched, -1)
    own = bipartite(table)
    image, object_ = (own >= 0).nonzero(as_tuple=True)
    matched[image, own[image, object_]] = object_  # step one overrules step two
    return matched


def make_targets(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Targets:
    """What the network should say: match, then write each match as class and offset.

    (B, R, 4) boxes in px of the canvas, (B, R) labels with 0 for empty slots, (K, 4) anchors in px. An
    image without objects is background everywhere. Offsets are 0 where an anchor has no object.
    """
    matched = match(boxes, labels, anchors, threshold)
    positive = matched >= 0
    offsets = boxes.new_zeros((*matched.shape, 4))
    classes = torch.zeros_like(matched)
    image, anchor = positive.nonzero(as_tuple=True)
    object_ = matched[image, anchor]
    offsets[image, anchor] = coding.encode(boxes[image, object_], anchors[anchor])
    classes[image, anchor] = labels[image, object_]
    return Targets(offsets, classes, matched)
