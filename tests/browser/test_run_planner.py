"""The run planner in a real browser: handles follow the mouse and the keys, and Python knows where they are."""

import nbformat
import pytest

from course.training.plan_drawing import HANDLE, VIEW, WIDE

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """from course.training import run_planner
from ssdlib.training import estimate, runs
pace = estimate.Pace(making=0.1, update=0.4, validated=0.01, detected=0.02, ahead=False)"""
PLANNER = """planner = run_planner.Planner(runs.RECIPES["paper"], pace=pace, test_images=4952, train_images=16551)
planner"""


@pytest.fixture(scope="module")
def page(reader, tmp_path_factory):
    """A page of its own, with the planner and nothing else."""
    [home] = tmp_path_factory.getbasetemp().glob("lab?/chapters")  # the copy that the server shows
    cells = [nbformat.v4.new_markdown_cell("# A plan"), *map(nbformat.v4.new_code_cell, (SETUP, PLANNER))]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), home / "plan.ipynb")
    reader.open("plan")
    reader.run_cells("run_planner")
    reader.board()
    return reader


@pytest.fixture(autouse=True)
def the_recipe(page):
    page.ask("planner.back.click()")
    page.until_status("drop 1 at step 80,000, after 12 h")


def at(thousands: float) -> float:
    """Where a step is, px of the board."""
    return WIDE * thousands / 180


def places(page) -> list[int]:
    return eval(page.ask("planner.places"))


def test_a_drop_follows_the_mouse_and_snaps_to_thousands(page):
    page.drag((at(80), 90), (at(40.3), 120), VIEW)
    page.until_status("drop 1 at step 40,000, after 6 h")
    assert places(page) == [40_000, 100_000, 120_000]
    assert eval(page.ask("planner.board.handles[0]")) == pytest.approx([at(40), HANDLE])


def test_a_drag_that_stalls_keeps_its_handle_and_the_next_press_takes_the_nearest(page):
    page.drag((at(100), 90), (at(60), 90), VIEW, stall=1.0)  # drop 2 leans on drop 1, which could go on
    page.until_status("drop 2 at step 80,000")
    page.drag((at(145), 90), (at(145.2), 90), VIEW, steps=1)  # at once
    page.until_status("end at step 145,000")
    assert places(page) == [80_000, 80_000, 145_000]


def test_of_two_drops_in_one_place_a_press_takes_the_one_that_can_go_there(page):
    page.drag((at(80), 90), (at(100), 90), VIEW)
    page.until_status("drop 1 at step 100,000")
    page.drag((at(102), 90), (at(110), 90), VIEW)
    page.until_status("drop 2 at step 110,000")
    page.drag((at(110), 90), (at(90), 90), VIEW)
    page.until_status("drop 2 at step 100,000")
    page.drag((at(98), 90), (at(90), 90), VIEW)
    page.until_status("drop 1 at step 90,000")
    assert places(page) == [90_000, 100_000, 120_000]


def test_the_end_follows_the_mouse_past_the_drops_and_they_are_never_reached(page):
    page.drag((at(120), HANDLE), (at(60.2), HANDLE), VIEW)
    page.until_status("end at step 60,000, after 9 h")
    page.page.wait_for_function(
        "() => document.body.innerText.includes('first drop never reached; second drop never reached')"
    )
    assert places(page) == [80_000, 100_000, 60_000]


def test_arrow_keys_move_what_is_in_the_hand_and_n_goes_round(page):
    page.press(*["ArrowLeft"] * 20)
    page.until_status("drop 1 at step 60,000")
    page.press("n")
    page.until_status("drop 2 at step 100,000")
    page.press(*["ArrowRight"] * 5)
    page.until_status("drop 2 at step 105,000")
    page.press("n")
    page.until_status("end at step 120,000")
    page.press(*["ArrowLeft"] * 18)
    page.until_status("end at step 102,000")
    page.press("n")
    page.until_status("drop 1 at step 60,000")
    page.press("Shift+n")
    page.until_status("end at step 102,000")
    assert places(page) == [60_000, 105_000, 102_000]


def test_keys_pressed_faster_than_python_answers_move_what_n_has_taken(page):
    page.ask("setattr(planner, 'slow', planner._show) or setattr(planner, '_show', lambda *_: None)")
    try:
        page.press("ArrowLeft", "n", "ArrowRight", "ArrowRight", "n", *["ArrowLeft"] * 3, "n", "ArrowLeft")
        page.page.wait_for_timeout(500)
    finally:
        page.ask("setattr(planner, '_show', planner.slow) or planner._show()")
    page.until_status("drop 1 at step 78,000")
    assert places(page) == [78_000, 102_000, 117_000]


def test_batch_and_machine_change_the_words_beside_the_board_without_an_error(page):
    says = "words => document.body.innerText.includes(words)"
    page.page.get_by_label("batch", exact=True).select_option(label="256")
    page.page.wait_for_function(says, arg="3,840,000 images seen, 232 epochs of 16,551")
    page.page.get_by_label("scaled learning rate and schedule").uncheck()
    page.page.wait_for_function(says, arg="30,720,000 images seen, 1856 epochs")
    page.page.get_by_label("processes", exact=True).select_option(label="8")
    page.page.wait_for_function(says, arg="8 processes at their best, none waits")
    page.page.get_by_label("recipe", exact=True).select_option(label="mini")
    page.page.wait_for_function(says, arg="measured was another network")
    page.page.get_by_role("button", name="reset").click()
    page.page.get_by_label("recipe", exact=True).select_option(label="paper")
    page.until_status("drop 1 at step 80,000")
    page.page.get_by_label("processes", exact=True).select_option(label="1")
    page.page.wait_for_function(says, arg="18 h in all")
    assert page.errors() == 0


def test_a_slider_moved_with_keys_is_another_machine_and_the_cell_stays_where_it_is(page):
    slider = page.page.get_by_role("slider").first
    slider.focus()
    for _ in range(5):
        page.page.keyboard.press("ArrowRight")
    page.page.wait_for_function("() => document.body.innerText.includes('steps of 32 a second')")
    assert float(page.ask("planner.speed.value")) > 2
    page.page.get_by_label("machine", exact=True).select_option(label="as measured")
    page.page.wait_for_function("() => !document.body.innerText.includes('steps of 32 a second')")
    page.page.wait_for_timeout(300)  # what the slider makes of it
    assert page.ask("planner.machine.value") == "as measured"
    assert page.errors() == 0
