"""Explorer of chapter 02: walk over the cells of six maps and change the numbers that anchors are made from."""

from dataclasses import replace
from functools import lru_cache

import ipywidgets
import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from course.anchors.coverage import BANDS, by_size, covered
from course.anchors.places import Place, index_of
from course.boxes.voc_facts import shapes as voc_shapes
from course.kit.board import Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.panel import PALE, Panel
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes
from ssdlib.plots import BLUE, GREEN, ORANGE, PURPLE, RED

NOTHING, BORDER = "nothing more", "all that cross the border"
CENTRES, SIZES = "what clipping centres changes", "what clipping sizes changes"
RATIOS = {
    "as released": SSD300_ANCHORS.aspect_ratios,
    "squares only": ((),) * 6,
    "2 and 1/2 on every map": ((2,),) * 6,
    "2, 1/2, 3, 1/3 on every map": ((2, 3),) * 6,
}
CHART = (230.0, 392.0)  # width and height of the diagrams, px
HEAT = Panel(36.0, 16.0, 216.0, 196.0, x=(0.0, 300.0), y=(0.0, 300.0))  # sizes of objects, px of the input
BARS, LINE = Panel(58.0, 232.0, 190.0, 388.0), 26.0  # shares; how high the pair of bars of one size is
STYLES = (  # of the shapes of a cell in their order: colour, line in screen px, dash
    *((BLUE, 3.0, ()), (BLUE, 2.0, (6, 4))),
    *((GREEN, 2.5, ()), (RED, 2.5, ())),
    *((GREEN, 1.5, (3, 3)), (RED, 1.5, (3, 3))),
)


def crossing(boxes: Tensor, canvas: float = SSD300_ANCHORS.canvas) -> Tensor:
    """(..., 4) px -> (...) bool: which boxes reach beyond the image. A box that touches the border stays inside."""
    return ((boxes < 0) | (boxes > canvas)).any(dim=-1)


def names(spec: AnchorSpec, level: int) -> list[str]:
    """What the shapes of a cell are called, in order: 1, 1', 2, 1/2, 3, 1/3."""
    ratios = [name for ratio in spec.aspect_ratios[level] for name in (f"{ratio}", f"1/{ratio}")]
    return ["1", "1'", *ratios]


def heat() -> Tensor:
    """(300, 300, 3) uint8: how many objects of VOC 07+12 have which width (to the right) and height (upwards), the
    darker the more, on a logarithmic scale."""
    share = (voc_shapes() + 1).log()
    dark = (share / share.max()).flip(0)[..., None]
    pixels = 255 - dark * (255 - torch.tensor([20.0, 40.0, 70.0]))
    return pixels.to(torch.uint8).repeat_interleave(5, dim=0).repeat_interleave(5, dim=1)


@lru_cache(maxsize=32)
def measures(spec: AnchorSpec) -> tuple[float, tuple[float, ...]]:
    """Share of the objects of VOC 07+12 covered with IoU 0.5: of all, and by size (the bands of `coverage`)."""
    table, share = voc_shapes(), covered(spec)
    return float((share * table).sum() / table.sum()), tuple(part for _, part in by_size(share, table))


