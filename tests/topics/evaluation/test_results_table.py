"""The table of chapter 11: it fills itself from a log, compares what may be compared, and refuses in a sentence."""

import csv
import json
from pathlib import Path

import pytest

from course.evaluation import results_table, rule_variants
from course.evaluation.results_table import MEAN, SEED, NoResultsError
from ssdlib.data import voc

ROOT = Path(__file__).parents[3]
DEVKIT = Path(__file__).parents[2] / "vectors/voc_golden/VOCdevkit"  # 12 images
RECORDED = ROOT / "chapters/recordings/mini"


def logged(folder, *rows):
    folder.mkdir(exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def ap(value):
    return dict.fromkeys(voc.CLASSES[1:], value)


def test_the_column_of_a_run_is_what_its_log_says():
    run = results_table.run_of(RECORDED, DEVKIT)
    with open(RECORDED / "ap.csv", newline="") as file:
        wanted = {row["class"]: 100 * float(row["ap"]) for row in csv.DictReader(file)}
    assert abs(run.last[MEAN] - wanted.pop("mean")) < 1e-6
    assert all(abs(run.last[name] - value) < 1e-6 for name, value in wanted.items())


def test_a_run_that_was_judged_often_has_a_column_for_each_step_and_shows_the_last(tmp_path):
    rows = [
        {"step": step, "map": value, "ap": ap(value)} for step, value in ((40, 0.25), (20, 0.5), (60, 0.75))
    ]
    run = results_table.run_of(logged(tmp_path / "run", {"step": 10, "multibox": 3.0}, *rows), DEVKIT)
    assert sorted(run.steps) == [20, 40, 60] and run.last[MEAN] == 75
    figure = results_table.steps_drawn(run.steps, "mine")
    written = [text.get_text() for text in figure.axes[0].texts]
    assert written.count("25.0") == 21 and len(figure.axes[0].patches) == 21  # 50 fell to 25: framed
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["20", "40", "60"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (None, "not there; wanted the log of a run"),
        ([], "no mAP in it; wanted a run that is finished"),
        ([{"step": 5, "multibox": 1.0}], "no mAP in it"),
        (
            [{"step": 5, "map": 0.5, "ap": {"rabbit": 0.5}}],
            "no AP of aeroplane; wanted the 20 classes of VOC",
        ),
    ],
)
def test_a_folder_without_an_ap_is_refused_by_name(tmp_path, rows, words):
    folder = tmp_path / "run" if rows is None else logged(tmp_path / "run", *rows)
    with pytest.raises(NoResultsError, match=words) as refused:
        results_table.run_of(folder, DEVKIT)
    assert "log.jsonl" in str(refused.value) and "\n" not in str(refused.value)


def test_only_all_of_voc2007_test_is_compared():
    painted = results_table.run_from(ap(0.9), 200, "painted")
    genuine = results_table.run_from(ap(0.5), 4952, "genuine")
    assert not painted.comparable and genuine.comparable
    text = repr(results_table.class_table(painted, genuine))
    [bottle] = [line for line in text.splitlines() if line.startswith("bottle")]
    assert bottle.split() == ["bottle", "47.6", "49.9", "48.4", "90.0", "50.0", "+1.6"]
    [cat] = [line for line in text.splitlines() if line.startswith("cat")]
    assert cat.split()[-2:] == ["−37.5", "▼"]
    assert "painted: 200 test images, not the 4,952 of VOC2007 test: don't compare" in text
    assert "genuine: 4,952 test images, as many as VOC2007 test has" in text


@pytest.mark.parametrize(("less", "shown"), [(2.99, " "), (3.0, "▲"), (-3.0, "▼"), (0.0, " ")])
def test_from_three_points_on_a_difference_is_marked(less, shown):
    assert results_table.mark(less) == shown


def test_the_published_classes_add_up_to_the_published_means():
    """The paper and amdegroot round each class to a tenth, the published run to a hundredth of a point."""
    for name, column in results_table.by_class().items():
        classes = [column[c] for c in voc.CLASSES[1:]]
        assert abs(sum(classes) / 20 - column[MEAN]) < (0.01 if name == SEED else 0.05), name
    ours, theirs = results_table.by_class()[SEED], results_table.by_class()["amdegroot"]
    assert 3 < max(abs(ours[c] - theirs[c]) for c in voc.CLASSES[1:]) < 3.1  # as the chapter says
    for step, column in results_table.by_step().items():
        assert abs(sum(column[c] for c in voc.CLASSES[1:]) / 20 - column[MEAN]) < 0.06, step


def test_what_others_published_is_listed_best_first_and_what_was_not_read_has_a_question_mark():
    rows = results_table.published()
    assert {row["trained on"] for row in rows} == {"07", "07+12"} and all(row["place"] for row in rows)
    lines = repr(results_table.published_table()).splitlines()[1:]
    numbers = [float(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers, reverse=True) and len(numbers) == len(rows)
    unread = [row["who"] for row in rows if row["checked"] != "read"]
    assert [line for line in lines if line.split()[1] == "?"] == [
        line for line in lines if any(who in line for who in unread)
    ]


def test_the_drawing_joins_only_what_may_be_compared_and_differs_clearly():
    far, near = results_table.run_from(ap(0.1), 4952, "far"), results_table.run_from(ap(0.1), 99, "near")
    assert (
        len(results_table.draw_classes(far).axes[0].lines)
        - len(results_table.draw_classes(near).axes[0].lines)
        == 20
    )


def test_no_class_of_a_run_lies_outside_the_drawing():
    for value, low in ((0.1, 8), (0.0, -2), (0.9, 30)):
        run = results_table.run_from(ap(value), 4952, "mine")
        assert results_table.draw_classes(run).axes[0].get_xlim() == pytest.approx((low, 100))


# ---- the words of the chapter


def test_the_points_that_the_chapter_speaks_of_are_those_that_are_recorded():
    prices = rule_variants.recorded_prices()["prices"]
    cost = {
        name: rule_variants.mean(row) - rule_variants.mean(prices[rule_variants.DEVKIT])
        for name, row in prices.items()
    }
    words = " ".join((ROOT / "chapters/source/11_evaluation.py").read_text().replace("\n# ", " ").split())
    said = {
        "counted as any other, cost seven points": -7 - cost["counted as any other"],
        "almost three points": 2.8 - cost["area under the curve (VOC2010 and later)"],
        "costs a tenth of a point on average": -0.1 - cost["no + 1"],
        "counting difficult objects costs 7 points": -7 - cost["counted as any other"],
    }
    for sentence, off in said.items():
        assert sentence in words and abs(off) < 0.1, sentence
    assert cost["only scores above 0.5"] < -8 and "Cutting off** at 0.5 costs more than eight" in words
    assert cost["only scores above 0.05"] < -1 and "at 0.05 more than one" in words
    assert abs(cost["more than 0.5, not 0.5 itself"]) < 0.005 and "worth nothing" in words
    assert abs(rule_variants.extreme(prices, "counted from 0: all corners 1 px less")[0] - 6.2) < 0.05
    assert rule_variants.extreme(prices, "counted from 0: all corners 1 px less")[1] == "horse"
    assert all(-2 < cost[f"only scores above {s}"] < -1 for s in ("0.05", "0.1"))
    assert -2 < cost["the 10 best of an image"] < -1
