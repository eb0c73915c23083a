"""Chapter 12 in a real browser: an object is dragged and resized, a slider cuts the photograph, a menu changes it."""

import pytest

from browsing import chapter_of
from course.own_images.tile_bench import PHOTOGRAPHS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MARGIN = 0.04 * 480
VIEW = (-MARGIN, -MARGIN, 480 + MARGIN, 360 + MARGIN)  # the board's, with the first photograph


chapter = chapter_of("12_your_own_images", "import torch", "tile_bench.TileBench(", "SelfTest(")


def test_dragging_the_object_takes_it_to_another_place_and_python_hears_of_it(chapter):
    chapter.until_status("not covered")
    chapter.drag((222, 160), (322, 260), VIEW)
    for _ in range(40):  # a busy machine takes its time until the last move has arrived
        chapter.page.wait_for_timeout(500)
        x1, y1, x2, y2 = eval(chapter.ask("explorer.board.boxes[0]"))
        if abs(x1 - 310) < 6 and abs(y1 - 250) < 6:
            break
    assert abs(x1 - 310) < 6 and abs(y1 - 250) < 6
    assert abs(x2 - x1 - 24) < 1 and abs(y2 - y1 - 20) < 1
    assert chapter.status() in chapter.ask("explorer")


def test_growing_it_with_the_keys_gets_it_covered(chapter):
    chapter.press(*["Shift+ArrowRight", "Shift+ArrowDown"] * 6)
    chapter.until_status(": covered")
    assert "of the objects" in chapter.ask("explorer.table.value")


def test_the_slider_cuts_the_photograph_with_the_keyboard(chapter):
    handle = chapter.page.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(800)
    assert chapter.ask("explorer.cut.value") == "2"
    assert "2 tiles a side" in chapter.ask("explorer")


def test_another_photograph_is_chosen_in_the_menu(chapter):
    name = "phone, 4000 x 3000"
    chapter.page.locator(".widget-dropdown select").first.select_option(label=name)
    chapter.page.wait_for_timeout(800)
    assert eval(chapter.ask("explorer.size")) == PHOTOGRAPHS[name][0]
    assert name in chapter.ask("explorer")


def test_a_question_is_answered_and_nothing_on_the_page_is_an_error(chapter):
    radio = chapter.page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    chapter.page.keyboard.press("Space")
    chapter.page.wait_for_selector("text=Body and localisation heads don't know")
    assert chapter.errors() == 0
