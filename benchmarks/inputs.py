"""Inputs to measure on: networks with the same weights, batches on which both matchings agree, random detections.

Everything is drawn from random seeds. Where the two sides follow different rules, the inputs avoid the difference, so
that the results can be compared to the last digits; each function says what it avoids.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection._utils import SSDMatcher
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

from ssdlib import coding, matching
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.evaluate import Results
from ssdlib.interop import weights
from ssdlib.model import MEAN, SSD300
from ssdlib.records import CLASSES, Batch, Example, Predictions

BACKGROUND = (
    7.0  # a bias for the background's logit: a new network finds everything everywhere, a trained one doesn't
)


def networks(seed: int = 0) -> tuple[SSD300, SSD]:
    """Ours and torchvision's SSD300 for 21 classes with the same weights.

    torchvision's is as it ships, except for its anchors, which are COCO's, clipped, and are replaced by ours. It is
    built without pretrained weights, so all its layers are trained, as ours are.
    """
    torch.manual_seed(seed)
    peer = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=21)
    peer.anchor_generator = generator()
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name.startswith("backbone.features.0.") and parameter.ndim == 4:
                parameter /= 64  # pixels reach from -123 to 151, see `model.init_weights`
        for head, boxes in zip(
            peer.head.classification_head.module_list, SSD300_ANCHORS.boxes_per_cell, strict=True
        ):
            head.bias.view(boxes, 21)[:, 0] = BACKGROUND
    ours = SSD300()
    ours.load_state_dict(weights.from_state(peer.state_dict())[0])
    return ours.to(memory_format=torch.channels_last), peer


def generator() -> DefaultBoxGenerator:
    """Our anchors, computed by torchvision; they differ from ours in the last digits."""
    return DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[percent / 100 for percent in SSD300_ANCHORS.percents],
        steps=list(SSD300_ANCHORS.strides),
        clip=False,
    )


def training_batch(size: int, seed: int = 0, most: int = 6) -> Batch:
    """Noise with 1 to `most` objects an image, on which the two matchings agree.

    They differ where two objects have the same best anchor, because torchvision assigns it to the later one and none
    to the other, whereas ours assigns the other its next best; and where rounding decides. Such images are drawn
    again.
    """
    chance = torch.Generator().manual_seed(seed)
    anchors = default_boxes()
    canvas = ImageList(
        torch.zeros(1, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas),
        [(SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas)],
    )
    [their_anchors] = generator()(
        canvas, [torch.zeros(1, 1, side, side) for side in SSD300_ANCHORS.feature_maps]
    )
    boxes, labels = torch.zeros(size, most, 4), torch.zeros(size, most, dtype=torch.int64)
    for image in range(size):
        while True:
            count = 1 + int(torch.randint(most, (), generator=chance))
            drawn = boxes_inside(count, chance)
            ours = matching.match(drawn[None], torch.ones(1, count, dtype=torch.int64), anchors)[0]
            theirs = [SSDMatcher(0.5)(box_iou(drawn, a)).clamp(min=-1) for a in (anchors, their_anchors)]
            if all(torch.equal(ours, matched) for matched in theirs):
                break
        boxes[image, :count] = drawn
        labels[image, :count] = torch.randint(1, 21, (count,), generator=chance)
    pixels = 255 * torch.rand(size, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas, generator=chance)
    return Batch(pixels - torch.tensor(MEAN)[:, None, None], boxes, labels)


def as_torchvision(batch: Batch) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """The same batch as torchvision's detectors want it: pixels in 0..1, a dictionary an image, no empty slots."""
    images = list((batch.images + torch.tensor(MEAN, device=batch.images.device)[:, None, None]) / 255)
    there = [labels > 0 for labels in batch.labels]
    return images, [
        {"boxes": boxes[t], "labels": labels[t]}
        for boxes, labels, t in zip(batch.boxes, batch.labels, there, strict=True)
    ]


