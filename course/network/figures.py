"""What chapter 05 draws and measures: the network, its layers counted, lengths of channel vectors, kernels."""

from collections.abc import Callable
from dataclasses import dataclass

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor, nn

from course.kit import pictures
from course.kit.legend import legend_below
from course.kit.pictures import Scene
from course.network.receptive_field import Eye, anchors_of, middle, receptive_field
from ssdlib import box_ops, detect, matching
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.loss import multibox_loss
from ssdlib.model import PRETRAINED, SSD300, count_parameters
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, RED, SKY, photograph_on
from ssdlib.records import Predictions, Targets


@dataclass(frozen=True)
class TracedLayer:
    """One convolution of the network, with what follows it, and what it gives for one image."""

    name: str
    channels: int
    side: int  # cells
    parameters: int
    multiply_adds: int  # of the convolution, for one image


def trace(**arguments: object) -> list[TracedLayer]:
    """Every convolution of `SSD300(**arguments)` in order, heads last. The sides of its maps are those of a sister
    with the fewest channels, which answers in no time; its own weights are only counted."""
    with torch.device("meta"):
        network = SSD300(**arguments)
    sides: dict[str, int] = {}

    def note(name: str, module: nn.Module) -> None:
        module.register_forward_hook(lambda _, __, out: sides.update({name: out.shape[2]}))

    with torch.random.fork_rng(devices=[]):  # takes none of the page's random numbers
        sister = SSD300(**(arguments | {"width": 0.0})).eval()
    for name, module in _convolutions(sister).items():
        note(name, module)
    with torch.no_grad():
        sister(torch.zeros(1, 3, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas))
    found, own = [], _convolutions(network)
    for name, side in sides.items():  # in the order of the computation
        kernel = (own[name] if isinstance(own[name], nn.Conv2d) else own[name][0]).weight
        found.append(
            TracedLayer(name, len(kernel), side, count_parameters(own[name]), kernel.numel() * side**2)
        )
    return found


def _convolutions(network: SSD300) -> dict[str, nn.Module]:
    parts = (("", network.body), ("loc ", network.loc), ("conf ", network.conf))
    return {part + name: module for part, modules in parts for name, module in modules.items()}


# ---- the network from left to right


def draw_network() -> Figure:
    """The body from left to right, each map as a square, the heads under the six sources."""
    steps = {step.name: step for step in trace()}
    shown = ["conv1_2", "conv2_2", "conv3_3", *SSD300_ANCHORS.sources]
    sides = [SSD300_ANCHORS.canvas, *(steps[name].side for name in shown)]
    figure, ax = plt.subplots(figsize=(10.4, 4.6), layout="constrained")
    x = 0.0
    for name, side in zip(["input", *shown], sides, strict=True):
        size = 0.35 + 1.5 * (side / SSD300_ANCHORS.canvas) ** 0.55
        channels = 3 if name == "input" else steps[name].channels
        color = ORANGE if name == "input" else SKY if name in PRETRAINED else BLUE
        for sheet in (2, 1, 0):  # sheets for depth
            at = (x + 0.07 * sheet, 2.3 - size / 2 + 0.07 * sheet)
            ax.add_patch(Rectangle(at, size, size, facecolor=color, edgecolor="white", linewidth=0.8))
        middle_x = x + size / 2
        ax.text(middle_x, 3.62, f"{side} x {side}\n{channels:,} ch.", ha="center", va="bottom", fontsize=9)
        ax.text(middle_x, 1.12, name, ha="center", va="top", fontsize=9, weight="bold")
        if name in SSD300_ANCHORS.sources:
            _head(ax, middle_x, SSD300_ANCHORS.sources.index(name))
        x += max(size + 0.42, 1.0)  # room for names and heads under narrow maps
    ax.set(xlim=(-0.1, x), ylim=(-1.5, 4.9))
    ax.set_axis_off()
    kinds = (SKY, "VGG16, its fc6 and fc7 made into convolutions"), (BLUE, "extras"), (GREEN, "heads")
    handles = [Rectangle((0, 0), 1, 1, facecolor=color) for color, _ in kinds]
    ax.legend(handles, [text for _, text in kinds], loc="upper left", ncols=3, frameon=False, fontsize=9)
    ax.set_title(
        f"Six maps have heads, and together these answer for {len(default_boxes()):,} anchors", fontsize=11
    )
    return figure


