"""Explorer of chapter 05: point at a cell of a feature map; it shows what the cell sees and the answers there."""

from dataclasses import dataclass
from math import ceil, floor

import ipywidgets
import torch
from torch import Tensor

from course.anchors.places import anchors_of
from course.kit import pictures
from course.kit.board import Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.pictures import Scene
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.model import BODY, POOL_BEFORE, STEM
from ssdlib.plots import BLACK, BLUE, GREEN, RED
from ssdlib.records import CLASSES

KEYS = "Keys: arrows go to the next cell. So does the mouse."
MAPS = {
    f"{side}² map, {name}": i
    for i, (side, name) in enumerate(zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.sources, strict=True))
}
HEAD = dict(padding=1)  # of the 3x3 convolutions on the maps


@dataclass(frozen=True)
class Field:
    """The squares that the cells of one map see, in px of the 300 x 300 input; pixel edges lie at whole numbers."""

    size: int  # side of each square
    stride: int  # from the square of one cell to that of the next
    first: float  # centre of the square of cell 0

    def box(self, line: int, column: int) -> Tensor:
        """(4,) corners of what the cell in that row and column sees; part of it may lie outside the image."""
        centre = torch.tensor([column, line]).double() * self.stride + self.first
        return torch.cat([centre - self.size / 2, centre + self.size / 2])


def receptive_field(name: str, strided_stem: bool = False, head: bool = False) -> Field:
    """What one cell of the layer `name` ("conv4_3", "pool3") sees; with `head`, one answer of the head on it.

    Layer by layer: a kernel reaches (kernel - 1) · dilation cells further, each `stride` px wide; padding moves the
    whole square back; the layer's own stride counts from the next layer on.
    """
    size, stride, first = 1, 1, 0.5
    for kernel, arguments in _layers_to(name, strided_stem) + [(3, HEAD)] * head:
        reach = (kernel - 1) * arguments.get("dilation", 1)
        size += reach * stride
        first += (reach / 2 - arguments.get("padding", 0)) * stride
        stride *= arguments.get("stride", 1)
    return Field(size, stride, first)


def _layers_to(name: str, strided_stem: bool) -> list[tuple[int, dict]]:
    """Kernel and arguments of every convolution and pool of the body up to `name`, in the order of the model."""
    found = {}
    for layer_name, (_, kernel, arguments) in BODY.items():
        if layer_name in POOL_BEFORE:
            pool = POOL_BEFORE[layer_name]
            found[f"pool{list(POOL_BEFORE).index(layer_name) + 1}"] = (pool["kernel_size"], pool)
        found[layer_name] = (kernel, arguments)
    if strided_stem:
        found["conv1_1"] = STEM[1:]
        del found["conv1_2"], found["pool1"]
    if name not in found:
        raise ValueError(f"{name!r} is no layer here; wanted one of {', '.join(found)}")
    return list(found.values())[: list(found).index(name) + 1]


def cell_at(level: int, x: float, y: float) -> tuple[int, int]:
    """Row and column of the cell of map `level` whose anchors' centre is nearest to the point, px of the input."""
    side, stride = SSD300_ANCHORS.feature_maps[level], SSD300_ANCHORS.strides[level]
    return tuple(min(max(floor(value / stride), 0), side - 1) for value in (y, x))


def middle(heat: Tensor, field: Tensor, share: float = 0.5) -> int:
    """Side in px of the smallest square around the middle of `field` (4,) that holds `share` of `heat` (S, S)."""
    x, y = (float(field[i] + field[i + 2]) / 2 for i in (0, 1))
    at = torch.arange(heat.shape[-1]) + 0.5
    distance = torch.maximum((at[None, :] - x).abs(), (at[:, None] - y).abs()).flatten()
    order = distance.argsort()
    reached = heat.flatten()[order].double().cumsum(dim=0)
    return ceil(2 * float(distance[order][(reached < share * reached[-1]).sum()]))


class Eye:
    """A network's outputs for one image, and how much each pixel matters for one of them."""

    def __init__(self, network: torch.nn.Module, image: Tensor):
        """`image` (1, 3, S, S). The network is run once; gradients reuse that run."""
        self.image = image.clone().requires_grad_(True)
        said = network.eval()(self.image)
        self.logits = said.logits[0]  # (K, C), with what it takes to go back to the pixels
        self.probabilities = self.logits.detach().softmax(dim=1)

    def heat(self, place: slice) -> Tensor:
        """(S, S) gradient, summed over the colours, of the cell's strongest object score against background."""
        anchor, label = divmod(int(self.probabilities[place, 1:].argmax()), self.logits.shape[1] - 1)
        answer = self.logits[place][anchor, label + 1] - self.logits[place][anchor, 0]
        [gradient] = torch.autograd.grad(answer, self.image, retain_graph=True)
        return gradient[0].abs().sum(dim=0)


def shaded(pixels: Tensor, heat: Tensor) -> Tensor:
    """(S, S, 3) uint8 image in grey, dark where `heat` (S, S) is low; the hottest pixels are orange."""
    strong = (heat / heat.max().clamp(min=1e-12)).sqrt()[..., None]
    grey = pixels.float().mean(dim=-1, keepdim=True)
    orange = torch.tensor([230.0, 159.0, 0.0])
    return ((1 - strong) * grey * 0.45 + strong * orange).clamp(0, 255).to(torch.uint8)


