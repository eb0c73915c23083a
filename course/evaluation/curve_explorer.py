"""Explorer of chapter 11: move the threshold along a precision-recall curve and see which detection comes in."""

import ipywidgets
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from course.evaluation.devkit_rule import IGNORED, TRUE
from course.evaluation.figures import LINES
from course.evaluation.judging import NOTHING, Judged, Rule, Subject, judge, recorded, standing
from course.kit import pictures
from course.kit.board import Board, as_url, layer, steps_taken
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.panel import Panel
from ssdlib.evaluate import ONE_BASED
from ssdlib.plots import BLACK, BLUE, ORANGE, SKY
from ssdlib.records import LABELS, Example

RULES = {
    "the devkit's": Rule(),
    "no + 1": Rule(extent=0.0),
    "difficult objects counted": Rule(difficult="counted"),
    "difficult objects not annotated": Rule(difficult="unknown"),
    "second hits ignored": Rule(again="ignored"),
    "an overlap of 0.75 wanted": Rule(hit=0.75),
}
SIDE = 300  # of the image
THUMB, THUMBS, GAP = 67, 4, 6  # the detections before this one, below the image
HEIGHT = SIDE + THUMB + 2 * GAP
LEFT, RIGHT, TOP, BOTTOM = 350.0, 748.0, 16.0, 330.0  # of the curve
PANEL = Panel(LEFT, TOP, RIGHT, BOTTOM)
VIEW = (-6.0, -16.0, 758.0, HEIGHT + 4.0)
MOST = 500  # points of a curve that are sent to the browser, twice
GREY = "#707070"
SHOWN, BEGIN = "chair", 30  # class and place at the beginning


def nearest_point(judged: Judged, recall: float, precision: float) -> int:
    """How many detections bring one nearest to this place of the plot; 0 where there are none."""
    if not len(judged.scores):
        return 0
    far = (judged.recall - recall) ** 2 + (np.nan_to_num(judged.precision) - precision) ** 2
    return int(np.nan_to_num(far, nan=9.0).argmin()) + 1


def thinned(recall: np.ndarray, precision: np.ndarray, most: int = MOST) -> tuple[np.ndarray, np.ndarray]:
    """A curve with at most 2 * `most` points: all of its first ones, then every so many, and the last."""
    later = np.linspace(min(most, len(recall)), max(len(recall) - 1, 0), most).round().astype(int)
    keep = np.unique(np.concatenate([np.arange(min(most, len(recall))), later]))
    keep = keep[keep < len(recall)]
    return recall[keep], np.nan_to_num(precision[keep])


