"""Random versions of a photograph looked at one by one, and the rules for crops: what chapter 06 measures.

As in `ssdlib.data.augment`, a `window` is a crop, and the `plane` is what it is cut from: the padded photograph."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from course.boxes import voc_facts
from course.kit import pictures
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import augment, batches, voc
from ssdlib.data.augment import MIN_IOUS, STEPS, Draw
from ssdlib.model import MEAN
from ssdlib.records import Example

SAMPLERS = ("no crop", *(f"IoU ≥ {bound:g}" if bound else "any crop" for bound in MIN_IOUS))
FILL = "#{:02x}{:02x}{:02x}".format(*(round(value) for value in MEAN))  # the mean, around the photograph


@dataclass(frozen=True)
class SingleDraw:
    """One random version of one photograph with R objects."""

    drawn: Draw  # B = 1; its labels are the numbers of the kept objects, 1 ... R
    plane: Tensor  # (4,) px of the photograph: what crops are cut from, the padded photograph
    found: tuple[int, ...]  # candidates that have a crop: numbers in SAMPLERS, 0 = none is cut out


@dataclass(frozen=True)
class Judgement:
    """What the rules say about one crop and R objects."""

    overlap: Tensor  # (R,) IoU of crop and object
    visible: Tensor  # (R,) share of the object's area that lies in the crop
    kept: Tensor  # (R,) bool: the centre lies in the crop
    moved: Tensor  # (R, 4) px of the input, clipped at its border; of kept and dropped objects
    scale: float  # √(share of the padded photograph's area)
    aspect: float  # width / height, both as shares of the padded photograph's
    inside: bool  # the crop lies in the padded photograph
    accepted: tuple[int, ...]  # samplers that would accept this crop: numbers in SAMPLERS


def single_draw(
    example: Example, seed: int, steps: Sequence[str] = STEPS, sampler: int | None = None
) -> SingleDraw:
    """What the library chooses for one photograph. With `sampler` the crop is that sampler's, from the same trials;
    if it has none, the choice stays as it was."""
    drawn = _every(example, [seed], steps)
    patches = drawn.patch.tolist()
    chosen = patches.index(sampler) if sampler in patches else 0
    each = {field.name: getattr(drawn, field.name) for field in fields(Draw)}
    one = Draw(**{name: value[[chosen]] if torch.is_tensor(value) else value for name, value in each.items()})
    there = one.labels[0] > 0
    one = replace(one, boxes=one.boxes[:, there], labels=one.labels[:, there])
    plane = _every(example, [seed], [step for step in steps if step != "crop"]).window[0]
    return SingleDraw(one, plane, tuple(sorted(set(patches))))


def successes(example: Example, seeds: Sequence[int]) -> Tensor:
    """(n, 7) bool: which candidates succeed, for n random seeds; number 0, no crop, always does."""
    patches = _every(example, seeds, STEPS).patch.view(len(seeds), -1)
    return (patches[:, :, None] == torch.arange(len(SAMPLERS))).any(dim=1)


def _every(example: Example, seeds: Sequence[int], steps: Sequence[str]) -> Draw:
    """For each random seed what is drawn, then seven more that differ only in the last random number of the crop, the
    one that says which candidate is taken: every candidate that succeeded is among them. Labels number objects."""
    numbers = torch.cat([augment.uniforms(1, batches.generator(seed)) for seed in seeds])  # (seeds, n)
    numbers = numbers.repeat_interleave(1 + len(SAMPLERS), dim=0)
    last = sum(augment.NEEDS[name] for name in ("distort", "expand", "crop")) - 1
    which = (torch.arange(len(SAMPLERS)) + 0.5) / len(SAMPLERS)
    numbers.view(len(seeds), -1, numbers.shape[1])[:, 1:, last] = which
    sizes = torch.tensor([example.size] * len(numbers))
    boxes = example.boxes.expand(len(numbers), -1, -1)
    labels = torch.arange(1, len(example.boxes) + 1).expand(len(numbers), -1)
    return augment.draw(sizes, boxes, labels, numbers, steps)


def judge(window: Tensor, objects: Tensor, plane: Tensor) -> Judgement:
    """(4,) crop, (R, 4) objects and (4,) padded photograph in px of the photograph -> what the rules of samplers and
    crop say (src/caffe/util/sampler.cpp 36-161, bbox_util.cpp 333-353). Nothing is mirrored here."""
    side = SSD300_ANCHORS.canvas
    origin, extent = window[:2], window[2:] - window[:2]
    shifted = box_ops.scale(objects - origin.repeat(2), side / extent[0], side / extent[1])
    visible, kept = in_view(objects, window)
    overlap = box_ops.iou(objects, window)
    share = extent / (plane[2:] - plane[:2])
    scale, aspect = float(share.prod().sqrt()), float(share[0] / share[1])
    inside = bool((window[:2] >= plane[:2] - 0.1).all() and (window[2:] <= plane[2:] + 0.1).all())
    whole = bool((window - plane).abs().max() < 0.1)
    fits = inside and _within(scale, augment.PATCH_SCALE) and _within(aspect, augment.PATCH_ASPECT)
    best = float(overlap.max()) if len(overlap) else -1.0  # without objects no bound is met
    return Judgement(
        overlap,
        visible,
        kept,
        box_ops.clip(shifted, side, side),
        scale,
        aspect,
        inside,
        (0,) * whole + tuple(i for i, bound in enumerate(MIN_IOUS, 1) if fits and best >= bound),
    )


def in_view(objects: Tensor, window: Tensor) -> tuple[Tensor, Tensor]:
    """(..., 4) objects and (..., 4) crops that broadcast -> (...) share of each object's area in the crop, and
    whether its centre lies there, which is what decides."""
    low, high = (
        torch.maximum(objects[..., :2], window[..., :2]),
        torch.minimum(objects[..., 2:], window[..., 2:]),
    )
    visible = (high - low).clamp(min=0).prod(dim=-1) / box_ops.area(objects).clamp(min=1e-9)
    centre = (objects[..., :2] + objects[..., 2:]) / 2
    return visible, ((centre >= window[..., :2]) & (centre <= window[..., 2:])).all(dim=-1)


def pixels(photograph: Tensor, drawn: Draw) -> Tensor:
    """The input that one version gives, as an image (300, 300, 3) uint8: the mean is added back."""
    image = augment.warp([photograph], drawn)[0].permute(1, 2, 0) + torch.tensor(MEAN)
    return image.round().clamp(0, 255).to(torch.uint8)


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] - 1e-3 <= value <= bounds[1] + 1e-3  # positions are rounded to a tenth of a px


def coloured(photograph: Tensor, contrast_last: bool = False, **amounts: float) -> Tensor:
    """A photograph (H, W, 3) uint8 resized to the input, with `amounts` of brightness, contrast, saturation, hue."""
    height, width, _ = photograph.shape
    plain = augment.draw(
        torch.tensor([[width, height]]), torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64), steps=()
    )
    changed = {name: torch.tensor([float(amount)]) for name, amount in amounts.items()}
    return pixels(photograph, replace(plain, contrast_last=torch.tensor([contrast_last]), **changed))


def around(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """(4, 4) boxes that cover the padded photograph except for the photograph itself."""
    (x1, y1, x2, y2), (width, height) = plane.tolist(), size
    return torch.tensor([[x1, y1, x2, 0], [x1, height, x2, y2], [x1, 0, 0, height], [width, 0, x2, height]])


def mixed() -> Example:
    """The first test image with three objects apart, one of them over 30 % of the image, so that samplers with a high
    bound succeed; where none are apart, the one whose objects overlap least."""
    found = [
        e
        for e in pictures.test_set()
        if len(e.labels) == 3
        and not e.difficult.any()
        and e.size[0] > e.size[1]
        and e.size[0] >= 400
        and box_ops.area(e.boxes).max() > 0.3 * e.size[0] * e.size[1]
    ]
    if not found:
        raise LookupError("no wide test image with three objects, one of them large")
    return min(found, key=lambda e: max(0.02, _largest_overlap(e)))  # the first of those that are apart


def _largest_overlap(example: Example) -> float:
    return float(box_ops.iou(example.boxes[:, None], example.boxes).triu(diagonal=1).max())


def alone(side: float, size: tuple[int, int] = (500, 375)) -> Example:
    """An example without a photograph, of one object whose width and height are `side` times the image's."""
    box = torch.tensor([[0.05, 0.05, 0.05 + side, 0.05 + side]]) * torch.tensor([*size, *size])
    return Example("", Path(), size, box, torch.tensor([1]), torch.tensor([False]))


def training(count: int) -> list[Example]:
    """The first training images of VOC2007 and VOC2012, of those that are on disk."""
    devkit, found = pictures.devkit(), []
    for year in ("2007", "2012"):
        if len(found) < count and (devkit / f"VOC{year}/ImageSets/Main/trainval.txt").is_file():
            found += voc.read_sets(devkit, [f"{year}-trainval"])
    return found[:count]


def genuine_below(side: float, ratio: float = 1.0) -> float:
    """Which share of the objects of VOC 07+12 trainval has a side (root of the area) below `side` px of the input
    after a zoom-out by `ratio`: counted in course/facts, to 5 px."""
    counts = voc_facts.shapes()
    middles = voc_facts.BIN * (torch.arange(len(counts)) + 0.5)
    sides = (middles[:, None] * middles).sqrt()
    return float(counts[sides / ratio < side].sum() / counts.sum())
