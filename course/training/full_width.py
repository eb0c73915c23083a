"""The full network's training on photographs, in the parts in which it was recorded, beside the published run.

Every part began with the weights of the one before, and without its momentum. `chapters/recordings/full_width` says
of each with which settings and by which commit.
"""

from dataclasses import dataclass
from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from course.drops import schedules
from course.kit import places
from ssdlib.plots import BLUE, ORANGE, SKY
from ssdlib.training import runlog

BATCH = 8
PARTS = (
    ("first_200_steps", 200),
    ("steps_200_to_1150", 950),
    ("run", 150),
    ("frozen", None),
)  # and their last steps
WINDOW = 10  # rows of ten steps that a point of the thick line averages


@dataclass(frozen=True)
class Seen:
    """A line of the log, at the place that it has in the whole training."""

    images: int  # seen in all parts up to it
    rate: float
    multibox: float  # mean of its steps
    keras: float  # multibox + L2 penalty, as ssd_keras reports its loss


def log() -> list[Seen]:
    """The training losses of all parts, one after the other."""
    found, before = [], 0
    for name, until in PARTS:
        rows = [row for row in runlog.read_log(places.recording("full_width", name)) if "multibox" in row]
        rows = [row for row in rows if until is None or row["step"] <= until]
        found += [
            Seen(BATCH * (before + r["step"]), r["rate"], r["multibox"], r["keras_equivalent"]) for r in rows
        ]
        before += rows[-1]["step"]
    return found


def held_out() -> list[tuple[int, float | None, float | None]]:
    """What the last part measured on the 200 photographs that no weights were learned from: images seen, validation
    loss without its L2 penalty, mAP from 0 to 1. None where one of them wasn't measured."""
    before = sum(until for _, until in PARTS if until is not None)
    losses, scores = {}, {}
    for row in runlog.read_log(places.recording("full_width", PARTS[-1][0])):
        images = BATCH * (before + row["step"])
        if "val" in row:
            losses[images] = row["val"]["multibox"]
        if "map" in row:
            scores[images] = row["map"]
    return [(images, losses.get(images), scores.get(images)) for images in sorted(losses | scores)]


def last(rows: list[Seen], images: int) -> float:
    """Mean of the Keras total over the last `images` images."""
    return float(np.mean([row.keras for row in rows if row.images > rows[-1].images - images]))


def loss_curve() -> Figure:
    """Keras totals against the images seen: ours by ten steps and smoothed, the published run's by a thousand."""
    rows, run = log(), schedules.published()
    images, losses = np.array([r.images for r in rows]), np.array([r.keras for r in rows])
    smooth = np.convolve(losses, np.full(WINDOW, 1 / WINDOW), mode="valid")
    figure, ax = plt.subplots(figsize=(8, 3.8), layout="constrained")
    ax.plot(images, losses, color=SKY, linewidth=0.8, label="here, ten steps of 8 images each")
    ax.plot(images[WINDOW - 1 :], smooth, color=BLUE, linewidth=2, label="here, a hundred steps each")
    drops = [b.images for a, b in pairwise(rows) if b.rate < 0.15 * a.rate]  # and no warm-up of a part
    for images in drops:
        ax.axvline(images, color="0.5", linestyle=":", linewidth=1)
    where = dict(xytext=(-4, 0), textcoords="offset points", ha="right", va="top")
    ax.annotate("learning rate to a tenth, twice", (drops[0], 27), fontsize=9, color="0.3", **where)
    middle = [(step + 500) * run.batch for step in run.steps]
    ax.plot(
        middle,
        run.train,
        "o-",
        color=ORANGE,
        markersize=4,
        label="published run, a thousand steps of 31 each",
    )
    ax.set(
        xscale="log", xlim=(80, None), ylim=(0, 28), xlabel="images seen", ylabel="multibox loss + L2 penalty"
    )
    ax.legend(frameon=False)
    return figure
