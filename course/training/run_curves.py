"""The curves of a run as layers of a board: loss, learning rate and mAP, and a line to read them along."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from course.kit.board import layer
from course.kit.panel import GREY, PALE, Panel
from course.training.log_follower import Check, Follower
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED

VIEW = (-50.0, -24.0, 726.0, 468.0)  # the three panels and their numbers
WIDE = 700.0
LOSS, RATE, MAP = (8.0, 248.0), (276.0, 346.0), (374.0, 444.0)  # top and bottom
BUCKETS = 350  # a curve has at most so many points: means over neighbouring lines
PARTS = (  # name, colour, thickness, dashes: of training
    ("multibox", BLUE, 2.4, ()),
    ("confidence", ORANGE, 1.4, (7, 3)),
    ("localisation", GREEN, 1.4, (2, 3)),
)


def window(found: Follower, tenth: bool) -> tuple[float, float]:
    """First and last step to show: the whole run as planned, or the last tenth of what is done."""
    if tenth:
        return 0.9 * found.step, max(float(found.step), 1.0)
    return 0.0, float(max(found.config.steps if found.config else 0, found.step, 1))


def nearest(found: Follower, step: float) -> int | None:
    """Which line of training is the nearest to a step; None if there is none."""
    return int(np.abs(found["step"] - step).argmin()) if len(found) else None


def layers(found: Follower, shown: tuple[float, float], reading: float) -> list[dict]:
    """Everything on the board; `reading` is the step at which the upright line stands."""
    curves = _curves(found, shown)
    checks = [(c.step, c.value) for c in found.validations if shown[0] <= c.step <= shown[1]]
    values = [v for name, *_ in PARTS for v in curves[name][1]]
    low, high = _range([*values, *(v for _, v in checks)])
    loss = _panel(LOSS, shown, low, high)
    drawn = _ground(shown)
    drawn += _marks(loss, {v: f"{v:g}" for v in _ticks(low, high)})
    for name, color, line, dash in PARTS:
        drawn.append(layer(color=color, line=line, dash=dash, curves=[loss.curve(*curves[name])]))
    drawn += _points(checks, loss)
    drawn += _rate(*curves["rate"], shown) + _map(found, shown) + _drops(found, shown)
    drawn += _names(bool(checks), found)
    if found.diverged:
        x = _x(found.diverged[0], shown)
        drawn.append(layer(color=RED, line=2.5, dash=(3, 3), curves=[[x, LOSS[0], x, MAP[1]]]))
        drawn.append(layer(color=RED, texts=[(min(x + 3, WIDE - 34), LOSS[0] + 120, "NaN")]))
    x = _x(reading, shown)
    if len(found) and 0 <= x <= WIDE:
        drawn.append(layer(color=BLACK, line=1.4, curves=[[x, LOSS[0], x, MAP[1]]]))
    return drawn


def _panel(
    edges: tuple[float, float], shown: tuple[float, float], low: float, high: float, log: bool = True
) -> Panel:
    return Panel(0.0, edges[0], WIDE, edges[1], x=shown, y=(low, high), log=log)


def _x(step: float, shown: tuple[float, float]) -> float:
    return _panel(MAP, shown, 0, 1).across(step)


def step_at(x: float, shown: tuple[float, float]) -> float:
    """The step that stands at x px of the board."""
    return _panel(MAP, shown, 0, 1).x_at(x)


def _curves(found: Follower, shown: tuple[float, float]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Steps and values of every drawn column, thinned to BUCKETS means; without what is no positive number."""
    steps = found["step"]
    inside = (steps >= shown[0]) & (steps <= shown[1])
    return {
        name: thinned(steps[inside], found[name][inside], shown)
        for name in ("multibox", "confidence", "localisation", "rate")
    }