def predictions(size: int, candidates: int = 23_000, seed: int = 0) -> Predictions:
    """Predictions with about `candidates` scores over 0.01 an image, all boxes inside the input, because torchvision
    clips boxes before it suppresses, ours (and Caffe) after."""
    chance = torch.Generator().manual_seed(seed)
    anchors = default_boxes()
    inside = torch.stack([boxes_inside(len(anchors), chance) for _ in range(size)])
    near = anchors.clamp(
        0, SSD300_ANCHORS.canvas
    )  # half of them near their anchor, as a trained network's are
    inside[:, ::2] = 0.8 * near[::2] + 0.2 * inside[:, ::2]
    logits = 2 * torch.randn(size, len(anchors), 21, generator=chance)
    low, high = -5.0, 15.0
    for _ in range(40):  # search for the background logit that leaves so many
        lead = (low + high) / 2
        shifted = logits.clone()
        shifted[..., 0] += lead
        above = int((shifted.softmax(dim=-1)[..., 1:] > 0.01).sum()) / size
        low, high = (lead, high) if above > candidates else (low, lead)
    return Predictions(coding.encode(inside, anchors), shifted)


def boxes_inside(count: int, chance: torch.Generator) -> Tensor:
    """(count, 4) boxes inside the input, sides 15 to 285 px."""
    side = 15 * (285 / 15) ** torch.rand(count, 2, generator=chance)
    corner = torch.rand(count, 2, generator=chance) * (SSD300_ANCHORS.canvas - side)
    return torch.cat([corner, corner + side], dim=1)


def detections(total: int, images: int = 4952, seed: int = 0) -> tuple[dict[str, Results], list[Example]]:
    """A test set of about VOC2007's size with `total` detections of it, objects and detections drawn at random.

    Three objects an image on average, one in five difficult; half of the detections lie around an object, the
    others anywhere. Scores have so few digits that some are equal, as in files.
    """
    chance = np.random.default_rng(seed)
    count = chance.poisson(2, images) + 1
    image = np.repeat(np.arange(images), count)
    boxes = _corners(chance, len(image))
    labels = chance.integers(1, 21, len(image))
    truth = [
        Example(
            f"{i:06d}",
            Path(),
            (500, 375),
            torch.from_numpy(b).float(),
            torch.from_numpy(n),
            torch.from_numpy(d),
        )
        for i, (b, n, d) in enumerate(
            zip(
                *(
                    np.split(x, np.cumsum(count)[:-1])
                    for x in (boxes, labels, chance.random(len(image)) < 0.2)
                ),
                strict=True,
            )
        )
    ]
    target = chance.integers(len(image), size=total)
    near = np.round(boxes[target] + chance.normal(0, 12, (total, 4)), 6)
    anywhere = chance.random(total) < 0.5
    place = np.where(anywhere[:, None], _corners(chance, total), near)
    place = np.concatenate([np.minimum(place[:, :2], place[:, 2:] - 2), place[:, 2:]], axis=1)
    where = np.where(anywhere, chance.integers(images, size=total), image[target])
    label = np.where(chance.random(total) < 0.8, labels[target], chance.integers(1, 21, total))
    score = np.round(chance.random(total) ** 3, 6)
    ids = np.array([example.image_id for example in truth], dtype=object)[where]
    results = {
        name: Results(ids[label == i].tolist(), score[label == i], place[label == i])
        for i, name in enumerate(CLASSES[1:], 1)
    }
    return results, truth


def _corners(chance: np.random.Generator, count: int) -> np.ndarray:
    """(count, 4) corners of boxes in a photograph of 500 x 375, px counted from 1."""
    side = 10 + chance.random((count, 2)) ** 2 * [450, 330]
    corner = 1 + chance.random((count, 2)) * ([498, 373] - side)
    return np.round(np.concatenate([corner, corner + side], axis=1), 2)


def painted(devkit: Path, names: Sequence[str] = ("2007-trainval",), most: int = 64) -> list[Example]:
    """The first examples of a devkit's sets that have objects."""
    from ssdlib.data import voc

    return [e for e in voc.read_sets(devkit, names) if len(e.labels)][:most]
