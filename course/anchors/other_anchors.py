"""Anchors of other programs, and what trained weights make of them: order, centres, ratios, clipping.

A network learns its offsets and classes relative to the anchors it was trained with. This file gives it others and
counts what it still finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from course.kit import pictures
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes
from ssdlib.data import batches, voc
from ssdlib.detect import detect
from ssdlib.records import Detections, Example, Predictions

SHOWN = 0.5  # score from which a detection counts as a detection


@dataclass(frozen=True)
class LetterSpec(AnchorSpec):
    """Sizes and centres by the wording of the paper, as in sgrvinod's tutorial: equation 4 over the last five maps
    without rounding, 100 percent after the last, and centres (i + ½) / cells."""

    strides: tuple[float, ...] = tuple(300 / cells for cells in SSD300_ANCHORS.feature_maps)

    @cached_property
    def percents(self) -> tuple[float, ...]:
        """(10, 20, 37.5, 55, 72.5, 90, 100)"""
        low, high = self.percent_range
        maps = len(self.feature_maps) - 1
        return (self.first_percent, *(low + (high - low) / (maps - 1) * i for i in range(maps)), 100)


def reordered(anchors: Tensor, order: Sequence[int], spec: AnchorSpec = SSD300_ANCHORS) -> Tensor:
    """(K, 4) anchors with the shapes of each cell in another order; a map with fewer shapes uses what fits."""
    parts = []
    for part, count in zip(anchors.split(spec.per_map), spec.boxes_per_cell, strict=True):
        mine = [shape for shape in order if shape < count]
        parts.append(part.reshape(-1, count, 4)[:, mine].reshape(-1, 4))
    return torch.cat(parts)


def columns_first(anchors: Tensor, spec: AnchorSpec = SSD300_ANCHORS) -> Tensor:
    """(K, 4) anchors with the cells of each map in the order of columns: x and y of the centres change places."""
    parts = []
    for part, cells in zip(anchors.split(spec.per_map), spec.feature_maps, strict=True):
        parts.append(part.reshape(cells, cells, -1, 4).transpose(0, 1).reshape(-1, 4))
    return torch.cat(parts)


def variants() -> dict[str, Tensor]:
    """Name -> (K, 4) anchors. The first are those the network was trained with."""
    ours, even = default_boxes(), AnchorSpec(strides=LetterSpec().strides)
    return {
        "as trained": ours,
        "sizes by equation 4": default_boxes(LetterSpec(strides=SSD300_ANCHORS.strides)),
        "sizes clipped": default_boxes(clip="size"),
        "centres clipped": default_boxes(clip="center"),
        "centres (i + ½) / cells": default_boxes(even),
        "order 1 1' 2 3 1/2 1/3": reordered(ours, (0, 1, 2, 4, 3, 5)),
        "ratio read as h / w": reordered(ours, (0, 1, 3, 2, 5, 4)),
        "columns before rows": columns_first(ours),
    }


def changed(anchors: Tensor) -> Tensor:
    """(K,) bool: which of these differ from the released ones by more than a thousandth of a pixel."""
    return (anchors - default_boxes()).abs().amax(dim=1) > 1e-3


@dataclass(frozen=True)
class Answers:
    """What the recorded network says about some painted scenes, before any anchor comes in."""

    examples: list[Example]
    photographs: list[Tensor]
    predictions: Predictions

    def found(self, anchors: Tensor) -> list[Detections]:
        """What these answers become with these anchors."""
        sizes = [example.size for example in self.examples]
        return [found.above(SHOWN) for found in detect(self.predictions, anchors, sizes)]

    def score(self, anchors: Tensor) -> tuple[int, int, float]:
        """-> objects found (right class, IoU 0.5), detections that found none, mean IoU of the objects found."""
        ious, wrong = [], 0
        for example, found in zip(self.examples, self.found(anchors), strict=True):
            table = box_ops.iou(example.boxes[:, None], found.boxes) * (
                example.labels[:, None] == found.labels
            )
            hit = table >= 0.5
            wrong += int((~hit.any(dim=0)).sum())
            ious += [float(line.max()) for line, mine in zip(table, hit, strict=True) if mine.any()]
        return len(ious), wrong, sum(ious) / max(1, len(ious))


def ask_network(count: int = 48) -> Answers:
    """The recorded mini network's answers about the first `count` test scenes of the mini VOC."""
    examples, model = pictures.mini_test_set()[:count], pictures.recorded_network()
    photographs = [voc.read_photograph(example.path) for example in examples]
    with torch.inference_mode():
        predictions = model(batches.make_batch(examples, photographs).images)
    return Answers(examples, photographs, predictions)
