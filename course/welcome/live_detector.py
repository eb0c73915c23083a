"""Explorer of chapter 00: objects are dragged across a scene, and a trained network looks at it after every move."""

import copy
from dataclasses import dataclass

import ipywidgets
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from course.kit import opening, pictures
from course.kit.board import KEYS, Board, as_url, layer
from course.kit.explorer import WORDS, Explorer, beside, html_text, row
from ssdlib import box_ops, coding, detect
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.model import MEAN, SSD300
from ssdlib.plots import BLUE, ORANGE, SKY
from ssdlib.records import CLASSES, Detections, Predictions

SHOWN = 0.5  # score from which a detection is drawn, as in the figures of the chapter
HEARD = 0.3  # score from which an anchor counts among those that report a class
GLOWING = 5  # anchors drawn; the others are counted in words
ON_IT = 0.5  # IoU from which a detection lies on an object
VIEW = (-14.0, -14.0, 314.0, 314.0)


@dataclass(frozen=True)
class Sight:
    """What the network outputs for one image. Boxes in px of the 300 x 300 input."""

    probabilities: Tensor  # (K, C)
    boxes: Tensor  # (K, 4) decoded, one for each anchor
    found: Detections  # after non-maximum suppression, scores above HEARD


@dataclass(frozen=True)
class Answer:
    """What the network says about one object: the best detection that lies on it, and the anchors that report it."""

    label: int
    score: float
    box: Tensor  # (4,)
    iou: float  # of that box with the object's
    anchors: Tensor  # (n,) that report the same class at the same place, the surest first
    ranking: list[tuple[int, float]]  # the three likeliest classes of the surest anchor


@torch.inference_mode()
def look(network: SSD300, pixels: Tensor, anchors: Tensor) -> Sight:
    """One forward pass: (300, 300, 3) uint8 and the (K, 4) anchors -> what the network sees."""
    image = pixels.permute(2, 0, 1)[None].float() - torch.tensor(MEAN)[:, None, None]
    said: Predictions = network(image)
    [found] = detect.detect(said, anchors, [(SSD300_ANCHORS.canvas,) * 2], score=HEARD)
    return Sight(said.logits[0].softmax(dim=1), coding.decode(said.offsets[0], anchors), found)


def answer(sight: Sight, box: Tensor) -> Answer | None:
    """What the network says about the object in `box` (4,); None if no detection overlaps it by ON_IT or more.

    The anchors that report it have a score above HEARD for the same class, and boxes that suppression counts as the
    same object; the anchor of the detection is one of them."""
    found = sight.found
    overlap = box_ops.iou(box, found.boxes)
    if len(found) == 0 or overlap.max() < ON_IT:
        return None
    best = int(found.scores.masked_fill(overlap < ON_IT, 0).argmax())
    label = int(found.labels[best])
    scores = sight.probabilities[:, label]
    same = (scores > HEARD) & (box_ops.iou(found.boxes[best], sight.boxes) > detect.NMS_IOU)
    anchors = same.nonzero()[:, 0]
    anchors = anchors[scores[anchors].argsort(descending=True, stable=True)]
    top = sight.probabilities[anchors[0]].topk(3)
    ranking = list(zip(top.indices.tolist(), top.values.tolist(), strict=True))
    return Answer(label, float(found.scores[best]), found.boxes[best], float(overlap[best]), anchors, ranking)


