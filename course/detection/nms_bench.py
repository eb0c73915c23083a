"""Explorer of chapter 10: the recorded network's boxes on a scene, or boxes of your own, and who suppresses whom."""

import ipywidgets
import torch

from course.detection.stages import HANDS, STAYS, captions, rank, recorded
from course.kit import pictures
from course.kit.board import Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, once, row
from course.kit.motion import Motion
from ssdlib import box_ops, coding
from ssdlib.data import voc
from ssdlib.detect import KEEP, NMS_IOU, SCORE, TOP_K
from ssdlib.plots import BLACK, BLUE, GREEN, PURPLE, RED
from ssdlib.records import LABELS

WITHIN, ACROSS = "within each class", "over all classes"
ALL = "all classes"
SCENES = (21, 31, 18, 7, 4)  # of the test set
SCORES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)
TOP_KS, KEEPS = (1, 2, 5, 10, 20, 50, 100, 200, 400), (1, 2, 5, 10, 20, 50, 100, 200)
VIEW = (-40.0, -40.0, 340.0, 340.0)  # the input and what boxes reach of its surroundings
IN_A_SCENE = (
    "Keys: n or Shift+n: the next candidate or the one before, arrows move the cross; a click takes a box."
)
BY_HAND = (
    "Keys: arrows move a box, Shift+arrows resize it, Alt+arrows by one pixel, n or Shift+n: another box."
)
LEGEND = (
    "blue: stays (thick and named: the six best)",
    "thin dashed red: suppressed",
    "black: the candidate; green: its suppressor",
    "dotted purple: left by NMS, but beyond keep",
)


