"""What the planner of chapter 09 shows: the staircase of the learning rate, and two bars of time over a clock."""

from collections.abc import Sequence

import torch

from course.kit.board import layer
from course.kit.panel import GREY, PALE, Panel
from course.training import run_plan
from course.training.run_plan import RunPlan
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED
from ssdlib.training.estimate import in_words
from ssdlib.training.runs import RunConfig

VIEW = (-62.0, -26.0, 668.0, 392.0)  # the staircase, its axis, two bars of time and their clock
WIDE, TOP, BOTTOM = 640.0, 0.0, 178.0  # px of the staircase
HANDLE = 196.0  # the height of the handles, below it
BARS = ((268.0, 286.0), (298.0, 330.0))  # top and bottom of the recipe's and the plan's
RATES = (1e-7, 1.0)  # that the staircase shows
STAIRS = Panel(0.0, TOP, WIDE, BOTTOM, y=RATES, log=True)
PENS = ((RED, ()), (PURPLE, (8, 4)), (BLACK, (2, 3)))  # of the first drop, the second, the end
PARTS = (
    ("training", BLUE, ""),
    ("validation", ORANGE, "/"),
    ("evaluation", GREEN, "x"),
)  # and their hatching
ROUND = tuple(n * 10**power for power in range(8) for n in (1, 2, 5))  # distances between marks of the axis


def place(step: float, most: float) -> float:
    """Where a step is, px."""
    return WIDE * step / most


def height(rate: float) -> float:
    """Where a learning rate is, px: a logarithmic scale."""
    return float(STAIRS.up(min(max(rate, RATES[0]), RATES[1])))


def scene(recipe: RunPlan, plan: RunPlan, active: int, most: float, times: float) -> list[dict]:
    """The layers of the board, `most` steps of the recipe wide. `times`: steps of the plan to one of the recipe."""
    return [*_axes(most, times), *_stairs(recipe.config, plan, active, most, times), *_bars(recipe, plan)]


def _axes(most: float, times: float) -> list[dict]:
    ground = torch.tensor([[VIEW[0], VIEW[1], 0.0, VIEW[3]], [0.0, BOTTOM, VIEW[2], VIEW[3]]])
    rates = {10.0**power: f"1e{power}" for power in range(-6, 0, 2)}
    lines = [STAIRS.level(rate) for rate in rates]
    marks = STAIRS.beside(rates, away=58)
    steps = [0, *run_plan.marks(most * times, ROUND)]
    marks += [(place(step / times, most) - 4, BOTTOM + 66, _thousands(step)) for step in steps]
    ticks = [
        [place(step / times, most), BOTTOM + 46, place(step / times, most), BOTTOM + 52] for step in steps
    ]
    return [
        layer(ground, PALE, line=0, fill=1),
        layer(color=GREY, line=0.5, curves=[*lines, *ticks]),
        layer(
            color=PALE,
            texts=[*marks, (VIEW[0] + 4, TOP - 4, "learning rate"), (VIEW[0] + 4, BOTTOM + 66, "step")],
        ),
    ]


def _stairs(recipe: RunConfig, plan: RunPlan, active: int, most: float, times: float) -> list[dict]:
    """The recipe's staircase thin and dashed, the plan's thick; dots where it is evaluated; what can be moved."""
    own, config = _line(recipe, most, 1.0), plan.config
    every = config.map_every or config.steps
    stops = [*range(every, config.steps, every), config.steps]
    levels = [(s, next(stage.rate for stage in plan.stages if s <= stage.last)) for s in stops]
    dots = [value for s, rate in levels for value in (place(s / times, most), height(rate))]
    layers = [
        layer(color=GREY, line=1.5, dash=(4, 3), curves=[own]),
        layer(color=BLUE, line=4.5, curves=[_line(config, most, times)]),
        layer(color=GREEN, points=dots, radius=3.5 if len(stops) < 50 else 1.5),
    ]
    handles, flags = (*config.drops, config.steps), []
    for i, step in enumerate(handles):
        color, dash = PENS[-1] if i == len(config.drops) else PENS[i % 2]
        late = i < len(config.drops) and step >= config.steps
        x, width = place(step / times, most), 3.5 if i == active else 1.8
        name = "end" if i == len(config.drops) else f"drop {i + 1}" + (", never" if late else "")
        flag = (x + 4, HANDLE + (-2, 16, 34)[min(i, 2) if i < len(config.drops) else 2] - 8, name)
        upright = [[x, TOP, x, HANDLE + 6]]
        layers.append(layer(color=color, line=width, dash=dash, alpha=0.5 if late else 1, curves=upright))
        flags.append(layer(color=color, texts=[flag]))
    return [*layers, *flags]  # no line crosses a name


def _bars(recipe: RunPlan, plan: RunPlan) -> list[dict]:
    """What the time goes into: one scale for both, so that a shorter run is a shorter bar."""
    longest = max(recipe.time.total, plan.time.total)
    layers = []
    for (name, color, hatching), legend in zip(PARTS, (0.0, 150.0, 320.0), strict=True):
        boxes, lines = [], []
        for one, (top, bottom) in zip((recipe, plan), BARS, strict=True):
            before = sum(
                getattr(one.time, other) for other, _, _ in PARTS[: [p[0] for p in PARTS].index(name)]
            )
            left, right = (WIDE * s / longest for s in (before, before + getattr(one.time, name)))
            boxes.append([left, top, right, bottom])
            lines += _hatched(left, top, right, bottom, hatching)
        look = {"": "plain", "/": "hatched", "x": "crossed"}[hatching]
        layers.append(layer(torch.tensor(boxes), color, line=1, fill=0.45))
        layers.append(layer(color=BLACK, line=0.8, alpha=0.7, curves=lines))
        layers.append(layer(color=color, texts=[(legend, BARS[1][1] + 54, f"{name}: {look}")]))
    marks = run_plan.marks(longest)
    at = [(WIDE * seconds / longest, seconds) for seconds in marks]
    ticks = [[x, BARS[1][1] + 2, x, BARS[1][1] + 10] for x, _ in at]
    texts = [(x - 10, BARS[1][1] + 27, in_words(seconds, exact=True)) for x, seconds in at]
    middle = ((top + bottom) / 2 + 8 for top, bottom in BARS)
    names = [(VIEW[0] + 4, y, name) for y, name in zip(middle, ("recipe", "plan"), strict=True)]
    return [*layers, layer(color=GREY, line=1, curves=ticks), layer(color=PALE, texts=[*texts, *names])]


def _line(config: RunConfig, most: float, times: float) -> list[float]:
    """x, y, x, y ... of a staircase."""
    points = run_plan.staircase(config)
    return [value for step, rate in points for value in (place(step / times, most), height(rate))]


def _hatched(left: float, top: float, right: float, bottom: float, hatching: str) -> list[Sequence[float]]:
    """Slanted lines inside a box, 7 px apart: "/" one way, "x" both."""
    lines, tall, wide = [], bottom - top, right - left
    for n in range(1, int((wide + tall) / 7) + 1) if hatching else ():
        a, b = max(0.0, 7 * n - tall), min(wide, 7 * n)  # where the line enters and leaves, from the left
        low, high = bottom - (7 * n - a), bottom - (7 * n - b)
        lines.append([left + a, low, left + b, high])
        if hatching == "x":
            lines.append([left + a, top + bottom - low, left + b, top + bottom - high])
    return lines


def _thousands(step: int) -> str:
    return f"{step / 1000:g}k" if step >= 1000 else str(step)
