"""What every explorer is: widgets, a state one can read, a still picture for pages without a kernel."""

import base64
import io
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import ipywidgets
import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from PIL import Image

from course.kit import stills
from course.kit.board import Board
from course.kit.in_turn import in_turn
from course.kit.keys import Keys
from course.kit.motion import Motion

WORDS = "#767676"  # 4.5 to 1 on white, and on the dark page of JupyterLab


class Explorer(ipywidgets.VBox):
    """Base of the explorers. A subclass has a `board`, `state()` (short text), `summary()` (the numbers beside the
    picture, as lines of text) and `alt` (what the picture shows, for whoever can't see it).

    The still picture travels with the widget: a page without a kernel, a printed page, a preview shows it instead.
    """

    alt = "An explorer; run the page to use it."
    board: Board
    turn: threading.RLock  # held while a message of the reader's is handled
    busy = False  # whether the explorer sets its own widgets just now

    def __init__(self, children: Sequence[ipywidgets.Widget]):
        super().__init__([*children, Keys()])
        self.add_class(stills.LIVE)
        self.turn = in_turn(self)

    @contextmanager
    def setting(self) -> Iterator[None]:
        """Around widgets that the explorer sets itself: what is `once` doesn't hear of it."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    def state(self) -> str:
        raise NotImplementedError

    def summary(self) -> list[str]:
        return []

    def still(self) -> Figure:
        """The board as it stands and the summary beside it."""
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9, 4.6), width_ratios=(1, 0.9), layout="constrained"
        )
        plt.close(figure)
        self.board.on(left)
        right.set_axis_off()
        right.text(0, 1, "\n".join(self.summary()), va="top", fontsize=10, linespacing=1.5, wrap=True)
        return figure

    def stacked(self) -> Figure:
        """A still picture for wide boards: the summary below."""
        figure = Figure(figsize=(9, 6.2), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=(3, 1))
        self.board.on(upper)
        lower.set_axis_off()
        lower.text(0, 1, "\n".join(self.summary()), va="top", fontsize=10)
        return figure

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.state()})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        found = super()._repr_mimebundle_(**kwargs)
        data = dict(found[0] if isinstance(found, tuple) else found or {})
        data["text/plain"] = repr(self)
        data["image/png"], width = still_png(self.still())
        return data, {"image/png": {"alt": self.alt, "width": width}}

    def _ipython_display_(self) -> None:
        stills.show(*self._repr_mimebundle_())


def still_png(figure: Figure, dpi: int = 160, most: int = 120_000) -> tuple[str, int]:
    """A figure as PNG in base64 and the width in px at which it is shown, half of its own.

    Its ground lets the page through, its words can be read on a light page and on a dark one, and it has as many
    colours as fit into `most` bytes, 64 at least."""
    figure.patch.set_alpha(0)
    for words in (*figure.texts, *(text for ax in figure.axes if not ax.axison for text in ax.texts)):
        if words.get_bbox_patch() is None:
            words.set_color(WORDS)
    out = io.BytesIO()
    # bare pixels: to write a PNG would take as long again
    figure.savefig(out, format="rgba", dpi=dpi, facecolor="none")
    pixels, width = out.getvalue(), int(figure.get_figwidth() * dpi)
    picture, content = Image.frombytes("RGBA", (width, len(pixels) // width // 4), pixels), b""
    for colors in (256, 128, 64):
        few, out = picture.quantize(colors, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE), io.BytesIO()
        few.save(out, "PNG")  # `chapters/build.py` looks for the shortest one
        content = out.getvalue()
        if len(content) <= most:
            break
    return base64.b64encode(content).decode(), round(width / 2)


def once(method: Callable) -> Callable:
    """A method of an explorer that sets widgets whose observers call it back: those calls do nothing."""

    @wraps(method)
    def called(self: Explorer, *arguments: Any) -> None:
        if not self.busy:
            with self.setting():
                method(self, *arguments)

    return called


def row(*widgets: ipywidgets.Widget) -> ipywidgets.HBox:
    """Controls in one line. They shrink before they wrap: five fit on a page of 1000 px."""
    for widget in widgets:
        if isinstance(widget, ipywidgets.ToggleButtons | ipywidgets.HTML | ipywidgets.Box | Board):
            continue
        layout = widget.layout
        if isinstance(widget, ipywidgets.Checkbox | ipywidgets.Button | ipywidgets.ToggleButton | Motion):
            layout.width, layout.flex = "auto", "0 0 auto"
        else:
            slider = hasattr(widget, "max") or isinstance(widget, ipywidgets.SelectionSlider)
            widget.style.description_width = "initial"
            layout.width, layout.min_width, layout.max_width = "auto", "0", layout.width or "320px"
            layout.flex = "1 1 165px" if slider else "1 1 150px"
    line = ipywidgets.Layout(flex_flow="row wrap", align_items="center")
    return ipywidgets.HBox(widgets, layout=line)


def beside(*parts: ipywidgets.Widget) -> ipywidgets.HBox:
    """Boards, and what changes with them, side by side: the boards get narrower before the words go below them."""
    for part in parts:
        part.layout.min_width = "0"
        part.layout.flex = "3 1 420px" if isinstance(part, Board) else "1 1 270px"
    line = ipywidgets.Layout(flex_flow="row wrap", align_items="flex-start")
    return ipywidgets.HBox(parts, layout=line)


def html_text(html: str = "", width: str = "auto") -> ipywidgets.HTML:
    """Text beside a picture."""
    return ipywidgets.HTML(html, layout=ipywidgets.Layout(width=width, margin="0 0 0 8px"))
