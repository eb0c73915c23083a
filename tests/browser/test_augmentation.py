"""Chapter 06 in a real browser: the crop is dragged, keys move it, a button draws anew, and Python knows."""

import re

import pytest

from browsing import chapter_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of(
    "06_augmentation", "import torch", "opening.example()", "augmentation_player.Player(", "SelfTest("
)


def view_of(chapter) -> tuple:
    return tuple(eval(chapter.ask("list(explorer.board.view)")))


def window_of(chapter) -> list:
    return eval(re.search(r"crop (\[[^]]*\]), kept", chapter.ask("explorer"))[1])


def test_dragging_the_crop_moves_it_and_changes_the_input(chapter):
    x1, y1, x2, y2 = window_of(chapter)
    canvas = chapter.ask("hash(explorer.canvas.picture)")
    # take it where no corner and no other box is, and put it 100 px further left and 40 px higher
    chapter.drag((x1 + 70, y1 + 60), (x1 - 30, y1 + 20), view_of(chapter))
    chapter.until_status("moved by hand")
    chapter.page.wait_for_timeout(500)
    found = window_of(chapter)
    assert all(abs(a - b) <= 6 for a, b in zip(found, (x1 - 100, y1 - 40, x2 - 100, y2 - 40), strict=True))
    assert chapter.ask("hash(explorer.canvas.picture)") != canvas


def test_arrow_keys_move_and_resize_the_crop(chapter):
    x1, y1, x2, y2 = window_of(chapter)
    chapter.press("ArrowRight", "Alt+ArrowDown", "Shift+ArrowLeft")
    chapter.page.wait_for_timeout(500)
    pairs = zip(window_of(chapter), (x1 + 5, y1 + 1, x2, y2 + 1), strict=True)
    assert all(abs(found - wanted) <= 1 for found, wanted in pairs)  # both sides are rounded


def test_the_button_draws_anew_and_the_slider_s_keys_do_too(chapter):
    before = chapter.ask("explorer.seed.value")
    chapter.page.get_by_role("button", name="next version").click()
    chapter.until_status("sampler: ")
    assert int(chapter.ask("explorer.seed.value")) == int(before) + 1
    slider = chapter.page.locator(".widget-slider [role=slider]").first
    slider.focus()
    chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(800)
    assert int(chapter.ask("explorer.seed.value")) == int(before) + 2


def test_without_crop_and_expand_the_crop_is_the_whole_photograph(chapter):
    for name in ("expand", "crop"):
        chapter.page.locator(f"label:has-text('{name}') input[type=checkbox]").first.click()
    chapter.page.wait_for_timeout(800)
    assert "steps ['distort', 'flip']" in chapter.ask("explorer")
    size = eval(chapter.ask("example.size"))
    assert window_of(chapter) == [0, 0, *size]


def test_a_question_is_answered_with_the_keyboard_and_says_why(chapter):
    radio = chapter.page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    chapter.page.keyboard.press("Space")
    chapter.page.wait_for_selector("text=it is the root of the area: a side, not an area")
    assert chapter.errors() == 0
