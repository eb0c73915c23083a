"""Checks of chapter 04: offsets, smooth L1, -ln p(background), hard negatives, the whole loss; loops beside them."""

from collections.abc import Callable
from math import log
from typing import Any

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Either, Exercise
from ssdlib import coding
from ssdlib.box_ops import to_cxcywh
from ssdlib.loss import NEGATIVE_RATIO, hard_negatives
from ssdlib.plots import BLACK, ORANGE, RED, boxes_on


def _table_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The losses; positives marked +, the right choice framed in orange, the learner's in dashed red."""
    losses, positive, _ = case.arguments
    ax.imshow(losses.numpy(), cmap="Greys", vmin=0, vmax=2.2 * float(losses.max()), aspect="auto")
    for b, line in enumerate(losses.tolist()):
        for k, loss in enumerate(line):
            ax.text(k, b, f"{loss:.1f}" + "\n+" * bool(positive[b, k]), ha="center", va="center", fontsize=9)
    for mask, color, style, inset in ((wanted, ORANGE, "-", 0.03), (found, RED, "--", 0.1)):
        if torch.as_tensor(mask).shape != losses.shape:
            continue  # an answer of another shape has no place in the table
        for b, k in torch.as_tensor(mask).bool().nonzero().tolist():
            corner, side = (k - 0.5 + inset, b - 0.5 + inset), 1 - 2 * inset
            ax.add_patch(
                Rectangle(corner, side, side, fill=False, edgecolor=color, linestyle=style, linewidth=3)
            )
    ax.set(xlabel="anchor", ylabel="image", xticks=range(losses.shape[1]), yticks=range(len(losses)))
    ax.set_title("+ positive; orange frame: wanted; dashed red: yours", fontsize=9)


def mined(
    losses: Tensor,
    positive: Tensor,
    wanted: Tensor | float,
    filled: float | None = -torch.inf,
    largest: bool = True,
    ranked: bool = True,
    keep: bool = False,
) -> Tensor:
    """The rule, and what goes wrong with other arguments: `filled` is the loss that positives get before the ranking,
    `ranked` sorts twice, `largest` takes the hardest, `keep` leaves chosen positives in."""
    losses = losses if filled is None else losses.masked_fill(positive, filled)
    order = losses.argsort(dim=1, descending=largest, stable=True)
    chosen = (order.argsort(dim=1) if ranked else order) < wanted
    return chosen if keep else chosen & ~positive


def by_loops(losses: Tensor, positive: Tensor, ratio: float) -> Tensor:
    """One image after the other, one negative after the other: the rule in plain loops."""
    chosen = torch.zeros_like(positive)
    for b in range(len(losses)):
        background = [k for k in range(losses.shape[1]) if not positive[b, k]]
        background.sort(key=lambda k: -float(losses[b, k]))
        for k in background[: int(ratio * int(positive[b].sum()))]:
            chosen[b, k] = True
    return chosen


def _whole_batch(losses: Tensor, positive: Tensor, ratio: float) -> Tensor:
    flat = mined(losses.reshape(1, -1), positive.reshape(1, -1), ratio * positive.sum())
    return flat.reshape(positive.shape)


def count(positive: Tensor, ratio: float) -> Tensor:
    return ratio * positive.sum(dim=1, keepdim=True)


TOY = torch.tensor([[2.8, 0.3, 1.9, 0.1, 3.5, 0.7, 0.2, 2.2, 1.1, 0.4, 1.6, 0.9]])
TOY_POSITIVE = torch.tensor([[True, False, False, False, False, True, *[False] * 6]])
PAIR = torch.tensor([[0.9, 0.2, 1.4, 0.6, 0.3, 0.5], [2.9, 2.1, 3.4, 1.7, 2.5, 3.1]])
PAIR_POSITIVE = torch.tensor([[False, True, *[False] * 4], [False] * 6])
PAIR_OF_THREE = torch.tensor([[False, True, *[False] * 4], [True, *[False] * 4, True]])
FULL = torch.tensor([[0.2, 0.4, 0.6, 0.8, 1.2]])
FULL_POSITIVE = torch.tensor([[True, False, True, True, False]])

