"""Boards in a real browser: on a narrow page, dense screen, dark page; touched; several on a page; n and Shift+n."""

import pytest

from browsing import chapter_of
from course.detection.nms_bench import VIEW

pytestmark = [pytest.mark.browser, pytest.mark.slow]

BY_HAND = "setattr(explorer.case, 'value', 'by hand: the five of the page')"
SHOW_AGAIN = """async (source) => {
    const {shell, commands} = window.jupyterapp;
    const notebook = shell.currentWidget.content;
    notebook.activeCellIndex = notebook.widgets.findIndex(c => c.model.sharedModel.source.startsWith('explorer = '));
    await commands.execute('notebook:insert-cell-below');
    notebook.activeCell.model.sharedModel.source = source;
    await commands.execute('notebook:run-cell');
}"""


opened = chapter_of("10_detection", "import torch\n", "stages.recorded(", "nms_bench.NmsBench(")


@pytest.fixture(scope="module")
def chapter(opened):
    yield opened
    opened.page.set_viewport_size({"width": 1400, "height": 1000})


def test_with_no_box_to_choose_n_and_shift_n_count_up_and_down(chapter):
    chapter.press("n", "n", "n", "Shift+N")
    chapter.until_status("candidate 3,")
    assert chapter.ask("explorer.board.steps, explorer.board.active") == "2 0"


def test_with_several_boxes_n_and_shift_n_go_round(chapter):
    chapter.ask(BY_HAND)
    chapter.until_status("candidate 0,")
    chapter.press("Shift+N")
    chapter.until_status("candidate 4,")
    chapter.press("n", "n")
    chapter.until_status("candidate 1,")


def test_on_a_narrow_page_the_board_shrinks_and_can_still_be_dragged(chapter):
    chapter.page.set_viewport_size({"width": 640, "height": 1000})
    chapter.page.wait_for_timeout(500)
    frame, page = chapter.board().bounding_box(), chapter.page.locator(".jp-Notebook").bounding_box()
    assert frame["width"] < 500 and abs(frame["width"] - frame["height"]) < 2
    assert frame["x"] + frame["width"] <= page["x"] + page["width"]
    dense = chapter.board().evaluate("e => e.width / (e.clientWidth * window.devicePixelRatio)")
    assert abs(dense - 1) < 0.01, "drawn at the size that is shown, not stretched"
    chapter.drag((150, 120), (260, 120), VIEW)
    chapter.page.wait_for_timeout(500)
    left, top, _, _ = eval(chapter.ask("explorer.board.boxes[1]"))
    assert abs(left - 170) < 2 and abs(top - 50) < 2


def test_the_right_button_takes_nothing_in_the_hand(chapter):
    chapter.page.set_viewport_size({"width": 1400, "height": 1000})
    chapter.page.wait_for_timeout(500)
    before = chapter.ask("explorer.board.boxes")
    canvas = chapter.board()
    frame = canvas.bounding_box()
    x, y = frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2
    chapter.page.mouse.move(x, y)
    canvas.dispatch_event("pointerdown", dict(button=2, isPrimary=True, pointerId=1, clientX=x, clientY=y))
    chapter.page.mouse.move(x + 60, y + 60)
    chapter.page.wait_for_timeout(300)
    assert chapter.ask("explorer.board.boxes") == before


def test_two_views_of_one_board_move_together_and_another_board_stays(chapter):
    chapter.page.evaluate(
        SHOW_AGAIN,
        "from IPython.display import display\nother = nms_bench.NmsBench()\ndisplay(explorer.board, other.board)",
    )
    chapter.board(2)
    names = chapter.page.locator(".course-board canvas").evaluate_all(
        "found => found.map(e => document.getElementById(e.getAttribute('aria-describedby').split(' ')[1]).innerText)"
    )
    assert len(names) == 3 and all(names)
    chapter.press("n", nth=1)
    chapter.until_status("candidate 2,", nth=0)
    assert chapter.status(1) == chapter.status(0)
    assert "candidate 1," in chapter.status(2)


def test_a_dark_page_shows_its_words_in_light_letters(chapter):
    page = chapter.page
    chapter.theme("Dark")
    for words in (".course-board-status", ".widget-html-content"):
        color = page.locator(words).first.evaluate("e => getComputedStyle(e).color")
        assert min(eval(color.removeprefix("rgb"))) > 170, f"{words} is {color} on a dark page"
    chapter.theme("Light")


def test_after_a_restart_the_old_board_does_no_harm_and_the_cells_run_again(chapter):
    complaints = []
    chapter.page.on("pageerror", lambda error: complaints.append(str(error)))
    chapter.page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")
    chapter.page.wait_for_timeout(3000)
    chapter.press("n", "ArrowLeft")
    chapter.drag((150, 120), (200, 120), VIEW)
    chapter.run_cells("import torch\n", "stages.recorded(", "nms_bench.NmsBench(")
    chapter.press("n")
    chapter.until_status("candidate 2,")
    assert not complaints and chapter.errors() == 0
