"""Chapter 00's live detector in a real browser: a car is dragged, keys move it, and the network looks again."""

import pytest

from browsing import chapter_of
from course.welcome.live_detector import VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]
chapter = chapter_of("00_start_here", "import torch", "LiveDetector(")


def test_dragging_the_car_moves_it_and_the_network_says_something_else(chapter):
    before = chapter.until_status("car: found as car")
    chapter.drag((62, 72), (220, 160), VIEW)
    chapter.page.wait_for_timeout(1000)
    assert "car [182, 120, 260, 200]" in chapter.ask("explorer")
    assert chapter.status() != before


def test_keys_move_and_choose_another_object_and_reset_brings_all_back(chapter):
    chapter.page.get_by_role("button", name="reset").click()
    chapter.until_status("car: found as car")
    chapter.press("ArrowRight", "Alt+ArrowDown", "Shift+ArrowRight", "n")
    chapter.until_status("dog: found as dog")
    assert "car [29, 33, 112, 113], dog [48, 168, 144, 279]" in chapter.ask("explorer")
    assert chapter.errors() == 0
