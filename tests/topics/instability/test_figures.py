"""Tests for the figures of chapter 07: what the page says of the full network's starts is what their logs hold."""

import math

from course.instability import figures

ONE_OF_21 = 4 * math.log(21)


def rows_of(name):
    [start] = [start for start in figures.FULL_WIDTH if start.name.startswith(name)]
    return figures.full_width_rows(start)


def test_two_starts_of_the_full_network_broke_where_the_page_says():
    assert rows_of("random weights")[1] == 6
    assert rows_of("fc6, fc7 by He's")[1] == 18
    assert rows_of("fc6, fc7 scaled")[1] is None


def test_the_last_start_rests_at_no_opinion_and_leaves_it_before_step_110():
    rows, broke = rows_of("fc6 scaled")
    rest = [loss for step, loss in rows if 30 <= step <= 80]
    assert broke is None and len(rest) == 6
    assert all(abs(loss - ONE_OF_21) < 0.5 for loss in rest)
    assert min(loss for step, loss in rows if step < 80) > 0.95 * ONE_OF_21
    assert all(loss < 0.75 * ONE_OF_21 for step, loss in rows if step >= 110)


def test_the_trial_at_the_full_rate_climbs_at_its_end():
    rows, _ = rows_of("fc6, fc7 scaled")
    assert rows[-1] == max(rows[1:], key=lambda row: row[1])
