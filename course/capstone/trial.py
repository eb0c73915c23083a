"""A block tried harder than its exercises did: on many random cases, at the size of a training, and for its speed."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course.capstone import bisection
from course.capstone.blocks import BLOCKS, BY_NAME, Functions, overlaps
from course.capstone.swapping import swapped
from course.kit.comparing import agree, difference
from course.kit.tables import Table, table
from ssdlib import anchors, box_ops, coding, detect, evaluate, loss, matching, model
from ssdlib.data import augment
from ssdlib.records import Predictions, Targets
from ssdlib.training import engine, recipes

CASES, TOO_MUCH = 20, 0.3  # of a plain step: a run would take 1.3 times as long
IMAGES, OBJECTS = 8, 6
MINI = recipes.RECIPES["mini"]
TEST_SCENES = 200  # of the mini VOC
REPEATS = 3


@dataclass(frozen=True)
class Tried:
    """What was found of a block. Seconds are those of one call at the size of the mini run."""

    block: str
    wrong: str  # a sentence, "" if all cases were right
    yours: float = 0.0
    library: float = 0.0
    share: float = 0.0  # by which part of itself the mini run gets longer

    @property
    def factor(self) -> float:
        return self.yours / max(self.library, 1e-9)

    @property
    def too_slow(self) -> bool:
        return self.share > TOO_MUCH

    def says(self) -> str:
        """One sentence."""
        if self.wrong:
            return f"✗ {self.wrong}"
        times = f"{self.factor:.1f} times the library's time"
        if self.too_slow:
            way = f"chapter {BY_NAME[self.block].faster} shows the fast way"
            return f"✗ right, but too slow: {times}, so a run takes {1 + self.share:.1f} times as long; {way}"
        return f"✓ right and fast enough: {times}"


@dataclass(frozen=True)
class _Trial:
    """How a block is tried: `call` asks the library, in which the learner's functions may stand."""

    call: Callable[..., Any]
    cases: Callable[[torch.Generator], tuple]  # arguments of one random case
    load: Callable[[], tuple]  # arguments of the size of the mini run
    per_step: float = 1.0  # calls an update
    count: int = CASES


def try_block(functions: Functions, name: str, step_seconds: float | None = None) -> Tried:
    """Try the learner's block `name` beside the library's. `step_seconds` is what a plain step takes, measured if
    None. Raises LookupError if its functions aren't all there."""
    trial = _TRIALS[name]
    wrong = _first_wrong(functions, name, trial)
    if wrong:
        return Tried(name, wrong)
    arguments = trial.load()
    with swapped(functions, [name]):
        yours = _seconds(trial.call, arguments)
    library = _seconds(trial.call, arguments)
    step = step_seconds or plain_step()
    return Tried(name, "", yours, library, max(0.0, yours - library) * trial.per_step / step)


def try_all(functions: Functions, names: Sequence[str]) -> Iterator[Tried]:
    """All the named blocks, one after the other, so that those already tried are kept if the learner stops."""
    step = plain_step() if names else 1.0
    for name in names:
        yield try_block(functions, name, step)


def shown(found: Sequence[Tried], names: Sequence[str] = ()) -> Table:
    """A row for each block that was tried, and for each other one of `names`, where the learner stopped."""
    rows = [(one.block, one.says()) for one in found]
    rest = [name for name in names if name not in {one.block for one in found}]
    rows += [(name, "○ stopped while it was being tried") for name in rest[:1]]
    rows += [(name, "○ not tried") for name in rest[1:]]
    together = 1 + sum(one.share for one in found)
    which = "Those that were tried" if rest else "All together"
    note = f"{which} make a run about {together:.2f} times as long." if rows else "Nothing to try yet."
    return table(rows, head=("block", "tried on harder cases") if rows else (), note=note)


@cache
def plain_step() -> float:
    """Seconds of one update of the mini run with the library's functions, on this machine."""
    maker, config = _mini_batches(), MINI
    network, optimizer, grid = engine.build(config, torch.device("cpu"))
    engine.update(network, optimizer, maker(0), grid, 1e-3, config)
    return _seconds(lambda step: engine.update(network, optimizer, maker(step), grid, 1e-3, config), (1,))


