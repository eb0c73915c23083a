"""Checks of chapter 03: the exercises on matching."""

from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course.checking import Case, Exercise, Mistake
from ssdlib import matching
from ssdlib.plots import ORANGE, RED

# IoU of R objects (rows) with K anchors (columns); picked so that every mistake shows
CALM = torch.tensor([[0.7, 0.2, 0.0, 0.5, 0.1], [0.1, 0.6, 0.3, 0.2, 0.0]])
RIVALS = torch.tensor([[0.30, 0.24, 0.0, 0.0], [0.36, 0.10, 0.0, 0.0]])
CHAIN = torch.tensor([[0.55, 0.50, 0.00], [0.60, 0.58, 0.10], [0.62, 0.05, 0.04]])
TIED = torch.tensor([[0.4, 0.4, 0.1], [0.4, 0.2, 0.1]])
TAKEN = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.6, 0.7, 0.2, 0.5]])
FAR = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.6, 0.2]])

TABLES = [
    Case("two objects, five anchors", (CALM,)),
    Case("both objects want anchor 0", (RIVALS,)),
    Case("three objects in a chain", (CHAIN,)),
    Case("a tie", (TIED,)),
    Case("an object that touches nothing", (FAR,)),
]


def _table_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The overlaps as a table; what was wanted is framed in orange, what came instead in red and dashed."""
    table = case.arguments[0]
    ax.imshow(table.numpy(), cmap="Greys", vmin=0, vmax=1.4)
    for i, line in enumerate(table.tolist()):
        for k, value in enumerate(line):
            ax.text(k, i, f"{value:.2f}", ha="center", va="center")
    by_object = torch.as_tensor(wanted).numel() == len(table) != table.shape[1]
    for answer, color, style in ((wanted, ORANGE, "-"), (found, RED, "--")):
        for place, chosen in enumerate(torch.as_tensor(answer).tolist()):
            if chosen >= 0:
                i, k = (place, chosen) if by_object else (chosen, place)
                box = dict(fill=False, edgecolor=color, linewidth=3, linestyle=style)
                ax.add_patch(_square(k, i, **box))
    ax.set(xlabel="anchor", ylabel="object", xticks=range(table.shape[1]), yticks=range(len(table)))
    ax.set_title("framed: wanted; dashed red: yours", fontsize=9)


def _square(x: float, y: float, **style: Any) -> Any:
    from matplotlib.patches import Rectangle

    inset = 0.08 if style["linestyle"] == "--" else 0.02
    return Rectangle((x - 0.5 + inset, y - 0.5 + inset), 1 - 2 * inset, 1 - 2 * inset, **style)


# ---- 3.1 the threshold


def _step_two(table: Tensor, threshold: float) -> Tensor:
    best, object_ = table.max(dim=0)
    return torch.where(best >= threshold, object_, -1)


def _strictly(table: Tensor, threshold: float) -> Tensor:
    best, object_ = table.max(dim=0)
    return torch.where(best > threshold, object_, -1)


step_two = Exercise(
    "3.1 step two",
    _step_two,
    cases=[
        Case("threshold .5", (CALM, 0.5)),
        Case("an anchor between two objects", (CHAIN, 0.5)),
        Case("a lower threshold", (CALM, 0.3)),
        Case("nothing reaches it", (RIVALS, 0.5)),
    ],
    mistakes=[
        Mistake("an IoU of exactly .5 counts: the rule is >=, yours is >", _strictly),
        Mistake(
            "every anchor got an object; those below the threshold are background, -1",
            lambda table, threshold: table.argmax(dim=0),
        ),
        Mistake(
            "you took each object's best anchor; step two asks each anchor for its best object",
            lambda table, threshold: torch.where(table.max(dim=1)[0] >= threshold, table.argmax(dim=1), -1),
        ),
        Mistake(
            "background is -1 here, not 0: 0 is the first object",
            lambda table, threshold: torch.where(table.max(dim=0)[0] >= threshold, table.argmax(dim=0), 0),
        ),
        Mistake(
            "that is the overlap; the index of the object was asked for",
            lambda table, threshold: table.max(dim=0)[0],
        ),
    ],
    praise="Ties go to the first object, .5 itself counts, and what reaches nobody is background.",
    draw=_table_on,
)


# ---- 3.2 greedy


def _greedy(table: Tensor) -> Tensor:
    """Marry the best pair of the whole table, again and again; loops, so that nobody has to believe it."""
    left, own = table.clone(), torch.full((len(table),), -1)
    for _ in range(len(table)):
        best = left.max() if left.numel() else torch.tensor(0.0)
        if best <= 0:
            break
        # lowest anchor first, then lowest object
        anchor, object_ = (left.T == best).nonzero()[0].tolist()
        own[object_] = anchor
        left[object_], left[:, anchor] = 0, 0
    return own


def _in_turn(table: Tensor) -> Tensor:
    left, own = table.clone(), torch.full((len(table),), -1)
    for i in range(len(table)):
        if left[i].max() > 0:
            own[i] = left[i].argmax()
            left[:, own[i]] = 0
    return own


def _argmax(table: Tensor) -> Tensor:
    return torch.where(table.max(dim=1)[0] > 0, table.argmax(dim=1), -1)


def _never_stops(table: Tensor) -> Tensor:
    left, own = table.clone(), torch.full((len(table),), -1)
    for _ in range(len(table)):
        object_, anchor = divmod(int(left.argmax()), left.shape[1])
        own[object_] = anchor
        left[object_], left[:, anchor] = -1, -1
    return own


greedy = Exercise(
    "3.2 step one",
    _greedy,
    cases=TABLES,
    mistakes=[
        Mistake(
            "two objects got the same anchor, and one of them will be overwritten: a married anchor has to leave "
            "the pool as well as its object",
            _argmax,
        ),
        Mistake(
            "you served the objects in their order; the best pair of the whole table comes first", _in_turn
        ),
        Mistake(
            "an object that touches no anchor stays without one: stop when nothing above 0 is left",
            _never_stops,
        ),
    ],
    praise="Best pair first, both leave the pool, nobody is forced: `matching.bipartite`, one image at a time.",
    draw=_table_on,
)


# ---- 3.3 both


def _both(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = _step_two(table, threshold)
    matched[own[own >= 0]] = torch.arange(len(table))[own >= 0]
    return matched


def _two_overrules(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = torch.full((table.shape[1],), -1)
    matched[own[own >= 0]] = torch.arange(len(table))[own >= 0]
    second = _step_two(table, threshold)
    return torch.where(second >= 0, second, matched)


def _wraps(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = _step_two(table, threshold)
    matched[own] = torch.arange(len(table))
    return matched


_pairs = [(CALM, _greedy(CALM), 0.5), (TAKEN, _greedy(TAKEN), 0.5), (FAR, _greedy(FAR), 0.5)]
_pairs.append((RIVALS, _greedy(RIVALS), 0.5))
both = Exercise(
    "3.3 both steps",
    _both,
    cases=[
        Case("two objects, five anchors", _pairs[0]),
        Case("an anchor that both steps want", _pairs[1]),
        Case("an object without an anchor", _pairs[2]),
        Case("two objects too small for step two", _pairs[3]),
    ],
    mistakes=[
        Mistake(
            "step two took an anchor away that step one had given: write step one's pairs last",
            _two_overrules,
        ),
        Mistake(
            "an object without an anchor has own = -1, and index -1 is the last anchor: leave such objects out",
            _wraps,
        ),
        Mistake("step one's pairs are missing", lambda table, own, threshold: _step_two(table, threshold)),
    ],
    praise="These are both steps of the paper's section 2.2.",
    draw=_table_on,
)


# ---- 3.4 a number

smallest = Exercise(
    "3.4 the smallest object",
    30 * 0.5**0.5,
    mistakes=[
        Mistake("half the side has a quarter of the area: its IoU is .25", 15.0),
        Mistake("that is the area in px²; the side is its root", 450.0),
        Mistake("that is the largest square, 30 · √2; the smallest was asked for", 30 * 2**0.5),
    ],
    praise="s² / 900 = .5, so s = 30 · √.5 = 21.2 px. Below that, and nowhere else, step one is all an object has.",
    tolerance=2e-3,
)


# ---- 3.5 who is lost


def _lost(table: Tensor) -> list[int]:
    best = table.argmax(dim=1).tolist()
    return [i for i, anchor in enumerate(best) if anchor in best[i + 1 :] and table[i, anchor] > 0]


lost = Exercise(
    "3.5 the object that disappears",
    _lost,
    cases=[
        Case("two objects, five anchors: nobody is lost", (CALM,)),
        Case("both want anchor 0", (RIVALS,)),
        Case("three want anchor 0", (CHAIN,)),
    ],
    mistakes=[
        Mistake(
            "the last of those who want an anchor keeps it; only those before it are lost",
            lambda table: [
                i
                for i, a in enumerate(table.argmax(dim=1).tolist())
                if table.argmax(dim=1).tolist().count(a) > 1
            ],
        ),
        Mistake(
            "whoever comes first loses: later objects overwrite, earlier ones don't",
            lambda table: [
                i for i, a in enumerate(table.argmax(dim=1).tolist()) if a in table.argmax(dim=1).tolist()[:i]
            ],
        ),
    ],
    praise="Each object in your list has no anchor in step one of much published code.",
)


def library_agrees(table: Tensor) -> bool:
    """Whether the naive loop above and `matching.bipartite` give the same, for the chapter's own comparison."""
    return torch.equal(_greedy(table), matching.bipartite(table[None])[0])
