"""Chapter 08 in a real browser: a drop follows the mouse and the keys, and Python knows where it is."""

import pytest

from browsing import chapter_of
from course.drops.drop_planner import HANDLE, VIEW, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


chapter = chapter_of(
    "08_learning_rate_drops", "import torch", "DropPlanner(", "SelfTest(", "def when(", "check.when(when)"
)


@pytest.fixture(autouse=True)
def published_plan(chapter):
    chapter.ask("setattr(explorer.preset, 'value', None)")
    chapter.ask("setattr(explorer.preset, 'value', 'published run: 56k, 76k of 102k')")
    chapter.until_status("drop 1 at 56.0k (54.9%)")


def shares(chapter) -> list[float]:
    return eval(chapter.ask("explorer.shares"))


def test_a_drop_follows_the_mouse_and_stops_at_the_other(chapter):
    chapter.drag((WIDE * 56 / 102, 100), (0.2 * WIDE, 120), VIEW)
    chapter.until_status("drop 1 at 20.4k (20.0%)")
    assert shares(chapter) == pytest.approx([0.2, 76 / 102], abs=0.003)
    chapter.drag((WIDE * 76 / 102, 300), (0.05 * WIDE, 300), VIEW)
    chapter.until_status("drop 2 is in your hand")
    chapter.page.wait_for_timeout(500)
    first, second = shares(chapter)
    assert first == second == pytest.approx(0.2, abs=0.003)


def test_a_drag_that_stalls_keeps_its_drop(chapter):
    chapter.drag(
        (WIDE * 76 / 102, 100), (0.3 * WIDE, 100), VIEW, stall=1.0
    )  # it leans on drop 1, which could go on
    chapter.until_status("drop 2 is in your hand")
    chapter.page.wait_for_timeout(500)
    assert shares(chapter) == pytest.approx([56 / 102, 56 / 102], abs=0.003)


def test_arrow_keys_move_the_drop_in_the_hand_and_n_takes_the_other(chapter):
    chapter.press(*["ArrowLeft"] * 20)
    chapter.until_status("drop 1 at 45.8k (44.9%)")
    chapter.press("n")
    chapter.until_status("drop 2 is in your hand")
    chapter.press(*["ArrowRight"] * 10)
    chapter.until_status("drop 2 at 81.1k (79.5%)")
    assert shares(chapter) == pytest.approx([56 / 102 - 0.1, 76 / 102 + 0.05], abs=0.002)


def test_the_handle_stays_on_its_line(chapter):
    chapter.drag((0.7 * WIDE, 60), (0.7 * WIDE, 60), VIEW, steps=1)
    chapter.until_status("drop 2 at 71.4k (70.0%)")
    assert eval(chapter.ask("explorer.board.handles[1]")) == pytest.approx([0.7 * WIDE, HANDLE], abs=1)


def test_another_batch_changes_the_epochs_on_the_page_without_an_error(chapter):
    chapter.page.get_by_label("batch", exact=True).select_option(label="8")
    chapter.page.wait_for_function("() => document.body.innerText.includes('0.82 million images, 49 epochs')")
    chapter.page.get_by_label("batch", exact=True).select_option(label="31")
    assert chapter.errors() == 0


def test_the_card_says_what_was_recorded_and_how_far_away_it_is(chapter):
    chapter.press("n")
    chapter.until_status("drop 2 is in your hand")
    chapter.press(*["ArrowRight"] * 60)
    chapter.until_status("drop 2 never")
    chapter.page.wait_for_function("() => /Nearest: drop|these shares: mAP/.test(document.body.innerText)")
