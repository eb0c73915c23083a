"""Chapter 03 in a real browser: the matcher is dragged, keys move boxes, and Python knows."""

import pytest

from browsing import chapter_of
from course.matching.matcher import VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]


opened = chapter_of("03_matching", "import torch", "pictures.scene(", "matcher.Matcher(", "SelfTest(")


@pytest.fixture(scope="module")
def chapter(opened):
    opened.ask("setattr(explorer.preset, 'value', 'two objects, far apart')")
    opened.until_status("best IoU 0.72")
    return opened


def test_dragging_an_object_moves_it_and_its_anchors(chapter):
    before = chapter.status()
    chapter.drag((75, 120), (175, 220), VIEW)
    chapter.page.wait_for_timeout(500)
    assert "[130, 160, 220, 280]" in chapter.ask("explorer")
    assert chapter.status() != before


def test_arrow_keys_move_and_resize_and_n_takes_the_next(chapter):
    chapter.ask("setattr(explorer.preset, 'value', 'the whole image')")
    chapter.ask("setattr(explorer.preset, 'value', 'two objects, far apart')")
    chapter.press("ArrowRight", "Alt+ArrowDown", "Shift+ArrowLeft", "n", "ArrowUp")
    chapter.until_status("object 1")
    assert "[[35, 61, 120, 181], [150, 35, 290, 265]]" in chapter.ask("explorer")


def test_a_question_is_answered_with_the_keyboard_and_says_why(chapter):
    page = chapter.page
    radio = page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    page.keyboard.press("Space")
    page.wait_for_selector("text=Step one has no threshold")
    cell = page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex")
    page.keyboard.press("ArrowDown")  # JupyterLab's own key for the next cell
    page.wait_for_selector("text=For one object of VOC 07+12 in eight this is so")
    assert page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex") == cell
    assert chapter.errors() == 0


def test_a_menu_and_a_slider_take_the_arrow_keys(chapter):
    page = chapter.page
    menu = page.locator(".jp-OutputArea select").first
    menu.scroll_into_view_if_needed()
    menu.select_option("two objects, far apart")
    menu.focus()
    page.keyboard.press("ArrowDown")
    chapter.until_status("best IoU 0.36")
    handle = page.locator(".widget-slider [role=slider]").first
    handle.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.wait_for_timeout(500)
    assert chapter.ask("explorer.threshold.value") == "0.4"
