"""A recorded training, step by step, and how detections come into being in some scenes: the explorer of chapter 09,
and the scene of chapter 00 at some steps for the chapters before it."""

import json
from collections.abc import Sequence
from pathlib import Path

import ipywidgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure

from course.anchors.places import describe
from course.kit import opening, pictures, places
from course.kit.board import Board, as_url, layer, steps_taken
from course.kit.explorer import Explorer, beside, html_text, row
from course.kit.legend import legend_below
from course.kit.motion import Motion
from course.kit.panel import PALE, Panel
from ssdlib import box_ops
from ssdlib.plots import BLACK, BLUE, GREEN, ORANGE, PURPLE, boxes_on, part_captions, photograph_on
from ssdlib.records import CLASSES

VIEW = (-12.0, -18.0, 756.0, 330.0)  # the scene, and two diagrams on its right
LEFT, RIGHT = 350.0, 748.0
LOSS, MAP = (12.0, 180.0), (212.0, 306.0)  # top and bottom
LOSSES = (0.3, 20.0)  # that are shown
SURE = 0.5  # detections from this score on are named
SPEEDS = {"slow": 2.0, "normal": 5.0, "fast": 15.0}  # looks a second
BEGIN = 150  # the step that is shown first
LINES = ((ORANGE, "-o"), (BLUE, "--s"), (PURPLE, ":^"))  # of the three objects of chapter 00


