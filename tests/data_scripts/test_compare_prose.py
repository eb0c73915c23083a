"""Tests for `compare_prose`: a lost number, link or code word is named with its sentence, a rewritten one isn't."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import compare_prose

BEFORE = "It has 8,732 anchors. Above .5 they match (see [the paper](https://a.org/x)). `match` does it in 12 rounds."


def test_the_same_facts_in_other_words_are_no_difference():
    after = (
        "`match` needs 12 rounds. [Paper](https://a.org/x): there are 8732 of them, and 0.5 is the threshold."
    )
    assert compare_prose.compare(BEFORE, after) == []


def test_what_is_lost_or_added_is_named_with_its_sentence():
    after = "It has 8,732 anchors. Above .5 they match. The matcher does it in 13 rounds."
    assert compare_prose.compare(BEFORE, after) == [
        "lost number 12: `match` does it in 12 rounds.",
        "added number 13: The matcher does it in 13 rounds.",
        "lost link https://a.org/x: Above .5 they match (see [the paper](https://a.org/x)).",
        "lost code match: `match` does it in 12 rounds.",
    ]


def test_of_a_chapter_only_the_prose_counts():
    source = "# %% [markdown]\n# Seven is 7.\n\n# %%\nx = 8\n"
    assert compare_prose.prose(source, is_source=True).split() == ["Seven", "is", "7."]
