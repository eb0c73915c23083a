"""Chapter 03 in Notebook 7 instead of JupyterLab: it runs, its explorer is moved by keys, and Python knows.

An arrow key pressed in a menu selects the notebook's next cell there (in JupyterLab `course.keys` prevents that).
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
