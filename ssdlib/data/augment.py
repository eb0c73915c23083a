"""Augmentation in two steps: draw the random numbers, then resample once.

The original distorts the photograph, pastes it on a mean-coloured area up to 16 times as large, cuts a crop (*patch*)
out, resizes it to 300 x 300 and mirrors it (src/caffe/layers/annotated_data_layer.cpp 112-260, util/sampler.cpp
21-161, util/im_transforms.cpp 540-730; paper, sections 2.2 and 3.6). All geometric steps of that chain together only
determine which rectangle of the padded photograph (*plane*) fills the 300 x 300 input: the *window*. So `draw`
chooses the window, the mirror and the colours and moves the boxes, for a whole batch at once. `warp` then resamples:
it reads every pixel of the input directly from the photograph, on the device that it is given.

What differs from Caffe is listed in docs/differences_from_caffe.md: colours change after the resampling instead of
before, nothing is re-encoded as JPEG, patches aren't rounded to whole pixels, one interpolation instead of five.

ssd_keras, whose published run the course retraces, has rules of its own in four places, and `rule="ssd_keras"`
chooses them (data_generator/data_augmentation_chain_original_ssd.py and the files it imports, at 3ac9ada):

- expand: the photograph may also touch the right and the lower edge of the plane;
- crop: one bound after the other is drawn until a patch has been found, see `_draw_patch_in_rounds`;
- boxes are cut off at the last pixel of the patch, size - 1, where the centre has to lie, too, and their
  corners on the input are rounded to whole pixels, see `_move_to_whole_pixels`;
- distort: contrast is about 127.5 instead of 0, and a hue that falls below 0 wraps to 360.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import packed
from ssdlib.model import MEAN

STEPS = ("distort", "expand", "crop", "flip")
RULES = ("caffe", "ssd_keras")

BRIGHTNESS = 32.0  # at most this is added to 0..255
CONTRAST = (0.5, 1.5)  # factors
SATURATION = (0.5, 1.5)
HUE = 36.0  # degrees at most; 18 in OpenCV's unit
LARGEST_EXPANSION = 4.0
# Each sampler wants a patch that has at least this IoU with some object; the last one wants
# only that there is an object. The whole photograph is a seventh candidate that always succeeds.
MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)
TRIALS = 50
PATCH_SCALE = (0.3, 1.0)  # √(share of the area)
PATCH_ASPECT = (0.5, 2.0)  # relative width / height

# How many uniform numbers each step of one image's draw uses up
NEEDS = {"distort": 9, "expand": 4, "crop": len(MIN_IOUS) * TRIALS * 4 + 1, "flip": 1}

# By ssd_keras's rule a round takes the whole image with this probability, and tries to find a patch otherwise. Its
# rounds never end; here the whole image is taken after this many, which happens in one draw of 700,000 where only one
# of the six bounds can be met, and more rarely where more can be.
WHOLE = 0.143
ROUNDS = 40
GREY = 127.5  # the grey level that ssd_keras's contrast doesn't change
NEEDS_BY = {"caffe": NEEDS, "ssd_keras": NEEDS | {"crop": ROUNDS * (2 + TRIALS * 4)}}


@dataclass(frozen=True)
class Draw:
    """What was drawn for B photographs, and their boxes afterwards."""

    window: Tensor  # (B, 4) px of the photograph, xyxy: the crop; may reach far outside
    flip: Tensor  # (B,) bool: mirrored left-right
    brightness: Tensor  # (B,) added to 0..255
    contrast: Tensor  # (B,) factor
    saturation: Tensor  # (B,) factor
    hue: Tensor  # (B,) degrees
    contrast_last: Tensor  # (B,) bool: contrast after hue rather than before saturation
    patch: Tensor  # (B,) int64: sampler the crop came from, 0 = no crop, then MIN_IOUS in order
    boxes: Tensor  # (B, R, 4) px of the input; kept objects first
    labels: Tensor  # (B, R); 0 marks an empty slot
    rule: str = "caffe"  # of RULES: how contrast and hue are meant


def uniforms(batch: int, generator: torch.Generator, rule: str = "caffe") -> Tensor:
    """All the random numbers a batch needs, (B, n) in [0, 1). Draws are a pure function of them, so any share
    of a batch can be drawn by itself, with the same outcome."""
    return torch.rand(batch, sum(NEEDS_BY[rule].values()), generator=generator)


def draw(
    sizes: Tensor,
    boxes: Tensor,
    labels: Tensor,
    random_numbers: Tensor | None = None,
    steps: Sequence[str] = STEPS,
    rule: str = "caffe",
) -> Draw:
    """Draw the augmentation of B photographs and move their boxes along.

    `sizes` (B, 2) width and height in px, `boxes` (B, R, 4) px of the photographs, `labels` (B, R) with 0 for
    empty slots, `random_numbers` from `uniforms`. `steps` leaves some out; without any step, and then without random
    numbers, they are only resized. An object stays if its centre lies in the window, and is cut off at the border.
    `rule` is Caffe's or ssd_keras's (see above); `random_numbers` have to be made for the same one.
    """
    if rule not in RULES:
        raise ValueError(f"augmentation rule {rule!r}; wanted one of {', '.join(RULES)}")
    unknown = set(steps) - set(STEPS)
    if unknown:
        raise ValueError(f"augmentation step {sorted(unknown)[0]!r}; wanted some of {', '.join(STEPS)}")
    count, needs, whole_pixels = len(sizes), NEEDS_BY[rule], rule == "ssd_keras"
    if random_numbers is None:
        if steps:
            raise ValueError("steps without random numbers; pass `uniforms(batch, generator)` or steps=()")
        random_numbers = torch.zeros(count, sum(needs.values()))
    u = dict(zip(needs, random_numbers.split(list(needs.values()), dim=1), strict=True))

    colours = _draw_colours(u["distort"], "distort" in steps)
    plane = _draw_expansion(u["expand"], sizes, "expand" in steps, edge=int(whole_pixels))
    if "crop" in steps:
        patch_of = _draw_patch_in_rounds if whole_pixels else _draw_patch
        window, patch = patch_of(u["crop"], plane, boxes, labels)
    else:
        window, patch = plane, torch.zeros(count, dtype=torch.int64)
    flip = (u["flip"][:, 0] < 0.5) if "flip" in steps else torch.zeros(count, dtype=torch.bool)
    if whole_pixels:
        moved = _move_to_whole_pixels(boxes, labels, window, flip, cropped=patch > 0)
    else:
        moved = _move(boxes, labels, window, flip)
    return Draw(window, flip, *colours, patch, *moved, rule)


def _draw_colours(u: Tensor, wanted: bool) -> tuple[Tensor, ...]:
    """Brightness, contrast, saturation, hue, each with its own coin, and one coin for the order."""
    on = (u[:, :4] < 0.5) & wanted
    amount = u[:, 4:8]
    return (
        torch.where(on[:, 0], _between(amount[:, 0], (-BRIGHTNESS, BRIGHTNESS)), 0.0),
        torch.where(on[:, 1], _between(amount[:, 1], CONTRAST), 1.0),
        torch.where(on[:, 2], _between(amount[:, 2], SATURATION), 1.0),
        torch.where(on[:, 3], _between(amount[:, 3], (-HUE, HUE)), 0.0),
        (u[:, 8] < 0.5) & wanted,
    )


def _draw_expansion(u: Tensor, sizes: Tensor, wanted: bool, edge: int = 0) -> Tensor:
    """The padded photograph, (B, 4) px of the photograph: the photograph itself, or every other time an area up to 4
    times as wide and high in which it lies somewhere ("zoom out"). With `edge` 1 it may touch the far edges, too."""
    size = sizes.float()
    ratio = torch.where((u[:, 0] < 0.5) & wanted, _between(u[:, 1], (1.0, LARGEST_EXPANSION)), 1.0)
    grown = (size * ratio[:, None]).floor()
    offset = (u[:, 2:4] * (grown - size + edge)).floor()
    return torch.cat([-offset, grown - offset], dim=1)


def _draw_patch(u: Tensor, plane: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """All samplers try, 50 times each; one of the patches found is taken, each with the same probability.

    -> (B, 4) window in px of the photograph, (B,) which candidate it is.
    """
    count = len(plane)
    trial = u[:, :-1].view(count, len(MIN_IOUS), TRIALS, 4)
    scale = _between(trial[..., 0], PATCH_SCALE)
    # drawn first, then clamped so that the patch fits: not the same as drawing inside the bounds
    aspect = _between(trial[..., 1], PATCH_ASPECT).maximum(scale**2).minimum(1 / scale**2)
    sides = torch.stack([scale * aspect.sqrt(), scale / aspect.sqrt()], dim=-1)
    corner = trial[..., 2:] * (1 - sides)
    patches = torch.cat([corner, corner + sides], dim=-1)  # (B, 6, 50, 4), fractions of the padded photograph

    origin, extent = plane[:, :2], plane[:, 2:] - plane[:, :2]
    objects = (boxes - origin.repeat(1, 2)[:, None]) / extent.repeat(1, 2)[:, None]
    overlap = box_ops.iou(patches[..., None, :], objects[:, None, None])  # (B, 6, 50, R)
    bound = torch.tensor(MIN_IOUS)[:, None, None]
    good = ((overlap >= bound) & (labels > 0)[:, None, None]).any(dim=-1)  # one object is enough

    first = good.to(torch.uint8).argmax(dim=2)  # (B, 6) first trial that worked
    found = patches.gather(2, first[..., None, None].expand(-1, -1, 1, 4))[:, :, 0]
    whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(count, 1, 4)
    candidates = torch.cat([whole, found], dim=1)  # (B, 7, 4)
    works = torch.cat([torch.ones(count, 1, dtype=torch.bool), good.any(dim=2)], dim=1)
    nth = (u[:, -1] * works.sum(dim=1)).floor()
    choice = (works.cumsum(dim=1) > nth[:, None]).to(torch.uint8).argmax(dim=1)
    chosen = candidates[torch.arange(count), choice]
    return chosen * extent.repeat(1, 2) + origin.repeat(1, 2), choice


def _draw_patch_in_rounds(u: Tensor, plane: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """ssd_keras's crop: round after round either the whole image is taken, or one of the six bounds is drawn and
    50 patches are tried for it. The first whose IoU with some object is *larger* than the bound is the patch.

    Width and height are drawn independently, each 0.3 to 1 of the padded photograph's, in whole pixels, and a trial
    whose width / height, in pixels, isn't 0.5 to 2 is lost. The bound 0 means that the patch has to touch an object.

    -> (B, 4) window in px of the photograph, (B,) 0 = whole image, then the bound's place in MIN_IOUS.
    """
    window, patch = plane.clone(), torch.zeros(len(plane), dtype=torch.int64)
    origin, extent = plane[:, :2], plane[:, 2:] - plane[:, :2]
    bounds = torch.tensor(MIN_IOUS)
    searching = (labels > 0).any(dim=1)  # without objects there is nothing to touch
    for round_ in u.view(len(plane), ROUNDS, -1).unbind(dim=1):
        searching = searching & (round_[:, 0] >= WHOLE)
        which = searching.nonzero()[:, 0]
        if not len(which):
            break
        number = (round_[which, 1] * len(bounds)).long()
        trial = round_[which, 2:].unflatten(1, (TRIALS, 4))
        room = extent[which, None]
        sides = (_between(trial[..., :2], PATCH_SCALE) * room).floor()
        corner = origin[which, None] + (trial[..., 2:] * (room - sides + 1)).floor()
        patches = torch.cat([corner, corner + sides], dim=-1)  # (b, 50, 4) px of the photograph
        aspect = sides[..., 0] / sides[..., 1]
        overlap = box_ops.iou(patches[..., None, :], boxes[which, None])  # (b, 50, R)
        good = ((overlap > bounds[number, None, None]) & (labels[which, None] > 0)).any(dim=-1)
        good &= (aspect >= PATCH_ASPECT[0]) & (aspect <= PATCH_ASPECT[1])
        found, first = good.any(dim=1), good.to(torch.uint8).argmax(dim=1)
        window[which[found]] = patches[found, first[found]]
        patch[which[found]] = number[found] + 1
        searching[which[found]] = False
    return window, patch


def _between(u: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Uniform numbers from [0, 1) to [low, high)."""
    low, high = bounds
    return low + (high - low) * u


