"""Explorers of the reading edition: their engines against the Python explorers, step by step, in a Chromium.

Each walk is what a reader might do, from random states with ties, empty sets and boxes without area among them. After
each step everything that a reader sees has to be the same: every number within 1e-4 px, every word, every index.
"""

import base64
import io
import random
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from browsing import ROOT, chromium_page
from course.detection import stages
from course.evaluation import curve_explorer, judging
from course.kit import pictures
from ssdlib import evaluate
from ssdlib.records import LABELS

sys.path.append(str(ROOT / "chapters/book"))
import live
import recorded

pytestmark = pytest.mark.browser

Step = tuple[str, object]


@pytest.fixture(scope="module")
def page():
    with chromium_page() as page:
        page.set_content("<title>engines</title>")
        page.add_script_tag(content=live.script())
        yield page


def walk_equally(page, kind: str, explorer, choose: Callable[[random.Random], Step], count: int) -> None:
    """Take `count` steps in Python, then the same ones in JavaScript, and compare what is seen after each."""
    start, chance, steps, wanted = live.start_of(kind, explorer), random.Random(kind), [], []
    for _ in range(count):
        steps.append(choose(chance))
        live.act(explorer, *steps[-1])
        wanted.append(live.shown(explorer))
    found = page.evaluate(
        """([start, steps]) => {
            const explorer = course.begin(start);
            return steps.map(([name, value]) => {
                explorer.change(name, value);
                const {board, others, controls, texts} = structuredClone(explorer.shown);
                delete board.sheet; // what a picture is laid out of; it has a test of its own
                return {board, others, controls, texts};
            });
        }""",
        [start, steps],
    )
    if "sheets" in start["facts"]:
        for seen in (*found, *wanted):
            del seen["board"]["picture"]
    wrong = [(i, steps[i], d) for i in range(count) for d in differences(found[i], wanted[i])]
    assert wrong == [], wrong[:5]


def differences(mine: object, theirs: object, where: str = "", far: float = 1e-4) -> list[str]:
    """Where two values differ: numbers by more than `far`, anything else at all."""
    if isinstance(theirs, dict):
        if not isinstance(mine, dict) or mine.keys() != theirs.keys():
            return [f"{where}: {mine} for {theirs}"]
        return [d for key in theirs for d in differences(mine[key], theirs[key], f"{where}.{key}", far)]
    if isinstance(theirs, list | tuple):
        if not isinstance(mine, list) or len(mine) != len(theirs):
            return [f"{where}: {str(mine)[:200]} for {str(theirs)[:200]}"]
        return [d for i in range(len(theirs)) for d in differences(mine[i], theirs[i], f"{where}[{i}]", far)]
    number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
    if number and isinstance(mine, int | float) and not isinstance(mine, bool):
        same = abs(mine - theirs) <= far or (mine != mine and theirs != theirs)  # both NaN
    else:
        same = mine == theirs
    return [] if same else [f"{where}: {mine!r} for {theirs!r}"]


def some_boxes(
    chance: random.Random, count: int, width: float = 300, height: float = 300
) -> list[list[float]]:
    """Boxes anywhere, or as readers like them: equal, touching, one in the other, at half pixels, without width."""

    def ends(end: float) -> list[float]:
        return sorted(round(chance.uniform(-30, end + 30), chance.choice((0, 1))) for _ in range(2))

    found = []
    for _ in range(count):
        (x1, x2), (y1, y2) = ends(width), ends(height)
        found.append([x1, y1, x2 + 2, y2 + 2])
    if count > 1:
        a, b, c, d = found[0]
        near = [[a, b, c, d], [c, b, c + 20, d], [a + 1, b + 1, c - 1, d - 1], [a, b, a, d]]
        near.append([a + 0.5, b + 0.5, c + 0.5, d + 0.5])
        found[1] = chance.choice([found[1], *near])
    return [[float(v) for v in box] for box in found]


def option(chance: random.Random, menu) -> object:
    """A value that a menu has now."""
    return chance.choice(menu._options_full)[1]


