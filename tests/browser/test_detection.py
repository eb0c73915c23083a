"""Chapter 10 in a real browser: keys go down the ranking, a slider thins the boxes, a box is dragged away."""

import pytest

from browsing import chapter_of
from course.detection.nms_bench import VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of("10_detection", "import torch\n", "stages.recorded(", "nms_bench.NmsBench(", "SelfTest(")


def test_n_goes_down_the_ranking_and_says_who_suppressed_whom(chapter):
    chapter.until_status("candidate 1,")
    chapter.press("n")
    chapter.until_status("candidate 2,")
    chapter.press("n", "n")
    chapter.until_status("candidate 4,")
    assert chapter.ask("explorer.place.value") == "4"
    assert chapter.status() in chapter.ask("explorer")


def test_a_click_near_an_edge_takes_that_box(chapter):
    chapter.ask("setattr(explorer.score, 'value', 0.5)")
    x1, y1, _, y2 = eval(chapter.ask("explorer.ranking.boxes[explorer.visible[-1]].tolist()"))
    edge = (x1, (y1 + y2) / 2)
    chapter.drag(edge, edge, VIEW)
    chapter.page.wait_for_timeout(500)
    taken = eval(chapter.ask("explorer.ranking.boxes[explorer.chosen()].tolist()"))
    assert abs(taken[0] - x1) < 3
    chapter.ask("setattr(explorer.score, 'value', 0.01)")


def test_a_slider_moved_with_the_keyboard_leaves_fewer_boxes(chapter):
    before = int(chapter.ask("len(explorer.ranking.kept)"))
    handle = chapter.page.locator(".noUi-handle").first  # of the first slider: the score
    handle.scroll_into_view_if_needed()
    handle.focus()
    for _ in range(4):
        chapter.page.keyboard.press("ArrowRight")
    chapter.page.wait_for_timeout(800)
    assert float(chapter.ask("explorer.score.value")) > 0.01
    assert int(chapter.ask("len(explorer.ranking.kept)")) < before


def test_dragging_b_away_from_a_lets_it_live(chapter):
    chapter.ask("setattr(explorer.score, 'value', 0.01)")
    chapter.ask("setattr(explorer.case, 'value', 'by hand: the five of the page')")
    chapter.page.wait_for_timeout(500)
    assert "out, by A" in chapter.ask("explorer.board.box_names[1]")
    chapter.press("n")  # B is the active box now, so that it is taken where boxes lie upon each other
    chapter.until_status("candidate 1,")
    chapter.drag((150, 120), (260, 120), VIEW)
    chapter.page.wait_for_timeout(500)
    assert chapter.ask("explorer.board.box_names[1]") == "B dog 0.8: stays"
    chapter.until_status("candidate 1, dog 0.80: stays")


def test_a_question_is_answered_and_nothing_on_the_page_is_an_error(chapter):
    radio = chapter.page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    chapter.page.keyboard.press("Space")
    chapter.page.wait_for_selector("text=Before is fine and saves time")
    assert chapter.errors() == 0
