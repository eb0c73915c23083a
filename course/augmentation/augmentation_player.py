"""Explorer of chapter 06: random versions of one photograph; drag the crop and see what the network would get."""

from dataclasses import replace

import ipywidgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course.augmentation.single_draws import FILL, SAMPLERS, around, judge, pixels, single_draw
from course.kit.board import Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, row
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc
from ssdlib.data.augment import STEPS
from ssdlib.plots import BLACK, BLUE, ORANGE, PURPLE
from ssdlib.records import Example

KEYS = "Keys: arrows move the crop, Shift+arrows resize it, Alt+arrows by one pixel, n or Shift+n: another version."
AS_DRAWN = -1  # in the list of samplers


class Player(Explorer):
    """Left: the padded photograph with the crop, which can be dragged. Right: the 300 x 300 input. Dashed: dropped
    objects."""

    alt = (
        "Left, a padded photograph with a blue crop and the objects, dropped ones dashed; right, the 300 x 300 input "
        "that the crop gives, with the boxes that are kept"
    )

    def __init__(self, example: Example, photograph: Tensor, seed: int = 0):
        """`photograph` (H, W, 3) uint8 is the example's."""
        self.example, self.photograph = example, photograph
        self.names = [f"{i} {voc.CLASSES[label]}" for i, label in enumerate(example.labels.tolist())]
        frame = [0.0, 0.0, *map(float, example.size)]
        self.board = Board(
            label="The padded photograph, and the crop",
            hint=KEYS,
            width=460,
            frame=frame,
            picture=as_url(photograph),
            box_names=["crop"],
            box_colors=[BLUE],
        )
        self.canvas = Board(label="The 300 by 300 input, what the network gets", width=300)
        self.seed = ipywidgets.IntSlider(seed, min=0, max=199, description="random seed")
        self.next = ipywidgets.Button(description="next version", tooltip="random seed + 1")
        self.steps = [ipywidgets.Checkbox(True, description=s, indent=False) for s in STEPS]
        options = [("as chosen", AS_DRAWN), *((name, i) for i, name in enumerate(SAMPLERS))]
        self.sampler = ipywidgets.Dropdown(options=options, description="sampler")
        self.numbers, self.fates = html_text(), html_text()
        self.next.on_click(self._next)
        for widget in (self.seed, self.sampler, *self.steps):
            widget.observe(self._load, "value")
        self.board.observe(self._update, "boxes")
        self.board.observe(self._step, "steps")  # the keys n and Shift+n
        controls = row(self.seed, self.next, self.sampler, *self.steps)
        boards = beside(self.board, self.canvas, ipywidgets.VBox([self.numbers, self.fates]))
        for part, flex in zip(boards.children, ("3 1 300px", "2 1 200px", "1 1 230px"), strict=True):
            part.layout.flex = flex
        super().__init__([controls, boards])
        self._load()

    def _next(self, button: object) -> None:
        self.seed.value = (self.seed.value + 1) % (self.seed.max + 1)

    def _step(self, change: dict) -> None:
        self.seed.value = (self.seed.value + change["new"] - change["old"]) % (self.seed.max + 1)

    def _load(self, change: object = None) -> None:
        """Another version: padding, crop and colours from the random seed."""
        steps = [box.description for box in self.steps if box.value]
        self.sampler.disabled = "crop" not in steps
        self.shot = single_draw(
            self.example, self.seed.value, steps, self.sampler.value
        )  # no sampler has AS_DRAWN
        x1, y1, x2, y2 = self.shot.plane.tolist()
        margin = 0.05 * (x2 - x1)
        self.loaded = [round(value, 1) for value in self.shot.drawn.window[0].tolist()]
        with self.board.hold_trait_notifications():
            self.board.view = [x1 - margin, y1 - margin, x2 + margin, y2 + margin]
            self.board.boxes = [list(self.loaded)]
        self._update()

    @property
    def by_hand(self) -> bool:
        """Whether the crop is the reader's rather than a sampler's."""
        return list(self.board.boxes[0]) != self.loaded

    def _update(self, change: object = None) -> None:
        window = torch.tensor(self.board.boxes[0]) if self.by_hand else self.shot.drawn.window[0]
        self.found = judge(window, self.example.boxes, self.shot.plane)
        drawn = replace(self.shot.drawn, window=window[None])
        kept, objects = self.found.kept, self.example.boxes
        centres = (objects[:, :2] + objects[:, 2:]) / 2
        left = [layer(around(self.shot.plane, self.example.size), FILL, line=0, fill=1)]
        for mine, color, dash in ((kept, ORANGE, ()), (~kept, PURPLE, (5, 4))):
            left.append(layer(objects[mine], color, 3, dash=dash, points=centres[mine].reshape(-1), radius=4))
        below = 17 * (self.board.view[2] - self.board.view[0]) / self.board.width
        for (x1, _, _, y2), name, stays in zip(objects.tolist(), self.names, kept.tolist(), strict=True):
            left.append(layer(color=BLACK, texts=[(x1, y2 + below, name if stays else f"{name}, dropped")]))
        moved, names = self.on_canvas()
        texts = [(x1, y1, name) for (x1, y1, *_), name in zip(moved.tolist(), names, strict=True)]
        lines = self.summary()
        with self.board.hold_sync(), self.canvas.hold_sync():  # all at once, or words and picture part
            self.board.scene = {"layers": left}
            self.board.status = f"{lines[1]}; {int(kept.sum())} of {len(kept)} objects are kept"
            self.canvas.picture = as_url(pixels(self.photograph, drawn))
            self.canvas.scene = {"layers": [layer(moved, ORANGE, 3), layer(color=BLACK, texts=texts)]}
        count = len(lines) - len(objects)
        self.numbers.value, self.fates.value = map(_paragraph, (lines[:count], lines[count:]))

    def on_canvas(self) -> tuple[Tensor, list[str]]:
        """(R', 4) boxes of the kept objects in px of the input, mirrored if the version is, and their names."""
        moved = self.found.moved[self.found.kept]
        moved = box_ops.flip(moved, SSD300_ANCHORS.canvas) if bool(self.shot.drawn.flip[0]) else moved
        return moved, [name for name, stays in zip(self.names, self.found.kept, strict=True) if stays]

    def summary(self) -> list[str]:
        drawn, found, forced = self.shot.drawn, self.found, self.sampler.value
        crop = "crop moved by hand" if self.by_hand else f"sampler: {SAMPLERS[int(drawn.patch[0])]}"
        missing = forced != AS_DRAWN and forced not in self.shot.found and not self.sampler.disabled
        if missing and not self.by_hand:
            crop += f" ({SAMPLERS[forced]} found no crop in 50 trials)"
        x1, y1, x2, y2 = self.board.boxes[0]
        across = float(self.shot.plane[2] - self.shot.plane[0]) / self.example.size[0]
        accepted = ", ".join(SAMPLERS[i] for i in found.accepted) or (
            "no sampler" if found.inside else "no sampler, it leaves the padded photograph"
        )
        lines = [
            f"padded to {across:.2f} times its width and height",
            f"{crop}, {x2 - x1:.0f} x {y2 - y1:.0f} px",
            f"accepted by: {accepted}",
            f"scale {found.scale:.2f} (0.3 to 1), aspect {found.aspect:.2f} (0.5 to 2)",
            f"flip: {'yes' if bool(drawn.flip[0]) else 'no'}",
            f"brightness {float(drawn.brightness[0]):+.0f}, contrast x {float(drawn.contrast[0]):.2f}"
            f" ({'last' if bool(drawn.contrast_last[0]) else 'before saturation'})",
            f"saturation x {float(drawn.saturation[0]):.2f}, hue {float(drawn.hue[0]):+.0f}°",
        ]
        for name, overlap, visible, stays in zip(
            self.names, found.overlap, found.visible, found.kept, strict=True
        ):
            fate = "kept" if stays else "dropped"
            lines.append(f"{name}: IoU {overlap:.2f}, {100 * visible:.0f} % in view, {fate}")
        return lines

    def still(self) -> Figure:
        """Both boards and the summary."""
        figure, axes = plt.subplots(1, 3, figsize=(11, 3.4), width_ratios=(1.4, 1, 1.1), layout="constrained")
        plt.close(figure)
        for board, ax in zip((self.board, self.canvas), axes, strict=False):
            board.on(ax)
        axes[2].set_axis_off()
        axes[2].text(0, 1, "\n".join(self.summary()), va="top", fontsize=10, linespacing=1.5, wrap=True)
        return figure

    def state(self) -> str:
        on = [box.description for box in self.steps if box.value]
        moved = [[round(x) for x in box] for box in self.on_canvas()[0].tolist()]
        window = [round(x) for x in self.board.boxes[0]]
        return f"random seed {self.seed.value}, steps {on}, {self.summary()[1]}, crop {window}, kept {moved}"


def _paragraph(lines: list[str]) -> str:
    return f"<div style='line-height:1.45'>{'<br>'.join(lines)}</div>"
