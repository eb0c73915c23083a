"""Start the same training from many random seeds, and record what happens: recordings for chapter 07.

    python data_scripts/restarts.py --out runs/restarts                 all arms, ten random seeds each
    python data_scripts/restarts.py --out runs/restarts --arms edge adam --seeds 3 --steps 100

An arm is an optimiser with its learning rate and its remedies; a random seed decides weights, order and
augmentation. Every start is
one file ARM/SEED.jsonl: a head line (settings, commit, date, device, versions), then one line a step. A start that
ends in NaN keeps its file; its last line names the first tensor that wasn't finite. Files that are complete are
skipped, so the command can be stopped and repeated. Nothing is edited afterwards.

The network is the mini recipe's, narrow and with the strided stem, without batch norm unless the arm says so, in
float32, because the question is what SGD does, not what rounding does.
"""

import argparse
import dataclasses
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from record_run import facts_now
from torch import Tensor, nn
from tqdm import tqdm

from course.instability import replay, watched_start
from course.kit import pictures
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc
from ssdlib.data.batches import in_order
from ssdlib.detect import detect
from ssdlib.loss import NEGATIVE_RATIO, hard_negatives, l2_penalty, multibox_loss
from ssdlib.model import SSD300
from ssdlib.records import Batch, Predictions, Targets
from ssdlib.training.runs import RECIPES, RunConfig

SNAPSHOTS = (0, 3, 10, 30, 60, 100, 150, 200, 300, 400)
COLUMNS = (
    *("step", "localisation", "confidence", "positives", "negatives", "rate"),
    *("gradient", "update_ratio", "conv4_3", "fc7", "dead", "background"),
)


@dataclass(frozen=True)
class Arm:
    """One way to start."""

    rate: float
    steps: int = 300
    momentum: float = 0.9
    optimizer: str = "sgd"
    warmup: int = 0
    clip: float = 0.0  # largest length of the whole gradient; 0 = any
    batch_norm: bool = False
    pixels: bool = (
        False  # 0 ... 255 minus the mean as they are; else divided by 64, the first weights times 64
    )
    prior: float = 0.0  # of the bias of the background logit before the first step


ARMS = {
    "paper": Arm(1e-3),  # the learning rate of the paper and of ssd_keras
    "safe": Arm(3e-3, steps=200),
    "near": Arm(1e-2, steps=150),
    "edge": Arm(1.2e-2, steps=200),
    "beyond": Arm(2e-2, steps=200),
    "warmup": Arm(2e-2, warmup=200),
    "clipped": Arm(2e-2, steps=200, clip=10.0),
    "adam": Arm(1e-3, steps=200, optimizer="adam"),
    "batch_norm": Arm(2e-2, steps=200, batch_norm=True),
    "pixels": Arm(
        1e-3, pixels=True
    ),  # the same function as "paper" before the first step, other steps after it
    # "paper", but from the start the network gives background a probability of 3/4: e^b / (e^b + 20) = 3/4
    "prior": Arm(1e-3, steps=200, prior=math.log(60)),
    "no_momentum": Arm(2e-2, steps=100, momentum=0.0),
}


def start(arm: Arm, config: RunConfig, watched: Batch) -> Iterator[dict]:
    """Train from scratch; yields one row a step, and a last row if a tensor isn't finite any more."""
    training = watched_start.Beginning(config, arm.pixels)
    model, optimizer, anchors = training.model, training.optimizer, training.anchors
    if arm.optimizer == "adam":
        groups = [{**group, "lr": arm.rate} for group in optimizer.param_groups]
        training.optimizer = optimizer = torch.optim.Adam(groups, lr=arm.rate, weight_decay=0.0)
    watched = dataclasses.replace(watched, images=watched.images / training.scale)
    if arm.prior:
        with torch.no_grad():
            for head in model.conf.values():
                head.bias[:: model.num_classes] = arm.prior
    watch = Watch(model)
    for step in range(config.steps):
        batch, targets = training.batch(step)
        optimizer.zero_grad(set_to_none=True)
        predictions = model(batch.images)
        losses = multibox_loss(predictions, targets)
        if step in SNAPSHOTS:
            shown = seen(model, watched, anchors)
            yield {"step": step, "detections": shown, "by_map": by_map(predictions, targets)}
        losses.multibox.backward()
        length = nn.utils.clip_grad_norm_(model.parameters(), arm.clip or math.inf)
        if not (losses.multibox.isfinite() and length.isfinite()):
            yield {"step": step, "broke": first_not_finite(model, batch, targets)}
            return
        rate = training.set_rate(step)
        before = [p.detach().clone() for p in model.parameters()]
        optimizer.step()
        row = (
            step,
            losses.localisation,
            losses.confidence,
            losses.positives,
            losses.negatives,
            rate,
            length,
            update_ratio(model, before),
            *watch.numbers(),
            predictions.logits[..., 0].mean(),
        )
        yield {"row": [short(value) for value in row]}
    yield {"step": config.steps, "detections": seen(model, watched, anchors), "l2": short(l2_penalty(model))}


def config_of(arm: Arm, seed: int, batch_size: int) -> RunConfig:
    return dataclasses.replace(
        RECIPES["mini"],
        batch_norm=arm.batch_norm,
        batch_size=batch_size,
        learning_rate=arm.rate,
        warmup=arm.warmup,
        momentum=arm.momentum,
        drops=(),
        steps=arm.steps,
        seed=seed,
        precision="float32",
    )


