"""How steeply the loss bends (chapter 07): the largest curvature by power iteration, the learning rate it allows."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ssdlib.loss import multibox_loss
from ssdlib.records import Batch, Targets


def edge(curvature: float, momentum: float = 0.0) -> float:
    """The largest learning rate at which SGD with heavy-ball momentum doesn't leave a parabola of this curvature.

    w <- w - rate · v, v <- momentum · v + curvature · w shrinks as long as rate · curvature < 2 · (1 + momentum).
    """
    return 2 * (1 + momentum) / curvature


def largest_curvature(
    turn: Callable[[Tensor], Tensor], start: Tensor, rounds: int = 20
) -> tuple[float, Tensor]:
    """Power iteration: `turn(v)` is H·v for a symmetric matrix H; -> (the eigenvalue of largest size, its direction).

    Each round turns the vector towards the direction that bends most; a negative value bends downwards.
    """
    v, value = start / start.norm(), 0.0
    for _ in range(rounds):
        turned = turn(v)
        value = float(v @ turned)
        length = turned.norm()
        if length == 0:
            return 0.0, v
        v = turned / length
    return value, v


def of_network(
    model: nn.Module,
    batch: Batch,
    targets: Targets,
    factors: Sequence[float],
    rounds: int = 20,
    seed: int = 0,
) -> tuple[float, dict[str, float]]:
    """Largest curvature of the multibox loss of one batch, and the share of each parameter in its direction.

    `factors` holds each parameter's multiple of the learning rate (2 for biases): a parameter that learns twice as
    fast is as one whose curvature is twice as large. The choice of negatives is held fixed: it jumps, and a jump has
    no curvature.
    """
    parameters = list(model.parameters())
    roots = torch.cat([torch.full((p.numel(),), f**0.5) for p, f in zip(parameters, factors, strict=True)])
    predictions = model(batch.images)
    loss = multibox_loss(predictions, targets).multibox
    gradient = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in gradient])

    def turn(v: Tensor) -> Tensor:
        turned = torch.autograd.grad(flat, parameters, grad_outputs=roots * v, retain_graph=True)
        return roots * torch.cat([t.reshape(-1) for t in turned])

    start = torch.randn(len(flat), generator=torch.Generator().manual_seed(seed))
    value, direction = largest_curvature(turn, start, rounds)
    parts = direction.square().split([p.numel() for p in parameters])
    return value, {name: float(x.sum()) for (name, _), x in zip(model.named_parameters(), parts, strict=True)}
