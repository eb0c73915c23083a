"""What comes after the network, beside torchvision's ssd300_vgg16: matching and loss, decoding and suppression.

    python benchmarks/heads.py

Both get the same outputs of the network, and measuring begins there. Backward means back to these outputs.
"""

import inputs
import timing
import torch
from torch import Tensor
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from ssdlib.anchors import default_boxes
from ssdlib.detect import detect
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.records import Batch, Detections, Predictions


def our_loss(batch: Batch, said: Predictions):
    anchors = default_boxes()

    def work() -> tuple[Tensor, Tensor]:
        offsets, logits = (x.detach().requires_grad_() for x in (said.offsets, said.logits))
        losses = multibox_loss(Predictions(offsets, logits), make_targets(batch.boxes, batch.labels, anchors))
        losses.multibox.backward()
        return losses.multibox.detach(), logits.grad

    return work


def their_loss(peer: SSD, batch: Batch, said: Predictions):
    anchors = default_boxes()
    targets = inputs.as_torchvision(batch)[1]

    def work() -> tuple[Tensor, Tensor]:
        offsets, logits = (x.detach().requires_grad_() for x in (said.offsets, said.logits))
        matched = [peer.proposal_matcher(box_iou(target["boxes"], anchors)) for target in targets]
        heads = {"bbox_regression": offsets, "cls_logits": logits}
        losses = peer.compute_loss(targets, heads, [anchors] * len(targets), matched)
        loss = sum(losses.values())
        loss.backward()
        return loss.detach(), logits.grad

    return work


def our_boxes(said: Predictions):
    anchors, sizes = default_boxes(), [(300, 300)] * len(said.logits)
    return lambda: detect(said, anchors, sizes)


def their_boxes(peer: SSD, said: Predictions):
    anchors = [default_boxes()] * len(said.logits)
    heads = {"bbox_regression": said.offsets, "cls_logits": said.logits}

    def work() -> list[dict[str, Tensor]]:
        with torch.no_grad():
            return peer.postprocess_detections(heads, anchors, [(300, 300)] * len(anchors))

    return work


def same_detections(ours: list[Detections], theirs: list[dict[str, Tensor]]) -> float:
    """The largest difference of boxes (px) or scores; infinite if the labels or their number differ."""
    most = 0.0
    for one, other in zip(ours, theirs, strict=True):
        if not torch.equal(one.labels, other["labels"]):
            return float("inf")
        most = max(most, float((one.boxes - other["boxes"]).abs().max()))
        most = max(most, float((one.scores - other["scores"]).abs().max()))
    return most


def main() -> None:
    given = timing.arguments(
        __doc__,
        9,
        threads=1,
        batch=dict(type=int, default=32, help="images whose loss is computed"),
        images=dict(type=int, default=8, help="images detected in"),
        candidates=dict(type=int, default=23_000, help="scores over 0.01 in each of them"),
    )
    size, images = (2, 1) if given.quick else (given.batch, given.images)
    candidates = 2_000 if given.quick else given.candidates
    peer = inputs.networks()[1]
    rows = []

    batch, said = inputs.training_batch(size), inputs.predictions(size)
    ours, theirs = our_loss(batch, said), their_loss(peer, batch, said)
    (a, grad), (b, their_grad) = ours(), theirs()
    timing.say(timing.agree("loss, relative", float((a - b).abs() / b), 1e-5))
    scale = float(their_grad.abs().max())
    timing.say(
        timing.agree("gradient of the logits, relative", float((grad - their_grad).abs().max()) / scale, 1e-5)
    )
    times = timing.in_turn(ours, theirs, given.rounds)
    rows.append(
        timing.Row(f"matching, loss and backward to the heads, batch {size}", *times, "at least 2.5x")
    )

    for count in dict.fromkeys((candidates, candidates // 10)):
        said = inputs.predictions(images, count)
        ours, theirs = our_boxes(said), their_boxes(peer, said)
        timing.say(
            timing.agree(f"detections of {count} candidates, px", same_detections(ours(), theirs()), 1e-3)
        )
        times = timing.in_turn(ours, theirs, given.rounds)
        goal = "at least 2.5x" if count == candidates else ""
        what = f"decoding and suppression, batch {images}, {count:,} candidates an image"
        rows.append(timing.Row(what, *times, goal))
    timing.say(
        "They would differ where two objects have the same best anchor, and where a box crosses the border.\n"
    )
    timing.say(timing.table(f"After the network, {timing.threads(given.threads)}", rows))


if __name__ == "__main__":
    main()
