"""Chapter 04 in a real browser: sliders, keys and clicks walk through the loss, and Python knows."""

import pytest

from browsing import chapter_of
from course.loss.loss_anatomy import VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of("04_multibox_loss", "import torch", "some_scenes(", "LossAnatomy(", "SelfTest(")


def click(chapter, x, y):
    chapter.drag((x, y), (x, y), VIEW, steps=1)
    chapter.page.wait_for_timeout(500)


def test_arrow_keys_walk_through_the_terms_and_the_status_says_them(chapter):
    chapter.ask("setattr(explorer.term, 'value', 0)")
    chapter.press("ArrowRight", "ArrowDown", "ArrowRight")
    chapter.until_status("positive 4 of")
    assert "term 3," in chapter.ask("explorer")
    chapter.press("ArrowLeft")
    chapter.until_status("positive 3 of")


def test_holding_a_key_loses_no_step(chapter):
    chapter.ask("setattr(explorer.term, 'value', 0)")
    chapter.press(*["ArrowRight"] * 30)
    chapter.page.wait_for_timeout(800)
    assert "term 30," in chapter.ask("explorer")


def test_a_click_on_a_bar_and_on_an_anchor_chooses_it(chapter):
    place = "explorer.count + 2"
    left, _, right, line = eval(chapter.ask(f"explorer._bars()[0][{place}].tolist()"))
    click(chapter, (left + right) / 2, line - 3)
    chapter.until_status("negative, rank 3")
    x1, y1, _, y2 = eval(chapter.ask("explorer.anchors[explorer.terms[0]].tolist()"))
    click(chapter, x1, (y1 + y2) / 2)
    chapter.until_status("positive")
    chapter.press("ArrowRight")
    chapter.until_status("positive 2")


def test_dragging_the_ratio_changes_the_negatives_and_the_loss(chapter):
    before = chapter.ask("explorer")
    slider = chapter.page.locator(
        ".widget-slider:has-text('ratio') .noUi-handle, .widget-hslider .noUi-handle"
    ).first
    slider.scroll_into_view_if_needed()
    frame = slider.bounding_box()
    mouse = chapter.page.mouse
    mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    mouse.down()
    mouse.move(frame["x"] + 60, frame["y"] + frame["height"] / 2, steps=10)
    mouse.up()
    chapter.page.wait_for_timeout(500)
    after = chapter.ask("explorer")
    assert (
        "ratio 3 " in before and "ratio 3 " not in after and before.split("loss")[1] != after.split("loss")[1]
    )


def test_another_network_shows_another_loss_without_an_error(chapter):
    chapter.page.get_by_label("network", exact=True).select_option(label="all classes equally likely")
    chapter.page.wait_for_timeout(500)
    assert "all classes equally likely" in chapter.ask("explorer")
    assert chapter.errors() == 0