def _mini_batches() -> Callable:
    scenes = bisection.scenes()
    data = scenes, bisection.Jpegs(scenes)
    return engine.batch_maker(MINI, data, torch.device("cpu"))


def _seconds(call: Callable, arguments: tuple) -> float:
    """Of CPU time, the best of a few tries: what else runs is no part of it."""
    took = []
    for _ in range(REPEATS):
        start = time.process_time()
        call(*arguments)
        took.append(time.process_time() - start)
        if took[0] > 5:
            break
    return min(took)


def _first_wrong(functions: Functions, name: str, trial: _Trial) -> str:
    """The first case on which the learner's block isn't as the library's, as a sentence."""
    generator = torch.Generator().manual_seed(13)
    for number in range(trial.count):
        arguments = trial.cases(generator)
        wanted = _plain(trial.call(*arguments))
        try:
            with swapped(functions, [name]):
                found = _plain(trial.call(*arguments))
        except Exception as error:  # whatever a learner's function may do
            text = (str(error).strip().splitlines() or [""])[0]
            return f"random case {number + 1}: it stops with {type(error).__name__}: {text}"
        if not agree(found, wanted, 1e-3):
            return f"random case {number + 1}: {difference(found, wanted, 1e-3)}"
    return ""


def _plain(value: Any) -> Any:
    """Numbers that `agree` compares, out of the library's records."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.nan_to_num(value))
    if isinstance(value, evaluate.Curve):
        return [_plain(value.recall), _plain(value.precision), value.objects]
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


# ---- what each block is tried on


def _boxes(generator: torch.Generator, *shape: int, side: float = 300.0) -> Tensor:
    """Random boxes with an area, some of them tiny."""
    corner = torch.rand(*shape, 2, generator=generator) * side * 0.9
    extent = 2 + torch.rand(*shape, 2, generator=generator) ** 2 * side * 0.8
    return torch.cat([corner, (corner + extent).clamp(max=side)], dim=-1)


def _alike(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Boxes against others, themselves, hardly moved copies and their centres, which have no area."""
    first = _boxes(generator, int(torch.randint(0, 6, (), generator=generator)))
    centres = box_ops.to_cxcywh(first)[..., [0, 1, 0, 1]]
    return first, torch.cat([_boxes(generator, 20), first, first + 0.5, centres])


def _objects(generator: torch.Generator, images: int = 2) -> tuple[Tensor, Tensor]:
    """Boxes and labels of a batch, 0 ... 6 objects an image; sometimes none at all."""
    most = int(torch.randint(0, OBJECTS + 1, (), generator=generator))
    boxes = _boxes(generator, images, most)
    labels = torch.randint(1, 21, (images, most), generator=generator)
    labels *= (
        torch.rand(images, 1, generator=generator) < 0.8
    )  # an image without objects in a batch that has some
    return boxes * (labels > 0)[..., None], labels


