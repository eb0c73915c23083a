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


def test_the_table_of_what_was_changed_says_what_was_judged_and_counted():
    told = json.loads((figures.RECORDINGS / "experiments/dead_anew.json").read_text())["runs"]
    told |= json.loads((figures.RECORDINGS / "experiments/dead.json").read_text())["runs"]
    shown = figures.mended()
    assert [row[0] for row in shown.rows] == list(figures.CHANGED.values())
    for row, kind in zip(shown.rows, figures.CHANGED, strict=True):
        assert list(row[2:]) == [100 * experiments.runs(kind)[seed].map for seed in (0, 1)]
        dead = [told[f"{kind}/{seed}"]["layers"]["conv4_3"] for seed in (0, 1)]
        assert row[1] == f"{dead[0][0]} and {dead[1][0]}" and [of for _, of in dead] == [64, 64]
    assert "61.3 to 68.6" in shown.note


def log(arm: str, seed: int) -> dict[int, list[float]]:
    """The losses of a run, by step."""
    path = figures.RECORDINGS / "experiments" / arm / str(seed) / "log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    columns = ("localisation", "confidence", "l2", "positives")
    return {row["step"]: [row[name] for name in columns] for row in rows if "positives" in row}


@pytest.mark.parametrize("kind", [kind for kind in figures.CHANGED if kind != "nearly_broken"])
@pytest.mark.parametrize("seed", figures.FOLLOWED)
def test_until_it_is_changed_a_run_is_the_nearly_broken_one_to_the_last_digit(kind, seed):
    ours, theirs = log(kind, seed), log("nearly_broken", seed)
    until = 1950 if kind == "later" else 300
    assert {step for step in theirs if ours[step] == theirs[step]} == set(range(25, until + 1, 25))


def test_what_the_page_says_of_the_runs_with_more_time():
    for seed in figures.FOLLOWED:
        late, recipe = log("later", seed), log("recipe", seed)
        assert 4.1 < late[1900][1] < 4.2 and 3.9 < recipe[900][1] < 4.2
        assert sum(late[5000][:2]) < sum(recipe[2500][:2])  # of training
        assert (
            experiments.runs("later")[seed].loss > experiments.runs("recipe")[seed].loss + 0.4
        )  # validation


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
