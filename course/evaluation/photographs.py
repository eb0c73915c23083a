"""The full-width network on photographs, beside the small one on painted scenes: AP by class, confusions, AP by size.

The numbers are those that `course.detection.photographs` reads. They come from official test images of VOC2007 in a
split of our own, so they are no VOC result, and every table and figure says so.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from course.detection.photographs import PAINTED, Judged
from course.evaluation import errors, judging
from course.kit.tables import Table, table
from ssdlib.plots import BLUE, ORANGE
from ssdlib.records import CLASSES

PHOTOGRAPHS = "photographs, full width"


def ap_table(subject: judging.Subject, there: Judged) -> Table:
    """AP by class of the small network and of the full-width one, best class of the latter first, with the share of
    the objects that any detection finds."""
    here = {name: 100 * judged.ap() for name, judged in subject.judged.items()}
    rows = []
    for name in sorted(CLASSES[1:], key=lambda c: -there.ap[c]):
        found, total, _ = there.facts["ends"][name]
        rows.append((name, here[name], 100 * there.ap[name], total, found / total if total else None))
    mean = sum(here.values()) / len(here)
    rows.append(("mAP", mean, there.mean_ap, there.facts["objects"], None))
    head = ("class", PAINTED, PHOTOGRAPHS, "objects there", "found in the end")
    return table(rows, head, form=("", ".1f", ".1f", "", ".0%"), note=there.origin)


def ap_drawn(subject: judging.Subject, there: Judged, claim: str = "") -> Figure:
    """AP by class of both, classes from the worst to the best on photographs."""
    order = sorted(CLASSES[1:], key=lambda c: there.ap[c])
    figure, ax = plt.subplots(figsize=(8.2, 5.4), layout="constrained")
    for ap, mark, color, label in (
        ({c: judged.ap() for c, judged in subject.judged.items()}, "o", BLUE, PAINTED),
        (there.ap, "s", ORANGE, there.title),
    ):
        ax.scatter(
            [100 * ap[c] for c in order],
            range(len(order)),
            marker=mark,
            color=color,
            s=36,
            label=label,
            zorder=3,
        )
    ax.set(yticks=range(len(order)), yticklabels=order, xlabel="AP, %", xlim=(-2, 100))
    ax.set_axisbelow(True)
    ax.grid(color="0.92")
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(claim, fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return figure


def confused_table(
    here: Sequence[tuple[int, str, str]],
    there: Judged,
    unnamed: Sequence[tuple[int, str, str]],
    count: int = 5,
) -> Table:
    """The classes that are called by each other's names most often: how often, said, is."""
    columns = (here[:count], there.facts["confused"][:count], unnamed[:count])
    rows = [
        [f"{one[0]} x {one[2]} called {one[1]}" if one else "" for one in row]
        for row in zip_longest(*columns)
    ]
    return table(
        rows,
        (PAINTED, PHOTOGRAPHS, "unnamed detector, VOC2007"),
        caption="A score of 0.5 or more, and the wrong name",
        note=there.origin,
    )


def error_table(anatomy: dict, gains: dict, there: Judged, unnamed: Mapping) -> Table:
    """Kinds of errors of the small network, of the full-width one and of the unnamed detector."""
    return errors.error_table(
        errors.column("painted", anatomy, gains),
        errors.recorded_column("photographs", there.facts),
        errors.recorded_column("VOC2007", unnamed),
        note=f"VOC2007: the unnamed detector. {there.origin}",
    )
