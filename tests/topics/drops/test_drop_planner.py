"""Tests of the drop planner: its arithmetic by hand, what moves its drops, that it shows recorded curves only."""

import pytest

from course.drops import drop_planner, schedules
from course.drops.drop_planner import HANDLE, WIDE, DropPlanner
from course.drops.schedules import SchedulePlan


@pytest.fixture(scope="module")
def found():
    return schedules.recorded()


@pytest.fixture()
def explorer(found):
    return DropPlanner(found)


def green(explorer):
    """The thick curve: x, y, x, y ... px."""
    [line] = [one for one in explorer.board.scene["layers"] if one["line"] == 4]
    return line["curves"][0]


def test_images_and_epochs_by_hand():
    paper = SchedulePlan((80 / 120, 100 / 120), 120_000, 32)
    assert paper.images == 3_840_000 and round(paper.epochs(120_000)) == 232
    assert paper.lengths == pytest.approx((80_000, 20_000, 20_000))
    assert round(SchedulePlan((56 / 102, 76 / 102), 102_000, 31).epochs(102_000)) == 191
    assert SchedulePlan((1.0, 1.0), 10, 8).lengths == (10, 0, 0)


def test_it_begins_with_the_published_runs_plan(explorer):
    assert "drops 54.9%, 74.5% of 102000, batch 31" in repr(explorer)
    lines = explorer.summary()
    assert "105 epochs" in lines[1] and "3.16 million images, 191 epochs" in lines[1]
    assert "step 56k, learning rate 1e-04, train 4.10, validation 4.42, mAP 0.726 at 40k" in lines[2]


def test_every_plan_can_be_chosen_and_says_its_epochs(explorer):
    wanted = {"paper, with": "232 epochs", "paper, without": "116 epochs", "no drop": "232 epochs"}
    for name in drop_planner.PRESETS:
        explorer.preset.value = name
        for start, words in wanted.items():
            assert not name.startswith(start + " ") or words in explorer.summary()[1]
    assert "drop 1 never, drop 2 never" in explorer.summary()[0]


def test_a_plan_that_was_recorded_is_shown_as_such_and_another_says_how_far_it_is(explorer, found):
    for one in found.values():
        if one.name != "cosine":
            explorer.shares = list(one.shares)
            explorer._show()
            assert f"{one.label} of 2,500 steps, these shares: mAP {one.map:.3f}" in explorer.summary()[3]
    explorer.shares = [0.11, 0.93]
    explorer._show()
    assert "not with these drops. Nearest: " in explorer.summary()[3]


def test_played_the_curves_come_as_far_as_the_line_and_no_point_is_made_up(explorer):
    whole, first = green(explorer), explorer.board.status
    for n in range(1, 51):
        explorer.play.value += 1
        part = green(explorer)
        assert part == whole[: len(part)] and all(
            x <= drop_planner.WIDE * 0.02 * (n - 1) + 1e-6 for x in part[::2]
        )
        assert f"{0.02 * (n - 1):.0%} of the run" in explorer.board.status
    explorer.play.value += 1  # the end: all is shown again
    assert green(explorer) == whole and explorer.board.status == first
    explorer.play.value += 5
    explorer.board.handles = [[100.0, drop_planner.HANDLE], explorer.board.handles[1]]
    assert explorer.now is None


def test_it_draws_points_of_recordings_and_no_others(explorer, found):
    """Whatever is chosen, the thick curve's points are validations of one recorded run."""
    (top, bottom), (low, high) = drop_planner.LOWER, explorer.lower.y
    for shares in ((0.2, 1.0), (0.33, 0.71), (0.6, 1.0), (0.05, 0.1), (1.0, 1.0)):
        explorer.shares = list(shares)
        explorer._show()
        best, _ = schedules.nearest(found, shares)
        measured = {
            (s / 2500, v) for one in (best, found["never"]) for s, v in zip(*one.curve(), strict=True)
        }
        line = green(explorer)
        for x, y in zip(line[::2], line[1::2], strict=True):
            value = low + (bottom - y) / (bottom - top) * (high - low)
            assert min(abs(x / WIDE - s) + abs(value - v) for s, v in measured) < 1e-3


def move(explorer, i, x):
    """What the browser says when drop i, in the hand, is at x px."""
    places = [list(place) for place in explorer.board.handles]
    places[i] = [x, HANDLE]
    explorer.board.set_state({"active": i, "handles": places})


def test_a_drop_goes_where_the_board_says_and_the_board_says_which(explorer):
    (first, y), (second, _) = explorer.board.handles
    assert (
        first == pytest.approx(WIDE * 56 / 102) and second == pytest.approx(WIDE * 76 / 102) and y == HANDLE
    )
    move(explorer, 0, first + drop_planner.KEY)
    assert explorer.shares == pytest.approx([0.554, 76 / 102], abs=1e-3)
    assert explorer.board.status.endswith("drop 1 is in your hand") and explorer.preset.value is None
    move(explorer, 1, 0.6 * WIDE)  # nearer to where drop 1 was, which doesn't matter
    assert explorer.shares == pytest.approx([0.554, 0.6], abs=1e-3)
    assert explorer.board.status.endswith("drop 2 is in your hand")


def test_another_drop_in_the_hand_moves_nothing(explorer):
    before = [list(place) for place in explorer.board.handles]
    explorer.board.set_state({"active": 1})
    assert explorer.shares == [56 / 102, 76 / 102] and explorer.board.handles == before
    assert explorer.board.status.endswith("drop 2 is in your hand")


def test_two_drops_moved_while_the_kernel_was_busy_both_arrive(explorer):
    explorer.board.set_state({"active": 1, "handles": [[0.3 * WIDE, HANDLE], [0.9 * WIDE, HANDLE]]})
    assert explorer.shares == pytest.approx([0.3, 0.9])


def test_the_second_drop_never_comes_before_the_first(explorer):
    move(explorer, 1, 0.1 * WIDE)
    assert explorer.shares[1] == explorer.shares[0] == pytest.approx(56 / 102)
    assert explorer.board.handles[1][0] == pytest.approx(WIDE * 56 / 102)
    explorer.drops[0].value = 90.0
    assert explorer.shares[0] == explorer.shares[1]


def test_sliders_and_board_say_the_same(explorer):
    explorer.drops[0].value = 20.0
    assert explorer.shares[0] == pytest.approx(0.2)
    assert explorer.board.handles[0] == pytest.approx([0.2 * WIDE, HANDLE])
    move(explorer, 0, 0.4 * WIDE)
    assert explorer.drops[0].value == pytest.approx(40)
    assert explorer.preset.value is None


def test_steps_and_batch_change_the_epochs_and_nothing_else(explorer):
    before = green(explorer)
    explorer.steps.value, explorer.batch.value = 480_000, 8
    assert "232 epochs" in explorer.summary()[1] and green(explorer) == before


def test_the_published_curve_is_read_at_its_own_ends(explorer):
    assert explorer._published(0.0).startswith("step 0k, learning rate 1e-03, train 9.94, validation 8.61")
    assert "step 102k" in explorer._published(1.0) and "mAP 0.771 at 102k" in explorer._published(1.0)


def test_curves_are_told_apart_without_colour(explorer):
    looks = [(one["line"], tuple(one["dash"])) for one in explorer.board.scene["layers"] if one["curves"]]
    assert len(set(looks)) == len(looks)


def test_it_has_a_still_picture_with_its_numbers(explorer):
    assert explorer.summary()[3] in explorer.still().axes[1].texts[0].get_text()
