"""Explorer of chapter 03: drag objects, see which anchors answer for them, by which step of matching."""

from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets
import torch
from torch import Tensor

from course.anchors.places import by_map, describe
from course.kit import pictures
from course.kit.board import KEYS, Board, as_url, layer
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.motion import Motion
from ssdlib import matching
from ssdlib.anchors import default_boxes
from ssdlib.plots import BLACK, BLUE, GREEN, PURPLE, RED

GREEDY, OVERWRITE = "greedy bipartite (Caffe)", "argmax, the later object wins"
SPEEDS = {"slow": 0.5, "normal": 1.0, "fast": 3.0}  # rounds a second
FADED = 0.22  # opacity of what isn't chosen
OBJECT_COLORS = (RED, PURPLE, BLACK)
VIEW = (-60.0, -40.0, 450.0, 340.0)  # the image and the margin that anchors reach into

# The cases that are often confused: objects as corners in px of the input
PRESETS = {
    "two objects, far apart": [[30, 60, 120, 180], [150, 40, 290, 270]],
    "two objects, one best anchor": [[94, 95, 112, 113], [97, 95, 115, 113]],
    "too small for any IoU of 0.5": [[150, 150, 162, 162]],
    "between two cells": [[145, 137, 175, 167]],
    "outside the image": [[380, 120, 440, 180]],
    "the same object twice": [[30, 60, 120, 180], [30, 60, 120, 180]],
    "the whole image": [[0, 0, 300, 300]],
}


@dataclass(frozen=True)
class Matching:
    """Which anchors answer for which of R objects."""

    table: Tensor  # (R, K) IoU
    own: Tensor  # (R,) anchor from step one, -1 where the object got none
    matched: Tensor  # (K,) object of each anchor, -1 = background

    def by_threshold(self, i: int) -> Tensor:
        """Anchors that step two gave to object i."""
        mine = self.matched == i
        if self.own[i] >= 0:
            mine[self.own[i]] = False
        return mine.nonzero()[:, 0]

    def per_map(self, i: int) -> list[int]:
        """How many anchors of each feature map answer for object i."""
        return by_map(self.matched == i)


def match_with(boxes: Tensor, anchors: Tensor, threshold: float = 0.5, rule: str = GREEDY) -> Matching:
    """(R, 4) objects and (K, 4) anchors in px. `rule` is the library's, or the shortcut of much published code: every
    object in turn takes its best anchor, and a later object overwrites an earlier one."""
    if len(boxes) == 0:
        return Matching(
            torch.zeros(0, len(anchors)), torch.zeros(0, dtype=torch.int64), torch.full((len(anchors),), -1)
        )
    table = matching.overlaps(boxes, anchors)
    best, matched = table.max(dim=0)
    matched = torch.where(best >= threshold, matched, -1)
    if rule == GREEDY:
        own = matching.bipartite(table)
        matched[own[own >= 0]] = torch.arange(len(boxes))[own >= 0]
    else:
        own = table.argmax(dim=1)
        for i, anchor in enumerate(own.tolist()):
            matched[anchor] = i
        own = torch.where(matched[own] == torch.arange(len(boxes)), own, -1)
    return Matching(table, own, matched)


def rounds(found: Matching, rule: str) -> list[tuple[int, int]]:
    """Step one in its order: (object, anchor) pairs. The rule of Caffe takes the best pair that is left, again and
    again, of equals the lowest anchor; the shortcut goes through the objects as they come."""
    if rule != GREEDY:
        return (
            [(i, int(anchor)) for i, anchor in enumerate(found.table.argmax(dim=1))] if len(found.own) else []
        )
    pairs = [(i, anchor) for i, anchor in enumerate(found.own.tolist()) if anchor >= 0]
    return sorted(pairs, key=lambda pair: (-float(found.table[pair]), pair[1], pair[0]))


