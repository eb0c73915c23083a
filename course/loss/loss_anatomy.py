"""Explorer of chapter 04: every term of the multibox loss of an image, and the negatives it is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import ipywidgets
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from course.kit import pictures
from course.kit.board import Board, as_url, layer, steps_taken
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.pictures import Scene
from course.matching.matcher import FADED
from ssdlib import coding, matching
from ssdlib.anchors import default_boxes
from ssdlib.data.voc import Example
from ssdlib.loss import NEGATIVE_RATIO
from ssdlib.model import MEAN, SSD300
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, RED
from ssdlib.records import CLASSES, Predictions, Targets

TRAINED, UNTRAINED, EQUAL = "trained on the mini VOC", "random weights", "all classes equally likely"
DRAWN = 12  # hard negatives that are drawn as boxes
VIEW = (-12.0, -18.0, 656.0, 312.0)  # the image, and the terms as bars on its right
LEFT, RIGHT, UPPER, LOWER = 332.0, 648.0, 118.0, 292.0  # the bars' edges and the two lines they stand on


@dataclass(frozen=True)
class LossTerms:
    """Every term of the multibox loss of B images with K anchors, before the division by N."""

    positive: Tensor  # (B, K) bool: assigned to an object
    chosen: Tensor  # (B, K) bool: a mined negative
    rank: Tensor  # (B, K) int64: 0 = hardest negative of the image (or of the batch); positives come last
    class_loss: Tensor  # (B, K): -ln p of the class it should be
    smooth_l1: Tensor  # (B, K, 4): 0 where no object is assigned

    @property
    def n(self) -> int:
        return max(1, int(self.positive.sum()))

    def sums(self, b: int | slice = slice(None)) -> tuple[float, float, float]:
        """Σ smooth L1, Σ -ln p of the positives, Σ -ln p(background) of the hard negatives; of an image or of all."""
        loss = self.class_loss[b]
        parts = self.smooth_l1[b], loss[self.positive[b]], loss[self.chosen[b]]
        return tuple(float(part.sum(dtype=torch.float64)) for part in parts)

    @property
    def multibox(self) -> float:
        return sum(self.sums()) / self.n


def loss_terms(
    predictions: Predictions, targets: Targets, ratio: float = NEGATIVE_RATIO, mining: str = "image"
) -> LossTerms:
    """The terms whose sum, divided by N, is `ssdlib.loss.multibox_loss` (paper, equations 1 to 3)."""
    positive = targets.labels > 0
    logits = predictions.logits.float()
    class_loss = logits.logsumexp(dim=-1) - logits.gather(2, targets.labels[..., None])[..., 0]
    hardness = class_loss.masked_fill(positive, -torch.inf)
    count = positive.sum(dim=1, keepdim=True)
    if mining == "batch":
        hardness, count = hardness.reshape(1, -1), count.sum()
    wanted = (ratio * count).long()
    order = hardness.argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(order.shape[1]).expand_as(order))
    rank = rank.reshape(positive.shape)  # the order read backwards
    cost = F.smooth_l1_loss(predictions.offsets.float(), targets.offsets, reduction="none")
    cost = cost.masked_fill(~positive[..., None], 0)
    return LossTerms(positive, (rank < wanted) & ~positive, rank, class_loss, cost)


def some_scenes() -> list[Scene]:
    """Scenes with 3, 1 and 4 objects, and a plain one without any."""
    colour = torch.tensor(MEAN).expand(300, 300, 3)
    nothing = torch.zeros(0, dtype=torch.int64)
    empty = Example("empty", pictures.ROOT, (300, 300), torch.zeros(0, 4), nothing, nothing.bool())
    plain = Scene(empty, colour.to(torch.uint8), torch.zeros(1, 3, 300, 300), torch.zeros(0, 4), nothing)
    return [*(pictures.scene(pictures.pick(objects)) for objects in (3, 1, 4)), plain]


def targets_of(scenes: Sequence[Scene]) -> Targets:
    boxes = pad_sequence([scene.boxes for scene in scenes], batch_first=True)
    labels = pad_sequence([scene.labels for scene in scenes], batch_first=True)
    return matching.make_targets(boxes, labels, default_boxes())


@torch.no_grad()
def predict(scenes: Sequence[Scene], state: str = TRAINED) -> Predictions:
    """The outputs for some scenes: of the recorded mini run's network, of one with random weights, or zeros."""
    images = torch.cat([scene.image for scene in scenes])
    network = pictures.recorded_network()
    if state == UNTRAINED:  # in training mode, as a first step sees it: normalised over these images
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = SSD300(width=1 / 8, batch_norm=True, strided_stem=True).train()
    said = network(images)
    return Predictions(0 * said.offsets, 0 * said.logits) if state == EQUAL else said


