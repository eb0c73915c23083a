"""Explorers that would need a network or a data path in the browser: Python records what they show, state by state.

Each `Recording` says which controls stay, and by which steps one comes to each of its states. Drawings that several
states share are stored once.
"""

import base64
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

import live
from course.augmentation import augmentation_player
from course.drops import drop_planner
from course.instability import replay
from course.kit import opening
from course.kit.board import layer
from course.kit.explorer import Explorer
from course.loss import loss_anatomy
from course.network import figures as network_figures
from course.network import receptive_field
from course.training import growth
from course.welcome import live_detector
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc

Step = tuple[str, Any]


@dataclass(frozen=True)
class Recording:
    """How an explorer is recorded. `near` is the trait of the board that is moved freely: the nearest recorded state
    is shown. `walk` is the control that arrow keys, n and the button turn."""

    make: Callable[[], Explorer]
    states: Callable[[Any], Iterator[list[Step]]]
    keys: tuple[str, ...]  # controls and traits that tell the states apart
    buttons: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # words about controls that don't stay
    loose: tuple[str, ...] = ()  # keys that need not stay as they are while something else is moved
    near: str = ""
    walk: str = ""
    hint: str = ""  # what the keys do there


def start_of(name: str, explorer: Explorer) -> dict[str, Any]:
    """All recorded states of an explorer, as the engine `Recorded` starts from them: it shows the explorer's own."""
    how = RECORDINGS[name]
    kept = {*how.keys, *how.buttons}
    first = _state(explorer, how)
    layers, pictures, frames = Table(), Table(), []
    for steps in how.states(explorer):
        for step in steps:
            live.act(explorer, *step)
        frames.append(_frame(_state(explorer, how), how, first, layers, pictures))
    controls = {name: c for name, c in first["controls"].items() if name in kept}
    for name_, control in controls.items():
        if control["kind"] not in ("Button", "Motion"):
            _limit(control, [frame["keys"][name_] for frame in frames])
    words = first["texts"].keys() - set(how.without)
    return {
        "kind": "Recorded",
        "name": name,
        "linked": [key for key in how.keys if key not in controls],
        "layout": live.layout(explorer, {*controls, *words}),
        "facts": {
            "frames": frames,
            "keys": how.keys,
            "loose": how.loose,
            "near": how.near,
            "walk": how.walk,
            "layers": layers.rows,
            "pictures": pictures.rows,
        },
        **(first | {"controls": controls}),
    }


class Table:
    """Rows of JSON, each kept once."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._places: dict[str, int] = {}

    def place(self, row: Any) -> int:
        key = json.dumps(row)
        if key not in self._places:
            self._places[key] = len(self.rows)
            self.rows.append(row)
        return self._places[key]


def _state(explorer: Explorer, how: Recording) -> dict[str, Any]:
    """What is seen now; what can't be moved here is drawn, and pictures are stored small."""
    found = live.shown(explorer)
    found["board"]["hint"] = how.hint
    for traits in (found["board"], *found["others"].values()):
        if how.near == "boxes":  # the first one is dragged
            traits["boxes"], fixed = traits["boxes"][:1], traits["boxes"][1:]
        else:
            traits["boxes"], fixed = [], traits["boxes"]
        if fixed:
            named = zip(fixed, traits["box_names"], strict=bool(traits["box_names"]))
            names = [(a, b, name) for (a, b, *_), name in named]
            drawn = layer(torch.tensor(fixed), traits["box_colors"][0], line=3, texts=names)
            traits["scene"] = {"layers": [*traits["scene"]["layers"], drawn]}
        traits["scene"] = {"layers": [_short(drawn) for drawn in traits["scene"].get("layers", ())]}
        traits["picture"] = _smaller(traits["picture"])
    return found


def _frame(state: dict, how: Recording, first: dict, layers: Table, pictures: Table) -> dict[str, Any]:
    def traits(now: dict, before: dict) -> dict[str, Any]:
        changed = {k: v for k, v in now.items() if v != before[k] and k not in ("scene", "picture")}
        scene = [layers.place(drawn) for drawn in now["scene"]["layers"]]
        return changed | {"scene": scene, "picture": pictures.place(now["picture"])}

    boards = {name: traits(now, first["others"][name]) for name, now in state["others"].items()}
    boards["board"] = traits(state["board"], first["board"])
    controls = state["controls"]
    return {
        "keys": {k: controls[k]["value"] if k in controls else state["board"][k] for k in how.keys},
        "boards": boards,
        "texts": {name: text for name, text in state["texts"].items() if text != first["texts"][name]},
    }


def _limit(control: dict[str, Any], recorded: list[Any]) -> None:
    """A menu or slider that stands at recorded values only."""
    if "options" in control:
        control["options"] = [[label, value] for label, value in control["options"] if value in recorded]
    elif control["kind"] == "Slider":
        control["kind"] = "SelectionSlider"
        control["options"] = [[f"{value:g}", value] for value in sorted(set(recorded))]


def _short(drawn: dict[str, Any]) -> dict[str, Any]:
    """A layer to a tenth of a px: what is only looked at needs no more."""
    return drawn | {
        "boxes": [round(v, 1) for v in drawn["boxes"]],
        "points": [round(v, 1) for v in drawn["points"]],
        "curves": [[round(v, 1) for v in curve] for curve in drawn["curves"]],
        "texts": [[round(x, 1), round(y, 1), text] for x, y, text in drawn["texts"]],
    }


_SMALL: dict[str, str] = {"": ""}  # data URL -> a smaller one of the same picture


