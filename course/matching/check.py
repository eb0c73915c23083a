"""Checks of chapter 03: the exercises on matching."""

from itertools import pairwise
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Exercise
from ssdlib import matching
from ssdlib.plots import ORANGE, RED

# IoU of R objects (rows) with K anchors (columns), chosen so that every mistake shows
CALM = torch.tensor([[0.7, 0.2, 0.0, 0.5, 0.1], [0.1, 0.6, 0.3, 0.2, 0.0]])
RIVALS = torch.tensor([[0.30, 0.24, 0.0, 0.0], [0.36, 0.10, 0.0, 0.0]])
CHAIN = torch.tensor([[0.55, 0.50, 0.00], [0.60, 0.58, 0.10], [0.62, 0.05, 0.04]])
LATE = torch.tensor([[0.3, 0.6, 0.5, 0.0], [0.2, 0.5, 0.5, 0.1]])
APART = torch.tensor([[0.1, 0.5, 0.0], [0.3, 0.2, 0.6], [0.2, 0.4, 0.1], [0.7, 0.0, 0.0]])
TIED = torch.tensor([[0.4, 0.4, 0.1], [0.4, 0.2, 0.1]])
TAKEN = torch.tensor([[0.9, 0.8, 0.1, 0.0], [0.6, 0.7, 0.2, 0.5]])
FAR = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.6, 0.2]])

SECOND_BEST = torch.tensor([[0.9, 0.1, 0.0], [0.8, 0.2, 0.1], [0.0, 0.7, 0.3]])
TABLES = [
    Case("two objects, five anchors", (CALM,)),
    Case("anchor 0 is the best of both objects", (RIVALS,)),
    Case("three objects in a chain", (CHAIN,)),
    Case("the best pair stands in the middle", (LATE,)),
    Case("a tie", (TIED,)),
    Case("an object that touches nothing", (FAR,)),
    Case("an object whose best anchor is taken", (SECOND_BEST,)),
]