class Watch:
    """Activations of the last forward pass: their scale on two maps, and how many channels of the body are dead."""

    def __init__(self, model: SSD300):
        self.outputs: dict[str, Tensor] = {}
        for name, layer in model.body.items():
            layer.register_forward_hook(
                lambda _, __, out, name=name: self.outputs.update({name: out.detach()})
            )

    def numbers(self) -> tuple[Tensor, ...]:
        """Root mean square of conv4_3 and of fc7; share of channels that are 0 everywhere in the batch."""
        dead = torch.cat([(out.amax(dim=(0, 2, 3)) <= 0).float() for out in self.outputs.values()])
        return (*(self.outputs[name].square().mean().sqrt() for name in ("conv4_3", "fc7")), dead.mean())


@torch.no_grad()
def by_map(predictions: Predictions, targets: Targets) -> dict[str, list[float]]:
    """For each of the six maps: positives, mined negatives, and the mean logit of background over its anchors."""
    positive = targets.labels > 0
    negative = hard_negatives(predictions.logits, positive, "image", NEGATIVE_RATIO)
    background = predictions.logits[..., 0].split(SSD300_ANCHORS.per_map, dim=1)
    return {
        "positives": [int(part.sum()) for part in positive.split(SSD300_ANCHORS.per_map, dim=1)],
        "negatives": [int(part.sum()) for part in negative.split(SSD300_ANCHORS.per_map, dim=1)],
        "background": [short(part.mean()) for part in background],
    }


def update_ratio(model: SSD300, before: list[Tensor]) -> Tensor:
    """The largest, over the kernels, of |change| / |weights|."""
    pairs = zip(model.parameters(), before, strict=True)
    return torch.stack([(p.detach() - b).norm() / b.norm() for p, b in pairs if p.ndim == 4]).max()


@torch.no_grad()
def first_not_finite(model: SSD300, batch: Batch, targets: Targets) -> dict:
    """Where NaN began: the first tensor, in the order of computation, that holds inf or NaN."""
    found = {
        "largest_weight": max((float(p.abs().nan_to_num(0).max()), n) for n, p in model.named_parameters())
    }
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return {"tensor": f"weights of {name}", **found}
    x: dict[str, Tensor] = {}
    convolutions = [(name, module) for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    handles = [
        module.register_forward_hook(lambda _, __, out, name=name: x.update({name: out.clone()}))
        for name, module in convolutions
    ]
    predictions = model(batch.images)
    for handle in handles:
        handle.remove()
    found["largest_activation"] = max((float(x[name].abs().nan_to_num(0).max()), name) for name in x)
    for name in x:
        if not x[name].isfinite().all():
            return {"tensor": f"output of {name}", **found}
    losses = multibox_loss(predictions, targets)
    part = "localisation" if not losses.localisation.isfinite() else "confidence"
    if losses.multibox.isfinite():
        return {"tensor": "gradient", **found}
    return {"tensor": f"{part} loss", **found}


@torch.no_grad()
def seen(model: SSD300, watched: Batch, anchors: Tensor) -> list[list[float]]:
    """The ten best detections in the watched image: label, score, corners in px of the input."""
    model.eval()
    predictions = model(watched.images)
    model.train()
    if not (predictions.logits.isfinite().all() and predictions.offsets.isfinite().all()):
        return []
    [found] = detect(predictions, anchors, [(SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas)])
    rows = zip(found.labels[:10].tolist(), found.scores[:10].tolist(), found.boxes[:10].tolist(), strict=True)
    return [[label, round(score, 3), *(round(x, 1) for x in box)] for label, score, box in rows]


def short(value: Tensor | float) -> float:
    """Five significant digits: a step is a line of a hundred characters."""
    return float(f"{float(torch.as_tensor(value).detach()):.5g}")


def complete(path: Path, steps: int) -> bool:
    """Whether a start's file is complete: all steps, or how it diverged."""
    if not path.exists():
        return False
    last = json.loads(path.read_text("utf-8").splitlines()[-1])
    return "broke" in last or ("detections" in last and last["step"] >= steps)


def watched_scene() -> Batch:
    """The test scene whose detections are recorded."""
    [example] = pictures.mini_test_set()[replay.WATCHED : replay.WATCHED + 1]
    [batch] = in_order([example], [voc.read_photograph(example.path)], 1)
    return batch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, help="another number of steps for every arm")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rate", type=float, help="another learning rate, to look for the edge")
    options = parser.parse_args()

    facts = facts_now("course", "data_scripts") | {"columns": COLUMNS}
    watched = watched_scene()
    todo = [(name, seed) for seed in range(options.seeds) for name in options.arms]
    for name, seed in tqdm(todo, unit="start"):
        changes = {"rate": options.rate, "steps": options.steps}
        arm = dataclasses.replace(ARMS[name], **{k: v for k, v in changes.items() if v is not None})
        config = config_of(arm, seed, options.batch_size)
        path = options.out / name / f"{seed}.jsonl"
        if complete(path, arm.steps):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with part.open("w") as file:
            settings = {"arm": name, **dataclasses.asdict(arm), "seed": seed}
            print(json.dumps(settings | {"config": dataclasses.asdict(config)} | facts), file=file)
            for row in start(arm, config, watched):
                print(json.dumps(row, separators=(",", ":")), file=file, flush=True)
        os.replace(part, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
