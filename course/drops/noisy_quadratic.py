"""The smallest loss that has a noise floor: a parabola whose slope is only known with an error.

The loss is curvature / 2 · w², the gradient curvature · w plus noise of mean 0. Expected values are exact, not
simulated: they follow from how one step changes the mean of w² (for a constant learning rate: Robbins
and Monro's setting).
"""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from ssdlib.plots import BLACK, BLUE, ORANGE

RATE, NOISE, STEEP, FLAT = 0.2, 2.0, 1.0, 0.004  # of the valley with two directions; chosen for the figure
SLOPE = 15.8113883  # where the flat direction starts: FLAT / 2 · SLOPE² = 0.5


def floor(rate: float, curvature: float = 1.0, noise: float = 1.0, momentum: float = 0.0) -> float:
    """The mean loss that SGD ends at if its learning rate stays: noise (deviation `noise`) against the pull back.

    Without momentum rate · noise² / (2 (2 - rate · curvature)). The steps with momentum are an AR(2) process, whose
    variance is known. Raises ValueError where there is no floor, because the steps grow.
    """
    left = 2 * (1 + momentum) - rate * curvature
    if rate <= 0 or left <= 0 or not 0 <= momentum < 1:
        raise ValueError(f"rate {rate}, curvature {curvature}, momentum {momentum}: the steps find no floor")
    return rate * noise**2 * (1 + momentum) / (2 * (1 - momentum) * left)


def expected(
    rates: Sequence[float], start: float, curvature: float = 1.0, noise: float = 1.0, momentum: float = 0.0
) -> Tensor:
    """(steps + 1,) the mean loss before the first step and after each; steps are PyTorch's,
    v <- momentum · v + gradient, w <- w - rate · v."""
    square = torch.tensor([[start**2, 0.0], [0.0, 0.0]], dtype=torch.float64)  # means of w², wv, v²
    losses = [square[0, 0]]
    for rate in rates:
        turn = square.new_tensor([[1 - rate * curvature, -rate * momentum], [curvature, momentum]])
        kick = square.new_tensor([-rate * noise, noise])
        square = turn @ square @ turn.T + torch.outer(kick, kick)
        losses.append(square[0, 0])
    return curvature / 2 * torch.stack(losses)


def simulated(
    rates: Sequence[float],
    start: float,
    curvature: float = 1.0,
    noise: float = 1.0,
    momentum: float = 0.0,
    runs: int = 1,
) -> Tensor:
    """(runs, steps + 1) losses of so many runs by chance, always the same ones."""
    chance = torch.Generator().manual_seed(0)
    w, v = torch.full((runs,), start, dtype=torch.float64), torch.zeros(runs, dtype=torch.float64)
    losses = [curvature / 2 * w**2]
    for rate in rates:
        v = momentum * v + curvature * w + noise * torch.randn(runs, generator=chance, dtype=torch.float64)
        w = w - rate * v
        losses.append(curvature / 2 * w**2)
    return torch.stack(losses, dim=1)


def valley(drops: Sequence[int], steps: int) -> Tensor:
    """(steps + 1,) the mean loss in a valley, steep and noisy across, flat along; drops take a tenth of RATE."""
    rates = [RATE * 0.1 ** sum(step >= drop for drop in drops) for step in range(steps)]
    settled = (
        2 * floor(RATE, STEEP, NOISE) / STEEP
    ) ** 0.5  # across, noise has done its work when the run begins
    return expected(rates, settled, STEEP, NOISE) + expected(rates, SLOPE, FLAT, 0.0)


def draw_runs(high: float, low: float, drop: int, steps: int) -> Figure:
    """One run by chance through a drop, the mean of all runs, and both floors."""
    rates = [high] * drop + [low] * (steps - drop)
    figure, ax = plt.subplots(figsize=(7.5, 3), layout="constrained")
    ax.semilogy(simulated(rates, 10.0)[0], color=BLUE, linewidth=0.8, label="one run")
    ax.semilogy(expected(rates, 10.0), color=BLACK, linewidth=2.2, label="mean of all runs")
    for rate, begin, end in ((high, 0, drop), (low, drop, steps)):
        ax.plot([begin, end], [floor(rate)] * 2, color=ORANGE, linestyle="--", linewidth=2)
        ground = dict(facecolor="white", edgecolor="none", pad=1)
        ax.text(begin + 30, 6 * floor(rate), f"floor at learning rate {rate:g}", fontsize=9, bbox=ground)
    ax.set(xlabel="step", ylabel="loss", ylim=(1e-5, 100))
    ax.set_title("A drop takes the mean loss from a high floor to a low one", fontsize=11)
    ax.legend(frameon=False)
    return figure


def step_lengths(rates: Sequence[float], momentum: float = 0.9) -> tuple[list[float], list[float]]:
    """How far w goes in each step if the gradient is always 1: with Caffe's momentum, V <- momentum · V + rate, and
    with PyTorch's, v <- momentum · v + 1 and a step of rate · v."""
    inside, outside, caffe, pytorch = 0.0, 0.0, [], []
    for rate in rates:
        inside, outside = momentum * inside + rate, momentum * outside + 1
        caffe.append(inside)
        pytorch.append(rate * outside)
    return caffe, pytorch
