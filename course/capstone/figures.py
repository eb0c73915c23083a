"""Figures and tables of chapter 13: your run while it grows, the recorded ones, the cases, and the certificate."""

import csv
import json
import math
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from IPython.display import Markdown, display
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from course.capstone.blocks import BLOCKS
from course.kit import free_photographs, opening, pictures, places
from course.kit.interruptible import Run
from course.kit.tables import Table, table
from ssdlib import evaluate, plots
from ssdlib.anchors import default_boxes
from ssdlib.data import voc
from ssdlib.data.results import read_results, result_name
from ssdlib.evaluate import Results, percent
from ssdlib.plots import BLUE, ORANGE
from ssdlib.records import Detections
from ssdlib.training import inference, runlog, runs

EVERY = 5.0  # seconds between two drawings of a growing curve
SHOWN = (25, 50, 80, 150)  # test scenes on the certificate
CASES = {"A": "not_permuted", "B": "not_mirrored", "C": "one_maximum", "D": "argmax"}
RIGHT = {"C": "spike"}  # the run without a mistake that a case is compared with; else "right"
CLAIMS = {
    "A": "both losses stay high",
    "B": "the confidence loss climbs and comes back, the localisation loss doesn't fall",
    "C": "the run breaks off in its second step",
    "D": "the two runs coincide",
}
TICKS = (3, 10, 30, 100, 300)  # of a loss on a logarithmic axis
THEIRS, YOURS = "the library's functions, recorded", "with your blocks"
WHOLE = "whole"  # the recording of 2,500 steps with all solutions, in the copies of the course that have one

PARTS = ("boxes", "targets and\nnetwork", "loss and\nstep", "detection\nand AP")  # four blocks each
SURE = 0.4  # scores above it are drawn


# ---- at the top of the page


def blocks_to_detector() -> Figure:
    """The blocks in the order of a run, and what the recorded network that was trained with all solutions finds."""
    folder = places.recording("capstone", WHOLE)
    kept = json.loads((folder / "opening.json").read_text(encoding="utf-8"))
    found = Detections(*(torch.tensor(kept[key]) for key in ("boxes", "scores", "labels"))).above(SURE)
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4.1), layout="constrained", gridspec_kw=dict(width_ratios=(1.3, 1), wspace=0.09)
    )
    _tiles_on(left, [block.name for block in BLOCKS], "")
    for row, part in enumerate(PARTS):
        left.text(-0.08, row + 0.5, part, ha="right", va="center", fontsize=9)
    left.set_xlim(-0.95, 4)
    left.set_title("sixteen blocks, written in chapters 01 to 13", fontsize=10, x=0.6)
    arrow = dict(arrowstyle="-|>", linewidth=2, mutation_scale=16, color="black")
    right.annotate("", (-0.01, 0.5), (-0.12, 0.5), xycoords="axes fraction", arrowprops=arrow)
    plots.photograph_on(right, voc.read_photograph(opening.example().path))
    plots.detections_on(right, found)
    right.set_anchor("N")
    right.set_title(f"what their network finds after {kept['step']:,} steps", fontsize=10)
    mean = percent(logged_ap(folder)["mean"])
    claim = "The functions of the exercises, trained together, make a detector"
    figure.suptitle(f"{claim}: mAP {mean}", fontsize=12)
    figure.supxlabel(f"The solutions of the course, recorded: {_said(folder)}", fontsize=9)
    return figure


class LiveCurve:
    """The loss of a run, drawn while it grows, beside that of the recorded one."""

    def __init__(self, out: Path, recorded: Path):
        self.out, self.recorded, self.drawn = out, runlog.read_log(recorded), 0.0
        self.handle: Any = None

    def around(self, bar: Callable[..., Any]) -> Callable[..., Any]:
        """`bar`, for `engine.train`; what it makes draws the curve as well."""

        def make(*arguments: Any, **named: Any) -> Any:
            made = bar(*arguments, **named)
            update = made.update

            def update_and_draw(*arguments: Any) -> Any:
                if time.monotonic() - self.drawn > EVERY:
                    self.draw()
                return update(*arguments)

            made.update = update_and_draw
            return made

        return make

    def draw(self) -> None:
        """Draw it now, in the place of the last one."""
        self.drawn = time.monotonic()
        rows = runlog.read_log(self.out) if self.out.exists() else []
        figure = curves(rows, self.recorded)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)