mining = BuildingBlock(
    "4.4 hard negatives",
    by_loops,
    cases=[
        Case("the twelve anchors of the page", (TOY, TOY_POSITIVE, 3)),
        Case("ratio 1", (TOY, TOY_POSITIVE, 1)),
        Case("two images, the second without objects", (PAIR, PAIR_POSITIVE, 3)),
        Case("two images with one and two objects", (PAIR, PAIR_OF_THREE, 1)),
        Case("fewer negatives than wanted", (FULL, FULL_POSITIVE, 3)),
    ],
    mistakes={
        "the order isn't the rank: `order[0]` is the anchor that comes first ||; sort the order once more, or write True at the first places of the order": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio), ranked=False)
        ),
        "positives were ranked too and took places ||; take them out before the ranking": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio), filled=None)
        ),
        "positives have been chosen as negatives; they are assigned to an object and can't be background": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio), filled=None, keep=True)
        ),
        "where negatives run out, positives were chosen: the count says 9, but there are only 2": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio), keep=True)
        ),
        "those are the easiest negatives ||; the largest losses are the hard ones": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio), filled=torch.inf, largest=False)
        ),
        "the images were ranked together; each image has its own ranking": _whole_batch,
        "every image got `ratio` negatives; it is `ratio` for each of its positives": lambda loss, positive, ratio: (
            mined(loss, positive, ratio)
        ),
        "an image without positives got negatives ||, but 3 times 0 is 0": Either(
            (
                lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio).clamp(min=1)),
                lambda loss, positive, ratio: mined(loss, positive, ratio * count(positive, 1).clamp(min=1)),
            )
        ),
        "each image got one negative too many ||: ranks begin with 0, so it is rank < count, not <=": lambda loss, positive, ratio: (
            mined(loss, positive, count(positive, ratio) + 1)
        ),
        "the positives are marked True too; only the hard negatives were asked for": lambda loss, positive, ratio: (
            by_loops(loss, positive, ratio) | positive
        ),
        "the count is that of the whole batch; each image counts its own positives ||: `sum(dim=1, keepdim=True)`": lambda loss, positive, ratio: (
            mined(loss, positive, ratio * positive.sum())
        ),
        "`ratio` is given, and it isn't always 3": lambda loss, positive, ratio: mined(
            loss, positive, count(positive, NEGATIVE_RATIO)
        ),
        "those are the numbers of the anchors; a table of True and False was asked for, like `positive`": lambda loss, positive, ratio: (
            by_loops(loss, positive, ratio).nonzero()
        ),
        "all background anchors are chosen; only `ratio` times as many as positives are wanted": lambda loss, positive, ratio: (
            ~positive
        ),
    },
    praise="The hardest, per image, never a positive: `loss.hard_negatives`.",
    draw=_table_on,
    size=(7.0, 2.6),
    name="hard_negatives",
)


V = torch.tensor(coding.VARIANCES)

# ---- 4.1 offsets

ANCHOR = torch.tensor([120.0, 90.0, 180.0, 210.0])  # centre 150, 150, size 60 x 120


def _offsets_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The anchor, the object, and the box that the found offsets stand for."""
    box, anchor = case.arguments
    yours = coding.decode(torch.as_tensor(found).float(), anchor)
    for one, color, dashed in ((anchor, BLACK, False), (box, ORANGE, False), (yours, RED, True)):
        boxes_on(ax, one[None], color=color, dashed=dashed)
    ax.set(xlim=(0, 300), ylim=(300, 0), aspect="equal")
    ax.set_title("black: anchor; orange: object\ndashed red: the box that your offsets mean", fontsize=9)


def _other(shift: float, growth: float, log_: bool = True, by_object: bool = False) -> Any:
    """An encoder with other scales, without the logarithm, or with the object's size below."""

    def encode(box: Tensor, anchor: Tensor) -> Tensor:
        g, p = to_cxcywh(box), to_cxcywh(anchor)
        size = (g if by_object else p)[2:]
        ratio = g[2:] / p[2:]
        return torch.cat([(g[:2] - p[:2]) / size / shift, (ratio.log() if log_ else ratio) / growth])

    return encode


def _as_centres(box: Tensor, anchor: Tensor) -> Tensor:
    return torch.cat([(box[:2] - anchor[:2]) / anchor[2:], (box[2:] / anchor[2:]).log()]) / V


_SHIFT, _Y, ONES = (
    torch.tensor([True, True, False, False]),
    torch.tensor([False, True, False, False]),
    torch.ones(4),
)


