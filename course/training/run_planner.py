"""Explorer of chapter 09: plan a run before it starts. Drag its drops and its end, and read what it will take.

Nothing in it is a recording: it is the arithmetic of `run_plan` on a measured pace, or on a number of steps a second
that the reader names for another machine.
"""

import math
from dataclasses import replace
from textwrap import wrap

import ipywidgets
from matplotlib.figure import Figure

from course.kit.board import Board
from course.kit.explorer import Explorer, beside, html_text, once, row
from course.training import run_plan
from course.training.plan_drawing import BOTTOM, HANDLE, TOP, VIEW, WIDE, place, scene
from course.training.run_plan import RunPlan, many
from ssdlib.training import estimate
from ssdlib.training.estimate import Pace
from ssdlib.training.runs import RECIPES, RunConfig

ROOM = 1.5  # how much longer than the recipe's a run can be made
THIS, OTHER = "as measured", "another, steps a second:"
OWN = "of your own"  # the name of settings that are no recipe's
TITLES = {"ssd_keras": "ssd_keras (the published run)"}  # of the others the name
BATCHES, PROCESSES = (8, 16, 32, 64, 128, 256), (1, 2, 4, 8)
NONE = {"val_every": [("never", 0)], "map_every": [("at the end", 0)], "checkpoint_every": []}
TIMES = (100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)
EVERY = {"val_every": "validate", "map_every": "evaluate", "checkpoint_every": "save"}
NETWORK = ("width", "batch_norm", "strided_stem", "precision")  # settings of which a pace is one