def _full(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return _boxes(generator, IMAGES, 3), torch.randint(1, 21, (IMAGES, 3), generator=generator)


def _seed() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def _counts(boxes: Tensor, labels: Tensor) -> list[Tensor]:
    """What a matcher did, told so that equals may be exchanged: anchors and IoU of each object."""
    grid = _grid()
    matched = matching.match(boxes, labels, grid)
    mine = matched[:, None] == torch.arange(labels.shape[1])[:, None]
    return [mine.sum(dim=2), (_overlaps(boxes, labels) * mine).sum(dim=2), (matched < 0).sum(dim=1)]


@cache
def _grid() -> Tensor:
    return anchors.default_boxes()


def _overlaps(boxes: Tensor, labels: Tensor) -> Tensor:
    return overlaps(boxes, labels, _grid())


def _mined(logits: Tensor, positive: Tensor) -> list[Tensor]:
    chosen = loss.hard_negatives(logits, positive, "image", 3)
    hard = -logits.log_softmax(dim=-1)[..., 0]
    return [chosen.sum(dim=1), (hard * chosen).sum(dim=1), (chosen & positive).sum()]


def _answers(generator: torch.Generator, images: int = 2, count: int = 300) -> tuple[Tensor, Tensor]:
    """Logits with a spread that leaves the comfortable range, and few positives; sometimes none."""
    logits = torch.randn(images, count, 21, generator=generator) * 40
    rare = torch.rand((), generator=generator) * 0.3 - 0.05
    return logits, torch.rand(images, count, generator=generator) < rare


def _loss_with_gradient(offsets: Tensor, logits: Tensor, targets: Targets, negative: Tensor) -> list[Tensor]:
    leaves = offsets.clone().requires_grad_(), logits.clone().requires_grad_()
    losses = loss.multibox_loss(Predictions(*leaves), targets, negative=negative)
    if losses.multibox.requires_grad:
        losses.multibox.backward()
    return [losses.multibox, *(torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves)]


def _for_loss(generator: torch.Generator, images: int = 2, count: int = 300) -> tuple:
    logits, positive = _answers(generator, images, count)
    offsets, wanted = (torch.randn(images, count, 4, generator=generator) * 2 for _ in range(2))
    labels = torch.randint(1, 21, positive.shape, generator=generator) * positive
    negative = (torch.rand(positive.shape, generator=generator) < 0.1) & ~positive
    return offsets, logits, Targets(wanted, labels, labels - 1), negative


def _windows(generator: torch.Generator, images: int = 2) -> tuple:
    boxes, labels = _objects(generator, images)
    window = _boxes(generator, images) * 1.5 - 60
    return boxes, labels, window, torch.rand(images, generator=generator) < 0.5


def _l2(x: Tensor) -> Tensor:
    layer = model.L2Norm(x.shape[1])
    with torch.no_grad():
        layer.weight.copy_(torch.linspace(1, 20, x.shape[1]))
    return layer(x)


def _rates(steps: list[int]) -> list[float]:
    return [engine.learning_rate(MINI, step) for step in steps]


@cache
def _network() -> model.SSD300:
    return model.SSD300(width=1 / 8, batch_norm=True, strided_stem=True)


def _updates(seed: int, updates: int) -> list[Tensor]:
    """How far some weights move: gradients so small that the decay counts, at a learning rate of 1."""
    generator = torch.Generator().manual_seed(seed)
    network, optimizer, _ = engine.build(MINI, torch.device("cpu"))
    for group in optimizer.param_groups:
        group["lr"] = 1.0
    parameters = [*network.conf.parameters(), network.conv4_3_norm.weight]
    before = [p.detach().flatten()[:50].clone() for p in parameters]
    for _ in range(updates):
        for p in parameters:
            p.grad = 1e-4 * torch.randn(p.shape, generator=generator)
        optimizer.step()
    return [1e4 * (p.detach().flatten()[:50] - old) for p, old in zip(parameters, before, strict=True)]


def _scores(generator: torch.Generator, count: int = 80) -> tuple[Tensor]:
    return ((torch.randn(count, 21, generator=generator) * 3).softmax(dim=-1),)


def _sums(probabilities: Tensor, top_k: int = 5) -> Tensor:
    """Candidates in any order."""
    found = detect.best_per_class(probabilities, 0.01, top_k)
    return found[(found[:, 0] * len(probabilities) + found[:, 1]).argsort()]


def _crowd(generator: torch.Generator, count: int = 60, classes: int = 4) -> tuple:
    count = int(torch.randint(0, count, (), generator=generator))
    scores = torch.randperm(count, generator=generator) / max(1, count)  # no two are equal
    return _boxes(generator, count), scores, torch.randint(1, classes, (count,), generator=generator)


def _many() -> tuple:
    """The 400 best candidates of a test scene, as the recorded network gives them."""
    boxes, probabilities = bisection.decoded_scene()
    label, anchor = detect.best_per_class(probabilities).unbind(dim=1)
    best = probabilities[anchor, label].argsort(descending=True, stable=True)[: 2 * detect.KEEP]
    return boxes[anchor[best]], probabilities[anchor[best], label[best]], label[best]


def _judged(seed: int, images: int) -> list:
    generator = torch.Generator().manual_seed(seed)
    truth_of, counts = torch.arange(images).repeat_interleave(2), 2 * images
    boxes = _boxes(generator, counts).double()
    difficult = (torch.rand(counts, generator=generator) < 0.2).numpy()
    names = {f"{i:06d}": i for i in range(images)}
    labels = torch.randint(1, 3, (counts,), generator=generator).numpy()
    objects = evaluate.Objects(names, truth_of.numpy(), boxes.numpy(), labels, difficult)
    which = torch.randint(0, counts, (6 * images,), generator=generator)
    near = boxes[which] + torch.randn(len(which), 4, generator=generator) * 12
    scores = (torch.randperm(len(which), generator=generator) / len(which)).double().numpy()
    ids = [f"{int(truth_of[i]):06d}" for i in which]
    results = evaluate.Results(ids, scores, near.numpy())
    curves = [evaluate.judge(results, objects, label) for label in (1, 2)]
    return [*curves, *(evaluate.average_precision(c.recall, c.precision) for c in curves)]


def _number(generator: torch.Generator) -> int:
    return int(torch.randint(0, 10_000, (), generator=generator))


def _one_by_one() -> Iterator[tuple[str, _Trial]]:
    grid, validated = _grid, 1 / MINI.steps  # what is called in the evaluation at the end alone
    yield (
        "box format",
        _Trial(
            lambda boxes: box_ops.to_xyxy(boxes),
            lambda g: (_boxes(g, int(torch.randint(0, 9, (), generator=g))),),
            lambda: (_boxes(_seed(), 300),),
        ),
    )
    yield (
        "IoU",
        _Trial(
            lambda first, second: [
                box_ops.iou(first[:, None], second),
                box_ops.iou(first[:, None], second, 1.0),
            ],
            _alike,
            lambda: (_boxes(_seed(), IMAGES * 3), grid()),
            per_step=0.5,  # the trial compares twice
        ),
    )
    yield "default boxes", _Trial(lambda: anchors.default_boxes(), lambda g: (), lambda: (), validated)
    yield "boxes of a crop", _Trial(lambda *a: augment._move(*a), _windows, lambda: _windows(_seed(), IMAGES))
    yield "matching", _Trial(_counts, lambda g: _objects(g), lambda: _full(_seed()))
    yield (
        "encoding",
        _Trial(
            lambda boxes, near: coding.encode(boxes, near),
            lambda g: (_boxes(g, 7), _boxes(g, 7)),
            lambda: (_boxes(_seed(), 250), _boxes(_seed(), 250)),
        ),
    )
    yield (
        "head outputs",
        _Trial(
            lambda x: model._per_anchor(x, 21),
            lambda g: (
                torch.randn(2, 84, int(torch.randint(1, 6, (), generator=g)), 5, generator=g)[..., :1].expand(
                    -1, -1, -1, 3
                ),
            ),
            lambda: (torch.randn(IMAGES, 84, 38, 38),),
            per_step=4,  # twelve heads, of which the first two are as large as all others
        ),
    )
    yield (
        "L2Norm",
        _Trial(
            _l2,
            lambda g: (
                torch.randn(2, 16, 3, 3, generator=g) * 10 * (torch.rand(2, 1, 3, 3, generator=g) > 0.2),
            ),
            lambda: (torch.randn(IMAGES, 64, 38, 38),),
        ),
    )
    yield "hard negatives", _Trial(_mined, _answers, lambda: _answers(_seed(), IMAGES, 8732))
    yield "loss", _Trial(_loss_with_gradient, _for_loss, lambda: _for_loss(_seed(), IMAGES, 8732))
    yield (
        "learning rate",
        _Trial(_rates, lambda g: ([_number(g) % 2500, 0, 199, 200, 1949, 1950, 2299, 2300],), lambda: ([7],)),
    )
    yield "update step", _Trial(_updates, lambda g: (_number(g), 3), lambda: (1, 1), count=3)
    yield (
        "decoding",
        _Trial(
            lambda offsets, near: coding.decode(offsets, near),
            lambda g: (torch.randn(2, 9, 4, generator=g), _boxes(g, 9)),
            lambda: (torch.randn(IMAGES, 8732, 4), grid()),
            TEST_SCENES / IMAGES * validated,
        ),
    )
    yield (
        "candidates",
        _Trial(_sums, _scores, lambda: (*_scores(_seed(), 8732), 400), TEST_SCENES * validated),
    )
    yield "suppression", _Trial(lambda *a: detect.nms(*a), _crowd, _many, TEST_SCENES * validated)
    yield (
        "average precision",
        _Trial(_judged, lambda g: (_number(g), 5), lambda: (1, TEST_SCENES), 10 * validated),
    )


_TRIALS = dict(_one_by_one())
assert set(_TRIALS) == {block.name for block in BLOCKS}
