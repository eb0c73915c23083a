"""Chapter 13 in a real browser: a tile is clicked, keys go from tile to tile and swap a block, Python knows."""

import pytest

from browsing import chapter_of
from course.capstone.swap_board import VIEW, place

pytestmark = [pytest.mark.browser, pytest.mark.slow]

chapter = chapter_of(
    "13_your_ssd",
    "import torch",
    "functions = mine.functions()",
    "yours = blocks.solved",
    "found = bisection.search",
    "explorer = swap_board.SwapBoard",
    "SelfTest(",
)


def middle(index):
    x1, y1, x2, y2 = place(index)
    return (x1 + x2) / 2, (y1 + y2) / 2


def test_a_click_swaps_a_block_and_keys_go_on_and_swap_too(chapter):
    assert "yours: 16 of 16" in chapter.ask("explorer")
    chapter.drag(middle(4), middle(4), VIEW, steps=1)
    chapter.until_status("matching: assigns anchors to objects")
    chapter.page.wait_for_timeout(500)
    assert "yours: 15 of 16, at matching" in chapter.ask("explorer")
    chapter.press("ArrowRight", "n")
    chapter.until_status("encoding: ")
    chapter.page.wait_for_timeout(500)
    assert "yours: 14 of 16, at encoding" in chapter.ask("explorer")
    chapter.press("n")
    chapter.page.wait_for_timeout(500)
    assert "yours: 15 of 16, at encoding" in chapter.ask("explorer")
    assert chapter.ask("'matching' in explorer.names") == "False"


def test_what_is_not_solved_stays_lent_and_the_chapter_that_asks_for_it_is_said(chapter):
    chapter.ask("setattr(explorer, 'there', ())")
    chapter.drag(middle(4), middle(4), VIEW, steps=1)
    chapter.until_status("matching: assigns anchors to objects; not solved yet: chapter 03")
    assert "yours: 15 of 16, at matching" in chapter.ask("explorer")
    assert chapter.errors() == 0
