"""Checks of chapter 05: the exercises on sizes, parameters, receptive fields, the order of answers, L2Norm."""

from collections.abc import Callable
from math import ceil, floor, prod
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib.plots import BLUE, ORANGE, RED

# ---- 5.1 the side of the next map


def _side(side: int, kernel: int, stride: int, padding: int, dilation: int, up: bool) -> int:
    whole = (side + 2 * padding - dilation * (kernel - 1) - 1) / stride
    return (ceil(whole) if up else floor(whole)) + 1


def _side_with(**fixed: Any):
    """`_side` with some arguments always `fixed`, whatever was given."""
    names = ("side", "kernel", "stride", "padding", "dilation", "up")
    return lambda *given: _side(**(dict(zip(names, given, strict=True)) | fixed))


next_side = Exercise(
    "5.1 the next side",
    _side,
    cases=[
        Case("conv1_1", (300, 3, 1, 1, 1, False)),
        Case("pool1", (300, 2, 2, 0, 1, True)),
        Case("pool3", (75, 2, 2, 0, 1, True)),
        Case("pool3 without ceil", (75, 2, 2, 0, 1, False)),
        Case("fc6", (19, 3, 1, 6, 6, False)),
        Case("conv6_2", (19, 3, 2, 1, 1, False)),
        Case("conv8_2", (5, 3, 1, 0, 1, False)),
        Case("the strided stem", (300, 5, 2, 2, 1, False)),
        Case("a pool with stride 4", (12, 3, 4, 0, 1, True)),
    ],
    mistakes={
        "you round down also where `up` is true ||: 75 becomes 38 there": _side_with(up=False),
        "you round up also where `up` is false ||: 75 becomes 37 there": _side_with(up=True),
        "a dilated kernel is wider than its number of taps ||: it covers dilation · (kernel - 1) + 1 cells": _side_with(
            dilation=1
        ),
        "you added the padding of one side only ||; it is added on both, so it counts twice": lambda side, kernel, stride, padding, dilation, up: (
            _side(side + padding, kernel, stride, 0, dilation, up)
        ),
        "one place too few: the kernel stands somewhere before it moves ||; divide the distance that it can move, then add 1": lambda *given: (
            _side(*given) - 1
        ),
        "you added 1 before you divided, so that it was divided too ||: divide first, then add 1": lambda *given: (
            _one_inside(*given)
        ),
        "you add 1 for `up` even where nothing is left over ||: pool1 divides evenly and gives 150, not 151": lambda side, kernel, stride, padding, dilation, up: (
            _side(side, kernel, stride, padding, dilation, False) + up
        ),
        "the division is right, but a map has a whole number of cells ||: round it, up or down as `up` says": lambda side, kernel, stride, padding, dilation, up: (
            (side + 2 * padding - dilation * (kernel - 1) - 1) / stride + 1
        ),
        "you round down where `up` is True and up where it is False ||: with `up`, pool3 makes 38 of 75": lambda side, kernel, stride, padding, dilation, up: (
            _side(side, kernel, stride, padding, dilation, not up)
        ),
    },
    praise="That is how 300 becomes 150, 75, 38, 19, 10, 5, 3 and 1.",
)


def _one_inside(side: int, kernel: int, stride: int, padding: int, dilation: int, up: bool) -> int:
    places = (side + 2 * padding - dilation * (kernel - 1)) / stride
    return ceil(places) if up else floor(places)


# ---- 5.2 the price of a floor

floored = Exercise(
    "5.2 the price of a floor",
    8432,
    mistakes={
        "too many: that is how many it should be; the first map has fewer cells now ||: 37², not 38²": 8732,
        "too few: that is the first map alone; the other five are still there": 5476,
        "too many: you took off the cells that are missing, but each of them had several anchors ||: 38² - 37² = 75 cells with 4 anchors each": 8657,
        "too few: that is what comes out if no pool rounds up ||; here only pool3 rounds down, so the second map is 19²": 8096,
        "too few: you took off too many anchors for each missing cell ||; the first map has 4 in each, "
        "not 6": 8732 - 450,
        "that is how many are missing": 300,
        "in Python `^` isn't a power ||: write `**`": 8760,
    },
    praise="4 · (38² - 37²) = 300 are missing: 8,432. Half a cell of rounding, and every later row is off by 300.",
    tolerance=1e-6,
)