class Matcher(Explorer):
    """Drag the objects; the anchors that answer for them follow. Blue, thick: step one. Green, dashed: step two."""

    alt = (
        "Objects on an image with their matched anchors: one thick blue anchor each from step one, dashed green "
        "ones from step two"
    )

    def __init__(
        self,
        picture: Tensor | None = None,
        objects: Tensor | None = None,
        preset: str | None = None,
        names: Sequence[str] = (),
    ):
        """`picture` (300, 300, 3) uint8 lies behind the boxes; its `objects` (R, 4) px, called `names`, are the first
        case."""
        self.names = pictures.numbered(list(names))
        self.cases = PRESETS if objects is None else {"the objects of the image": objects.tolist()} | PRESETS
        self.anchors = default_boxes()
        self.board = Board(
            label="Objects and their matched anchors",
            hint=KEYS,
            view=list(VIEW),
            width=600,
            picture="" if picture is None else as_url(picture),
            picture_alpha=0.55,
            box_colors=list(OBJECT_COLORS),
        )
        self.preset = ipywidgets.Dropdown(options=list(self.cases), description="case")
        self.preset.value = preset or self.preset.options[0]
        self.threshold = ipywidgets.FloatSlider(0.5, min=0.3, max=0.8, step=0.05, description="threshold")
        self.rule = ipywidgets.Dropdown(options=[GREEDY, OVERWRITE], description="step one")
        self.play = Motion("Go through step one, then step two", self._forward, SPEEDS)
        self.table = html_text()
        self.preset.observe(self._load, "value")
        for widget in (self.threshold, self.rule):
            widget.observe(self._update, "value")
        self.board.observe(self._update, ["boxes", "active"])
        super().__init__(
            [row(self.preset, self.rule, self.threshold, self.play), beside(self.board, self.table)]
        )
        self._load()

    def _load(self, change: object = None) -> None:
        boxes = [[float(x) for x in box] for box in self.cases[self.preset.value]]
        with self.board.hold_trait_notifications():
            own = self.names if self.preset.value not in PRESETS else ()
            self.board.box_names = list(own) or [f"object {i}" for i in range(len(boxes))]
            self.board.active = 0
            self.board.boxes = boxes
        self._update()

    def _update(self, change: object = None) -> None:
        """Another case or rule, or a box was moved: both steps, done."""
        boxes = torch.tensor(self.board.boxes).reshape(-1, 4)
        self.result = match_with(boxes, self.anchors, self.threshold.value, self.rule.value)
        self.rounds = rounds(self.result, self.rule.value)
        self.round = None
        self._show()

    def _forward(self) -> bool:
        """From both steps done back to the beginning, then round by round, then step two."""
        done = 0 if self.round is None else self.round + 1
        self.round = done if done <= len(self.rounds) else None
        self._show()
        return self.round is not None

    @property
    def taken(self) -> dict[int, int]:
        """Anchor: object, as far as step one has come."""
        return {anchor: i for i, anchor in self.rounds[: self.round]}

    def _show(self) -> None:
        layers = []
        if self.round is not None:
            last = self.rounds[self.round - 1][1] if self.round else None
            for anchor in self.taken:
                layers.append(
                    layer(self.anchors[anchor], BLUE, line=3.5, alpha=1.0 if anchor == last else 0.3)
                )
        for i in range(len(self.board.boxes) if self.round is None else 0):
            shown = 1.0 if i == self.board.active else 0.3
            second = self.anchors[self.result.by_threshold(i)]
            layers.append(layer(second, GREEN, line=1.3, alpha=shown, dash=(5, 3)))
            if self.result.own[i] >= 0:
                layers.append(layer(self.anchors[self.result.own[i]], BLUE, line=3.5, alpha=shown))
        lines, count = self.summary(), len(self.board.boxes)
        shown = -1 if self.round is not None else 1 + min(self.board.active, count - 1) * 3 if count else 0
        with self.board.hold_sync():  # one message, so that drawing and words change together
            self.board.scene = {"layers": layers}
            self.board.status = lines[shown].strip()
        self.table.value = "<br>".join(line.replace("   ", "&emsp;") for line in lines)

    def name(self, i: int) -> str:
        return self.board.box_names[i] if i < len(self.board.box_names) else f"object {i}"

    def _so_far(self) -> list[str]:
        """What step one has done up to this round, a line each."""
        rule = (
            "the best pair that is left"
            if self.rule.value == GREEDY
            else "each object in turn, its best anchor"
        )
        lines = [f"step one, {rule}: {self.round} of {len(self.rounds)} rounds", "no anchor is assigned yet"]
        before: dict[int, int] = {}
        for number, (i, anchor) in enumerate(self.rounds[: self.round], 1):
            overlap = float(self.result.table[i, anchor])
            said = f"round {number}: {self.name(i)}, IoU {overlap:.2f}, {describe(anchor)}"
            lines.append(said + (f"; taken from {self.name(before[anchor])}" if anchor in before else ""))
            before[anchor] = i
        return lines if len(lines) == 2 else [lines[0], *lines[2:]]

    def summary(self) -> list[str]:
        if self.round is not None:
            return self._so_far()
        total = int((self.result.matched >= 0).sum())
        lines = [f"{total} of {len(self.anchors):,} anchors are positive"]
        for i, own in enumerate(self.result.own.tolist()):
            best = float(self.result.table[i].max())
            best = "below 0.01" if 0 < best < 0.005 else f"{best:.2f}"
            first = f"step one: {describe(own)}" if own >= 0 else "step one: none"
            counts = " ".join(map(str, self.result.per_map(i)))
            lines += [
                f"{self.name(i)}: best IoU {best}, {len(self.result.by_threshold(i))} more from step two",
                f"   {first}",
                f"   by map 38² 19² 10² 5² 3² 1²: {counts}",
            ]
        return lines

    def state(self) -> str:
        boxes = [[round(x) for x in box] for box in self.board.boxes]
        found = [sum(self.result.per_map(i)) for i in range(len(boxes))]
        part = "" if self.round is None else f", after {self.round} rounds of step one"
        return f"objects {boxes}, positives {found}{part}"
