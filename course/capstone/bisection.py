"""Which block is it? The same few numbers of a run, computed with the learner's functions and with the library's.

`trace` follows one batch from its boxes to the changed weights, and the recorded network's answers from offsets to
AP. `search` halves the blocks that differ until single ones are left: 8 comparisons after the first find one wrong
block of 16.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from course.capstone import blocks
from course.capstone.blocks import BLOCKS, BY_NAME, Functions
from course.capstone.swapping import swapped
from course.kit import pictures
from ssdlib import coding, detect, evaluate, loss, matching
from ssdlib.anchors import default_boxes
from ssdlib.data import augment, batches
from ssdlib.data.store import Jpegs
from ssdlib.data.voc import read_sets
from ssdlib.model import SSD300
from ssdlib.records import Batch, Detections, Example, Predictions, Targets
from ssdlib.training import engine, recipes

SCENES, BATCH = 24, 4
STEPS = (0, 100, 1949, 1950, 2400)  # of which the learning rate is asked
CROPPED = ("expand", "crop", "flip")  # harder than the mini recipe, whose images are mirrored and no more
STAGES = {
    "anchors": "the default boxes",
    "boxes": "the boxes of the batch",
    "assigned": "which anchors are matched to which objects",
    "offsets": "offsets",
    "outputs": "what the network says",
    "negatives": "which negatives are mined",
    "loss": "the loss",
    "rates": "the learning rate",
    "weights": "the weights after two updates",
    "candidates": "the candidates in test scenes",
    "detections": "the detections in test scenes",
    "ap": "their average precision",
}
# An image in which objects want the same anchor: boxes (1, R, 4) and labels (1, R)
CROWD = (
    torch.tensor([[[100.0, 100, 200, 200], [102, 101, 203, 199], [15, 15, 23, 23], [16, 16, 24, 24]]]),
    torch.tensor([[1, 2, 3, 4]]),
)
NEAR = 1e-3  # relative; sums in another order differ by less


@dataclass(frozen=True)
class Fault:
    """Where a run with some of the learner's blocks first leaves the library's."""

    stage: str  # of STAGES
    says: str  # what was found there, or the exception


def trace(functions: Functions, names: Sequence[str]) -> Iterator[tuple[str, list[Tensor]]]:
    """Stage by stage what a run computes with the named blocks of the learner's, the others being the library's.

    A stage gets what the library computed before it, so that rounding, which may decide between equals, isn't carried
    from stage to stage."""
    fixed, few = _fixed(), scenes()
    config = dataclasses.replace(recipes.RECIPES["mini"], batch_size=BATCH, precision="float32")
    with swapped(functions, names):
        network, optimizer, anchors = engine.build(config, torch.device("cpu"))
        yield "anchors", [anchors]
        batch = _batch(few)
        yield "boxes", [batch.boxes, batch.labels]
        targets = matching.make_targets(fixed.batch.boxes, fixed.batch.labels, fixed.anchors)
        crowd = matching.make_targets(*CROWD, fixed.anchors)
        yield "assigned", [*_per_object(targets, fixed.overlaps), *_per_object(crowd, fixed.crowded)]
        pairs = fixed.batch.boxes[:, :1], fixed.anchors[::7]
        yield "offsets", [coding.encode(*pairs)]
        with torch.no_grad():
            said = pictures.recorded_network()(fixed.batch.images)
        yield "outputs", [said.offsets, said.logits]
        positive = fixed.targets.labels > 0
        mined = loss.hard_negatives(fixed.logits, positive, "image", 3)
        hardness = -fixed.logits.log_softmax(dim=-1)[..., 0]
        yield "negatives", [mined.sum(dim=1), (hardness * mined).sum(dim=1), (mined & positive).sum()]
        leaves = [x.clone().requires_grad_() for x in (fixed.said.offsets, fixed.logits)]
        losses = loss.multibox_loss(Predictions(*leaves), fixed.targets, negative=fixed.negative)
        losses.multibox.backward()
        yield "loss", [losses.multibox.detach(), *(leaf.grad for leaf in leaves)]
        yield "rates", [torch.tensor([engine.learning_rate(config, step) for step in STEPS])]
        yield "weights", _after_two_steps(network, optimizer)
        found = [detect.best_per_class(p) for p in fixed.answers.logits.softmax(dim=-1)]
        yield "candidates", [torch.stack([f.sum(dim=0) for f in found])]
        found = detect.detect(fixed.answers, fixed.anchors, [example.size for example in few])
        yield "detections", [torch.cat([d.boxes for d in found]), torch.cat([d.scores for d in found])]
        results = evaluate.collect([example.image_id for example in few], fixed.detections)
        yield "ap", [torch.tensor(list(evaluate.evaluate(results, few).ap.values()))]


def _per_object(targets: Targets, overlaps: Tensor) -> list[Tensor]:
    """How many anchors each object got and how well they overlap it: which of two equals it got says nothing."""
    mine = targets.matched[:, None] == torch.arange(overlaps.shape[1])[:, None]  # (B, R, K)
    return [mine.sum(dim=2), (overlaps * mine).sum(dim=2), targets.labels.sum(dim=1)]


def _after_two_steps(network: SSD300, optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """How far some weights move in two updates with known gradients, so small that the decay counts; the second
    update has momentum."""
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    parameters = [*network.conf.parameters(), network.conv4_3_norm.weight]
    before = [p.detach().clone() for p in parameters]
    for factor in (1e-4, -3e-5):
        for p in parameters:
            p.grad = factor * torch.linspace(-1, 1, p.numel()).reshape(p.shape)
        optimizer.step()
    return [p.detach() - old for p, old in zip(parameters, before, strict=True)]


@dataclass(frozen=True)
class _Fixed:
    """What the library computes at each stage."""

    anchors: Tensor
    batch: Batch
    overlaps: Tensor  # of the objects of the batch with the anchors
    crowded: Tensor  # those of CROWD
    targets: Targets
    said: Predictions
    logits: Tensor  # what it says of the classes, one number raised by 150 as in chapter 04
    negative: Tensor
    answers: Predictions
    detections: list[Detections]


@cache
def _fixed() -> _Fixed:
    few, anchors, network = scenes(), default_boxes(), pictures.recorded_network()
    batch = _batch(few)
    targets = matching.make_targets(batch.boxes, batch.labels, anchors)
    [whole] = batches.in_order(few, Jpegs(few), SCENES)
    with torch.no_grad():
        said, answers = network(batch.images), network(whole.images)
    logits = said.logits.clone()
    logits[0, 5000, 7] += 150
    negative = loss.hard_negatives(logits, targets.labels > 0, "image", 3)
    found = detect.detect(answers, anchors, [example.size for example in few])
    overlaps, crowded = (blocks.overlaps(*these, anchors) for these in ((batch.boxes, batch.labels), CROWD))
    return _Fixed(anchors, batch, overlaps, crowded, targets, said, logits, negative, answers, found)


def _batch(few: Sequence[Example]) -> Batch:
    photographs = Jpegs(few)
    random_numbers = augment.uniforms(BATCH, batches.generator(3))
    return batches.make_batch(few[:BATCH], [photographs[i] for i in range(BATCH)], random_numbers, CROPPED)


def first_difference(functions: Functions, names: Sequence[str]) -> Fault | None:
    """Where a run with these blocks first leaves the library's; None if nowhere."""
    steps, stage = trace(functions, names), next(iter(STAGES))
    wanted = _library()
    for stage in STAGES:
        try:
            found = next(steps)[1]
        except Exception as error:  # whatever a learner's function may do
            text = (str(error).strip().splitlines() or [""])[0]
            return Fault(stage, f"it stops with {type(error).__name__}: {text}")
        for one, other in zip(found, wanted[stage], strict=True):
            if says := _differ(one, other):
                return Fault(stage, says)
    return None


