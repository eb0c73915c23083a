"""Explorer of chapter 08: move two drops along the published curve and the recorded runs, and read what is known.

It draws measured curves only. Where no run was recorded with the drops that are chosen, it shows the recorded run
with the most similar ones and says how far away that is.
"""

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap

import ipywidgets
import torch
from matplotlib.figure import Figure

from course.drops.figures import joined
from course.drops.schedules import Published, Schedule, SchedulePlan, nearest, published, recorded
from course.kit.board import Board, layer
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.motion import Motion
from course.kit.panel import GREY, PALE, Panel
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED

VIEW = (-52.0, -26.0, 690.0, 470.0)  # the two diagrams and their numbers
WIDE, UPPER, LOWER = 640.0, (0.0, 196.0), (250.0, 446.0)  # both diagrams are WIDE px; their top and bottom
HANDLE = 223.0  # the height of the two handles, between the diagrams
KEY = WIDE / 200  # an arrow key: half a percent of the run
NEAR = 0.5  # px; shares are rounded, and a handle is where the hand put it
PLAYED = 0.02  # of the run, a step of playing
SPEEDS = {"slow": 4.0, "normal": 10.0, "fast": 25.0}  # of such steps a second
SHOWN = (3.6, 6.6)  # losses of the published run that the upper diagram shows

# first drop, second drop, length in steps; images a step
PRESETS = {
    "paper, with zoom-out: 80k, 100k of 120k": (80, 100, 120, 32),
    "paper, without zoom-out: 40k, 50k of 60k": (40, 50, 60, 32),
    "published run: 56k, 76k of 102k": (56, 76, 102, 31),
    "no drop": (120, 120, 120, 32),
}