def curves(rows: Sequence[dict], recorded: Sequence[dict], words: str = YOURS) -> Figure:
    """The training loss of your run, thick, and of the recorded one, dashed."""
    figure, ax = plt.subplots(figsize=(7.5, 3.2), layout="constrained")
    plt.close(figure)
    _curves_on(ax, rows, recorded, words)
    ax.set_title(f"Training loss {words} beside that with the library's functions", fontsize=11)
    return figure


def _curves_on(ax: Axes, rows: Sequence[dict], recorded: Sequence[dict], words: str = YOURS) -> None:
    for log, style in (
        (recorded, dict(color=ORANGE, linestyle="--", linewidth=1.2, label=THEIRS)),
        (rows, dict(color=BLUE, linewidth=2.0, label=words)),
    ):
        log = [row for row in log if "multibox" in row]
        ax.plot([row["step"] for row in log], [row["multibox"] for row in log], **style)
    ax.set(xlabel="step", ylabel="training loss / N", ylim=(0, None))
    ax.legend(frameon=False, fontsize=9)


def recorded_ap(name: str = "mini") -> dict[str, float]:
    """The AP of the recorded mini run by class, and its mean."""
    with open(places.recording(name, "ap.csv"), encoding="utf-8") as file:
        return {row["class"]: float(row["ap"]) for row in csv.DictReader(file)}


def logged_ap(folder: Path) -> dict[str, float] | None:
    """The AP at the end of a recorded run by class, and its mean; None if the run was stopped before it had one."""
    rows = [row for row in runlog.read_log(folder) if "ap" in row]
    return rows[-1]["ap"] | {"mean": rows[-1]["map"]} if rows else None


def ap_beside(yours: evaluate.Table, steps: int) -> Table:
    """Your AP, by your evaluation if that block is yours, beside the recorded run's."""
    note = f"Yours: {steps:,} steps. Recorded: {_said(places.recording('mini'))}."
    return _ap_table({"yours": yours.ap | {"mean": yours.mean}, "recorded": recorded_ap()}, note)


def whole_run() -> Table | Markdown:
    """The recorded run of all steps with all solutions beside the library's: draws the curves, returns the table. A
    sentence where there is no such recording."""
    try:
        folder = places.recording("capstone", WHOLE)
    except FileNotFoundError:
        return Markdown(
            "This copy of the course has no recording of such a run; `data_scripts/record_capstone.py` makes one."
        )
    mini, yours = places.recording("mini"), logged_ap(folder)
    figure = curves(runlog.read_log(folder), runlog.read_log(mini), "with the solutions of all blocks")
    means = (
        f"mAP {percent(yours['mean'])} with the solutions, {percent(recorded_ap()['mean'])} with the library"
    )
    figure.axes[0].set_title(f"The whole run: {means}", fontsize=11)
    display(figure)
    note = f"With the solutions: {_said(folder)}. The library's: {_said(mini)}."
    return _ap_table({"with the solutions": yours, "the library's": recorded_ap()}, note)


def _ap_table(columns: dict[str, dict[str, float]], note: str) -> Table:
    """A row for each class and the mean, in percent."""
    names = next(iter(columns.values()))
    rows = [(name, *(_in_percent(ap[name]) for ap in columns.values())) for name in names]
    form = ("", *[".1f"] * len(columns))
    return table(rows, head=("class", *columns), form=form, note=f"AP in percent. {note}")