class LossAnatomy(Explorer):
    """Drag the ratio and walk through the terms. Blue: positives. Red and dashed: hard negatives."""

    alt = (
        "A scene with its positives in blue and its hard negatives in dashed red; beside it the terms of the loss "
        "as bars, positives above, negatives by rank below, filled as far as they are chosen"
    )

    def __init__(self, scenes: Sequence[Scene]):
        self.scenes, self.anchors = list(scenes), default_boxes()
        self.targets = targets_of(self.scenes)
        self.predicted = {name: predict(self.scenes, name) for name in (TRAINED, UNTRAINED, EQUAL)}
        self.board = Board(
            label="Positives and hard negatives, and the terms of the loss as bars",
            hint="Keys: arrows go to the next term or the one before. A click on a bar or a box chooses it. "
            f"The {DRAWN} hardest negatives are boxes, the others dots.",
            view=list(VIEW),
            width=820,
            picture_alpha=0.6,
            pointer_mode="press",
        )
        options = [(f"{i + 1}: {', '.join(s.names) or 'no object'}", i) for i, s in enumerate(self.scenes)]
        self.picture = ipywidgets.Dropdown(options=options, description="scene")
        self.network = ipywidgets.Dropdown(options=list(self.predicted), description="network")
        self.mining = ipywidgets.Dropdown(options=["image", "batch"], description="mining per")
        self.ratio = ipywidgets.FloatSlider(NEGATIVE_RATIO, min=0, max=10, step=1, description="ratio")
        self.term = ipywidgets.IntSlider(0, min=0, max=0, description="term")
        self.card, self.table = html_text(), html_text()
        for widget in (self.network, self.mining, self.ratio):
            widget.observe(self._compute, "value")
        self.picture.observe(self._load, "value")
        self.term.observe(self._show, "value")
        self.board.observe(self._pressed, "pressed")
        self.board.observe(self._stepped, "arrows")
        controls = row(self.picture, self.network, self.mining, self.ratio, self.term)
        words = ipywidgets.VBox([self.card, self.table])
        super().__init__([controls, beside(self.board, words)])
        words.layout.flex = "3 1 430px"  # seven terms in a table
        self._load()

    def _load(self, change: object = None) -> None:
        self.board.picture = as_url(self.scenes[self.picture.value].pixels)
        self.count = int((self.targets.labels[self.picture.value] > 0).sum())
        self.term.value, self.term.max = 0, self.count + max(40, 11 * self.count) - 1
        self._compute()

    def _compute(self, change: object = None) -> None:
        b, predicted = self.picture.value, self.predicted[self.network.value]
        self.result = loss_terms(predicted, self.targets, self.ratio.value, self.mining.value)
        positive, order = self.result.positive[b].nonzero()[:, 0], self.result.rank[b].argsort()
        self.terms = torch.cat([positive, order])[: self.term.max + 1]  # the anchors one can walk through
        self._show()

    def _pressed(self, change: dict) -> None:
        self._go(self._nearest(*self.board.pressed[:2]))

    def _stepped(self, change: dict) -> None:
        self._go(self.term.value + sum(steps_taken(change)))

    def _go(self, term: int) -> None:
        self.term.value = min(max(term, 0), self.term.max)

    def _nearest(self, x: float, y: float) -> int:
        """The term whose bar lies under a point, or the one whose anchor's outline is nearest."""
        b, r = self.picture.value, self.result
        if x > LEFT - 10:
            bars = self._bars()[0]
            near = (torch.arange(len(bars)) < self.count) == (y < UPPER + 10)
            away = (bars[:, 0] + bars[:, 2] - 2 * x).abs()
        else:
            near = (r.positive | r.chosen)[b, self.terms]
            sides = self.anchors[self.terms] - torch.tensor([x, y, x, y])
            away = (sides * torch.tensor([1, 1, -1, -1])).max(dim=1)[0].abs()
        return int(torch.where(near, away, torch.inf).argmin())

    def _bars(self) -> tuple[Tensor, Tensor]:
        """(T, 4) bars of -ln p, and those of the offsets on top of them, px of the board."""
        b, place = self.picture.value, torch.arange(len(self.terms))
        high, more = self.result.class_loss[b, self.terms], self.result.smooth_l1[b, self.terms].sum(dim=1)
        above = place < self.count
        among = torch.where(above, max(self.count, 1), len(place) - self.count)
        wide = ((RIGHT - LEFT) / among).clamp(max=14)
        line = torch.where(above, UPPER, LOWER)
        left = LEFT + (place - self.count * ~above) * wide
        scale, right = 96 / (high + more).max(), left + 0.86 * wide
        top = line - scale * high
        upper = torch.stack([left, top - scale * more, right, top], dim=1)
        return torch.stack([left, top, right, line], dim=1), upper

    def _show(self, change: object = None) -> None:
        b, r, count = self.picture.value, self.result, self.count
        at, scene, anchor = self.term.value, self.scenes[b], int(self.terms[self.term.value])
        (bars, upper), used = self._bars(), r.chosen[b, self.terms]
        names = pictures.numbered(scene.names)
        named = [(x, y, name) for (x, y, _, _), name in zip(scene.boxes.tolist(), names, strict=True)]
        few = f"{count} positives: -ln p(class), offsets on top (green)"
        many = f"negatives by rank: {int(r.chosen[b].sum())} chosen (filled), others hollow"
        layers = [
            layer(scene.boxes, ORANGE, line=3),
            layer(color=BLACK, texts=[*named, (LEFT, 10, few), (LEFT, LOWER - 112, many)]),
            *self._anchors(b, anchor),
            layer(self.anchors[anchor], BLACK, line=3.5),
            layer(bars[:count], BLUE, line=0, fill=1),
            layer(upper[:count], GREEN, line=0.7, fill=0.5),
            layer(bars[used], RED, line=0, fill=0.9),
            layer(bars[count:][~used[count:]], "#707070", line=0.7, alpha=0.7),
            layer(bars[at], BLACK, line=2, points=[bars[at, ::2].mean(), bars[at, 3] + 7], radius=4),
        ]
        if at < count:
            box = coding.decode(self.predicted[self.network.value].offsets[b, anchor], self.anchors[anchor])
            layers.append(layer(box, PURPLE, line=3, dash=(2, 2)))
        lines = self.summary()
        with self.board.hold_sync():
            self.board.scene = {"layers": layers}
            self.board.status = lines[0]
        self.card.value = f"<div style='line-height:1.4'>{'<br>'.join(lines[1:])}</div>"
        self.table.value = self._rows(at)

    def _anchors(self, b: int, anchor: int) -> list[dict]:
        """Few in full: the positives of the object in question and the hardest negatives; other positives are faded,
        other negatives dots. Boxes end at the border of the image."""
        r, inside = self.result, self.anchors.clamp(0, 300)
        negative = r.chosen[b].nonzero()[:, 0]
        negative = negative[r.rank[b, negative].argsort()]
        middles = (self.anchors[negative[DRAWN:], :2] + self.anchors[negative[DRAWN:], 2:]) / 2
        mine = r.positive[b] & (self.targets.matched[b] == self.targets.matched[b, anchor])
        return [
            layer(color=RED, alpha=0.6, points=middles.flatten().tolist(), radius=1.8),
            layer(inside[negative[:DRAWN]], RED, line=1.1, alpha=0.75, dash=(4, 3)),
            layer(inside[r.positive[b] & ~mine], BLUE, line=1, alpha=FADED),
            layer(inside[mine], BLUE, line=1.5, alpha=0.85),
        ]

    def summary(self) -> list[str]:
        b, r, at = self.picture.value, self.result, self.term.value
        which, name, p, loss, more = self._cells(at)
        mine, total = r.sums(b), r.sums()
        return [
            f"{which}: p({name}) = {p}, -ln p = {loss}, {'offsets ' * (at < self.count)}{more}",
            f"this image: {self.count} positives, {int(r.chosen[b].sum())} negatives",
            f"Σ smooth L1 = {mine[0]:.2f}",
            f"Σ -ln p(class) = {mine[1]:.2f}",
            f"Σ -ln p(background) = {mine[2]:.2f}",
            f"all images: ({total[0]:.2f} + {total[1]:.2f} + {total[2]:.2f}) / {r.n} = {r.multibox:.4f}",
        ]

    def _cells(self, i: int) -> tuple[str, str, str, str, str]:
        b, r, anchor = self.picture.value, self.result, int(self.terms[i])
        loss, name = float(r.class_loss[b, anchor]), CLASSES[int(self.targets.labels[b, anchor])]
        p, which = exp(-loss), f"negative, rank {int(r.rank[b, anchor]) + 1}"
        more = "chosen" if r.chosen[b, anchor] else "left out"
        if i < self.count:
            which = f"positive {i + 1} of {self.count}"
            more = " + ".join(f"{x:.2f}" for x in r.smooth_l1[b, anchor].tolist())
        return which, name, f"{p:.2f}" if p >= 0.005 else f"{p:.0e}", f"{loss:.2f}", more

    def _rows(self, at: int) -> str:
        """The terms around the one that is shown, as a table."""
        first, cell = max(0, min(at - 3, len(self.terms) - 7)), "style='padding:0 4px;white-space:nowrap'"
        heads = "term", "should be", "p", "-ln p", "smooth L1: x, y, w, h"
        rows = "".join(f"<th {cell}>{head}</th>" for head in heads)
        for i in range(first, first + 7):
            columns = "".join(f"<td {cell}>{text}</td>" for text in self._cells(i))
            rows += f"</tr><tr style='{'font-weight:bold' if i == at else ''}'>{columns}"
        return f"<table style='line-height:1.45'><tr>{rows}</tr></table>"

    def still(self) -> Figure:
        return self.stacked()

    def state(self) -> str:
        rule = f"{self.network.value}, ratio {self.ratio.value:g} per {self.mining.value}"
        shown = f"negatives {self.result.chosen.sum(dim=1).tolist()}, scene {self.picture.value + 1}"
        return f"{rule}, {shown}, term {self.term.value}, loss {self.result.multibox:.4f}"
