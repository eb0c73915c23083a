"""Geometry of boxes: two formats, area, IoU, clip, scale, flip. The only IoU in the project.

A box is four numbers in the last dimension, so every function takes (..., 4) and broadcasts the rest.
Unless a name says otherwise a box is xyxy: (xmin, ymin, xmax, ymax) in pixels, y pointing down, where the
right edge of a W px wide image is at x = W (continuous coordinates, no "+1").
"""

import torch
from torch import Tensor


def to_cxcywh(boxes: Tensor) -> Tensor:
    """(..., 4) corners -> (..., 4) centre x, centre y, width, height."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def to_xyxy(boxes_cxcywh: Tensor) -> Tensor:
    """(..., 4) centre x, centre y, width, height -> (..., 4) corners."""
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def area(boxes: Tensor, extent: float = 0.0) -> Tensor:
    """(..., 4) -> (...) in px². `extent` is added to both sides, see `iou`."""
    return (boxes[..., 2] - boxes[..., 0] + extent) * (boxes[..., 3] - boxes[..., 1] + extent)


def iou(first: Tensor, second: Tensor, extent: float = 0.0) -> Tensor:
    """Intersection over union of boxes that broadcast: (..., 4), (..., 4) -> (...), 0..1.

    Pairs come out element by element; for the matrix of all pairs write `iou(a[:, None], b)`.
    A box without area has IoU 0 with everything (not NaN).

    `extent` is what a pixel index misses of a width: 0 for our continuous coordinates, 1 for VOC's result
    files, whose corners are inclusive pixel numbers. Only `evaluate` may pass 1.
    """
    # columns side by side (a CPU reads eight neighbours at a time), and no more new tables than needed
    x1, y1, x2, y2 = first.movedim(-1, 0).contiguous()
    u1, v1, u2, v2 = second.movedim(-1, 0).contiguous()
    width = (torch.minimum(x2, u2).sub_(torch.maximum(x1, u1)) + extent).clamp_(min=0)
    height = (torch.minimum(y2, v2).sub_(torch.maximum(y1, v1)) + extent).clamp_(min=0)
    intersection = width * height
    union = (area(first, extent) + area(second, extent)).sub_(intersection)
    return torch.where(intersection > 0, intersection / union, 0.0)


def clip(boxes: Tensor, width: float | Tensor, height: float | Tensor) -> Tensor:
    """Cut (..., 4) boxes off at the border of a width x height image. Sizes are px, scalar or (...)."""
    zero = torch.zeros((), dtype=boxes.dtype, device=boxes.device)
    x = boxes[..., 0::2].clamp(min=zero).minimum(_column(width, boxes))
    y = boxes[..., 1::2].clamp(min=zero).minimum(_column(height, boxes))
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], dim=-1)


def scale(boxes: Tensor, x: float | Tensor, y: float | Tensor) -> Tensor:
    """Multiply the x of (..., 4) boxes by `x` and their y by `y`: the only change from one frame of coordinates to
    another."""
    x, y = _column(x, boxes), _column(y, boxes)
    return boxes * torch.cat([x, y, x, y], dim=-1)


def flip(boxes: Tensor, width: float | Tensor) -> Tensor:
    """Mirror (..., 4) boxes left-right in an image `width` px wide: x becomes width - x, and the left
    and right edge change places."""
    width = _column(width, boxes)[..., 0]
    return torch.stack([width - boxes[..., 2], boxes[..., 1], width - boxes[..., 0], boxes[..., 3]], dim=-1)


def _column(value: float | Tensor, boxes: Tensor) -> Tensor:
    """A scalar or (...) tensor as (..., 1) with the type and place of `boxes`."""
    return torch.as_tensor(value, dtype=boxes.dtype, device=boxes.device)[..., None]