# ---- 5.3 parameters of a layer


def _parameters(inputs: int, outputs: int, kernel: int) -> int:
    return kernel * kernel * inputs * outputs + outputs


parameters = Exercise(
    "5.3 parameters of a layer",
    _parameters,
    cases=[
        Case("conv4_3", (512, 512, 3)),
        Case("conv1_1", (3, 64, 3)),
        Case("fc7", (1024, 1024, 1)),
        Case("conv6_1", (1024, 256, 1)),
        Case("the conf head on fc7", (1024, 126, 3)),
    ],
    mistakes={
        "each output channel has a bias too": lambda i, o, k: k * k * i * o,
        "the kernel is a square ||: kernel · kernel taps": lambda i, o, k: k * i * o + o,
        "too few: a kernel has one grid of taps for each input channel ||: times `inputs`": lambda i, o, k: (
            k * k * o + o
        ),
        "you have one bias for each input channel ||; there is one for each output channel": lambda i, o, k: (
            k * k * i * o + i
        ),
        "you have one bias for each pair of channels ||; there is one for each output channel, added to the sum": lambda i, o, k: (
            (k * k + 1) * i * o
        ),
        "your bias is one more input at each tap ||; it is added once, to the sum of all taps": lambda i, o, k: (
            k * k * (i + 1) * o
        ),
        "you have one bias for the layer ||; there is one for each output channel": lambda i, o, k: (
            k * k * i * o + 1
        ),
    },
    praise="The side of the map is not in it: a convolution costs the same parameters on 38² as on 3².",
)


# ---- 5.4 what a stack sees


def _seen(layers: list[tuple[int, int, int]]) -> int:
    size, stride = 1, 1
    for kernel, step, dilation in layers:
        size += (kernel - 1) * dilation * stride
        stride *= step
    return size


def _seen_early(layers: list[tuple[int, int, int]]) -> int:
    size, stride = 1, 1
    for kernel, step, dilation in layers:
        stride *= step
        size += (kernel - 1) * dilation * stride
    return size


TWO, POOL = (3, 1, 1), (2, 2, 1)
STACKS = [
    Case("one 3x3", ([TWO],)),
    Case("two 3x3", ([TWO, TWO],)),
    Case("two 3x3 and a pool", ([TWO, TWO, POOL],)),
    Case("VGG16 up to pool2, and one 3x3", ([TWO, TWO, POOL, TWO, TWO, POOL, TWO],)),
    Case("a 3x3 with dilation 6", ([(3, 1, 6)],)),
    Case("a stride-2 convolution and a dilated one", ([(3, 2, 1), (3, 1, 2)],)),
    Case("strides of 3 and 2", ([(3, 3, 1), (3, 2, 1), (3, 1, 1)],)),
    Case("a dilated 3x3, and one that isn't", ([(3, 1, 2), (3, 1, 1)],)),
    Case("nothing", ([],)),
]

seen = Exercise(
    "5.4 what a stack sees",
    _seen,
    cases=STACKS,
    mistakes={
        "two 3x3 see 5 pixels, but you get 9 ||: each layer adds to the field, it doesn't multiply it": lambda layers: (
            prod(kernel for kernel, _, _ in layers)
        ),
        "behind a stride of 2 one cell is 2 pixels wide ||: keep the product of the strides": lambda layers: (
            1 + sum((kernel - 1) * dilation for kernel, _, dilation in layers)
        ),
        "a kernel with dilation d has gaps of d - 1 cells between its taps ||, so it reaches (kernel - 1) · dilation further": lambda layers: (
            _seen([(kernel, step, 1) for kernel, step, _ in layers])
        ),
        "you multiplied by a layer's own stride before you added its kernel ||; it counts from the next layer on": _seen_early,
        "you count the last stride only, but behind two pools one cell is 4 pixels wide ||: the strides multiply": lambda layers: (
            _seen_last(layers)
        ),
        "dilation widens a kernel, but the cells of its map lie as close as before ||: only strides multiply": lambda layers: (
            _seen_apart(layers)
        ),
        "one pixel too few ||: begin with the one pixel that a cell is": lambda layers: _seen(layers) - 1,
        "a dilated kernel reaches too far ||: with dilation d it is (kernel - 1) · d further, not kernel · d - 1": lambda layers: (
            _seen_by(layers, lambda kernel, dilation: kernel * dilation - 1)
        ),
        "each layer adds too much: one of a kernel's taps lies on a cell that you see already ||, so a kernel of 3 adds 2": lambda layers: (
            _seen_by(layers, lambda kernel, dilation: kernel * dilation)
        ),
        "you multiplied each kernel by its own layer's stride ||; the strides before it say how far apart its inputs are": lambda layers: (
            1 + sum((kernel - 1) * dilation * step for kernel, step, dilation in layers)
        ),
    },
    praise="Kernels add, strides multiply. With the network's own list this gives 92 px for conv4_3.",
)