def _smaller(url: str) -> str:
    if url not in _SMALL:
        picture = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
        _SMALL[url] = live.small(torch.from_numpy(np.array(picture)))
    return _SMALL[url]


# ---- what is recorded


def _anatomy(explorer: loss_anatomy.LossAnatomy) -> Iterator[list[Step]]:
    networks, images = explorer.network.options, range(len(explorer.scenes))
    for network, image, ratio in itertools.product(networks, images, (0.0, 1.0, 3.0, 10.0)):
        yield [("network", network), ("picture", image), ("ratio", ratio)]


def _fields(explorer: receptive_field.FieldPointer) -> Iterator[list[Step]]:
    for level, (side, stride) in enumerate(
        zip(SSD300_ANCHORS.feature_maps, SSD300_ANCHORS.strides, strict=True)
    ):
        cells = sorted({round(i * (side - 1) / 4) for i in range(5)})
        own = explorer.board.pointer if level == explorer.map.value else None
        at = [min((cell + 0.5) * stride, float(SSD300_ANCHORS.canvas)) for cell in cells]
        pointers = [[x, y] for y in at for x in at] + ([list(own)] if own else [])
        for pointer, heated in itertools.product(pointers, (False, True)):
            # an arrow key has to reach the next cell that is recorded
            gap = (at[-1] - at[0]) / max(len(at) - 1, 1)
            yield [("map", level), ("heated", heated), ("pointer", pointer), ("key_step", max(gap, 1.0))]


def _draws(explorer: augmentation_player.Player) -> Iterator[list[Step]]:
    yield from ([("seed", seed)] for seed in range(40))


def _starts(explorer: replay.Replay) -> Iterator[list[Step]]:
    for name in ("paper", "near", "beyond", "warmup", "clipped"):
        live.act(explorer, "arm", name)
        last = explorer.step.max
        for step in sorted({*range(0, last, 50), min(replay.BEGIN, last), last}):
            yield [("arm", name), ("step", step)]


def _growth(explorer: growth.Growth) -> Iterator[list[Step]]:
    for scene, step in itertools.product(range(len(explorer.scenes)), explorer.steps):
        yield [("scene", scene), ("step", step)]


def _drops(explorer: drop_planner.DropPlanner) -> Iterator[list[Step]]:
    every = 0.05
    for preset, active in itertools.product(drop_planner.PRESETS, (0, 1)):
        yield [("preset", None), ("preset", preset), ("active", active)]
    _, _, thousands, batch = list(drop_planner.PRESETS.values())[2]
    run = [("steps", 1000 * thousands), ("batch", batch), ("key_step", every * drop_planner.WIDE)]
    shares = [round(every * i, 2) for i in range(21)]
    for (one, other), active in itertools.product(itertools.combinations_with_replacement(shares, 2), (0, 1)):
        ends = [[drop_planner.WIDE * share, drop_planner.HANDLE] for share in (0, 1)]
        handles = [[drop_planner.WIDE * share, drop_planner.HANDLE] for share in (one, other)]
        yield [*run, ("handles", ends), ("handles", handles), ("active", active)]


def _player() -> augmentation_player.Player:
    example = opening.example()
    return augmentation_player.Player(example, voc.read_photograph(example.path), seed=29)


CAR_STEP = 32.0  # px from one recorded place of the car to the next


def _detector(explorer: live_detector.LiveDetector) -> Iterator[list[Step]]:
    car, *others = explorer.places
    for down, right in itertools.product(range(-1, 7), repeat=2):
        moved = car + CAR_STEP * torch.tensor([right, down, right, down])
        yield [("boxes", torch.stack([moved, *others]).tolist())]


def _live_detector() -> live_detector.LiveDetector:
    explorer = live_detector.LiveDetector()
    explorer.board.key_step = CAR_STEP  # an arrow key has to reach the next place that is recorded
    return explorer


RECORDINGS = {
    "LiveDetector": Recording(
        _live_detector,
        _detector,
        ("boxes",),
        near="boxes",
        hint="Keys: arrows move the car to the next recorded place. So does the mouse.",
    ),
    "LossAnatomy": Recording(
        lambda: loss_anatomy.LossAnatomy(loss_anatomy.some_scenes()),
        _anatomy,
        ("picture", "network", "ratio"),
        hint="Choose by the menus and the slider.",
    ),
    "FieldPointer": Recording(
        lambda: receptive_field.FieldPointer(network_figures.scenes(32)[25], level=1),
        _fields,
        ("map", "heated", "pointer"),
        near="pointer",
        hint="Keys: arrows go to the next recorded cell. So does the mouse.",
    ),
    "Player": Recording(
        _player,
        _draws,
        ("seed",),
        buttons=("next",),
        walk="seed",
        hint="Keys: n or Shift+n, or arrows: another version.",
    ),
    "Replay": Recording(
        replay.Replay,
        _starts,
        ("arm", "step"),
        buttons=("play",),
        without=("said",),
        walk="step",
        hint="Keys: n or Shift+n, or arrows: another step.",
    ),
    "Growth": Recording(
        growth.Growth,
        _growth,
        ("scene", "step"),
        buttons=("play",),
        walk="step",
        hint="Keys: n or Shift+n, or arrows: another step.",
    ),
    "DropPlanner": Recording(
        drop_planner.DropPlanner,
        _drops,
        ("preset", "active", "handles"),
        loose=("preset",),
        near="handles",
        hint="Keys: arrows move a drop, n takes the other one. A press takes the nearest.",
    ),
}
