"""The parts of a training step, and how far each is from the limits of the machine.

    python benchmarks/roofline.py

The roof is measured first: operations a second of a large matrix product or convolution, bytes a second of a large
copy. For each part of a step, the operations are counted (two for a multiplication with its addition) and the bytes
that have to move at least, which means reading and writing everything once. `least` is the larger of operations /
roof and bytes / roof; `of the roof` is its share of the time taken.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import inputs
import timing
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.data import augment
from ssdlib.data.batches import padded
from ssdlib.data.store import Jpegs
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.records import Example, Predictions, Targets
from ssdlib.training.inference import autocast, layout_on, precision_on
from ssdlib.training.runs import RunConfig, network_of


@dataclass(frozen=True)
class Part:
    """One part of a step: seconds taken, operations counted, bytes that have to move."""

    name: str
    seconds: float
    operations: float
    moved: float
    low: bool = False  # computed in the low precision


def roofs(device: torch.device, low: torch.dtype, size: int, rounds: int = 5) -> tuple[float, float, float]:
    """Operations a second in float32 and in `low`, of the fastest of a matrix product and a convolution like conv4_2
    in two layouts, and bytes a second of a copy: the best of several."""
    rates = []
    side, channels = size // 54, size // 4
    for kind in (torch.float32, low):
        a, b = (torch.rand(size, size, device=device).to(kind) for _ in range(2))
        tries = [(2 * size**3, lambda a=a, b=b: a @ b)]
        for layout in (torch.channels_last, torch.contiguous_format):
            shapes = (4, channels, side, side), (channels, channels, 3, 3)
            x, w = (torch.rand(s, device=device).to(kind, memory_format=layout) for s in shapes)
            product = 2 * 9 * 4 * channels**2 * side**2
            tries.append((product, lambda x=x, w=w: F.conv2d(x, w, padding=1)))
        rates.append(max(n / min(seconds(work, device) for _ in range(rounds)) for n, work in tries))
    line = torch.rand(size * size * 8, device=device)
    other = torch.empty_like(line)
    copied = min(seconds(lambda: other.copy_(line), device) for _ in range(rounds))
    return rates[0], rates[1], 2 * 4 * line.numel() / copied


def seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return timing.took(lambda: (work(), torch.cuda.synchronize() if device.type == "cuda" else None))


def counted(config: RunConfig, batch: int) -> dict[str, float]:
    """Operations and elements of a forward pass of a run's network, counted without computing anything."""
    with torch.device("meta"):
        model, images = (
            network_of(config),
            torch.empty(batch, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas),
        )
    elements = []

    def note(layer: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        elements.append(given[0].numel() + answer.numel() + layer.weight.numel())

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    with FlopCounterMode(display=False) as counter:
        model(images)
    weights = sum(parameter.numel() for parameter in model.parameters())
    return {"operations": counter.get_total_flops(), "elements": sum(elements), "weights": weights}


def step_parts(
    size: int,
    rounds: int,
    device: torch.device,
    config: RunConfig,
    examples: Sequence[Example],
    photographs: Sequence[Tensor],
) -> list[Part]:
    """Each part of a training step by itself, medians."""
    precision = precision_on(device, config.precision)
    examples, photographs = examples[:size], [photographs[i] for i in range(size)]
    anchors = default_boxes()
    layout = layout_on(device, config)
    model = network_of(config).to(device, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, weight_decay=5e-4)
    boxes, labels = padded(examples)
    sizes = torch.tensor([e.size for e in examples])
    chance = augment.uniforms(len(examples), torch.Generator().manual_seed(0))
    drawn = augment.draw(sizes, boxes, labels, chance)
    images = augment.warp(photographs, drawn, device)
    laid_out = images.contiguous(memory_format=layout)
    goal = drawn.boxes, drawn.labels
    targets = Targets(*(tensor.to(device) for tensor in vars(make_targets(*goal, anchors)).values()))
    said: list[Predictions] = []
    losses: list[Tensor] = []

    def forward() -> None:
        with autocast(device, precision):
            said[:] = [model(laid_out)]

    def loss() -> None:
        losses[:] = [multibox_loss(said[0], targets).multibox]

    def backward() -> None:
        optimizer.zero_grad(set_to_none=True)
        losses[0].backward()

    count = counted(config, len(examples))
    width = 2 if precision == "bfloat16" else 4
    pixels = sum(p.numel() for p in photographs)
    answer = len(examples) * len(anchors) * (21 + 4)
    table = int((drawn.labels > 0).sum()) * len(anchors)
    patches = len(examples) * len(augment.MIN_IOUS) * augment.TRIALS * max(1, boxes.shape[1])
    # name, work, operations, bytes; an IoU is about 15 operations, a bilinear pixel 21, its colours 60
    plan = [
        ("draw", lambda: augment.draw(sizes, boxes, labels, chance), 15 * patches, 4 * chance.numel()),
        (
            "warp",
            lambda: augment.warp(photographs, drawn, device),
            81 * images.numel() / 3,
            min(pixels, 4 * images.numel()) + 4 * images.numel(),
        ),
        (
            "matching",
            lambda: make_targets(*goal, anchors),
            15 * table,
            4 * table + 24 * targets.labels.numel(),
        ),
        ("forward", forward, count["operations"], width * count["elements"]),
        ("loss", loss, 4 * answer, 4 * answer),
        ("backward", backward, 2 * count["operations"], 2 * width * count["elements"]),
        ("update", optimizer.step, 5 * count["weights"], 4 * 5 * count["weights"]),
    ]
    taken = [[] for _ in plan]
    for round_ in range(rounds + 1):
        for times, (_, work, _, _) in zip(taken, plan, strict=True):
            time = seconds(work, device)
            if round_:
                times.append(time)
    low = ("forward", "backward")
    return [
        Part(name, statistics.median(times), operations, moved, precision == "bfloat16" and name in low)
        for (name, _, operations, moved), times in zip(plan, taken, strict=True)
    ]


def report(parts: list[Part], images: int, roof: tuple[float, float, float], precision: str) -> str:
    float32, low, memory = roof
    total = sum(part.seconds for part in parts)
    cells, least_of_all = [], 0.0
    for part in parts:
        peak = low if part.low else float32
        by_operations, by_bytes = part.operations / peak, part.moved / memory
        least = max(by_operations, by_bytes)
        least_of_all += least
        cells.append(
            [
                part.name,
                f"{timing.three(part.operations / images / 1e9)}",
                f"{timing.three(part.moved / images / 1e6)}",
                f"{timing.three(1000 * least / images)}",
                "operations" if by_operations > by_bytes else "bytes",
                f"{timing.three(1000 * part.seconds / images)}",
                f"{part.seconds / total:.1%}",
                f"{least / part.seconds:.0%}",
            ]
        )
    cells.append(
        ["all", "", "", timing.three(1000 * least_of_all / images), "", timing.three(1000 * total / images)]
        + ["100%", f"{least_of_all / total:.0%}"]
    )
    names = ["part", "GFLOP", "MB", "least, ms", "bound by", "taken, ms", "share", "of the roof"]
    roofs_ = f"{float32 / 1e9:,.0f} GFLOP/s in float32, {low / 1e9:,.0f} in bfloat16, {memory / 1e9:.0f} GB/s"
    return timing.grid(f"A training step in {precision}, per image. Roofs: {roofs_}", names, cells)


def main() -> None:
    given = timing.arguments(__doc__, 3, threads=1, batch=dict(type=int, default=4))
    device = torch.device("cpu")
    precision = precision_on(device)
    size = 1 if given.quick else given.batch
    examples = inputs.painted(timing.MINI, most=size)
    roof = roofs(device, torch.bfloat16, 256 if given.quick else 2048)
    parts = step_parts(size, given.rounds, device, RunConfig(), examples, Jpegs(examples))
    timing.say(report(parts, size, roof, f"{precision}, {timing.threads(given.threads)}, batch {size}"))


if __name__ == "__main__":
    main()