def _head(ax: Axes, x: float, level: int) -> None:
    """Arrow and green box under a source: the channels of its two heads."""
    count = SSD300_ANCHORS.boxes_per_cell[level]
    norm = "L2Norm\n" if level == 0 else ""
    ax.annotate("", (x, -0.1), (x, 0.82), arrowprops=dict(arrowstyle="-|>", color=BLACK))
    ax.text(x + 0.05, 0.4, norm, fontsize=9, va="center")
    ax.add_patch(Rectangle((x - 0.46, -0.8), 0.92, 0.68, facecolor=GREEN, edgecolor="white"))
    text = f"{count * 4} + {count * 21}\nchannels"
    ax.text(x, -0.46, text, ha="center", va="center", fontsize=9, color="white")
    ax.text(x, -0.9, f"{SSD300_ANCHORS.per_map[level]:,}\nanchors", ha="center", va="top", fontsize=9)


# ---- lengths of channel vectors


@torch.no_grad()
def lengths(network: SSD300, images: Tensor) -> dict[str, Tensor]:
    """Length of the channel vector of every cell, name -> (B, side, side): conv4_3 as the next layer sees it
    ("conv4_3, plain"), then the six maps as the heads see them."""
    found = {}
    hook = network.body["conv4_3"].register_forward_hook(
        lambda _, __, x: found.update({"conv4_3, plain": x.norm(dim=1)})
    )
    maps = network.feature_maps(images)
    hook.remove()
    return found | {name: x.norm(dim=1) for name, x in maps.items()}


# ---- what the recorded network finds


def scenes(count: int) -> list[Scene]:
    """The first test scenes of the mini VOC, also where genuine VOC is on disk: the recorded network has seen nothing
    else."""
    return [pictures.scene(example) for example in pictures.mini_test_set()[:count]]


def images_of(chosen: list[Scene]) -> Tensor:
    """(B, 3, 300, 300) what the network sees of some scenes."""
    return torch.cat([scene.image for scene in chosen])


def found(predictions: Predictions, chosen: list[Scene], score: float = 0.5) -> tuple[int, int, int]:
    """Objects found (right class, IoU at least 0.5, one of the detections with at least `score`), objects there are,
    detections."""
    hits = shown = 0
    for said, scene in zip(_detected(predictions), chosen, strict=True):
        said = said.above(score)
        shown += len(said)
        if len(said):
            good = box_ops.iou(scene.boxes[:, None], said.boxes) >= 0.5
            hits += int((good & (scene.labels[:, None] == said.labels)).any(dim=1).sum())
    return hits, sum(len(scene.labels) for scene in chosen), shown


def _detected(predictions: Predictions) -> list:
    return detect.detect(
        predictions, default_boxes(), [(SSD300_ANCHORS.canvas,) * 2] * len(predictions.logits)
    )


def side_by_side(
    chosen: list[Scene], said: dict[str, Predictions], which: int, score: float = 0.5, most: int = 30
) -> Figure:
    """Scene number `which` under several predictions, title -> batch: the outlines of its objects, and of its
    detections with at least `score`, of which at most the first `most` are drawn."""
    scene = chosen[which]
    figure, axes = plt.subplots(1, len(said), figsize=(4.2 * len(said), 4.7), layout="constrained")
    for ax, (title, predictions) in zip(axes, said.items(), strict=True):
        its = slice(which, which + 1)
        found_here = _detected(Predictions(predictions.offsets[its], predictions.logits[its]))[0].above(score)
        photograph_on(ax, scene.pixels)
        for box in found_here.boxes[:most].tolist():
            _outline(ax, box, BLUE, linewidth=1.4)
        for box in scene.boxes.tolist():
            _outline(ax, box, RED, linewidth=1.8, linestyle="--")
        ax.set(xlim=(0, SSD300_ANCHORS.canvas), ylim=(SSD300_ANCHORS.canvas, 0))
        drawn = f", the surest {most} drawn" if len(found_here) > most else ""
        ax.set_title(f"{title}: {len(found_here)} detections{drawn}", fontsize=10)
    legend_below(figure, {"detection": dict(color=BLUE), "object": dict(color=RED, linestyle="--")})
    return figure


# ---- heads that learn with their channels mixed up