# ---- the explorers


def test_two_boxes_and_what_they_share_are_computed_as_in_python(page):
    explorer = live.overlaps()

    def choose(chance: random.Random) -> Step:
        name = chance.choice(("preset", "squeeze", "notation", "again", "active", *["boxes"] * 7))
        value = {
            "boxes": lambda: some_boxes(chance, 2, 500, 375),
            "squeeze": lambda: chance.random() < 0.5,
            "active": lambda: chance.randrange(2),
            "again": lambda: None,
        }
        return name, value.get(name, lambda: option(chance, vars(explorer)[name]))()

    walk_equally(page, "Overlaps", explorer, choose, 300)


def test_anchors_their_places_and_what_they_cover_are_computed_as_in_python(page):
    explorer = live.anchors()

    def choose(chance: random.Random) -> Step:
        name = chance.choice(("level", "show", "show", "ratios", "first", "range", "reset", *["pointer"] * 8))
        value = {
            "pointer": lambda: [
                chance.choice((0.0, 150.0, 304.0, chance.uniform(-50, 400))) for _ in range(2)
            ],
            "first": lambda: chance.randrange(3, 31),
            "range": lambda: sorted(chance.sample(range(10, 111), 2)),
            "reset": lambda: None,
        }
        return name, value.get(name, lambda: option(chance, vars(explorer)[name]))()

    walk_equally(page, "AnchorBrowser", explorer, choose, 200)


def test_matching_gives_the_same_anchors_to_the_same_objects_as_in_python(page):
    explorer = live.objects()

    def on_anchors(chance: random.Random, boxes: list[list[float]]) -> list[list[float]]:
        """Some laid exactly on an anchor, or between two, where many IoU are equal."""
        for i in range(len(boxes)):
            if chance.random() < 0.3:
                box = explorer.anchors[chance.randrange(len(explorer.anchors))].tolist()
                boxes[i] = box if chance.random() < 0.5 else [box[0] + 4, box[1], box[2] + 4, box[3]]
        return boxes

    def choose(chance: random.Random) -> Step:
        name = chance.choice(("preset", "threshold", "rule", "active", *["play"] * 3, *["boxes"] * 4))
        value = {
            "boxes": lambda: on_anchors(chance, some_boxes(chance, chance.choice((0, 1, 1, 2, 2, 3, 5)))),
            "threshold": lambda: round(0.05 * chance.randrange(6, 17), 2),
            "active": lambda: chance.randrange(2),
            "play": lambda: explorer.play.value + chance.choice((1, 1, 2)),
        }
        return name, value.get(name, lambda: option(chance, vars(explorer)[name]))()

    walk_equally(page, "Matcher", explorer, choose, 250)


def test_suppression_leaves_the_same_boxes_for_the_same_reasons_as_in_python(page):
    explorer = live.bench()

    def choose(chance: random.Random) -> Step:
        hand = stages.HANDS.get(explorer.case.value)
        menus = ("case", "shown", "scope", "score", "top_k", "keep", "upto", "play")
        name = chance.choice(
            (*menus, "nms_iou", *(["boxes", "active"] * 3 if hand else ["steps", "pointer"] * 2), "place")
        )
        value = {
            "boxes": lambda: some_boxes(chance, len(hand)),
            "active": lambda: chance.randrange(len(hand)),
            "pointer": lambda: [chance.uniform(-20, 320), chance.uniform(-20, 320)],
            "steps": lambda: explorer.board.steps + chance.choice((-2, -1, 1, 3)),
            "place": lambda: chance.randint(0, explorer.place.max),
            "nms_iou": lambda: round(0.05 * chance.randrange(21), 2),
            "upto": lambda: chance.random() < 0.5,
            "play": lambda: explorer.play.value + chance.choice((1, 1, 3)),
        }
        return name, value.get(name, lambda: option(chance, vars(explorer)[name]))()

    walk_equally(page, "NmsBench", explorer, choose, 300)


