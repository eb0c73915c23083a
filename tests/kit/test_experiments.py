"""The arithmetic behind the experiments, by numbers from tables of statistics and by hand."""

import json
import math

import pytest

from course.kit import experiment_figures as figures
from course.kit import experiments as recorded

AP = "class,ap\ncar,0.75\nsofa,0.25\nmean,0.5\n"
LOG = (
    '{"step": 10, "multibox": 9.0, "seconds": 1.0}\n{"step": 20, "val": {"multibox": 8.5}, "seconds": 2.0}\n'
)


def kept(folder, seed, ap=AP, log=LOG):
    folder.mkdir(parents=True)
    (folder / "recording.json").write_text(json.dumps({"config": {"seed": seed}}))
    (folder / "ap.csv").write_text(ap)
    (folder / "log.jsonl").write_text(log)
    (folder / "sizes.json").write_text('{"0 to 30": [12.5, 2, 7]}')
    return folder


def test_a_run_is_read_as_it_was_kept(tmp_path):
    run = recorded.read_run(kept(tmp_path / "4", 4))
    assert (run.seed, run.map, run.loss, run.losses) == (4, 0.5, 8.5, [(10, 9.0)])
    assert run.ap["sofa"] == 0.25 and run.sizes["0 to 30"] == [12.5, 2, 7]


@pytest.mark.parametrize("more", [dict(ap="class,ap\ncar,0.75\n"), dict(log=""), dict(log="rubbish")])
def test_what_is_no_finished_run_is_named(tmp_path, more):
    with pytest.raises(ValueError, match="4: holds no finished run"):
        recorded.read_run(kept(tmp_path / "4", 4, **more))


def test_the_interval_of_a_standard_deviation_is_that_of_the_tables():
    """Chi-square with nine degrees of freedom: 3.325 at 5 percent, 16.919 at 95 (any table)."""
    values = [0.1 * i for i in range(10)]
    s = recorded.deviation(values)
    assert s == pytest.approx(math.sqrt(82.5 / 9) * 0.1)
    low, high = recorded.deviation_between(values)
    assert low == pytest.approx(s * math.sqrt(9 / 16.919), rel=1e-4)
    assert high == pytest.approx(s * math.sqrt(9 / 3.325), rel=1e-3)


def test_pairs_are_those_of_one_random_seed():
    pair = recorded.paired({0: 0.5, 1: 0.75, 2: 0.5, 7: 9.0}, {2: 0.25, 1: 0.25, 0: 0.5, 3: 9.0})
    assert pair.by_seed == {0: 0.0, 1: 0.5, 2: 0.25} and pair.mean == 0.25
    assert pair.error == pytest.approx(0.25 / math.sqrt(3))
    with pytest.raises(ValueError, match="at least two"):
        recorded.paired({0: 1.0, 1: 1.0}, {1: 1.0, 2: 1.0})


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [
        ((3, 4, 5), "more"),  # mean 4, standard error 0.58
        ((-3, -4, -5), "less"),
        ((-1, 4, 5), "can't be told"),  # mean 2.67, standard error 1.86
        ((-0.1, 4, 4, 4, 4), "more"),  # one against the others
        (
            (-0.1, -0.1, 4, 4, 4, 4, 4, 4, 4, 4),
            "can't be told",
        ),  # two against the others, though the mean is far from 0
        ((0, 0, 0), "can't be told"),
    ],
)
def test_the_verdict_is_the_rule_that_was_written_down_first(differences, verdict):
    assert recorded.Paired(dict(enumerate(differences))).verdict == verdict


def test_a_figure_has_a_dot_for_every_run_and_says_the_verdict():
    found = {"recipe": {0: 0.6, 1: 0.62, 2: 0.61}, "changed": {0: 0.5, 1: 0.53, 2: 0.52}}
    left, right = figures.arms(found, [("changed", "recipe")], "a title").axes
    dots = [len(line.get_xdata()) for line in left.lines if line.get_marker() == "o"]
    assert dots == [3, 3]
    assert any("−0.093: less" in text.get_text() for text in right.texts)
