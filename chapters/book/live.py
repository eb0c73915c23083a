"""Explorers that live in the reading edition: what each of them shows at first, and the one script that moves them.

`board.js` draws as it does in JupyterLab. What a Python explorer computes there, a file of `live/` computes here. It
starts from what the Python explorer shows (`start_of`), so labels, options and cases stand in one place only.
"""

import base64
import io
from collections.abc import Callable
from dataclasses import asdict, astuple
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import torch
from PIL import Image

import course.kit.board
from course.anchors import anchor_browser, coverage
from course.boxes import overlap
from course.boxes.voc_facts import shapes as voc_shapes
from course.detection import nms_bench, stages
from course.evaluation import curve_explorer
from course.kit import opening, pictures
from course.kit.board import Board, as_url
from course.kit.explorer import Explorer
from course.kit.motion import Motion
from course.kit.panel import PALE
from course.matching import matcher
from ssdlib import coding, matching, plots
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.data import voc
from ssdlib.detect import SCORE
from ssdlib.evaluate import ONE_BASED
from ssdlib.records import CLASSES, LABELS

LIVE = Path(__file__).parent / "live"
BOARD = Path(course.kit.board.__file__).with_name("board.js")
MOTION = BOARD.with_name("motion.js")
# in the order in which they use each other
SCRIPTS = (
    *("course.js", "numbers.js", "boxes.js", "overlap.js", "anchors.js", "matcher.js", "nms_bench.js"),
    *("curve_explorer.js", "recorded.js", "sheet.js", "self_test.js", "page.js"),
)
EXPORT = "export default { render };"
COLORS = {
    name: getattr(plots, name.upper())
    for name in ("black", "blue", "green", "orange", "purple", "red", "sky")
}


def script() -> str:
    """All of it as one classic script, which also runs where a page is opened from disk."""
    course_, *others = ((LIVE / name).read_text(encoding="utf-8") for name in SCRIPTS)
    parts = [course_, _block(BOARD, "course.render"), _block(MOTION, "course.renderMotion"), *others]
    return '"use strict";\n{\n' + "\n".join(parts) + "\nglobalThis.course = course;\n}\n"


def _block(path: Path, name: str) -> str:
    """A widget's script whose `render` is called `name` on the page."""
    code = path.read_text(encoding="utf-8")
    if code.count(EXPORT) != 1:
        raise ValueError(f"{path}: found no line {EXPORT!r}; the reading edition puts its own in that place")
    return "{\n" + code.replace(EXPORT, f"{name} = render;") + "}"


def style() -> str:
    """The style sheet of boards, controls and questions."""
    files = (BOARD.with_suffix(".css"), MOTION.with_suffix(".css"), LIVE / "live.css")
    return "\n".join(path.read_text(encoding="utf-8") for path in files)


# ---- what an explorer shows


def shown(explorer: Explorer) -> dict[str, Any]:
    """All that a reader sees of an explorer, as JSON: the traits of its board and of other boards, the controls, the
    words, each by its name."""
    widgets = {
        name: widget for name, widget in vars(explorer).items() if isinstance(widget, ipywidgets.DOMWidget)
    }
    boards = {name: widget for name, widget in widgets.items() if isinstance(widget, Board)}
    texts = {name: widget.value for name, widget in widgets.items() if isinstance(widget, ipywidgets.HTML)}
    traits = {name: {trait: getattr(board, trait) for trait in _traits()} for name, board in boards.items()}
    return {
        "board": traits.pop("board"),
        "others": traits,
        "controls": {
            name: control(w) for name, w in widgets.items() if name not in boards and name not in texts
        },
        "texts": texts,
    }


def _traits() -> list[str]:
    """What the browser knows of a board."""
    return [
        name for name in Board.class_own_traits(sync=True) if not name.startswith("_") and name != "heard"
    ]


def control(widget: ipywidgets.Widget) -> dict[str, Any]:
    """A menu, slider, button as JSON: its kind, label, value, and what it can stand at."""
    if isinstance(widget, Motion):
        found = {name: getattr(widget, name) for name in ("label", "value", "speeds", "speed", "playing")}
        return {"kind": "Motion"} | found
    found = {
        "kind": type(widget).__name__,
        "label": widget.description,
        "value": getattr(widget, "value", None),
    }
    if hasattr(widget, "options"):
        return found | {"options": [[label, value] for label, value in widget._options_full]}
    if hasattr(widget, "max"):
        found["kind"] = "RangeSlider" if isinstance(widget.value, tuple) else "Slider"
        return found | {name: getattr(widget, name) for name in ("min", "max", "step")}
    return found


