"""The whole network beside torchvision's ssd300_vgg16: a training step, detections in photographs, memory.

    python benchmarks/network.py

Both have the same weights and see the same batch. Ours runs as `train` would run it here: bfloat16 if the device has
units for it, float32 otherwise, in the layout that `layout_on` chooses. torchvision's runs as it ships, in float32;
where ours is in bfloat16, two more rows show where the difference comes from: ours in float32, and the peer with what
needs no change of its code, autocast and channels last.
"""

import json
import os
import subprocess
import sys
from dataclasses import replace

import inputs
import timing
import torch
from torch import Tensor

from ssdlib.anchors import default_boxes
from ssdlib.detect import detect
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import SSD300
from ssdlib.records import Batch
from ssdlib.training import engine, memory
from ssdlib.training.inference import autocast, layout_on, precision_on
from ssdlib.training.runs import RunConfig

CPU = torch.device("cpu")
RATE = 1e-6  # so small that a hundred steps change nothing relevant


def our_step(model: SSD300, batch: Batch, precision: str):
    config = replace(RunConfig(), precision=precision)
    model.to(memory_format=layout_on(CPU, config))
    optimizer = torch.optim.SGD(
        [{"params": list(model.parameters()), "rate_factor": 1.0}], lr=RATE, momentum=0.9, weight_decay=5e-4
    )
    anchors = default_boxes()
    return lambda: engine.update(model, optimizer, batch, anchors, RATE, config)


def their_step(peer: torch.nn.Module, batch: Batch, precision: str = "float32"):
    optimizer = torch.optim.SGD(peer.parameters(), lr=RATE, momentum=0.9, weight_decay=5e-4)
    images, targets = inputs.as_torchvision(batch)
    if precision == "bfloat16":
        peer = peer.to(memory_format=torch.channels_last)

    def step() -> dict[str, Tensor]:
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            losses = peer(images, targets)
        sum(losses.values()).backward()
        optimizer.step()
        return losses

    return step


def losses_agree(model: SSD300, peer: torch.nn.Module, batch: Batch) -> str:
    """In float32, before anything is trained."""
    anchors = default_boxes()
    with torch.no_grad():
        theirs = peer.train()(*inputs.as_torchvision(batch))
        targets = make_targets(batch.boxes, batch.labels, anchors)
        images = batch.images.contiguous(memory_format=torch.channels_last)
        ours = multibox_loss(model(images), targets)
        with torch.autocast("cpu", torch.bfloat16):
            low = multibox_loss(model(images), targets)
    pairs = [(ours.localisation, theirs["bbox_regression"]), (ours.confidence, theirs["classification"])]
    difference = max(float((a - b).abs() / b) for a, b in pairs)
    noise = float((low.multibox - ours.multibox).abs() / ours.multibox)
    return (
        timing.agree("both parts of the loss in float32, relative", difference, 1e-4)
        + f" In bfloat16 our loss is {noise:.1e} of itself away from that."
    )


def our_detections(model: SSD300, batch: Batch, precision: str):
    model, anchors, sizes = model.eval(), default_boxes(), [(300, 300)] * len(batch.images)

    def look():
        with torch.inference_mode(), autocast(CPU, precision):
            said = model(batch.images.contiguous(memory_format=torch.channels_last))
        return detect(said, anchors, sizes)

    return look


def their_detections(peer: torch.nn.Module, batch: Batch):
    peer, images = peer.eval(), inputs.as_torchvision(batch)[0]

    def look():
        with torch.inference_mode():
            return peer(images)

    return look


def peak(side: str, size: int, precision: str, threads: int) -> float:
    """GiB that one training step needs at most beyond network and batch, measured in a process of its own."""
    words = [sys.executable, __file__, "--peak", side, "--batch", str(size), "--precision", precision]
    # an allocator that keeps freed blocks would hide what a step needs
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    plain[timing.SAID] = "1"
    done = subprocess.run([*words, "--threads", str(threads)], capture_output=True, text=True, env=plain)
    if done.returncode:
        raise SystemExit(f"the process that measures memory stopped:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_peak(side: str, size: int, precision: str) -> float:
    from ssdlib.training.estimate import _most, _start_counting

    model, peer = inputs.networks()
    batch = inputs.training_batch(size)
    step = our_step(model, batch, precision) if side == "ours" else their_step(peer, batch)
    del model, peer
    memory.free()
    before = _start_counting(CPU)
    step()
    most = _most(CPU, before)
    if most is None:
        raise SystemExit("this system doesn't tell a process's highest memory; wanted Linux")
    return most / 2**30


def main() -> None:
    given = timing.arguments(
        __doc__,
        3,
        batch=dict(type=int, default=4),
        precision=dict(default="auto", choices=("auto", "float32", "bfloat16"), help="of ours"),
        peak=dict(choices=("ours", "peer"), help="only measure memory of this side"),
        memory=dict(type=int, default=16, help="images in the step whose memory is measured; 0 = don't"),
    )
    if given.peak:
        print(json.dumps(measure_peak(given.peak, given.batch, given.precision)))
        return
    size, rounds = (1 if given.quick else given.batch), given.rounds
    precision = precision_on(CPU, given.precision)
    model, peer = inputs.networks()
    batch = inputs.training_batch(size)
    timing.say(losses_agree(model, peer, batch))
    rows = []

    look = our_detections(model, batch, precision), their_detections(peer, batch)
    times = timing.in_turn(*look, rounds, per=size)
    rows.append(timing.Row(f"detections, batch {size}, per image", *times, "at least 2.4x"))
    model.train(), peer.train()
    times = timing.in_turn(our_step(model, batch, precision), their_step(peer, batch), rounds, per=size)
    rows.append(timing.Row(f"training step, batch {size}, per image", *times, "at least 2.3x"))
    # in float32 these two would repeat the rows above, or show a precision that isn't used here
    if precision == "bfloat16":
        few = max(1, rounds // 2)
        times = timing.in_turn(our_step(model, batch, "float32"), their_step(peer, batch), few, per=size)
        rows.append(timing.Row("the same, ours in float32", *times))
        times = timing.in_turn(
            our_step(model, batch, precision), their_step(peer, batch, "bfloat16"), few, per=size
        )
        rows.append(timing.Row("the same, peer in bfloat16, channels last", *times))
    images = 1 if given.quick else given.memory
    if images:
        most = [[peak(side, images, precision, given.threads)] for side in ("ours", "peer")]
        rows.append(
            timing.Row(f"memory of a step, batch {images}", *most, "at most 0.8x", "GiB", inverse=True)
        )
    timing.say(
        timing.table(f"The network, full width, {timing.threads(given.threads)}; ours in {precision}", rows)
    )


if __name__ == "__main__":
    main()
