"""Explorer of chapter 07: replay a recorded start, pause it, predict what it will do next, and see."""

from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import torch
from matplotlib.figure import Figure

from course.instability.starts import ARMS, BACKGROUND_ONLY, FOLDER, NO_OPINION, WINDOW, Start, arm
from course.kit import pictures
from course.kit.board import Board, as_url, layer, steps_taken
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.motion import Motion
from course.kit.panel import Panel
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, RED
from ssdlib.records import CLASSES

FALLS, STAYS, RISES, BREAKS = (
    "falls by a tenth or more",
    "stays where it is",
    "rises by a tenth or more",
    "ends in NaN",
)
AHEAD = 50  # steps that a guess looks ahead
BEGIN = 60  # where a start is shown first, if it got so far
ASK = "pause somewhere and predict what comes next"
BRIEF = {FALLS: "falls", STAYS: "stays", RISES: "rises", BREAKS: "NaN"}
VIEW = (-12.0, -18.0, 756.0, 312.0)  # the scene, and two panels on its right
LEFT, RIGHT = 350.0, 748.0
PANELS = {
    "confidence": (14.0, 168.0, 4.0, 100.0),
    "gradient": (196.0, 300.0, 0.3, 3000.0),
}  # top, bottom, values
WATCHED = 30  # of the mini VOC's test scenes: the one whose detections were written down
GREY = "#707070"
SPEEDS = {"slow": 3.0, "normal": 10.0, "fast": 30.0}  # steps of the start a second


def what_next(start: Start, step: int, ahead: int = AHEAD) -> str | None:
    """What the confidence loss did in the `ahead` steps after `step`, the means of ten steps compared; None where the
    recording is too short to say."""
    if start.broke and len(start) <= step + ahead:
        return BREAKS
    confidence = start["confidence"]
    if step < WINDOW or len(confidence) < step + ahead:
        return None
    before, after = (
        confidence[step - WINDOW : step].mean(),
        confidence[step + ahead - WINDOW : step + ahead].mean(),
    )
    return FALLS if after < 0.9 * before else RISES if after > 1.1 * before else STAYS


