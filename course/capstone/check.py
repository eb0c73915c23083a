"""Checks of chapter 13: two steps that join earlier blocks, the update step, and four cases for a detective."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.capstone import reference
from course.capstone.blocks import BLOCKS, NAMES
from course.evaluation import devkit_rule
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Either, Exercise, Verdict
from ssdlib import box_ops
from ssdlib.plots import BLUE, ORANGE

# ---- 13.1 the overlap of the development kit, out of an IoU


def _iou(a: tuple, b: tuple, shared: float, own: float, tested: str = "each") -> float:
    """With `shared` added to the sides of the intersection and `own` to those of the boxes. `tested` for nothing
    shared: "each" side, "width", "height", "both" at once, "none"."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + shared
    height = min(a[3], b[3]) - max(a[1], b[1]) + shared
    if tested == "both" and width <= 0 and height <= 0:
        return 0.0
    width = max(width, 0) if tested in ("each", "width") else width
    height = max(height, 0) if tested in ("each", "height") else height
    one, other = ((x2 - x1 + own) * (y2 - y1 + own) for x1, y1, x2, y2 in (a, b))
    return width * height / (one + other - width * height)


def _two_boxes_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    for box, color, style in zip(case.arguments, (ORANGE, BLUE), ("-", "--"), strict=True):
        x1, y1, x2, y2 = (float(v) for v in box)
        ax.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linestyle=style, linewidth=2)
        )
    every = np.array(case.arguments, dtype=float)
    low, high = every[:, :2].min() - 5, every[:, 2:].max() + 5
    ax.set(xlim=(low, high), ylim=(high, low), aspect="equal")
    ax.set_title("solid: the first box; dashed: the second", fontsize=9)


def _inside(box: tuple, own: float) -> float:
    return (box[2] - box[0] + own) * (box[3] - box[1] + own)


def _shared(a: tuple, b: tuple) -> float:
    width, height = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]) + 1, 0) for i in (0, 1))
    return width * height


HALF = ((11, 11, 20, 20), (11, 11, 20, 15))
ONE_SIDE = (
    "boxes that are apart in just one direction get a negative overlap ||: one negative side is enough to "
    "share nothing; test width and height, each for itself"
)


def _takes_the_iou(overlap: Callable) -> str:
    """`box_ops.iou` is what the learner's own is swapped in for, so a second one beside it would never be tried."""
    asked, real = [], box_ops.iou

    def watched(*boxes: Tensor) -> Tensor:
        asked.append(boxes)
        return real(*boxes)

    box_ops.iou = watched
    try:
        overlap((1, 1, 10, 10), (3, 3, 12, 12))
    finally:
        box_ops.iou = real
    return (
        ""
        if asked
        else "right numbers, but not from `box_ops.iou`, so your own `iou` couldn't take its place ||: call `box_ops.iou`"
    )


overlap = BuildingBlock(
    "13.1 the overlap of the development kit",
    devkit_rule.overlap,
    cases=[
        Case("ten columns against ten columns, one row each", ((1, 1, 10, 1), (6, 1, 15, 1))),
        Case("the upper half of a box", HALF),
        Case("the same box", ((5, 5, 9, 9), (5, 5, 9, 9))),
        Case("corners that are no whole numbers", ((10.5, 20.25, 30.5, 60.0), (15.0, 20.25, 35.0, 50.75))),
        Case("boxes that only touch: one shared column", ((1, 1, 10, 10), (10, 1, 19, 10))),
        Case("boxes far from each other, both ways", ((1, 1, 10, 10), (31, 41, 40, 50))),
        Case("one above the other", ((1, 1, 10, 10), (1, 31, 10, 40))),
        Case("side by side", ((1, 1, 10, 10), (31, 1, 40, 10))),
    ],
    mistakes={
        "your boxes are a pixel too small each way: columns 1 to 10 are ten columns, and 10 - 1 is nine ||, so the + 1 is missing": lambda a, b: (
            _iou(a, b, 0, 0) if _inside(a, 0) + _inside(b, 0) else 0.0
        ),
        "the intersection has its + 1, the areas of the two boxes lack it": lambda a, b: _iou(a, b, 1, 0),
        "the areas of the two boxes have their + 1, the intersection lacks it": lambda a, b: _iou(a, b, 0, 1),
        "boxes far from each other share something with your function: two negative sides make a positive area": lambda a, b: (
            _iou(a, b, 1, 1, tested="none")
        ),
        ONE_SIDE: Either(
            (
                lambda a, b: _iou(a, b, 1, 1, tested="width"),
                lambda a, b: _iou(a, b, 1, 1, tested="height"),
                lambda a, b: _iou(a, b, 1, 1, tested="both"),
            )
        ),
        "that is the intersection over the sum of both areas ||; what is shared has to be subtracted once": lambda a, b: (
            _shared(a, b) / (_inside(a, 1) + _inside(b, 1))
        ),
        "that is the share of the first box that is covered ||; divide by what both cover together": lambda a, b: (
            _shared(a, b) / _inside(a, 1)
        ),
    },
    praise="Two boxes that end one pixel later, and one IoU for the whole detector: while your blocks are swapped in, "
    "`box_ops.iou` is yours.",
    also=_takes_the_iou,
    draw=_two_boxes_on,
    name="overlap",
)