class FieldPointer(Explorer):
    """Point at a cell: blue is what it sees, green and dashed are its anchors, red the one that says an object."""

    alt = (
        "A cell of a feature map on a scene, its anchors as dashed green boxes, and the much larger thick blue "
        "square that it sees"
    )

    def __init__(self, scene: Scene, level: int = 0):
        """`scene` is what the recorded network looks at; `level` is the map to start with, at its surest answer."""
        self.scene, self.anchors = scene, default_boxes()
        network = pictures.recorded_network()
        self.eye = Eye(network.requires_grad_(False), scene.image)
        self.fields = [receptive_field(name, strided_stem=True, head=True) for name in SSD300_ANCHORS.sources]
        self.plain = as_url(scene.pixels)
        first = anchors_of(level, 0, 0).start
        here = self.eye.probabilities[first : first + SSD300_ANCHORS.per_map[level]]
        start = self.anchors[first + int(here[:, 1:].max(dim=1)[0].argmax())]
        self.board = Board(
            label="What one cell of a feature map sees",
            hint=KEYS,
            width=500,
            picture=self.plain,
            pointer_mode="move",
            pointer=((start[:2] + start[2:]) / 2).tolist(),
            pointer_limits=[0.0, 0.0, 300.0, 300.0],
        )
        self.map = ipywidgets.Dropdown(options=MAPS, value=level, description="map")
        self.heated = ipywidgets.Checkbox(description="which pixels matter", indent=False)
        self.table = html_text()
        self.map.observe(self._load, "value")
        self.heated.observe(self._update, "value")
        self.board.observe(self._point, "pointer")
        super().__init__([row(self.map, self.heated), beside(self.board, self.table)])
        self.cell = None
        self._load()

    @property
    def level(self) -> int:
        return self.map.value

    @property
    def field(self) -> Tensor:
        """(4,) what an answer at this cell can depend on, px of the input."""
        return self.fields[self.level].box(*self.cell)

    def _load(self, change: object = None) -> None:
        margin = 60.0 if self.level == 0 else 160.0
        self.board.view = [-margin, -margin, 300 + margin, 300 + margin]
        self.board.key_step = float(SSD300_ANCHORS.strides[self.level])
        self.cell = cell_at(self.level, *self.board.pointer)
        self._update()

    def _point(self, change: object = None) -> None:
        cell = cell_at(self.level, *self.board.pointer)
        if cell != self.cell:  # within a cell nothing changes
            self.cell = cell
            self._update()

    def _update(self, change: object = None) -> None:
        place = anchors_of(self.level, *self.cell)
        self.said = self.eye.probabilities[place]
        self.heat = self.eye.heat(place) if self.heated.value else None
        picture = self.plain if self.heat is None else as_url(shaded(self.scene.pixels, self.heat))
        lines = self.summary()
        with self.board.hold_sync():  # one message, so that image and words change together
            self.board.picture = picture
            self.board.scene = {"layers": self._layers(self.anchors[place])}
            self.board.status = f"{lines[0]}; {lines[1]}\n{self._answer()}"
        self.table.value = "<br>".join(lines)

    def _layers(self, anchors: Tensor) -> list[dict]:
        (line, column), stride = self.cell, SSD300_ANCHORS.strides[self.level]
        cell = torch.tensor([column, line, column + 1, line + 1]) * stride
        x1, y1 = (max(float(v), edge) for v, edge in zip(self.field[:2], self.board.view[:2], strict=True))
        found = [
            layer(self.field, BLUE, line=4, texts=[(x1, y1 + 22, "what it sees")]),
            layer(cell, BLACK, line=1.5, fill=0.25),
            layer(anchors, GREEN, line=1.8, dash=(5, 3)),
        ]
        best, label, score = self._best()
        if label:
            says = (*anchors[best, :2].tolist(), f"{CLASSES[label]} {score:.2f}")
            found.append(layer(anchors[best], RED, line=3, texts=[says]))
        return found

    def _best(self) -> tuple[int, int, float]:
        """Anchor of this cell, label and score of the surest object; label 0 if all say background."""
        score, label = self.said.max(dim=1)
        score = score * (label > 0)
        best = int(score.argmax())
        return best, int(label[best]), float(score[best])

    def _answer(self) -> str:
        best, label, score = self._best()
        if not label:
            return "all its anchors say background"
        width, height = SSD300_ANCHORS.shapes(self.level)[best]
        return f"its anchor of {width:.0f}x{height:.0f} px says {CLASSES[label]} {score:.2f}"

    def summary(self) -> list[str]:
        field = self.fields[self.level]
        line, column = self.cell
        lines = [
            f"{SSD300_ANCHORS.feature_maps[self.level]}² map, row {line}, column {column}",
            f"an answer here sees {field.size} x {field.size} px",
            f"its anchors are up to {max(max(s) for s in SSD300_ANCHORS.shapes(self.level)):.0f} px long",
        ]
        if self.heat is not None:
            lines.append(f"half of the gradient lies in the middle {middle(self.heat, self.field)} px")
        lines.append("what the recorded network says:")
        for (width, height), said in zip(SSD300_ANCHORS.shapes(self.level), self.said, strict=True):
            score, label = said.max(dim=0)
            lines.append(f"   {width:.0f} x {height:.0f} px: {CLASSES[label]} {score:.2f}")
        return lines

    def state(self) -> str:
        best, label, score = self._best()
        says = f"{CLASSES[label]} {score:.2f}" if label else "background"
        side, size = SSD300_ANCHORS.feature_maps[self.level], self.fields[self.level].size
        return f"{side}² map, cell {self.cell}, sees {size} px, says {says}"
