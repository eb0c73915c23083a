"""Every explorer on a laptop, in JupyterLab as `make lab` starts it: the board and what changes are seen together."""

import io
import itertools
import os

import nbformat
import pytest
from PIL import Image

import browsing

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = {
    "LiveDetector": """
from course.welcome import live_detector
explorer = live_detector.LiveDetector()""",
    "Overlaps": """
from course.boxes import overlap
from course.kit import pictures
from ssdlib.data import voc
example = overlap.worth_reading(pictures.test_set())[0]
explorer = overlap.Overlaps(voc.read_photograph(example.path))""",
    "AnchorBrowser": """
from course.anchors import anchor_browser
explorer = anchor_browser.AnchorBrowser(pictures.scene(pictures.pick(objects=2)).pixels)""",
    "Matcher": """
from course.matching import matcher
scene = pictures.scene(pictures.pick(objects=3))
explorer = matcher.Matcher(scene.pixels, scene.boxes, names=scene.names)""",
    "LossAnatomy": """
from course.loss import loss_anatomy
explorer = loss_anatomy.LossAnatomy(loss_anatomy.some_scenes())""",
    "FieldPointer": """
from course.network import figures, receptive_field
explorer = receptive_field.FieldPointer(figures.scenes(32)[25], level=1)""",
    "Player": """
from course.augmentation import augmentation_player
from course.kit import opening
example = opening.example()
explorer = augmentation_player.Player(example, voc.read_photograph(example.path), seed=29)""",
    "Replay": """
from course.instability import replay
explorer = replay.Replay()""",
    "DropPlanner": """
from course.drops import drop_planner
explorer = drop_planner.DropPlanner()""",
    "Growth": """
from course.training import growth
explorer = growth.Growth()""",
    "Dashboard": """
from course.kit import places
from course.training import dashboard
explorer = dashboard.Dashboard(places.recording("mini"))""",
    "Planner": """
from course.training import run_planner
from ssdlib.training.estimate import Pace
from ssdlib.training.runs import RECIPES
pace = Pace(making=0.2, update=0.9, validated=0.01, detected=0.02, ahead=True)
explorer = run_planner.Planner(RECIPES["paper"], pace, test_images=4952, train_images=16551)""",
    "NmsBench": """
from course.detection import nms_bench
explorer = nms_bench.NmsBench()""",
    "CurveExplorer": """
from course.evaluation import curve_explorer
explorer = curve_explorer.CurveExplorer()""",
    "TileBench": """
from course.own_images import tile_bench
explorer = tile_bench.TileBench()""",
    "Film": """
import torch
from course.own_images import film_player
from ssdlib.cli import show
from ssdlib.training import inference, runs
painter = opening.Painter((280, 240))
objects = torch.tensor([[10.0, 30, 90, 100], [60, 130, 150, 220], [200, 60, 250, 200]])
frames = [painter.paint(objects + 4 * n) for n in range(3)]
network, settings, _ = runs.load_run(places.recording("mini"))
found = [one.above(0.4) for one in inference.detect_in(network, frames, settings)]
told = [{"seconds": n / 12, "detections": show.rows(one, settings.classes)} for n, one in enumerate(found)]
explorer = film_player.Film(frames, told)""",
    "SwapBoard": """
from course.capstone import bisection, blocks, swap_board, trial
tried = [trial.Tried(name, "", 2.0, 1.0, 0.01) for name in blocks.NAMES]
tried[4] = trial.Tried("matching", "", 90.0, 1.0, 3.0)
wrong = {"IoU": bisection.Fault("assigned", "3 of 4 numbers differ, the first is 9 in place of 10")}
explorer = swap_board.SwapBoard(blocks.NAMES, tried, wrong)
explorer.swap(1)""",
}
FIGURE = "import matplotlib.pyplot as plt\nplt.subplots()[0]"
ROOTS = ".jp-OutputArea-output > .course-live"
PARTS = ".course-board canvas, .course-board-status, .course-board-keys, .widget-html-content"
ROOM = """
() => {
    const page = '.jp-NotebookPanel-notebook .jp-WindowedPanel-outer, .jp-NotebookPanel-notebook';
    return document.querySelector(page).getBoundingClientRect().height;
}"""
# Of each explorer: how far down what changes reaches, what is cut off at the right, how many lines controls take
SIZES = """
([roots, parts]) => [...document.querySelectorAll(roots)].map(root => {
    const frame = root.getBoundingClientRect();
    const inside = [...root.querySelectorAll(parts)].filter(e => !e.closest('.course-later'));
    const seen = inside.map(e => e.getBoundingClientRect()).filter(r => r.height);
    const cut = inside.map(e => e.scrollWidth - e.clientWidth);
    const changing = Math.max(...seen.map(r => r.bottom)) - frame.top;
    const wide = Math.max(...seen.map(r => r.right - frame.right), ...cut);
    const first = root.querySelector('.widget-hbox');  // null where the board is all there is to press
    const line = first && Math.max(...[...first.children].map(e => e.getBoundingClientRect().height));
    return {changing, wide, lines: first ? first.getBoundingClientRect().height / line : 0};
})"""