class Growth(Explorer):
    """Move through the steps of the recorded mini run, or play them: what the network finds in a scene, what the
    anchor of each object says, the loss and mAP."""

    alt = (
        "Left a painted scene with its objects in orange, what the network finds at this step in dashed blue, and "
        "what the anchor of each object says in green; right the loss and mAP up to this step"
    )

    def __init__(self, folder: Path | None = None, step: int = BEGIN):
        """`folder` holds what `data_scripts/record_growth.py` wrote."""
        known, self.facts = _recorded(folder)
        self.looks, self.own = known["looks"], known["own"]
        self.steps = [look["step"] for look in self.looks]
        self.losses = _means(known["losses"], self.steps)
        examples = {example.image_id: example for example in [opening.example(), *pictures.mini_test_set()]}
        self.scenes = [pictures.scene(examples[name]) for name in known["scenes"]]
        self.names = [pictures.numbered(scene.names) for scene in self.scenes]
        self.board = Board(
            label="A scene with what the network finds at a step of its training, the loss and mAP",
            hint="Keys: left, right: another step, up, down: ten, n: play or stop. A click on a curve goes there.",
            view=list(VIEW),
            width=860,
            picture_alpha=0.6,
            pointer_mode="press",
        )
        options = [(f"{i + 1}: {', '.join(names)}", i) for i, names in enumerate(self.names)]
        self.scene = ipywidgets.Dropdown(options=options, description="scene")
        at = max(s for s in self.steps if s <= step)
        self.step = ipywidgets.SelectionSlider(options=self.steps, value=at, description="step")
        self.anchors = ipywidgets.Checkbox(True, description="what each object's anchor says", indent=False)
        self.play = Motion("Play the training", self._forward, SPEEDS)
        self.text = html_text()
        self.scene.observe(self._load, "value")
        for widget in (self.step, self.anchors):
            widget.observe(self._show, "value")
        self.board.observe(self._pressed, "pressed")
        self.board.observe(self._stepped, "arrows")
        self.board.observe(self.play.toggle, "steps")  # the key n
        words = ipywidgets.VBox([self.anchors, self.text])
        super().__init__([row(self.scene, self.step, self.play), beside(self.board, words)])
        self._load()

    # ---- what moves

    @property
    def at(self) -> int:
        """Which look is shown."""
        return self.steps.index(self.step.value)

    def _load(self, change: object = None) -> None:
        self.board.picture = as_url(self.scenes[self.scene.value].pixels)
        self._show()

    def _go(self, at: int) -> None:
        self.step.value = self.steps[min(max(at, 0), len(self.steps) - 1)]

    def _forward(self) -> bool:
        last = len(self.steps) - 1
        self._go(self.at + 1 if self.at < last else 0)
        return self.at < last

    def _pressed(self, change: dict) -> None:
        x = self.board.pressed[0]
        if x >= LEFT - 5:
            self._go(int(np.abs(np.array(self.steps) - self._panel(MAP, (0, 1)).x_at(x)).argmin()))

    def _stepped(self, change: dict) -> None:
        right, down = steps_taken(change)
        self._go(self.at + right - 10 * down)

    # ---- what is shown

    def _panel(self, edges: tuple[float, float], values: tuple[float, float], log: bool = False) -> Panel:
        return Panel(LEFT, edges[0], RIGHT, edges[1], x=(0, self.steps[-1]), y=values, log=log)

    def _show(self, change: object = None) -> None:
        lines = self.summary()
        with self.board.hold_sync():  # one message, so that scene and words change together
            self.board.scene = {"layers": [*self._curves(), *self._boxes()]}
            self.board.status = lines[0]
        self.text.value = "<br>".join(lines[1:])

    def _curves(self) -> list[dict]:
        loss, score = self._panel(LOSS, LOSSES, log=True), self._panel(MAP, (0.0, 1.0))
        now, last = self.step.value, self.steps[-1]
        layers = [
            *loss.ground(frame=1),
            *score.ground(frame=1),
            loss.levels((1, 10), 0.5),
            score.levels((0.5,), 0.5),
        ]
        marks = loss.beside({1: "1", 10: "10"}, away=24)
        marks += score.beside({share: f"{share:.0%}" for share in (0.0, 0.5, 1.0)}, away=34)
        marks += score.below({step: f"{step:,}" for step in range(0, last, 500)}, away=20)
        heads = [(LEFT, LOSS[0] - 2, "loss")]
        heads.append((LEFT, MAP[0] - 2, f"mAP on {self.facts['judged']} test scenes, by step"))
        layers.append(layer(color=PALE, texts=[*marks, *heads]))
        steps = np.array(self.steps[1:])
        for column, (color, dash) in enumerate(((PURPLE, (2, 3)), (ORANGE, (7, 3)))):
            values = np.clip(self.losses[:, column], *LOSSES)
            layers.append(
                layer(
                    color=color,
                    line=2.2,
                    dash=dash,
                    curves=[loss.curve(steps[steps <= now], values[steps <= now])],
                )
            )
        seen = [(look["step"], look["map"] or 0.0) for look in self.looks if look["step"] <= now]
        layers.append(layer(color=BLUE, line=2.6, curves=[score.curve(*zip(*seen, strict=True))]))
        layers.append(layer(color=PURPLE, texts=[(RIGHT - 130, LOSS[0] + 20, "localisation (dotted)")]))
        layers.append(layer(color=ORANGE, texts=[(RIGHT - 130, LOSS[0] + 40, "confidence (dashed)")]))
        x = loss.across(now)
        return [*layers, layer(color=BLACK, line=1.5, curves=[[x, LOSS[0], x, MAP[1]]])]

    def _boxes(self) -> list[dict]:
        b = self.scene.value
        scene, look = self.scenes[b], self.looks[self.at]["scenes"][b]
        texts = [
            (box[0], box[1], name) for box, name in zip(scene.boxes.tolist(), self.names[b], strict=True)
        ]
        layers = [layer(scene.boxes, ORANGE, line=3), layer(color=ORANGE, texts=texts)]
        if self.anchors.value:
            for p, *box in look["own"]:
                layers.append(
                    layer(torch.tensor(box).float(), GREEN, line=1.2 + 2 * p, alpha=0.35 + 0.65 * p)
                )
        for label, score, *box in look["found"]:
            said = [(box[0], box[3] + 15, f"{CLASSES[label]} {score:.2f}")] if score >= SURE else []
            drawn = dict(
                line=1.2 if score < SURE else 2.6, alpha=0.25 + 0.75 * score, dash=(5, 3), texts=said
            )
            layers.append(layer(torch.tensor(box).float(), BLUE, **drawn))
        return layers

    def summary(self) -> list[str]:
        b, look = self.scene.value, self.looks[self.at]
        scene, found = self.scenes[b], look["scenes"][b]["found"]
        sure = sum(score >= SURE for _, score, *_ in found)
        now = f"step {look['step']:,} of {self.steps[-1]:,}"
        said = f"detections of {SURE:g} or more: {sure}, weaker: {len(found) - sure}"
        lines = [f"{now}: {said}; mAP {look['map'] or 0:.1%}"]
        if self.at:
            localisation, confidence = self.losses[self.at - 1]
            lines.append(
                f"loss of the last 50 steps: localisation {localisation:.2f}, confidence {confidence:.2f}"
            )
        else:
            lines.append(
                "random weights; batch norm has no means yet: the network is sure of boxes that mean nothing"
            )
        lines.append("the anchor of each object (green):")
        for name, box, anchor, (p, *said) in zip(
            self.names[b], scene.boxes, self.own[b], look["scenes"][b]["own"], strict=True
        ):
            overlap = float(box_ops.iou(box, torch.tensor(said).float()))
            lines.append(f"{name}: p {p:.2f}, IoU {overlap:.2f} ({describe(anchor)})")
        seed, device = self.facts["config"]["seed"], self.facts["device"]
        commit, date = self.facts["commit"][:7], self.facts["date"]
        return [*lines, f"recorded on {device}, {date}, commit {commit}, random seed {seed}"]

    def still(self) -> Figure:
        return self.stacked()

    def state(self) -> str:
        return f"scene {self.scene.value + 1}, {self.summary()[0]}"


