"""The training loop, on one screen, and what it calls: network and optimiser, batches, update, schedule."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssdlib import distributed, evaluate
from ssdlib.anchors import default_boxes
from ssdlib.batches import BatchMaker
from ssdlib.inference import Data, autocast, evaluate_on, validation_loss
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import SSD300
from ssdlib.records import Batch, Losses, Targets
from ssdlib.runlog import RunLog, read_log
from ssdlib.runs import RESULTS, Progress, RunConfig, RunError, network_of, open_run, save_run


def train(
    config: RunConfig,
    train_data: Data,
    test_data: Data,
    out: Path,
    resume: bool = False,
    weights: dict[str, Tensor] | None = None,
    bar: Callable[..., Any] | None = None,
    stop_after: int | None = None,
) -> evaluate.Table | None:
    """Train, keep everything in the folder `out`, and return the table of AP on the test data.

    `weights` is a state of the network to start from (see `weights`), `bar` tqdm or nothing. `stop_after` ends
    the session after that many steps of the run, with a checkpoint to resume from; the table is None then.
    Raises Diverged if the loss is no number any more, RunError if `out` can't be used.
    """
    device = distributed.start()
    model, optimizer, anchors = build(config, device, weights)
    begin = open_run(out, config, model, optimizer, resume)
    first = begin.step
    last = config.steps if stop_after is None else min(stop_after, config.steps)
    log = RunLog(out, begin, config.log_every)
    network = distributed.wrap(model)
    maker = batch_maker(config, train_data, device)
    # beside a GPU the processor makes the next batch; alone, it would only take the cores from itself
    batches = map(maker, range(first, last)) if device.type == "cpu" else maker.ahead(first, last)
    progress = bar(total=config.steps, initial=first, desc="training", unit="step") if bar else None

    for done, batch in enumerate(batches, start=first + 1):
        rate = learning_rate(config, done - 1)
        losses = update(network, optimizer, batch, anchors, rate, config)
        log.add(done, rate, losses, model)
        if progress is not None:
            progress.set_postfix_str(log.summary, refresh=False)
            progress.update()
        if _due(done, config.val_every):
            log.write(step=done, val=validation_loss(model, test_data, anchors, config))
        if _due(done, config.map_every) and done < config.steps:
            table = evaluate_on(model, test_data, anchors, config, Path(out) / RESULTS)
            log.write(step=done, map=table.mean, ap=table.ap)
        if _due(done, config.checkpoint_every) or done == last:
            log.look()
            save_run(out, Progress(done, log.seconds, log.seen), config, model, optimizer)

    if progress is not None:
        progress.close()
    if last < config.steps:
        return None
    table = evaluate_on(model, test_data, anchors, config, Path(out) / RESULTS)
    if not any("map" in row and row["step"] == last for row in read_log(out)):
        log.write(step=last, map=table.mean, ap=table.ap)
    return table


def update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    anchors: Tensor,
    rate: float,
    config: RunConfig,
) -> Losses:
    """One step of SGD. -> the losses of this process's share; the shares of all add up to the batch's."""
    targets = make_targets(batch.boxes, batch.labels, anchors)
    # N counts the matches of the whole batch, whoever computes which part of it
    matched = distributed.total((targets.labels > 0).sum())
    parts = []
    optimizer.zero_grad(set_to_none=True)
    for images, goal in _microbatches(batch.images, targets, config.microbatch):
        with autocast(images.device, config.precision):
            predictions = network(images.contiguous(memory_format=torch.channels_last))
        losses = multibox_loss(predictions, goal, config.mining, num_matched=matched)
        # several processes average their gradients; dividing by the N of all of them asks for the sum
        (losses.multibox * distributed.processes()).backward()
        parts.append(losses)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    optimizer.step()
    names = [field.name for field in fields(Losses)]
    return Losses(*(torch.stack([getattr(part, name).detach() for part in parts]).sum() for name in names))


def learning_rate(config: RunConfig, step: int) -> float:
    """Rate of the update that follows `step` updates: warm-up, then a tenth of it after each drop."""
    risen = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return config.learning_rate * risen * 0.1 ** sum(step >= drop for drop in config.drops)


def build(
    config: RunConfig, device: torch.device, weights: dict[str, Tensor] | None = None
) -> tuple[SSD300, torch.optim.Optimizer, Tensor]:
    """Network, optimiser and anchors of a run as they are before the first step.

    Biases learn at twice the rate and aren't decayed, as in Caffe (ssd_pascal.py 223-389, model_libs.py).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = network_of(config)
    if weights is not None:
        _load(model, weights)
    model = model.to(device, memory_format=torch.channels_last)
    groups = {"kernels": [], "biases": [], "norms": []}
    for name, parameter in model.named_parameters():
        decayed = parameter.ndim == 4 or name == "conv4_3_norm.weight"
        groups["kernels" if decayed else "biases" if name.endswith("bias") else "norms"].append(parameter)
    rules = {"kernels": (config.weight_decay, 1.0), "biases": (0.0, 2.0), "norms": (0.0, 1.0)}
    optimizer = torch.optim.SGD(
        [
            {"params": groups[name], "weight_decay": decay, "rate_factor": factor}
            for name, (decay, factor) in rules.items()
            if groups[name]
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
    )
    return model, optimizer, default_boxes().to(device)


def batch_maker(config: RunConfig, data: Data, device: torch.device) -> BatchMaker:
    """The training batches of a run, or this process's share of them."""
    if distributed.processes() > 1 and config.mining == "batch":
        raise RunError("mining 'batch' ranks a whole batch; it can't be shared by several processes")
    if config.batch_size % distributed.processes():
        raise RunError(
            f"a batch of {config.batch_size} can't be shared by {distributed.processes()} processes"
        )
    return BatchMaker(
        *data,
        batch_size=config.batch_size,
        seed=config.seed,
        steps=config.augment,
        difficult=config.difficult,
        device=device,
        share=(distributed.rank(), distributed.processes()),
    )


def _load(model: SSD300, weights: dict[str, Tensor]) -> None:
    """Put weights into the layers they name; the others stay random."""
    own = model.state_dict()
    for name, tensor in weights.items():
        found, wanted = tuple(tensor.shape), tuple(own[name].shape) if name in own else "no such layer"
        if found != wanted:
            raise RunError(f"weights to start from: {name} is {found}, the network of this run has {wanted}")
    model.load_state_dict(weights, strict=False)


def _microbatches(images: Tensor, targets: Targets, size: int) -> Iterator[tuple[Tensor, Targets]]:
    parts = (images, targets.offsets, targets.labels, targets.matched)
    for pixels, *rest in zip(*(x.split(size or len(images)) for x in parts), strict=True):
        yield pixels, Targets(*rest)


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0