def heads_learn(
    network: SSD300, chosen: list[Scene], per_anchor: Callable[[Tensor, int], Tensor], steps: int = 30
) -> list[float]:
    """Loss of new heads on the frozen maps of `network`, step by step. `per_anchor(x, numbers)` makes (B, K, numbers)
    of a head's output."""
    slots = max(len(scene.labels) for scene in chosen)
    objects, labels = torch.zeros(len(chosen), slots, 4), torch.zeros(len(chosen), slots, dtype=torch.int64)
    for i, scene in enumerate(chosen):
        objects[i, : len(scene.boxes)], labels[i, : len(scene.labels)] = scene.boxes, scene.labels
    targets: Targets = matching.make_targets(objects, labels, default_boxes())
    with torch.no_grad():
        maps = network.feature_maps(images_of(chosen))
    torch.manual_seed(0)
    new = SSD300(width=1 / 8)
    parameters = [*new.loc.parameters(), *new.conf.parameters()]
    optimizer, losses = torch.optim.SGD(parameters, lr=0.01, momentum=0.9), []
    for _ in range(steps):
        offsets = [per_anchor(new.loc[name](x), 4) for name, x in maps.items()]
        logits = [per_anchor(new.conf[name](x), 21) for name, x in maps.items()]
        loss = multibox_loss(Predictions(torch.cat(offsets, 1), torch.cat(logits, 1)), targets).multibox
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def curves(losses: dict[str, list[float]]) -> Figure:
    """Losses against the step, one line each, its name at its end."""
    figure, ax = plt.subplots(figsize=(6, 3), layout="constrained")
    for (name, values), color, style in zip(losses.items(), (BLUE, RED), ("-", "--"), strict=True):
        ax.plot(values, color=color, linestyle=style, linewidth=2)
        ax.text(len(values) - 1, values[-1] + 0.9, name, color=color, ha="right", va="bottom")
    ax.set(xlabel="step", ylabel="multibox loss", ylim=(0, None))
    ax.set_title("Without the permute the loss falls too, but less", fontsize=10)
    return figure


# ---- receptive fields


def fields_on(scene: Scene) -> Figure:
    """What one answer of each map sees in the full network (blue), and the widest and the highest anchor of the same
    cell (dashed green)."""
    figure, axes = plt.subplots(2, 3, figsize=(9, 6.9), layout="constrained")
    for level, (ax, name) in enumerate(zip(axes.flat, SSD300_ANCHORS.sources, strict=True)):
        side, field = SSD300_ANCHORS.feature_maps[level], receptive_field(name, head=True)
        line = side // 2
        photograph_on(ax, scene.pixels)
        mine = default_boxes()[anchors_of(level, line, line)]
        widest, highest = (mine[:, 2:] - mine[:, :2]).argmax(dim=0).tolist()
        for anchor in mine[[widest, highest]].tolist():
            _outline(ax, anchor, GREEN, linewidth=1.5, linestyle="--")
        _outline(ax, field.box(line, line).tolist(), BLUE, linewidth=2.5)
        low, high = (-110, 450) if level < 3 else (-330, 620)
        ax.set(xlim=(low, high), ylim=(high, low))
        longest = max(max(shape) for shape in SSD300_ANCHORS.shapes(level))
        ax.set_title(f"{name}, {side}²: sees {field.size} px,\nanchors up to {longest:.0f} px", fontsize=10)
    figure.suptitle("Every answer sees far more of the image than its anchors cover", fontsize=11)
    anchor = dict(color=GREEN, linestyle="--")
    legend_below(figure, {"what an answer sees": dict(color=BLUE), "widest and highest anchor": anchor})
    return figure