class Replay(Explorer):
    """Choose a configuration and one of its starts, scrub through the steps, predict what comes next."""

    alt = (
        "Left a scene with the boxes that the network shows at this step; right the confidence loss of one start "
        "in thick blue among the others in thin grey, with two dashed levels; below it the length of the gradient"
    )

    def __init__(self, names: Sequence[str] = tuple(ARMS), folder: Path = FOLDER):
        self.starts = {name: arm(name, folder) for name in names}
        self.scene = pictures.scene(pictures.mini_test_set()[WATCHED])
        self.asked = self.right = 0
        self.verdict = ASK
        self.board = Board(
            label="A recorded start: what the network shows, its loss and its gradient",
            hint="Keys: left, right: one step, up, down: ten, n: play or stop. A click on a curve goes to that step.",
            view=list(VIEW),
            width=860,
            picture_alpha=0.6,
            pointer_mode="press",
        )
        self.board.picture = as_url(self.scene.pixels)
        self.arm = ipywidgets.Dropdown(
            options=[(ARMS[name], name) for name in names], description="configuration"
        )
        self.which = ipywidgets.IntSlider(0, min=0, max=0, description="start")
        self.step = ipywidgets.IntSlider(0, min=0, max=1, description="step")
        self.future = ipywidgets.Checkbox(False, description="show the future", indent=False)
        self.play = Motion("Play the start", self._forward, SPEEDS)
        self.guess = ipywidgets.RadioButtons(
            options=[FALLS, STAYS, RISES, BREAKS], value=None, layout=ipywidgets.Layout(width="auto")
        )
        self.text, self.said = html_text(), html_text()
        self.arm.observe(self._load, "value")
        self.which.observe(self._begin, "value")
        for widget in (self.step, self.future):
            widget.observe(self._show, "value")
        self.guess.observe(self._guessed, "value")
        self.board.observe(self._pressed, "pressed")
        self.board.observe(self._stepped, "arrows")
        self.board.observe(self.play.toggle, "steps")  # the key n
        heading = html_text(f"<b>The confidence loss in the next {AHEAD} steps</b>")
        words = ipywidgets.VBox([self.future, self.text, heading, self.guess, self.said])
        controls = row(self.arm, self.which, self.step, self.play)
        super().__init__([controls, beside(self.board, words)])
        self._load()

    @property
    def start(self) -> Start:
        return self.starts[self.arm.value][self.which.value]

    def _load(self, change: object = None) -> None:
        self.which.max = len(self.starts[self.arm.value]) - 1
        self._begin()

    def _begin(self, change: object = None) -> None:
        self.verdict, self.told = ASK, []  # of this start: step, what was said, what happened
        self.step.max = len(self.start)
        self.step.value = min(BEGIN, len(self.start) - 1)
        self._show()

    def _pressed(self, change: dict) -> None:
        x = self.board.pressed[0]
        if x >= LEFT - 5:
            self._go(round(self._panel("confidence").x_at(x)))

    def _stepped(self, change: dict) -> None:
        right, down = steps_taken(change)
        self._go(self.step.value + right - 10 * down)

    def _forward(self) -> bool:
        self._go(self.step.value + 1 if self.step.value < self.step.max else 0)
        return self.step.value < self.step.max

    def _go(self, step: int) -> None:
        self.step.value = min(max(step, 0), self.step.max)

    def _guessed(self, change: object = None) -> None:
        said = self.guess.value
        if said is None:
            return
        self.guess.value = None  # first: who reads the verdict can answer again at once
        truth = what_next(self.start, self.step.value)
        if truth is None:
            self.verdict = f"the recording doesn't say: {WINDOW} steps before and {AHEAD} after are needed"
        else:
            self.asked, self.right = self.asked + 1, self.right + (truth == said)
            self.verdict = f"{'✓' if truth == said else '✗'} you: {said}; the recording: it {truth}"
            self.told.append((self.step.value, said, truth))
            self.step.value = min(self.step.value + AHEAD, self.step.max)
        self._show()

    # ---- what is shown

    def _longest(self) -> int:
        return max(len(s) for s in self.starts[self.arm.value])

    def _panel(self, column: str) -> Panel:
        top, bottom, low, high = PANELS[column]
        return Panel(LEFT, top, RIGHT, bottom, x=(0, self._longest()), y=(low, high), log=True)

    def _curve(self, start: Start, column: str, until: int) -> list[float]:
        panel = self._panel(column)
        return panel.curve(torch.arange(len(start[column][:until])), start[column][:until].clamp(*panel.y))

    def _marked(self) -> range:
        """Steps to write under the lower panel."""
        longest = self._longest()
        return range(0, longest, next(e for e in (5, 10, 50, 100) if longest / e <= 10 or e == 100))

    def _panels(self) -> list[dict]:
        layers = []
        for column in PANELS:
            panel = self._panel(column)
            marks = {v: f"{v}" for v in (1, 10, 100, 1000) if panel.y[0] <= v <= panel.y[1]}
            layers += [*panel.ground(), panel.levels(marks)]
            texts = panel.beside(marks, away=30)
            name = "confidence loss" if column == "confidence" else "length of the gradient, by step"
            if column == "gradient":
                texts += panel.below({step: f"{step}" for step in self._marked()}, away=12)
            layers.append(layer(color="#e8e8e8", texts=[*texts, (LEFT, panel.top, name)]))
        for value, name in ((NO_OPINION, "no opinion"), (BACKGROUND_ONLY, "background only")):
            panel = self._panel("confidence")
            layers.append(layer(color=GREEN, line=1.3, dash=(6, 4), curves=[panel.level(value)]))
            layers.append(
                layer(color="#ffffff", texts=[(RIGHT - 110, panel.up(value) - 1, f"{name} {value:.1f}")])
            )
        return layers

    def _show(self, change: object = None) -> None:
        start, step = self.start, self.step.value
        until = len(start) if self.future.value else step
        layers = self._panels()
        for column in PANELS:
            others = [
                self._curve(s, column, self._longest() if self.future.value else step) for s in self._others()
            ]
            layers.append(layer(color=GREY, line=1, alpha=0.5, curves=others))
            layers.append(layer(color=BLUE, line=2.6, curves=[self._curve(start, column, until)]))
        x = self._panel("gradient").across(step)
        layers.append(
            layer(color=BLACK, line=1.5, curves=[[x, PANELS["confidence"][0], x, PANELS["gradient"][1]]])
        )
        if start.broke and until == len(start):
            end = self._panel("gradient").across(len(start))
            layers.append(layer(color=RED, texts=[(end - 30, PANELS["confidence"][0] + 22, "NaN")]))
        layers += self._told() + self._picture(start.seen_at(step))
        lines = self.summary()
        with self.board.hold_sync():
            self.board.scene = {"layers": layers}
            self.board.status = lines[0]
        self.text.value = "<br>".join(lines[1:])
        self.said.value = f"{self.verdict}<br><b>{self.right} of {self.asked} right</b>"

    def _others(self) -> list[Start]:
        return [s for s in self.starts[self.arm.value] if s is not self.start]

    def _told(self) -> list[dict]:
        """Guesses of this start on its curve: solid green and ✓ where they were right, else dashed red and ✗."""
        layers = []
        for number, (step, said, truth) in enumerate(self.told):
            points = self._curve(self.start, "confidence", step + AHEAD)[2 * max(step - 1, 0) :]
            right = said == truth
            words = f"✓ {BRIEF[truth]}" if right else f"✗ {BRIEF[truth]}, not {BRIEF[said]}"
            color, dash = (GREEN, ()) if right else (RED, (7, 4))
            layers.append(layer(color=color, line=6, alpha=0.6, dash=dash, curves=[points]))
            at = (min(points[0], RIGHT - 110), PANELS["confidence"][0] + 18 + 16 * (number % 3), words)
            layers.append(layer(color=color, texts=[at]))
        return layers

    def _picture(self, found: list[list[float]]) -> list[dict]:
        named = zip(self.scene.boxes.tolist(), self.scene.names, strict=True)
        texts = [(box[0], box[1], name) for box, name in named]
        layers = [layer(self.scene.boxes, ORANGE, line=3), layer(color=ORANGE, texts=texts)]
        for place, (label, score, *corners) in enumerate(found):
            caption = (
                [(corners[0], corners[3] + 14, f"{CLASSES[int(label)]} {score:.2f}")] if place < 3 else []
            )
            strong = 0.35 + 0.65 * score
            layers.append(
                layer(torch.tensor(corners), BLUE, line=2, alpha=strong, dash=(4, 3), texts=caption)
            )
        return layers

    def summary(self) -> list[str]:
        start, step = self.start, self.step.value
        at = min(step, len(start)) - 1
        if at < 0:
            return ["before the first step", f"learning rate {start.head['rate']:g}"]
        broken = start.broke and step == len(start)
        said = f"after {step} of {len(start)} steps: confidence {start['confidence'][at]:.4g}"
        looked = max(s for s in start.detections if s <= step)
        return [
            said + (f"; then NaN, first in the {start.broke['tensor']}" if broken else ""),
            f"localisation {start['localisation'][at]:.3g}, learning rate {start['rate'][at]:.2g}",
            f"gradient {start['gradient'][at]:.3g} long, largest step {start['update_ratio'][at]:.2g} of a kernel",
            f"{start['positives'][at]:,.0f} positives, {start['negatives'][at]:,.0f} mined negatives",
            f"conv4_3 {start['conv4_3'][at]:.2g}, fc7 {start['fc7'][at]:.2g} (root mean square)",
            f"{start['dead'][at]:.0%} of the body's channels are dead in this batch",
            f"the boxes are those of step {looked}, the ten best",
        ]

    def still(self) -> Figure:
        """The board, and the summary below it in two columns."""
        figure = Figure(figsize=(9, 4.9), layout="constrained")
        upper, lower = figure.subplots(2, 1, height_ratios=(4, 0.9))
        self.board.on(upper)
        lower.set_axis_off()
        lines = self.summary()
        half = -(-len(lines) // 2)
        for x, part in ((0, lines[:half]), (0.5, lines[half:])):
            lower.text(x, 1, "\n".join(part), va="top", fontsize=10, linespacing=1.4)
        return figure

    def state(self) -> str:
        fate = f"{len(self.start)} steps" + (", NaN" if self.start.broke else "")
        guesses = f"{self.right} of {self.asked} right"
        return f"{self.arm.value} {self.start.seed}, {fate}, step {self.step.value}, {guesses}"
