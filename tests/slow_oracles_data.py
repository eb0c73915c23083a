"""Slow, plain versions of the modules for data and judging, written from the papers' rules: loops, no vectors.

They share no code with `ssdlib`; `random`, `math` and `colorsys` of Python and torch's `interpolate` are all
they use. Boxes are tuples of numbers.
"""

import colorsys
import math
import random

import torch

MEAN = (123.0, 117.0, 104.0)  # of VGG16's training data, RGB
MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)


# --- Boxes ----------------------------------------------------------------------------------------------


def iou(a, b, one: float = 0.0) -> float:
    """Intersection over union of two boxes; `one` is 1 where corners are inclusive pixel numbers."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + one
    height = min(a[3], b[3]) - max(a[1], b[1]) + one
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + one) * (box[3] - box[1] + one) for box in (a, b)]
    return width * height / (areas[0] + areas[1] - width * height)


# --- Augmentation ---------------------------------------------------------------------------------------


def sample_patch(dice: random.Random, objects: list) -> tuple[int, tuple]:
    """One patch for a picture with `objects`, all in fractions of the picture: which sampler, which patch.

    Seven samplers: the whole picture, then those of `MIN_IOUS`. Each may try 50 times, and stops at its first
    patch that has the IoU asked for with any object. One of the patches found is taken.
    """
    found = [(0, (0.0, 0.0, 1.0, 1.0))]
    for number, bound in enumerate(MIN_IOUS, 1):
        for _ in range(50):
            scale = dice.uniform(0.3, 1)
            aspect = dice.uniform(0.5, 2)
            aspect = max(aspect, scale**2)
            aspect = min(aspect, 1 / scale**2)
            width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            x, y = dice.uniform(0, 1 - width), dice.uniform(0, 1 - height)
            patch = (x, y, x + width, y + height)
            if any(iou(patch, thing) >= bound for thing in objects):
                found.append((number, patch))
                break
    return dice.choice(found)


def sample_patch_in_rounds(dice: random.Random, plane: tuple, objects: list) -> tuple[int, tuple]:
    """One patch by ssd_keras's rule for a picture of `plane` = (width, height) px: which bound, which patch (px).

    Again and again: with a probability of 0.143 it is the whole picture (number 0). Otherwise one of six bounds is
    drawn, and 50 patches are tried; the first whose IoU with some object is larger than the bound is taken.
    """
    width, height = plane
    while True:
        if dice.random() < 0.143:
            return 0, (0, 0, width, height)
        number = dice.randint(1, 6)
        for _ in range(50):
            down, across = int(dice.uniform(0.3, 1) * height), int(dice.uniform(0.3, 1) * width)
            y, x = dice.randint(0, height - down), dice.randint(0, width - across)
            if not 0.5 <= across / down <= 2:
                continue
            patch = (x, y, x + across, y + down)
            if any(iou(patch, thing) > MIN_IOUS[number - 1] for thing in objects):
                return number, patch


def move_boxes_to_whole_pixels(boxes: list, labels: list, window, flip: bool, cropped: bool) -> list:
    """(label, box on the canvas) by ssd_keras's rule: the centre in 0 ... size - 1 of the patch, edges cut off there,
    mirrored, resized, rounded (Python rounds halves to even, as numpy does), without those that have no area left."""
    kept = []
    across, down = window[2] - window[0], window[3] - window[1]
    for box, label in zip(boxes, labels, strict=True):
        left, right = box[0] - window[0], box[2] - window[0]
        top, bottom = box[1] - window[1], box[3] - window[1]
        if cropped:
            x, y = (left + right) / 2, (top + bottom) / 2
            if x < 0 or x > across - 1 or y < 0 or y > down - 1:
                continue
            left, right = (min(max(edge, 0), across - 1) for edge in (left, right))
            top, bottom = (min(max(edge, 0), down - 1) for edge in (top, bottom))
        if flip:
            left, right = across - right, across - left
        left, right = round(left * (300 / across)), round(right * (300 / across))
        top, bottom = round(top * (300 / down)), round(bottom * (300 / down))
        if label > 0 and right > left and bottom > top:
            kept.append((label, (left, top, right, bottom)))
    return kept


def move_boxes(boxes: list, labels: list, window, flip: bool, side: float = 300.0) -> list:
    """(label, box on the canvas) of every object whose centre lies in the window, in their order."""
    kept = []
    across, down = window[2] - window[0], window[3] - window[1]
    for box, label in zip(boxes, labels, strict=True):
        if label == 0:
            continue
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if not (window[0] <= x <= window[2] and window[1] <= y <= window[3]):
            continue
        left, right = ((x - window[0]) / across * side for x in (box[0], box[2]))
        top, bottom = ((y - window[1]) / down * side for y in (box[1], box[3]))
        left, top, right, bottom = (min(max(edge, 0.0), side) for edge in (left, top, right, bottom))
        if flip:
            left, right = side - right, side - left
        kept.append((label, (left, top, right, bottom)))
    return kept


def change_colours(
    rgb, brightness: float, contrast: float, saturation: float, hue: float, contrast_last: bool, keras=False
):
    """One pixel, 0..255, through the steps of the original in one of their two orders; ssd_keras's contrast is about
    127.5, and its hue has no end."""

    def cut(rgb):
        return tuple(min(max(value, 0.0), 255.0) for value in rgb)

    def brighten(rgb):
        return cut(value + brightness for value in rgb)

    def scale(rgb):
        grey = 127.5 if keras else 0.0
        return cut(grey + (value - grey) * contrast for value in rgb)

    def saturate(rgb):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in rgb))
        return cut(255 * value for value in colorsys.hsv_to_rgb(h, min(s * saturation, 1.0), v))

    def turn(rgb):
        h, s, v = colorsys.rgb_to_hsv(*(value / 255 for value in rgb))
        degrees = (360 * h + hue if keras else max(360 * h + hue, 0.0)) % 360
        return cut(255 * value for value in colorsys.hsv_to_rgb(degrees / 360, s, v))

    order = [brighten, saturate, turn, scale] if contrast_last else [brighten, scale, saturate, turn]
    for step in order:
        rgb = step(rgb)
    return rgb


def expand_crop_resize_flip(photograph: torch.Tensor, window: tuple, flip: bool) -> torch.Tensor:
    """The original's way to the canvas: paste, cut out, resize, mirror, subtract the mean. (3, 300, 300).

    `window` is whole px of the photograph and may reach outside of it. Resized bilinearly, not smoothed.
    """
    left, top, right, bottom = window
    height, width, _ = photograph.shape
    x, y = max(0, -left), max(0, -top)
    canvas = torch.tensor(MEAN).repeat(max(bottom, height) + y, max(right, width) + x, 1)
    canvas[y : y + height, x : x + width] = photograph.float()
    patch = canvas[y + top : y + bottom, x + left : x + right].permute(2, 0, 1)
    small = torch.nn.functional.interpolate(
        patch[None], size=(300, 300), mode="bilinear", align_corners=False, antialias=False
    )[0]
    if flip:
        small = small.flip(-1)
    return small - torch.tensor(MEAN)[:, None, None]


# --- Detection ------------------------------------------------------------------------------------------


def suppress(boxes: list, scores: list, max_iou: float) -> list[int]:
    """Greedy non-maximum suppression of one class: indices kept, best first, the earlier one of equals."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
        if all(iou(boxes[i], boxes[k]) <= max_iou for k in kept):
            kept.append(i)
    return kept


