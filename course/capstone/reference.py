# ruff: noqa: B007  (the functions are as the chapters have them)
"""The solutions of all building blocks, as the chapters show them: what `my_ssd.py` looks like when all is solved.

A page that lies in no learner's folder works with these. A test compares them with the chapters.
"""

from math import floor, sqrt

import torch

from course.evaluation import devkit_rule
from ssdlib import box_ops


# 1.1 the way back
def to_corners(boxes_cxcywh):
    cx, cy, w, h = boxes_cxcywh.unbind(dim=-1)
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1)


# 1.4 IoU
def iou(first, second):
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    both = (high - low).clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (first, second)]
    return torch.where(both > 0, both / (areas[0] + areas[1] - both), 0.0)


# 1.6 the mirror
def mirrored(boxes, width):
    x1, y1, x2, y2 = boxes.unbind(dim=-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


# 2.1 sizes
def sizes(first, low, high, maps):
    step = floor((high - low) / (maps - 2))
    percents = [first] + [low + step * i for i in range(maps)]
    return [300 * percent / 100 for percent in percents]


# 2.2 shapes of a cell
def shapes(small, following, ratios):
    large = sqrt(small * following)
    found = [(small, small), (large, large)]
    for ratio in ratios:
        found.append((small * sqrt(ratio), small / sqrt(ratio)))
        found.append((small / sqrt(ratio), small * sqrt(ratio)))
    return found


# 2.3 centres
def centres(cells, stride):
    found = []
    for row in range(cells):
        for column in range(cells):
            found.append([(column + 0.5) * stride, (row + 0.5) * stride])
    return torch.tensor(found)


# 3.1 step two
def step_two(table, threshold):
    best, object_ = table.max(dim=0)
    return torch.where(best >= threshold, object_, -1)


# 3.2 step one
def greedy(table):
    left, own = table.clone(), torch.full((len(table),), -1)
    while left.max() > 0:
        anchor, object_ = (left.T == left.max()).nonzero()[0].tolist()
        own[object_] = anchor
        left[object_] = 0
        left[:, anchor] = 0
    return own


# 3.3 both steps
def both(table, own, threshold):
    matched = step_two(table, threshold)
    for object_, anchor in enumerate(own.tolist()):
        if anchor >= 0:
            matched[anchor] = object_
    return matched


# 4.1 offsets
def encode(box, anchor):
    g, p = box_ops.to_cxcywh(box), box_ops.to_cxcywh(anchor)  # centre x, centre y, width, height
    shift = (g[:2] - p[:2]) / p[2:] / 0.1
    growth = (g[2:] / p[2:]).log() / 0.2
    return torch.cat([shift, growth])


# 4.2 smooth L1
def smooth_l1(error):
    far = error.abs()
    return torch.where(far < 1, 0.5 * far**2, far - 0.5)


# 4.3 -log p(background)
def background_loss(logits):
    return -logits.log_softmax(dim=-1)[..., 0]


# 4.4 hard negatives
def hard_negatives(losses, positive, ratio):
    order = losses.masked_fill(positive, -torch.inf).argsort(dim=1, descending=True)
    rank = order.argsort(dim=1)
    wanted = ratio * positive.sum(dim=1, keepdim=True)
    return (rank < wanted) & ~positive


# 4.5 the whole loss
def multibox(offsets, logits, wanted, labels, negative):
    positive = labels > 0
    localisation = smooth_l1(offsets[positive] - wanted[positive]).sum()
    used = positive | negative
    confidence = torch.nn.functional.cross_entropy(logits[used], labels[used], reduction="sum")
    return (localisation + confidence) / max(1, int(positive.sum()))


# 5.5 from channels to anchors
def per_anchor(x, numbers):
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)


# 5.6 L2Norm
def l2norm(x, scale):
    length = (x.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
    return x / length * scale[:, None, None]


# 6.1 from the photograph to the input
def move(objects, window):
    corner, extent = window[:2].repeat(2), (window[2:] - window[:2]).repeat(2)
    return ((objects - corner) * 300 / extent).clamp(0, 300)


# 6.2 which objects stay
def keep(objects, window):
    centre = (objects[:, :2] + objects[:, 2:]) / 2
    return ((centre >= window[:2]) & (centre <= window[2:])).all(dim=1)


# 7.4 warm-up
def warm_up(step, peak, steps):
    if step >= steps:
        return peak
    return peak * (step + 1) / steps


# 8.1 the rate
def rate(step, base, drops):
    passed = sum(step >= drop for drop in drops)
    return base * 0.1**passed


# 10.1 decode
def decode(offsets, anchors):
    anchor = box_ops.to_cxcywh(anchors)
    centre = anchor[:, :2] + 0.1 * offsets[:, :2] * anchor[:, 2:]
    size = anchor[:, 2:] * (0.2 * offsets[:, 2:]).exp()
    return box_ops.to_xyxy(torch.cat([centre, size], dim=1))


# 10.2 candidates
def candidates(probabilities, score):
    pairs = (probabilities[:, 1:].T > score).nonzero()
    return pairs + torch.tensor([1, 0])


# 10.3 the best of each class
def top_k(scores, labels, k):
    keep = torch.zeros(len(scores), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        keep[mine[scores[mine].argsort(descending=True)[:k]]] = True
    return keep.nonzero()[:, 0]


# 10.4 suppression
def suppress(places, scores, max_iou):
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if (box_ops.iou(places[i], places[kept]) <= max_iou).all():
            kept.append(i)
    return torch.tensor(kept, dtype=torch.int64)


# 10.5 class by class
def class_by_class(places, scores, labels, max_iou):
    kept = []
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept += mine[suppress(places[mine], scores[mine], max_iou)].tolist()
    kept = torch.tensor(kept, dtype=torch.int64)
    return kept[scores[kept].argsort(descending=True)]


# 11.1 verdicts
def verdicts(detections, objects):
    said, found = [], set()
    for image, score, box in sorted(detections, key=lambda d: -d[1]):
        most, best = 0.0, None
        for number, (where, there, difficult) in enumerate(objects):
            shared = devkit_rule.overlap(box, there) if where == image else 0.0
            if shared > most:
                most, best = shared, number
        if most < 0.5:
            said.append("false")
        elif objects[best][2]:
            said.append("ignored")
        else:
            said.append("false" if best in found else "true")
            found.add(best)
    return said


# 11.2 recall and precision
def curve(said, total):
    recall, precision, found, wrong = [], [], 0, 0
    for verdict in said:
        found += verdict == "true"
        wrong += verdict == "false"
        recall.append(found / total)
        precision.append(found / (found + wrong) if found + wrong else 0.0)
    return recall, precision


# 11.3 eleven points
def eleven_points(recall, precision):
    best = []
    for point in range(11):
        there = [p for r, p in zip(recall, precision, strict=True) if r >= point * 0.1]
        best.append(max(there, default=0.0))
    return sum(best) / 11


# 13.1 the overlap of the development kit
def overlap(a, b):
    a, b = (torch.tensor(box, dtype=torch.float64) for box in (a, b))
    one_more = torch.tensor([0, 0, 1, 1])
    return float(box_ops.iou(a + one_more, b + one_more))


# 13.2 a box on its way
def into_input(objects, window, flip, keep, move, mirrored):
    moved = move(objects[keep(objects, window)], window)
    return mirrored(moved, 300) if flip else moved


# 13.3 the update step
def sgd_step(weights, gradient, velocity, rate, momentum, decay):
    velocity = momentum * velocity + gradient + decay * weights
    return weights - rate * velocity, velocity
