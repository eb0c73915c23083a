"""Slow, plain second implementations that the tests compare ssdlib with, and weights made by a formula.

Nothing here calls what it checks: boxes are tuples, loops are loops, numbers are float64 or fractions.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

VECTORS = Path(__file__).parent / "vectors"

# facts of the configuration, as the Caffe code has them
LAYERS = ("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
PER_MAP = (5776, 2166, 600, 150, 36, 4)
FIRST = (0, 5776, 7942, 8542, 8692, 8728)  # index of each map's first anchor
CELL = (4, 6, 6, 6, 4, 4)  # anchors of one cell
SIDES = (38, 19, 10, 5, 3, 1)
STRIDES = (8, 16, 32, 64, 100, 300)


def per_map(mask: Sequence[bool]) -> tuple[int, ...]:
    """How many of 8,732 flags are set on each of the six maps."""
    return tuple(sum(map(bool, mask[a : a + n])) for a, n in zip(FIRST, PER_MAP, strict=True))


def iou(a: Sequence, b: Sequence, extent=0):
    """Of two corner boxes. Works on fractions as well, and then exactly."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + extent
    height = min(a[3], b[3]) - max(a[1], b[1]) + extent
    if width <= 0 or height <= 0:
        return 0
    area_a = (a[2] - a[0] + extent) * (a[3] - a[1] + extent)
    area_b = (b[2] - b[0] + extent) * (b[3] - b[1] + extent)
    return width * height / (area_a + area_b - width * height)


def best_anchors(box: Sequence, anchors: Sequence) -> tuple[float, list[int]]:
    """The largest IoU of a box with any anchor, and all anchors that have it but for rounding."""
    table = [iou(anchor, box) for anchor in anchors]
    best = max(table)
    return best, [k for k, value in enumerate(table) if value > best - 1e-7]


def caffe_anchors() -> list[tuple[float, float, float, float]]:
    """The default boxes, one by one, from the sizes that the Caffe configuration ends up with."""
    smallest = (30, 60, 111, 162, 213, 264)
    largest = (60, 111, 162, 213, 264, 315)
    anchors = []
    for level in range(6):
        s, large = smallest[level], math.sqrt(smallest[level] * largest[level])
        r2, r3 = math.sqrt(2), math.sqrt(3)
        shapes = [(s, s), (large, large), (s * r2, s / r2), (s / r2, s * r2)]
        if CELL[level] == 6:
            shapes += [(s * r3, s / r3), (s / r3, s * r3)]
        for row in range(SIDES[level]):
            for column in range(SIDES[level]):
                x, y = (column + 0.5) * STRIDES[level], (row + 0.5) * STRIDES[level]
                anchors += [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for w, h in shapes]
    return anchors


def greedy_match(boxes: Sequence, anchors: Sequence, threshold) -> list[int]:
    """The two steps for one image as the Caffe code has them -> object of each anchor, -1 for none.

    The best pair of the whole table is married and leaves it, over and over; of equal pairs the one with the
    lowest anchor, then the lowest object. Then every anchor still free takes its best object if that overlaps
    by the threshold.
    """
    table = [[iou(anchor, box) for box in boxes] for anchor in anchors]
    matched = [-1] * len(anchors)
    unserved = set(range(len(boxes)))
    while unserved:
        best, pair = 1e-6, None
        for k, row in enumerate(table):
            for r in sorted(unserved):
                if matched[k] == -1 and row[r] > best:
                    best, pair = row[r], (k, r)
        if pair is None:
            break
        matched[pair[0]] = pair[1]
        unserved.remove(pair[1])
    for k, row in enumerate(table):
        if matched[k] == -1 and row and max(row) >= threshold:
            matched[k] = row.index(max(row))
    return matched


def multibox_loss(
    offsets: Tensor, logits: Tensor, target_offsets: Tensor, labels: Tensor, mining: str, ratio: float = 3
) -> tuple[Tensor, Tensor, int, int]:
    """Localisation, confidence, positives, negatives; float64, one anchor after the other, with gradients."""
    offsets, logits, target_offsets = offsets.double(), logits.double(), target_offsets.double()
    images, anchors = labels.shape
    localisation, confidence = offsets.new_zeros(()), offsets.new_zeros(())
    pools, wanted = [], []
    for b in range(images):
        pool, count = [], 0
        for k in range(anchors):
            label = int(labels[b, k])
            if label == 0:
                pool.append((float(-_log_softmax(logits[b, k].detach())[0]), b, k))
                continue
            count += 1
            confidence = confidence - _log_softmax(logits[b, k])[label]
            for c in range(4):
                d = abs(offsets[b, k, c] - target_offsets[b, k, c])
                localisation = localisation + (0.5 * d * d if d < 1 else d - 0.5)
        pools.append(pool)
        wanted.append(count)
    positives, negatives = sum(wanted), 0
    if mining == "batch":
        pools, wanted = [sum(pools, [])], [positives]
    for pool, count in zip(pools, wanted, strict=True):
        for _, b, k in sorted(pool, key=lambda entry: -entry[0])[: int(ratio * count)]:
            confidence = confidence - _log_softmax(logits[b, k])[0]
            negatives += 1
    n = max(1, positives)
    return localisation / n, confidence / n, positives, negatives


def _log_softmax(scores: Tensor) -> Tensor:
    top = scores.max().detach()
    return scores - top - torch.log(torch.exp(scores - top).sum())


# --- weights and a picture that any program can make for itself

BODY = (
    "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3 "
    "fc6 fc7 conv6_1 conv6_2 conv7_1 conv7_2 conv8_1 conv8_2 conv9_1 conv9_2"
).split()


def pattern_state(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A state of our network from a formula: name -> tensor of the wanted shape.

    Element k of a tensor is ((7919 k + 104729 salt) mod 251 - 125) / 125, in [-1, 1]. Kernels are that times
    √(6 / inputs), biases a tenth of it with salt + 1000. Salts: 0 ... 22 along the body, 100 ... 105 the
    localisation heads, 200 ... 205 the class heads. The scale of conv4_3 is 20 plus the pattern of salt 500.
    """
    salts = {f"body.{name}.0": salt for salt, name in enumerate(BODY)}
    salts |= {f"loc.{name}": 100 + i for i, name in enumerate(LAYERS)}
    salts |= {f"conf.{name}": 200 + i for i, name in enumerate(LAYERS)}
    state = {}
    for name, shape in shapes.items():
        layer, _, kind = name.rpartition(".")
        if layer == "conv4_3_norm":
            values = 20 + _pattern(shape, 500)
        elif kind == "weight":
            values = _pattern(shape, salts[layer]) * np.sqrt(6 / math.prod(shape[1:]))
        else:
            values = _pattern(shape, salts[layer] + 1000) * 0.1
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


def _pattern(shape: tuple[int, ...], salt: int) -> np.ndarray:
    period = ((np.arange(251) * 7919 + salt * 104729) % 251 - 125) / 125  # it repeats after 251
    return np.resize(period, shape)


def pattern_images() -> Tensor:
    """(1, 3, 300, 300) float32: a picture with edges everywhere, RGB minus (123, 117, 104)."""
    rows = np.arange(300)[None, :, None]
    columns = np.arange(300)[None, None, :]
    channel = np.arange(3)[:, None, None]
    picture = (columns * (channel + 1) + rows * (3 - channel) + columns * rows // 64 + 40 * channel) % 256
    return torch.from_numpy(picture - np.array([123, 117, 104])[:, None, None]).float()[None]
