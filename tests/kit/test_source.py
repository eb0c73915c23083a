"""Library code on a page: what is shown, what is left out, and that it fits on a screen."""

import re
from pathlib import Path

import pytest

from course.kit.source import source

SOURCES = Path(__file__).parents[2] / "chapters/source"


def short(width: int) -> int:
    """Twice the width, in px. More about it.

    Raises nothing.
    """
    # why
    doubled = 2 * width
    return doubled


def bare(width):
    return width


class Pair:
    """Two numbers that
    belong together."""

    one: int
    two: int


def long(count: int) -> int:
    """Count."""
    for number in range(count):
        step = number
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
        step += 1
    for number in range(count):
        step = number
        step += 2
        step += 2
        step += 2
        step += 2
        step += 2
        step += 2
        step += 2
        step += 2
        step += 2
    return step


def test_of_a_docstring_the_first_sentence_is_left():
    assert repr(source(short)) == (
        "def short(width: int) -> int:\n"
        '    """Twice the width, in px."""\n'
        "    # why\n"
        "    doubled = 2 * width\n"
        "    return doubled"
    )


def test_a_function_without_a_docstring_is_shown_whole():
    assert repr(source(bare)) == "def bare(width):\n    return width"


def test_classes_and_several_things_stand_below_each_other():
    assert repr(source(Pair, bare)) == (
        'class Pair:\n    """Two numbers that belong together."""\n    one: int\n    two: int\n\n'
        "def bare(width):\n    return width"
    )


def test_a_part_says_what_is_left_out_and_begins_at_the_margin():
    assert repr(source(long, start="step = number", stop="step += 1")) == (
        "...\nstep = number\nstep += 1\n..."
    )
    assert repr(source(short, stop="# why")).endswith("    # why\n...")


def test_the_stop_is_looked_for_after_the_start():
    assert repr(source(long, start="step += 2", stop="return")).count("+= 2") == 9


def test_more_than_a_screen_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"long: 27 lines; at most 25 .* start= and stop="):
        source(long)


def test_a_piece_that_is_nowhere_is_refused_by_name():
    with pytest.raises(ValueError, match=r"short: no line with 'halved'"):
        source(short, start="halved")


def test_a_page_gets_markdown_that_it_colours():
    assert source(bare)._repr_markdown_() == "```python\ndef bare(width):\n    return width\n```"


def test_folded_code_lies_under_a_line_to_click_on_and_is_plain_in_a_terminal():
    shown = source(bare, fold="The lines of <code>bare</code>")
    assert shown._repr_markdown_().startswith(
        "<details><summary>The lines of <code>bare</code></summary>\n\n```python\ndef bare"
    )
    assert shown._repr_markdown_().endswith("```\n\n</details>") and repr(shown) == repr(source(bare))


@pytest.mark.parametrize("page", sorted(SOURCES.glob("*.py")), ids=lambda path: path.stem)
def test_no_chapter_prints_code_without_colours(page):
    assert not re.search(r"print\(inspect\.getsource", page.read_text("utf-8"))