class NmsBench(Explorer):
    """Thick: boxes that stay. Thin and dashed: suppressed. Black: the candidate; green: its suppressor."""

    alt = "Boxes on a scene: those that stay thick with class and score, the suppressed ones thin and dashed"

    def __init__(self, case: int | str = SCENES[0]):
        """`case` is the place of a test scene, or the name of a case by hand."""
        self.recorded = recorded()
        self.board = Board(
            label="Boxes and their suppression",
            view=list(VIEW),
            width=520,
        )
        cases = [(self._title(i), i) for i in SCENES] + [(name, name) for name in HANDS]
        self.case = ipywidgets.Dropdown(options=cases, value=case, description="case")
        self.shown = ipywidgets.Dropdown(options=[ALL], description="show")
        self.scope = ipywidgets.Dropdown(options=[WITHIN, ACROSS], description="suppress")
        self.score = ipywidgets.SelectionSlider(options=SCORES, value=SCORE, description="score >")
        self.nms_iou = ipywidgets.FloatSlider(NMS_IOU, min=0, max=1, step=0.05, description="NMS IoU >")
        self.top_k = ipywidgets.SelectionSlider(options=TOP_KS, value=TOP_K, description="top-k")
        self.keep = ipywidgets.SelectionSlider(options=KEEPS, value=KEEP, description="keep")
        self.place = ipywidgets.IntSlider(0, min=0, max=1, description="candidate")
        self.upto = ipywidgets.Checkbox(True, description="only up to the candidate", indent=False)
        self.play = Motion("Go through the candidates", self._forward)
        self.table = html_text()
        numbers = (self.score, self.top_k, self.nms_iou, self.keep)
        for slider in (*numbers, self.place):
            slider.layout.width = "320px"
        for widget in (self.shown, self.scope, self.upto, *numbers):
            widget.observe(self._update, "value")
        self.place.observe(self._take, "value")
        self.case.observe(self._load, "value")
        self.board.observe(self._next, "steps")
        self.board.observe(self._hold, "active")
        self.board.observe(self._click, "pointer")
        self.board.observe(self._update, "boxes")
        words = ipywidgets.VBox([*numbers, self.place, self.upto, self.table])
        super().__init__([row(self.case, self.shown, self.scope, self.play), beside(self.board, words)])
        self._load()

    @property
    def by_hand(self) -> bool:
        return self.case.value in HANDS

    def _load(self, change: object = None) -> None:
        """Another case: its boxes, its image, its classes."""
        with self.setting():
            board, case = self.board, self.case.value
            board.pointer_mode, board.active = "none" if self.by_hand else "click", 0
            board.hint = BY_HAND if self.by_hand else IN_A_SCENE
            if self.by_hand:
                board.picture, board.boxes = "", [list(corners) for _, _, corners in HANDS[case]]
                present = {LABELS[name] for name, _, _ in HANDS[case]}
            else:
                board.boxes, board.box_names = [], []
                said = self.recorded.of(case)
                self.probabilities = said.logits[0].softmax(dim=-1)
                self.decoded = coding.decode(said.offsets[0], self.recorded.anchors)
                board.picture = as_url(pictures.scene(self.recorded.examples[case]).pixels)
                present = set((self.probabilities[:, 1:].amax(dim=0) > SCORE).nonzero()[:, 0].add(1).tolist())
            self.shown.options = [ALL] + [voc.CLASSES[label] for label in sorted(present)]
            self.shown.value, self.place.max, self.place.value = ALL, 1, int(not self.by_hand)
        self._update()

    @once
    def _update(self, change: object = None) -> None:
        with self.board.hold_sync():  # one message, so that image and words change together
            self._redraw()

    def _redraw(self) -> None:
        if self.by_hand:
            hand = HANDS[self.case.value]
            self.probabilities = torch.zeros(len(hand), len(voc.CLASSES))
            for i, (name, score, _) in enumerate(hand):
                self.probabilities[i, LABELS[name]] = score
            self.decoded = torch.tensor(self.board.boxes)
        self.ranking = rank(
            *(self.probabilities, self.decoded, self.score.value, self.top_k.value),
            *(self.nms_iou.value, self.keep.value, self.scope.value == ACROSS),
        )
        label = LABELS.get(self.shown.value, 0)
        mine = (
            self.ranking.labels == label if label else torch.ones(len(self.ranking.scores), dtype=torch.bool)
        )
        self.visible = mine.nonzero()[:, 0]
        self.place.max = max(len(self.visible) - 1, 0)
        if self.by_hand:
            self._name_boxes()
        self.board.scene = {"layers": self._layers()}
        self.board.status = self.sentence()
        self.table.value = "<br>".join(self.summary())

    def _layers(self) -> list[dict]:
        found, left = self.ranking, torch.zeros(len(self.ranking.scores), dtype=torch.bool)
        left[found.kept] = True
        decided = self.visible if self.by_hand else self.decided
        gone = decided[found.suppressor[decided] != STAYS]
        kept = decided[left[decided]]
        late = decided[(found.suppressor[decided] == STAYS) & ~left[decided]]
        if self.by_hand:
            return [layer(found.boxes[kept], BLUE, line=0, fill=0.15)]
        six = kept[:6].flip(0)  # the best one is drawn last, on top
        named = zip(found.boxes[six].tolist(), captions(found, six), strict=True)
        texts = [(box[0], box[1], text) for box, text in named]
        layers = [
            layer(found.boxes[gone], RED, line=0.8, alpha=0.45, dash=(4, 3)),
            layer(found.boxes[late], PURPLE, line=1.2, alpha=0.8, dash=(1, 3)),
            layer(found.boxes[kept], BLUE, line=1.5, alpha=0.6),
            layer(found.boxes[six], BLUE, line=3.0, texts=texts),
        ]
        if len(self.visible):
            at = self.chosen()
            by = int(found.suppressor[at])
            if by != STAYS:
                x1, _, _, y2 = found.boxes[by].tolist()
                layers.append(
                    layer(found.boxes[by : by + 1], GREEN, line=4.5, texts=[(x1, y2 + 12, "suppressor")])
                )
            x1, _, _, y2 = found.boxes[at].tolist()
            layers.append(
                layer(found.boxes[at : at + 1], BLACK, line=2.5, dash=() if by == STAYS else (7, 4))
            )
        return layers

    @property
    def decided(self) -> torch.Tensor:
        """Places in the ranking that are drawn: all of those to be seen, or those up to the candidate, since what
        comes later decides nothing about them."""
        return self.visible[: self.place.value + 1] if self.upto.value else self.visible

    def _forward(self) -> bool:
        last = len(self.visible) - 1
        if last < 1:
            return False
        self.place.value = self.place.value + 1 if self.place.value < last else 0
        return self.place.value < last

    def _name_boxes(self) -> None:
        """By hand every box says what becomes of it."""
        colors, names = [], []
        for i, (name, score, _) in enumerate(HANDS[self.case.value]):
            fate, place = "no candidate", self._place_of(i)
            if place is not None:
                by = int(self.ranking.suppressor[place])
                fate = "stays" if place in self.ranking.kept else "beyond keep"
                fate = fate if by == STAYS else f"out, by {'ABCDE'[self.ranking.anchors[by]]}"
            colors.append(BLUE if fate == "stays" else RED)
            names.append(f"{'ABCDE'[i]} {name} {score:g}: {fate}")
        self.board.box_colors, self.board.box_names = colors, names

    def _place_of(self, i: int) -> int | None:
        """Place in the ranking of the box by hand number i, None if it is no candidate."""
        found = (self.ranking.anchors == i).nonzero()[:, 0].tolist()
        return found[0] if found else None

    def _take(self, change: object = None) -> None:
        """The slider: by hand, the box goes with it."""
        if self.busy:
            return
        if self.by_hand and len(self.visible):
            with self.setting():
                self.board.active = int(self.ranking.anchors[self.chosen()])
        self._update()

    def _next(self, change: dict) -> None:
        """The n key in a scene: down the ranking, and from its end to its beginning."""
        if not self.busy and not self.by_hand and len(self.visible):
            self.place.value = (self.place.value + change["new"] - change["old"]) % len(self.visible)

    def _hold(self, change: object = None) -> None:
        """By hand: the n key, or a box taken in hand."""
        if self.busy or not self.by_hand:
            return
        with self.setting():
            self.shown.value = ALL
        self._update()  # all are visible again
        place = self._place_of(self.board.active)
        if place is not None and place != self.place.value:
            self.place.value = place

    def _click(self, change: object = None) -> None:
        """Take the candidate whose edge is nearest to where one clicked."""
        if self.busy or self.by_hand or not len(self.visible):
            return
        x, y = self.board.pointer
        x1, y1, x2, y2 = self.ranking.boxes[self.visible].unbind(dim=1)
        outside = torch.stack([x1 - x, x - x2, y1 - y, y - y2])  # all negative inside
        beyond = outside[[0, 2]].maximum(outside[[1, 3]]).clamp(min=0).norm(dim=0)
        self.place.value = int(torch.where(beyond > 0, beyond, -outside.amax(dim=0)).argmin())

    def chosen(self) -> int:
        """Place in the ranking of the candidate one looks at."""
        return int(self.visible[min(self.place.value, len(self.visible) - 1)])

    def sentence(self) -> str:
        """What became of the chosen candidate, and why."""
        if not len(self.visible):
            return "no candidate: no score is above the threshold"
        if self.by_hand and self._place_of(self.board.active) is None:
            name, score, _ = HANDS[self.case.value][self.board.active]
            low = score <= self.score.value
            why = (
                f"its score isn't above {self.score.value:g}"
                if low
                else "it isn't among the top-k of its class"
            )
            return f"{name} {score:.2f}: no candidate, {why}"
        found, at = self.ranking, self.chosen()
        by = int(found.suppressor[at])
        text = f"candidate {at}, {captions(found, torch.tensor([at]))[0]}"
        if by != STAYS:
            iou = float(box_ops.iou(found.boxes[at], found.boxes[by]))
            return f"{text}: suppressed by {by}, {captions(found, torch.tensor([by]))[0]}, IoU {iou:.2f}"
        return f"{text}: " + (
            "stays" if at in found.kept else "survives NMS, but isn't among the best of the image"
        )

    def summary(self) -> list[str]:
        found = self.ranking
        left = int((found.suppressor == STAYS).sum())
        lines = [
            f"{found.above:,} scores above {self.score.value:g}",
            f"{len(found.scores):,} after top-k {self.top_k.value} of each class",
            f"{left:,} left by NMS {self.nms_iou.value:.2f} {self.scope.value}",
            f"{len(found.kept):,} after keep {self.keep.value}",
            f"{int((found.scores[found.kept] >= 0.5).sum())} of them with a score of 0.5 or more",
            "",
            *self.sentence().split(": "),
        ]
        if self.by_hand:
            return lines
        later = len(self.visible) - len(self.decided)
        return [
            *lines,
            f"{later:,} candidates still to come" if later else "no candidate left to come",
            "",
            *LEGEND,
        ]

    def state(self) -> str:
        case = self.case.value if self.by_hand else f"scene {self.case.value}"
        return (
            f"{case}, score {self.score.value:g}, top-k {self.top_k.value}, NMS {self.nms_iou.value:.2f} "
            f"{self.scope.value}, keep {self.keep.value}, {self.shown.value}: {len(self.ranking.scores)} candidates, "
            f"{len(self.ranking.kept)} stay; {self.sentence()}"
        )

    def _title(self, i: int) -> str:
        names = [voc.CLASSES[label] for label in self.recorded.examples[i].labels.tolist()]
        return f"scene {i}: " + (", ".join(names) if len(names) < 4 else f"{len(names)} objects")