def act(explorer: Explorer, name: str, value: Any) -> None:
    """What a reader does: press a button, turn a control, change a trait of the board."""
    widget = vars(explorer).get(name)
    if isinstance(widget, ipywidgets.Button):
        widget.click()
    elif widget is not None:
        widget.value = value
    else:
        setattr(explorer.board, name, value)


def layout(explorer: Explorer, kept: set[str] | None = None) -> dict[str, Any]:
    """Rows and columns of names, as the explorer's boxes hold its widgets. With `kept`, of controls and words only
    these, and all boards."""
    names = {id(widget): name for name, widget in vars(explorer).items()}

    def part(widget: ipywidgets.Widget) -> dict[str, Any] | str | None:
        if isinstance(widget, ipywidgets.Box):
            children = [found for found in map(part, widget.children) if found]
            kind = "HBox" if isinstance(widget, ipywidgets.HBox) else "VBox"
            return {"kind": kind, "children": children} if children else None
        name = names.get(id(widget))
        return name if kept is None or isinstance(widget, Board) or name in kept else None

    return part(explorer)


# ---- the explorers of the chapters


def overlaps() -> overlap.Overlaps:
    example = overlap.worth_reading(pictures.test_set())[0]
    return overlap.Overlaps(voc.read_photograph(example.path))


def overlap_facts(explorer: overlap.Overlaps) -> dict[str, Any]:
    return dict(
        presets=overlap.PRESETS,
        size=explorer.size,
        canvas=overlap.CANVAS,
        margin=overlap.MARGIN,
        zoomed=overlap.ZOOMED,
        names=overlap.NAMES,
        notations=overlap.NOTATIONS,
    )


def anchors() -> anchor_browser.AnchorBrowser:
    return anchor_browser.AnchorBrowser(opening.scene().pixels)


SPEC = dict(
    canvas=SSD300_ANCHORS.canvas,
    maps=SSD300_ANCHORS.feature_maps,
    strides=SSD300_ANCHORS.strides,
    ratios=SSD300_ANCHORS.aspect_ratios,
    first=SSD300_ANCHORS.first_percent,
    low=SSD300_ANCHORS.percent_range[0],
    high=SSD300_ANCHORS.percent_range[1],
)


def anchor_facts(explorer: anchor_browser.AnchorBrowser) -> dict[str, Any]:
    return dict(
        spec=SPEC,
        also=dict(nothing=anchor_browser.NOTHING, centres=anchor_browser.CENTRES, sizes=anchor_browser.SIZES),
        ratios=anchor_browser.RATIOS,
        styles=anchor_browser.STYLES,
        chart=dict(
            heat=astuple(anchor_browser.HEAT)[:4],
            bars=astuple(anchor_browser.BARS)[:4],
            line=anchor_browser.LINE,
            pale=PALE,
        ),
        voc=dict(
            table=voc_shapes().flatten().int().tolist(),
            bins=coverage.BINS,
            bin=coverage.BIN,
            places=coverage.PLACES,
            bands=coverage.BANDS,
            threshold=matching.THRESHOLD,
        ),
    )


def objects() -> matcher.Matcher:
    scene = opening.scene()
    return matcher.Matcher(scene.pixels, scene.boxes, names=scene.names)


def matcher_facts(explorer: matcher.Matcher) -> dict[str, Any]:
    return dict(
        spec=SPEC,
        cases=explorer.cases,
        names=explorer.names,
        presets=list(matcher.PRESETS),
        rules=dict(greedy=matcher.GREEDY),
        touches=matching.TOUCHES,
    )


def bench() -> nms_bench.NmsBench:
    return nms_bench.NmsBench()


def bench_facts(explorer: nms_bench.NmsBench) -> dict[str, Any]:
    return dict(
        classes=CLASSES,
        scenes={str(i): _scored(explorer.recorded, i) for i in nms_bench.SCENES},
        hands=stages.HANDS,
        scopes=dict(within=nms_bench.WITHIN, across=nms_bench.ACROSS),
        all=nms_bench.ALL,
        legend=nms_bench.LEGEND,
        hints=dict(hand=nms_bench.BY_HAND, scene=nms_bench.IN_A_SCENE),
    )


