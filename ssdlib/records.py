"""The small immutable records that modules pass to each other.

Every docstring of the library uses the same letters:

    B  images in a batch            K  anchors (8,732 for SSD300, always computed)
    R  objects in an image, may be 0; in a batch, the slots every image is padded to
    C  classes with background, 21  D  detections kept in an image
    S  side of the network's square input, 300 px

Boxes are float32 corners (xmin, ymin, xmax, ymax) in pixels of the image they travel with: of the
photograph in `Example` and `Detections`, of the 300 x 300 input in `Batch` and `Predictions`. A box that covers
a whole W x H image is (0, 0, W, H). Labels are 0..20; 0 is background, so it marks an empty slot too.
"""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

# Pascal VOC's, in the order of its labels
CLASSES = (
    "background",
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
LABELS = {name: label for label, name in enumerate(CLASSES)}


@dataclass(frozen=True)
class Example:
    """One photograph of a dataset with what is known about it. The pixels stay on disk or in a store."""

    image_id: str  # as in the image lists: "000005", "2008_000003"
    path: Path  # of the JPEG
    size: tuple[int, int]  # width, height in px, as the annotation states it
    boxes: Tensor  # (R, 4) float32, px of the photograph
    labels: Tensor  # (R,) int64, 1..20
    difficult: Tensor  # (R,) bool: trained on but not judged, see `evaluate`
    upright: bool = False  # turn the pixels as the camera noted (EXIF); VOC counts them as stored


@dataclass(frozen=True)
class Batch:
    """What the network and the loss see of B photographs."""

    images: Tensor  # (B, 3, S, S) float32, RGB minus the mean of the training data
    boxes: Tensor  # (B, R, 4) float32, px of the input; zeros in empty slots
    labels: Tensor  # (B, R) int64; 0 marks an empty slot
    targets: "Targets | None" = None  # where they were made together with the batch


@dataclass(frozen=True)
class Predictions:
    """The outputs of the network for every anchor, before any decision."""

    offsets: Tensor  # (B, K, 4): how the anchor has to move and grow, see `coding`
    logits: Tensor  # (B, K, C): class scores before the softmax


@dataclass(frozen=True)
class Targets:
    """What the network should output for every anchor."""

    offsets: Tensor  # (B, K, 4) float32; meaningful where labels > 0
    labels: Tensor  # (B, K) int64; 0 = background
    matched: Tensor  # (B, K) int64: slot of the object the anchor is assigned to, or -1


@dataclass(frozen=True)
class Losses:
    """The two parts of the multibox loss, each already divided by the number of matched anchors."""

    localisation: Tensor  # () float32
    confidence: Tensor  # () float32
    positives: Tensor  # () int64: matched anchors in the batch
    negatives: Tensor  # () int64: mined background anchors in the batch

    @property
    def multibox(self) -> Tensor:
        return self.localisation + self.confidence


@dataclass(frozen=True)
class Detections:
    """What was found in one photograph, best first."""

    boxes: Tensor  # (D, 4) float32, px of the photograph
    scores: Tensor  # (D,) float32, 0..1
    labels: Tensor  # (D,) int64, 1..20

    def __len__(self) -> int:
        return len(self.scores)

    def above(self, score: float) -> "Detections":
        """Only the detections whose score is at least `score`: 0.01 for evaluation, 0.5 for showing."""
        keep = self.scores >= score
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep])