def heats_on(network: SSD300, chosen: list[Scene]) -> tuple[Figure, list[tuple[int, int]]]:
    """Where the gradient of one answer of each map lies, mean over some scenes, in a network with strided stem; and
    for each map the side of its field and that of the middle that holds half of the gradient, px."""
    eyes, sides = [Eye(network, scene.image) for scene in chosen], []
    figure, axes = plt.subplots(2, 3, figsize=(8.4, 6.3), layout="constrained")
    for level, (ax, name) in enumerate(zip(axes.flat, SSD300_ANCHORS.sources, strict=True)):
        line = SSD300_ANCHORS.feature_maps[level] // 2
        place = receptive_field(name, strided_stem=True, head=True).box(line, line)
        heats = [eye.heat(anchors_of(level, line, line)) for eye in eyes]
        heat = torch.stack([heat / heat.sum() for heat in heats]).mean(dim=0)
        sides.append((round(float(place[2] - place[0])), middle(heat, place)))
        ax.imshow(
            heat,
            cmap="inferno",
            vmax=heat.quantile(0.998),
            extent=(0, SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas, 0),
        )
        _outline(ax, place.tolist(), BLUE, linewidth=2.5)
        x, y, half = *((place[:2] + place[2:]) / 2).tolist(), sides[-1][1] / 2
        _outline(ax, (x - half, y - half, x + half, y + half), "white", linewidth=1.5, linestyle="--")
        ax.set(xlim=(-8, 308), ylim=(308, -8), xticks=(), yticks=())
        ax.set_title(f"{name}: sees {sides[-1][0]} px, half in {sides[-1][1]}", fontsize=10)
    figure.suptitle(
        "Half of the gradient lies in the white square: narrow on conv4_3, wide on the last maps", fontsize=11
    )
    return figure, sides


def _outline(ax: Axes, corners: object, color: str, **style: object) -> None:
    x1, y1, x2, y2 = corners
    ax.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, **style))


# ---- kernels on maps and images

MAP, CELL = "conv7_2", (1, 2)  # the map on which a head is drawn, and the row and column where it stands


def head_sliding(scene: Scene) -> Figure:
    """A head's 3x3 kernel in one place of the 5 x 5 map, the numbers that it gives there, and the anchors to which
    they belong."""
    level = SSD300_ANCHORS.sources.index(MAP)
    side, boxes = SSD300_ANCHORS.feature_maps[level], SSD300_ANCHORS.boxes_per_cell[level]
    line, column = CELL
    figure, (left, middle_, right) = plt.subplots(
        1, 3, figsize=(10.4, 4.1), width_ratios=(1, 1.15, 1), layout="constrained"
    )
    _grid_on(left, side)
    kernel = dict(linewidth=3, fill=False)
    left.add_patch(Rectangle((column - 1, line - 1), 3, 3, edgecolor=BLUE, **kernel))
    left.add_patch(
        Rectangle((column, line - 1), 3, 3, edgecolor=BLUE, linestyle=":", linewidth=2, fill=False)
    )
    left.add_patch(Rectangle((column, line), 1, 1, facecolor=ORANGE, edgecolor="white"))
    left.set_title(f"{MAP}: 3 x 3 cells are read,\nthen the kernel moves on by one", fontsize=10)
    for box in range(boxes):
        middle_.add_patch(Rectangle((0, box), 4, 0.86, facecolor=GREEN, edgecolor="white"))
        middle_.add_patch(Rectangle((4.3, box), 10.5, 0.86, facecolor=SKY, edgecolor="white"))
        middle_.text(2, box + 0.43, "4 offsets", ha="center", va="center", fontsize=9, color="white")
        middle_.text(9.55, box + 0.43, "21 class scores", ha="center", va="center", fontsize=9)
        middle_.text(-0.3, box + 0.43, f"anchor {box}", ha="right", va="center", fontsize=9)
    middle_.set(xlim=(-4.2, 15), ylim=(boxes + 0.2, -0.2))
    middle_.set_axis_off()
    middle_.set_title(f"what it gives there: {boxes} x (4 + 21)\n= {boxes * 25} numbers", fontsize=10)
    mine = anchors_of(level, line, column)
    photograph_on(right, scene.pixels)
    for anchor in default_boxes()[mine].tolist():
        _outline(right, anchor, GREEN, linewidth=2)
    right.plot(*box_ops.to_cxcywh(default_boxes()[mine])[0, :2].tolist(), "s", color=ORANGE, markersize=8)
    right.set(xlim=(-45, 345), ylim=(345, -45))
    rows = f"rows {mine.start:,} to {mine.stop - 1:,}"
    right.set_title(
        f"to which they belong: {boxes} of the {len(default_boxes()):,} anchors,\n{rows}", fontsize=10
    )
    figure.suptitle("One small kernel gives the numbers of every cell of its map", fontsize=11)
    return figure


def sliding_answers(kernel: Tensor, cells: Tensor) -> Tensor:
    """A layer that sees a whole (n, n) map, as a convolution over a larger one: (n, n), (m, m) ->
    (m - n + 1, m - n + 1)."""
    return nn.functional.conv2d(cells[None, None], kernel[None, None])[0, 0]


