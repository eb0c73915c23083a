"""Batches for a GPU, made by threads of the host while the GPU computes.

They are those of `BatchMaker`, made with fewer operations of the host. Some threads draw and match, each for several
steps at once. Another packs the photographs of one step, copies them, and starts the resampling in a CUDA stream of
its own. In the stream of the training the resampling would wait for the step before it, and the next step for the
batch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from ssdlib.data import augment, packed
from ssdlib.data.batches import BatchMaker, padded
from ssdlib.data.store import BadPhotograph
from ssdlib.matching import make_targets
from ssdlib.records import Batch, Targets

PLANNERS = 3  # 256 images take one core 0.2 s, in which a large GPU trains on 400
TOGETHER = 256  # images that are drawn at once, which takes as many operations as 32


@dataclass(frozen=True)
class Plan:
    """All of a batch but its pixels, on the host."""

    shown: Sequence[int]  # which photographs
    drawn: augment.Draw
    amounts: Tensor  # (B, 5) of `augment.colours`
    read: packed.Reading
    targets: Targets


def ahead(maker: BatchMaker, first: int, last: int) -> Iterator[Batch]:
    """Batches of steps first ... last - 1 with their targets, each made in a thread while those before are used.
    R is that of the fullest image of some steps."""
    render = (
        _beside(maker) if torch.device(maker.device).type == "cuda" else lambda plan: rendered(maker, plan)
    )
    together = max(1, TOGETHER // (maker.batch_size // maker.share[1]))  # steps
    starts = range(first, last, together)
    with ThreadPoolExecutor(max_workers=PLANNERS) as planners, ThreadPoolExecutor(max_workers=1) as renderer:
        plans = _some_ahead(
            planners, lambda start: planned(maker, start, min(start + together, last)), starts, PLANNERS
        )
        yield from _some_ahead(renderer, render, (plan for block in plans for plan in block), 2)


def planned(maker: BatchMaker, first: int, last: int) -> list[Plan]:
    """What the steps first ... last - 1 show, drawn and matched together."""
    chosen = [maker.chosen(step) for step in range(first, last)]
    examples = [maker.examples[i] for shown, _ in chosen for i in shown]
    sizes = torch.tensor([e.size for e in examples])
    random_numbers = torch.cat([numbers for _, numbers in chosen])
    drawn = augment.draw(sizes, *padded(examples), random_numbers, maker.steps, maker.rule)
    read = packed.reading(sizes, augment.places(sizes, drawn))
    everything = drawn, augment.colours(drawn), read, make_targets(drawn.boxes, drawn.labels, maker.anchors)
    size = maker.batch_size // maker.share[1]
    steps = [slice(start, start + size) for start in range(0, len(examples), size)]
    return [
        Plan(shown, *(_rows(one, step) for one in everything))
        for (shown, _), step in zip(chosen, steps, strict=True)
    ]


def rendered(maker: BatchMaker, plan: Plan) -> Batch:
    """The batch of a plan on the maker's device, copied at once."""
    pixels, first = packed.pack([_photograph(maker, i) for i in plan.shown])
    known = [
        plan.drawn.boxes,
        plan.drawn.labels,
        first,
        plan.amounts,
        *_values(plan.read),
        *_values(plan.targets),
    ]
    (boxes, labels, first, amounts, *rest), pixels = packed.send(known, maker.device, pixels)
    read, goal = packed.Reading(*rest[:4]), Targets(*rest[4:])
    return Batch(augment.warp_packed(pixels, first, read, amounts, plan.drawn.rule), boxes, labels, goal)


def _photograph(maker: BatchMaker, i: int) -> Tensor:
    """The photograph, refused if its size isn't the one that its example states, since that says where in memory its
    rows begin."""
    photograph, example = maker.photographs[i], maker.examples[i]
    height, width, _ = photograph.shape
    if (width, height) != tuple(example.size):
        stated = "x".join(map(str, example.size))
        raise BadPhotograph(f"{example.path}: {width}x{height} px; its annotation says {stated}")
    return photograph


def _beside(maker: BatchMaker) -> Callable[[Plan], Batch]:
    """`rendered` in a CUDA stream of its own. It has not run on a GPU yet."""
    using = torch.cuda.current_stream(maker.device)
    making = torch.cuda.Stream(maker.device, priority=-1)  # before the training's: it has little to do

    def render(plan: Plan) -> Batch:
        with torch.cuda.stream(making):
            batch = rendered(maker, plan)
        making.synchronize()  # this thread may wait
        for tensor in (batch.images, batch.boxes, batch.labels, *_values(batch.targets)):
            tensor.record_stream(using)  # its memory isn't reused before the step is done
        return batch

    return render


def _some_ahead(pool: ThreadPoolExecutor, make: Callable, of: Iterable, count: int) -> Iterator:
    """`map(make, of)`, where the pool makes the next `count` items while one is used."""
    futures: deque[Future] = deque()
    for one in of:
        futures.append(pool.submit(make, one))
        if len(futures) > count:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def _values(record: object) -> list[Tensor]:
    return [getattr(record, field.name) for field in fields(record)]


def _rows(record: object, which: slice) -> object:
    """Some rows of a tensor, or of a record of tensors."""
    if isinstance(record, Tensor):
        return record[which]
    some = {field.name: getattr(record, field.name) for field in fields(record)}
    return replace(record, **{name: x[which] for name, x in some.items() if isinstance(x, Tensor)})
