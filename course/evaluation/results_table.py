"""The table everybody wants: AP by class of the paper, the published run, other programs, and of a run of one's own.

It fills itself: `run_of` reads a run's log, `judged_run` takes detections that were judged here. What isn't VOC2007
test is shown without differences, because then they would mean nothing.
"""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from course.evaluation.judging import Subject
from course.kit.tables import Table, table
from ssdlib.data import voc
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ssdlib.training.runlog import LOG, read_log

FACTS = Path(__file__).parents[1] / "facts"
TEST = "2007-test"
CLEAR = 3.0  # points of AP of one class from which a difference is marked
SEED = "ssd_keras"
MEAN = "mAP"
PAPER = "paper 07+12"
TITLES = {PAPER: "paper 74.3", "amdegroot": "amdegroot", SEED: SEED}  # the columns that are shown
Column = dict[str, float]  # class, and MEAN -> AP in percent


class NoResultsError(ValueError):
    """A folder holds no run with an AP. The message names the folder, what was found and what was wanted."""


@dataclass(frozen=True)
class Run:
    """A run of one's own: AP by class at every step where it was judged."""

    name: str
    steps: Mapping[int, Column]  # the last one is the result; step 0 where none is known
    images: int  # that it was judged on

    @property
    def last(self) -> Column:
        return self.steps[max(self.steps)]

    @property
    def comparable(self) -> bool:
        """Whether it was judged on all of VOC2007 test, as far as their number says."""
        return self.images == voc.COUNTS[TEST][0]

    @property
    def note(self) -> str:
        wanted = voc.COUNTS[TEST][0]
        if self.comparable:
            return f"{self.name}: {wanted:,} test images, as many as VOC2007 test has"
        return f"{self.name}: {self.images:,} test images, not the {wanted:,} of VOC2007 test: don't compare"


def run_of(folder: Path, devkit: Path, name: str = "this run") -> Run:
    """A folder of `python -m ssdlib train`, judged on VOC2007 test of `devkit`: AP by class from its log.

    Raises RunError if the log isn't there, or nothing was judged, or other classes than VOC's were."""
    path = Path(folder) / LOG
    if not path.is_file():
        raise NoResultsError(
            f"{path}: not there; wanted the log of a run (python -m ssdlib train --out {folder})"
        )
    rows = [row for row in read_log(folder) if "ap" in row]
    if not rows:
        raise NoResultsError(f"{path}: no mAP in it; wanted a run that is finished, or one with --map-every")
    for row in rows:
        if missing := [c for c in voc.CLASSES[1:] if c not in row["ap"]]:
            raise NoResultsError(
                f"{path}: no AP of {missing[0]}; wanted the {len(voc.CLASSES) - 1} classes of VOC"
            )
    steps = {row["step"]: _column(row["ap"]) for row in rows}
    return Run(name, steps, len(voc.image_ids(devkit, TEST)))


def judged_run(subject: Subject, name: str) -> Run:
    """Detections judged here, as a run of unknown length."""
    ap = {c: judged.ap() for c, judged in subject.judged.items()}
    return Run(name, {0: _column(ap)}, len(subject.examples))


def run_from(ap: Mapping[str, float], images: int, name: str) -> Run:
    """AP by class, 0 to 1, that was computed elsewhere."""
    return Run(name, {0: _column(ap)}, images)


def _column(ap: Mapping[str, float]) -> Column:
    known = {c: value for c, value in ap.items() if c in voc.CLASSES}
    classes = {c: math.nan if value is None else 100 * value for c, value in known.items()}
    judged = [value for value in classes.values() if not math.isnan(value)]  # see `evaluate`
    return classes | {MEAN: sum(judged) / len(judged) if judged else math.nan}


# ---- what others published


