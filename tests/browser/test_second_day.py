"""The second day in a real browser: a page that was run and saved is opened again, with another kernel or none.

What needs a kernel gives way to its still picture; what has one goes on.
"""

import os
from importlib.util import find_spec

import nbformat
import pytest

import browsing

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CELLS = (
    "import torch\nfrom tqdm.auto import tqdm",
    "from course.matching.matcher import Matcher\nfrom course.kit.self_test import SelfTest",
    "Matcher(torch.zeros(300, 300, 3, dtype=torch.uint8), torch.tensor([[40.0, 60, 120, 180]]))",
    "for _ in tqdm(range(3)):\n    pass",
    'SelfTest("matching")',
)
FOLDERS = {"jupyterlab": "lab/tree", "notebook": "notebooks"}
GONE = "Error displaying widget"
SHOWN = "() => [...document.querySelectorAll('.jp-OutputArea img')].filter(e => e.offsetHeight > 100).length"


@pytest.fixture(scope="module", params=sorted(FOLDERS))
def day(request, tmp_path_factory):
    """A page of four cells that was run and saved, and its server stopped. -> its folder, the program, a browser."""
    if find_spec(request.param) is None:
        pytest.skip("Notebook 7 isn't installed; pip install notebook brings it")
    home = tmp_path_factory.mktemp("second_day")
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_markdown_cell("# A page"), *map(nbformat.v4.new_code_cell, CELLS)]
    (home / "chapters").mkdir()
    nbformat.write(nbformat.v4.new_notebook(metadata=python, cells=cells), home / "chapters/page.ipynb")
    with browsing.chromium_page() as page:
        with browsing.served(home, request.param) as address:
            reader = browsing.Reader(address, page, FOLDERS[request.param])
            reader.open("page")
            reader.run_cells("")
            reader.board()
            assert reader.errors() == 0
            reader.save()
            yield home, request.param, reader


def visible(reader, words: str) -> int:
    return sum(found.is_visible() for found in reader.page.get_by_text(words).all())


def look(reader, name: str) -> None:
    """A picture of the page for whoever wants to see it: COURSE_SCREENSHOTS names the folder."""
    if folder := os.environ.get("COURSE_SCREENSHOTS"):
        reader.page.screenshot(path=f"{folder}/{name}.png")


def test_on_the_first_day_the_explorer_moves_and_no_still_stands_beside_it(day):
    _, program, reader = day
    reader.press("ArrowRight")
    look(reader, f"first_{program}")
    assert reader.page.evaluate(SHOWN) == 0
    assert visible(reader, "Still picture") == 0


def test_a_page_that_is_opened_again_while_its_kernel_lives_goes_on(day):
    _, program, reader = day
    reader.open("page")
    reader.board()
    reader.page.wait_for_timeout(1000)
    look(reader, f"again_{program}")
    assert reader.page.evaluate(SHOWN) == 0
    assert reader.page.locator("input[type=radio]").count() > 3


def test_with_a_new_kernel_the_stills_stand_where_the_widgets_were(day):
    home, program, reader = day
    reader.new_kernel()
    reader.open("page")
    reader.page.wait_for_timeout(5000)  # Jupyter waits for a widget's model for two seconds
    look(reader, f"second_{program}")
    assert reader.page.locator(".course-board canvas").count() == 0
    assert visible(reader, GONE) == 0
    assert reader.page.evaluate(SHOWN) == 1
    assert visible(reader, "Still picture") == 1
    summaries = reader.page.locator(".jp-OutputArea details summary")
    assert summaries.count() > 3 and summaries.first.is_visible()


def test_after_a_restart_of_the_server_too(day, tmp_path):
    home, program, reader = day
    # the old server goes on: another one over the same folder knows nothing of its kernels
    with browsing.served(home, program) as address:
        again = browsing.Reader(address, reader.page, FOLDERS[program])
        again.open("page")
        again.page.wait_for_timeout(5000)
        assert visible(again, GONE) == 0 and again.page.evaluate(SHOWN) == 1
        again.run_cells("import", "Matcher(")
        again.board()
        assert again.page.evaluate(SHOWN) == 0
