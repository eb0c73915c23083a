"""Chapter 01 in a real browser: two boxes are dragged, keys and buttons work, and Python knows."""

import re

import pytest

from browsing import chapter_of

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of("01_boxes_and_voc", "import torch", "worth_reading(", "overlap.Overlaps(", "SelfTest(")


@pytest.fixture
def view(chapter):
    chapter.ask("setattr(explorer.squeeze, 'value', False)")
    chapter.ask("setattr(explorer.preset, 'value', 'disjoint')")
    chapter.ask("setattr(explorer.preset, 'value', 'half shifted')")
    chapter.until_status("IoU 0.333")
    return tuple(float(x) for x in re.findall(r"-?[\d.]+", chapter.ask("explorer.board.view")))


def test_dragging_b_over_a_makes_them_the_same_box(chapter, view):
    chapter.drag((200, 150), (140, 150), view)
    assert chapter.until_status("IoU 1.000").startswith("IoU 1.000; intersection 14,400 px²")
    assert "B [40.0, 60.0, 160.0, 180.0], IoU 1.000" in chapter.ask("explorer")


def test_dragging_a_corner_makes_a_box_larger(chapter, view):
    chapter.drag((220, 180), (260, 180), view)
    chapter.until_status("union 26,400 px²")
    assert "B [100.0, 60.0, 260.0, 180.0]" in chapter.ask("explorer")


def test_arrow_keys_move_the_active_box_and_n_takes_the_other(chapter, view):
    chapter.press("n", *["ArrowLeft"] * 4)
    chapter.until_status("IoU 0.500")
    chapter.press("n", "Alt+ArrowDown")
    chapter.until_status("IoU 0.4")
    assert "A [40.0, 61.0, 160.0, 181.0], B [80.0, 60.0, 200.0, 180.0]" in chapter.ask("explorer")


def test_buttons_and_the_tick_box_are_used_by_mouse_and_the_iou_stays(chapter, view):
    chapter.page.locator("button", has_text="VOC, from 1").first.click()
    chapter.page.wait_for_selector("text=B: 101, 61, 220, 180")
    chapter.page.locator("label", has_text="resampled to 300 x 300").first.click()
    chapter.until_status("IoU 0.333; intersection 3,4")
    chapter.page.wait_for_selector("text=image 300 x 300")
    assert chapter.ask("explorer.squeeze.value") == "True" and "IoU 0.333" in chapter.ask("explorer")


def test_a_question_is_answered_with_the_keyboard_and_says_why(chapter):
    radio = chapter.page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    chapter.page.keyboard.press("Space")
    chapter.page.wait_for_selector("text=But they are compared with the union")
    assert chapter.errors() == 0
