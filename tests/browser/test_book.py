"""The reading edition from disk, without a kernel: on a phone and at a desk, with mouse, finger and keys."""

import io
import re
import sys

import nbformat
import pytest
from PIL import Image, ImageStat

from browsing import ROOT, chromium_page, serious

sys.path.append(str(ROOT / "chapters/book"))
import live
import recorded

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CHAPTER = {
    "LiveDetector": "00_start_here",
    "Overlaps": "01_boxes_and_voc",
    "AnchorBrowser": "02_anchors",
    "Matcher": "03_matching",
    "LossAnatomy": "04_multibox_loss",
    "FieldPointer": "05_network",
    "Player": "06_augmentation",
    "Replay": "07_sgd_instability",
    "DropPlanner": "08_learning_rate_drops",
    "Growth": "09_full_training",
    "NmsBench": "10_detection",
    "CurveExplorer": "11_evaluation",
}


@pytest.fixture(scope="module")
def browser():
    with chromium_page() as page:
        yield page.context.browser


class Visitor:
    """Someone who reads one page of the site."""

    def __init__(self, browser, site, **how):
        self.page = browser.new_context(**how).new_page()
        self.site, self.asked, self.errors = site, [], []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def open(self, kind: str, link: str = "") -> "Visitor":
        """Open the chapter of an explorer, at the explorer."""
        self.page.goto(f"{(self.site / CHAPTER[kind]).as_uri()}.html{link}")
        self.page.locator(".course-board canvas").first.evaluate(
            "e => e.scrollIntoView({block: 'center', behavior: 'instant'})"
        )
        return self

    def status(self) -> str:
        return self.page.locator(".course-board-status").first.inner_text()

    def words(self) -> str:
        return self.page.locator(".course-words").first.inner_text()

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where px of the picture lie in the window."""
        frame = self.page.locator(".course-board canvas").first.bounding_box()
        x0, y0, x1, _ = self.page.evaluate("() => course.shown[0].board.view")
        k = frame["width"] / (x1 - x0)
        return frame["x"] + (x - x0) * k, frame["y"] + (y - y0) * k

    def drag(self, start: tuple, end: tuple) -> None:
        (x0, y0), (x1, y1) = self.place(*start), self.place(*end)
        self.page.mouse.move(x0, y0)
        self.page.mouse.down()
        self.page.mouse.move(x1, y1, steps=6)
        self.page.mouse.up()

    def finger(self, start: tuple, end: tuple) -> None:
        """The same with a finger."""
        (x0, y0), (x1, y1) = self.place(*start), self.place(*end)
        hand = self.page.context.new_cdp_session(self.page)
        points = [(x0 + (x1 - x0) * i / 6, y0 + (y1 - y0) * i / 6) for i in range(7)]
        for i, (x, y) in enumerate(points):
            kind = "touchMove" if i else "touchStart"
            hand.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
        hand.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        self.page.wait_for_timeout(100)

    def press(self, *keys: str) -> None:
        self.page.locator(".course-board canvas").first.focus()
        for key in keys:
            self.page.keyboard.press(key)

    def control(self, label: str):
        """A menu, slider, button of the explorer."""
        found = self.page.locator(".course-explorer").get_by_label(label)
        return found.and_(self.page.locator("select, input, button"))

    def link(self) -> str:
        """What the address says, once it has been written."""
        self.page.wait_for_timeout(450)
        return self.page.evaluate("location.hash")


@pytest.fixture
def visitor(browser, site):
    """At a desk."""
    found = Visitor(browser, site, viewport=dict(width=1280, height=720))
    yield found
    assert found.errors == []
    found.page.context.close()


@pytest.fixture
def caller(browser, site):
    """With a phone."""
    how = dict(viewport=dict(width=390, height=844), has_touch=True, is_mobile=True, device_scale_factor=2)
    found = Visitor(browser, site, **how)
    yield found
    assert found.errors == []
    found.page.context.close()


# ---- what holds for all explorers


@pytest.mark.parametrize("kind", CHAPTER)
def test_an_explorer_is_alive_from_disk_and_axe_finds_nothing_serious(visitor, axe, kind):
    visitor.open(kind)
    assert visitor.page.locator(".course-board canvas").first.is_visible()
    assert not visitor.page.locator("img.course-still").is_visible()
    assert {url.partition(":")[0] for url in visitor.asked} <= {"file", "data"}
    assert not re.search("no kernel runs|Still picture", visitor.page.content())
    assert serious(visitor.page, axe, ".course-explorer") == []


@pytest.mark.parametrize("kind", CHAPTER)
def test_an_explorer_fits_a_phone(caller, kind):
    caller.open(kind)
    assert caller.page.evaluate("document.documentElement.scrollWidth") <= 390
    frame = caller.page.locator(".course-board canvas").first.bounding_box()
    assert frame["x"] >= 0 and 300 < frame["width"] and frame["x"] + frame["width"] <= 390


def test_axe_finds_nothing_serious_in_an_explorer_and_a_self_test_on_a_dark_page(visitor, axe):
    visitor.page.emulate_media(color_scheme="dark")
    visitor.open("Overlaps")
    visitor.page.locator(".course-self-test input").first.check()
    assert serious(visitor.page, axe, ".course-explorer, .course-self-test") == []


def test_figures_and_boards_are_dimmed_on_a_dark_page_alone(visitor):
    for scheme, wanted in (("light", "none"), ("dark", "brightness(0.82)")):
        visitor.page.emulate_media(color_scheme=scheme)
        visitor.open("Overlaps")
        for what in ("article .cell_output img:not(.course-still)", ".course-board canvas"):
            found = visitor.page.locator(what).first
            assert found.evaluate("e => getComputedStyle(e).filter") == wanted, what


@pytest.mark.parametrize("kind", ["Overlaps", "NmsBench", "CurveExplorer", "DropPlanner"])
def test_a_link_to_nonsense_shows_the_beginning_and_says_what_is_not_there(visitor, kind):
    visitor.open(kind)
    first = visitor.status()
    controls = visitor.page.evaluate("() => Object.keys(course.shown[0].controls)")
    asked = "&".join(
        f"{name}=nonsense" for name in [*controls, "boxes", "active", "handles", "pointer", "hat"]
    )
    visitor.page.goto("about:blank")
    visitor.open(kind, f"#explorer={kind}&{asked}")
    assert visitor.status() == first
    assert "hat" in visitor.page.locator(".course-note").inner_text()


def test_without_scripts_the_still_picture_and_folded_answers_are_there(browser, site):
    visitor = Visitor(browser, site, java_script_enabled=False)
    visitor.page.goto((site / "01_boxes_and_voc.html").as_uri())
    assert visitor.page.locator("img.course-still").is_visible()
    fold = visitor.page.locator(".course-self-test details").first
    fold.click()
    assert fold.locator("p").is_visible()
    visitor.page.context.close()


# ---- formulas, and the strip under the title


def test_formulas_are_typeset_in_colour_without_a_script_from_elsewhere(visitor):
    """The fraction of the loss stands with its 1 above its N; terms have the colours of the figures."""
    visitor.open("LossAnatomy")
    loss = visitor.page.locator("div.math math").first
    above, below = (loss.locator("mfrac > *").nth(i).bounding_box() for i in (0, 1))
    assert above["y"] + above["height"] <= below["y"] + 1
    colours = loss.locator("mrow[style]").evaluate_all("e => e.map(e => getComputedStyle(e).color)")
    assert colours == ["rgb(0, 158, 115)", "rgb(0, 114, 178)", "rgb(213, 94, 0)"]
    assert "$" not in visitor.page.locator("article").inner_text()
    assert {url.partition(":")[0] for url in visitor.asked} <= {"file", "data"}


def test_the_strip_leads_to_the_pages_of_the_parts_and_fits_a_phone(caller):
    caller.open("LossAnatomy")
    assert caller.page.evaluate("document.documentElement.scrollWidth") <= 390
    here = caller.page.locator("span", has_text="you are here").first
    assert here.inner_text() == "loss 04 (you are here)"
    caller.page.get_by_role("link", name="matching 03").click()
    caller.page.wait_for_selector("h1:has-text('03')")


# ---- chapter 00


def test_the_car_is_dragged_to_the_nearest_recorded_place_and_the_network_has_looked_there(visitor):
    visitor.open("LiveDetector")
    before = visitor.status()
    visitor.drag((62, 72), (155, 140))  # 93 px right, 68 down; recorded places lie 32 px apart
    assert visitor.page.evaluate("course.shown[0].board.boxes") == [[120, 96, 198, 176]]
    assert visitor.status().startswith("car: found as") and visitor.status() != before
    visitor.press("ArrowLeft")
    assert visitor.page.evaluate("course.shown[0].board.boxes") == [[88, 96, 166, 176]]


# ---- chapter 01


def test_two_boxes_are_dragged_with_the_mouse_and_resized_at_a_corner(visitor):
    visitor.open("Overlaps")
    visitor.drag((200, 150), (140, 150))
    assert visitor.status() == "IoU 1.000; intersection 14,400 px², union 14,400 px²"
    visitor.drag((160, 180), (100, 120))
    assert visitor.status() == "IoU 0.250; intersection 3,600 px², union 14,400 px²"


def test_two_boxes_are_moved_with_the_keys_and_n_takes_the_other(visitor):
    visitor.open("Overlaps")
    visitor.press("n", *["ArrowLeft"] * 4)
    assert visitor.status().startswith("IoU 0.500")
    visitor.press("n", "Alt+ArrowDown")
    assert "A: 40, 61, 160, 181" in visitor.words() and "B: 80, 60, 200, 180" in visitor.words()


def test_two_boxes_are_dragged_with_a_finger_and_beside_them_it_scrolls_the_page(caller):
    caller.open("Overlaps")
    before = caller.page.evaluate("scrollY")
    caller.finger((200, 120), (140, 120))
    assert caller.status().startswith("IoU 1.000")
    caller.finger((166, 186), (226, 186))  # the corner of both is held from beside it
    assert caller.status() == "IoU 0.667; intersection 14,400 px², union 21,600 px²"
    assert abs(caller.page.evaluate("scrollY") - before) <= 1  # a page settles; a scroll would be 60 px
    caller.finger((350, 300), (350, 150))
    caller.page.wait_for_function(f"scrollY > {before + 20}")


def test_controls_do_what_they_say(visitor):
    visitor.open("Overlaps")
    visitor.control("VOC, from 1").check()
    assert "B: 101, 61, 220, 180" in visitor.words()
    visitor.control("resampled to 300 x 300").check()
    assert visitor.status().startswith("IoU 0.333; intersection 3,456 px²") and "300 x 300" in visitor.words()
    visitor.control("case").select_option("disjoint")
    assert visitor.status().startswith("IoU 0.000")
    visitor.page.get_by_role("button", name="reset").click()
    assert visitor.status().startswith("IoU 0.000")


def test_a_state_is_a_link_that_shows_it_again(visitor):
    visitor.open("Overlaps")
    visitor.control("case").select_option("one pixel wide")
    visitor.control("centre, px").check()
    visitor.press("n", "ArrowRight")
    shown, words, link = visitor.status(), visitor.words(), visitor.link()
    assert link == (
        "#explorer=Overlaps&preset=one+pixel+wide&notation=centre,+px&boxes=100,60,101,72,101,60,103,72&active=1"
    )
    visitor.page.goto("about:blank")
    visitor.open("Overlaps", link)
    assert (visitor.status(), visitor.words()) == (shown, words)
    assert visitor.control("case").input_value() == "one pixel wide"
    visitor.page.evaluate("location.hash = '#explorer=Overlaps&preset=disjoint'")
    visitor.page.wait_for_timeout(100)
    assert visitor.status().startswith("IoU 0.000") and "(xmin, ymin, xmax, ymax)" in visitor.words()


# ---- the other chapters


def test_a_tap_takes_another_cell_and_a_slider_other_anchors(caller):
    caller.open("AnchorBrowser")
    assert caller.status().startswith("map 10², row 4, column 4")
    caller.page.touchscreen.tap(*caller.place(50, 250))
    assert caller.status().startswith("map 10², row 7, column 1")
    caller.press("ArrowRight")
    assert caller.status().startswith("map 10², row 7, column 2")
    caller.control("first %").fill("20")
    assert re.search(r"size 1 +60 +30", caller.words())
    caller.control("highest").fill("110")
    assert caller.link() == "#explorer=AnchorBrowser&first=20&range=20,110&pointer=80,240"
    caller.page.get_by_role("button", name="reset").click()
    assert re.search(r"size 1 +30 +30", caller.words())


def test_an_object_is_dragged_with_a_finger_and_its_anchors_follow(caller):
    caller.open("Matcher")
    caller.control("case").select_option("too small for any IoU of 0.5")
    assert "0 more from step two" in caller.status()
    caller.finger((162, 162), (200, 200))
    assert "more from step two" in caller.status() and "0 more" not in caller.status()
    shown, link = caller.status(), caller.link()
    caller.page.goto("about:blank")
    caller.open("Matcher", link)
    assert caller.status() == shown


def test_the_argmax_shortcut_loses_an_object_and_the_page_shows_it(visitor):
    visitor.open("Matcher")
    visitor.control("case").select_option("two objects, one best anchor")
    visitor.control("step one").select_option("argmax, the later object wins")
    assert "step one: none" in visitor.words()


def test_boxes_by_hand_are_dragged_and_the_suppressed_one_comes_back(visitor):
    visitor.open("NmsBench")
    visitor.press("n")
    assert visitor.status().startswith("candidate 2,")
    visitor.control("case").select_option("by hand: the five of the page")
    assert "<b>" not in visitor.words() and "2 left by NMS" not in visitor.words()
    visitor.press("n")
    assert "dog 0.80: suppressed by 0" in visitor.status()
    visitor.press(*["ArrowRight"] * 16)
    assert "dog 0.80: stays" in visitor.status()


def test_matching_is_played_round_by_round_and_a_start_step_by_step(visitor):
    visitor.open("Matcher")
    play, step = (visitor.page.locator(".course-motion button").nth(n) for n in (0, 1))
    before = visitor.status()
    step.click()
    step.click()
    assert visitor.status().startswith("round 1: ")
    for _ in range(3):
        step.click()
    assert visitor.status() == before
    visitor.open("Replay")
    play.click()
    visitor.page.wait_for_function(
        "() => /after (3|4|5)\\d\\d of 500/.test(document.querySelector('.course-board-status').innerText)"
    )
    play.click()
    stopped = visitor.status()
    visitor.page.wait_for_timeout(600)
    assert visitor.status() == stopped and "play=" not in visitor.link()


def test_one_goes_along_the_curve_with_keys_clicks_and_the_slider(visitor):
    visitor.open("CurveExplorer")
    first = visitor.status()
    assert "detection 30 of 851" in first
    visitor.press("ArrowRight", "ArrowUp")
    assert "detection 21 of 851" in visitor.status()
    picture = visitor.page.evaluate("() => course.shown[0].board.picture")
    visitor.control("detections").fill("400")
    assert "detection 400 of 851" in visitor.status()
    visitor.page.wait_for_function("before => course.shown[0].board.picture !== before", arg=picture)
    visitor.page.mouse.click(*visitor.place(350, 16))
    assert "detection 1 of 851" in visitor.status()
    visitor.control("class").select_option("bus")
    assert "of 529 comes in" in visitor.status()


def test_recorded_states_are_chosen_with_controls_keys_and_the_mouse(visitor):
    visitor.open("Replay")
    assert "after 60 of 500 steps" in visitor.status()
    visitor.press("ArrowRight")
    assert "after 100 of 500 steps" in visitor.status()
    visitor.control("configuration").select_option("SGD, learning rate 0.02")
    assert "after 100 of 500" not in visitor.status()
    visitor.open("FieldPointer")
    visitor.page.mouse.move(*visitor.place(20, 20))
    assert visitor.status().startswith("19² map, row 0, column 0")
    visitor.control("map").select_option("1² map, conv9_2")
    assert visitor.status().startswith("1² map, row 0, column 0")


def test_a_drop_is_dragged_with_a_finger_among_recorded_states_and_the_link_keeps_it(caller):
    caller.open("DropPlanner")
    x = caller.page.evaluate("() => course.shown[0].board.handles[0][0]")
    caller.finger((x, 223), (130, 223))
    assert "drop 1 at 20.4k (20.0%)" in caller.status()
    shown, link = caller.status(), caller.link()
    caller.page.goto("about:blank")
    caller.open("DropPlanner", link)
    assert caller.status() == shown


# ---- self-tests and exercises


def test_a_self_test_is_answered_with_the_keys_and_counts(visitor):
    visitor.page.goto((visitor.site / "01_boxes_and_voc.html").as_uri())
    groups = visitor.page.locator(".course-self-test fieldset")
    score = visitor.page.locator(".course-score")
    count = groups.count()
    assert score.inner_text() == f"0 of {count}" and count >= 5
    for i in range(count):
        radios, answer = groups.nth(i).locator("input"), groups.nth(i).get_by_role("status")
        radios.first.focus()
        visitor.page.keyboard.press("Space")
        for _ in range(radios.count()):
            if answer.inner_text().startswith("✓"):
                break
            assert answer.inner_text().startswith("✗")
            visitor.page.keyboard.press("ArrowDown")
        assert score.inner_text() == f"{i + 1} of {count}"


def test_every_exercise_says_that_it_needs_python_and_the_way_there_exists(site):
    for path in sorted((ROOT / "chapters").glob("[0-9]*.ipynb")):
        cells = nbformat.read(path, 4).cells
        exercises = sum("exercise" in cell.metadata.get("tags", ()) for cell in cells)
        page = (site / f"{path.stem}.html").read_text()
        said = re.findall(r'This exercise needs Python: <a[^>]+href="([^"]+)"', page)
        assert said == ["index.html#run-the-notebooks"] * exercises, path.stem
    assert 'id="run-the-notebooks"' in (site / "index.html").read_text()


def test_below_an_exercise_nothing_says_that_it_is_not_solved_yet(site):
    notebooks = [nbformat.read(path, 4) for path in (ROOT / "chapters").glob("[0-9]*.ipynb")]
    assert any("○ not yet" in str(cell.get("outputs")) for book in notebooks for cell in book.cells)
    assert not [page.name for page in site.glob("*.html") if "○ not yet" in page.read_text(encoding="utf-8")]


def test_where_an_explorer_stays_a_picture_a_line_says_so_before_the_prose_that_tells_what_to_drag(site):
    for stem, kind in (("09_full_training", "Planner"), ("12_your_own_images", "TileBench")):
        page = (site / f"{stem}.html").read_text(encoding="utf-8")
        headings = [part.partition("<h")[0] for part in re.split(r"<h[234]>", page)]
        [moving] = [part for part in headings if re.search(r"[Dd]rag ", part) and "<img" in part]
        assert (
            0
            < moving.index("A picture here; in the notebook it moves")
            < re.search("[Dd]rag ", moving).start()
        ), kind
    page = (site / "03_matching.html").read_text(encoding="utf-8")
    assert "A picture here" not in page  # that explorer is alive


def test_the_first_page_shows_every_chapter_with_a_picture_and_what_one_will_be_able_to_do(browser, site):
    visitor = Visitor(browser, site)
    visitor.page.goto((site / "index.html").as_uri())
    rows = visitor.page.locator("article table tbody tr")
    chapters = sorted(path.stem for path in (ROOT / "chapters").glob("[0-9]*.ipynb"))
    links = [rows.nth(i).locator("a").first.get_attribute("href") for i in range(rows.count())]
    assert links == [f"{stem}.html" for stem in chapters]
    loaded = "images => images.map(image => image.complete && image.naturalWidth)"
    widths = visitor.page.locator("article table img").evaluate_all(loaded)
    assert len(widths) == len(chapters) and all(widths)
    assert all(len(rows.nth(i).locator("td").last.inner_text()) > 20 for i in range(rows.count()))


def test_the_search_works_from_disk_and_quotes_what_it_found(browser, site):
    visitor = Visitor(browser, site)
    visitor.page.goto(f"{(site / 'search.html').as_uri()}?q=momentum")
    visitor.page.locator("#search-results li p.context").first.wait_for()
    quotes = visitor.page.locator("#search-results li p.context").all_inner_texts()
    assert len(quotes) >= 3 and sum("momentum" in quote.lower() for quote in quotes) >= 3
    assert not visitor.errors and all(url.startswith(("file:", "data:")) for url in visitor.asked)
    visitor.page.locator("#search-results li a").first.click()
    assert "momentum" in visitor.page.locator("article").inner_text().lower()


@pytest.mark.parametrize("stem", ["07_sgd_instability", "09_full_training"])
def test_on_a_phone_code_is_broken_into_lines_and_only_outputs_and_tables_scroll(browser, site, stem):
    visitor = Visitor(browser, site, viewport={"width": 390, "height": 844})
    visitor.page.goto((site / f"{stem}.html").as_uri())
    wide = "parts => parts.filter(part => part.scrollWidth > part.clientWidth + 1).length"
    assert visitor.page.locator(".cell_input pre").evaluate_all(wide) == 0
    assert visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    tables = visitor.page.locator(".course-table")
    widths = tables.evaluate_all("parts => parts.map(part => part.scrollWidth - part.clientWidth)")
    table = tables.nth(max(range(len(widths)), key=widths.__getitem__))
    assert max(widths) > 20  # wider than a phone: a shadow says so, until its end is reached
    begin = right_edge(table)
    table.evaluate("table => { table.scrollLeft = table.scrollWidth; }")
    assert begin < right_edge(table) - 15


def right_edge(part) -> float:
    """How bright the last px of a part of the page are, 0 to 255."""
    picture = Image.open(io.BytesIO(part.screenshot())).convert("L")
    return ImageStat.Stat(picture.crop((picture.width - 4, 0, *picture.size))).mean[0]


def test_the_whole_book_and_each_page_stay_light(site):
    """Under 25 MB in all, as promised; a page with its pictures under 3 MB."""
    sizes = {path.relative_to(site): path.stat().st_size for path in site.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < 25e6
    for page in site.glob("*.html"):
        assert page.stat().st_size < 3e6, page.name
        pictures = set(re.findall(r'src="(_images/[^"]+)"', page.read_text()))
        assert page.stat().st_size + sum((site / p).stat().st_size for p in pictures) < 3e6, page.name


def test_every_explorer_of_the_book_is_tested_here():
    assert CHAPTER.keys() == live.EXPLORERS.keys() | recorded.RECORDINGS.keys()