def _seen_by(layers: list[tuple[int, int, int]], reach: Callable[[int, int], int]) -> int:
    size, stride = 1, 1
    for kernel, step, dilation in layers:
        size += reach(kernel, dilation) * stride
        stride *= step
    return size


def _seen_apart(layers: list[tuple[int, int, int]]) -> int:
    size, apart = 1, 1
    for kernel, step, dilation in layers:
        size += (kernel - 1) * dilation * apart
        apart *= step * dilation
    return size


def _seen_last(layers: list[tuple[int, int, int]]) -> int:
    size, stride = 1, 1
    for kernel, step, dilation in layers:
        size += (kernel - 1) * dilation * stride
        stride = max(step, 1) if step > 1 else stride
    return size


# ---- 5.5 from channels to anchors


def _rows(x: Tensor, numbers: int) -> Tensor:
    return x.permute(0, 2, 3, 1).reshape(len(x), -1, numbers)


def _numbers_first(x: Tensor, numbers: int) -> Tensor:
    count = x.shape[1] // numbers
    return x.reshape(len(x), numbers, count, *x.shape[2:]).permute(0, 3, 4, 2, 1).reshape(len(x), -1, numbers)


def _boxes_first(x: Tensor, numbers: int) -> Tensor:
    count = x.shape[1] // numbers
    return x.reshape(len(x), count, numbers, *x.shape[2:]).permute(0, 1, 3, 4, 2).reshape(len(x), -1, numbers)


def _head(images: int, count: int, numbers: int, high: int, wide: int) -> Tensor:
    """A head's output whose numbers tell where they stand: 1000 · channel + 10 · row + column."""
    b, c = torch.arange(images)[:, None, None, None], torch.arange(count * numbers)[:, None, None]
    return (100_000 * b + 1000 * c + 10 * torch.arange(high)[:, None] + torch.arange(wide)).float()


def _rows_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The first rows, wanted and the learner's side by side; those that differ are framed."""
    for left, title, table in ((0, "wanted", wanted), (1, "yours", found)):
        table = torch.as_tensor(table)[0][:6]
        ax.text(left * 3.4, 6.4, title, weight="bold", color=(BLUE, RED)[left])
        for i, numbers in enumerate(table.tolist()):
            text = " ".join(f"{n:05.0f}" for n in numbers[:4])
            same = torch.equal(table[i], torch.as_tensor(wanted)[0][i])
            frame = None if same else dict(facecolor="none", edgecolor=ORANGE)
            ax.text(left * 3.4, 5.4 - i, text, family="monospace", fontsize=9, bbox=frame)
    ax.set(xlim=(-0.2, 6.8), ylim=(-0.6, 7.4))
    ax.set_title("first rows: 1000 · channel + 10 · row + column", fontsize=9)
    ax.set_axis_off()


per_anchor = BuildingBlock(
    "5.5 from channels to anchors",
    _rows,
    cases=[
        Case("2 boxes, 4 numbers, 2x3 cells", (_head(1, 2, 4, 2, 3), 4)),
        Case("4 boxes, 3 numbers, two images", (_head(2, 4, 3, 3, 3), 3)),
        Case("1 cell", (_head(1, 4, 4, 1, 1), 4)),
    ],
    mistakes={
        "a row holds one channel of neighbouring cells, not all numbers of one anchor ||: `permute` comes before `reshape`": lambda x, numbers: (
            x.reshape(len(x), -1, numbers)
        ),
        "you go down the columns; the anchors go row by row ||, so the columns run fastest: permute(0, 2, 3, 1)": lambda x, numbers: (
            x.permute(0, 3, 2, 1).reshape(len(x), -1, numbers)
        ),
        "the channels are box by box, all numbers of box 0 first; yours has number 0 of all boxes first": _numbers_first,
        "you have box 0 of all cells first; the anchors go cell by cell, with all boxes of a cell together": _boxes_first,
        "a row mixes cells, because the channels aren't the last axis yet ||: permute(0, 2, 3, 1), then reshape": lambda x, numbers: (
            x.permute(0, 2, 1, 3).reshape(len(x), -1, numbers)
        ),
        "the permute is right, but a transpose after it mixes the cells up again ||: reshape to (B, -1, numbers) at once": lambda x, numbers: (
            x.permute(0, 2, 3, 1).reshape(len(x), numbers, -1).transpose(1, 2)
        ),
    },
    praise="Cell by cell, row by row, box by box: the order of `anchors.default_boxes`.",
    draw=_rows_on,
    size=(7.2, 2.8),
    name="per_anchor",
)


