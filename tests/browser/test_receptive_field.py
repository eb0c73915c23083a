"""Chapter 05 in a real browser: the mouse and the keys choose a cell, the map changes, and Python knows."""

import pytest

from browsing import chapter_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of(
    "05_network", "import torch", "chosen = figures.scenes", "fields.FieldPointer(", "SelfTest(", timeout=240
)


def view(chapter) -> list[float]:
    return [float(x) for x in chapter.ask("explorer.board.view").strip("[]").split(",")]


def point(chapter, x: float, y: float) -> None:
    """Move the mouse over (x, y), px of the picture, without pressing."""
    frame, (x0, y0, x1, _) = chapter.board().bounding_box(), view(chapter)
    k = frame["width"] / (x1 - x0)
    chapter.page.mouse.move(frame["x"] + (x - 30 - x0) * k, frame["y"] + (y - 30 - y0) * k)
    chapter.page.mouse.move(frame["x"] + (x - x0) * k, frame["y"] + (y - y0) * k, steps=6)


def test_the_mouse_chooses_the_nearest_cell_without_a_press(chapter):
    point(chapter, 100, 200)
    chapter.until_status("19² map, row 12, column 6")
    assert "cell (12, 6)" in chapter.ask("explorer")


def test_one_press_of_an_arrow_key_is_one_cell(chapter):
    chapter.ask("setattr(explorer.board, 'pointer', [72.0, 72.0])")
    chapter.until_status("row 4, column 4")
    chapter.press("ArrowRight", "ArrowRight", "ArrowDown")
    chapter.until_status("row 5, column 6")
    assert "cell (5, 6)" in chapter.ask("explorer")


def test_choosing_another_map_changes_what_an_answer_sees(chapter):
    chapter.page.locator(".widget-dropdown select").first.select_option(label="38² map, conv4_3")
    chapter.until_status("sees 107 x 107 px")
    point(chapter, 52, 60)
    chapter.until_status("38² map, row 7, column 6")
    chapter.page.locator(".widget-dropdown select").first.select_option(label="1² map, conv9_2")
    chapter.until_status("sees 899 x 899 px")
    assert "cell (0, 0)" in chapter.ask("explorer")


def test_ticking_the_box_paints_what_matters(chapter):
    before = chapter.ask("len(explorer.board.picture)")
    chapter.page.locator("text=which pixels matter").last.click()
    chapter.page.wait_for_selector("text=half of the gradient lies")
    assert chapter.ask("len(explorer.board.picture)") != before
    assert chapter.errors() == 0