def _size(anchor: Tensor) -> Tensor:
    """Width and height of the anchor where offsets are shifts, 1 where they are growths."""
    return torch.cat([to_cxcywh(anchor)[2:], torch.ones(2)])


encode = BuildingBlock(
    "4.1 offsets",
    coding.encode,
    cases=[
        Case("the pair of the page", (torch.tensor([126.0, 105.0, 198.0, 213.0]), ANCHOR)),
        Case("a small object", (torch.tensor([150.0, 120.0, 180.0, 150.0]), ANCHOR)),
        Case("a wide object", (torch.tensor([40.0, 100.0, 240.0, 180.0]), ANCHOR)),
        Case(
            "an anchor whose centre isn't on the diagonal",
            (torch.tensor([30.0, 190.0, 110.0, 270.0]), torch.tensor([20.0, 200.0, 120.0, 260.0])),
        ),
        Case("object and anchor are the same", (ANCHOR, ANCHOR)),
    ],
    mistakes={
        "your offsets are too small: the divisors are missing ||, 0.1 for the shifts and 0.2 for the growths": _other(
            1, 1
        ),
        "you multiplied by 0.1 and 0.2, as decoding does ||; encoding divides by them": _other(10, 5),
        "you divided by the squares, 0.01 and 0.04 ||: divide by 0.1 and 0.2 once": _other(0.01, 0.04),
        "all four have the divisor of the shifts ||; width and height have 0.2": _other(0.1, 0.1),
        "a box of the same size has growth 0, but you give it 5 ||: width and height want a logarithm": _other(
            0.1, 0.2, log_=False
        ),
        "you measured the shift in widths and heights of the object, but decoding knows only the anchor ||: divide by the anchor's": _other(
            0.1, 0.2, by_object=True
        ),
        "the sign is wrong: it says how the anchor has to move to the object": lambda box, anchor: (
            -coding.encode(box, anchor)
        ),
        "these are corners; the formula wants centre, width and height first": _as_centres,
        "the two divisors have changed places ||: shifts are divided by 0.1, growths by 0.2": _other(
            0.2, 0.1
        ),
        "the shift is still in px ||: divide it by the anchor's width and height": lambda box, anchor: (
            coding.encode(box, anchor) * _size(anchor)
        ),
        "you measured y in widths of the anchor ||; it is measured in heights": lambda box, anchor: (
            coding.encode(box, anchor) * (_size(anchor) / _size(anchor)[0]).where(_Y, ONES)
        ),
        "your growth is the difference of the two sizes, divided by the anchor's ||; growth is the logarithm of the ratio, ln(72 / 60)": lambda box, anchor: (
            coding.encode(box, anchor).where(_SHIFT, ((0.2 * coding.encode(box, anchor)).exp() - 1) / 0.2)
        ),
        "the ratio is upside down: a larger object has a growth above 0 ||, so divide the object's size by the anchor's": lambda box, anchor: (
            coding.encode(box, anchor) * torch.tensor([1.0, 1, -1, -1])
        ),
        "your logarithm has the base 10 ||; the natural one is meant, `log`, not `log10`": lambda box, anchor: (
            coding.encode(box, anchor) / torch.tensor([1, 1, log(10), log(10)])
        ),
        "your logarithm has the base 2 ||; the natural one is meant, `log`, not `log2`": lambda box, anchor: (
            coding.encode(box, anchor) / torch.tensor([1, 1, log(2), log(2)])
        ),
        "width and height come first in yours ||; the order is x, y, width, height": lambda box, anchor: (
            coding.encode(box, anchor).roll(2)
        ),
    },
    praise="Four numbers without a unit, the same for a small and a large anchor: `coding.encode`.",
    draw=_offsets_on,
    name="encode",
)


# ---- 4.2 smooth L1


def _curve_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    errors = case.arguments[0]
    ax.plot(errors, wanted, color=ORANGE, linewidth=3, label="wanted")
    ax.plot(errors, torch.as_tensor(found), color=RED, linestyle="--", label="yours")
    ax.set(xlabel="error", ylabel="loss")
    ax.legend(frameon=False)