# ---- 5.6 L2Norm


def _l2norm(x: Tensor, scale: Tensor) -> Tensor:
    return x / (x.square().sum(dim=1, keepdim=True) + 1e-10).sqrt() * scale[:, None, None]


def _over(*dims: int):
    return lambda x, scale: x / (x.square().sum(dim=dims, keepdim=True) + 1e-10).sqrt() * scale[:, None, None]


_draw = torch.Generator().manual_seed(5)
_dead = torch.randn(1, 3, 2, 2, generator=_draw)
_dead[:, :, 0, 1] = 0


def _slope_at_zero(l2norm: Callable) -> str:
    x = _dead.clone().requires_grad_()
    found = l2norm(x, torch.full((3,), 20.0))
    if not (isinstance(found, Tensor) and found.requires_grad):
        return "right numbers, but without a gradient; a network couldn't be trained with it ||: compute with tensors"
    found.sum().backward()
    if x.grad.isnan().any():
        return (
            "right numbers, but the gradient is NaN at a cell of zeros, because the slope of a root is infinite at 0 "
            "||: put 1e-10 under the root"
        )
    return ""


l2norm = BuildingBlock(
    "5.6 L2Norm",
    _l2norm,
    cases=[
        Case("one cell, (3, 4)", (torch.tensor([3.0, 4.0]).reshape(1, 2, 1, 1), torch.tensor([20.0, 20.0]))),
        Case(
            "two images",
            (torch.randn(2, 4, 3, 3, generator=_draw), torch.tensor([20.0, 20.0, 10.0, 5.0])),
        ),
        Case("a cell of zeros", (_dead, torch.full((3,), 20.0))),
    ],
    mistakes={
        "that is the sum over the map; each cell has a length of its own ||: dim=1": _over(2, 3),
        "that is the sum over the batch; images must not see each other ||: dim=1": _over(0),
        "channels and cells are summed together (Caffe calls that across_spatial) ||; sum over dim=1 alone": _over(
            1, 2, 3
        ),
        "that isn't the length yet ||: it is the root of the sum of squares, and the root is missing": lambda x, scale: (
            x / (x.square().sum(dim=1, keepdim=True) + 1e-10) * scale[:, None, None]
        ),
        "you scaled before you divided, and the division takes the scale away again ||: scale after it": lambda x, scale: (
            _l2norm(x * scale[:, None, None], torch.ones(len(scale)))
        ),
        "you divide by the sum of the absolute values, which isn't the length ||: that is √Σx²": lambda x, scale: (
            x / (x.abs().sum(dim=1, keepdim=True) + 1e-10) * scale[:, None, None]
        ),
        "you divide by the root of the mean of the squares ||; the length is the root of their sum": lambda x, scale: (
            x / (x.square().mean(dim=1, keepdim=True) + 1e-10).sqrt() * scale[:, None, None]
        ),
        "you divided by the scale ||; multiply by it": lambda x, scale: _l2norm(x, 1 / scale),
        "the scale is missing: the vectors have length 1": lambda x, scale: _l2norm(
            x, torch.ones(len(scale))
        ),
        "a cell of zeros becomes 0/0 ||: put 1e-10 under the root": lambda x, scale: (
            x / x.square().sum(dim=1, keepdim=True).sqrt() * scale[:, None, None]
        ),
    },
    praise="Every cell has the same length now, whatever the layers before it do; the network learns the scale.",
    also=_slope_at_zero,
    name="l2norm",
)