def _in_percent(ap: float | None) -> float | None:
    """None, an empty cell, where there is no such object."""
    return None if ap is None or math.isnan(ap) else 100 * ap


def _said(folder: Path) -> str:
    """How long a recorded run went, on what, when, with which code and from which random seed."""
    facts = json.loads((folder / "recording.json").read_text("utf-8"))
    return (
        f"{runlog.read_log(folder)[-1]['step']:,} steps, {facts['device']}, {facts['date']}, commit "
        f"{facts['commit'][:10]}, random seed {facts['config']['seed']}"
    )


# ---- the cases


def _case(name: str) -> tuple[list[dict], dict[str, Any]]:
    """The lines of a recording that hold a loss, and what is known of it."""
    folder = places.recording("capstone", name)
    facts = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
    return [row for row in runlog.read_log(folder) if "confidence" in row], facts


def _beside(letter: str) -> tuple[list[dict], list[dict], dict[str, Any]]:
    """A case, the run without a mistake as far as the case goes (all of it, if the case broke), and its facts."""
    (rows, facts), (right, _) = _case(CASES[letter]), _case(RIGHT.get(letter, "right"))
    if letter not in RIGHT:
        right = [row for row in right if row["step"] <= rows[-1]["step"]]
    return rows, right, facts


def case(letter: str) -> Figure:
    """The evidence of a case: both parts of the loss, beside those of the run without a mistake."""
    rows, right, _ = _beside(letter)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    figure.suptitle(f"Case {letter}: {CLAIMS[letter]}", fontsize=12)
    for ax, part in zip(axes, ("confidence", "localisation"), strict=True):
        for log, style in (
            (right, dict(color=ORANGE, linestyle="--", linewidth=1.6, zorder=3, label="without the mistake")),
            (rows, dict(color=BLUE, linewidth=2.2, label=f"case {letter}")),
        ):
            mark = "o" if len(log) < 3 else None
            ax.plot([row["step"] for row in log], [row[part] for row in log], marker=mark, **style)
        ax.set_xlabel("step")
        ax.set_title(f"{part} loss", fontsize=10)
        if letter in RIGHT:
            ax.set_yscale("log")
            ax.set_yticks(TICKS, map(str, TICKS))
            ax.minorticks_off()
        else:
            ax.set_ylim(0, None)
    axes[0].set_ylabel("loss / N")
    axes[0].legend(frameon=False, fontsize=9)
    return figure


def case_numbers(letter: str) -> Table:
    """The log of a case and of the run without a mistake, each as its last lines and its mean have it; shown before
    their AP by class, where both runs went on to one."""
    log = _log_of(letter)
    ours, right = (places.recording("capstone", name) for name in (CASES[letter], RIGHT.get(letter, "right")))
    if (wrong_ap := logged_ap(ours)) is None or (right_ap := logged_ap(right)) is None:
        return log
    display(log)
    note = f"Case {letter}: {_said(ours)}. Without the mistake: {_said(right)}."
    return _ap_table({"without the mistake": right_ap, f"case {letter}": wrong_ap}, note)


def _log_of(letter: str) -> Table:
    rows, right, facts = _beside(letter)
    shown = []
    for words, log in (("without the mistake", right), (f"case {letter}", rows)):
        matched = sum(row["positives"] for row in log) / len(log)
        last = log[-5:]
        parts = [sum(row[part] for row in last) / len(last) for part in ("localisation", "confidence")]
        shown.append((words, log[-1]["step"], matched, *parts))
    head = ("run", "steps", "matched anchors a step", "localisation loss", "confidence loss")
    said = facts["note"].partition("; ")[2].partition(" at learning rate")[0]
    stopped = f"It stopped: {said}. " if said else ""
    note = (
        f"Losses: mean of the last five lines of the log. {stopped}Recorded: {facts['device']}, {facts['date']}, "
        f"commit {facts['commit'][:10]}, random seed {facts['config']['seed']}."
    )
    return table(shown, head=head, form=("", "", ".1f", ".2f", ".2f"), note=note)