class AnchorBrowser(Explorer):
    """Click a cell or walk with the arrow keys; below, the numbers that anchors are made from."""

    alt = (
        "The anchors of one cell on an image, numbered in their order, beside a table: your numbers, the released "
        "ones, and how many objects of VOC each of them covers"
    )

    def __init__(self, picture: Tensor | None = None, level: int = 2):
        """`picture` (300, 300, 3) uint8 lies under the anchors; `level` 0..5 is the map to begin with."""
        self.board = Board(
            label="The anchors of a cell",
            hint="Keys: arrows go to the next cell. A click goes to a cell.",
            width=500,
            picture="" if picture is None else as_url(picture),
            picture_alpha=0.5,
            pointer_mode="click",
        )
        maps = enumerate(zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.sources, strict=True))
        sides = [(f"{f}² {name}", i) for i, (f, name) in maps]
        self.level = ipywidgets.Dropdown(options=sides, value=level, description="map")
        self.show = ipywidgets.Dropdown(options=[NOTHING, BORDER, CENTRES, SIZES], description="show also")
        slow = dict(layout=ipywidgets.Layout(width="auto"), style={"description_width": "104px"})
        self.first = ipywidgets.IntSlider(10, min=3, max=30, description="first %", **slow)
        self.range = ipywidgets.IntRangeSlider(
            value=(20, 90), min=10, max=110, description="lowest, highest", **slow
        )
        self.ratios = ipywidgets.Dropdown(options=list(RATIOS), description="ratios")
        self.reset = ipywidgets.Button(description="reset")
        self.chart = Board(
            label="Above, VOC's objects by width and height, your anchors as dots, the released ones as squares. "
            "Below, which share of VOC's objects is covered, by size: your anchors blue, the released orange",
            view=[0.0, 0.0, *CHART],
            frame=[HEAT.left, HEAT.top, HEAT.right, HEAT.bottom],
            width=int(CHART[0]),
            picture=as_url(heat()),
        )
        self.table = html_text()
        self.level.observe(self._change_map, "value")
        self.reset.on_click(self._reset)
        for widget in (self.show, self.first, self.range, self.ratios):
            widget.observe(self._update, "value")
        self.board.observe(self._update, ["pointer"])
        parts = beside(self.board, ipywidgets.VBox([self.first, self.range, self.chart]), self.table)
        for part, flex in zip(parts.children, ("3 1 330px", "1 1 240px", "1 1 320px"), strict=True):
            part.layout.flex = flex
        super().__init__(
            [
                row(self.level, self.show, self.ratios, self.reset),
                parts,
            ]
        )
        self._change_map()

    @property
    def spec(self) -> AnchorSpec:
        """The numbers as the sliders stand."""
        return replace(
            SSD300_ANCHORS,
            first_percent=self.first.value,
            percent_range=tuple(self.range.value),
            aspect_ratios=RATIOS[self.ratios.value],
        )

    @property
    def cell(self) -> tuple[int, int]:
        """Row and column of the cell the pointer is in."""
        stride, cells = (
            SSD300_ANCHORS.strides[self.level.value],
            SSD300_ANCHORS.feature_maps[self.level.value],
        )
        column, line = (min(cells - 1, max(0, int(at // stride))) for at in self.board.pointer)
        return line, column

    def _reset(self, button: object = None) -> None:
        self.first.value, self.range.value, self.ratios.value = 10, (20, 90), "as released"

    def _change_map(self, change: object = None) -> None:
        stride, cells = (
            SSD300_ANCHORS.strides[self.level.value],
            SSD300_ANCHORS.feature_maps[self.level.value],
        )
        low, high = stride / 2, (cells - 0.5) * stride
        with self.board.hold_sync():
            self.board.key_step = float(stride)
            self.board.pointer_limits = [low, low, high, high]
            self._update()

    def _update(self, change: object = None) -> None:
        spec, level = self.spec, self.level.value
        line, column = self.cell
        stride, cells = spec.strides[level], spec.feature_maps[level]
        centre = [(column + 0.5) * stride, (line + 0.5) * stride]
        if self.board.pointer != centre:
            self.board.pointer = centre  # the cross stands where the anchors of the cell are centred
            if change is not None and change["name"] == "pointer":
                return  # setting it has called this function again
        self.boxes = default_boxes(spec).split(spec.per_map)[level]
        first = index_of(Place(level, line, column, 0), spec) - sum(spec.per_map[:level])
        mine = self.boxes[first : first + spec.boxes_per_cell[level]]
        self.crossing = int(crossing(self.boxes).sum())
        dots = [(i + 0.5) * stride for i in range(cells)]
        edge = torch.tensor([column, line, column + 1, line + 1]) * stride
        layers = [
            layer(edge, ORANGE, line=1, fill=0.3),
            layer(
                points=[at for y in dots for x in dots for at in (x, y)],
                radius=1 if cells > 20 else 2,
                alpha=0.6,
            ),
            *self._also(spec, level),
            *(_anchor(i, box) for i, box in enumerate(mine)),
        ]
        low, high = float(self.boxes.min()), float(self.boxes.max())
        lines = self.summary()
        with self.board.hold_sync():  # one message, so that drawing and words change together
            self.board.view = [min(-20.0, low - 12)] * 2 + [max(320.0, high + 12)] * 2
            self.board.scene = {"layers": layers}
            self.board.status = f"{lines[0]}; {lines[1]}"
        share, _ = measures(spec)
        with self.chart.hold_sync():
            self.chart.scene = {"layers": chart_layers(spec)}
            self.chart.status = (
                f"covered: {100 * share:.1f} %, released {100 * measures(SSD300_ANCHORS)[0]:.1f} %"
            )
        self.table.value = "<pre style='line-height:1.35'>" + "\n".join(lines) + "</pre>"

    def _also(self, spec: AnchorSpec, level: int) -> list[dict]:
        """Layers of what `show` asks for."""
        if self.show.value == NOTHING:
            return []
        chosen, style = self.boxes[crossing(self.boxes)], dict(line=0.7, alpha=0.45)
        if self.show.value != BORDER:
            clip = "center" if self.show.value == CENTRES else "size"
            other = default_boxes(spec, clip).split(spec.per_map)[level]
            chosen = other[(other - self.boxes).abs().amax(dim=1) > 1e-3]
        return [layer(chosen, PURPLE, dash=(4, 2), **style)]

    def summary(self) -> list[str]:
        spec, level = self.spec, self.level.value
        line, column = self.cell
        stride = spec.strides[level]
        first = index_of(Place(level, line, column, 0), spec)
        lines = [
            f"map {spec.feature_maps[level]}², row {line}, column {column}",
            f"centre ({(column + 0.5) * stride:g}, {(line + 0.5) * stride:g}), {stride} px apart",
        ]
        for i, (name, (width, height)) in enumerate(zip(names(spec, level), spec.shapes(level), strict=True)):
            lines.append(f"  {i}: ratio {name:<4} {width:5.1f} x {height:5.1f}   anchor {first + i:,}")
        share, bands = measures(spec)
        was, parts = measures(SSD300_ANCHORS)
        lines += [
            f"{self.crossing} of the map's {spec.per_map[level]:,} cross the border",
            "",
            f"{'':<12}{'yours':>9}{'released':>10}",
        ]
        for i, (size, old) in enumerate(zip(spec.min_sizes, SSD300_ANCHORS.min_sizes, strict=True)):
            lines.append(f"{f'size {i + 1}':<12}{size:9.0f}{old:10.0f}")
        lines.append(f"{'one more':<12}{spec.max_sizes[-1]:9.0f}{SSD300_ANCHORS.max_sizes[-1]:10.0f}")
        lines.append(f"{'anchors':<12}{sum(spec.per_map):9,}{sum(SSD300_ANCHORS.per_map):10,}")
        lines.append(f"{'covered, %':<12}{100 * share:9.1f}{100 * was:10.1f}")
        for low, high, part, old in zip(BANDS, BANDS[1:], bands, parts, strict=False):
            lines.append(f"{f'  {low}-{high} px':<12}{100 * part:9.1f}{100 * old:10.1f}")
        return lines

    def state(self) -> str:
        line, column = self.cell
        share, _ = measures(self.spec)
        sizes = [round(size) for size in self.spec.min_sizes]
        return (
            f"map {self.level.value + 1}, row {line}, column {column}, sizes {sizes}, "
            f"{sum(self.spec.per_map)} anchors, {100 * share:.1f} % covered"
        )

    def still(self) -> Figure:
        figure, (left, middle, right) = plt.subplots(
            1, 3, figsize=(11, 4.8), width_ratios=(1, 0.6, 0.9), layout="constrained"
        )
        plt.close(figure)
        self.board.on(left)
        self.chart.on(middle)
        right.set_axis_off()
        right.text(0, 1, "\n".join(self.summary()), va="top", fontsize=9, family="monospace")
        return figure


def chart_layers(spec: AnchorSpec) -> list[dict]:
    """Shapes on the heat map and bars of coverage below it: `spec` in blue, the released numbers in orange."""
    (share, bands), (was, parts) = measures(spec), measures(SSD300_ANCHORS)
    dots, squares = (
        [(HEAT.across(w), HEAT.up(h)) for i in range(len(one.feature_maps)) for w, h in one.shapes(i)]
        for one in (spec, SSD300_ANCHORS)
    )
    squares = torch.tensor([[x - 3, y - 3, x + 3, y + 3] for x, y in squares], dtype=torch.float32)
    mine, theirs, words = [], [], []
    names = [*(f"{low}-{high}" for low, high in zip(BANDS, BANDS[1:], strict=False)), "all"]
    for i, (name, now, before) in enumerate(zip(names, (*bands, share), (*parts, was), strict=True)):
        top = BARS.top + LINE * i
        mine.append([BARS.left, top + 3, BARS.across(now), top + 11])
        theirs.append([BARS.left, top + 13, BARS.across(before), top + 21])
        words += [(2.0, top + 20, name), (BARS.right + 4, top + 20, f"{100 * now:.1f}")]
    heads = [(HEAT.left, HEAT.top - 1, "height"), (HEAT.right - 34, HEAT.bottom + 17, "width")]
    return [
        layer(squares, ORANGE, line=1.5),
        layer(color=BLUE, points=[at for dot in dots for at in dot], radius=2.5),
        layer(torch.tensor(mine), BLUE, line=0.5, fill=0.8),
        layer(torch.tensor(theirs), ORANGE, line=1.5, dash=(3, 2), fill=0.3),
        layer(color=PALE, texts=[*words, *heads, (2.0, BARS.top, "covered, % (px)")]),
        layer(color=BLUE, texts=[(114.0, BARS.top, "yours")]),
        layer(color=ORANGE, texts=[(158.0, BARS.top, "released")]),
    ]


def _anchor(i: int, box: Tensor) -> dict:
    """The layer of a cell's i-th anchor, its number at a side where no other's is."""
    color, line, dash = STYLES[i]
    x1, y1, x2, y2 = box.tolist()
    middle = ((x1 + x2) / 2, (y1 + y2) / 2)
    spots = ((x2, y2), (x1, y1), (x1, middle[1]), (middle[0], y1), (x2, middle[1]), (middle[0], y2))
    return layer(box, color, line=line, dash=dash, texts=[(*spots[i], f"{i}")])