def published() -> list[dict[str, str]]:
    """One row for each published SSD300: who, trained on, map, place, checked."""
    with open(FACTS / "published_results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def by_class() -> dict[str, Column]:
    """AP by class of the paper, of amdegroot, and of the published run at its end, in percent."""
    columns = _read("published_ap.csv")
    seed = _read("published_map_by_step.csv")
    return columns | {SEED: {c: 100 * ap for c, ap in seed[max(seed, key=int)].items()}}


def by_step() -> dict[int, Column]:
    """The published run: step -> AP by class in percent."""
    steps = _read("published_map_by_step.csv")
    return {int(step): {c: 100 * ap for c, ap in column.items()} for step, column in steps.items()}


def _read(name: str) -> dict[str, Column]:
    with open(FACTS / name, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    return {title: {row["class"]: float(row[title]) for row in rows} for title in rows[0] if title != "class"}


# ---- shown


def mark(difference: float) -> str:
    """▲ or ▼ where a class differs clearly."""
    return "▲" if difference >= CLEAR else "▼" if difference <= -CLEAR else " "


def class_table(*runs: Run) -> Table:
    """AP by class of what is published and of runs; where a run may be compared, its difference from the published
    run of ssd_keras, marked from 3 points on."""
    columns, rows = by_class(), []
    for name in (*voc.CLASSES[1:], MEAN):
        row = [name, *(columns[c][name] for c in TITLES)]
        for run in runs:
            less = run.last[name] - columns[SEED][name]
            row += [run.last[name], *([less, mark(less).strip()] if run.comparable else [])]
        rows.append(row)
    head, form = ["class", *TITLES.values()], ["", *[".1f"] * len(TITLES)]
    for run in runs:
        head += [run.name, *([f"less {SEED}", ""] if run.comparable else [])]
        form += [".1f", *(["+.1f", ""] if run.comparable else [])]
    return table(rows, head, form, note="; ".join(run.note for run in runs) + ".")


def draw_classes(*runs: Run, claim: str = "") -> Figure:
    """Classes from the worst to the best of the published run: what others have, and a thick line to each run that
    may be compared and differs clearly. `claim` is the title."""
    columns = by_class()
    order = sorted(voc.CLASSES[1:], key=lambda c: columns[SEED][c])
    figure, ax = plt.subplots(figsize=(8.2, 5.2), layout="constrained")
    places = range(len(order))
    label_once = f"{CLEAR:g} points or more from ssd_keras"
    for (name, title), symbol, color in zip(TITLES.items(), "s^o", (ORANGE, BLACK, BLUE), strict=True):
        hollow = dict(facecolor="white", edgecolor=color)
        ax.scatter(
            [columns[name][c] for c in order], places, marker=symbol, s=34, label=title, zorder=3, **hollow
        )
    for run, symbol, color in zip(runs, "Dx*", (GREEN, RED, BLACK), strict=False):
        label = run.name if run.comparable else f"{run.name} (other images)"
        ax.scatter(
            [run.last[c] for c in order], places, marker=symbol, color=color, s=34, label=label, zorder=4
        )
        for place, c in zip(places, order, strict=True):
            if run.comparable and abs(run.last[c] - columns[SEED][c]) >= CLEAR:
                ends = columns[SEED][c], run.last[c]
                ax.plot(ends, [place, place], color="0.6", linewidth=2.5, zorder=1, label=label_once)
                label_once = None
    low = min([30.0, *(run.last[c] - 2 for run in runs for c in order)])
    ax.set(yticks=places, yticklabels=order, xlabel="AP, %", xlim=(low, 100))
    ax.set_axisbelow(True)
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(claim, fontsize=11)
    ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def steps_drawn(steps: Mapping[int, Column], title: str) -> Figure:
    """AP by class (lines) and step (columns), written into fields that are the darker the higher it is; a frame
    around a value that is clearly lower than the one before it."""
    columns, rows = sorted(steps), [*voc.CLASSES[1:], MEAN]
    values = [[steps[s][c] for s in columns] for c in rows]
    figure, ax = plt.subplots(figsize=(1.9 + 0.9 * len(columns), 6.2), layout="constrained")
    ax.imshow(values, cmap="Blues", vmin=30, vmax=110, aspect="auto")
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            ax.text(
                x,
                y,
                f"{value:.1f}",
                ha="center",
                va="center",
                fontsize=9,
                color="white" if value > 80 else "black",
            )
            if x and value <= line[x - 1] - CLEAR:
                ax.add_patch(
                    plt.Rectangle((x - 0.45, y - 0.45), 0.9, 0.9, fill=False, edgecolor=RED, linewidth=2)
                )
    ax.set(xticks=range(len(columns)), xticklabels=[f"{s:,}" for s in columns])
    ax.set_xlabel(f"step (framed: {CLEAR:g} points or more below the value before)", fontsize=9)
    ax.set_title(title, fontsize=11)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, labelsize=9)
    return figure


def published_table(rows: Sequence[Mapping[str, str]] | None = None) -> Table:
    """What others published, best first; a question mark where the number wasn't read in the place named."""
    rows = sorted(rows or published(), key=lambda row: -float(row["map"]))
    told = [
        (float(r["map"]), "" if r["checked"] == "read" else "?", r["trained on"], r["who"], r["place"])
        for r in rows
    ]
    return table(told, head=("mAP", "", "trained on", "who", "where"))