smooth_l1 = BuildingBlock(
    "4.2 smooth L1",
    lambda error: F.smooth_l1_loss(error, torch.zeros_like(error), reduction="none"),
    cases=[
        Case("errors from -3 to 3", (torch.linspace(-3, 3, 25),)),
        Case("four offsets of two anchors", (torch.tensor([[0.5, -0.5, 3.0, 0.0], [1.0, -1.0, -2.5, 0.1]]),)),
    ],
    mistakes={
        "there is a jump at 1, because the straight part is too high ||: it is |d| - 0.5, so that both parts meet": lambda d: (
            torch.where(d.abs() < 1, 0.5 * d * d, d.abs())
        ),
        "your parabola is twice as high as it should be ||: 0.5 d²": lambda d: torch.where(
            d.abs() < 1, d * d, d.abs() - 0.5
        ),
        "the two parts are the wrong way round ||: the parabola belongs to |d| < 1": lambda d: torch.where(
            d.abs() < 1, d.abs() - 0.5, 0.5 * d * d
        ),
        "there is a jump at 1, and the straight part is a whole 1 too high ||: subtract 0.5, don't add it": lambda d: (
            torch.where(d.abs() < 1, 0.5 * d * d, d.abs() + 0.5)
        ),
        "that is plain L1, with a corner at 0 ||; near 0 it should be the parabola 0.5 d²": lambda d: d.abs(),
        "that is the parabola everywhere ||; beyond 1 it goes on straight": lambda d: 0.5 * d * d,
        "an error of -3 is as bad as one of 3, but you let it cost more ||: compare |d| with 1, not d": lambda d: (
            torch.where(d < 1, 0.5 * d * d, d - 0.5)
        ),
        "errors below -1 have become negative losses ||: the straight part wants |d|": lambda d: torch.where(
            d.abs() < 1, 0.5 * d * d, d - 0.5
        ),
        "your parabola ends too early, at 0.5, and there is a jump ||: the two parts meet at 1": lambda d: (
            torch.where(d.abs() < 0.5, 0.5 * d * d, d.abs() - 0.5)
        ),
        "one number came back; the losses of all errors were asked for, sums come later": lambda d: (
            F.smooth_l1_loss(d, torch.zeros_like(d), reduction="sum")
        ),
        "one number came back, and a mean: the losses of all errors were asked for": lambda d: (
            F.smooth_l1_loss(d, torch.zeros_like(d))
        ),
    },
    praise="A parabola near 0, straight beyond 1, so no offset, however wrong, pulls with a slope above 1.",
    draw=_curve_on,
    name="smooth_l1",
)


# ---- 4.3 -log p(background)


def _background_loss(logits: Tensor) -> Tensor:
    return logits.logsumexp(dim=-1) - logits[..., 0]


def _one_maximum(logits: Tensor) -> Tensor:
    shifted = logits - logits.max()
    return shifted.exp().sum(dim=-1).log() - shifted[..., 0]


def _softmax_by_hand(logits: Tensor) -> Tensor:
    powers = logits.exp()
    return -(powers[..., 0] / powers.sum(dim=-1)).log()


