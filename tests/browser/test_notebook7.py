"""Chapter 03 in Notebook 7 instead of JupyterLab: it runs, its explorer is moved by keys, and Python knows.

Notebook 7 hears keys before what has the focus does; `course.kit.keys` keeps those away that belong to a widget.
"""

from importlib.util import find_spec

import pytest

from browsing import Reader, chromium_page, jupyterlab

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.nightly]


@pytest.fixture(scope="module")
def chapter(tmp_path_factory):
    if find_spec("notebook") is None:
        pytest.skip("Notebook 7 isn't installed; pip install notebook brings it")
    with (
        jupyterlab(tmp_path_factory.mktemp("notebook"), "notebook") as address,
        chromium_page() as page,
    ):
        reader = Reader(address, page, "notebooks")
        reader.open("03_matching")
        reader.run_cells("import torch", "pictures.scene(", "matcher.Matcher(", "SelfTest(")
        reader.board()
        yield reader


def test_it_is_notebook_7_and_not_jupyterlab(chapter):
    assert chapter.page.evaluate("window.jupyterapp.name") == "Jupyter Notebook"


def test_keys_move_the_explorer_and_python_knows(chapter):
    chapter.ask("setattr(explorer.preset, 'value', 'two objects, far apart')")
    chapter.until_status("best IoU 0.72")
    chapter.press("ArrowRight", "Alt+ArrowDown", "Shift+ArrowLeft", "n", "ArrowUp")
    chapter.until_status("object 1")
    assert "[[35, 61, 120, 181], [150, 35, 290, 265]]" in chapter.ask("explorer")
    assert chapter.errors() == 0


KEYS = ("ArrowDown", "ArrowUp", "a", "d", "d")  # in the notebook: next, previous, a new cell, delete it
CELL = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"


@pytest.mark.parametrize("where", ["select", "input[type=radio]", ".noUi-handle", ".course-board canvas"])
def test_a_key_in_a_widget_stays_there_and_doesnt_go_to_the_next_cell(chapter, where):
    widget = chapter.page.locator(f".jp-OutputArea {where}").first
    widget.scroll_into_view_if_needed()
    widget.focus()
    there, cells = chapter.page.evaluate(CELL), chapter.page.locator(".jp-Cell").count()
    for key in KEYS:
        chapter.page.keyboard.press(key)
        kept = widget.evaluate("element => element === document.activeElement || element.type === 'radio'")
        assert kept, key
    assert chapter.page.evaluate(CELL) == there
    assert chapter.page.locator(".jp-Cell").count() == cells


def test_a_menu_takes_arrow_keys(chapter):
    menu = chapter.page.locator(".jp-OutputArea select").first
    menu.focus()
    before = menu.evaluate("menu => menu.selectedIndex")
    chapter.page.keyboard.press("ArrowUp" if before else "ArrowDown")
    assert abs(menu.evaluate("menu => menu.selectedIndex") - before) == 1


def test_shift_enter_in_a_menu_runs_the_cell_still(chapter):
    menu = chapter.page.locator(".jp-OutputArea select").first
    menu.click()
    chapter.page.keyboard.press("Escape")
    menu.focus()
    there = chapter.page.evaluate(CELL)
    chapter.page.keyboard.press("Shift+Enter")
    chapter.page.wait_for_function(f"there => ({CELL})() === there + 1", arg=there)
