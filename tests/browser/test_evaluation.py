"""Chapter 11 in a real browser: keys go along the ranking, a click goes to a place of the curve, a rule is chosen."""

import pytest

from browsing import chapter_of
from course.evaluation.curve_explorer import BOTTOM, LEFT, RIGHT, TOP, VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of(
    "11_evaluation", "import numpy", "judging.recorded(", "curve_explorer.CurveExplorer(", "SelfTest("
)


def test_arrow_keys_go_along_the_ranking_by_one_and_by_ten(chapter):
    chapter.until_status("detection 30 of")
    chapter.press("ArrowRight")
    chapter.until_status("detection 31 of")
    chapter.press("ArrowDown")
    chapter.until_status("detection 41 of")
    chapter.press("ArrowUp", "ArrowLeft")
    chapter.until_status("detection 30 of")
    assert chapter.status() in chapter.ask("explorer")


def test_n_goes_to_the_next_detection_that_is_not_true(chapter):
    chapter.ask("setattr(explorer.place, 'value', 1)")
    wanted = int(chapter.ask("1 + [v != 'true' for v in explorer.judged.said].index(True)"))
    chapter.press("n")
    said = chapter.until_status(f"detection {wanted} of")
    assert said.split(": ")[-1] != "true"


def test_a_click_on_the_curve_takes_the_nearest_point(chapter):
    recall, precision = eval(
        chapter.ask("[float(explorer.judged.recall[9]), float(explorer.judged.precision[9])]")
    )
    place = (LEFT + (RIGHT - LEFT) * recall, BOTTOM - (BOTTOM - TOP) * precision)
    chapter.drag(place, place, VIEW)
    chapter.page.wait_for_timeout(500)
    at = eval(chapter.ask("float(explorer.judged.recall[explorer.place.value - 1])"))
    assert abs(at - recall) < 0.05


def test_another_rule_gives_another_ap_for_the_same_ranking(chapter):
    before = chapter.ask("explorer").split("AP of the whole curve")[1]
    chapter.page.locator(".widget-dropdown select").nth(1).select_option(label="difficult objects counted")
    chapter.page.wait_for_selector("text=27 objects count")
    after = chapter.ask("explorer").split("AP of the whole curve")[1]
    assert before != after


def test_a_question_is_answered_and_nothing_on_the_page_is_an_error(chapter):
    radio = chapter.page.locator("input[type=radio]").first
    radio.scroll_into_view_if_needed()
    radio.focus()
    chapter.page.keyboard.press("Space")
    chapter.page.wait_for_selector("text=That is the recall at the end")
    assert chapter.errors() == 0