background_loss = BuildingBlock(
    "4.3 -log p(background)",
    _background_loss,
    cases=[
        Case("three classes", (torch.tensor([[2.0, 1.0, 0.0], [0.0, 0.0, 0.0], [-1.0, 3.0, 0.0]]),)),
        Case("large logits", (torch.tensor([[100.0, 90.0, 80.0], [95.0, 100.0, 0.0]]),)),
        Case("one anchor far above the others", (torch.tensor([[0.0, 200.0, 0.0], [1.0, 0.0, 0.0]]),)),
    ],
    mistakes={
        "that is p(background) itself; the loss is -log of it": lambda z: z.softmax(dim=-1)[..., 0],
        "the minus sign is missing: a loss isn't negative": lambda z: -_background_loss(z),
        "that is -logit: without the other classes it is no probability": lambda z: -z[..., 0],
        "that is 1 - p(background), which ends at 1; -log p has no upper end": lambda z: (
            1 - z.softmax(dim=-1)[..., 0]
        ),
        "that is -log p of the best class; the class that is asked for is 0, background": lambda z: (
            -z.log_softmax(dim=-1).max(dim=-1)[0]
        ),
        "that is -log p of the best object class; background, class 0, is what it should have been": lambda z: (
            -z.log_softmax(dim=-1)[..., 1:].max(dim=-1)[0]
        ),
        "the softmax went over the anchors ||; an anchor's classes are its row, `dim=-1`": lambda z: (
            -z.log_softmax(dim=0)[..., 0]
        ),
        "exp(100) is more than float32 can hold ||: subtract each row's maximum first, or use `logsumexp`": _softmax_by_hand,
        "p(background) became 0 in float32, and -log 0 is infinite ||: take the logarithm before p gets so small, with `log_softmax` or `logsumexp`": lambda z: (
            -z.softmax(dim=-1)[..., 0].log()
        ),
        "the maximum that you subtracted is missing after the logarithm ||: subtract it from z₀ too, or add it again": lambda z: (
            _background_loss(z) - z.max(dim=-1)[0]
        ),
        "one number came back; a loss for each row was asked for": lambda z: _background_loss(z).mean(),
        "that is -log p of every class; only that of class 0, background, was asked for": lambda z: (
            -z.log_softmax(dim=-1)
        ),
        "your logarithm has the base 10 ||; the natural one is meant": lambda z: (
            _background_loss(z) / log(10)
        ),
        "exp(100) is more than float32 can hold ||: `log_softmax` or `logsumexp` do the sum without it": lambda z: (
            z.exp().sum(dim=-1).log() - z[..., 0]
        ),
        "you subtracted one maximum for all rows: the exp of the small rows became 0, and log 0 is -inf ||; each row wants its own": _one_maximum,
    },
    praise="This is the number that ranks the negatives, and the cost of each one chosen.",
    name="background_loss",
)


# ---- 4.5 the whole loss


def _multibox(
    offsets: Tensor,
    logits: Tensor,
    wanted: Tensor,
    labels: Tensor,
    negative: Tensor,
    located: str = "positive",
    classed: str = "used",
    reduction: str = "sum",
    by: str = "positive",
    weight: float = 1.0,
    conf: float = 1.0,
    beta: float = 1.0,
) -> Tensor:
    """The loss of one image, and, with other arguments, what common mistakes give instead."""
    positive = labels > 0
    every = torch.ones_like(positive)
    masks = dict(positive=positive, negative=negative, used=positive | negative, every=every)
    where, those = masks[located], masks[classed]
    localisation = F.smooth_l1_loss(offsets[where], wanted[where], reduction=reduction, beta=beta)
    confidence = F.cross_entropy(logits[those], labels[those], reduction=reduction)
    count = positive.sum()
    used = masks["used"].sum().clamp(min=1)
    n = {"positive": count.clamp(min=1), "used": used, "bare": count, "more": count + 1, "1": 1}[by]
    return (weight * localisation + conf * confidence) / n


def _instead(**words: Any) -> Any:
    return lambda *arguments: _multibox(*arguments, **words)


def _image(seed: int, labels: list[int]) -> tuple[Tensor, ...]:
    """Offsets, logits, wanted offsets, labels and chosen negatives of an image with a few anchors."""
    random = torch.Generator().manual_seed(seed)
    sizes = (len(labels), 4), (len(labels), 3), (len(labels), 4)
    offsets, logits, wanted = (torch.randn(*size, generator=random).mul(15).round() / 10 for size in sizes)
    label = torch.tensor(labels)
    loss = _background_loss(logits)[None]
    return offsets, logits, wanted, label, by_loops(loss, label[None] > 0, 1)[0]


def _has_gradient(multibox: Callable) -> str:
    offsets, logits, *others = _image(0, [0, 2, 0, 0, 1, 0, 0, 0])
    found = multibox(offsets.requires_grad_(), logits.requires_grad_(), *others)
    if isinstance(found, Tensor) and found.requires_grad:
        return ""
    return "right number, but a plain one: training needs its gradient ||, so return the tensor, without `.item()` or `float`"


