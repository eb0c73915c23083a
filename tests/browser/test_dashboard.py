"""The dashboard in a real browser: it follows a log that this test writes, is read along by keys and mouse, and goes
on while a cell keeps the kernel busy."""

import json

import nbformat
import pytest

from course.training.run_curves import VIEW, WIDE
from run_logs import CONFIG, folder, judged, line, upto

pytestmark = [pytest.mark.browser, pytest.mark.slow]

IMPORTS = """import time
from pathlib import Path
from course.kit import pictures
from course.training import dashboard"""
SHOW = "out = Path({!r})\nexplorer = dashboard.Dashboard(out, every=0.3)\nexplorer"
BUSY = 'while not (out / "enough").exists():\n    time.sleep(0.01)'
RECORDED = 'recorded = dashboard.Dashboard(pictures.ROOT / "chapters/recordings/mini")\nrecorded'


class Run:
    """A run that somebody else makes: nothing but the lines of its log."""

    def __init__(self, out):
        self.out, self.step = out, 0

    def goes_on(self, until: int, *more: str) -> None:
        rows = [line(step, 6 - step / 100) for step in range(self.step + 10, until + 1, 10)]
        with open(self.out / "log.jsonl", "a") as file:
            file.write("".join(row + "\n" for row in [*rows, *more]))
        self.step = until


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("runs") / "followed")


@pytest.fixture(scope="module")
def chapter(reader, run):
    reader.page.goto(f"{reader.address}/lab?reset")
    reader.page.wait_for_function("() => window.jupyterapp?.serviceManager?.isReady", timeout=60_000)
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    cells = [nbformat.v4.new_markdown_cell("# A run")]
    cells += map(nbformat.v4.new_code_cell, (IMPORTS, SHOW.format(str(run.out)), BUSY, RECORDED))
    book = json.loads(nbformat.writes(nbformat.v4.new_notebook(metadata=python, cells=cells)))
    reader.page.evaluate(
        """content => window.jupyterapp.serviceManager.contents.save(
            'chapters/a_run.ipynb', {type: 'notebook', format: 'json', content})""",
        book,
    )
    reader.open("a_run")
    reader.run_cells("import time", "explorer = ")
    reader.board()
    return reader


def start(chapter, words: str) -> None:
    """Run the cell that contains `words`, without waiting for its end."""
    chapter.page.evaluate(
        """words => {
            const panel = window.jupyterapp.shell.currentWidget;
            const isIt = cell => cell.model.type === 'code' && cell.model.sharedModel.source.includes(words);
            panel.content.activeCellIndex = panel.content.widgets.findIndex(isIt);
            window.jupyterapp.commands.execute('notebook:run-cell');
        }""",
        words,
    )


def test_a_run_that_begins_and_goes_on_is_followed_without_a_hand_on_the_page(chapter, run):
    chapter.until_status("waiting for the folder")
    folder(run.out)
    chapter.until_status("a run of 400 steps; waiting for its first line")
    run.goes_on(100)
    chapter.until_status("running, 25% done")
    run.goes_on(200)
    chapter.until_status("running, 50% done")
    assert chapter.page.locator("th", has_text="speed").first.is_visible()
    assert "40.0 images/s" in chapter.page.locator("table").first.inner_text()


def test_keys_read_along_the_log(chapter):
    chapter.press("ArrowLeft")
    chapter.until_status("step 190: loss 4.1")
    chapter.press("ArrowDown", "ArrowRight")
    chapter.until_status("step 100: loss 5 ")
    assert chapter.status() in chapter.ask("explorer")
    chapter.press("n")
    chapter.page.locator("button.mod-active", has_text="last tenth").wait_for(timeout=10_000)
    chapter.press("n", "ArrowUp", "ArrowUp")
    chapter.until_status("running, 50% done")


def test_the_mouse_reads_along_the_log(chapter):
    middle = (WIDE / 4, 100)
    chapter.drag(middle, middle, VIEW, steps=1)
    chapter.until_status("step 100:")
    chapter.drag(middle, (WIDE * 3 / 8, 150), VIEW, steps=8)
    chapter.until_status("step 150:")
    chapter.press("ArrowUp")  # beyond the end: follow again
    chapter.until_status("running, 50% done")


def test_a_busy_kernel_keeps_the_page_up_to_date(chapter, run):
    start(chapter, "enough")
    try:
        run.goes_on(220)
        chapter.until_status("running, 55% done")
        run.goes_on(240)
        chapter.until_status("running, 60% done")
        # keys and buttons are heard, too, also after the thread has written to the page
        chapter.press("ArrowLeft")
        chapter.until_status("step 230:")
        chapter.page.get_by_role("button", name="last tenth").click()
        chapter.drag((WIDE / 4, 100), (WIDE / 4, 100), VIEW, steps=1)
        chapter.until_status("step 220:")  # in the whole run it would be step 100
        chapter.press("n", "ArrowUp")
        chapter.until_status("running, 60% done")
        prompts = chapter.page.locator(".jp-InputPrompt").all_inner_texts()
        assert any("*" in prompt for prompt in prompts)  # the cell is still running
    finally:
        (run.out / "enough").touch()


def test_divergence_is_said_as_soon_as_the_log_says_it(chapter, run):
    run.goes_on(250, json.dumps({"step": 251, "rate": 0.03, "diverged": True, "seconds": 51.0}))
    chapter.until_status("the loss was no number at step 251, learning rate 0.03")
    chapter.page.get_by_text("✗ the loss was no number").first.wait_for(timeout=10_000)
    assert "stopped by NaN" in chapter.ask("explorer")


def test_a_resumed_run_ends_and_the_dashboard_lets_go_of_it(chapter, run):
    folder(run.out, *upto(CONFIG.steps), judged(CONFIG.steps, 0.25, 90.0, cat=0.25))
    chapter.until_status("finished, 100% done")
    chapter.page.get_by_text("cat 25.0").wait_for(timeout=10_000)
    chapter.page.get_by_role("button", name="follow again").wait_for(timeout=10_000)
    assert chapter.ask("explorer._thread.is_alive()") == "False"


def test_a_finished_run_shows_its_detections_with_their_words(chapter):
    start(chapter, "recorded = ")
    image = chapter.page.locator("img[alt^='Detections of step 2500. image 1:']")
    image.wait_for(timeout=60_000)
    image.scroll_into_view_if_needed()
    assert image.evaluate("image => image.complete && image.naturalWidth > 600")
    assert "finished, 100% done" in chapter.status(1)
    chapter.page.get_by_role("button", name="detect now").nth(1).click()
    chapter.page.wait_for_timeout(1000)
    assert chapter.ask("recorded.seen.step") == "2500" and chapter.errors() == 0