def test_equal_scores_and_equal_boxes_are_ranked_and_suppressed_as_in_python(page):
    """Few scores and few boxes, so that most are tied; among the sets are empty ones."""
    chance, sets, wanted = random.Random(6), [], []
    for _ in range(200):
        count = chance.choice((0, 1, 2, 5, 12))
        probabilities, boxes = torch.zeros(count, 4), torch.tensor(some_boxes(chance, count)).reshape(-1, 4)
        for i in range(count):
            probabilities[i, chance.randrange(1, 4)] = chance.choice((0.1, 0.3, 0.3, 0.9))
            if chance.random() < 0.4:
                boxes[i] = boxes[0]
        score, top_k = chance.choice((0.01, 0.1, 0.3)), chance.choice((1, 2, 400))
        nms_iou, keep, across = (
            chance.choice((0.0, 0.45, 1.0)),
            chance.choice((1, 3, 200)),
            chance.random() < 0.3,
        )
        label, anchor = (probabilities.T[1:] > 0.01).nonzero(as_tuple=True)
        given = dict(labels=(label + 1).tolist(), anchors=anchor.tolist(), boxes=boxes[anchor].tolist())
        given["scores"] = live.short(probabilities[anchor, label + 1])
        limits = dict(score=score, topK=top_k, nmsIou=nms_iou, keep=keep, across=across)
        sets.append([given, limits])
        ranking = stages.rank(probabilities, boxes, score, top_k, nms_iou, keep, across)
        wanted.append({n: v.tolist() if isinstance(v, torch.Tensor) else v for n, v in vars(ranking).items()})
    found = page.evaluate(
        """sets => sets.map(([given, limits]) => {
            return course.rank({...given, scores: given.scores.map(Math.fround)}, limits);
        })""",
        sets,
    )
    assert [differences(mine, theirs) for mine, theirs in zip(found, wanted, strict=True)] == [[]] * 200


@pytest.fixture(scope="module")
def subject() -> judging.Subject:
    """Twelve scenes with objects and detections by chance: equal scores, twins, overlaps of just .5, a class without
    objects, one without detections, one without either."""
    chance, examples = random.Random(5), []
    for example in pictures.mini_test_set()[:12]:
        twins = example.boxes[[i for i in range(len(example.boxes)) for _ in range(chance.choice((1, 2)))]]
        kinds = [LABELS[chance.choice(("chair", "chair", "dog", "sofa"))] for _ in twins]
        hard = [chance.random() < 0.4 for _ in twins]
        examples.append(
            replace(example, boxes=twins, labels=torch.tensor(kinds), difficult=torch.tensor(hard))
        )

    def detections(name: str, count: int) -> evaluate.Results:
        ids, scores, boxes = [], [], []
        for _ in range(count):
            example = chance.choice(examples)
            x1, y1, x2, y2 = chance.choice(example.boxes.tolist())
            half = (x1 + x2) / 2  # half of the box, also by the rule of inclusive pixel numbers
            near = [
                [x1, y1, x2, y2],
                [x1, y1, half, y2],
                [x1 + 9, y1, x2 + 9, y2 + 4],
                [x1 - 60, y1 - 60, x1, y1],
            ]
            ids.append(example.image_id)
            scores.append(float(np.float32(round(chance.random(), chance.choice((1, 3))))))
            boxes.append(np.float32(chance.choice(near)) + np.array(evaluate.ONE_BASED))
        return evaluate.Results(ids, np.array(scores), np.array(boxes).reshape(-1, 4))

    counts = {"chair": 90, "cow": 7, "dog": 40, "sheep": 0, "sofa": 0}
    return judging.Subject("by chance", {name: detections(name, n) for name, n in counts.items()}, examples)