multibox = BuildingBlock(
    "4.5 the whole loss",
    _multibox,
    cases=[
        Case("two positives, two negatives, four others", _image(0, [0, 2, 0, 0, 1, 0, 0, 0])),
        Case("one positive", _image(1, [0, 0, 0, 1, 0])),
        Case("no object in the image", _image(2, [0, 0, 0, 0])),
    ],
    mistakes={
        "your N counts the negatives too ||; it counts the positives alone": _instead(by="used"),
        "an image without objects has to cost 0, but 0 / 0 is NaN ||: N is at least 1": _instead(by="bare"),
        "the division by N is missing": _instead(by="1"),
        "you added two means, which cross-entropy and smooth L1 give unless you ask for a sum ||: `reduction='sum'`, then divide": _instead(
            reduction="mean", by="1"
        ),
        "you took means, and then divided by N once more ||: take sums and divide once": _instead(
            reduction="mean"
        ),
        "the offsets of all anchors are in your sum, but background has no box ||: they count for the positives alone": _instead(
            located="every"
        ),
        "the chosen negatives have offsets in your sum ||; only positives do": _instead(located="used"),
        "the negatives are missing: false alarms cost nothing": _instead(classed="positive"),
        "the positives' classes are missing in your sum ||: cross-entropy goes over `positive | negative`": _instead(
            classed="negative"
        ),
        "that is plain L1; offsets cost smooth L1": _instead(beta=0.0),
        "the localisation is missing": _instead(weight=0.0),
        "the confidence is 0 in yours: it is missing, or you asked for anchors that are positive and negative at once ||: take `positive | negative`": _instead(
            conf=0.0
        ),
        "only one of the two sums is divided by N ||: N divides both, so put them in brackets": Either(
            (
                lambda *given: _multibox(*given, conf=0.0) + _multibox(*given, weight=0.0, by="1"),
                lambda *given: _multibox(*given, conf=0.0, by="1") + _multibox(*given, weight=0.0),
            )
        ),
        "your N is one more than the number of positives ||; it is that number itself, but at least 1: `max(1, count)`": _instead(
            by="more"
        ),
        "you added two means, which cross-entropy and smooth L1 give by default ||; take the sums with `reduction='sum'`, then divide by N": lambda *given: (
            _multibox(*given, reduction="mean", by="1") if (given[3] > 0).any() else torch.tensor(0.0)
        ),
        "two numbers came back; the loss is their sum": lambda *given: torch.stack(
            [_multibox(*given, conf=0.0), _multibox(*given, weight=0.0)]
        ),
        "all background anchors are in the sum; only the chosen negatives count": _instead(classed="every"),
        "you took the mean over the four offsets, so that boxes count a quarter ||; it is their sum": _instead(
            weight=0.25
        ),
    },
    praise="That is `loss.multibox_loss`, one image at a time.",
    also=_has_gradient,
    name="multibox",
    uses=smooth_l1,
)


# ---- 4.6 a number

start = Exercise(
    "4.6 the first loss",
    4 * log(21),
    mistakes={
        "too small: that is one anchor; negatives come with each positive, and N counts the positives alone ||: three for each, so four anchors": log(
            21
        ),
        "too small: those are the negatives; the positive itself counts too": 3 * log(21),
        "a little too small: keep two decimals, or did you leave out a class? ||: background is one too: 21, and 4 · ln 20 is 11.98": Either(
            (4 * log(20), 12)
        ),
        "too large: that is the sum of five anchors ||; one positive and three negatives are four": 5
        * log(21),
        "too small: -log p is the natural logarithm here, not the one to base 10": 4 * log(21, 10),
        "too large: -log p is the natural logarithm here, not the one to base 2": 4 * log(21, 2),
    },
    praise="4 · ln 21 = 12.18. A first loss far above it means that the network is sure of wrong things.",
    tolerance=2e-3,
)


# ---- used by the chapter


def library_agrees(losses: Tensor, positive: Tensor, ratio: float = NEGATIVE_RATIO) -> bool:
    """Whether the loops above and `loss.hard_negatives` choose the same, given -ln p(background), (B, K)."""
    logits = torch.stack(
        [torch.zeros_like(losses), losses.expm1().log()], dim=-1
    )  # log(1 + (e^loss - 1)) = loss
    return torch.equal(hard_negatives(logits, positive, "image", ratio), by_loops(losses, positive, ratio))


def mined_with_one_maximum(logits: Tensor, positive: Tensor) -> Tensor:
    """A published bug: one maximum for the whole batch subtracted before exp; (B, K, C), (B, K) -> (B, K) bool.

    Positives are set to 0 before the ranking, which is harmless as long as all losses are above 0
    (https://github.com/amdegroot/ssd.pytorch/issues/483).
    """
    return mined(_one_maximum(logits), positive, count(positive, NEGATIVE_RATIO), filled=0.0, keep=True)
