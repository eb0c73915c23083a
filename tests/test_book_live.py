"""Explorers of the reading edition: their engines against the Python explorers, step by step, in a Chromium.

Each walk is what a reader might do, from random states with ties, empty sets and boxes without area among them. After
each step everything that a reader sees has to be the same: every number within 1e-4 px, every word, every index.
"""

import random
import sys

import ipywidgets
import pytest

from browsing import ROOT, chromium_page

sys.path.append(str(ROOT / "chapters/book"))
import live

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page():
    with chromium_page() as page:
        page.set_content("<title>engines</title>")
        page.add_script_tag(content=live.script())
        yield page


def in_javascript(page, start: dict, steps: list[tuple]) -> list[dict]:
    """What the engine shows after each step."""
    return page.evaluate(
        """([start, steps]) => {
            const explorer = course.begin(start);
            return steps.map(([name, value]) => {
                explorer.change(name, value);
                const {board, controls, texts} = structuredClone(explorer.shown);
                if (board.picture === start.board.picture) board.picture = '(as at first)';
                return {board, controls, texts};
            });
        }""",
        [start, steps],
    )


def in_python(explorer, steps: list[tuple]) -> list[dict]:
    """What the Python explorer shows after each step."""
    picture, found = explorer.board.picture, []
    for name, value in steps:
        act(explorer, name, value)
        now = live.shown(explorer)
        if now["board"]["picture"] == picture:
            now["board"]["picture"] = "(as at first)"
        found.append(now)
    return found


def act(explorer, name: str, value: object) -> None:
    widget = vars(explorer).get(name)
    if isinstance(widget, ipywidgets.Button):
        widget.click()
    elif widget is not None:
        widget.value = value
    else:
        setattr(explorer.board, name, value)


def differences(mine: object, theirs: object, where: str = "") -> list[str]:
    """Where two values differ: numbers by more than 1e-4, anything else at all."""
    if isinstance(theirs, dict):
        if not isinstance(mine, dict) or mine.keys() != theirs.keys():
            return [f"{where}: {mine} for {theirs}"]
        return [d for key in theirs for d in differences(mine[key], theirs[key], f"{where}.{key}")]
    if isinstance(theirs, list | tuple):
        if not isinstance(mine, list) or len(mine) != len(theirs):
            return [f"{where}: {str(mine)[:200]} for {str(theirs)[:200]}"]
        return [d for i in range(len(theirs)) for d in differences(mine[i], theirs[i], f"{where}[{i}]")]
    number = isinstance(theirs, int | float) and not isinstance(theirs, bool)
    if number and isinstance(mine, int | float) and not isinstance(mine, bool):
        same = abs(mine - theirs) <= 1e-4 or mine != mine and theirs != theirs
    else:
        same = mine == theirs
    return [] if same else [f"{where}: {mine!r} for {theirs!r}"]


def walk_equally(page, kind: str, explorer, steps: list[tuple], at_once: int = 50) -> None:
    start = live.start_of(kind, explorer)
    wanted = in_python(explorer, steps)
    found = in_javascript(page, start, steps)
    wrong = [(i, steps[i], d) for i in range(len(steps)) for d in differences(found[i], wanted[i])]
    assert wrong == [], wrong[:5]


def boxes_like(
    chance: random.Random, some: list[list[float]], size: tuple[float, float]
) -> list[list[float]]:
    """As many boxes as `some`: anywhere, or as the reader likes them: equal, touching, one inside the other, at half
    pixels, without a width."""
    width, height = size

    def anywhere() -> list[float]:
        xs, ys = (
            sorted(round(chance.uniform(-30, end + 30), chance.choice((0, 1))) for _ in range(2))
            for end in (width, height)
        )
        return [xs[0], ys[0], xs[1] + 2, ys[1] + 2]

    found = [anywhere() for _ in some]
    if len(found) > 1:
        a, b, c, d = found[0]
        found[1] = chance.choice(
            [
                found[1],
                [a, b, c, d],
                [c, b, c + 20, d],
                [a + 1, b + 1, c - 1, d - 1],
                [a + 0.5, b + 0.5, c + 0.5, d + 0.5],
                [a, b, a, d],
            ]
        )
    return [[float(v) for v in box] for box in found]


def test_two_boxes_and_what_they_share_are_computed_as_in_python(page):
    explorer, chance, steps = live.overlaps(), random.Random(0), []
    for _ in range(300):
        name = chance.choice(("preset", "squeeze", "notation", "again", "active", *["boxes"] * 7))
        if name == "boxes":
            value = boxes_like(chance, [[], []], (500, 375))
        elif name == "squeeze":
            value = chance.random() < 0.5
        elif name == "active":
            value = chance.randrange(2)
        else:
            value = None if name == "again" else chance.choice(vars(explorer)[name].options)
        steps.append((name, value))
    walk_equally(page, "Overlaps", explorer, steps)


def test_anchors_their_places_and_what_they_cover_are_computed_as_in_python(page):
    explorer, chance, steps = live.anchors(), random.Random(2), []
    for _ in range(200):
        name = chance.choice(("level", "show", "ratios", "first", "range", "reset", *["pointer"] * 6))
        if name == "pointer":
            value = [chance.choice((0.0, 150.0, 304.0, chance.uniform(-50, 400))) for _ in range(2)]
        elif name == "level":
            value = chance.randrange(6)
        elif name == "first":
            value = chance.randrange(3, 31)
        elif name == "range":
            value = sorted(chance.sample(range(10, 111), 2))
        else:
            value = None if name == "reset" else chance.choice(vars(explorer)[name].options)
        steps.append((name, value))
    walk_equally(page, "AnchorBrowser", explorer, steps)


def test_matching_gives_the_same_anchors_to_the_same_objects_as_in_python(page):
    explorer, chance, steps = live.objects(), random.Random(3), []
    for _ in range(250):
        now = explorer.cases[steps[-1][1]] if steps and steps[-1][0] == "preset" else None
        name = "boxes" if now else chance.choice(("preset", "threshold", "rule", "active", "preset", "boxes"))
        if name == "boxes":
            count = len(now) if now else chance.choice((0, 1, 1, 2, 2, 3, 5))
            value = on_anchors(chance, boxes_like(chance, [[]] * count, (300, 300)), explorer.anchors)
        elif name == "threshold":
            value = round(0.05 * chance.randrange(6, 17), 2)
        elif name == "active":
            value = chance.randrange(2)
        else:
            value = chance.choice(vars(explorer)[name].options)
        steps.append((name, value))
    walk_equally(page, "Matcher", explorer, steps)


def on_anchors(chance: random.Random, boxes: list, anchors) -> list:
    """Some of the boxes laid exactly on an anchor, or between two, where many IoU are equal."""
    for i in range(len(boxes)):
        if chance.random() < 0.3:
            box = anchors[chance.randrange(len(anchors))].tolist()
            boxes[i] = box if chance.random() < 0.5 else [box[0] + 4, box[1], box[2] + 4, box[3]]
    return boxes


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