def _scored(recorded: stages.Recorded, i: int) -> dict[str, Any]:
    """All scores of a scene that may become candidates, class by class, anchors ascending, with their boxes."""
    said = recorded.of(i)
    probabilities = said.logits[0].softmax(dim=-1)
    boxes = coding.decode(said.offsets[0], recorded.anchors)
    label, anchor = (probabilities.T[1:] > SCORE).nonzero(as_tuple=True)
    return dict(
        picture=as_url(pictures.scene(recorded.examples[i]).pixels),
        labels=(label + 1).tolist(),
        scores=short(probabilities[anchor, label + 1]),
        boxes=short(boxes[anchor]),
    )


def short(numbers: torch.Tensor) -> list[float]:
    """float32 as the shortest decimals that give the same float32 again, in one row."""
    return [float(str(v)) for v in numbers.flatten().numpy()]


def curve() -> curve_explorer.CurveExplorer:
    return curve_explorer.CurveExplorer()


def curve_facts(explorer: curve_explorer.CurveExplorer) -> dict[str, Any]:
    subject, examples = explorer.subject, explorer.subject.examples
    image_of = {example.image_id: i for i, example in enumerate(examples)}
    detections = {
        name: dict(
            images=[image_of[image_id] for image_id in found.image_ids],
            scores=short(torch.from_numpy(found.scores).float()),
            boxes=short(torch.from_numpy(found.boxes - np.array(ONE_BASED)).float()),
        )
        for name, found in subject.results.items()
    }
    objects = {}
    for name in subject.results:
        mine = [example.labels == LABELS[name] for example in examples]
        pairs = list(zip(examples, mine, strict=True))
        objects[name] = dict(
            images=[i for i, m in enumerate(mine) for _ in range(int(m.sum()))],
            boxes=short(torch.cat([example.boxes[m] for example, m in pairs])),
            difficult=torch.cat([example.difficult[m] for example, m in pairs]).int().tolist(),
        )
    styles = {v: curve_explorer._style(v) for v in curve_explorer.LINES}
    return dict(
        detections=detections,
        objects=objects,
        sizes=[example.size for example in examples],
        rules={name: asdict(rule) for name, rule in curve_explorer.RULES.items()},
        styles={verdict: dict(color=color, dash=dash) for verdict, (color, dash) in styles.items()},
        plot=dict(
            left=curve_explorer.LEFT,
            right=curve_explorer.RIGHT,
            top=curve_explorer.TOP,
            bottom=curve_explorer.BOTTOM,
            side=curve_explorer.SIDE,
            thumb=curve_explorer.THUMB,
            thumbs=curve_explorer.THUMBS,
            gap=curve_explorer.GAP,
            most=curve_explorer.MOST,
            grey=curve_explorer.GREY,
        ),
        sheets=dict(
            pictures=[small(explorer._pixels(example)) for example in examples],
            side=curve_explorer.SIDE,
            height=curve_explorer.HEIGHT,
        ),
    )


def small(pixels: torch.Tensor) -> str:
    """(H, W, 3) uint8 -> a data URL of some 7 kB, since up to 200 pictures travel with one page."""
    out = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(out, "WEBP", quality=30)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()


# By the name of the class: how its chapter makes it, what its engine has to know, and the traits of its board that a
# link carries beside the controls
EXPLORERS: dict[str, tuple[Callable[[], Explorer], Callable[[Any], dict[str, Any]], tuple[str, ...]]] = {
    "Overlaps": (overlaps, overlap_facts, ("boxes", "active")),
    "AnchorBrowser": (anchors, anchor_facts, ("pointer",)),
    "Matcher": (objects, matcher_facts, ("boxes", "active")),
    "NmsBench": (bench, bench_facts, ("boxes", "active")),
    "CurveExplorer": (curve, curve_facts, ()),
}


def start_of(kind: str, explorer: Explorer) -> dict[str, Any]:
    """What the engine `kind` starts from."""
    _, facts, linked = EXPLORERS[kind]
    return {
        "kind": kind,
        "name": kind,
        "linked": linked,
        "layout": layout(explorer),
        "facts": {"colors": COLORS} | facts(explorer),
        **shown(explorer),
    }
