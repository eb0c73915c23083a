"""Figures and tables of chapter 09: where recipes differ, their learning rates, recorded runs with scaled batches."""

import dataclasses
import json
import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from course.kit import places
from course.kit.tables import Table, table
from ssdlib import evaluate, plots
from ssdlib.training import engine, runlog
from ssdlib.training.runs import RunConfig

POINTS = 300  # of a staircase


def staircases(recipes: Mapping[str, RunConfig]) -> Figure:
    """The learning rate of each recipe against the step, a panel each, on one logarithmic axis."""
    figure, axes = plt.subplots(1, len(recipes), figsize=(10, 2.8), layout="constrained", sharey=True)
    for ax, (name, recipe) in zip(axes, recipes.items(), strict=True):
        steps = range(0, recipe.steps, max(1, recipe.steps // POINTS))
        ax.semilogy(steps, [engine.learning_rate(recipe, s) for s in steps], color=plots.BLUE, linewidth=2)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("step")
        ax.locator_params(axis="x", nbins=4)
        ax.xaxis.set_major_formatter("{x:,.0f}")
    axes[0].set_ylabel("learning rate")
    figure.suptitle("Every recipe drops its learning rate twice, each time to a tenth", fontsize=11)
    return figure


def ap_table(found: evaluate.Table, columns: int = 4) -> Table:
    """AP of each class in percent, in the order of the class list down some columns, with the mean below. A class
    without an object to find has none."""
    cells = [(name, None if math.isnan(ap) else 100 * ap) for name, ap in found.ap.items()]
    long = -(-len(cells) // columns)
    cells += [("", None)] * (long * columns - len(cells))
    rows = [[cell for pair in cells[i::long] for cell in pair] for i in range(long)]
    note = f"mAP ({found.metric}) {100 * found.mean:.2f}"
    return table(rows, head=("class", "AP") * columns, form=("", ".1f") * columns, note=note)


def scaled_batches() -> tuple[list[tuple], str]:
    """Batch, learning rate, steps, validation loss in the middle and at the end, and mAP of each recorded mini run
    with a scaled batch, the smallest first (None for what a stopped run didn't reach); where they were recorded."""
    rows = []
    for folder in sorted(places.recording("batches").iterdir(), key=lambda folder: int(folder.name)):
        facts = json.loads((folder / "recording.json").read_text("utf-8"))
        config, log = facts["config"], runlog.read_log(folder)
        middle, end = ([row["val"]["multibox"] for row in log if "val" in row] + [None, None])[:2]
        score = next((row["map"] for row in log if "map" in row), None)
        rows.append((config["batch_size"], config["learning_rate"], config["steps"], middle, end, score))
    where = f"{facts['device']}, {facts['date']}, commit {facts['commit'][:10]}, random seed {config['seed']}"
    return rows, f"Validation loss; the last run was stopped. Recorded: {where}."


def differing(recipes: Mapping[str, RunConfig]) -> list[tuple[str, ...]]:
    """The fields in which recipes differ: a row of name and one value for each recipe, in words."""
    names = [field.name for field in dataclasses.fields(RunConfig)]
    rows = [(name, *(_told(getattr(recipe, name)) for recipe in recipes.values())) for name in names]
    return [row for row in rows if len(set(row[1:])) > 1]


def _told(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_told, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value) or "none"
