"""What a learner does on the first day, in a real browser: read a table in a narrow window, solve an exercise and
find its tick on the contents page, stop a training, shut a page's kernel down on the way to the next one."""

import json
import os
import re
import urllib.request

import nbformat
import pytest

import browsing
from course.kit import working_copy
from course.kit.places import CHAPTERS

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TABLE = (
    "from course.kit.tables import table\n"
    "names = ['class', *(f'a rather long header {i}' for i in range(9))]\n"
    "table([('sofa', *(-3.11 * i for i in range(9))), ('pottedplant', *range(9))], names, heat=True)"
)
TRAINING = (
    "import dataclasses\nfrom pathlib import Path\nfrom course.kit import pictures\n"
    "from course.training import dashboard\n"
    "from course.kit.interruptible import interruptible\nfrom course.kit.places import recording\n"
    "from ssdlib.data import store\nfrom ssdlib.training import engine, runs",
    "long = dict(steps=100_000, batch_size=2, checkpoint_every=7, log_every=1)\n"
    "config = dataclasses.replace(runs.RECIPES['mini'], **long)\n"
    "test = pictures.mini_test_set()[:8]\ndata = test, store.Jpegs(test)\nout = Path('a_run')",
    "window = dashboard.Dashboard(out, every=0.3)\nwindow",
    "with interruptible(out, recorded=recording('mini')) as mine:\n"
    "    mine.table = engine.train(config, data, data, out, resume=True, bar=mine.bar)",
    "window.stop()\ndone = mine.or_recorded(data)\nprint('mAP', done.table.mean > 0)",
)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """Someone in front of a working copy of the pages."""
    home = tmp_path_factory.mktemp("first_day")
    working_copy.bring(CHAPTERS, home / "my_course")
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    for name, cells in (("a_table", [TABLE]), ("a_training", TRAINING)):
        page = [nbformat.v4.new_markdown_cell("# A page"), *map(nbformat.v4.new_code_cell, cells)]
        nbformat.write(
            nbformat.v4.new_notebook(metadata=python, cells=page), home / f"my_course/{name}.ipynb"
        )
    with browsing.chromium_page() as page, browsing.served(home) as address:
        yield browsing.Reader(address, page, pages="my_course", home=home)


def look(reader, name: str) -> None:
    """A picture of the page for whoever wants to see it: COURSE_SCREENSHOTS names the folder."""
    if folder := os.environ.get("COURSE_SCREENSHOTS"):
        reader.page.screenshot(path=f"{folder}/{name}.png")


def kernels(reader) -> list[dict]:
    with urllib.request.urlopen(f"{reader.address}/api/sessions") as answer:
        return json.load(answer)


def test_a_table_in_a_narrow_window_breaks_no_cell_and_scrolls(learner):
    learner.page.set_viewport_size({"width": 800, "height": 700})
    learner.open("a_table")
    learner.run_cells("table(")
    box = learner.page.locator(".course-table")
    box.wait_for()
    look(learner, "table")
    assert box.evaluate("e => e.scrollWidth > e.clientWidth")
    box.focus()
    learner.page.keyboard.press("ArrowRight")
    learner.page.wait_for_function("() => document.querySelector('.course-table').scrollLeft > 0")
    lines = box.locator("td, th").evaluate_all(
        "cells => cells.map(c => { const range = document.createRange(); range.selectNodeContents(c);"
        " return new Set([...range.getClientRects()].map(r => Math.round(r.top))).size; })"
    )
    assert lines == [1] * 30
    ends = box.locator("tr").evaluate_all(
        "rows => rows.map(r => [...r.children].slice(1).map(c => {"
        " const range = document.createRange(); range.selectNodeContents(c);"
        " return Math.round(range.getBoundingClientRect().right); }))"
    )
    assert all(abs(a - b) <= 1 for row in ends[1:] for a, b in zip(ends[0], row, strict=True))
    learner.page.set_viewport_size({"width": 1400, "height": 1000})


def test_a_solved_exercise_gets_its_tick_on_the_contents_page_while_that_is_open(learner):
    learner.open("contents")
    learner.run_cells("Contents()")
    row = learner.page.locator(".jp-OutputArea tr", has_text="00 · Start here")
    assert "○○○ 0 of 3" in row.inner_text()
    learner.ask('exec("from course.welcome import check; check.size([120, 240])")')
    learner.page.get_by_text("✓○○ 1 of 3").wait_for(timeout=20_000)
    look(learner, "contents")
    row.get_by_role("link").click()
    learner.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path === 'my_course/00_start_here.ipynb'",
        timeout=60_000,
    )


def test_every_contents_link_opens_the_contents_page(learner):
    learner.open("03_matching")
    learner.page.locator(".jp-RenderedMarkdown a", has_text="contents").first.click()
    learner.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path === 'my_course/contents.ipynb'",
        timeout=60_000,
    )


def test_a_training_that_is_stopped_says_where_it_stands_and_the_page_goes_on(learner):
    learner.open("a_training")
    learner.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    learner.page.wait_for_function(
        "() => /running/.test(document.querySelector('.course-board-status')?.innerText)", timeout=120_000
    )
    for _ in range(240):  # until there is something to go on from
        if (learner.home / "my_course/a_run/checkpoint.pt").exists():
            break
        learner.page.wait_for_timeout(500)
    learner.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:interrupt-kernel'); }")
    learner.page.get_by_text("Interrupted at step").first.wait_for(timeout=60_000)
    learner.page.get_by_text("mAP True").wait_for(timeout=120_000)
    learner.until_status("interrupted, 0% done: no process trains there now; checkpoint.pt is kept")
    look(learner, "interrupted")
    shown = learner.page.locator(".jp-OutputArea").all_inner_texts()
    assert any("run the cell again, and it goes on from there" in text for text in shown)
    assert any("shows the recorded run, recordings/mini" in text for text in shown)
    assert learner.page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    said = next(text for text in shown if "Interrupted at step" in text)
    step, saved = (int(word.replace(",", "")) for word in re.findall(r"(?:step|saved at) ([\d,]+)", said))
    assert saved % 7 == 0 and 0 <= step - saved < 7


def test_a_button_shuts_the_kernel_down_and_opens_the_next_page(learner):
    learner.open("03_matching")
    learner.run_cells("SelfTest")
    button = learner.page.get_by_role("button", name="Shut down this kernel and go on")
    button.wait_for()
    button.scroll_into_view_if_needed()
    look(learner, "leave")
    assert "holds" in button.locator("..").inner_text()
    before = {session["path"] for session in kernels(learner)}
    assert "my_course/03_matching.ipynb" in before
    button.click()
    learner.page.wait_for_function(
        "() => window.jupyterapp.shell.currentWidget?.context?.path === 'my_course/04_multibox_loss.ipynb'",
        timeout=60_000,
    )
    learner.page.wait_for_timeout(3000)
    look(learner, "left")
    assert "my_course/03_matching.ipynb" not in {session["path"] for session in kernels(learner)}
    assert learner.page.locator(".jp-Dialog").count() == 0