def thinned(
    steps: np.ndarray, values: np.ndarray, shown: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """(T,), (T,) -> at most BUCKETS steps and values: the means over equal stretches of the shown steps."""
    good = np.isfinite(values) & (values > 0)
    steps, values = steps[good], values[good]
    if len(steps) <= BUCKETS:
        return steps, values
    bucket = ((steps - shown[0]) / (shown[1] - shown[0]) * (BUCKETS - 1)).round().astype(int)
    count = np.bincount(bucket, minlength=BUCKETS)
    sums = (np.bincount(bucket, weights, BUCKETS) for weights in (steps, values))
    x, y = (total[count > 0] / count[count > 0] for total in sums)
    return x, y


def _range(values: Sequence[float]) -> tuple[float, float]:
    good = [v for v in values if v > 0 and math.isfinite(v)] or [1.0, 10.0]
    return min(good) / 1.1, max(good) * 1.1


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10, ... between two values; only powers of ten where that would be many."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    fine = [m * 10.0**t for t in tens for m in (1, 2, 5) if low <= m * 10.0**t <= high]
    return fine if len(fine) <= 7 else [10.0**t for t in tens if low <= 10.0**t <= high]


def _points(checks: Sequence[tuple[int, float]], panel: Panel) -> list[dict]:
    good = [(s, v) for s, v in checks if v > 0]
    flat = panel.curve(*zip(*good, strict=True)) if good else []
    return [layer(color=PURPLE, line=1.4, dash=(1, 2), curves=[flat], points=flat, radius=4)]


def _ground(shown: tuple[float, float]) -> list[dict]:
    """Between the panels and under them: the steps."""
    between = torch.tensor([[0.0, LOSS[1], WIDE, RATE[0]], [0.0, RATE[1], WIDE, MAP[0]]])
    frames = torch.tensor([[0.0, top, WIDE, bottom] for top, bottom in (LOSS, RATE, MAP)])
    steps = [shown[0] + (shown[1] - shown[0]) * i / 5 for i in range(6)]
    texts = _panel(MAP, shown, 0, 1).below({step: f"{step:,.0f}" for step in steps}, away=20)
    return [layer(between, PALE, line=0, fill=1), layer(frames, GREY, line=1), layer(color=PALE, texts=texts)]


def _marks(panel: Panel, marks: Mapping[float, str]) -> list[dict]:
    return [panel.levels(marks, alpha=0.5), layer(color=PALE, texts=panel.beside(marks, away=44))]


def _rate(steps: np.ndarray, rates: np.ndarray, shown: tuple[float, float]) -> list[dict]:
    low, high = _range(rates.tolist())
    panel = _panel(RATE, shown, low / 1.5, high * 1.5)
    ends = sorted({float(rates.min()), float(rates.max())}) if len(rates) else []
    marks = {v: f"{v:.2g}" for v in ends if v in ends[-1:] or math.log(ends[-1] / v) > 0.5}
    return [*_marks(panel, marks), layer(color=BLACK, line=2, curves=[panel.curve(steps, rates)])]


def _map(found: Follower, shown: tuple[float, float]) -> list[dict]:
    inside = [c for c in found.evaluations if shown[0] <= c.step <= shown[1] and math.isfinite(c.value)]
    panel = _panel(MAP, shown, 0.0, 1.0, log=False)
    flat = panel.curve([c.step for c in inside], [c.value for c in inside])
    texts = panel.beside({v: f"{v:.0%}" for v in (0, 0.5, 1)}, away=44)
    drawn = [panel.levels((0.25, 0.5, 0.75), alpha=0.5), layer(color=PALE, texts=texts)]
    drawn.append(layer(color=RED, line=1.6, curves=[flat], points=flat, radius=4.5))
    last: Check | None = inside[-1] if inside else None
    if last:
        at = (min(panel.across(last.step), WIDE) - 40, panel.up(last.value) - 5)
        drawn.append(layer(color=RED, texts=[(*at, f"{100 * last.value:.1f}")]))
    return drawn


def _drops(found: Follower, shown: tuple[float, float]) -> list[dict]:
    """Where the learning rate falls by the settings, done or still to come."""
    drops = [d for d in found.config.drops if shown[0] <= d <= shown[1]] if found.config else []
    uprights = [[_x(d, shown), LOSS[0], _x(d, shown), RATE[1]] for d in drops]
    texts = [(_x(d, shown) + 3, RATE[0] + 18, "drop" if d <= found.step else "drop to come") for d in drops]
    return [layer(color=GREY, line=1, dash=(2, 3), curves=uprights), layer(color="#ffffff", texts=texts)]


def _names(validated: bool, found: Follower) -> list[dict]:
    """What is what, above each panel."""
    styles = ("training, multibox (thick)", "confidence (dashed)", "localisation (dotted)")
    texts = [
        layer(color=color, texts=[(x, LOSS[0] - 4, style)])
        for x, style, (_, color, _, _) in zip((60.0, 236.0, 372.0), styles, PARTS, strict=True)
    ]
    if validated:
        texts.append(layer(color=PURPLE, texts=[(516.0, LOSS[0] - 4, "validation, multibox (points)")]))
    evaluated = "mAP on the test images" if found.evaluations else "mAP: no evaluation yet"
    heads = [(0.0, LOSS[0] - 4, "loss"), (0.0, RATE[0] - 4, "learning rate"), (0.0, MAP[0] - 4, evaluated)]
    return [*texts, layer(color="#ffffff", texts=heads)]
