"""Chapter 02 in a real browser: cells are clicked and walked over, sliders are moved by keys, and Python knows."""

import json

import pytest

from browsing import chapter_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of("02_anchors", "import torch", "pictures.scene(", "AnchorBrowser(", "SelfTest(")


def test_a_click_chooses_the_cell_under_it(chapter):
    view = json.loads(chapter.ask("list(explorer.board.view)"))
    chapter.drag((70, 230), (70, 230), view, steps=1)
    chapter.until_status("row 7, column 2")
    assert "map 3, row 7, column 2" in chapter.ask("explorer")


def test_arrow_keys_walk_cell_by_cell_and_stop_at_the_last_one_outside_the_picture(chapter):
    chapter.ask("setattr(explorer.board, 'pointer', [240.0, 16.0])")
    chapter.until_status("row 0, column 7")
    chapter.press("ArrowDown", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    chapter.until_status("row 1, column 9; centre (304, 48)")
    assert "row 1, column 9" in chapter.ask("explorer")


def test_a_slider_moved_by_keys_changes_sizes_and_coverage(chapter):
    handle = chapter.page.locator(".widget-slider .noUi-handle").first
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(3):
        chapter.page.keyboard.press("ArrowLeft")
    chapter.page.wait_for_timeout(800)
    assert "sizes [21, 60, 111, 162, 213, 264], 8732 anchors, 88.9 % covered" in chapter.ask("explorer")
    chapter.page.locator("button", has_text="reset").first.click()
    chapter.page.wait_for_timeout(500)
    assert "sizes [30, 60, 111, 162, 213, 264]" in chapter.ask("explorer")


def test_another_map_is_chosen_and_nothing_went_wrong_on_the_page(chapter):
    chapter.page.locator(".widget-dropdown select").first.select_option(index=0)
    chapter.until_status("map 38²")
    assert "map 1, " in chapter.ask("explorer")
    assert chapter.errors() == 0