def _move(boxes: Tensor, labels: Tensor, window: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes from the photograph to the input; kept objects move to the front, empty slots are zeros."""
    side = SSD300_ANCHORS.canvas
    origin, extent = window[:, None, :2], window[:, None, 2:] - window[:, None, :2]
    centre = box_ops.to_cxcywh(boxes)[..., :2]
    inside = ((centre >= origin) & (centre <= origin + extent)).all(dim=-1)
    keep = inside & (labels > 0)
    moved = (boxes - origin.repeat(1, 1, 2)) * (side / extent).repeat(1, 1, 2)
    moved = box_ops.clip(moved, side, side)
    moved = torch.where(flip[:, None, None], box_ops.flip(moved, side), moved)
    moved, labels = moved * keep[..., None], labels * keep
    order = keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(keep.sum(dim=1).max()) if keep.numel() else 0]
    return moved.gather(1, order[..., None].expand(-1, -1, 4)), labels.gather(1, order)


def _move_to_whole_pixels(
    boxes: Tensor, labels: Tensor, window: Tensor, flip: Tensor, cropped: Tensor
) -> tuple[Tensor, Tensor]:
    """`_move` by ssd_keras's rule. Where a patch was cut out ((B,) `cropped`), a box stays if its centre lies between
    its first pixel and its last one, size - 1, and is cut off there. All corners are rounded on the input; a box
    without width or height after that is dropped."""
    side = SSD300_ANCHORS.canvas
    origin, extent = window[:, None, :2], window[:, None, 2:] - window[:, None, :2]
    centre = box_ops.to_cxcywh(boxes)[..., :2] - origin
    inside = ((centre >= 0) & (centre <= extent - 1)).all(dim=-1) | ~cropped[:, None]
    moved = boxes - origin.repeat(1, 1, 2)
    cut = moved.clamp(min=0).minimum((extent - 1).repeat(1, 1, 2))
    moved = torch.where(cropped[:, None, None], cut, moved)
    x1, y1, x2, y2 = moved.unbind(dim=-1)
    mirrored = torch.stack([extent[..., 0] - x2, y1, extent[..., 0] - x1, y2], dim=-1)
    moved = torch.where(flip[:, None, None], mirrored, moved)
    # in float64 and divided first, so that halves are rounded as numpy rounds them there
    factor = torch.full_like(extent, side, dtype=torch.float64) / extent
    moved = (moved.double() * factor.repeat(1, 1, 2)).round().float()
    keep = inside & (labels > 0) & (moved[..., 2:] > moved[..., :2]).all(dim=-1)
    moved, labels = moved * keep[..., None], labels * keep
    order = keep.to(torch.uint8).argsort(dim=1, descending=True, stable=True)
    order = order[:, : int(keep.sum(dim=1).max()) if keep.numel() else 0]
    return moved.gather(1, order[..., None].expand(-1, -1, 4)), labels.gather(1, order)


def warp(photographs: Sequence[Tensor], drawn: Draw, device: torch.device | str = "cpu") -> Tensor:
    """Resample each photograph to the input: B tensors (H, W, 3) uint8 -> (B, 3, S, S) float32 on `device`, RGB
    minus the mean. Pixels that no photograph covers hold the mean, which is 0. Interpolation is bilinear, without
    smoothing before a reduction.
    """
    sizes = torch.tensor([[p.shape[1], p.shape[0]] for p in photographs], dtype=torch.float32)
    where, amounts = places(sizes, drawn), colours(drawn)
    if torch.device(device).type != "cpu":
        pixels, first = packed.pack(photographs)
        read = packed.reading(sizes, where)
        (first, amounts, *read), pixels = packed.send([first, amounts, *vars(read).values()], device, pixels)
        return warp_packed(pixels, first, packed.Reading(*read), amounts, drawn.rule)
    canvas = torch.empty(len(photographs), 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas)
    for image, photograph, (x, y), change in zip(canvas, photographs, where, amounts, strict=True):
        image.copy_(
            _distort(_sample(photograph, x, y), change[None], drawn.rule)[0]
        )  # one photograph stays in the cache
    on_x, on_y = (where.abs() <= 1).unbind(dim=1)
    return canvas.sub_(_mean(canvas.device)).mul_((on_y[:, :, None] & on_x[:, None, :])[:, None])


def warp_packed(pixels: Tensor, first: Tensor, read: packed.Reading, amounts: Tensor, rule: str) -> Tensor:
    """`warp` for all photographs at once, from what is on a GPU: (N, 3) uint8 pixels, (B,) where each photograph
    begins, the `reading` of `places`, and (B, 5) `colours`."""
    canvas = _distort(packed.resample(pixels, first, read), amounts, rule)
    covered = read.covered[:, 1, :, None] * read.covered[:, 0, None]
    return canvas.sub_(_mean(canvas.device)).mul_(covered[:, None])


def places(sizes: Tensor, drawn: Draw) -> Tensor:
    """Where the input is read from photographs of `sizes` (B, 2): (B, 2, S), x of the columns and y of the rows.
    -1 is the left or top edge of the photograph, 1 the right or bottom edge."""
    low, high = drawn.window[:, :2] / sizes, drawn.window[:, 2:] / sizes
    slope, middle = high - low, high + low - 1  # photograph = slope · input + middle, both in -1 ... 1
    slope = slope * torch.stack([1 - 2 * drawn.flip.float(), torch.ones(len(sizes))], dim=1)
    centres = (torch.arange(SSD300_ANCHORS.canvas) + 0.5) * 2 / SSD300_ANCHORS.canvas - 1
    return slope[..., None] * centres + middle[..., None]


@cache
def _mean(device: torch.device) -> Tensor:
    """Kept, because copying a number to a GPU each time would be a synchronisation."""
    return torch.tensor(MEAN, device=device)[:, None, None]


def _sample(photograph: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(H, W, 3) uint8 read at columns x and rows y (S,), -1 = left or top edge, 1 = right or bottom edge."""
    grid = torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)[None]
    pixels = photograph.permute(2, 0, 1)[None].float()
    return F.grid_sample(pixels, grid, "bilinear", padding_mode="border", align_corners=False)


