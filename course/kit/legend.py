"""The legend of a figure: one line of names below all panels, which covers nothing."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D


def legend_below(
    figure: Figure, styles: Mapping[str, Mapping[str, Any]], columns: int = 0, size: int = 9
) -> None:
    """What each line means: name -> how `Line2D` draws it. All stand in one line, or in so many `columns`."""
    lines = [Line2D([], [], label=name, **style) for name, style in styles.items()]
    place = dict(loc="outside lower center", ncols=columns or len(lines), frameon=False, fontsize=size)
    figure.legend(handles=lines, **place)
