"""The training loop, on one screen, and what it calls: network and optimiser, batches, update, schedule."""

import math
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ssdlib import evaluate
from ssdlib.anchors import default_boxes
from ssdlib.data.ahead import ahead
from ssdlib.data.batches import BatchMaker, fingerprint, make_batch
from ssdlib.loss import NEGATIVE_RATIO, hard_negatives, multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import PRETRAINED, SSD300, unit_outputs
from ssdlib.records import Batch, Losses, Targets
from ssdlib.training import distributed, faster, memory, scaling, threads
from ssdlib.training.inference import Data, autocast, evaluate_on, layout_on, validation_loss
from ssdlib.training.runlog import RunLog, read_log
from ssdlib.training.runs import (
    CHECKPOINT,
    RESULTS,
    Progress,
    RunConfig,
    RunError,
    alone,
    network_of,
    open_run,
    save_best,
    save_run,
)

SCALED_ON = 8  # images that `fit_scale` measures on


@alone
@memory.keeping()
@threads.restored()
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
    Raises Diverged if the loss isn't finite any more, OutOfMemory if a step doesn't fit, RunError if `out` can't be
    used or another process trains there, ResultError if two of the test images have one id.
    """
    evaluate.refuse_repeated(test_data[0])  # now, rather than after the last step
    device = distributed.start()
    faster.prepare(config, device)
    if not (Path(out) / CHECKPOINT).exists():
        refuse_random_frozen(config, weights)
    model, optimizer, anchors = build(config, device, weights)
    scaler, chooser = scaling.scaler_for(device, config), threads.Chooser(device)
    begin = open_run(out, config, model, optimizer, resume, fingerprint(train_data[0]), scaler)
    first = begin.step
    last = config.steps if stop_after is None else min(stop_after, config.steps)
    if last < max(first, 1):
        raise RunError(
            f"{out}: to be stopped after step {last}, but its run is at step {first} already; name a later step"
        )
    log = RunLog(out, begin, config.log_every)
    if begin.replaced is not None:
        log.note(step=first, drops=config.drops, replaced=begin.replaced)
    if first == 0 and weights is not None and (factors := fit_scale(model, weights, train_data)):
        log.note(step=0, scaled=factors)
    best = min((row["val"]["multibox"] for row in read_log(out) if "val" in row), default=math.inf)
    network, advance = stepping(model, config)
    maker = batch_maker(config, train_data, device)
    # beside a GPU the CPU makes the next batch; without one, both would compete for its cores
    batches = ahead(maker, first, last) if device.type == "cuda" else map(maker, range(first, last))
    progress = bar(total=config.steps, initial=first, desc="training", unit="step") if bar else None

    for done, batch in enumerate(batches, start=first + 1):
        rate = learning_rate(config, done - 1)
        scale = scaler.get_scale()
        with chooser.step():
            losses = advance(network, optimizer, batch, anchors, rate, config, scaler)
        log.add(done, rate, losses, model, scaler.get_scale() if scaler.get_scale() < scale else None)
        if change := chooser.told():
            log.write(step=done, **change)
        if progress is not None:
            progress.set_postfix_str(log.summary, refresh=False)
            progress.update()
        if _due(done, config.val_every):
            val = validation_loss(model, test_data, anchors, config)
            log.write(step=done, val=val)
            if val["multibox"] < best:
                best = val["multibox"]
                save_best(out, done, config, model)
        if _due(done, config.map_every) and done < config.steps:
            table = evaluate_on(model, test_data, anchors, config, Path(out) / RESULTS)
            log.write(step=done, map=evaluate.number_or_null(table.mean), ap=table.as_json())
        if _due(done, config.checkpoint_every) or done == last:
            log.look()
            save_run(out, Progress(done, log.seconds, log.seen, begin.data), config, model, optimizer, scaler)
            chooser.look()

    if progress is not None:
        progress.close()
    if last < config.steps:
        return None
    table = evaluate_on(model, test_data, anchors, config, Path(out) / RESULTS)
    if not any("map" in row and row["step"] == last for row in read_log(out)):
        log.write(step=last, map=evaluate.number_or_null(table.mean), ap=table.as_json())
    return table


def stepping(model: SSD300, config: RunConfig) -> tuple[nn.Module, faster.Step]:
    """The network as a step of the run calls it, and the step: with what `config.faster` names, see `faster`."""
    network = distributed.wrap(faster.CastOnce(model) if "cast" in config.faster else model)
    return network, faster.Graphed(update_or_advise, update) if "graph" in config.faster else update_or_advise


def update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    anchors: Tensor,
    rate: float,
    config: RunConfig,
    scaler: torch.amp.GradScaler | None = None,
) -> Losses:
    """One step of SGD on this process's share of a batch.

    `batch` holds images (B, 3, 300, 300) and boxes (B, R, 4) px of the input, `anchors` is (K, 4), `rate` the
    learning rate of the kernels. `scaler` matters in float16 only, see `scaling`. -> the four scalars of `Losses` for
    the share, detached; those of all processes add up to the batch's.
    """
    targets = batch.targets or make_targets(batch.boxes, batch.labels, anchors)
    scaler = scaler or scaling.scaler_for(batch.images.device, config)
    parts = []
    optimizer.zero_grad(set_to_none=True)
    matched, mined = _of_the_whole_batch(network, batch.images, targets, config)
    computed = list(_microbatches(batch.images, targets, mined, config.microbatch))
    for number, (images, goal, chosen) in enumerate(computed, 1):
        with distributed.exchanging(network, number == len(computed)):
            with autocast(images.device, config.precision):
                predictions = network(images.contiguous(memory_format=layout_on(images.device, config)))
            losses = multibox_loss(predictions, goal, config.mining, num_matched=matched, negative=chosen)
            # several processes average their gradients; dividing by the N of all of them asks for the sum
            scaler.scale(losses.multibox * distributed.processes()).backward()
        parts.append(losses)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["rate_factor"]
    scaler.step(optimizer)
    scaler.update()
    names = [field.name for field in fields(Losses)]
    return Losses(*(torch.stack([getattr(part, name).detach() for part in parts]).sum() for name in names))


def update_or_advise(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    anchors: Tensor,
    rate: float,
    config: RunConfig,
    scaler: torch.amp.GradScaler | None = None,
) -> Losses:
    """`update`, or OutOfMemory: if memory doesn't suffice, smaller parts of the batch are tried first, so that the
    message can say what fits. The weights are unusable then; the run resumes from its checkpoint."""
    try:
        return update(network, optimizer, batch, anchors, rate, config, scaler)
    except (RuntimeError, MemoryError) as error:
        if not memory.ran_out(error):
            raise
    device, images = batch.images.device, config.microbatch or len(batch.images)
    in_parts = not (config.batch_norm and config.mining == "batch")  # otherwise only a smaller batch helps

    def smaller(size: int) -> RunConfig:
        if in_parts:
            return replace(config, microbatch=size)
        return replace(config, batch_size=size * distributed.processes())

    def attempt(size: int) -> Losses:
        some = batch if in_parts else Batch(batch.images[:size], batch.boxes[:size], batch.labels[:size])
        return update(network, optimizer, some, anchors, rate, smaller(size))

    sizes = _halved(images, lambda size: _can_be_shared(smaller, size, device))
    if distributed.processes() == 1 or not sizes:
        fits = memory.fitting(attempt, sizes)
    else:
        fits = None  # not tried, because the other processes would wait
    perhaps = sizes[0] if sizes else None
    raise memory.OutOfMemory(memory.advice(images, fits, device, config.batch_norm, perhaps, in_parts))


def learning_rate(config: RunConfig, step: int) -> float:
    """Learning rate of the update that follows `step` updates: warm-up, then a tenth of it after each drop."""
    risen = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    return config.learning_rate * risen * 0.1 ** sum(step >= drop for drop in config.drops)


def build(
    config: RunConfig, device: torch.device, weights: dict[str, Tensor] | None = None
) -> tuple[SSD300, torch.optim.Optimizer, Tensor]:
    """Network, optimiser and anchors of a run as they are before the first step.

    Biases have `bias_rate` times the learning rate, twice it in Caffe, and aren't decayed (ssd_pascal.py 223-389,
    model_libs.py). Frozen layers aren't given to the optimiser, so neither gradient nor decay nor momentum moves
    them.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = network_of(config)
    if weights is not None:
        _load(model, weights)
    if config.freeze:
        model.freeze(config.freeze)
    model = model.to(device, memory_format=layout_on(device, config))
    groups = {"kernels": [], "biases": [], "norms": []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decayed = parameter.ndim == 4 or (name == "conv4_3_norm.weight" and config.decay_scale)
        groups["kernels" if decayed else "biases" if name.endswith("bias") else "norms"].append(parameter)
    rules = {"kernels": (config.weight_decay, 1.0), "biases": (0.0, config.bias_rate), "norms": (0.0, 1.0)}
    optimizer = torch.optim.SGD(
        [
            {"params": groups[name], "weight_decay": decay, "rate_factor": factor}
            for name, (decay, factor) in rules.items()
            if groups[name]
        ],
        lr=config.learning_rate,
        momentum=config.momentum,
        fused=True if {"fused", "graph"} & set(config.faster) else None,
    )
    if optimizer.defaults["fused"]:
        # of a first step that float16's scaler skips, torch's fused kernel keeps what lay in memory as momentum
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return model, optimizer, default_boxes().to(device)


def refuse_random_frozen(config: RunConfig, weights: dict[str, Tensor] | None) -> None:
    """Raise RunError if a layer that is never to be trained would begin, and so end, with random weights."""
    if not config.freeze:
        return
    with torch.device("meta"):  # for its names only
        names = list(network_of(config).body)
    frozen = names[: names.index(config.freeze) + 1]
    random = [name for name in frozen if f"body.{name}.0.weight" not in (weights or {})]
    if random:
        found = (
            f"the weights to start from have no {random[0]}" if weights else "it starts from random weights"
        )
        raise RunError(
            f"freeze is {config.freeze!r}, but {found}: a random layer that isn't trained stays random; "
            "name weights that have it (--init), or another layer"
        )


def fit_scale(model: SSD300, weights: dict[str, Tensor], data: Data) -> dict[str, float]:
    """Scale the layers conv1_1 ... fc7 that `weights`, a VGG16's convolutions, didn't contain (fc6 and fc7) to
    outputs of unit deviation on the first training images. -> layer: factor; {} where all came, or none.

    He's rule alone keeps the scale of the inputs, and conv5_3 of ImageNet's VGG16 gives 6.6. So the heads would begin
    with logits in the tens, and at the paper's learning rate the confidence loss would climb before it falls.
    """
    missing = [name for name in PRETRAINED if name in model.body and f"body.{name}.0.weight" not in weights]
    if "body.conv5_3.0.weight" not in weights or not missing:
        return {}
    examples, photographs = data
    device = next(model.parameters()).device
    few = range(min(len(examples), SCALED_ON))
    images = make_batch([examples[i] for i in few], [photographs[i] for i in few], device=device).images
    return unit_outputs(model, missing, images)


def batch_maker(config: RunConfig, data: Data, device: torch.device) -> BatchMaker:
    """The training batches of a run, or this process's share of them."""
    refuse_shares(config, device)
    examples, photographs = data
    return BatchMaker(
        examples,
        faster.resident(photographs, device) if "resident" in config.faster else photographs,
        batch_size=config.batch_size,
        seed=config.seed,
        steps=config.augment,
        difficult=config.difficult,
        device=device,
        share=(distributed.rank(), distributed.processes()),
        rule=config.augment_rule,
        anchors=default_boxes(),
    )


def refuse_shares(config: RunConfig, device: torch.device) -> None:
    """Raise RunError if the processes that are there can't compute these settings together."""
    processes = distributed.processes()
    if processes > 1 and config.batch_norm and config.mining == "batch":
        raise RunError(
            "mining over a batch in several processes needs two forward passes, which would change batch norm's "
            "means; take mining image, or one process"
        )
    if config.batch_size % processes:
        raise RunError(f"a batch of {config.batch_size} can't be divided among {processes} processes")
    share = config.batch_size // processes
    part = min(config.microbatch or share, share)
    together = processes if device.type == "cuda" else 1  # GPUs average over all processes
    if config.batch_norm and 1 in (part * together, share % part * together):
        raise RunError(
            f"a part of a process's share is 1 image (batch_size {config.batch_size}, processes {processes}, "
            f"microbatch {config.microbatch}); batch norm needs two to compare"
        )


def _load(model: SSD300, weights: dict[str, Tensor]) -> None:
    """Put weights into the layers they name; the others stay random."""
    own = model.state_dict()
    for name, tensor in weights.items():
        found, wanted = tuple(tensor.shape), tuple(own[name].shape) if name in own else "no such layer"
        if found != wanted:
            raise RunError(f"weights to start from: {name} is {found}, the network of this run has {wanted}")
    model.load_state_dict(weights, strict=False)


def _microbatches(
    images: Tensor, targets: Targets, mined: Tensor | None, size: int
) -> Iterator[tuple[Tensor, Targets, Tensor | None]]:
    size = size or len(images)
    chosen = iter(mined.split(size)) if mined is not None else repeat(None)
    parts = (x.split(size) for x in (images, targets.offsets, targets.labels, targets.matched))
    for pixels, *goal in zip(*parts, strict=True):
        yield pixels, Targets(*goal), next(chosen)


def _of_the_whole_batch(
    network: nn.Module, images: Tensor, targets: Targets, config: RunConfig
) -> tuple[Tensor, Tensor | None]:
    """What the loss of a part has to know of the whole batch, whichever process computes it.

    -> N, the matches of all; and which of the anchors of this process's images (B, K) are the negatives, where they
    compete with those of other parts: mining "batch" has to see all of them first, which takes a third more work.
    Otherwise None.
    """
    matched = distributed.total((targets.labels > 0).sum())
    if config.mining != "batch" or (distributed.processes() == 1 and config.microbatch in (0, len(images))):
        return matched, None
    bare, logits = getattr(network, "module", network), []
    with torch.no_grad(), autocast(images.device, config.precision):
        for pixels in images.split(config.microbatch or len(images)):
            logits.append(bare(pixels.contiguous(memory_format=layout_on(pixels.device, config))).logits)
    everyone = distributed.concatenated(torch.cat(logits).float())
    positive = distributed.concatenated(targets.labels > 0)
    chosen = hard_negatives(everyone, positive, "batch", NEGATIVE_RATIO)
    return matched, chosen[distributed.rank() * len(images) :][: len(images)]


def _halved(size: int, allowed: Callable[[int], bool]) -> list[int]:
    """Sizes below `size`, each the largest allowed that is at most half of the one before."""
    sizes = []
    while allowed_here := [smaller for smaller in range(size // 2, 0, -1) if allowed(smaller)][:1]:
        sizes += allowed_here
        size = sizes[-1]
    return sizes


def _can_be_shared(settings: Callable[[int], RunConfig], size: int, device: torch.device) -> bool:
    try:
        refuse_shares(settings(size), device)
    except RunError:
        return False
    return True


def _due(done: int, every: int) -> bool:
    return every > 0 and done % every == 0
