"""The network in use: validation loss, detections in photographs, AP on a dataset; and its precision."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ssdlib import evaluate
from ssdlib.anchors import default_boxes
from ssdlib.data import augment
from ssdlib.data.batches import in_order, without_difficult
from ssdlib.data.results import result_name, write_results
from ssdlib.data.store import Jpegs, Store
from ssdlib.detect import detect
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import SSD300
from ssdlib.records import Batch, Detections, Example, Predictions
from ssdlib.training import distributed, memory, threads
from ssdlib.training.runlog import loss_row
from ssdlib.training.runs import RunConfig

VALIDATION_BATCH = 16

Data = tuple[Sequence[Example], Store | Jpegs]


def autocast(device: torch.device, precision: str = "auto") -> torch.autocast:
    """The context in which the network computes. "auto": bfloat16 where the device has units for it."""
    chosen = precision_on(device, precision)
    low = torch.float16 if chosen == "float16" else torch.bfloat16
    return torch.autocast(device.type, low, enabled=chosen != "float32")


def precision_on(device: torch.device, precision: str = "auto") -> str:
    """What a setting of `precision` means on a device: "float32", "bfloat16" or "float16".

    "auto" is bfloat16 on a device with units for it and float32 elsewhere, never float16. A CPU with AMX or
    AVX512-BF16 or a GPU of capability 8 has units for bfloat16; elsewhere it is emulated, slower.
    """
    if precision != "auto":
        return precision
    return "bfloat16" if _has_bfloat16_units(device) else "float32"


def _has_bfloat16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in known)


def has_float16_units(device: torch.device) -> bool:
    """Whether a device multiplies float16 faster than float32: a GPU of capability 7 or more, such as a T4."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)


def layout_on(device: torch.device, config: RunConfig) -> torch.memory_format:
    """The memory format of a network in training: channels last, which is faster nearly everywhere.

    In float32 on a CPU with AVX2 but without AVX-512 the gradients of wide layers take twice as long in that format.
    """
    old = device.type == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
    slow = old and config.width > 0.5 and precision_on(device, config.precision) == "float32"
    return torch.contiguous_format if slow else torch.channels_last


def validation_loss(model: SSD300, data: Data, anchors: Tensor, config: RunConfig) -> dict[str, float]:
    """Mean over batches of the loss without augmentation and, like ssd_keras's, without difficult objects.

    `data` is N examples with their photographs, `anchors` (K, 4) px. -> the figures of `runlog.loss_row`, floats.
    """
    rows = []
    for batch, predictions in _predict(model, data, anchors, config):
        targets = make_targets(batch.boxes, batch.labels, anchors)
        losses = multibox_loss(predictions, targets, config.mining)
        rows.append([float(losses.localisation), float(losses.confidence)])
    rows = [row for share in distributed.gather(rows) for row in share]
    localisation, confidence = (math.fsum(column) / len(rows) for column in zip(*rows, strict=True))
    return loss_row(localisation, confidence, model)


def evaluate_on(
    model: SSD300,
    data: Data,
    anchors: Tensor,
    config: RunConfig,
    files: Path,
    sets: Sequence[str] | None = None,
    metric: str = "11point",
) -> evaluate.Table:
    """Detect in every photograph of the data, write the devkit's files for `sets` (else the run's test sets) into
    the folder `files`, and judge."""
    found = detect_all(model, data, anchors, config)
    results = evaluate.collect([e.image_id for e in data[0]], found, config.classes)
    if distributed.is_first():
        write_results(files, result_name(sets or config.test_sets), results)
    return evaluate.evaluate(results, data[0], metric, config.classes)


@memory.keeping()
@threads.restored()
def detect_all(model: SSD300, data: Data, anchors: Tensor, config: RunConfig) -> list[Detections]:
    """Detections in every example, in their order: N examples and (K, 4) anchors -> N `Detections`, boxes in px of
    the photographs. Each process detects in its share, and all get the whole list."""
    mine, chooser = _share(len(data[0])), threads.Chooser(anchors.device)
    sizes, found = iter([data[0][i].size for i in mine]), []
    for batch, predictions in _predict(model, data, anchors, config, chooser):
        found += detect(predictions, anchors, [next(sizes) for _ in batch.labels])
    by_example = {
        i: one for share in distributed.gather(list(zip(mine, found, strict=True))) for i, one in share
    }
    return [by_example[i] for i in range(len(data[0]))]


def detect_in(
    model: SSD300, photographs: Sequence[Tensor], config: RunConfig, **limits: float
) -> list[Detections]:
    """Detections in photographs (H, W, 3) uint8 of any size; `limits` are those of `detect.detect`."""
    device = next(model.parameters()).device
    sizes = [(photograph.shape[1], photograph.shape[0]) for photograph in photographs]
    drawn = augment.draw(
        torch.tensor(sizes), torch.zeros(len(sizes), 0, 4), torch.zeros(len(sizes), 0).long(), steps=()
    )
    images = augment.warp(photographs, drawn, device).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), autocast(device, config.precision):
        predictions = model(images)
    return detect(predictions, default_boxes().to(device), sizes, **limits)


def _predict(
    model: SSD300, data: Data, anchors: Tensor, config: RunConfig, chooser: threads.Chooser | None = None
) -> Iterator[tuple[Batch, Predictions]]:
    """Batches of this process's share of the data, and what the network in eval mode says about them."""
    examples, photographs = data
    mine = _share(len(examples))
    was_training = model.training
    model.eval()
    try:
        for batch in in_order(
            [without_difficult(e) for e in examples], photographs, VALIDATION_BATCH, anchors.device, mine
        ):
            measured = chooser.step() if chooser else contextlib.nullcontext()
            with measured, torch.inference_mode(), autocast(anchors.device, config.precision):
                predictions = model(batch.images.contiguous(memory_format=torch.channels_last))
            yield batch, predictions  # outside, because these modes aren't for what the caller computes
    finally:
        model.train(was_training)


def _share(count: int) -> list[int]:
    """The examples of this process's share: whole batches, so that a mean over batches is the same however many
    processes there are."""
    starts = range(0, count, VALIDATION_BATCH)[distributed.rank() :: distributed.processes()]
    return [i for start in starts for i in range(start, min(start + VALIDATION_BATCH, count))]
