"""AP by the size of objects: the same detections, judged on the small objects alone, the middle ones, the large ones.

The size of an object is the root of its area on the 300 x 300 input, because that is what the network sees of it.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from course.evaluation.devkit_rule import FALSE, IGNORED, TRUE
from course.evaluation.judging import Subject, average_precision
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.plots import BLUE
from ssdlib.records import LABELS

EDGES = (0.0, 30.0, 60.0, 111.0, 162.0, 213.0, np.inf)  # px: the sizes of SSD300's anchors (chapter 02)


def names(edges: tuple[float, ...] = EDGES) -> list[str]:
    return [f"{a:g} to {b:g}" if np.isfinite(b) else f"over {a:g}" for a, b in pairwise(edges)]


def on_input(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(n, 4) boxes with inclusive corners in images of (n, 2) width and height -> (n,) root of the area, px of the
    300 x 300 input."""
    sides = (boxes[:, 2:] - boxes[:, :2] + 1).clip(min=0) * SSD300_ANCHORS.canvas / sizes
    return np.sqrt(sides.prod(axis=1))


def within(subject: Subject, name: str, low: float, high: float) -> tuple[np.ndarray, int]:
    """Verdicts on a class, best first, if only objects of low <= size < high count, and how many these are.

    An object of another size is treated like a difficult one. A false detection that hits no object of its class
    counts only if its own size is in the range: a small box on background is no failure with large objects.
    """
    judged, objects, results = subject.judged[name], subject.objects, subject.results[name]
    image_sizes = np.array([example.size for example in subject.examples], dtype=np.float64).reshape(-1, 2)
    object_size = on_input(objects.boxes, image_sizes[objects.images])
    image = np.array([objects.image_of[i] for i in results.image_ids], dtype=np.int64)[judged.order]
    box_size = on_input(results.boxes[judged.order], image_sizes[image])
    fits = (low <= object_size) & (object_size < high)
    said = judged.said.copy()
    hit = np.flatnonzero((said != FALSE) & (said != IGNORED))  # true, or a second hit
    said[hit[~fits[judged.nearest[hit]]]] = IGNORED
    said[(said == FALSE) & ~((low <= box_size) & (box_size < high))] = IGNORED
    mine = (objects.labels == LABELS[name]) & ~objects.difficult
    return said, int((mine & fits).sum())


def by_size(subject: Subject, edges: tuple[float, ...] = EDGES) -> dict[str, dict[str, tuple[float, int]]]:
    """size -> class -> AP (0 to 1) and number of objects; classes without an object of that size are left out."""
    found: dict[str, dict[str, tuple[float, int]]] = {}
    for title, (low, high) in zip(names(edges), pairwise(edges), strict=True):
        found[title] = {}
        for name in subject.results:
            said, total = within(subject, name, low, high)
            if total:
                right, wrong = np.cumsum(said == TRUE), np.cumsum((said != TRUE) & (said != IGNORED))
                with np.errstate(invalid="ignore", divide="ignore"):
                    ap = average_precision(right / total, right / (right + wrong))
                found[title][name] = ap, total
    return found


def means(found: dict[str, dict[str, tuple[float, int]]]) -> dict[str, tuple[float, int, int]]:
    """size -> mAP in percent over the classes that have such objects, how many classes, how many objects."""
    return {
        title: (
            100 * float(np.mean([ap for ap, _ in row.values()])) if row else float("nan"),
            len(row),
            sum(total for _, total in row.values()),
        )
        for title, row in found.items()
    }


def draw_sizes(*shown: tuple[str, dict[str, tuple[float, int, int]]], claim: str = "") -> Figure:
    """mAP against the size of objects, one panel for each (title, `means`); above each bar how many
    objects there are, of how many classes; `claim` is the title of the whole."""
    figure, axes = plt.subplots(
        1, len(shown), figsize=(5.0 * len(shown), 3.6), sharey=True, squeeze=False, layout="constrained"
    )
    for ax, (title, rows) in zip(axes[0], shown, strict=True):
        values = [row[0] for row in rows.values()]
        bars = ax.bar(range(len(rows)), values, color=BLUE)
        for bar, (_, classes, total) in zip(bars, rows.values(), strict=True):
            place = bar.get_x() + bar.get_width() / 2, (bar.get_height() or 0) + 1
            ax.text(*place, f"{total:,} / {classes}", ha="center", fontsize=9)
        ax.set(
            xticks=range(len(rows)),
            xticklabels=[name.replace(" to ", "\N{EN DASH}") for name in rows],
            ylim=(0, 100),
        )
        ax.tick_params(axis="x", labelsize=9)
        ax.set_title(title, fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("mAP, %")
    figure.suptitle(claim, fontsize=11)
    figure.supxlabel(
        "root of the object's area, px of the 300 x 300 input; above the bars: objects / classes", fontsize=9
    )
    return figure