class Planner(Explorer):
    """Drag a drop or the end of the run. Below: what the time goes into, in the recipe and in your plan."""

    alt = (
        "Above, the learning rate over the steps as a staircase, thick, and the recipe's own, thin and dashed; three "
        "upright lines, two drops and the end, can be moved. Below, two bars of time, the recipe's and the plan's, "
        "each of training (plain), validation (hatched) and evaluation (crossed), over a clock"
    )

    def __init__(self, config: RunConfig, pace: Pace, test_images: int, train_images: int):
        """`pace` was measured with the network and the batch of `config`."""
        self.given, self.measured = config, pace
        self.data = dict(test_images=test_images, train_images=train_images)
        self.recipes = RECIPES if config in RECIPES.values() else {OWN: config} | RECIPES
        self.board = Board(
            label="Drops of the learning rate and the end of a run",
            hint="Keys: arrows move a drop or the end, n takes the next one. A press takes the nearest.",
            view=list(VIEW),
            frame=[0.0, TOP, WIDE, BOTTOM],
            width=760,
            pointer_mode="click",
            pointer_limits=[0.0, HANDLE, WIDE, HANDLE],
        )
        name = next(name for name, recipe in self.recipes.items() if recipe == config)
        titles = [(TITLES.get(name, name), name) for name in self.recipes]
        self.recipe = ipywidgets.Dropdown(options=titles, value=name, description="recipe")
        self.machine = ipywidgets.Dropdown(options=(THIS, OTHER), description="machine")
        self.speed = ipywidgets.FloatLogSlider(
            1, min=-2, max=2, step=0.02, description="steps/s", readout_format=".3g"
        )
        self.batch = ipywidgets.Dropdown(options=BATCHES, value=32, description="batch")
        self.scaled = ipywidgets.Checkbox(True, description="scaled learning rate and schedule", indent=False)
        self.processes = ipywidgets.Dropdown(options=PROCESSES, description="processes")
        for menu in (self.batch, self.processes):
            menu.layout.width = "170px"
        style = dict(description_width="108px")
        self.every = {
            field: ipywidgets.SelectionSlider(options=TIMES, description=f"{name} every", style=style)
            for field, name in EVERY.items()
        }
        self.back = ipywidgets.Button(description="reset")
        self.card = html_text()
        self.recipe.observe(self._load, "value")
        self.back.on_click(self._load)
        self.speed.observe(self._sped, "value")
        for widget in (self.machine, self.batch, self.scaled, self.processes, *self.every.values()):
            widget.observe(self._show, "value")
        self.board.observe(self._dragged, ("handles", "active"))
        controls = row(self.recipe, self.machine, self.batch, self.processes, self.back)
        words = ipywidgets.VBox([self.speed, self.scaled, *self.every.values(), self.card])
        super().__init__([controls, beside(self.board, words)])
        self._load()

    # ---- what moves

    def _load(self, change: object = None) -> None:
        """A recipe as it is. Drops, end and intervals are kept in its own steps, whatever the batch."""
        with self.setting():
            base = self.base
            self.places = [*base.drops, base.steps]
            self.most = ROOM * base.steps
            self.snap = 1000 if base.steps >= 20_000 else 50 if base.steps >= 1000 else 1
            self.board.key_step = self.snap * WIDE / self.most
            self.board.active = 0
            self.batch.options = sorted({*BATCHES, base.batch_size})
            self.batch.value, self.scaled.value = base.batch_size, True
            fits = tuple(n for n in PROCESSES if not any(batch % n for batch in self.batch.options))
            if self.processes.options != fits:
                self.processes.options = fits
            for field, slider in self.every.items():
                value = getattr(base, field)
                slider.options = [(f"{n:,}", n) for n in sorted({*TIMES, value} - {0})] + NONE[field]
                slider.value = value
            machines = (THIS, OTHER) if self.known else (OTHER,)
            if self.machine.options != machines:  # else the choice stays
                self.machine.options = machines
        self._show()

    def _sped(self, change: object = None) -> None:
        """A reader who moves the slider means another machine; its own rounding of what it was told means nothing."""
        told = self._measured_speed() if self.machine.value == THIS else 0.0
        if not self.busy and abs(self.speed.value - told) > 1e-3 * told:
            with self.setting():
                self.machine.value = OTHER
            self._show()

    def _measured_speed(self) -> float:
        """Steps a second where the slider can stand, for a pace that was measured."""
        slider = self.speed
        power = slider.step * round(-math.log10(self.pace.step) / slider.step)
        return 10 ** min(max(power, slider.min), slider.max)

    def _moved(self, i: int, step: float) -> None:
        """Handle i is asked for at a step of the recipe. Drops keep their order; the end may come before them."""
        places, last = self.places, len(self.places) - 1
        low = self.snap if i == last else places[i - 1] if i else 0
        high = places[i + 1] if i < last - 1 else self.most
        places[i] = int(min(max(self.snap * round(step / self.snap), low), high))

    def _dragged(self, change: object = None) -> None:
        if self.busy:
            return  # Python put them there
        for i, (x, _) in enumerate(self.board.handles):
            if abs(x - self._x(i)) > 1e-6:
                self._moved(i, x / WIDE * self.most)
        self._show()

    # ---- what it comes to

    @property
    def base(self) -> RunConfig:
        return self.recipes[self.recipe.value]

    @property
    def known(self) -> bool:
        """Whether the pace was measured with the network of the recipe."""
        return all(getattr(self.base, name) == getattr(self.given, name) for name in NETWORK)

    @property
    def config(self) -> RunConfig:
        *drops, steps = self.places
        every = {field: slider.value for field, slider in self.every.items()}
        moved = replace(self.base, drops=tuple(drops), steps=steps, **every)
        return run_plan.for_batch(moved, self.batch.value, self.scaled.value)

    @property
    def times(self) -> float:
        """Steps of the plan to one of the recipe: the batch may be another."""
        return self.base.batch_size / self.batch.value if self.scaled.value else 1.0

    @property
    def pace(self) -> Pace:
        """Of one process, for the recipe's batch."""
        pace = run_plan.with_batch(self.measured, self.given.batch_size, self.base.batch_size)
        return pace if self.machine.value == THIS else run_plan.faster(pace, self.speed.value * pace.step)

    def plans(self) -> tuple[RunPlan, RunPlan]:
        """The recipe's, and yours, on the same machine."""
        rest = dict(measured=self.base.batch_size, processes=self.processes.value, **self.data)
        return run_plan.plan(self.base, self.pace, **rest), run_plan.plan(self.config, self.pace, **rest)

    def summary(self) -> list[str]:
        return self._said(self.plans()[1])

    def _said(self, plan: RunPlan) -> list[str]:
        changed = "; ".join(run_plan.differences(self.base, plan.config)) or "no difference"
        return [
            self._place(plan),
            *run_plan.lines(plan),
            self._pace(plan),
            f"against the recipe {self.recipe.value}: {changed}{self._advice(plan)}",
        ]

    def _place(self, plan: RunPlan) -> str:
        i, config = self.board.active, plan.config
        step = (*config.drops, config.steps)[i]
        if i < len(config.drops) and step >= config.steps:
            when = f"never reached, the run ends at {config.steps:,}"
        else:
            after = plan.elapsed(step) if i < len(config.drops) else plan.time.total
            when = f"after {estimate.in_words(after)}"
        name = "end" if i == len(config.drops) else f"drop {i + 1}"
        return f"{name} at step {step:,}, {when}; in your hand"

    def _pace(self, plan: RunPlan) -> str:
        step, batch, several = plan.pace.step, plan.config.batch_size, self.processes.value
        said = f"{step:.3g} s a step of {batch}, {batch / step:.3g} images a second"
        if self.machine.value == OTHER:
            said += f", from {self.speed.value:.3g} steps of {self.base.batch_size} a second"
        if not self.known:
            said += "; measured was another network, so name your own steps a second"
        elif self.machine.value == OTHER:
            said += "; validation and evaluation change as much"
        return said + (f"; {several} processes at their best, none waits" if several > 1 else "")

    def _advice(self, plan: RunPlan) -> str:
        rise = run_plan.warmup_advised(self.base, plan.config, plan.train_images)
        return (
            f". Goyal et al. (2017) rise to a scaled learning rate over 5 epochs: --warmup {rise}"
            if rise
            else ""
        )

    # ---- drawing

    def _x(self, i: int) -> float:
        return place(self.places[i], self.most)

    @once
    def _show(self, change: object = None) -> None:
        recipe, plan = self.plans()
        lines = self._said(plan)
        with self.board.hold_sync():  # one message, so that board and words change together
            self.board.scene = {"layers": scene(recipe, plan, self.board.active, self.most, self.times)}
            self.board.status = lines[0]
            self.board.put([(self._x(i), HANDLE) for i in range(len(self.places))])
        if self.machine.value == THIS:
            self.speed.value = self._measured_speed()
        self.card.value = f"<div style='line-height:1.35'>{'<br>'.join(lines[1:])}</div>"

    def still(self) -> Figure:
        figure = Figure(figsize=(9, 7.3))
        self.board.on(figure.add_axes((0.01, 0.3, 0.98, 0.69)))
        lower = figure.add_axes((0.01, 0.0, 0.98, 0.29))
        lower.set_axis_off()
        lines = [part for line in self.summary() for part in wrap(line, 125, subsequent_indent="    ")]
        lower.text(0, 1, "\n".join(lines), va="top", fontsize=8, linespacing=1.4)
        return figure

    def state(self) -> str:
        config, plan = self.config, self.plans()[1]
        drops = ", ".join(f"{drop}" for drop in config.drops)
        every = ", ".join(f"{name} {getattr(config, field)}" for field, name in run_plan.EVERY.items())
        return (
            f"{self.recipe.value}, drops {drops}, end {config.steps}, batch {config.batch_size}, "
            f"learning rate {config.learning_rate:.2g}, {every}, {many(self.processes.value, 'process')}, "
            f"{plan.pace.step:.3g} s a step: {estimate.in_words(plan.time.total)}"
        )
