"""Chapter 07 in a real browser: keys, clicks, a guess and the menus replay a recorded start, and Python knows."""

import pytest

from browsing import chapter_of
from course.instability.replay import LEFT, RIGHT, VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of("07_sgd_instability", "import torch", "replay.Replay(", "SelfTest(")


def test_the_optional_part_is_folded_until_the_arrow_beside_its_heading_is_pressed(reader):
    reader.open("07_sgd_instability")
    cells = "window.jupyterapp.shell.currentWidget.content.widgets"
    hidden = f"words => {cells}.find(cell => cell.model.sharedModel.source.includes(words)).isHidden"
    inside = ("source(curvature.largest_curvature)", "figures.edges_along(", "the end of the optional part")
    for words in inside:
        assert reader.page.evaluate(hidden, words), words
    for words in ("## Anatomy of a NaN", "### 7.2"):
        assert not reader.page.evaluate(hidden, words), words
    reader.page.evaluate(
        f"""() => {{ const page = window.jupyterapp.shell.currentWidget.content;
        const place = {cells}.findIndex(cell => cell.model.sharedModel.source.startsWith('## Optional'));
        page.activeCellIndex = place; return page.scrollToItem(place, 'center'); }}"""
    )
    reader.page.locator(".jp-MarkdownCell.jp-mod-active .jp-collapseHeadingButton").click()
    for words in inside:
        assert not reader.page.evaluate(hidden, words), words


def test_arrow_keys_scrub_through_the_steps_and_the_status_says_them(chapter):
    chapter.ask("setattr(explorer.step, 'value', 50)")
    chapter.press("ArrowRight", "ArrowRight", "ArrowUp")
    chapter.until_status("after 62 of")
    chapter.press("ArrowDown", "ArrowLeft")
    chapter.until_status("after 51 of")


def test_holding_a_key_loses_no_step(chapter):
    chapter.ask("setattr(explorer.step, 'value', 100)")
    chapter.press(*["ArrowRight"] * 30)
    chapter.until_status("after 130 of")


def test_a_click_on_the_curve_goes_to_its_step_and_a_drag_follows(chapter):
    longest = int(chapter.ask("explorer._longest()"))
    quarter = LEFT + (RIGHT - LEFT) / 4
    chapter.drag((quarter, 100), (quarter, 100), VIEW, steps=1)
    chapter.page.wait_for_timeout(500)
    found = int(chapter.ask("explorer.step.value"))
    assert abs(found - longest / 4) <= 2
    chapter.drag((quarter, 100), ((LEFT + RIGHT) / 2, 100), VIEW, steps=20)
    chapter.page.wait_for_timeout(800)
    assert abs(int(chapter.ask("explorer.step.value")) - longest / 2) <= 2


def test_a_guess_with_the_mouse_is_judged_and_the_recording_goes_on(chapter):
    chapter.ask("setattr(explorer.step, 'value', 100)")
    asked = int(chapter.ask("explorer.asked"))
    chapter.page.get_by_label("ends in NaN").click()  # the explorer takes the mark away again
    chapter.until_status("after 150 of")
    chapter.page.get_by_text("the recording: it").first.wait_for(timeout=10_000)
    assert int(chapter.ask("explorer.asked")) == asked + 1
    box = chapter.page.get_by_label("ends in NaN")
    chapter.page.wait_for_function("box => !box.checked", arg=box.element_handle())
    chapter.page.get_by_label("stays where it is").click()  # the same question can be asked again
    chapter.until_status("after 200 of")


def test_another_configuration_shows_its_start_of_the_same_seed(chapter):
    chapter.page.get_by_label("configuration", exact=True).select_option(label="SGD, learning rate 0.02")
    chapter.page.wait_for_timeout(500)
    assert chapter.ask("explorer").startswith("Replay(beyond 0,")
    chapter.page.get_by_label("configuration", exact=True).select_option(label="SGD, learning rate 0.001")
    assert chapter.errors() == 0