class LiveDetector(Explorer):
    """Drag an object (orange). Blue: what the network finds. Light blue: the anchors that report it."""

    alt = (
        "A painted scene with a car, a dog and a person in orange boxes; on them lie the blue boxes of the network, "
        "with class and score, and around the car the light blue anchors that report it"
    )

    def __init__(self, network: SSD300 | None = None):
        """`network`: by default the one of the recorded mini run, which hasn't seen this scene."""
        self.network = _folded(network or pictures.recorded_network())
        self.anchors = default_boxes()
        self.painter = opening.Painter()
        self.places = opening.scene().boxes.round()
        self.board = Board(
            label="A scene with objects and what the network finds",
            hint=KEYS,
            view=list(VIEW),
            width=430,
            boxes=self.places.tolist(),
            box_colors=[ORANGE],
        )
        self.glow = ipywidgets.Checkbox(True, description="show its anchors", indent=False)
        self.reset = ipywidgets.Button(description="reset")
        self.words = html_text()
        self.board.observe(self._update, ["boxes", "active"])
        self.glow.observe(self._update, "value")
        self.reset.on_click(self._reset)
        column = ipywidgets.VBox([row(self.glow, self.reset), self.words])
        column.layout.margin = "0 0 0 8px"
        super().__init__([beside(self.board, column)])
        self._painted: list[list[float]] = []
        self._update()

    def _reset(self, button: object = None) -> None:
        with self.board.hold_trait_notifications():
            self.board.active = 0
            self.board.boxes = self.places.tolist()

    def _update(self, change: object = None) -> None:
        boxes = torch.tensor(self.board.boxes)
        if self.board.boxes != self._painted:  # else only another object is looked at
            self._painted = self.board.boxes
            self.pixels = self.painter.paint(boxes)
            self.sight = look(self.network, self.pixels, self.anchors)
        self.answer = answer(self.sight, boxes[self.board.active])
        with self.board.hold_sync():  # one message, so that image, boxes and words change together
            self.board.picture = as_url(self.pixels)
            self.board.scene = {"layers": self._layers()}
            self.board.status = self.summary()[0]
        self.words.value = self._words()

    def _layers(self) -> list[dict]:
        found, mine = self.sight.found.above(SHOWN), self.answer
        other = torch.ones(len(found), dtype=torch.bool)
        layers = []
        if mine is not None:
            other = (found.boxes != mine.box).any(dim=1)
            for anchor in mine.anchors[:GLOWING].flip(0) if self.glow.value else ():
                sure = float(self.sight.probabilities[anchor, mine.label])
                layers.append(layer(self.anchors[anchor], SKY, line=2.5, alpha=0.25 + 0.75 * sure, fill=0.12))
        for box, label, score in zip(
            found.boxes[other], found.labels[other].tolist(), found.scores[other].tolist(), strict=True
        ):
            layers.append(layer(box, BLUE, line=2, texts=[(*box[:2].tolist(), _called(label, score))]))
        if mine is not None:
            dash = () if mine.score >= SHOWN else (6, 4)
            text = (*mine.box[:2].tolist(), _called(mine.label, mine.score))
            layers.append(layer(mine.box, BLUE, line=4, dash=dash, texts=[text]))
        return layers

    @property
    def name(self) -> str:
        """The object in the reader's hand."""
        return opening.NAMES[self.board.active]

    def summary(self) -> list[str]:
        mine, say = self.answer, f"{self.name}: nothing found on it with a score above {HEARD}"
        if mine is None:
            return [say]
        right = "" if CLASSES[mine.label] == self.name else ", which is wrong"
        drawn = f", {GLOWING} drawn" if len(mine.anchors) > GLOWING else ""
        many = f"{len(mine.anchors)} of {len(self.anchors):,} anchors report it{drawn}; suppression keeps one box"
        return [
            f"{self.name}: found as {_called(mine.label, mine.score)}{right}; IoU with its box {mine.iou:.2f}",
            f"1 of {len(self.anchors):,} anchors reports it" if len(mine.anchors) == 1 else many,
            "Scores of the surest anchor:",
            *(f"   {CLASSES[label]} {score:.2f}" for label, score in mine.ranking),
        ]

    def _words(self) -> str:
        if self.answer is None:
            return f"<b>{self.summary()[0]}</b>"
        said, many, surest, *_ = self.summary()
        bars = "".join(
            f"<div style='display:flex;gap:8px;align-items:center'><span style='width:90px'>{CLASSES[label]}</span>"
            f"<span style='width:{180 * score:.0f}px;height:12px;background:{BLUE};flex:none'></span>"
            f"<span>{score:.2f}</span></div>"
            for label, score in self.answer.ranking
        )
        return f"<div style='line-height:1.6'><b>{said}</b><br>{many}<br>{surest}{bars}</div>"

    def still(self) -> Figure:
        """The board and its numbers, and what the colours mean."""
        figure = super().still()
        kinds = [
            ("where an object is", ORANGE),
            ("what the network finds", BLUE),
            ("anchors that report it", SKY),
        ]
        lines = [Line2D([], [], color=color, linewidth=2.5, label=name) for name, color in kinds]
        figure.axes[1].legend(handles=lines, loc="lower left", frameon=False, fontsize=10, labelcolor=WORDS)
        return figure

    def state(self) -> str:
        places = ", ".join(
            f"{name} {[round(x) for x in box]}"
            for name, box in zip(opening.NAMES, self.board.boxes, strict=True)
        )
        said = "nothing" if self.answer is None else _called(self.answer.label, self.answer.score)
        return f"{places}; {self.name} found as {said}"


def _folded(network: SSD300) -> SSD300:
    """A copy with every batch norm folded into its convolution: the same answers, a sixth faster."""
    network = copy.deepcopy(network).eval()
    for name, part in network.body.items():
        if isinstance(part[1], nn.BatchNorm2d):
            network.body[name] = nn.Sequential(fuse_conv_bn_eval(part[0], part[1]), *part[2:])
    return network


def _called(label: int, score: float) -> str:
    return f"{CLASSES[label]} {score:.2f}"