def colours(drawn: Draw) -> Tensor:
    """(B, 5) what to do in this order: brightness, contrast, saturation, hue, contrast if it comes last."""
    one = torch.ones_like(drawn.contrast)
    early = torch.where(drawn.contrast_last, one, drawn.contrast)
    late = torch.where(drawn.contrast_last, drawn.contrast, one)
    return torch.stack([drawn.brightness, early, drawn.saturation, drawn.hue, late], dim=1)


NOTHING = (0.0, 1.0, 1.0, 0.0, 1.0)  # the amounts of `colours` that change nothing


def _distort(rgb: Tensor, amounts: Tensor, rule: str = "caffe") -> Tensor:
    """Change the colours of (b, 3, S, S) in 0..255 by `colours` (b, 5), clipped to that range after each step."""
    operations = (_brighten, _scale, _saturate, _turn_hue, _scale)
    if rule == "ssd_keras":
        operations = (_brighten, _scale_about_grey, _saturate, _turn_hue_round, _scale_about_grey)
    for operation, nothing, amount in zip(operations, NOTHING, amounts.T, strict=True):
        if (
            rgb.is_cuda or (amount != nothing).any()
        ):  # reading the answer back from a GPU would be a synchronisation
            rgb = operation(rgb, amount[:, None, None, None])
    return rgb


