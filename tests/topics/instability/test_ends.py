"""What a start leaves behind: the recordings of question 4, as the figure and the table of chapter 07 show them."""

import json

import pytest

from course.instability import figures
from course.instability.starts import WINDOW, arm
from course.kit import experiments


def test_ten_starts_went_on_to_step_1000_from_other_random_seeds():
    long = arm("paper", figures.LONG)
    assert [start.seed for start in long] == list(range(10))
    for start in long:
        assert start.broke or len(start) == 1000
        facts = start.head
        assert facts["commit"] and facts["date"] and facts["device"] and facts["rate"] == 1e-3
    first = {start.seed: start.multibox[:3].tolist() for start in arm("paper")}
    same = [
        start.seed
        for start in long
        if start.multibox[:3].tolist() == pytest.approx(first[start.seed], rel=1e-3)
    ]
    assert same == list(range(10))  # the starts of the page, made again


def test_late_losses_are_those_of_the_hundred_steps():
    late = figures.late()
    assert late.shape == (10, 100)
    for row, start in zip(late, arm("paper", figures.LONG), strict=True):
        parts = (start["localisation"][900:1000].tolist(), start["confidence"][900:1000].tolist())
        assert row.tolist() == pytest.approx([a + b for a, b in zip(*parts, strict=True)])


def test_the_figure_shows_every_start_and_every_run():
    left, right = figures.ends("a claim").axes
    assert len(left.get_lines()) == 10
    for line, start in zip(left.get_lines(), arm("paper", figures.LONG), strict=True):
        assert line.get_ydata()[-1] == pytest.approx(float(start.multibox[-WINDOW:].mean()))
    dots = [sorted(line.get_xdata()) for line in right.get_lines()]
    assert len(dots[0]) == 10 and [len(row) for row in dots[1:]] == [2, 2, 2]
    for row, kind in zip(dots[1:], figures.KINDS_OF_START, strict=True):
        assert row == sorted(run.map for run in figures.followed(kind).values())


def test_the_table_of_parts_that_began_anew_says_what_was_judged():
    shown = figures.mended()
    assert [row[0] for row in shown.rows] == list(figures.BEGUN_ANEW.values())
    for row, kind in zip(shown.rows, figures.BEGUN_ANEW, strict=True):
        assert list(row[1:]) == [100 * experiments.runs(kind)[seed].map for seed in (0, 1)]
    assert "61.3 to 68.6" in shown.note


@pytest.mark.parametrize("kind", [kind for kind in figures.BEGUN_ANEW if kind != "nearly_broken"])
@pytest.mark.parametrize("seed", figures.FOLLOWED)
def test_until_step_300_what_begins_anew_is_the_nearly_broken_run_to_the_last_digit(kind, seed):
    def log(arm):
        path = figures.RECORDINGS / "experiments" / arm / str(seed) / "log.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        return {
            row["step"]: [row[key] for key in ("localisation", "confidence", "l2", "positives")]
            for row in rows
            if "positives" in row
        }

    ours, theirs = log(kind), log("nearly_broken")
    assert {step for step in ours if ours[step] == theirs[step]} == set(range(25, 301, 25))


def test_the_table_says_what_was_counted_and_judged():
    told = json.loads((figures.RECORDINGS / "experiments/dead.json").read_text())["runs"]
    rows = figures.left_behind().rows
    wanted = [(kind, seed) for kind in figures.KINDS_OF_START for seed in figures.FOLLOWED]
    assert len(rows) == len(wanted)
    for row, (kind, seed) in zip(rows, wanted, strict=True):
        run = experiments.runs(kind)[seed]
        assert row[1:4] == [seed, 100 * run.map, run.sizes["30 to 60"][0]]
        dead, channels = told[f"{kind}/{seed}"]["layers"]["conv4_3"]
        assert row[-1] == f"{dead} of {channels}"