# ---- the certificate


def certificate(folder: Path, names: Sequence[str], mean: float) -> Figure:
    """Which blocks are yours, the curve, the mAP, and what the network finds in test scenes and in photographs."""
    network, config, step = runs.load_run(folder)
    scenes = voc.read_sets(pictures.mini_voc(), ["2007-test"])
    chosen = [scenes[i] for i in SHOWN]
    photographs = [free_photographs.example(name) for name in free_photographs.PHOTOGRAPHS]
    figure = plt.figure(figsize=(11, 8.8), layout="constrained")
    plt.close(figure)
    upper, scenes_row, photographs_row = figure.subfigures(3, 1, height_ratios=(1.35, 1, 1.1))
    left, right = upper.subplots(1, 2, width_ratios=(1.15, 1))
    _tiles_on(left, names)
    _curves_on(right, runlog.read_log(folder), runlog.read_log(places.recording("mini")))
    right.set_title(f"{step:,} steps, mAP {percent(mean)}", fontsize=12)
    for part, examples, title in (
        (scenes_row, chosen, "test scenes of the mini VOC"),
        (photographs_row, photographs, "photographs, of which it has seen none"),
    ):
        part.suptitle(title, fontsize=11)
        axes = part.subplots(1, len(examples))
        shown = [voc.read_photograph(example.path) for example in examples]
        for ax, photograph, found in zip(
            axes, shown, inference.detect_in(network, shown, config), strict=True
        ):
            plots.photograph_on(ax, photograph)
            plots.detections_on(ax, found.above(0.4))
    figure.suptitle(f"My SSD: {len(names)} of {len(BLOCKS)} blocks are mine", fontsize=15, weight="bold")
    lines = list(dict.fromkeys(free_photographs.credit(name) for name in free_photographs.PHOTOGRAPHS))
    credit = "Glyphs: OpenMoji, CC BY-SA 4.0; " + "; ".join(lines)
    figure.supxlabel(textwrap.fill(credit, 140), fontsize=9)
    return figure


def _tiles_on(ax: Axes, names: Sequence[str], tick: str = "✓ ") -> None:
    """The blocks in the order of a run: full and ticked where yours, empty and dashed where lent."""
    columns = 4
    for i, block in enumerate(BLOCKS):
        x, y = i % columns, i // columns
        yours = block.name in names
        style = dict(facecolor=BLUE, edgecolor=BLUE) if yours else dict(facecolor="white", edgecolor="0.45")
        tile = FancyBboxPatch(
            (x + 0.05, y + 0.12), 0.9, 0.76, boxstyle="round,pad=0,rounding_size=0.08", **style
        )
        tile.set_linestyle("-" if yours else "--")
        ax.add_patch(tile)
        words = (tick if yours else "") + block.name.replace(" ", "\n", 1)
        ax.text(
            x + 0.5, y + 0.5, words, ha="center", va="center", fontsize=9, color="white" if yours else "black"
        )
    ax.set(xlim=(0, columns), ylim=(len(BLOCKS) / columns, 0))
    ax.set_axis_off()
    ax.set_title("full and ticked: mine; dashed: lent by the library", fontsize=10)


def save_certificate(figure: Figure) -> Path:
    """Write it as PNG beside the learner's pages, else beside the runs. -> where."""
    return plots.save(figure, (places.page_home() or places.runs_folder()) / "my_ssd.png")


def results_of(done: Run) -> dict[str, Results]:
    """What a finished run's network detects in its test images: its result files, else detected anew."""
    network, config, _ = runs.load_run(done.folder)
    if (done.folder / runs.RESULTS).is_dir():
        return read_results(done.folder / runs.RESULTS, result_name(config.test_sets))
    found = inference.detect_all(network, done.test, default_boxes(), config)
    return evaluate.collect([example.image_id for example in done.test[0]], found)