# ---- 13.2 the boxes of an image on their way to the input

OBJECTS = torch.tensor([[120.0, 90, 240, 210], [250, 200, 380, 290], [110, 70, 140, 100]])
SQUARE, WIDE = torch.tensor([100.0, 60, 300, 260]), torch.tensor([90.0, 50, 390, 200])
THREE = (reference.keep, reference.move, reference.mirrored)
NONE = torch.zeros(0, 4)


def _mirrored_first(
    objects: Tensor, window: Tensor, flip: bool, keep: Any, move: Any, mirrored: Any
) -> Tensor:
    objects = mirrored(objects, 300) if flip else objects
    return move(objects[keep(objects, window)], window)


def _moved_first(objects: Tensor, window: Tensor, flip: bool, keep: Any, move: Any, mirrored: Any) -> Tensor:
    moved = move(objects, window)
    moved = moved[keep(moved, window)]
    return mirrored(moved, 300) if flip else moved


def _window_wide(objects: Tensor, window: Tensor, flip: bool, keep: Any, move: Any, mirrored: Any) -> Tensor:
    moved = move(objects[keep(objects, window)], window)
    return mirrored(moved, float(window[2] - window[0])) if flip else moved


into_input = BuildingBlock(
    "13.2 a box on its way",
    reference.into_input,
    cases=[
        Case("a square window", (OBJECTS, SQUARE, False, *THREE)),
        Case("the same, mirrored", (OBJECTS, SQUARE, True, *THREE)),
        Case("a wide window, mirrored", (OBJECTS, WIDE, True, *THREE)),
        Case("no object", (NONE, SQUARE, True, *THREE)),
    ],
    mistakes={
        "the photograph was mirrored before it was cropped ||; the window is of the photograph as it was": _mirrored_first,
        "`keep` looked at boxes that had been moved already ||; it compares them with the window, in the photograph": (
            _moved_first
        ),
        "the mirror has the width of the window, but after `move` the boxes lie in the input ||, which is 300 wide": (
            _window_wide
        ),
        "nothing is mirrored": lambda o, w, flip, *parts: reference.into_input(o, w, False, *parts),
        "all are mirrored; `flip` says which": lambda o, w, flip, *parts: reference.into_input(
            o, w, True, *parts
        ),
        "objects whose centre lies outside of the window are still there": lambda o, w, flip, keep, move, mirrored: (
            mirrored(move(o, w), 300) if flip else move(o, w)
        ),
    },
    praise="Three functions, three frames: the window is of the photograph, the mirror of the input.",
    name="into_input",
)


# ---- 13.3 the update step

W, G = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.2, 0.1, -0.4])
V = torch.tensor([0.5, 0.0, -1.0])


def _rate_inside(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float, decay: float) -> tuple:
    v = momentum * v + rate * (g + decay * w)
    return w - v, v


def _old_velocity(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float, decay: float) -> tuple:
    return w - rate * v, momentum * v + g + decay * w


def _decay_apart(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float, decay: float) -> tuple:
    v = momentum * v + g
    return w - rate * v - rate * decay * w, v


def _damped(w: Tensor, g: Tensor, v: Tensor, rate: float, momentum: float, decay: float) -> tuple:
    v = momentum * v + (1 - momentum) * (g + decay * w)
    return w - rate * v, v


sgd_step = BuildingBlock(
    "13.3 the update step",
    reference.sgd_step,
    cases=[
        Case("the first step, without decay", (W, G, torch.zeros(3), 0.1, 0.9, 0.0)),
        Case("with momentum", (W, G, V, 0.1, 0.9, 0.0)),
        Case("with decay", (W, G, V, 0.1, 0.9, 0.01)),
        Case("a kernel", (W.reshape(1, 3), G.reshape(1, 3), V.reshape(1, 3), 1e-3, 0.5, 0.1)),
    ],
    mistakes={
        "the decay is missing": lambda w, g, v, rate, momentum, decay: reference.sgd_step(
            w, g, v, rate, momentum, 0.0
        ),
        "the learning rate is inside the velocity: that is Caffe's way, and it differs where the learning rate changes (chapter 08)": _rate_inside,
        "the weights moved with the velocity of the step before": _old_velocity,
        "the decay bypasses the momentum: that is AdamW's way ||; in SSD it belongs to the gradient": _decay_apart,
        "the gradient is multiplied by 1 - momentum; neither Caffe nor PyTorch does that": _damped,
        "your weights go uphill ||: the step is subtracted from them": lambda w, g, v, rate, momentum, decay: (
            w + rate * reference.sgd_step(w, g, v, rate, momentum, decay)[1],
            reference.sgd_step(w, g, v, rate, momentum, decay)[1],
        ),
    },
    praise="These are PyTorch's SGD and the paper's momentum of 0.9.",
    name="sgd_step",
    parts=("w", "v"),
)


