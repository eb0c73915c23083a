"""Where a run stands, from its folder alone: how far, how fast, how long still, and whether anything is wrong.

The rules are in the functions' docstrings. None of them needs the clock of the machine that trains, only the
`seconds` that the run itself has written down.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from course.instability.starts import LEFT
from course.training.log_follower import Check, Follower
from ssdlib.loss import NEGATIVE_RATIO
from ssdlib.training.estimate import in_words
from ssdlib.training.runlog import LOG
from ssdlib.training.runs import BEST, CHECKPOINT, RunConfig

WINDOW = 10  # lines that a mean goes over
PACED = 50  # lines that the speed is taken from
RISEN = 2.0  # times the lowest mean: then the loss is rising
QUIET = 60.0  # seconds without news that are always all right
FINE, LOOK, ALARM = "fine", "look", "alarm"
MARKS = {FINE: "✓", LOOK: "?", ALARM: "✗"}
WAITING, RUNNING, EVALUATING, SILENT, INTERRUPTED, DIVERGED, FINISHED = (
    *("waiting", "running", "evaluating", "silent", "interrupted", "diverged", "finished"),
)


@dataclass(frozen=True)
class View:
    """A run at one moment. What can't be told is NaN or None."""

    folder: Path
    phase: str
    step: int
    config: RunConfig | None
    last: dict[str, float]  # the last line of training, by column
    mean: dict[str, float]  # its loss parts, means of the last WINDOW lines
    pace: float  # seconds a step
    spent: float  # seconds of training so far, over all sessions
    left: float  # seconds
    uncounted: int  # evaluations to come that no time is known of
    validations: tuple[Check, ...]
    evaluations: tuple[Check, ...]
    age: float | None  # seconds since the last news
    mood: str  # FINE, LOOK or ALARM
    watch: str  # why, in a sentence
    problems: tuple[str, ...]  # with the folder, one sentence each

    @property
    def steps(self) -> int | None:
        return self.config.steps if self.config else None

    @property
    def speed(self) -> float:
        """Images a second."""
        return self.config.batch_size / self.pace if self.config and self.pace > 0 else math.nan

    def next(self, every: int) -> int | None:
        """How many steps until the next multiple of `every`; None if there is none to come."""
        due = (self.step // every + 1) * every if every else math.inf
        return due - self.step if self.steps and due <= self.steps else None

    @property
    def next_drop(self) -> int | None:
        """How many steps still have the learning rate of now, but for a warm-up."""
        drops = [d for d in self.config.drops if self.step < d < self.steps] if self.config else []
        return min(drops) - self.step if drops else None

    def best(self, checks: tuple[Check, ...]) -> Check | None:
        """The validation of the least loss, or the evaluation of the highest mAP."""
        sign = -1 if checks is self.evaluations else 1
        known = [check for check in checks if math.isfinite(check.value)]
        return min(known, key=lambda check: sign * check.value, default=None)

    def table(self) -> list[tuple[str, float, float]]:
        """Class, AP and the change since the evaluation before (NaN if there's none), of the last evaluation."""
        now = self.evaluations[-1].ap if self.evaluations else {}
        before = next((c.ap for c in self.evaluations[-2::-1] if c.step < self.evaluations[-1].step), {})
        return [(name, ap, ap - before.get(name, math.nan)) for name, ap in now.items()]


def read_status(folder: Path) -> View:
    """Where the run in a folder stands. To look again and again, keep a `Follower`."""
    found = Follower(folder)
    found.poll()
    return view(found)


def view(found: Follower) -> View:
    """Where a run stands, after the last `poll`."""
    last = {name: float(column[-1]) for name, column in found.columns.items()} if len(found) else {}
    parts = ("localisation", "confidence", "multibox")
    mean = {name: float(np.mean(found.columns[name][-WINDOW:])) for name in parts} if len(found) else {}
    pace, age = _pace(np.array(found.columns["pace"][-PACED:])), found.age()
    left, uncounted = _left(found, pace)
    mood, watch = _watch(found)
    phase = _phase(found, pace, age)
    if phase == INTERRUPTED and mood != ALARM:
        mood, watch = LOOK, f"no process trains there now; {_kept(found, found.step + 1)}"
    if phase == SILENT and mood != ALARM:
        mood, watch = (
            LOOK,
            f"no news for {in_words(age, exact=True)}, {_rhythm(found, pace)}: is it still running?",
        )
    spent = found.last[1] if found.last else math.nan
    return View(
        *(found.folder, phase, found.step, found.config, last, mean, pace, spent, left, uncounted),
        *(tuple(found.validations), tuple(found.evaluations), age, mood, watch, tuple(_problems(found))),
    )


def _pace(paces: np.ndarray) -> float:
    """Seconds a step: the mean over the last lines, without those that took more than three times as long as the
    middle one (a pause, another process). Time for validations and evaluations isn't in it."""
    paces = paces[np.isfinite(paces) & (paces >= 0)]
    if not len(paces):
        return math.nan
    middle = float(np.median(paces))
    return float(paces[paces <= 3 * middle].mean()) if middle > 0 else float(paces.mean())


def _left(found: Follower, pace: float) -> tuple[float, int]:
    """Seconds that the rest will take at this pace, with the validations and evaluations to come, each as long as
    the middle one so far; and how many of them are left out since none was timed yet. Checkpoints aren't counted."""
    config = found.config
    if config is None or not math.isfinite(pace):
        return math.nan, 0
    step = found.step
    seconds, uncounted = max(config.steps - step, 0) * pace, 0
    validations = _multiples(step, config.steps, config.val_every)
    evaluations = _multiples(step, config.steps - 1, config.map_every)
    evaluations += not any(check.step == config.steps for check in found.evaluations)  # the one at the end
    for checks, number in ((found.validations, validations), (found.evaluations, evaluations)):
        took = [check.took for check in checks if math.isfinite(check.took)]
        if number and took:
            seconds += number * float(np.median(took))
        elif number:
            uncounted += number
    return seconds, uncounted


def _multiples(after: int, until: int, every: int) -> int:
    return max(until // every - after // every, 0) if every else 0


def _phase(found: Follower, pace: float, age: float | None) -> str:
    """Interrupted is a run whose lock was there and is gone. Silent is one that has said nothing for a minute, for
    ten lines' time and for three times the longest pause so far. A copy of a log, too, looks silent: nothing writes
    to it."""
    if found.diverged:
        return DIVERGED
    steps = found.config.steps if found.config else None
    if steps and any(check.step >= steps for check in found.evaluations):
        return FINISHED
    if found.last and found.held is False:
        return INTERRUPTED
    every = found.config.log_every if found.config else 10
    patience = max(QUIET, WINDOW * every * (pace if pace >= 0 else 0), 3 * found.longest)
    if found.last and age is not None and age > patience:
        return SILENT
    if steps and found.step >= steps:
        return EVALUATING
    return RUNNING if found.last else WAITING


def _rhythm(found: Follower, pace: float) -> str:
    every = found.config.log_every if found.config else 10
    return (
        f"where a line came every {in_words(pace * every, exact=True)}"
        if pace > 0
        else "after the first lines"
    )


def _watch(found: Follower) -> tuple[str, str]:
    """What the last lines say about the run's health; the first rule that applies:

    - the log's last word is `diverged`: the library has stopped, and kept the checkpoint before;
    - the last line has a number that is none: another program's loop goes on regardless;
    - it has no positives: no anchor answers for an object;
    - the mean of the last ten lines is twice the lowest such mean before;
    - the confidence loss is still where a network without opinion is (chapter 07), after ten lines or more.
    """
    if found.diverged:
        step, rate = found.diverged
        return ALARM, f"the loss was no number at step {step:,}, learning rate {rate:g}; {_kept(found, step)}"
    if not len(found):
        return FINE, "nothing to watch yet"
    end = {name: column[-1] for name, column in found.columns.items() if len(column)}
    odd = [name for name in ("localisation", "confidence", "multibox") if not math.isfinite(end[name])]
    if odd:
        return (
            ALARM,
            f"the {odd[0]} loss of step {int(end['step']):,} is no number; learning rate {end['rate']:g}",
        )
    if end["positives"] == 0:
        return LOOK, f"no anchor was positive in the line of step {int(end['step']):,}: are there objects?"
    ratio = risen(found["multibox"])
    if ratio > RISEN:
        return LOOK, f"the loss is rising: the mean of {WINDOW} lines is {ratio:.1f} times the lowest so far"
    confidence = found["confidence"][-WINDOW:]
    classes = len(found.config.classes) + 1 if found.config else 21
    no_opinion = (1 + NEGATIVE_RATIO) * math.log(classes)
    if len(confidence) == WINDOW and confidence.mean() > LEFT * no_opinion:
        level = f"{confidence.mean():.1f}; all classes equally likely give {no_opinion:.1f}"
        return LOOK, f"the network has no opinion yet: confidence loss {level} (chapter 07)"
    return FINE, "all numbers finite, the loss isn't rising"


def risen(losses: np.ndarray) -> float:
    """The mean of the last WINDOW losses relative to the lowest mean of so many in a row. At least 1; 1 where there
    are too few.

    It sees a slow decline, hardly a NaN before it comes: with a line for every step of chapter 07's recorded starts
    it reaches RISEN in 16 of the 29 that broke, mostly one step before the end, and with a line every ten steps in
    none; of the 76 others it accuses one and none.
    """
    losses = losses[np.isfinite(losses)]
    if len(losses) <= WINDOW:
        return 1.0
    sums = np.concatenate([[0.0], losses.cumsum()])
    means = (sums[WINDOW:] - sums[:-WINDOW]) / WINDOW
    return float(means[-1] / means.min()) if means.min() > 0 else 1.0


def _kept(found: Follower, step: int) -> str:
    """What is left of a run that broke."""
    if not (found.folder / CHECKPOINT).exists():
        return f"there is no {CHECKPOINT} in this folder"
    every = found.config.checkpoint_every if found.config else 0
    of = f", by the settings of step {(step - 1) // every * every:,}" if every else ""
    best = f"; so is {BEST}" if (found.folder / BEST).exists() else ""
    return f"{CHECKPOINT} is kept{of}{best}"


def _problems(found: Follower) -> list[str]:
    path, bad = found.folder / LOG, found.unreadable
    problems = [found.config_problem] if found.config_problem else []
    if not found.config and not found.config_problem and found.last:
        problems.append(
            f"no config.json in {found.folder}: how long the run is and its images a second aren't known"
        )
    if bad:
        lines = "1 line isn't" if len(bad) == 1 else f"{len(bad)} lines aren't"
        problems.append(f"{path}: {lines} JSON with a step (line {bad[0]}); left out")
    if found.backwards:
        problems.append(f"{path}: the step falls {found.backwards} times; do two runs write to it?")
    return problems