def test_a_curve_its_verdicts_and_its_average_precision_are_computed_as_in_python(page, subject):
    explorer = curve_explorer.CurveExplorer(subject)

    def choose(chance: random.Random) -> Step:
        name = chance.choice(("name", "rule", "rule", "place", "pressed", "arrows", "steps"))
        last = explorer.place.max
        value = {
            "pressed": lambda: [
                chance.uniform(200, 760),
                chance.uniform(0, 340),
                explorer.board.pressed[2] + 1,
            ],
            "arrows": lambda: [taken + chance.choice((-1, 0, 1)) for taken in explorer.board.arrows],
            "steps": lambda: explorer.board.steps + chance.choice((-2, -1, 1, 3)),
            "place": lambda: min(last, chance.choice((0, 1, 2, last, chance.randint(0, last)))),
        }
        return name, value.get(name, lambda: option(chance, vars(explorer)[name]))()

    walk_equally(page, "CurveExplorer", explorer, choose, 300)


def test_the_pictures_of_the_curve_are_laid_out_as_in_python(page, subject):
    """Grey levels of both sheets, averaged in squares of 10 px: what is stored smaller is a little different."""
    explorer = curve_explorer.CurveExplorer(subject)
    start = live.start_of("CurveExplorer", explorer)
    for place in (1, 4, 40, explorer.place.max):
        explorer.place.value = place
        found = page.evaluate(
            """async ([start, place]) => {
                const explorer = course.begin(start);
                explorer.change('place', place);
                return course.compose(explorer.shown.board.sheet, start.facts.sheets);
            }""",
            [start, place],
        )
        mine, theirs = (
            Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("L")
            for url in (found, explorer.board.picture)
        )
        assert mine.size == theirs.size
        a, b = (np.asarray(sheet.reduce(10), dtype=float) for sheet in (mine, theirs))
        assert np.abs(a - b).max() < 20 and np.abs(a - b).mean() < 2, place


@pytest.mark.parametrize("name", recorded.RECORDINGS)
def test_a_recorded_state_is_what_python_shows_there(page, name):
    """Twelve states by chance, asked for in one order and recorded in another; drawings are stored to 0.1 px."""
    how, chance = recorded.RECORDINGS[name], random.Random(name)
    explorer, wanted, asked = how.make(), [], []
    start = recorded.start_of(name, explorer)
    for steps in sorted(chance.sample(list(how.states(explorer)), 12), key=lambda _: chance.random()):
        for step in steps:
            live.act(explorer, *step)
        now = live.shown(explorer)
        keys = {k: now["controls"][k]["value"] if k in now["controls"] else now["board"][k] for k in how.keys}
        asked.append([(k, v) for k, v in keys.items() if v is not None])
        layers = now["board"]["scene"]["layers"]
        wanted.append({"texts": now["texts"], "status": now["board"]["status"], "layers": layers})
    found = page.evaluate(
        """([start, asked]) => {
            const explorer = course.begin(start);
            return asked.map(steps => {
                for (const [name, value] of steps) explorer.change(name, value);
                const {board, texts} = structuredClone(explorer.shown);
                return {texts, status: board.status, layers: board.scene.layers};
            });
        }""",
        [start, asked],
    )
    for mine, theirs in zip(found, wanted, strict=True):
        mine["layers"] = mine["layers"][: len(theirs["layers"])]  # after them, boxes that can't be moved here
        assert differences(mine, theirs, far=0.051) == []


def test_numbers_are_written_as_python_writes_them(page):
    chance = random.Random(1)
    numbers = [
        0.0,
        -0.0,
        0.5,
        1.5,
        2.5,
        0.125,
        0.25,
        0.375,
        -0.25,
        1e-5,
        123456.5,
        100000.5,
        999999.5,
        1e6,
        1234567.0,
    ]
    numbers += [chance.choice((1, -1)) * chance.random() * 10 ** chance.uniform(-6, 7) for _ in range(300)]
    numbers += [chance.randrange(-4000, 4000) / 16 for _ in range(300)]
    found = page.evaluate(
        """numbers => {
            const {general, commas, fixed} = course;
            return numbers.map(x => [general(x), commas(general(x)), ...[0, 1, 2, 3].map(d => fixed(x, d))]);
        }""",
        numbers,
    )
    wanted = [[f"{x:g}", f"{x:,g}", *(f"{x:.{d}f}" for d in range(4))] for x in numbers]
    assert found == wanted
