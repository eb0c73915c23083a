"""What was counted on the genuine annotations of VOC: the only reader of course/facts, and chapter 01's drawings."""

import csv
import json
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssdlib.plots import BLUE, ORANGE, SKY
from ssdlib.records import CLASSES

FOLDER = Path(__file__).parents[1] / "facts"
BIN = 5  # side of a bin of `shapes`, px of the 300 x 300 input
Row = dict[str, int]


def classes() -> dict[str, dict[str, Row]]:
    """set -> class, or "all" -> images, objects, images_easy, objects_easy. Easy means not difficult."""
    found: dict[str, dict[str, Row]] = {}
    with open(FOLDER / "voc_classes.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            name, title = row.pop("set"), row.pop("class")
            found.setdefault(name, {})[title] = {key: int(value) for key, value in row.items()}
    return found


def by_rule() -> dict[str, Row]:
    """Rule of the augmentation -> pictures, emptied, objects, anchors, whole: VOC 07+12 trainval, each image once."""
    with open(FOLDER / "augment_rules.csv", encoding="utf-8", newline="") as file:
        return {
            row.pop("rule"): {key: int(value) for key, value in row.items()} for row in csv.DictReader(file)
        }


def counted() -> dict:
    """Images, objects, those without an anchor of IoU 0.5, those that argmax loses: VOC 07+12 trainval."""
    return json.loads((FOLDER / "voc0712.json").read_text("utf-8"))


def per_image() -> dict[int, int]:
    """Objects in an image -> how many images of VOC 07+12 trainval have so many."""
    return {int(count): images for count, images in counted()["objects_per_image"].items()}


def shapes() -> Tensor:
    """(60, 60) objects of VOC 07+12 trainval by height (lines) and width (columns), bins of 5 px on the input."""
    lines = (FOLDER / "voc0712_shapes.csv").read_text("utf-8").splitlines()
    return torch.tensor([[int(x) for x in line.split(",")] for line in lines if not line.startswith("#")])


def smaller_than(side: int, table: Tensor) -> float:
    """Share of the objects of `shapes()` that are less than `side` px both wide and high; a multiple of 5."""
    n = side // BIN
    return float(table[:n, :n].sum() / table.sum())


def classes_drawn(names: tuple[str, str] = ("2007-trainval", "2012-trainval")) -> Figure:
    """Objects of each class in the named sets together, difficult ones hatched, most frequent first."""
    counted = classes()
    easy, hard = {}, {}
    for title in CLASSES[1:]:
        rows = [counted[name][title] for name in names]
        easy[title] = sum(row["objects_easy"] for row in rows)
        hard[title] = sum(row["objects"] for row in rows) - easy[title]
    order = sorted(easy, key=lambda title: easy[title] + hard[title])
    figure, ax = plt.subplots(figsize=(7, 4.8), layout="constrained")
    ax.barh(order, [easy[t] for t in order], color=BLUE, label="not difficult")
    style = dict(facecolor="white", edgecolor=ORANGE, hatch="////", label="difficult")
    ax.barh(order, [hard[t] for t in order], left=[easy[t] for t in order], **style)
    for place, title in enumerate(order):
        ax.text(easy[title] + hard[title], place, f" {easy[title] + hard[title]:,}", va="center", fontsize=9)
    most = order[-1]
    share = (easy[most] + hard[most]) / sum((*easy.values(), *hard.values()))
    ax.set_title(f"{100 * share:.0f} % of all objects belong to one class, {most}", fontsize=12)
    ax.set(xlabel="objects", xlim=(0, 1.1 * max(easy[t] + hard[t] for t in order)))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.tick_params(axis="y", labelsize=9)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower right")
    return figure


def sizes_drawn() -> Figure:
    """Left: objects in an image. Right: width and height of the objects on the input."""
    counts, table = per_image(), shapes()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.7), layout="constrained")
    left.bar(list(counts), list(counts.values()), color=BLUE)
    left.set(
        xlabel="objects in an image (up to 20 shown)",
        ylabel="images",
        xlim=(0, 20.5),
        xticks=range(0, 21, 5),
    )
    single = counts[1] / sum(counts.values())
    left.set_title(f"{100 * single:.0f} % of the images hold a single object", fontsize=11)
    starts = torch.arange(len(table)).mul(BIN).tolist()
    height, width = table.sum(dim=1).tolist(), table.sum(dim=0).tolist()
    right.stairs(width, [*starts, 300], color=SKY, fill=True, alpha=0.8, label="width")
    right.stairs(height, [*starts, 300], color=ORANGE, linewidth=2, linestyle="--", label="height")
    right.set(xlabel="px on the 300 x 300 input", ylabel="objects", xlim=(0, 300))
    right.set_title("Small sizes are the most frequent", fontsize=11)
    right.legend(frameon=False)
    for ax in (left, right):
        ax.yaxis.set_major_formatter("{x:,.0f}")
        ax.spines[["top", "right"]].set_visible(False)
    return figure