def _table_on(by_object: bool) -> Any:
    """A drawing of the overlaps as a table; what was wanted is framed in orange, what came in red and dashed. Answers
    say for each object its anchor, or (not `by_object`) for each anchor its object."""

    def draw(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
        table = case.arguments[0]
        ax.imshow(table.numpy(), cmap="Greys", vmin=0, vmax=1.4)
        for i, line in enumerate(table.tolist()):
            for k, value in enumerate(line):
                ax.text(k, i, f"{value:.2f}", ha="center", va="center")
        for answer, color, style in ((wanted, ORANGE, "-"), (found, RED, "--")):
            places = torch.as_tensor(answer)
            if places.shape != torch.as_tensor(wanted).shape:
                continue  # an answer of another shape has no place in the table
            for place, chosen in enumerate(places.tolist()):
                if chosen >= 0:
                    i, k = (place, chosen) if by_object else (chosen, place)
                    box = dict(fill=False, edgecolor=color, linewidth=3, linestyle=style)
                    ax.add_patch(_square(k, i, **box))
        ax.set(xlabel="anchor", ylabel="object", xticks=range(table.shape[1]), yticks=range(len(table)))
        ax.set_title("orange: wanted; dashed red: yours", fontsize=9)

    return draw


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


def _reaching(table: Tensor, threshold: float, last: bool) -> Tensor:
    """The first or the last object that reaches the threshold, not the best."""
    order = range(len(table)) if last else reversed(range(len(table)))
    found = torch.full((table.shape[1],), -1)
    for i in order:
        found[table[i] >= threshold] = i
    return found


def _last_of_equals(table: Tensor, threshold: float) -> Tensor:
    best, object_ = table.flip(0).max(dim=0)
    return torch.where(best >= threshold, len(table) - 1 - object_, -1)


step_two = BuildingBlock(
    "3.1 step two",
    _step_two,
    cases=[
        Case("an anchor between two objects", (CHAIN, 0.5)),
        Case("threshold 0.5", (CALM, 0.5)),
        Case("a lower threshold", (CALM, 0.3)),
        Case("nothing reaches it", (RIVALS, 0.5)),
        Case("a tie, and two objects that both reach it", (LATE, 0.5)),
    ],
    mistakes={
        "an IoU of exactly the threshold counts ||: the rule is >=, yours is >": _strictly,
        "every anchor got an object, also where the best one is below the threshold ||; those are background, -1": lambda table, threshold: (
            table.argmax(dim=0)
        ),
        "you took each object's best anchor; step two asks each anchor for its best object": lambda table, threshold: (
            torch.where(table.max(dim=1)[0] >= threshold, table.argmax(dim=1), -1)
        ),
        "your background can't be told from the first object, which is 0 ||: it is -1 here": lambda table, threshold: (
            torch.where(table.max(dim=0)[0] >= threshold, table.argmax(dim=0), 0)
        ),
        "that is the IoU; the index of the object was asked for": lambda table, threshold: table.max(dim=0)[
            0
        ],
        "where several objects reach the threshold you took the last one; the best one is asked for": lambda table, threshold: (
            _reaching(table, threshold, last=True)
        ),
        "where several objects reach the threshold you took the first one; the best one is asked for": lambda table, threshold: (
            _reaching(table, threshold, last=False)
        ),
        "two objects overlap the anchor equally, and you took the one with the higher index ||; the lower one gets it": _last_of_equals,
        "that is a table of True and False, which pairs reach the threshold; one object for each anchor is asked for": lambda table, threshold: (
            table >= threshold
        ),
        "`threshold` is given: you compared with 0.5 whatever it was": lambda table, threshold: _step_two(
            table, 0.5
        ),
    },
    praise="Ties go to the lower object, 0.5 itself counts, and an anchor that reaches the threshold with no object is background.",
    draw=_table_on(by_object=False),
    name="step_two",
)


# ---- 3.2 greedy


def _greedy(table: Tensor) -> Tensor:
    """Assign the best pair of the whole table, again and again, with loops that can be checked by eye."""
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


def _sorted_once(table: Tensor) -> list[int]:
    own, used = [-1] * len(table), set()
    for i in table.max(dim=1)[0].argsort(descending=True, stable=True).tolist():
        for anchor in table[i].argsort(descending=True, stable=True).tolist():
            if anchor not in used and table[i, anchor] > 0:
                own[i] = anchor
                used.add(anchor)
                break
    return own


def _by_anchors(table: Tensor) -> Tensor:
    left, own = table.clone(), torch.full((len(table),), -1)
    for anchor in range(table.shape[1]):
        object_ = int(left[:, anchor].argmax())
        if left[object_, anchor] > 0:
            own[object_] = anchor
            left[object_] = 0
    return own


def _until(
    table: Tensor, least: float, rows: bool = True, columns: bool = True, always: bool = False
) -> Tensor:
    """The right rule with one thing wrong: ends below `least` or not before R rounds, or clears only a part."""
    left, own = table.clone(), torch.full((len(table),), -1)
    for _ in range(len(table) if rows else table.numel()):
        if not always and (left.max() <= 0 or left.max() < least):
            break
        anchor, object_ = (left.T == left.max()).nonzero()[0].tolist()
        own[object_] = anchor
        if rows:
            left[object_] = 0
        if columns:
            left[:, anchor] = 0
    return own


greedy = BuildingBlock(
    "3.2 step one",
    _greedy,
    cases=TABLES,
    mistakes={
        "two objects got the same anchor, and one of them will be overwritten ||: once it is assigned, an anchor has to leave the table, and so does its object": _argmax,
        "that is each object's argmax: two may get the same anchor, and an object of zeros gets anchor 0": lambda table: (
            table.argmax(dim=1)
        ),
        "an object was assigned twice, and the later anchor replaced the better one ||: clear its row, not only the anchor's column": lambda table: (
            _until(table, 0, rows=False)
        ),
        "you took the anchors in their order; the best pair of the whole table comes first": _by_anchors,
        "step one has no threshold: any overlap above 0 is enough": lambda table: _until(table, 0.5),
        "a list of anchors was asked for, one for each object; yours has one entry for each anchor": lambda table: (
            _matched(table, _greedy(table))
        ),
        "you took the objects in their order; the best pair of the whole table comes first": _in_turn,
        "you sorted the objects once, by their best anchor; when that anchor is taken, another object's next pair may come first ||: look for the largest number of what is left, each time": _sorted_once,
        "an object got an anchor that it doesn't touch ||: stop when nothing above 0 is left": _never_stops,
        "an object for which nothing was left got anchor 0, because the maximum of zeros is 0 ||: stop when nothing above 0 is left": lambda table: (
            _until(table, 0, always=True)
        ),
    },
    praise="Best pair first, both leave the table, and an object that touches no anchor gets none: that is `matching.bipartite`.",
    draw=_table_on(by_object=True),
    name="greedy",
)


# ---- 3.3 both


def _matched(table: Tensor, own: Tensor) -> Tensor:
    """Step one alone, written by anchor."""
    matched = torch.full((table.shape[1],), -1)
    matched[own[own >= 0]] = torch.arange(len(table))[own >= 0]
    return matched


def _both(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = _step_two(table, threshold)
    matched[own[own >= 0]] = torch.arange(len(table))[own >= 0]
    return matched


def _two_overrules(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    second = _step_two(table, threshold)
    return torch.where(second >= 0, second, _matched(table, own))


def _wraps(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = _step_two(table, threshold)
    matched[own] = torch.arange(len(table))
    return matched


def _writes_anchor(table: Tensor, own: Tensor, threshold: float) -> Tensor:
    matched = _step_two(table, threshold)
    matched[own[own >= 0]] = own[own >= 0]
    return matched


_pairs = [(CALM, _greedy(CALM), 0.5), (TAKEN, _greedy(TAKEN), 0.5), (FAR, _greedy(FAR), 0.5)]
_pairs.append((RIVALS, _greedy(RIVALS), 0.5))
both = BuildingBlock(
    "3.3 both steps",
    _both,
    cases=[
        Case("two objects, five anchors", _pairs[0]),
        Case("an anchor that both steps would assign", _pairs[1]),
        Case("an object without an anchor", _pairs[2]),
        Case("two objects too small for step two", _pairs[3]),
        Case("a lower threshold", (CALM, _greedy(CALM), 0.25)),
    ],
    mistakes={
        "step two took an anchor away that step one had given ||: write step one's pairs last": _two_overrules,
        "an object without an anchor got the last one: own = -1 became an index ||; leave such objects out": _wraps,
        "step one's pairs are missing": lambda table, own, threshold: _step_two(table, threshold),
        "step two is missing: an object that has its anchor may get more": lambda table, own, threshold: (
            _matched(table, own)
        ),
        "`threshold` is given, and it isn't always 0.5": lambda table, own, threshold: _both(table, own, 0.5),
        "you wrote the anchor's own number there; what it answers for is an object": _writes_anchor,
    },
    praise="These are both steps of the paper's section 2.2.",
    draw=_table_on(by_object=False),
    name="both",
    uses=step_two,
)


# ---- 3.4 a number

smallest = Exercise(
    "3.4 the smallest object",
    30 * 0.5**0.5,
    mistakes={
        "too small: half the side isn't half the area ||; it is a quarter, so the IoU is 0.25": 15.0,
        "that is the area in px² ||; the side is its root": 450.0,
        "too large: that is the largest square that reaches 0.5; the smallest was asked for": 30 * 2**0.5,
        "nearly, a little too small: with 21 px the IoU is 0.49; keep one decimal place": 21.0,
        "too large: that square is the anchor itself, with IoU 1, but 0.5 is enough": 30.0,
        "too large: the rule of two thirds is for two boxes of the same size ||; here the object lies inside, so "
        "the area covered together is the anchor": 30 * (2 / 3) ** 0.5,
    },
    praise="s² / 900 = 0.5, so s = 30 · √0.5 = 21.2 px, an area of 450. No anchor has less than 900 px², so an object "
    "of less than 450 px² reaches 0.5 with none, whatever its shape.",
    tolerance=2e-3,
)


# ---- 3.5 anchors of the same size

same_size = Exercise(
    "3.5 a plus or a single one",
    [5, 5, 5, 1, 1, 1],
    mistakes={
        "too many on the first three maps: diagonal neighbours are too far ||; shifted along both axes they share "
        "(60 - 16)² / 60² = 0.54, not two thirds": [9, 9, 9, 1, 1, 1],
        "too many: sharing half of the area isn't an IoU of 0.5 ||; the area covered together is more than one box, so "
        "two thirds have to be shared": [9, 9, 9, 5, 5, 1],
        "too many on the fourth and the fifth map: compare the stride with the side there ||; a shift may be at most a "
        "third of the side, and both 64 px of 162 and 100 px of 213 are more": [5, 5, 5, 5, 5, 1],
        "one too few on every map: the square in the middle is missing": [4, 4, 4, 0, 0, 0],
        "too few on the first three maps: you have neighbours in one direction only ||; those above and below count as "
        "well as those left and right": [3, 3, 3, 1, 1, 1],
        "too few: you have the square in the middle alone, but a neighbour one stride away may overlap enough ||: compare "
        "the stride with the side": [1] * 6,
        "too many on the last three maps: strides grow faster than sides ||; 64 px is more than a third of "
        "162": [5] * 6,
        "too few on the third map: compare its stride with its side ||; 32 is less than a third of 111, which is "
        "37": [5, 5, 1, 1, 1, 1],
    },
    praise="8 of 30, 16 of 60, 32 of 111 are less than a third; 64 of 162, 100 of 213 are more, and the last map has "
    "one cell. Anchors of other shapes are added to these.",
)


# ---- 3.6 which objects are lost


def _lost(table: Tensor) -> list[int]:
    best = table.argmax(dim=1).tolist()
    return [i for i, anchor in enumerate(best) if anchor in best[i + 1 :] and table[i, anchor] > 0]


def _weaker(table: Tensor) -> list[int]:
    best, anchor = table.max(dim=1)
    rivals = (anchor[:, None] == anchor) & (best[:, None] < best)
    return rivals.any(dim=1).nonzero()[:, 0].tolist()


lost = Exercise(
    "3.6 the object that disappears",
    _lost,
    cases=[
        Case("anchor 0 is the best of both", (RIVALS,)),
        Case("anchor 0 is the best of all three", (CHAIN,)),
        Case("anchor 1 is the best of the first and the third", (APART,)),
        Case("two objects, five anchors: no object is lost", (CALM,)),
        Case(
            "two pairs, one inside the other",
            (torch.tensor([[0.7, 0.1], [0.2, 0.5], [0.1, 0.6], [0.4, 0.3]]),),
        ),
    ],
    mistakes={
        "you listed all objects with the same best anchor, but one of them keeps it ||: the last one, so only those before it are lost": lambda table: [
            i for i, a in enumerate(table.argmax(dim=1).tolist()) if table.argmax(dim=1).tolist().count(a) > 1
        ],
        "you listed the objects that overwrite, not those that are overwritten ||: the earlier object loses": lambda table: [
            i for i, a in enumerate(table.argmax(dim=1).tolist()) if a in table.argmax(dim=1).tolist()[:i]
        ],
        "you compared each object with the next one only ||; look at all later objects": lambda table: [
            i for i, (a, b) in enumerate(pairwise(table.argmax(dim=1).tolist())) if a == b
        ],
        "those are the objects that keep their anchor; the others were asked for": lambda table: [
            i for i in range(len(table)) if i not in _lost(table)
        ],
        "those are the anchors; the objects that lose them were asked for": lambda table: [
            int(table[i].argmax()) for i in _lost(table)
        ],
        "True or False for each object; a list of the objects' numbers was asked for": lambda table: [
            i in _lost(table) for i in range(len(table))
        ],
        "the shortcut doesn't compare the IoUs: the later object overwrites, even if it overlaps less": _weaker,
    },
    praise="In much published code the objects in your list get no anchor from step one.",
)


def library_agrees(table: Tensor) -> bool:
    """Whether the naive loop above and `matching.bipartite` give the same, for the chapter's own comparison."""
    return torch.equal(_greedy(table), matching.bipartite(table))