@cache
def _library() -> dict[str, list[Tensor]]:
    return dict(trace({}, ()))


@cache
def scenes() -> list[Example]:
    return read_sets(pictures.mini_voc(), ["2007-test"])[:SCENES]


def decoded_scene() -> tuple[Tensor, Tensor]:
    """Boxes (K, 4) and probabilities (K, C) of the first test scene by the recorded network."""
    fixed = _fixed()
    return coding.decode(fixed.answers.offsets[0], fixed.anchors), fixed.answers.logits[0].softmax(dim=-1)


def _differ(found: Tensor, wanted: Tensor) -> str:
    """Half a sentence, "" where both are the same up to rounding."""
    if found.shape != wanted.shape:
        return f"{tuple(found.shape)} numbers, the library has {tuple(wanted.shape)}"
    scale = wanted.double().abs().nan_to_num().amax().clamp(min=1e-6) if wanted.numel() else 1.0
    off = ~torch.isclose(found.double(), wanted.double(), NEAR, NEAR * float(scale), equal_nan=True)
    if not off.any():
        return ""
    place = tuple(off.nonzero()[0].tolist())
    return (
        f"{int(off.sum()):,} of {off.numel():,} numbers differ, the first is {found[place]:.4g} in place of "
        f"{wanted[place]:.4g}"
    )


def search(
    functions: Functions, names: Sequence[str], say: Callable[[str], object] = print
) -> dict[str, Fault]:
    """Halve the blocks that differ from the library until single ones are left, and say each comparison in a
    sentence. -> the blocks found, with their first difference."""
    names = tuple(block.name for block in BLOCKS if block.name in names)
    if not names:
        return {}
    fault = first_difference(functions, names)
    what = f"{names[0]} is" if len(names) == 1 else f"{names[0]} to {names[-1]}, {len(names)} blocks, are"
    if fault is None:
        say(f"✓ {what} yours: everything is as with the library's.")
        return {}
    say(f"✗ {what} yours: the first difference is in {STAGES[fault.stage]}; {fault.says}.")
    if len(names) == 1:
        return {names[0]: fault}
    half = len(names) // 2
    found = search(functions, names[:half], say) | search(functions, names[half:], say)
    if not found:
        say("Neither half differs by itself, so two of these blocks don't fit each other.")
    return found


def sentences(
    functions: Functions, names: Sequence[str], wrong: dict[str, Fault] | None
) -> list[tuple[str, str]]:
    """A row for each block: its name, and what is known of it. `wrong` is what `search` found, None if it was stopped
    before it had an answer."""
    rows = []
    for name in names:
        block = BY_NAME[name]
        if wrong is None:
            says = f"{block.does}; not compared, because the search was stopped"
        elif name in wrong:
            says = f"look here: swapped in alone, it changes {STAGES[wrong[name].stage]} (chapter {block.chapter})"
        else:
            says = f"{block.does}; the same as the library's"
        rows.append((name, says))
    return rows
