"""Box <-> offset: how an object is expressed relative to its anchor (paper, equation 2).

With centre form g for the object and p for the anchor, both in the same pixels:

    t_x = (g_x - p_x) / (p_w · 0.1)      t_w = ln(g_w / p_w) / 0.2      and y, h alike

The four divisors, called variances in the Caffe code (src/caffe/util/bbox_util.cpp 380-410, 465-497) and
absent from the paper, are plain scale factors: they bring the offsets to about unit size.
"""

import torch
from torch import Tensor

from ssdlib import box_ops

VARIANCES = (0.1, 0.1, 0.2, 0.2)


def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """(..., 4) boxes and (..., 4) anchors, both corners in px -> (..., 4) offsets without unit.

    Boxes need a positive width and height: the logarithm of an empty one is -inf, and that of one with its corners
    swapped is NaN, which is one of the best-known SSD bugs. The modules that read data keep such boxes out (see
    `voc`).
    """
    object_, anchor = box_ops.to_cxcywh(boxes), box_ops.to_cxcywh(anchors)
    shift = (object_[..., :2] - anchor[..., :2]) / anchor[..., 2:]
    growth = (object_[..., 2:] / anchor[..., 2:]).log()
    # x and y share one of the variances, width and height the other
    return torch.cat([shift / VARIANCES[0], growth / VARIANCES[2]], dim=-1)


def decode(offsets: Tensor, anchors: Tensor) -> Tensor:
    """(..., 4) offsets and (..., 4) anchors in px -> (..., 4) boxes, corners in px. Inverse of `encode`.

    Nothing is clamped: neither the growth nor the border (as in Caffe; torchvision clamps the growth).
    """
    anchor = box_ops.to_cxcywh(anchors)
    centre = anchor[..., :2] + offsets[..., :2] * VARIANCES[0] * anchor[..., 2:]
    size = anchor[..., 2:] * (offsets[..., 2:] * VARIANCES[2]).exp()
    return box_ops.to_xyxy(torch.cat([centre, size], dim=-1))
