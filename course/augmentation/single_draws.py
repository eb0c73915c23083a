"""Draws of the augmentation looked at one by one, and the rules for windows: what chapter 06 shows and measures."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course.boxes import voc_facts
from course.kit import pictures
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import augment, batches, voc
from ssdlib.data.augment import MIN_IOUS, STEPS, Draw
from ssdlib.model import MEAN
from ssdlib.plots import BLACK, BLUE, GREEN, PURPLE, RED, boxes_on, photograph_on
from ssdlib.records import Example

SAMPLERS = ("whole picture", *(f"IoU ≥ {bound:g}" if bound else "any patch" for bound in MIN_IOUS))
FILL = "#{:02x}{:02x}{:02x}".format(*(round(value) for value in MEAN))  # the mean, around the photograph


@dataclass(frozen=True)
class SingleDraw:
    """One draw for one photograph with R objects."""

    drawn: Draw  # B = 1; its labels are the numbers of the kept objects, 1 ... R
    plane: Tensor  # (4,) px of the photograph: what patches are cut from
    found: tuple[int, ...]  # candidates that have a patch: numbers in SAMPLERS, 0 = the whole picture


@dataclass(frozen=True)
class Judgement:
    """What the rules say about one window and R objects."""

    overlap: Tensor  # (R,) IoU of window and object
    visible: Tensor  # (R,) share of the object's area that lies in the window
    kept: Tensor  # (R,) bool: the centre lies in the window
    moved: Tensor  # (R, 4) px of the canvas, cut off at its border; of kept and dropped objects
    scale: float  # √(share of the plane's area)
    aspect: float  # width / height, both as shares of the plane's
    inside: bool  # the window lies in the plane
    accepted: tuple[int, ...]  # samplers that would take this window: numbers in SAMPLERS


def single_draw(
    example: Example, seed: int, steps: Sequence[str] = STEPS, sampler: int | None = None
) -> SingleDraw:
    """The library's draw for one photograph. With `sampler` the patch is that sampler's, chosen from the same trials;
    if it has none, the draw stays as it was."""
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
    """(n, 7) bool: which candidates have a patch in the draws of n seeds; number 0, the whole picture, always has."""
    patches = _every(example, seeds, STEPS).patch.view(len(seeds), -1)
    return (patches[:, :, None] == torch.arange(len(SAMPLERS))).any(dim=1)


def _every(example: Example, seeds: Sequence[int], steps: Sequence[str]) -> Draw:
    """For each seed its draw, then seven more that differ only in the last throw of the crop, the one that says which
    candidate is taken: among them is every candidate that has a patch. Labels number the objects."""
    chance = torch.cat([augment.uniforms(1, batches.generator(seed)) for seed in seeds])
    chance = chance[:, None].repeat(1, 1 + len(SAMPLERS), 1)
    last = sum(augment.NEEDS[name] for name in ("distort", "expand", "crop")) - 1
    chance[:, 1:, last] = (torch.arange(len(SAMPLERS)) + 0.5) / len(SAMPLERS)
    chance = chance.flatten(0, 1)
    sizes, numbers = torch.tensor([example.size]), torch.arange(1, len(example.boxes) + 1)
    given = (sizes, example.boxes[None], numbers[None])
    return augment.draw(*(each.expand(len(chance), *each.shape[1:]) for each in given), chance, steps)


def judge(window: Tensor, objects: Tensor, plane: Tensor) -> Judgement:
    """(4,) window, (R, 4) objects and (4,) plane in px of the photograph -> what the rules of the samplers and of
    the crop say (src/caffe/util/sampler.cpp 36-161, bbox_util.cpp 333-353). Nothing is mirrored here."""
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
    """(..., 4) objects and (..., 4) windows that broadcast -> (...) share of each object's area in the window, and
    whether its centre lies there, which is what decides."""
    low, high = (
        torch.maximum(objects[..., :2], window[..., :2]),
        torch.minimum(objects[..., 2:], window[..., 2:]),
    )
    visible = (high - low).clamp(min=0).prod(dim=-1) / box_ops.area(objects).clamp(min=1e-9)
    centre = (objects[..., :2] + objects[..., 2:]) / 2
    return visible, ((centre >= window[..., :2]) & (centre <= window[..., 2:])).all(dim=-1)


def pixels(photograph: Tensor, drawn: Draw) -> Tensor:
    """The canvas of one draw as a picture, (300, 300, 3) uint8: the mean is added back."""
    image = augment.warp([photograph], drawn)[0].permute(1, 2, 0) + torch.tensor(MEAN)
    return image.round().clamp(0, 255).to(torch.uint8)


def _within(value: float, bounds: tuple[float, float]) -> bool:
    return bounds[0] - 1e-3 <= value <= bounds[1] + 1e-3  # positions are rounded to a tenth of a px


def around(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """(4, 4) boxes that cover the plane except for the photograph."""
    (x1, y1, x2, y2), (width, height) = plane.tolist(), size
    return torch.tensor([[x1, y1, x2, 0], [x1, height, x2, y2], [x1, 0, 0, height], [width, 0, x2, height]])


def mixed() -> Example:
    """The first test picture with three objects apart, one of them over 30 % of the picture; where none are apart,
    the one whose objects overlap least. It is wide enough for a window of 300 px that begins at 100."""
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
        raise LookupError("no wide test picture with three objects, one of them large")
    return min(found, key=lambda e: max(0.02, _largest_overlap(e)))  # the first of those that are apart


def _largest_overlap(example: Example) -> float:
    return float(box_ops.iou(example.boxes[:, None], example.boxes).triu(diagonal=1).max())


def training(count: int) -> list[Example]:
    """The first training pictures of VOC2007 and VOC2012, of those that are on disk."""
    devkit, found = pictures.devkit(), []
    for year in ("2007", "2012"):
        if len(found) < count and (devkit / f"VOC{year}/ImageSets/Main/trainval.txt").is_file():
            found += voc.read_sets(devkit, [f"{year}-trainval"])
    return found[:count]


def candidates(example: Example, photograph: Tensor, count: int = 1000) -> Figure:
    """A patch of every sampler, above on the plane, below on the input: all of one draw, the fullest of `count`; a
    sampler that has none there shows its first patch in another draw."""
    steps = ("expand", "crop")  # the same patches, seen in plain colours
    table = successes(example, range(count))
    fullest = (table.sum(dim=1) == table.sum(dim=1).max()).nonzero()[:, 0].tolist()
    expanded = [seed for seed in fullest if single_draw(example, seed, steps).plane[0] < 0]
    fullest = (expanded or fullest)[0]
    figure, axes = plt.subplots(
        2, len(SAMPLERS), figsize=(13, 3.7), height_ratios=(0.75, 1), layout="constrained"
    )
    for number, (above, below) in enumerate(axes.T):
        seed = fullest if table[fullest, number] else int(table[:, number].int().argmax())
        one = single_draw(example, seed, steps, sampler=number)
        if number not in one.found:
            above.set(title=f"{SAMPLERS[number]}: none", xticks=(), yticks=())
            below.set_axis_off()
            continue
        (x1, y1, x2, y2), window = one.plane.tolist(), one.drawn.window
        photograph_on(above, photograph)
        for a, b, c, d in around(one.plane, example.size).tolist():
            above.add_patch(plt.Rectangle((a, b), c - a, d - b, facecolor=FILL))
        kept = judge(window[0], example.boxes, one.plane).kept
        boxes_on(above, example.boxes[kept])
        boxes_on(above, example.boxes[~kept], color=PURPLE, dashed=True)
        boxes_on(above, window, color=BLUE)
        above.set(xlim=(x1 - 20, x2 + 20), ylim=(y2 + 20, y1 - 20))
        above.set_title(SAMPLERS[number] + ("" if seed == fullest else "*"), fontsize=11)
        photograph_on(below, pixels(photograph, one.drawn))
        boxes_on(below, one.drawn.boxes[0])
    return figure


def strip(shown: dict[str, Tensor], columns: int = 5) -> Figure:
    """Pictures (H, W, 3) uint8 in rows, each under its name."""
    rows = -(-len(shown) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2.2 * columns, 2.4 * rows), layout="constrained")
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, (name, picture) in zip(axes.flat, shown.items(), strict=False):
        photograph_on(ax, picture)
        ax.set_title(name, fontsize=10)
    return figure


def size_curves(sides: dict[str, Tensor]) -> Figure:
    """For each group of objects the share whose side (root of the area, px of the input) is below x."""
    figure, ax = plt.subplots(figsize=(7.5, 4), layout="constrained")
    styles = zip(sides.items(), (BLACK, BLUE, GREEN, RED), ("-", "--", ":", "-."), strict=False)
    for (name, values), color, style in styles:
        shares = 100 * (torch.arange(len(values)) + 1) / len(values)
        ax.plot(values.sort().values, shares, style, color=color, linewidth=2.2, label=name)
    ax.axvline(SSD300_ANCHORS.min_sizes[0], color="0.5", linewidth=1)
    ax.text(
        SSD300_ANCHORS.min_sizes[0] * 1.03, 96, "smallest square anchor", fontsize=9, va="top", color="0.3"
    )
    ax.set(xscale="log", xlim=(4, 300), ylim=(0, 100), xticks=(5, 10, 20, 50, 100, 200, 300))
    ax.set(
        xticklabels=(5, 10, 20, 50, 100, 200, 300),
        xlabel="size of the object: √(width · height), px of the canvas",
    )
    ax.set(ylabel="objects of a smaller size, percent")
    ax.legend(frameon=False, loc="lower right")
    return figure


def genuine_below(side: float, ratio: float = 1.0) -> float:
    """Which share of the objects of VOC 07+12 trainval has a side (root of the area) below `side` px of the input
    after a zoom-out by `ratio`: counted in course/facts, to 5 px."""
    counts = voc_facts.shapes()
    middles = voc_facts.BIN * (torch.arange(len(counts)) + 0.5)
    sides = (middles[:, None] * middles).sqrt()
    return float(counts[sides / ratio < side].sum() / counts.sum())