class CurveExplorer(Explorer):
    """Choose a class and a rule, move along the ranking, see what the next detection is and where the point goes."""

    alt = (
        "Left the image of the detection that has just come in, its box and the objects of the class, below it the "
        "four detections before; right the precision-recall curve with the eleven points and where one stands"
    )

    def __init__(self, subject: Subject | None = None):
        self.subject = subject or recorded()
        self.by_id = {example.image_id: example for example in self.subject.examples}
        self.seen: dict[str, torch.Tensor] = {}
        self.board = Board(
            label="A precision-recall curve and the image of a detection",
            hint="Keys: left, right: one detection, up, down: ten, n or Shift+n: the next or last that isn't true. "
            "A click on the curve goes there.",
            view=list(VIEW),
            width=860,
            pointer_mode="press",
        )
        self.board.frame = [0.0, 0.0, float(SIDE), float(HEIGHT)]
        names = list(self.subject.results)
        first = SHOWN if SHOWN in names else names[0]
        self.name = ipywidgets.Dropdown(options=names, value=first, description="class")
        self.rule = ipywidgets.Dropdown(options=list(RULES), description="rule")
        self.place = ipywidgets.IntSlider(1, min=0, max=1, description="detections")
        self.place.layout.width = "420px"
        self.text = html_text()
        for widget in (self.name, self.rule):
            widget.observe(self._load, "value")
        self.place.observe(self._show, "value")
        self.board.observe(self._pressed, "pressed")
        self.board.observe(self._stepped, "arrows")
        self.board.observe(self._next, "steps")
        super().__init__([row(self.name, self.rule, self.place), beside(self.board, self.text)])
        self._load()
        self._go(BEGIN)

    def _load(self, change: object = None) -> None:
        """Another class or rule: its verdicts. One stays at the same place of the ranking."""
        name = self.name.value
        self.judged = judge(
            self.subject.results[name], self.subject.objects, LABELS[name], RULES[self.rule.value]
        )
        self.place.max = len(self.judged.scores)
        self._show()

    def _pressed(self, change: dict) -> None:
        x, y, _ = self.board.pressed
        if x >= LEFT - 5:
            recall, precision = (x - LEFT) / (RIGHT - LEFT), (BOTTOM - y) / (BOTTOM - TOP)
            self._go(nearest_point(self.judged, recall, precision))

    def _stepped(self, change: dict) -> None:
        right, down = steps_taken(change)
        self._go(self.place.value + right + 10 * down)

    def _next(self, change: dict) -> None:
        """The n key: to the next detection that isn't true; keys pressed quickly may come as one change."""
        steps = change["new"] - change["old"]
        others = np.flatnonzero(self.judged.said != TRUE) + 1
        beyond = others[others > self.place.value] if steps > 0 else others[others < self.place.value][::-1]
        if len(beyond):
            self._go(int(beyond[min(abs(steps), len(beyond)) - 1]))

    def _go(self, place: int) -> None:
        self.place.value = min(max(place, 0), self.place.max)

    # ---- what is shown

    def _show(self, change: object = None) -> None:
        layers = self._curve() + self._image()
        lines = self.summary()
        with self.board.hold_sync():  # one message, so that image and words change together
            self.board.scene = {"layers": layers}
            self.board.status = lines[0]
        self.text.value = "<br>".join(lines[1:])

    def _curve(self) -> list[dict]:
        judged, n = self.judged, self.place.value
        marks = PANEL.beside({0.5: "0.5", 1.0: "1"}, away=26)
        marks += PANEL.below({0.0: "0", 0.5: "0.5", 1.0: "1"}, away=17)
        titles = [(LEFT, TOP - 6, "precision"), (RIGHT - 44, BOTTOM + 34, "recall")]
        layers = [
            *PANEL.ground(frame=1, color=GREY),
            layer(color="#e8e8e8", texts=[*marks, *titles]),
        ]
        points = np.arange(11) * 0.1
        heights = [np.nan_to_num(judged.precision)[judged.recall >= t].max(initial=0.0) for t in points]
        bars = [
            [PANEL.across(t), BOTTOM, PANEL.across(t), PANEL.up(h)]
            for t, h in zip(points, heights, strict=True)
        ]
        tops = [v for t, h in zip(points, heights, strict=True) for v in (PANEL.across(t), PANEL.up(h))]
        layers.append(layer(color=SKY, line=3, alpha=0.7, curves=bars, points=tops, radius=5))
        for until, color, line in ((len(judged.scores), GREY, 1.2), (n, BLUE, 2.8)):
            path = PANEL.curve(*thinned(judged.recall[:until], judged.precision[:until]))
            layers.append(layer(color=color, line=line, curves=[path]))
        at = standing(judged, n)
        if not np.isnan([at.recall, at.precision]).any():
            x, y = PANEL.across(at.recall), PANEL.up(at.precision)
            layers.append(
                layer(color=BLACK, line=1, dash=(3, 3), curves=[[LEFT, y, x, y], [x, BOTTOM, x, y]])
            )
            layers.append(layer(color=BLACK, points=[x, y], radius=6))
        return layers

    def _image(self) -> list[dict]:
        """The n-th detection in its image and the four before it below. Draws the image, gives the boxes."""
        sheet = torch.full((HEIGHT, SIDE, 3), 255, dtype=torch.uint8)
        layers, n = [], self.place.value
        for back in range(1, THUMBS + 1):
            if n - back > 0:
                example, box = self._detection(n - back)
                x, y = GAP + (back - 1) * (THUMB + GAP), SIDE + GAP
                sheet[y : y + THUMB, x : x + THUMB] = _cut(self._pixels(example), box)
                color, dash = _style(self.judged.said[n - back - 1])
                frame = torch.tensor([x, y, x + THUMB, y + THUMB], dtype=torch.float32)
                words_ = [(x, y + 16, f"{n - back} {self.judged.said[n - back - 1]}")]
                layers.append(layer(frame, color, line=2.5, dash=dash, texts=words_))
        if n > 0:
            example, box = self._detection(n)
            sheet[:SIDE] = self._pixels(example)
            layers += self._objects(example)
            color, dash = _style(self.judged.said[n - 1])
            x1, _, _, y2 = box.tolist()
            said = [(x1, min(y2 + 17, SIDE), f"{n} {self.judged.said[n - 1]}")]
            layers.append(layer(box, color, line=3, dash=dash, texts=said))
        self.board.picture = as_url(sheet)
        return layers

    def _objects(self, example: Example) -> list[dict]:
        layers, mine = [], example.labels == LABELS[self.name.value]
        for hard in (False, True):
            boxes = _on_input(example.boxes[mine & (example.difficult == hard)], example)
            texts = [(box[0], box[1], "difficult") for box in boxes.tolist()] if hard else []
            layers.append(layer(boxes, ORANGE, line=4, dash=(2, 3) if hard else (), texts=texts))
        return layers

    def _detection(self, n: int) -> tuple[Example, torch.Tensor]:
        """The example of the n-th detection and its box in px of the 300 x 300 input."""
        results, i = self.subject.results[self.name.value], self.judged.order[n - 1]
        example = self.by_id[results.image_ids[i]]
        box = torch.from_numpy(results.boxes[i] - np.array(ONE_BASED)).float()
        return example, _on_input(box, example)

    def _pixels(self, example: Example) -> torch.Tensor:
        """The image at 300 x 300; grey where only annotations are on disk."""
        if example.image_id not in self.seen:
            there = example.path.is_file()
            grey = torch.full((SIDE, SIDE, 3), 225, dtype=torch.uint8)
            self.seen[example.image_id] = pictures.scene(example).pixels if there else grey
        return self.seen[example.image_id]

    def summary(self) -> list[str]:
        judged, n = self.judged, self.place.value
        at = standing(judged, n)
        second = f", {at.again} of them second hits" if at.again else ""
        lines = [
            f"{at.true} true, {at.false} false{second}, {at.ignored} ignored; {judged.total} objects count",
            f"recall {at.true} / {judged.total} = {at.recall:.2f}, precision {at.true} / {at.true + at.false} = "
            f"{at.precision:.2f}",
            f"AP of the whole curve: 11 points {100 * judged.ap():.1f}, area {100 * judged.ap('area'):.1f}",
        ]
        if not n:
            return ["no detection: the threshold is above every score", *lines]
        near = judged.nearest[n - 1] != NOTHING
        with_ = f"overlap {judged.overlap[n - 1]:.2f}" if near else "overlaps no object of its class"
        score, said = judged.scores[n - 1], judged.said[n - 1]
        return [
            f"threshold {score:.2f}: detection {n} of {len(judged.scores)} comes in, {with_}: {said}",
            *lines,
        ]

    def still(self) -> Figure:
        return self.stacked()

    def state(self) -> str:
        first, counts, _, ap = self.summary()
        return f"{self.name.value}, {self.rule.value}; {first}; {counts}; {ap}"


def _style(verdict: str) -> tuple[str, tuple[int, ...]]:
    color, style = LINES[verdict]
    dash = {"-": (), "--": (6, 4), "-.": (9, 3, 2, 3), ":": (2, 3)}[style]
    return BLACK if verdict == IGNORED else color, dash


def _on_input(boxes: torch.Tensor, example: Example) -> torch.Tensor:
    width, height = example.size
    return boxes * torch.tensor([SIDE / width, SIDE / height] * 2)


def _cut(pixels: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """A square around a box, (THUMB, THUMB, 3)."""
    x1, y1, x2, y2 = box.tolist()
    half = max(x2 - x1, y2 - y1, 30) * 0.65
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    part = Image.fromarray(pixels.numpy()).crop([round(v) for v in (x - half, y - half, x + half, y + half)])
    return torch.from_numpy(np.array(part.resize((THUMB, THUMB))))