def from_fc_to_conv() -> Figure:
    """The same 7 x 7 weights: fully connected to a map of 7 x 7 cells they give one number; slid over 9 x 9 cells,
    nine of them. The first of the nine is that one number."""
    random = torch.Generator().manual_seed(0)
    kernel, cells = (torch.randint(-1, 2, (n, n), generator=random).float() for n in (7, 9))
    figure, (left, right, out) = plt.subplots(
        1, 3, figsize=(10, 4.1), width_ratios=(7, 9, 4), layout="constrained"
    )
    alone = sliding_answers(kernel, cells[:7, :7])
    _grid_on(left, 7)
    _numbers_on(left, cells[:7, :7])
    left.add_patch(Rectangle((0, 0), 7, 7, fill=False, edgecolor=BLUE, linewidth=3))
    left.set_title(f"fully connected: 49 weights, 49 cells,\none answer: {alone.item():.0f}", fontsize=10)
    _grid_on(right, 9)
    _numbers_on(right, cells)
    right.add_patch(Rectangle((0, 0), 7, 7, fill=False, edgecolor=BLUE, linewidth=3))
    right.add_patch(Rectangle((2, 2), 7, 7, fill=False, edgecolor=RED, linewidth=2, linestyle="--"))
    right.set_title("the same 49 weights as a kernel:\na larger map has 3 x 3 places for it", fontsize=10)
    answers = sliding_answers(kernel, cells)
    _grid_on(out, 3)
    _numbers_on(out, answers, size=11)
    for at, color in ((0, BLUE), (2, RED)):
        dash = "--" if at else "-"
        out.add_patch(Rectangle((at, at), 1, 1, fill=False, edgecolor=color, linewidth=3, linestyle=dash))
    out.set_title("nine answers", fontsize=10)
    figure.suptitle("A fully connected layer is a convolution with a single place to stand", fontsize=11)
    return figure


def taps(dilation: int, row: int, column: int) -> list[tuple[int, int]]:
    """(row, column) of the nine cells that a 3x3 kernel with this dilation reads around one."""
    ways = (-dilation, 0, dilation)
    return [(row + dy, column + dx) for dy in ways for dx in ways]


def dilation_on(scene: Scene) -> Figure:
    """The nine cells that fc6 reads for the middle of the 19 x 19 map, without dilation and with its dilation of 6,
    drawn on the image."""
    side, stride = 19, 16
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 4.9), layout="constrained")
    for ax, dilation in zip(axes, (1, 6), strict=True):
        read = taps(dilation, side // 2, side // 2)
        wide = 2 * dilation + 1
        photograph_on(ax, scene.pixels)
        for at in range(side + 1):
            style = dict(color="white", linewidth=0.5, alpha=0.6)
            ax.plot([at * stride] * 2, [0, side * stride], **style)
            ax.plot([0, side * stride], [at * stride] * 2, **style)
        for row_, column in read:
            cell = (column * stride, row_ * stride)
            ax.add_patch(Rectangle(cell, stride, stride, facecolor=ORANGE, edgecolor=BLACK, linewidth=1.2))
        corner = (read[0][1] * stride, read[0][0] * stride)
        outline = dict(fill=False, edgecolor=BLUE, linewidth=2.5)
        ax.add_patch(Rectangle(corner, wide * stride, wide * stride, **outline))
        ax.set_title(f"dilation {dilation}: 9 cells of {wide} x {wide}, {wide * stride} px wide", fontsize=10)
        ax.set(xlim=(0, side * stride), ylim=(side * stride, 0))
    figure.suptitle("Dilation lets the same nine weights cover far more of the image", fontsize=11)
    return figure


def _grid_on(ax: Axes, side: int) -> None:
    """An empty map of side x side cells."""
    for row_ in range(side):
        for column in range(side):
            ax.add_patch(Rectangle((column, row_), 1, 1, facecolor="#e8e8e8", edgecolor="white"))
    ax.set(xlim=(-0.1, side + 0.1), ylim=(side + 0.1, -0.1), aspect="equal")
    ax.set_axis_off()


def _numbers_on(ax: Axes, values: Tensor, size: float = 9) -> None:
    for row_, numbers in enumerate(values.tolist()):
        for column, value in enumerate(numbers):
            text = f"{value:.0f}".replace("-0", "0") if abs(value) < 0.5 else f"{value:.0f}"
            ax.text(column + 0.5, row_ + 0.5, text, ha="center", va="center", fontsize=size)
