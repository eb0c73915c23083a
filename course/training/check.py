"""Checks of chapter 09: a batch for many processes, its parts, the time left, and three that ask for values.

The values are what may change on resuming, how many images fit, and a safe order of writing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes

from course.kit.checking import Case, Either, Exercise, Verdict
from course.kit.comparing import agree, difference
from ssdlib.plots import BLACK, BLUE, ORANGE, RED

GREY = "#777777"

# ---- 9.3 one batch, many processes

Orders = Sequence[Sequence[int]]


def _at(positions: Sequence[int], orders: Orders) -> list[int]:
    """The images at some positions of the endless row."""
    return [orders[p // len(orders[0])][p % len(orders[0])] for p in positions]


def _part(step: int, rank: int, processes: int, batch: int) -> range:
    size = batch // processes
    return range(step * batch + rank * size, step * batch + (rank + 1) * size)


def _mine(step: int, rank: int, processes: int, batch: int, orders: Orders) -> list[int]:
    return _at(_part(step, rank, processes, batch), orders)


def _growing(step: int, rank: int, processes: int, batch: int, orders: Orders) -> list[int]:
    first = (step * processes + rank) * batch
    return _at(range(first, first + batch), orders)


def _whole_batches_only(step: int, rank: int, processes: int, batch: int, orders: Orders) -> list[int]:
    """Each epoch begins with a batch of its own; what is left of the epoch before is thrown away."""
    epoch, inside = divmod(step, len(orders[0]) // batch)
    return [orders[epoch][p] for p in _part(inside, rank, processes, batch)]


def _own_piece(step: int, rank: int, processes: int, batch: int, orders: Orders) -> list[int]:
    """Each process goes through a piece of the dataset of its own."""
    size, piece = batch // processes, len(orders[0]) // processes
    epoch, inside = divmod(step * size, piece)
    return list(orders[epoch][rank * piece + inside : rank * piece + inside + size])


def _cut_at_the_epoch(step: int, rank: int, processes: int, batch: int, orders: Orders) -> list[int]:
    part, count = _part(step, rank, processes, batch), len(orders[0])
    return _at([p for p in part if p // count == part[0] // count], orders)


def _row_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The row, an epoch a line: thick frames for what was wanted, crosses for yours."""
    orders = case.arguments[-1]
    places = {(e, p): image for e, order in enumerate(orders) for p, image in enumerate(order)}
    part = list(_part(*case.arguments[:4]))
    mine = [int(image) for image in found]
    for (epoch, place), image in places.items():
        ax.text(place, epoch, str(image), ha="center", va="center", color=BLACK)
        if epoch * len(orders[0]) + place in part:
            ax.plot(place, epoch, "s", markersize=19, markerfacecolor="none", color=ORANGE, markeredgewidth=3)
        if image in mine and any(epoch == p // len(orders[0]) for p in part):
            ax.plot(place, epoch, "x", markersize=15, color=RED, markeredgewidth=2)
    ax.set(xlim=(-0.7, len(orders[0]) - 0.3), ylim=(len(orders) - 0.4, -0.6), xlabel="place in the epoch")
    ax.set(yticks=range(len(orders)), ylabel="epoch", title="frames: wanted; x: yours")
    ax.title.set_fontsize(9)


ROW = [[7, 2, 9, 0, 5, 1, 8, 3, 6, 4], [3, 8, 0, 6, 1, 4, 9, 7, 2, 5], [5, 0, 4, 8, 2, 7, 1, 6, 9, 3]]
SEVEN = [[2, 5, 0, 6, 1, 4, 3], [6, 0, 3, 1, 5, 2, 4], [1, 4, 6, 2, 0, 3, 5]]
my_images = Exercise(
    "9.3 one batch, many processes",
    _mine,
    cases=[
        Case("one process, step 0", (0, 0, 1, 4, ROW)),
        Case("step 1, rank 1 of 2", (1, 1, 2, 4, ROW)),
        Case("step 1, rank 2 of 4", (1, 2, 4, 4, ROW)),
        Case("step 2, rank 1 of 2, in the second epoch already", (2, 1, 2, 4, ROW)),
        Case("one process, step 2, across the end of the epoch", (2, 0, 1, 4, ROW)),
        Case("step 1, rank 1 of 2, a batch of 6, across the end", (1, 1, 2, 6, ROW)),
        Case("step 2, a dataset of 7 images", (2, 0, 1, 4, SEVEN)),
    ],
    mistakes={
        "those are the images of the whole batch; this process computes its part ||, batch // processes of them": lambda step, rank, processes, batch, orders: (
            _mine(step, 0, 1, batch, orders)
        ),
        "each process takes a whole batch of its own, so the update sees `processes` times as many images": _growing,
        "a step moves on by the whole batch, whoever computes it ||: step · batch, not step · (batch // processes)": lambda s, r, p, b, orders: (
            _at(range((s + r) * (b // p), (s + r + 1) * (b // p)), orders)
        ),
        "`rank` isn't used: every process computes the same images": lambda step, rank, processes, batch, orders: (
            _mine(step, 0, processes, batch, orders)
        ),
        "you take every `processes`-th image of the batch; the parts were to lie one after the other": lambda s, r, p, b, orders: (
            _at(range(s * b + r, (s + 1) * b, p), orders)
        ),
        "what is left at the end of an epoch is thrown away; here a batch may reach into the next epoch": _whole_batches_only,
        "each process has a piece of the dataset of its own; then another number of processes is another run": _own_piece,
        "you began the first epoch's order again ||; the second epoch has an order of its own: orders[1]": lambda s, r, p, b, orders: (
            _at(_part(s, r, p, b), [orders[0]] * len(orders))
        ),
        "images are missing where the batch reaches into the next epoch ||: ask for each position by itself": _cut_at_the_epoch,
        "those are positions in the row; look up which images lie there": lambda s, r, p, b, orders: list(
            _part(s, r, p, b)
        ),
        "those are positions in an epoch; look up which images lie there": lambda s, r, p, b, orders: [
            i % len(orders[0]) for i in _part(s, r, p, b)
        ],
        "your images begin one batch too late ||: steps count from 0, so step 0 begins at position 0": lambda s, r, p, b, orders: (
            _mine(s + 1, r, p, b, orders)
        ),
        "ranks count from 0: rank 0 has the first part of the batch": lambda s, r, p, b, orders: _mine(
            s, (r - 1) % p, p, b, orders
        ),
        "right images in another order; as they lie in the row, please": lambda *given: sorted(_mine(*given)),
    },
    praise="Nothing remembered: step and rank say which images. All parts together are the same batch for 1, 2 or 4.",
    draw=_row_on,
    size=(5.2, 2.2),
)

# ---- 9.4 the parts of a batch

Parts = Sequence[tuple[int, Sequence[float]]]


def _weighted(parts: Parts, weight: Callable[[int], float], whole: Callable[[int], float]) -> list[float]:
    """Sum of weight(n) · g over the parts, divided by whole(N)."""
    total = whole(sum(n for n, _ in parts))
    return [sum(weight(n) * g[i] for n, g in parts) / total for i in range(len(parts[0][1]))]


def _whole(parts: Parts) -> list[float]:
    return _weighted(parts, lambda n: n, lambda total: max(1, total))


def _arrows_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """The gradients of the parts, of the whole batch, and yours, as arrows."""
    (parts,) = case.arguments
    arrows = [(g, GREY, f"part, N = {n}") for n, g in parts] + [(wanted, ORANGE, "wanted")]
    reach = 1.6 * max(1.0, *(abs(v) for g, _, _ in arrows for v in g))
    x, y = (float(value) for value in found)
    longer = max(abs(x), abs(y)) / reach * 1.2
    yours = "yours" if longer <= 1 else "yours, much longer"
    arrows.append(((x / max(1, longer), y / max(1, longer)), RED, yours))
    for (x, y), color, name in arrows:
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.5})
        side = "right" if x < 0 else "left"
        ax.annotate(
            name, (x, y), (3, -11 if name == yours else 3), textcoords="offset points", fontsize=9, ha=side
        )
    ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="weight 1", ylabel="weight 2")
    ax.axhline(0, color=GREY, lw=0.5)
    ax.axvline(0, color=GREY, lw=0.5)


whole_gradient = Exercise(
    "9.4 the parts of a batch",
    _whole,
    cases=[
        Case("two parts, 10 and 40 matches", ([(10, [4.0, 1.0]), (40, [-1.0, 2.0])],)),
        Case("one of three parts holds no object", ([(12, [2.0, 0.0]), (0, [0.0, 0.0]), (4, [-2.0, 4.0])],)),
        Case("a single part", ([(7, [0.5, -1.0])],)),
        Case("three weights", ([(3, [1.0, 2.0, 3.0]), (1, [1.0, -2.0, 7.0])],)),
        Case("a single match in the whole batch", ([(0, [0.0, 0.0]), (1, [3.0, -1.0])],)),
        Case("no object in the whole batch", ([(0, [0.0, 0.0]), (0, [0.0, 0.0])],)),
    ],
    mistakes={
        "that is the mean of the parts: 10 matches count as much as 40 ||; each match has to count alike": lambda parts: (
            _weighted(parts, lambda n: 1, lambda total: len(parts))
        ),
        "you added the parts up as they are: each was divided by its own N, not by the N of the whole batch": lambda parts: (
            _weighted(parts, lambda n: 1, lambda total: 1)
        ),
        "n · g undoes the division by the part's own N, and then nothing is divided ||; divide by the N of the whole batch": lambda parts: (
            _weighted(parts, lambda n: n, lambda total: 1)
        ),
        "you divided by the number of parts, which isn't N ||: the N of the whole batch is the sum of all matches": lambda parts: (
            _weighted(parts, lambda n: n, lambda total: len(parts))
        ),
        "you divided by the whole N, but each part is still divided by its own N, too ||: multiply that back first": lambda parts: (
            _weighted(parts, lambda n: 1, lambda total: max(1, total))
        ),
        "only the last part is left; in a program that is `zero_grad` inside the loop over the parts": lambda parts: (
            list(parts[-1][1])
        ),
        "only the first part is used": lambda parts: list(parts[0][1]),
        "a part without objects adds 1 to your N ||; it adds 0, and max(1, N) is for the whole batch": lambda parts: (
            _weighted(parts, lambda n: max(1, n), lambda _: sum(max(1, n) for n, _ in parts))
        ),
        "that is the mean of the parts that hold objects; each match has to count alike, not each part": lambda parts: (
            _weighted(parts, lambda n: 1, lambda _: max(1, sum(n > 0 for n, _ in parts)))
        ),
        "a batch without any object has N = 0, and 0 / 0 is NaN ||: divide by max(1, N)": lambda parts: [
            (torch.tensor(v) / torch.tensor(float(sum(n for n, _ in parts)))).item()
            for v in _weighted(parts, lambda n: n, lambda _: 1)
        ],
        "the part with the most matches isn't the whole batch": lambda parts: list(
            max(parts, key=lambda part: part[0])[1]
        ),
        "your N is the largest of the parts' matches ||; it is their sum": lambda parts: _weighted(
            parts, lambda n: n, lambda _: max(1, *(n for n, _ in parts), 1)
        ),
        "that is the N of the whole batch; the gradient was asked for": lambda parts: sum(
            n for n, _ in parts
        ),
    },
    praise="Each match counts alike, whichever part it lies in. `engine.update` counts N before the first part.",
    draw=_arrows_on,
)

# ---- 9.6 the time that is left

Rows = Sequence[Mapping[str, Any]]


def _validations(rows: Rows) -> list[float]:
    """How long each validation of a log took: its line's time less that of the line before."""
    return [now["seconds"] - was["seconds"] for was, now in zip(rows, rows[1:], strict=False) if "val" in now]


def _time_left(
    rows: Rows,
    steps: int,
    val_every: int,
    to_come: Callable[[int, int, int], int] = lambda step, steps, every: steps // every - step // every,
    each: Callable[[list[float]], float] = lambda took: sum(took) / max(1, len(took)),
    pace_with: bool = False,
) -> float:
    """`to_come`: of step, steps, val_every; `each`: length of one, from those seen; `pace_with` validations in it."""
    step, seconds, took = rows[-1]["step"], rows[-1]["seconds"], _validations(rows)
    pace = (seconds - (0 if pace_with else sum(took))) / step
    return pace * (steps - step) + to_come(step, steps, val_every) * each(took)


def _last_pace(rows: Rows, steps: int, val_every: int) -> float:
    was, now = ([{"step": 0, "seconds": 0.0}, *(row for row in rows if "val" not in row)])[-2:]
    pace = (now["seconds"] - was["seconds"]) / (now["step"] - was["step"])
    return _time_left(rows, steps, val_every) + (pace - _time_left(rows, rows[-1]["step"] + 1, steps + 1)) * (
        steps - rows[-1]["step"]
    )


def _bars_on(ax: Axes, case: Case, found: Any, wanted: Any) -> None:
    """What is done, then what is left, wanted and yours, on one axis of seconds."""
    done = case.arguments[0][-1]["seconds"]
    for y, left, color, hatch in ((1, wanted, ORANGE, ""), (0, float(found), RED, "//")):
        ax.barh(y, done, color=BLUE, height=0.5)
        ax.barh(y, left, left=done, color=color, hatch=hatch, edgecolor="white", height=0.5)
    ax.set(yticks=[0, 1], yticklabels=["yours", "wanted"], xlabel="seconds; first bar: done, second: left")


def _log(*rows: tuple) -> list[dict]:
    """Lines of a log from (step, seconds) and (step, seconds, validation loss)."""
    return [
        {"step": step, "seconds": seconds}
        | ({"val": {"multibox": loss[0]}} if loss else {"multibox": 4.0 + 100 / step})
        for step, seconds, *loss in rows
    ]


EARLY = _log((200, 20.0), (400, 40.0))
HALF = _log((500, 60.0), (1000, 110.0), (1000, 130.0, 5.5), (1500, 190.0))
UNEVEN = _log((1000, 100.0), (1000, 118.0, 5.5), (2000, 218.0), (2000, 240.5, 5.1))
THREE = [*UNEVEN, *_log((3000, 340.5), (3000, 370.5, 5.0))]
SLOW = _log((20, 8.0), (20, 38.0, 6.0), (30, 42.0))
time_left = Exercise(
    "9.6 the time that is left",
    _time_left,
    cases=[
        Case("half of 3,000 steps", (HALF, 3000, 1000)),
        Case("step 1,900 of 3,000", ([*HALF, *_log((1900, 238.0))], 3000, 1000)),
        Case("just validated, 900 steps to go", (UNEVEN, 2900, 1000)),
        Case("two validations of unequal length", ([*UNEVEN, *_log((2500, 290.5))], 4000, 1000)),
        Case("three validations of unequal length", (THREE, 5000, 1000)),
        Case("validating takes longer than training", (SLOW, 100, 20)),
        Case("no validation yet", (EARLY, 2100, 1000)),
        Case("the run is done", (UNEVEN, 2000, 1000)),
    ],
    mistakes={
        "no validation is in it: the training alone is right, but each validation to come takes its time, too": lambda *given: (
            _time_left(*given, each=lambda took: 0)
        ),
        "validations are counted twice: they are in your seconds a step, and you add them again": lambda *given: (
            _time_left(*given, pace_with=True)
        ),
        "that is seconds a step, validations included, times the steps left. It is right only where the "
        "validations to come are as dense as those seen": lambda *given: _time_left(
            *given, pace_with=True, each=lambda took: 0
        ),
        "from 1,900 to 3,000 there are two validations, at 2,000 and at 3,000, though only 1,100 steps are left ||: count those due until the end, steps // val_every, and subtract those due by now": lambda *given: (
            _time_left(*given, to_come=lambda step, steps, every: (steps - step) // every)
        ),
        "from 2,000 to 2,900 no validation is due, and you count one ||: don't round up": lambda *given: (
            _time_left(*given, to_come=lambda step, steps, every: -(-(steps - step) // every))
        ),
        "you count the validations of the whole run; those that are done take no time any more": lambda *given: (
            _time_left(*given, to_come=lambda step, steps, every: steps // every)
        ),
        "`seconds` in a line is the clock of the run, not the time of a validation ||: that is the difference from the line before": lambda rows, steps, every: (
            _time_left(
                rows,
                steps,
                every,
                each=lambda _: (v := [r["seconds"] for r in rows if "val" in r]) and sum(v) / len(v) or 0,
            )
        ),
        "that is the time of the whole run ||; take off what is done": lambda rows, *rest: (
            _time_left(rows, *rest) + rows[-1]["seconds"]
        ),
        "a validation takes as long as those so far *on average*; you took their sum": lambda *given: (
            _time_left(*given, each=sum)
        ),
        "a validation takes as long as those so far on average; you took the last one": lambda *given: (
            _time_left(*given, each=lambda took: took[-1] if took else 0)
        ),
        "a validation takes as long as those so far *on average*: yours is the first one": lambda *given: (
            _time_left(*given, each=lambda took: took[0] if took else 0)
        ),
        "a validation takes as long as those so far on *average*, that is the mean; yours is the median": lambda *given: (
            _time_left(
                *given,
                each=lambda took: (
                    sorted(took)[len(took) // 2] if len(took) % 2 else sum(took) / (len(took) or 1)
                ),
            )
        ),
        "the mean pace of the run so far was asked for; you took that of the last two lines": _last_pace,
        "those are steps; seconds were asked for": lambda rows, steps, every: steps - rows[-1]["step"],
        "those are minutes; seconds were asked for": lambda *given: _time_left(*given) / 60,
    },
    praise="Two paces, measured apart: a step's and a validation's. (Evaluations of mAP would be a third one.)",
    draw=_bars_on,
    size=(5.2, 2.0),
)


@dataclass
class Reasoned(Exercise):
    """Asks for a value, and has a sentence for every wrong one: `fault(answer)`, "" where it has none."""

    fault: Callable[[Any], str] = lambda answer: ""

    def _judge_value(self, answer: Any) -> Verdict:
        if agree(answer, self.right):
            return self._passed()
        if callable(answer):
            return self._verdict(f"yours is a {type(answer).__name__}; a value was asked for")
        try:
            why = self.fault(answer)
        except (TypeError, ValueError, RuntimeError):  # not even of the right kind
            why = ""
        return self._verdict(why or difference(answer, self.right, tell=False))


# ---- 9.1 what may change

CHANGES = (  # setting, was, asked for; None: no setting, but given on the command line of torchrun
    ("steps", 120_000, 150_000),
    ("steps", 120_000, 40_000),
    ("learning_rate", 1e-3, 5e-4),
    ("microbatch", 0, 8),
    ("batch_size", 32, 16),
    ("checkpoint_every", 1000, 200),
    (None, 1, 4),
)
ACCEPTED = (True, False, False, True, False, True, True)
REASONS = (
    "row 1: more steps only add to the end; the 50,000 that are done stay what they are",
    "row 2: the run has done 50,000 steps already; it can't go back to 40,000",
    "row 3: another learning rate is another run; half of one and half of the other is neither",
    "row 4: microbatch says how many images are computed at a time; the update is that of all 32, as before",
    "row 5: with 16 images an update, all later batches are other ones: that is another run",
    "row 6: how often a run is saved changes nothing of what it learns",
    "row 7: the number of processes is no setting: the batch of step t is the same, only shared out",
)


def _first_wrong_row(answer: Any) -> str:
    rows = [float(value) for value in answer]
    if len(rows) != len(ACCEPTED):
        return f"yours has {len(rows)} answers; one for each of the 7 rows was asked for"
    if not set(rows) <= {0.0, 1.0}:
        return "only True and False were asked for"
    return next(why for why, row, wanted in zip(REASONS, rows, ACCEPTED, strict=True) if row != wanted)


may_change = Reasoned(
    "9.1 what may change",
    list(ACCEPTED),
    praise="What is done stays true: longer, in smaller parts, saved more often, on more GPUs. The rest isn't.",
    fault=_first_wrong_row,
)

# ---- 9.2 how many images fit

BASE, EACH, FREE = 1.0, 0.4, 12.0  # GiB: with no image, for each image, of the GPU
fit = Exercise(
    "9.2 how many images fit",
    27,
    mistakes={
        "half an image can't be computed ||: round down": 27.5,
        "too many: 28 images take 12.2 GiB ||; round down": 28,
        "too many: you left out what is there with no image at all ||, 1.0 GiB": 30,
        "you scaled up 4.2 GiB for 8 images, and part of the 4.2 doesn't grow with the images": Either(
            (22, 23, 12 / 4.2 * 8)
        ),
        "you scaled up 7.4 GiB for 16 images, and part of the 7.4 doesn't grow with the images": Either(
            (25, 26, 12 / 7.4 * 16)
        ),
        "that is how many more than 8 fit": Either((19, 19.5)),
        "that is how many more than 16 fit": Either((11, 11.5)),
        "24 images take 10.6 GiB: they fit, but more do; it needn't be a multiple of 8": 24,
        "16 images take 7.4 GiB: they fit, but more do; it needn't be a power of two": 16,
        "too many: even 29 images take 12.6 GiB": Either((29, 31, 32)),
    },
    praise="8 more images took 3.2 GiB, so 0.4 each, and 1.0 with none. 27 take 11.8 GiB, 28 would take 12.2.",
)

# ---- 9.5 saved whole, or not at all

LINES = "ABCDEF"


def _fault(answer: Any) -> str:
    """What is wrong with an order of the lines, as a word of their letters."""
    typed = answer if isinstance(answer, str | list | tuple) else ()
    word = "".join(letter for part in typed for letter in str(part).upper() if letter.isalnum())
    at = {letter: place for place, letter in enumerate(word)}
    if not word or set(word) - set(LINES):
        return 'the answer is a word of the letters A to F, for example "FBD"'
    if len(at) < len(word):
        return "each line is needed once at most"
    if "F" in at:
        return (
            "F empties the old checkpoint at once: if power fails before the new one is there, none is left"
        )
    if "C" in at:
        early = "A" not in at or at["C"] < at["A"]
        return (
            "C deletes the old checkpoint before the new one has got its name: if power fails now, none is found"
            if early
            else "C after A deletes the new checkpoint: it is the one that has the name now"
        )
    for letter, why in (
        ("E", "no file is opened to write into ||: B and D need E"),
        ("B", "nothing is ever written ||: B is missing"),
        (
            "A",
            "the new checkpoint never gets its name, so a reader finds the old one for ever ||: A is missing",
        ),
        ("D", "nothing waits for the disk, so the name may get there before the bytes ||: D is missing"),
    ):
        if letter not in at:
            return why
    if at["E"] > min(at["B"], at["D"]):
        return "B and D need an open file ||: E comes first"
    if at["A"] < at["B"]:
        return "A before B: a file without bytes gets the checkpoint's name, and the old one is gone"
    if at["D"] < at["B"]:
        return (
            "D before B waits for bytes that aren't written yet; those of B reach the disk whenever they like"
        )
    if at["A"] < at["D"]:
        return "A before D: the name may be on the disk before the bytes, and the old checkpoint is gone"
    return ""


@dataclass
class Word(Reasoned):
    """Takes "EBDA", "e, b, d, a" and a list of letters for the same."""

    def _judge_value(self, answer: Any) -> Verdict:
        letters = isinstance(answer, str | list | tuple) and all(isinstance(part, str) for part in answer)
        right = letters and bool(answer) and not _fault(answer)
        return super()._judge_value(self.right if right else answer)


saving = Word(
    "9.5 saved whole, or not at all",
    "EBDA",
    praise="Beside the old one, to the disk, then the name: a reader finds the old checkpoint or the new one.",
    fault=_fault,
)
