"""Checks of chapter 09 that ask for a value: what may change on resuming, how many images fit, a safe order."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from course.checking import RIGHT, Exercise, Mistake, Verdict
from course.comparing import agree, difference


@dataclass
class Reasoned(Exercise):
    """Asks for a value, and has a sentence for every wrong one: `fault(answer)`, "" where it has none."""

    fault: Callable[[Any], str] = lambda answer: ""

    def _judge_value(self, answer: Any) -> Verdict:
        if agree(answer, self.right):
            return Verdict(self.title, RIGHT, self.praise)
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
    "row 3: another rate is another run; half of one and half of the other is neither",
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


def _but(row: int) -> list[bool]:
    return [not value if i == row else value for i, value in enumerate(ACCEPTED)]


may_change = Reasoned(
    "9.1 what may change",
    list(ACCEPTED),
    mistakes=[Mistake(why, _but(row)) for row, why in enumerate(REASONS)]
    + [
        Mistake("yours has 3 answers", [True, False, True]),
        Mistake("only True and False were asked for", [1, 2, 3, 4, 5, 6, 7]),
    ],
    praise="What is done stays true: longer, in smaller parts, saved more often, on more GPUs. The rest isn't.",
    fault=_first_wrong_row,
)

# ---- 9.2 how many images fit

BASE, EACH, FREE = 1.0, 0.4, 12.0  # GiB: with no image, for each image, of the GPU
fit = Exercise(
    "9.2 how many images fit",
    27,
    mistakes=[
        Mistake("half an image can't be computed: round down", 27.5),
        Mistake("28 images take 12.2 GiB: round down", 28),
        Mistake("you left out the 1.0 GiB that is there with no image at all", 30),
        Mistake("you scaled up 4.2 GiB for 8 images; but part of the 4.2 doesn't grow with the images", 22),
        Mistake("you scaled up 4.2 GiB for 8 images, and part of the 4.2 doesn't grow", 23),
        Mistake("you scaled up 4.2 GiB for 8 images; part of the 4.2 stays", 12 / 4.2 * 8),
        Mistake("you scaled up 7.4 GiB for 16 images; but part of the 7.4 doesn't grow with the images", 25),
        Mistake("you scaled up 7.4 GiB for 16 images, and part of the 7.4 doesn't grow", 26),
        Mistake("you scaled up 7.4 GiB for 16 images; part of the 7.4 stays", 12 / 7.4 * 16),
        Mistake("that is how many more than 8 fit", 19),
        Mistake("that is how many more than 8 would fit, if half an image could be computed", 19.5),
        Mistake("that is how many more than 16 fit", 11),
        Mistake("that is how many more than 16 would fit, if half an image could be computed", 11.5),
        Mistake("24 images take 10.6 GiB: they fit, but more do; it needn't be a multiple of 8", 24),
        Mistake("16 images take 7.4 GiB: they fit, but more do; it needn't be a power of two", 16),
        Mistake("29 images take 12.6 GiB", 29),
        Mistake("32 images take 13.8 GiB", 32),
        Mistake("31 images take 13.4 GiB", 31),
    ],
    praise="8 more images took 3.2 GiB, so .4 each, and 1.0 with none. 27 take 11.8 GiB, 28 would take 12.2.",
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
        ("E", "no file is opened to write into: B and D need E"),
        ("B", "nothing is ever written: B is missing"),
        ("A", "the new checkpoint never gets its name: a reader finds the old one for ever"),
        ("D", "nobody waits for the disk: the name may get there before the bytes, so D is missing"),
    ):
        if letter not in at:
            return why
    if at["E"] > min(at["B"], at["D"]):
        return "B and D need an open file: E comes first"
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
    mistakes=[
        Mistake(_fault(word), word)
        for word in (*"ABDEF", "FBD", "CEBDA", "EBDAC", "EBCDA", "BDA", "EDA", "EBD", "EBA", "BEDA", "DEBA")
        + ("AEBD", "EABD", "EDBA", "EBAD", "EBDAA", "XYZ", "ABCDEF", "EBDCA", "DBEA")
    ],
    praise="Beside the old one, to the disk, then the name: a reader finds the old checkpoint or the new one.",
    fault=_fault,
)