def opening_at(steps: Sequence[int], claim: str, folder: Path | None = None) -> Figure:
    """The scene of chapter 00 at some steps of the recorded training, a panel each, with the mean confidence loss of
    the 50 steps before. Detections of SURE or more carry class and score; the weaker ones are thin and pale."""
    known, _ = _recorded(folder)
    here = known["scenes"].index(opening.example().image_id)
    looks = {look["step"]: look for look in known["looks"]}
    losses = dict(zip(list(looks)[1:], _means(known["losses"], list(looks))[:, 1], strict=True))
    scene, side = opening.scene(), 9.6 / len(steps)
    figure, axes = plt.subplots(1, len(steps), figsize=(9.6, side + 0.9), layout="constrained", squeeze=False)
    for ax, step in zip(axes.flat, steps, strict=True):
        photograph_on(ax, scene.pixels)
        ax.set(xticks=(), yticks=(), title=f"step {step:,}\nconfidence loss {losses[step]:.1f}")
        boxes_on(ax, scene.boxes)
        found = looks[step]["scenes"][here]["found"]
        for _, score, left, top, right, bottom in found:
            if score < SURE:
                box = plt.Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=BLUE)
                ax.add_patch(box).set(linewidth=1, alpha=0.25 + score)
        sure = [(label, score, box) for label, score, *box in found if score >= SURE]
        if sure:
            names = [f"{CLASSES[label]} {score:.2f}" for label, score, _ in sure]
            boxes_on(ax, torch.tensor([box for *_, box in sure]).float(), names, BLUE)
    figure.suptitle(claim, fontsize=11)
    styles = {
        "object": dict(color=ORANGE, linewidth=2),
        f"found, score {SURE} or more": dict(color=BLUE, linewidth=2),
    }
    legend_below(figure, styles | {"weaker": dict(color=BLUE, linewidth=1, alpha=0.5)})
    part_captions(figure.axes)
    return figure


def opening_scores(claim: str, first: int = 1000, folder: Path | None = None) -> Figure:
    """p of the right class at the anchor of each object in the scene of chapter 00, against the step, with the drops
    of the learning rate as dashed lines."""
    known, facts = _recorded(folder)
    here = known["scenes"].index(opening.example().image_id)
    looks = [look for look in known["looks"] if look["step"] >= first]
    steps = [look["step"] for look in looks]
    figure, ax = plt.subplots(figsize=(8.6, 3.2), layout="constrained")
    for i, (name, (color, style)) in enumerate(zip(opening.NAMES, LINES, strict=True)):
        p = [look["scenes"][here]["own"][i][0] for look in looks]
        ax.plot(steps, p, style, color=color, linewidth=2, markersize=5, label=name)
    for drop in facts["config"]["drops"]:
        ax.axvline(drop, color=BLACK, linestyle="--", linewidth=1)
    ax.set(xlabel="step", ylabel="p of the right class", ylim=(0, 1.02))
    ax.xaxis.set_major_formatter("{x:,.0f}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="upper left", fontsize=9)
    figure.suptitle(claim, fontsize=11)
    return figure


def _recorded(folder: Path | None) -> tuple[dict, dict]:
    """What `data_scripts/record_growth.py` wrote into a folder, and its facts; None is the course's recording."""
    folder = folder or places.recording("growth")
    known, facts = (
        json.loads((folder / f"{name}.json").read_text("utf-8")) for name in ("growth", "recording")
    )
    return known, facts


def _means(rows: list[list[float]], steps: list[int]) -> np.ndarray:
    """Lines of a log (step, localisation, confidence) -> (T, 2) means of those between a step and the next."""
    table = np.array(rows)
    parts = zip(steps, steps[1:], strict=False)
    return np.array([table[(table[:, 0] > a) & (table[:, 0] <= b), 1:].mean(axis=0) for a, b in parts])