class DropPlanner(Explorer):
    """Drag a drop along both diagrams. Left of it the learning rate is as it was, right of it a tenth."""

    alt = (
        "Two diagrams over the share of a run: above the published training and validation loss, below those of the "
        "recorded runs in validation, the nearest one thick; two upright lines, the drops, can be moved through both"
    )

    def __init__(self, found: Mapping[str, Schedule] | None = None, curve: Published | None = None):
        self.found, self.curve = dict(found or recorded()), curve or published()
        label = "Two drops of the learning rate over a run, and the losses of runs with such drops"
        limits = [0.0, HANDLE, WIDE, HANDLE]
        self.board = Board(
            label=label,
            hint="Keys: arrows move a drop, n takes the other one. A press takes the nearest.",
            view=list(VIEW),
            frame=[0.0, UPPER[0], WIDE, LOWER[1]],
            width=760,
            pointer_mode="click",
            pointer_limits=limits,
            key_step=KEY,
        )
        style = dict(min=0.0, max=100.0, step=0.1, readout_format=".1f")
        self.drops = [ipywidgets.FloatSlider(100, description=f"drop {i}, %", **style) for i in (1, 2)]
        options = [(f"{steps // 1000}k", steps) for steps in (60_000, 102_000, 120_000, 240_000, 480_000)]
        self.steps = ipywidgets.Dropdown(options=options, value=102_000, description="steps")
        self.batch = ipywidgets.Dropdown(options=[8, 16, 31, 32, 64], value=31, description="batch")
        self.preset = ipywidgets.Dropdown(options=list(PRESETS), description="plan", value=None)
        self.preset.layout.width = "400px"
        self.now: float | None = None  # share of the run that is played so far; None: all of it is shown
        self.play = Motion("Play the run", self._forward, SPEEDS)
        self.card = html_text()
        for i, slider in enumerate(self.drops):
            slider.observe(lambda change, i=i: self._slid(i, change["new"] / 100), "value")
        for widget in (self.steps, self.batch):
            widget.observe(self._show, "value")
        self.preset.observe(self._load, "value")
        self.board.observe(self._dragged, ("handles", "active"))
        self.upper = Panel(0.0, UPPER[0], WIDE, UPPER[1], y=SHOWN)
        self.lower = Panel(0.0, LOWER[0], WIDE, LOWER[1], y=self._range())
        words = ipywidgets.VBox([*self.drops, self.card])
        super().__init__([row(self.preset, self.steps, self.batch, self.play), beside(self.board, words)])
        self.shares = [1.0, 1.0]
        self.preset.value = list(PRESETS)[2]

    # ---- what moves a drop

    def _load(self, change: object = None) -> None:
        if self.preset.value is None:
            return
        first, second, length, batch = PRESETS[self.preset.value]
        self.steps.value, self.batch.value, self.board.active = 1000 * length, batch, 0
        self.shares = [first / length, second / length]
        self._show()

    def _moved(self, i: int, share: float) -> None:
        """Drop i is asked for at a share of the run; the second never comes before the first."""
        low, high = (0.0, self.shares[1]) if i == 0 else (self.shares[0], 1.0)
        self.shares[i] = min(max(round(share, 3), low), high)
        self.preset.value = None

    def _slid(self, i: int, share: float) -> None:
        if abs(share - self.shares[i]) >= 0.00051:  # else the slider was told where the drop is
            self.board.active = i
            self._moved(i, share)
            self._show()

    def _dragged(self, change: dict) -> None:
        """The reader moved a handle or took another, or both at once."""
        asked = {i: x / WIDE for i, (x, _) in enumerate(self.board.handles)}
        moved = [i for i, share in asked.items() if abs(share - self.shares[i]) * WIDE >= NEAR]
        for i in moved:
            self._moved(i, asked[i])
        if moved or change["name"] == "active":
            self._show()

    def _forward(self) -> bool:
        """A fiftieth of the run further; at its end all is shown, as before it began."""
        now = 0.0 if self.now is None else self.now + PLAYED
        self.now = now if now < 1 - 1e-6 else None
        self._draw()
        return self.now is not None

    # ---- what is known

    @property
    def plan(self) -> SchedulePlan:
        return SchedulePlan(tuple(self.shares), self.steps.value, self.batch.value)

    def summary(self) -> list[str]:
        plan, (best, away) = self.plan, nearest(self.found, self.shares)
        places = [f"drop {i + 1} {self._place(share)}" for i, share in enumerate(self.shares)]
        first = f"{', '.join(places)}; drop {self.board.active + 1} is in your hand"
        rates = "; ".join(
            f"{rate}: {steps / 1000:.1f}k steps, {plan.epochs(steps):.0f} epochs"
            for rate, steps in zip(
                ("high learning rate", "a tenth", "a hundredth"), plan.lengths, strict=True
            )
            if steps > 0.5
        )
        whole = f"{plan.images / 1e6:.2f} million images, {plan.epochs(plan.steps):.0f} epochs"
        return [
            first if self.now is None else self._there(best),
            f"{rates}. In all {whole}",
            f"published run there: {self._published(self.shares[self.board.active])}",
            f"recorded: {self._nearest(best, away)}",
        ]

    def _there(self, best: Schedule) -> str:
        """Where the play has come, by the plan and by the recorded run."""
        rate = ("the high learning rate", "a tenth of it", "a hundredth")[
            sum(share <= self.now for share in self.shares)
        ]
        steps, losses = joined(self.found["never"], best)
        seen = [loss for step, loss in zip(steps, losses, strict=True) if step / best.steps <= self.now]
        said = f"recorded: validation {seen[-1]:.2f}" if seen else "recorded: not validated yet"
        return f"{self.now:.0%} of the run, step {self.now * self.plan.steps / 1000:.1f}k: {rate}; {said}"

    def _place(self, share: float) -> str:
        return "never" if share >= 1 else f"at {share * self.plan.steps / 1000:.1f}k ({share:.1%})"

    def _published(self, share: float) -> str:
        """What its curve says at a share of its length: the point that begins there."""
        curve, step = (
            self.curve,
            min(int(share * self.curve.length / 1000 + 0.5) * 1000, self.curve.steps[-1]),
        )
        at = curve.steps.index(step)
        losses = [
            f"{n} {v:.2f}" for n, v in (("train", curve.train[at]), ("validation", curve.val[at])) if v == v
        ]
        seen = [s for s in curve.map if s <= step]
        score = f", mAP {curve.map[seen[-1]]:.3f} at {seen[-1] // 1000}k" if seen else ""
        return f"step {step // 1000}k, learning rate {curve.rate(step):.0e}, {', '.join(losses)}{score}"

    def _nearest(self, best: Schedule, away: float) -> str:
        score = "not finished" if best.map is None else f"mAP {best.map:.3f}"
        last = f"{score}, validation loss {best.curve()[1][-1]:.2f} at the end"
        if away < 0.005:
            return f"{best.label} of {best.steps:,} steps, these shares: {last}"
        return f"not with these drops. Nearest: {best.label} of {best.steps:,} ({away:.0%} away): {last}"

    # ---- drawing

    def _range(self) -> tuple[float, float]:
        """Losses that the lower diagram shows: all validations after the first tenth of a run."""
        seen = [
            row["multibox"]
            for one in self.found.values()
            for row in one.checks
            if row["step"] >= 0.1 * one.steps
        ]
        return math.floor(5 * min(seen)) / 5 - 0.2, math.ceil(5 * max(seen)) / 5

    def _line(self, panel: Panel, shares: Sequence[float], values: Sequence[float]) -> list[float]:
        """x, y, x, y ... of a curve in px of the board, as far as it is played; what lies above its diagram is left
        out."""
        (low, high), until = panel.y, 1 if self.now is None else self.now
        inside = [(s, v) for s, v in zip(shares, values, strict=True) if low <= v <= high and s <= until]
        return panel.curve(*zip(*inside, strict=True)) if inside else []

    def _recorded(self, one: Schedule) -> list[float]:
        """A branch from the trunk's last validation before it, or a run of its own."""
        steps, values = joined(self.found["never"], one)
        return self._line(self.lower, [step / one.steps for step in steps], values)

    def _axes(self) -> list[dict]:
        """The ground between the diagrams, their marks and their names."""
        marks = self.lower.below({share: f"{share:.0%}" for share in (0, 0.25, 0.5, 0.75, 1)}, away=20)
        for panel in (self.upper, self.lower):
            losses = range(math.ceil(panel.y[0]), math.floor(panel.y[1]) + 1)
            marks += panel.beside({loss: f"{loss}" for loss in losses}, away=26)
        between = torch.tensor([0.0, UPPER[1], WIDE, LOWER[0]])
        frames = torch.tensor([[0.0, top, WIDE, bottom] for top, bottom in (UPPER, LOWER)])
        return [
            layer(between, PALE, line=0, fill=1),
            layer(frames, GREY, line=1),
            layer(color=PALE, texts=marks),
        ]

    def _show(self, change: object = None) -> None:
        """What the reader moved ends the play."""
        self.now = None
        self._draw()

    def _draw(self) -> None:
        curve, (best, _) = self.curve, nearest(self.found, self.shares)
        ends = [min(step / curve.length, 1) for step in curve.steps]
        others = [self._recorded(one) for one in self.found.values() if one.name not in (best.name, "cosine")]
        drops = [layer(curves=self._upright(i), **self._pen(i)) for i in range(2)]
        own = [self.upper.upright(d / curve.length) for d in curve.drops]
        lines = self.summary()
        layers = [
            *self._axes(),
            layer(curves=own, color=GREY, line=1, dash=(2, 3)),
            layer(curves=[self._line(self.upper, ends, curve.train)], color=BLUE, line=2),
            layer(curves=[self._line(self.upper, ends, curve.val)], color=ORANGE, line=2, dash=(5, 3)),
            layer(curves=others, color=GREY, line=1, alpha=0.8),
            layer(curves=[self._recorded(best)], color=GREEN, line=4),
            *drops,
            *([] if self.now is None else [layer(color=BLACK, line=1.5, curves=[self._upto()])]),
            layer(color=BLUE, texts=[(392.0, 22.0, "published run: training")]),
            layer(color=ORANGE, texts=[(392.0, 42.0, "published run: validation (dashed)")]),
            layer(color=GREEN, texts=[(392.0, LOWER[0] + 22, f"recorded, validation: {best.label}")]),
            *(layer(color=self._pen(i)["color"], texts=[self._flag(i)]) for i in range(2)),
        ]
        with self.board.hold_sync():
            self.board.scene = {"layers": layers}
            self.board.status = lines[0]
            self.board.put([(WIDE * share, HANDLE) for share in self.shares], NEAR)
        for slider, share in zip(self.drops, self.shares, strict=True):
            slider.value = round(100 * share, 1)
        self.card.value = f"<div style='line-height:1.5'>{'<br>'.join(lines[1:])}</div>"

    def _upto(self) -> list[float]:
        return [WIDE * self.now, UPPER[0], WIDE * self.now, LOWER[1]]

    def _pen(self, i: int) -> dict:
        color, dash = ((RED, ()), (PURPLE, (8, 4)))[i]
        return dict(color=color, line=3.5 if i == self.board.active else 1.8, dash=dash)

    def _upright(self, i: int) -> list[list[float]]:
        x = WIDE * self.shares[i]
        return [[x, UPPER[0], x, LOWER[1]]]

    def _flag(self, i: int) -> tuple[float, float, str]:
        return WIDE * self.shares[i] + 4, HANDLE + (-4 if i == 0 else 20), f"drop {i + 1}"

    def still(self) -> Figure:
        figure = Figure(figsize=(9, 7.4))
        self.board.on(figure.add_axes((0.01, 0.18, 0.98, 0.81)))
        lower = figure.add_axes((0.01, 0.0, 0.98, 0.17))
        lower.set_axis_off()
        lines = [part for line in self.summary() for part in wrap(line, 112, subsequent_indent="    ")]
        lower.text(0, 1, "\n".join(lines), va="top", fontsize=9, linespacing=1.5)
        return figure

    def state(self) -> str:
        plan, (best, away) = self.plan, nearest(self.found, self.shares)
        places = ", ".join(f"{share:.1%}" for share in self.shares)
        part = "" if self.now is None else f", played to {self.now:.0%}"
        return (
            f"drops {places} of {plan.steps}, batch {plan.batch}, shows {best.name} ({away:.1%} away){part}"
        )