def find(
    probabilities: list, boxes: list, size: tuple, score=0.01, top_k=400, max_iou=0.45, keep=200
) -> list:
    """(label, score, box in px of the photograph), best first, of one image.

    `probabilities` has a row of 21 for every anchor, `boxes` the decoded ones in px of the 300 x 300 canvas.
    """
    found = []
    for label in range(1, len(probabilities[0])):
        candidates = [a for a in range(len(boxes)) if probabilities[a][label] > score]
        candidates = sorted(candidates, key=lambda a: -probabilities[a][label])[:top_k]
        kept = suppress(
            [boxes[a] for a in candidates], [probabilities[a][label] for a in candidates], max_iou
        )
        found += [(label, probabilities[candidates[i]][label], boxes[candidates[i]]) for i in kept]
    found = sorted(found, key=lambda row: -row[1])[:keep]
    width, height = size

    def place(box):
        x1, y1, x2, y2 = (min(max(edge, 0.0), 300.0) / 300 for edge in box)
        return (x1 * width, y1 * height, x2 * width, y2 * height)

    return [(label, score, place(box)) for label, score, box in found]


# --- Average precision ----------------------------------------------------------------------------------


def verdicts(detections: list, objects: list) -> tuple[list, int]:
    """What the devkit says of each detection of a class, best first: True, False or None (ignored).

    `detections` are (image, score, box), `objects` (image, box, difficult), boxes with inclusive corners. The
    second value is how many objects count.
    """
    taken = [False] * len(objects)
    said = []
    for image, _, box in sorted(detections, key=lambda row: -row[1]):
        best, best_overlap = None, -math.inf
        for k, (where, there, _) in enumerate(objects):
            overlap = iou(box, there, one=1.0) if where == image else 0.0
            if overlap > 0 and overlap > best_overlap:
                best, best_overlap = k, overlap
        if best is None or best_overlap < 0.5:
            said.append(False)
        elif objects[best][2]:
            said.append(None)
        else:
            said.append(not taken[best])
            taken[best] = True
    return said, sum(not difficult for _, _, difficult in objects)


def curve(said: list, total: int) -> tuple[list, list]:
    """Recall and precision after each detection; NaN where they are 0/0."""
    recall, precision = [], []
    for n in range(1, len(said) + 1):
        right, wrong = said[:n].count(True), said[:n].count(False)
        recall.append(right / total if total else math.nan)
        precision.append(right / (right + wrong) if right + wrong else math.nan)
    return recall, precision


def eleven_points(recall: list, precision: list) -> float:
    """Mean of the best precision at recall 0, .1, ... 1; .3, .6 and .7 one bit too large, as in Octave."""
    total = 0.0
    for point in range(11):
        there = [p for r, p in zip(recall, precision, strict=True) if r >= point * 0.1 and not math.isnan(p)]
        total += max(there, default=0.0)
    return total / 11


def area(recall: list, precision: list) -> float:
    """Sum over the steps of recall of the best precision from there on."""
    total, before = 0.0, 0.0
    for n, r in enumerate(recall):
        if r > before:
            total += (r - before) * max(p for p in precision[n:] if not math.isnan(p))
            before = r
    return total