def _brighten(rgb: Tensor, amount: Tensor) -> Tensor:
    return (rgb + amount).clamp_(0, 255)


def _scale(rgb: Tensor, factor: Tensor) -> Tensor:
    return (rgb * factor).clamp_(0, 255)


def _scale_about_grey(rgb: Tensor, factor: Tensor) -> Tensor:
    return ((rgb - GREY) * factor + GREY).clamp_(0, 255)


def _saturate(rgb: Tensor, factor: Tensor) -> Tensor:
    """HSV saturation times `factor`. Value stays the largest channel, so the others move towards or away from
    it, at most until one of them reaches 0."""
    value, chroma = _value_and_chroma(rgb)
    ratio = torch.minimum(factor, value / chroma.clamp(min=1e-6))
    return value - (value - rgb) * ratio


def _turn_hue(rgb: Tensor, degrees: Tensor) -> Tensor:
    """HSV hue plus `degrees`. Like OpenCV's 8-bit arithmetic in the original, a hue that would fall below 0
    stays at 0 (red); one above 360 wraps."""
    return _with_hue(rgb, lambda sector: (sector + degrees / 60).clamp(min=0))


def _turn_hue_round(rgb: Tensor, degrees: Tensor) -> Tensor:
    """HSV hue plus `degrees`, modulo 360."""
    return _with_hue(rgb, lambda sector: (sector + degrees / 60) % 6)


def _with_hue(rgb: Tensor, changed: Callable[[Tensor], Tensor]) -> Tensor:
    """The same saturation and value with another hue: `changed` takes and gives sixths of the colour circle."""
    value, chroma = _value_and_chroma(rgb)
    red, green, blue = rgb.split(1, dim=1)
    safe = chroma.clamp(min=1e-6)
    sector = torch.where(
        value == red,
        ((green - blue) / safe) % 6,
        torch.where(value == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )  # 0..6, sixths of the colour circle
    sector = changed(sector)
    # a channel is as large as the largest up to one sixth of the circle from its own hue, smallest from two on
    own = torch.arange(0.0, 6.0, 2.0, device=rgb.device)[:, None, None]
    away = 3 - ((sector - own).abs() - 3).abs()  # either way round
    return value - chroma * (away - 1).clamp(0, 1)


def _value_and_chroma(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Largest channel, and how far the smallest lies below it: (b, 1, S, S) each."""
    red, green, blue = rgb.split(1, dim=1)
    value = torch.maximum(torch.maximum(red, green), blue)
    return value, value - torch.minimum(torch.minimum(red, green), blue)
