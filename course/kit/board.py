"""The image with boxes that explorers are made of: dragged with the mouse, moved with the keys.

Python says what to draw (`scene`, `picture`, `status`), the browser says where the reader put things (`boxes`,
`pointer`). All positions are px of the image; nothing is computed in the browser.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb, to_rgba
from matplotlib.patches import Rectangle
from PIL import Image

KEYS = "Keys: arrows move a box, Shift+arrows resize it, Alt+arrows by one pixel, n or Shift+n: another box."


class Board(anywidget.AnyWidget):
    """A canvas `width` screen px wide (less on a narrow page) that shows the part `view` of an image
    and of what lies around it."""

    _esm = Path(__file__).parent / "board.js"
    _css = Path(__file__).parent / "board.css"

    label = traitlets.Unicode("An image with boxes").tag(sync=True)  # what a screen reader says first
    hint = traitlets.Unicode("").tag(sync=True)  # what the keys do: a line below the board, read aloud, too
    width = traitlets.Int(480).tag(sync=True)
    view = traitlets.List(traitlets.Float(), [0.0, 0.0, 300.0, 300.0]).tag(sync=True)
    frame = traitlets.List(traitlets.Float(), [0.0, 0.0, 300.0, 300.0]).tag(sync=True)  # where the image lies
    picture = traitlets.Unicode("").tag(sync=True)  # data URL, see `as_url`
    picture_alpha = traitlets.Float(1.0).tag(sync=True)
    scene = traitlets.Dict().tag(sync=True)  # {"layers": [layer(...), ...]}
    status = traitlets.Unicode("").tag(sync=True)  # read aloud when it changes
    # draggable boxes, corners in px; the browser writes them too
    boxes = traitlets.List(traitlets.List(traitlets.Float()), []).tag(sync=True)
    box_names = traitlets.List(traitlets.Unicode(), []).tag(sync=True)
    box_colors = traitlets.List(traitlets.Unicode(), ["#E69F00"]).tag(sync=True)
    active = traitlets.Int(0).tag(sync=True)
    # a point the reader moves: "none", "move" (follows the mouse), "click"; "press" shows no point: a press and an
    # arrow key are told in `pressed` and `arrows`
    pointer_mode = traitlets.Enum(("none", "move", "click", "press"), "none").tag(sync=True)
    pointer = traitlets.List(traitlets.Float(), [150.0, 150.0]).tag(sync=True)
    pointer_limits = traitlets.List(traitlets.Float(), []).tag(sync=True)
    # x, y of the last press and how many there were; the steps right and down that arrow keys took, counted
    pressed = traitlets.List(traitlets.Float(), [0.0, 0.0, 0.0]).tag(sync=True)
    arrows = traitlets.List(traitlets.Int(), [0, 0]).tag(sync=True)
    # or several such points, of which `active` is in the hand: a press takes the nearest, n the next
    handles = traitlets.List(traitlets.List(traitlets.Float()), []).tag(sync=True)
    # with less than two of either, n has nothing to choose from: it raises this counter, Shift+n lowers it
    steps = traitlets.Int(0).tag(sync=True)
    key_step = traitlets.Float(5.0).tag(sync=True)
    # send a message as soon as it is on the page: JupyterLab opens its channel to a busy kernel (a subshell) with a
    # widget's first message, which an idle kernel has to receive; afterwards keys are received while a cell runs
    heard = traitlets.Int(-1).tag(sync=True)  # how often it did; -1: it doesn't

    def __repr__(self) -> str:
        return f"Board({self.label!r}, {len(self.boxes)} boxes)"

    def put(self, places: Sequence[Sequence[float]], near: float = 1e-6) -> None:
        """Set the handles to `places`. If all are within `near` of them, they stay: a key may be on its way."""
        there = np.array(places)
        if there.shape != np.shape(self.handles) or np.abs(there - self.handles).max() >= near:
            self.handles = there.tolist()

    def on(self, ax: Axes) -> None:
        """The same image in matplotlib, for pages without a kernel."""
        x0, y0, x1, y1 = self.view
        ax.set(xlim=(x0, x1), ylim=(y1, y0), aspect="equal", xticks=(), yticks=(), facecolor="#e8e8e8")
        fx0, fy0, fx1, fy1 = self.frame
        ax.add_patch(
            Rectangle((fx0, fy0), fx1 - fx0, fy1 - fy0, facecolor="white", edgecolor="#707070", zorder=-1)
        )
        if self.picture:
            pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(self.picture.partition(",")[2]))))
            ax.imshow(pixels, extent=(fx0, fx1, fy1, fy0), alpha=self.picture_alpha)
            ax.set(xlim=(x0, x1), ylim=(y1, y0))
        for drawn in self.scene.get("layers", ()):
            _layer_on(ax, drawn)
        colors = self.box_colors or ["#E69F00"]
        for i, (a, b, c, d) in enumerate(self.boxes):
            color = colors[i % len(colors)]
            ax.add_patch(Rectangle((a, b), c - a, d - b, fill=False, edgecolor=color, linewidth=2.2))
            if i < len(self.box_names):
                _caption_on(ax, a, b, self.box_names[i], color)
        if self.pointer_mode in ("move", "click"):
            point = self.handles[self.active] if self.handles else self.pointer
            ax.plot(*point, "+", color="white", markersize=13, markeredgewidth=4)
            ax.plot(*point, "+", color="black", markersize=12, markeredgewidth=1.5)


def steps_taken(change: dict) -> tuple[int, int]:
    """Of a change of `arrows`: how many steps right and down. Keys pressed quickly may come as one change."""
    return tuple(new - old for new, old in zip(change["new"], change["old"], strict=True))


def layer(
    boxes: torch.Tensor | None = None,
    color: str = "#000000",
    line: float = 1.0,
    alpha: float = 1.0,
    fill: float = 0.0,
    dash: Sequence[float] = (),
    points: Sequence[float] = (),
    radius: float = 2.0,
    texts: Sequence[tuple[float, float, str]] = (),
    curves: Sequence[Sequence[float]] = (),
) -> dict[str, Any]:
    """What is drawn in one colour: (n, 4) boxes in px, `points` x, y, x, y ..., `texts` (x, y, words), `curves`,
    each x, y, x, y ... from point to point.

    `line` and `radius` are screen px, `fill` is the opacity of the inside, `alpha` that of everything.
    """
    flat = [] if boxes is None else [round(value, 2) for value in boxes.reshape(-1).tolist()]
    return dict(
        boxes=flat,
        color=color,
        line=line,
        alpha=alpha,
        fill=fill,
        dash=list(dash),
        points=[round(float(value), 2) for value in points],
        radius=radius,
        texts=[[float(x), float(y), text] for x, y, text in texts],
        curves=[[round(float(value), 2) for value in curve] for curve in curves],
    )


def _layer_on(ax: Axes, drawn: dict[str, Any]) -> None:
    boxes = np.array(drawn["boxes"]).reshape(-1, 4)
    corners = np.stack([boxes[:, [0, 2, 2, 0]], boxes[:, [1, 1, 3, 3]]], axis=-1)  # (n, 4, 2)
    dashes = (0, [1.5 * d / max(drawn["line"], 1) for d in drawn["dash"]]) if drawn["dash"] else "-"
    ax.add_collection(
        PolyCollection(
            corners,
            facecolors=to_rgba(drawn["color"], drawn["alpha"] * drawn["fill"]),
            edgecolors=to_rgba(drawn["color"], drawn["alpha"] if drawn["line"] else 0),
            linewidths=0.75 * drawn["line"],
            linestyles=dashes,
        )
    )
    points = np.array(drawn["points"]).reshape(-1, 2)
    size = (1.5 * drawn["radius"]) ** 2
    ax.scatter(
        points[:, 0], points[:, 1], s=size, color=drawn["color"], alpha=drawn["alpha"], linewidths=0, zorder=3
    )
    for curve in drawn["curves"]:
        style = dict(
            color=drawn["color"], alpha=drawn["alpha"], linewidth=0.75 * drawn["line"], linestyle=dashes
        )
        ax.plot(curve[::2], curve[1::2], **style)
    for x, y, text in drawn["texts"]:
        _caption_on(ax, x, y, text, drawn["color"])


def _caption_on(ax: Axes, x: float, y: float, text: str, color: str) -> None:
    style = dict(facecolor=color, edgecolor="none", pad=1.2)
    ax.text(x, y, text, fontsize=9, color=ink_on(color), va="bottom", bbox=style, clip_on=True, zorder=4)


def ink_on(color: str) -> str:
    """Black or white, the one that is easier to read on a colour "#rrggbb" (luminance of WCAG 2)."""
    parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(color)]
    return (
        "#000000"
        if sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True)) > 0.179
        else "#ffffff"
    )


def as_url(picture: torch.Tensor) -> str:
    """(H, W, 3) uint8 -> a data URL that a browser shows."""
    out = io.BytesIO()
    Image.fromarray(picture.numpy()).save(out, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()