# What can have the focus, and whose ring is missing or reaches beyond its edge by more than the room around it
RINGS = """
root => [...root.querySelectorAll('canvas, button, select, .noUi-handle')].filter(e => e.offsetHeight).map(e => {
    e.focus({preventScroll: true});
    const style = getComputedStyle(e);
    const reach = parseFloat(style.outlineOffset) + parseFloat(style.outlineWidth);
    return style.outlineStyle === 'solid' && reach <= 1 ? '' : `${e.tagName} ${e.className} ${style.outline}`;
}).filter(Boolean)"""


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A page with every explorer in JupyterLab as `make lab` starts it, all cells run."""
    home = tmp_path_factory.mktemp("fits")
    cells = [nbformat.v4.new_markdown_cell("# All explorers")]
    cells += [nbformat.v4.new_code_cell(f"{code.strip()}\nexplorer") for code in CELLS.values()]
    cells.append(nbformat.v4.new_code_cell(FIGURE))
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(metadata=python, cells=cells), home / "page.ipynb")
    with browsing.chromium_page() as page, browsing.served(home, as_made=True) as address:
        page.set_viewport_size({"width": 1280, "height": 720})
        reader = browsing.Reader(address, page, pages=".")
        reader.open("page", afresh=False)
        reader.run_cells("", timeout=240)
        page.wait_for_function(
            f"() => document.querySelectorAll('.course-board canvas').length > {len(CELLS)}"
        )
        assert reader.errors() == 0
        yield reader


def measured(reader, width: int, height: int) -> dict[str, dict]:
    """Of each explorer what `SIZES` says; pictures of them for whoever wants to see them: COURSE_SCREENSHOTS."""
    reader.page.set_viewport_size({"width": width, "height": height})
    reader.page.wait_for_timeout(1500)
    sizes = dict(zip(CELLS, reader.page.evaluate(SIZES, [ROOTS, PARTS]), strict=True))
    if folder := os.environ.get("COURSE_SCREENSHOTS"):
        for nth, name in enumerate(CELLS):
            root = reader.page.locator(ROOTS).nth(nth)
            root.evaluate("e => e.scrollIntoView({block: 'start'})")
            reader.page.wait_for_timeout(200)
            reader.page.screenshot(path=f"{folder}/{name}_{width}.png")
    return sizes


def test_the_side_bar_is_closed_and_no_news_pops_up(reader):
    assert reader.page.locator("#jp-left-stack").is_hidden()
    assert reader.page.get_by_text("Would you like to get notified").count() == 0


def test_a_white_figure_is_dimmed_on_a_dark_page_alone(reader):
    figure = reader.page.locator(".jp-RenderedImage img").last
    figure.scroll_into_view_if_needed()
    light = figure.screenshot()
    reader.theme("Dark")
    dark = figure.screenshot()
    reader.theme("Light")
    brightest = [Image.open(io.BytesIO(png)).convert("L").getextrema()[1] for png in (light, dark)]
    assert brightest[0] == 255 and 195 < brightest[1] < 220


def test_a_board_is_dimmed_on_a_dark_page_alone(reader):
    board = reader.page.locator(".course-board canvas").first
    for theme, wanted in (("Dark", "brightness(0.82)"), ("Light", "none")):
        reader.theme(theme)
        assert board.evaluate("e => getComputedStyle(e).filter") == wanted


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1366, 768)])
def test_a_board_and_all_that_changes_with_it_are_seen_at_once_on_a_laptop(reader, width, height):
    sizes, room = measured(reader, width, height), reader.page.evaluate(ROOM)
    assert room > 500
    assert {name: round(size["changing"]) for name, size in sizes.items() if size["changing"] > room} == {}
    assert {name: size["wide"] for name, size in sizes.items() if size["wide"] > 1} == {}


def test_controls_take_one_line_at_1000_px_and_no_word_on_a_board_covers_another(reader):
    sizes = measured(reader, 1000, 720)
    assert {name: round(size["lines"], 1) for name, size in sizes.items() if size["lines"] > 1.6} == {}
    canvases = reader.page.locator(".course-board canvas")
    words = canvases.evaluate_all("found => found.map(e => e.courseWords)")
    covered = []
    for board in words:
        for one, other in itertools.combinations(board, 2):
            shared = [
                min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1)
            ]
            covered += [(one, other)] if min(shared) > 3 else []
    assert sum(map(len, words)) > 80 and covered == []


def test_what_the_keys_do_stands_below_every_board_and_is_read_aloud(reader):
    for nth, name in enumerate(CELLS):
        root = reader.page.locator(ROOTS).nth(nth)
        root.scroll_into_view_if_needed()
        line = root.locator(".course-board-keys").first
        described = root.locator(".course-board canvas").first.get_attribute("aria-describedby")
        assert line.is_visible() and line.text_content().startswith("Keys: "), name
        assert line.get_attribute("id") in described.split(), name


def test_a_ring_around_what_has_the_focus_is_whole_in_every_explorer(reader):
    """Boxes around it cut what lies outside of its edge: so the ring lies inside."""
    for nth, name in enumerate(CELLS):
        root = reader.page.locator(ROOTS).nth(nth)
        root.scroll_into_view_if_needed()
        reader.page.keyboard.press("Shift")  # from now on the browser shows the focus as to one who uses keys
        cut = root.evaluate(RINGS)
        assert cut == [], name


def test_play_plays_pause_stops_and_less_motion_is_one_step_a_second(reader):
    page = reader.page
    root = page.locator(ROOTS).nth(list(CELLS).index("Replay"))
    status, play = root.locator(".course-board-status"), root.locator(".course-motion button").first

    def step() -> int:
        return int(status.text_content().split()[1])  # JupyterLab lays out only what is in view

    play.scroll_into_view_if_needed()
    begin = step()
    play.click()
    page.wait_for_timeout(2500)
    play.click()
    page.wait_for_timeout(800)
    stopped = step()
    assert stopped > begin + 4
    page.wait_for_timeout(1200)
    assert step() == stopped
    page.emulate_media(reduced_motion="reduce")
    assert "one step a second" in root.locator(".course-motion").text_content()
    play.click()
    page.wait_for_timeout(2500)
    play.click()
    page.wait_for_timeout(800)
    assert 1 <= step() - stopped <= 3
    page.emulate_media(reduced_motion="no-preference")
