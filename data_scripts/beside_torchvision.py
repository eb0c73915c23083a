"""Train torchvision's SSD300 and ours side by side and compare their losses at every step.

    python data_scripts/beside_torchvision.py VOCDEVKIT --sets 2007-trainval --init vgg16.pth --out FOLDER

Both begin with the same weights and see the same batches: ours is trained by `engine.update`, torchvision's by its
own network, matching, mining and loss, and by an SGD written out here with Caffe's rules (biases have twice the
learning rate and aren't decayed). torchvision's anchors are replaced by ours, its normalisation by ours. What remains
is how anchors are assigned to two objects whose best anchor is the same. Batches in which that happens (`contested`)
are set aside, and the first of them is examined at the end, before and after one rule is exchanged.

FOLDER/losses.jsonl has a line for each step; FOLDER/recording.json says device, date, commit, random seed, versions.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import torch
import torchvision
from record_run import facts_now
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16
from torchvision.ops import box_iou

from ssdlib import coding
from ssdlib.data import store, voc
from ssdlib.interop import published
from ssdlib.interop.weights import from_state
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets, match
from ssdlib.model import SSD300
from ssdlib.records import Batch, Losses, Targets
from ssdlib.training import engine
from ssdlib.training.runs import RunConfig

# the paper's, but for what is compared here: two images a step, float32, and by default a tenth of the learning rate
SETTINGS = RunConfig(batch_size=2, learning_rate=1e-4, precision="float32")


class OurAnchors(nn.Module):
    """In place of torchvision's anchor generator, whose scales are COCO's and whose largest boxes are clipped."""

    def __init__(self, anchors: Tensor):
        super().__init__()
        self.anchors = anchors

    def forward(self, images: object, maps: Sequence[Tensor]) -> list[Tensor]:
        return [self.anchors] * len(maps[0])


def beside(ours: SSD300, anchors: Tensor) -> tuple[nn.Module, dict[str, str]]:
    """torchvision's SSD300 with the weights and the width of ours, and the name of each of its parameters in ours."""
    theirs = ssd300_vgg16(
        weights=None,
        weights_backbone=None,
        num_classes=ours.num_classes,
        image_mean=[0.0] * 3,  # the mean is already subtracted from our images
        image_std=[1.0] * 3,
    )
    places = {place: name for place, name in enumerate(theirs.state_dict())}
    found, _ = from_state({name: torch.tensor(place) for place, name in places.items()})  # it only renames
    names = {places[int(place)]: name for name, place in found.items()}
    state = ours.state_dict()
    for theirs_name, name in names.items():
        module, _, kind = theirs_name.rpartition(".")
        # a new parameter, since a narrow network has other shapes; a convolution takes its sizes from its kernel
        setattr(theirs.get_submodule(module), kind, nn.Parameter(state[name].clone()))
    theirs.anchor_generator = OurAnchors(anchors)
    return theirs.train(), names


class TheirSGD:
    """PyTorch's SGD for torchvision's network by Caffe's rules: learning rates and decay."""

    def __init__(self, network: nn.Module, config: RunConfig):
        biases = [p for name, p in network.named_parameters() if name.endswith(".bias")]
        others = [p for name, p in network.named_parameters() if not name.endswith(".bias")]
        self.sgd = torch.optim.SGD(
            [{"params": others, "weight_decay": 5e-4}, {"params": biases, "weight_decay": 0.0}],
            lr=1.0,
            momentum=config.momentum,
        )
        self.network, self.factors = network, (1.0, config.bias_rate)

    def update(self, batch: Batch, rate: float) -> tuple[float, float]:
        """One step -> localisation and confidence loss before it."""
        objects = [labels > 0 for labels in batch.labels]
        targets = [
            {"boxes": boxes[there], "labels": labels[there]}
            for boxes, labels, there in zip(batch.boxes, batch.labels, objects, strict=True)
        ]
        losses = self.network(list(batch.images), targets)
        self.sgd.zero_grad()
        sum(losses.values()).backward()
        for group, factor in zip(self.sgd.param_groups, self.factors, strict=True):
            group["lr"] = rate * factor
        self.sgd.step()
        return float(losses["bbox_regression"].detach()), float(losses["classification"].detach())


def contested(batch: Batch, anchors: Tensor) -> int:
    """How many objects of a batch have the same best anchor as an earlier object of their image."""
    lost = 0
    for boxes, labels in zip(batch.boxes, batch.labels, strict=True):
        if (labels > 0).any():
            wanted = box_iou(boxes[labels > 0], anchors).argmax(dim=1)
            lost += len(wanted) - len(wanted.unique())
    return lost


def last_one_wins(batch: Batch, anchors: Tensor) -> Targets:
    """Targets by torchvision's rule, written out: every anchor takes its best object if their IoU is 0.5 or more,
    then each object in turn takes its best anchor, even from an earlier object."""
    matched = torch.full((len(batch.labels), len(anchors)), -1)
    for b, (boxes, labels) in enumerate(zip(batch.boxes, batch.labels, strict=True)):
        objects = (labels > 0).nonzero().flatten().tolist()
        if objects:
            table = box_iou(boxes[objects], anchors)
            best, slot = table.max(dim=0)
            matched[b] = torch.tensor(objects)[slot].where(best >= 0.5, -1)
            for row, r in enumerate(objects):
                matched[b, table[row].argmax()] = r
    there = matched >= 0
    image = torch.arange(len(matched))[:, None].expand_as(matched)[there]
    offsets = anchors.new_zeros(*matched.shape, 4)
    offsets[there] = coding.encode(batch.boxes[image, matched[there]], anchors.expand_as(offsets)[there])
    labels = torch.zeros_like(matched)
    labels[there] = batch.labels[image, matched[there]]
    return Targets(offsets, labels, matched)


