"""Tests of the strip under each chapter's title: every chapter has its place, every part is a link, one is marked."""

import re
from pathlib import Path

import nbformat
import pytest

from course.kit import pipeline

ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "chapters").glob("[0-9]*.ipynb"))


PAGES = {path.stem[:2]: path.name for path in CHAPTERS}


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_chapter_is_marked_or_linked_once_and_only_itself_is_marked(path):
    strip = pipeline.strip(path.stem[:2], PAGES)
    linked = re.findall(r"\]\(([^)]+)\)", strip)
    others = [p.name for p in CHAPTERS if p != path and p.stem[:2] != "00"]
    assert sorted(linked) == others
    marked = re.findall(r"\*\*[a-zA-Z ]*(\d\d)\*\*", strip)
    assert marked == ([] if path.stem[:2] == "00" else [path.stem[:2]])
    assert strip.count(pipeline.HERE) == len(marked)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_a_page_has_its_strip_under_the_title_and_nowhere_else(path):
    cells = nbformat.read(path, as_version=4).cells
    strip = pipeline.strip(path.stem[:2], PAGES)
    assert strip in cells[0].source.splitlines()[:6]
    assert not any(strip in cell.source for cell in cells[1:])


def test_the_parts_come_in_the_order_in_which_a_picture_meets_them():
    text = re.sub(r"<[^>]+>|\]\([^)]*\)|\[", "", pipeline.strip("03", {"02": "a", "03": "b", "10": "c"}))
    assert text == "anchors 02 → **matching 03** (you are here) → NMS 10"


def test_a_chapter_without_a_place_is_named():
    with pytest.raises(ValueError, match="no part is about chapter '14'"):
        pipeline.strip("14", {})
