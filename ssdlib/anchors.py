"""The default boxes of SSD300: where they sit, how large they are, in which order they come.

The numbers are those of the released Caffe code (weiliu89/caffe, branch ssd, examples/ssd/ssd_pascal.py
297-328, src/caffe/layers/prior_box_layer.cpp 142-195), which differ from the paper's equation 4: the
ratio step is floored to 17 percent and the centres use integer strides. They are stated here once; the sizes,
the boxes per cell and the 8,732 are computed from them.
"""

from dataclasses import dataclass
from functools import cached_property
from math import floor, sqrt

import torch
from torch import Tensor

from ssdlib import box_ops

CLIPS = ("none", "center", "size")


@dataclass(frozen=True)
class AnchorSpec:
    """The choices that define a set of default boxes. Lengths are px of the input."""

    canvas: int = 300
    sources: tuple[str, ...] = ("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")
    feature_maps: tuple[int, ...] = (38, 19, 10, 5, 3, 1)  # cells per side
    strides: tuple[int, ...] = (8, 16, 32, 64, 100, 300)  # px from one cell to the next ("steps" in Caffe)
    aspect_ratios: tuple[tuple[int, ...], ...] = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    first_percent: int = 10  # of the input: the smallest anchors, on the first map
    percent_range: tuple[int, int] = (20, 90)  # smallest and largest size over the other maps

    @cached_property
    def percents(self) -> tuple[int, ...]:
        """Size of each map in percent of the input, and one more for the last map's larger square:
        (10, 20, 37, 54, 71, 88, 105). The step is floor(70 / 4) = 17, so the last map has 88, not 90."""
        low, high = self.percent_range
        maps = len(self.feature_maps)
        step = floor((high - low) / (maps - 2))
        return (self.first_percent, *(low + step * i for i in range(maps)))

    @cached_property
    def min_sizes(self) -> tuple[float, ...]:
        """Side of the small square of each map: 30, 60, 111, 162, 213, 264."""
        return tuple(self.canvas * p / 100 for p in self.percents[:-1])

    @cached_property
    def max_sizes(self) -> tuple[float, ...]:
        """60, 111, 162, 213, 264, 315; the large square of a map has side √(min_size · max_size)."""
        return tuple(self.canvas * p / 100 for p in self.percents[1:])

    @cached_property
    def boxes_per_cell(self) -> tuple[int, ...]:
        """Two squares and two boxes for each aspect ratio: 4, 6, 6, 6, 4, 4."""
        return tuple(2 + 2 * len(ratios) for ratios in self.aspect_ratios)

    @cached_property
    def per_map(self) -> tuple[int, ...]:
        """Anchors on each map: 5776, 2166, 600, 150, 36, 4; together 8,732."""
        return tuple(n * f * f for n, f in zip(self.boxes_per_cell, self.feature_maps, strict=True))

    def shapes(self, i: int) -> list[tuple[float, float]]:
        """Width and height in px of the boxes of one cell of map i, in their order: the small square,
        the large square, then each ratio lying and standing: [1, 1', 2, 1/2, 3, 1/3]."""
        small, large = self.min_sizes[i], sqrt(self.min_sizes[i] * self.max_sizes[i])
        shapes = [(small, small), (large, large)]
        for ratio in self.aspect_ratios[i]:
            shapes += [(small * sqrt(ratio), small / sqrt(ratio)), (small / sqrt(ratio), small * sqrt(ratio))]
        return shapes


SSD300_ANCHORS = AnchorSpec()


def default_boxes(spec: AnchorSpec = SSD300_ANCHORS, clip: str = "none") -> Tensor:
    """All anchors: (K, 4) float32 corners in px of the input, map by map, row by row, cell by cell.

    `clip` is what other published code does to anchors that cross the border, needed to load its weights:
    "none" (Caffe, ssd_keras, chainercv), "center" (amdegroot, lufficc: centre and size each clamped to the
    input, 134 boxes change), "size" (torchvision: the size alone, 20 boxes change).
    """
    if clip not in CLIPS:
        raise ValueError(f"clip is {clip!r}; it has to be one of {', '.join(CLIPS)}")
    # float64 until the end: float32 steps would already cost 1e-5 px in the sums that tests check
    maps = [_map_boxes(spec, i) for i in range(len(spec.feature_maps))]
    anchors_cxcywh = torch.cat(maps)
    if clip == "center":
        anchors_cxcywh = anchors_cxcywh.clamp(0, spec.canvas)
    elif clip == "size":
        anchors_cxcywh[:, 2:] = anchors_cxcywh[:, 2:].clamp(0, spec.canvas)
    return box_ops.to_xyxy(anchors_cxcywh).float()


def _map_boxes(spec: AnchorSpec, i: int) -> Tensor:
    """(cells * boxes_per_cell, 4) float64 centre form of map i."""
    cells, stride = spec.feature_maps[i], spec.strides[i]
    centre = (torch.arange(cells, dtype=torch.float64) + 0.5) * stride
    shapes = torch.tensor(spec.shapes(i), dtype=torch.float64)
    y, x = torch.meshgrid(centre, centre, indexing="ij")  # row-major: x runs fastest
    centres = torch.stack([x, y], dim=-1).reshape(-1, 1, 2)  # (cells², 1, 2)
    grid = torch.cat([centres.expand(-1, len(shapes), 2), shapes.expand(len(centres), -1, 2)], dim=-1)
    return grid.reshape(-1, 4)