# ---- 13.4 to 13.7: which block is it?

SPELLED = {name.casefold(): name for name in NAMES}
FUNCTIONS = {name.casefold() for block in BLOCKS for name in block.needs}
STRANGE = "that block doesn't leave this trace; which numbers of the evidence are strange?"


class Suspect(Exercise):
    """The name of a block, however it is spelled; the name of its function is told from it."""

    def __call__(self, answer: Any) -> Verdict:
        if isinstance(answer, list | tuple) and len(answer) == 1:
            [answer] = answer
        if not isinstance(answer, str):
            return super().__call__(answer)
        name = answer.strip(" *'\"").replace("_", " ").casefold()
        if name in SPELLED:
            return super().__call__(SPELLED[name])
        if name.replace(" ", "_") in FUNCTIONS:
            return self._verdict(
                f"`{answer}` is a function; the name of its block was asked for, as in the table of *What is yours*"
            )
        return self._verdict(
            f"no block is called {answer!r}; the names stand in the table of *What is yours*"
        )


def _case(title: str, block: str, praise: str, why_not: dict[str, str], strange: str = STRANGE) -> Suspect:
    """A case: the wrong block, and what speaks against each of the others that one may suspect; of all the rest
    `strange` is said."""
    named = {f"{says} So it isn't *{other}*": other for other, says in why_not.items()}
    others = Either(name for name in NAMES if name not in (block, *why_not))
    return Suspect(
        title,
        block,
        mistakes=named | {strange: others},
        praise=praise,
    )


case_a = _case(
    "13.4 case A",
    "head outputs",
    "Channels were cut into anchors without being moved to the end, so an anchor is told what another place shows. The "
    "frequencies of the classes can be learned like that, and nothing else.",
    {
        "matching": "As many anchors are matched as without the mistake.",
        "loss": "Both parts of the loss are computed from what they are given: they fall as far as they can.",
        "decoding": "The loss itself is too high, and decoding comes after it.",
        "suppression": "The loss itself is too high, and suppression comes after it.",
        "average precision": "The loss itself is too high, and it is judged after that.",
    },
)

case_b = _case(
    "13.5 case B",
    "boxes of a crop",
    "Every second image was mirrored and its boxes were not, so the network is told that things are where they aren't; "
    "the better it knows where they are, the more that costs.",
    {
        "matching": "About as many anchors are matched as without the mistake.",
        "encoding": "Wrong offsets would leave the confidence loss as it is, and that is too high as well.",
        "loss": "A wrong loss shows from the first step on; both runs begin alike.",
        "hard negatives": "The localisation loss, which has no negatives, is too high as well.",
        "average precision": "The training loss is too high already.",
    },
)

case_c = _case(
    "13.6 case C",
    "loss",
    "Its softmax takes one maximum for the whole batch: once a logit lies 104 above all those of another anchor, that "
    "anchor's -log p is infinite.",
    {
        "learning rate": "The other run has the same, and goes through.",
        "update step": "Up to the peak both runs are the same, updates included.",
        "hard negatives": "It only chooses. What it chooses has a finite loss in the other run.",
        "encoding": "The localisation loss is finite where the confidence loss isn't.",
        "L2Norm": "It adds a small number under the root, so it never divides by 0, and up to the peak both runs are the same.",
    },
)

case_d = _case(
    "13.7 case D",
    "matching",
    "An argmax stands in place of the greedy step, so of two objects that want the same anchor one is lost. No scene of "
    "the mini VOC holds such a pair, and no curve could show it. The search finds it, since one of its images is made "
    "to hurt.",
    {
        "default boxes": "Other anchors would give another loss from the first step on.",
        "IoU": "A wrong IoU changes what every anchor gets, in every scene.",
        "loss": "Another loss would be another number in the log.",
        "suppression": "It is about two detections of one object, and here two objects are about one anchor.",
        "average precision": "It judges what was trained; the sentence about two objects is about training.",
    },
    "a mistake there would change numbers of the log, and here none has changed ||: which block decides something only "
    "where two objects want the same anchor?",
)
