"""Figures of chapter 12."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from ssdlib.data.voc import read_photograph
from ssdlib.plots import boxes_on, photograph_on
from ssdlib.records import Example


def turned(example: Example, classes: Sequence[str]) -> Figure:
    """A picture as its pixels are stored and as its camera was held, each with the boxes of its annotation."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    names = [classes[label - 1] for label in example.labels.tolist()]
    for ax, upright, title in zip(axes, (False, True), ("as stored", "as it was held"), strict=True):
        photograph_on(ax, read_photograph(example.path, upright))
        boxes_on(ax, example.boxes, names)
        # boxes of the other reading may lie outside: show where
        ax.set(xlim=(0, max(example.size)), ylim=(max(example.size), 0))
        ax.set_title(title, fontsize=10)
    return figure