def both(
    maker: Callable[[int], Batch],
    ours: SSD300,
    optimizer: torch.optim.Optimizer,
    anchors: Tensor,
    config: RunConfig,
    afresh: bool = False,
) -> Iterator[dict]:
    """Train both on the first `config.steps` batches without contest, then examine the first batch with one.

    Yields a line for each step: the batch, the losses before it, and how far apart their sums are, relative to
    torchvision's; then how far apart the weights are, as a fraction of the distance they have moved. `afresh` gives
    torchvision's network our weights and momentum before every step, so that each step is compared by itself and
    rounding errors can't accumulate. The last line has no step: it is the contested batch, and its losses by
    torchvision's matching too.
    """
    theirs, names = beside(ours, anchors)
    sgd, step, aside = TheirSGD(theirs, config), 0, None
    pairs = [(theirs.get_parameter(name), ours.get_parameter(names[name])) for name in names]
    start = [other.detach().clone() for other, _ in pairs]
    for place in count():
        batch = maker(place)
        if contested(batch, anchors):
            aside = (place, batch) if aside is None else aside
        elif step < config.steps:
            rate, step = engine.learning_rate(config, step), step + 1
            if afresh:
                start = synchronise(pairs, optimizer, sgd.sgd)
            mine = engine.update(ours, optimizer, batch, anchors, rate, config)
            where = {"step": step, "batch": place, "anchors": differing(batch, anchors)}
            line = where | compared(mine, sgd.update(batch, rate))
            yield line | {"weights_apart": apart(pairs, start)}
        if step == config.steps and aside is not None:
            break
    place, batch = aside
    if afresh:
        synchronise(pairs, optimizer, sgd.sgd)
    with torch.no_grad():
        predictions = ours(batch.images)
        mine = multibox_loss(predictions, make_targets(batch.boxes, batch.labels, anchors))
        other = multibox_loss(predictions, last_one_wins(batch, anchors))
    line = {"batch": place, "contested": contested(batch, anchors), "anchors": differing(batch, anchors)}
    line |= compared(mine, sgd.update(batch, 0.0))
    yield line | {"ours_by_their_matching": parts(other.localisation, other.confidence)}


def synchronise(
    pairs: Sequence[tuple[Tensor, Tensor]], ours: torch.optim.Optimizer, theirs: torch.optim.Optimizer
) -> list[Tensor]:
    """Weights and momentum of the second of each pair into the first. -> the weights, copied."""
    with torch.no_grad():
        for other, mine in pairs:
            other.copy_(mine)
            if "momentum_buffer" in ours.state[mine]:
                theirs.state[other]["momentum_buffer"] = ours.state[mine]["momentum_buffer"].clone()
    return [mine.detach().clone() for _, mine in pairs]


def apart(pairs: Sequence[tuple[Tensor, Tensor]], start: Sequence[Tensor]) -> float:
    """How far all weights together are from each other, divided by how far torchvision's are from `start`."""
    distance = sum(float((other - mine).detach().square().sum()) for other, mine in pairs)
    way = sum(
        float((other.detach() - before).square().sum())
        for (other, _), before in zip(pairs, start, strict=True)
    )
    return float(f"{(distance / way) ** 0.5:.2e}")


def parts(*losses: Tensor | float) -> list[float]:
    return [round(float(loss), 6) for loss in losses]


def compared(mine: Losses, other: tuple[float, float]) -> dict:
    """The entries of a line about the losses of one batch, each as localisation and confidence."""
    return {
        "positives": int(mine.positives),
        "ours": parts(mine.localisation, mine.confidence),
        "torchvision": parts(*other),
        "relative": float(f"{abs(float(mine.multibox) / sum(other) - 1):.2e}"),
    }


def differing(batch: Batch, anchors: Tensor) -> int:
    """Anchors that the two rules assign to different objects."""
    ours = match(batch.boxes, batch.labels, anchors)
    return int((ours != last_one_wins(batch, anchors).matched).sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("devkit", type=Path)
    parser.add_argument("--sets", nargs="+", default=["2007-trainval"])
    parser.add_argument("--init", type=Path, help="weights to start from, as `train --init` reads them")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rate", type=float, default=SETTINGS.learning_rate)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="what the photographs are")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    facts = facts_now("data_scripts")
    changes = {"train_sets": tuple(options.sets), "learning_rate": options.rate, "seed": options.seed}
    config = dataclasses.replace(SETTINGS, steps=options.steps, **changes)
    data = voc.read_sets(options.devkit, config.train_sets)
    data = data, store.Jpegs(data)
    weights, taken = (None, "random weights")
    if options.init:
        weights, taken = published.starting_weights(options.init, config)
        taken = taken.replace(str(options.init), options.init.name)
    device = torch.device("cpu")
    ours, optimizer, anchors = engine.build(config, device, weights)
    scaled = engine.fit_scale(ours, weights, data) if weights else {}
    options.out.mkdir(parents=True, exist_ok=True)
    maker = engine.batch_maker(config, data, device)
    with (options.out / "losses.jsonl").open("w") as file:
        for line in both(maker, ours, optimizer, anchors, config):
            print(json.dumps(line), file=file, flush=True)
            print(json.dumps(line), flush=True)
    facts["versions"]["torchvision"] = torchvision.__version__
    facts |= {"seed": config.seed, "start": taken, "scaled": scaled, "photographs": options.note}
    facts |= {"config": dataclasses.asdict(config)}
    (options.out / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
