"""Checks of chapter 04: the exercise on hard negatives, and the loops that the library is compared with."""

from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from torch import Tensor

from course.checking import Case, Exercise, Mistake
from ssdlib.loss import NEGATIVE_RATIO
from ssdlib.plots import ORANGE, RED


def _table_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The losses; positives marked +, wanted framed in orange, yours in red and dashed."""
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
    ax.set_title("+ positive; framed: wanted; dashed red: yours", fontsize=9)


def mined(
    losses: Tensor,
    positive: Tensor,
    wanted: Tensor | float,
    filled: float | None = -torch.inf,
    largest: bool = True,
    ranked: bool = True,
    keep: bool = False,
) -> Tensor:
    """The rule, and what becomes of it: `filled` stands for positives, `ranked` sorts twice."""
    losses = losses if filled is None else losses.masked_fill(positive, filled)
    order = losses.argsort(dim=1, descending=largest, stable=True)
    chosen = (order.argsort(dim=1) if ranked else order) < wanted
    return chosen if keep else chosen & ~positive


def by_loops(losses: Tensor, positive: Tensor, ratio: float) -> Tensor:
    """One image, one negative after the other, so that nobody has to believe it."""
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
FULL = torch.tensor([[0.2, 0.4, 0.6, 0.8, 1.2]])
FULL_POSITIVE = torch.tensor([[True, False, True, True, False]])

mining = Exercise(
    "4.4 hard negatives",
    by_loops,
    cases=[
        Case("the toy of the page", (TOY, TOY_POSITIVE, 3)),
        Case("two images, the second without objects", (PAIR, PAIR_POSITIVE, 3)),
        Case("fewer negatives than wanted", (FULL, FULL_POSITIVE, 3)),
        Case("ratio 1", (TOY, TOY_POSITIVE, 1)),
    ],
    mistakes=[
        Mistake(
            "the order isn't the rank: `order[0]` is the anchor that comes first. Sort the order once more, or "
            "write True at the first places of the order",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio), ranked=False),
        ),
        Mistake(
            "positives were ranked too and took places; take them out before the ranking",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio), filled=None),
        ),
        Mistake(
            "positives have been chosen as negatives; they answer for an object and can't be background",
            lambda loss, positive, ratio: mined(
                loss, positive, count(positive, ratio), filled=None, keep=True
            ),
        ),
        Mistake(
            "where negatives run out, positives were chosen: the count says 9, but only 2 are there",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio), keep=True),
        ),
        Mistake(
            "those are the easiest negatives; the largest losses are the hard ones",
            lambda loss, positive, ratio: mined(
                loss, positive, count(positive, ratio), filled=torch.inf, largest=False
            ),
        ),
        Mistake("the images were ranked together; each image has its own ranking", _whole_batch),
        Mistake(
            "every image got `ratio` negatives; it is `ratio` for each of its positives",
            lambda loss, positive, ratio: mined(loss, positive, ratio),
        ),
        Mistake(
            "an image without positives gets no negatives: 3 times 0 is 0",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio).clamp(min=1)),
        ),
        Mistake(
            "one too many: ranks begin with 0, so it is rank < count, not <=",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, ratio) + 1),
        ),
        Mistake(
            "the positives are marked True too; only the hard negatives were asked for",
            lambda loss, positive, ratio: by_loops(loss, positive, ratio) | positive,
        ),
        Mistake(
            "the count is that of the whole batch; each image counts its own positives: `sum(dim=1, keepdim=True)`",
            lambda loss, positive, ratio: mined(loss, positive, ratio * positive.sum()),
        ),
        Mistake(
            "`ratio` is given, and it isn't always 3",
            lambda loss, positive, ratio: mined(loss, positive, count(positive, NEGATIVE_RATIO)),
        ),
        Mistake(
            "those are the numbers of the anchors; a table of True and False was asked for, like `positive`",
            lambda loss, positive, ratio: by_loops(loss, positive, ratio).nonzero(),
        ),
        Mistake(
            "all background anchors are chosen; only `ratio` times as many as positives are wanted",
            lambda loss, positive, ratio: ~positive,
        ),
    ],
    praise="The hardest, per image, never a positive: `loss.hard_negatives`.",
    draw=_table_on,
    size=(7.0, 2.6),
)
