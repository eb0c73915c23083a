"""Which anchor is assigned to which object: greedy bipartite first, then the threshold (paper, section 2.2).

Step one gives every object one anchor of its own: of all free (object, anchor) pairs the best overlapping
is assigned first, again and again. Step two gives every anchor that is still free its best object if they
overlap by at least 0.5. This is the rule of the released code (src/caffe/util/bbox_util.cpp 584-818); the
common shortcut, each object takes its argmax, loses an object whenever two share their best anchor.

Few pairs matter out of thousands. They are listed, best first, and assigned one after the other in plain Python, as
the paper describes it. This runs on the CPU, where batches are made, because reading the pairs back would stall a
GPU.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ssdlib import coding
from ssdlib.box_ops import iou
from ssdlib.records import Targets

THRESHOLD = 0.5
TOUCHES = 1e-6  # Caffe: an IoU up to this is no overlap at all


def overlaps(objects: Tensor, anchors: Tensor) -> Tensor:
    """IoU of every object with every anchor: (n, 4), (K, 4) -> (n, K). Pairs that barely touch get 0."""
    return F.threshold(iou(objects[:, None], anchors), TOUCHES, 0.0)


def bipartite(table: Tensor, image: Tensor | None = None) -> Tensor:
    """Step one: the anchor of each object, (n, K) overlaps -> (n,) int64, -1 where it touches no free one.

    The best pair of the whole table is assigned, then the best pair of what is left, again and again (ties: lowest
    anchor, then lowest object). `image` (n,) tells which objects compete: those of one image; by default all do.
    """
    images = [0] * len(table) if image is None else image.tolist()
    own, taken = [-1] * len(table), set()
    # an object gets one of its `rivals` best anchors, since the other objects of its image can take only rivals - 1
    rivals = min(max(map(images.count, set(images)), default=1), table.shape[1])
    least = table.topk(rivals, dim=1).values[:, -1:]
    for object_, anchor in best_first(table, (table >= least) & (table > 0)):
        if own[object_] < 0 and (images[object_], anchor) not in taken:
            own[object_] = anchor
            taken.add((images[object_], anchor))
    return torch.tensor(own, dtype=torch.int64, device=table.device)


def match(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Tensor:
    """Both steps: (B, R, 4) px, (B, R), (K, 4) px -> (B, K) int64, the object's slot or -1 for background."""
    image, slot = (labels > 0).nonzero(as_tuple=True)  # the n objects of all images
    table = overlaps(boxes[image, slot], anchors)
    images, object_at = image.tolist(), {}
    for object_, anchor in best_first(table, table >= threshold):
        object_at.setdefault((images[object_], anchor), object_)
    for object_, anchor in enumerate(bipartite(table, image).tolist()):
        if anchor >= 0:
            object_at[images[object_], anchor] = object_  # step one overrules step two
    matched = labels.new_full((len(labels), len(anchors)), -1)
    places = torch.tensor(list(object_at), dtype=torch.int64, device=labels.device).reshape(-1, 2)
    matched[places[:, 0], places[:, 1]] = slot[list(object_at.values())]
    return matched


def best_first(table: Tensor, wanted: Tensor) -> list[tuple[int, int]]:
    """The pairs (object, anchor) of a table (n, K) that are `wanted` (n, K) bool, the best overlap first; of equal
    ones the lowest anchor, then the lowest object."""
    object_, anchor = wanted.nonzero(as_tuple=True)  # object by object
    order = anchor.argsort(stable=True)
    order = order[table[object_, anchor][order].argsort(descending=True, stable=True)]
    return list(zip(object_[order].tolist(), anchor[order].tolist(), strict=True))


def make_targets(boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = THRESHOLD) -> Targets:
    """What the network should output: match, then write each match as class and offset.

    (B, R, 4) boxes in px of the input, (B, R) labels with 0 for empty slots, (K, 4) anchors in px. An
    image without objects is background everywhere. Offsets are 0 where an anchor has no object.
    """
    matched = match(boxes, labels, anchors, threshold)
    offsets = boxes.new_zeros((*matched.shape, 4))
    classes = torch.zeros_like(matched)
    image, anchor = (matched >= 0).nonzero(as_tuple=True)
    object_ = matched[image, anchor]
    offsets[image, anchor] = coding.encode(boxes[image, object_], anchors[anchor])
    classes[image, anchor] = labels[image, object_]
    return Targets(offsets, classes, matched)
