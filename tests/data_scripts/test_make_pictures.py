"""The README's pictures are figures of the pages, so the pages have to hold them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import make_pictures


@pytest.mark.parametrize("chapter", make_pictures.FIGURES)
def test_each_chapter_has_the_figure_of_its_thumbnail(chapter):
    words, _ = make_pictures.FIGURES[chapter]
    assert min(make_pictures.figure_of(chapter, words).size) > 100


@pytest.mark.parametrize("place", [make_pictures.FOUND, make_pictures.FREE], ids=["found", "photographs"])
def test_the_figures_of_detections_are_on_their_pages(place):
    assert min(make_pictures.figure_of(*place).size) > 100
