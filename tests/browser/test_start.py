"""Tests in a real browser: JupyterLab opens chapter 00, and its cells run and show what they should."""

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_chapter_00_opens_and_its_first_cells_run(reader):
    reader.open("00_start_here")
    reader.run_cells("import torch", "pictures.devkit()", "voc.read_sets(", "box_figures.annotated(")
    reader.page.wait_for_selector("text=800 scenes to learn from, 200 to be tested on", timeout=120_000)
    reader.page.wait_for_selector(".jp-OutputArea img", timeout=60_000)
    assert reader.errors() == 0
