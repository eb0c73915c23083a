"""Chapter 11's explorer without a browser: where one stands, keys, clicks, rules, and pictures that aren't there."""

from pathlib import Path

import numpy as np
import pytest
from hands import arrows, press

from course.evaluation import curve_explorer, figures, judging
from course.evaluation.curve_explorer import BOTTOM, LEFT, MOST, RIGHT, RULES, TOP, CurveExplorer
from course.evaluation.devkit_rule import TRUE
from ssdlib.records import CLASSES

GOLDEN = Path(__file__).parents[2] / "vectors" / "voc_golden"  # annotations without photographs


@pytest.fixture(scope="module")
def golden():
    return judging.from_files(GOLDEN / "detections", GOLDEN / "VOCdevkit")


@pytest.fixture
def explorer(golden):
    return CurveExplorer(golden)


@pytest.fixture
def ten():
    return CurveExplorer(figures.by_hand())


def test_the_ten_of_the_page_are_said_one_after_the_other(ten):
    assert ten.place.value == ten.place.max == 10
    said = []
    for n in range(1, 11):
        ten.place.value = n
        said.append(ten.board.status.split(": ")[-1])
    assert said == [
        *("true", "ignored", "false (again)", "true", "false", "true", "ignored", "false", "true", "false"),
    ]
    ten.place.value = 6
    assert ten.board.status == "threshold 0.60: detection 6 of 10 comes in, overlap 0.50: true"
    assert "3 true, 2 false, 1 of them second hits, 1 ignored; 4 objects count" in ten.text.value
    assert "recall 3 / 4 = 0.75, precision 3 / 5 = 0.60" in ten.text.value
    assert "11 points 71.9, area 71.0" in repr(ten)


def test_before_the_first_detection_there_is_no_point_and_no_picture(ten):
    ten.place.value = 0
    assert ten.board.status == "no detection: the threshold is above every score"
    assert "0 true, 0 false, 0 ignored" in repr(ten) and ten.still()


def test_arrow_keys_go_by_one_and_by_ten_and_stop_at_both_ends(explorer):
    longest = max(explorer.subject.results, key=lambda name: len(explorer.subject.results[name].scores))
    explorer.name.value, explorer.place.value = longest, 3
    most = explorer.place.max
    assert 12 < most < 40

    def key(x, y):
        arrows(explorer.board, x, y)
        return explorer.place.value

    assert [key(1, 0), key(-1, 0), key(-1, 0)] == [4, 3, 2]
    assert key(0, 1) == 12  # down: ten further along the ranking
    assert [key(0, -1), key(0, -1)] == [2, 0]
    assert [key(0, 1) for _ in range(4)][-1] == most


def test_n_goes_to_the_next_that_is_not_true_and_back(ten):
    ten.place.value = 0
    places = []
    for _ in range(7):
        ten.board.steps += 1
        places.append(ten.place.value)
    assert places == [2, 3, 5, 7, 8, 10, 10]
    ten.board.steps -= 1
    assert ten.place.value == 8
    ten.board.steps -= 3  # three keys that came as one change
    assert ten.place.value == 3


def test_a_click_on_the_curve_goes_to_the_detection_whose_point_is_nearest(ten):
    for n in (1, 3, 4, 6, 8, 9):
        recall, precision = ten.judged.recall[n - 1], ten.judged.precision[n - 1]
        x, y = LEFT + (RIGHT - LEFT) * recall, BOTTOM - (BOTTOM - TOP) * precision
        press(ten.board, x + 1, y - 1)
        assert (ten.judged.recall[ten.place.value - 1], ten.judged.precision[ten.place.value - 1]) == (
            recall,
            precision,
        )
    press(ten.board, 20.0, 20.0)  # into the picture: nothing
    assert ten.place.value == 9


def test_another_rule_changes_the_verdicts_and_the_ap_but_not_the_place(ten):
    ten.place.value = 6
    for name, verdict in (
        ("no + 1", "false"),
        ("difficult objects counted", "true"),
        ("the devkit's", "true"),
    ):
        ten.rule.value = name
        assert ten.place.value == 6 and ten.board.status.endswith(f": {verdict}")
    ten.rule.value = "difficult objects counted"
    assert "5 objects count" in repr(ten)


def test_every_class_and_rule_can_be_shown_also_without_objects_or_detections(explorer):
    for name in CLASSES[1:]:
        explorer.name.value = name
        for rule in RULES:
            explorer.rule.value = rule
        explorer.place.value = explorer.place.max
        assert explorer.board.status and repr(explorer).startswith("CurveExplorer(")
    assert explorer.still()


def test_a_picture_that_is_not_on_disk_is_grey_and_its_boxes_are_drawn(explorer):
    assert not explorer.subject.examples[0].path.exists()
    explorer.name.value, explorer.place.value = "dog", 1
    assert set(explorer._pixels(explorer.subject.examples[0]).unique().tolist()) == {225}
    texts = [text for layer in explorer.board.scene["layers"] for *_, text in layer["texts"]]
    assert any(text.startswith("1 ") for text in texts)


def test_verdicts_differ_in_dash_and_words_not_in_colour_alone():
    styles = {curve_explorer._style(verdict)[1] for verdict in judging.CODES}
    assert len(styles) == len(judging.CODES)


@pytest.mark.parametrize("count", [0, 1, MOST, MOST + 1, 20 * MOST])
def test_a_long_curve_is_sent_thinned_with_its_beginning_and_its_end(count):
    recall, precision = np.arange(count) / max(count, 1), np.full(count, np.nan)
    x, y = curve_explorer.thinned(recall, precision)
    assert len(x) == len(y) <= 2 * MOST and not np.isnan(y).any()
    assert (x[: min(count, MOST)] == recall[:MOST]).all()
    assert count == 0 or x[-1] == recall[-1]


def test_the_nearest_point_is_the_one_a_loop_finds():
    judged = figures.by_hand().judged["dog"]
    for recall, precision in ((0.0, 0.0), (0.5, 0.7), (1.0, 0.55), (0.26, 0.95)):
        far = [
            (r - recall) ** 2 + (p - precision) ** 2
            for r, p in zip(judged.recall, judged.precision, strict=True)
        ]
        assert curve_explorer.nearest_point(judged, recall, precision) == far.index(min(far)) + 1
    assert (judged.said == TRUE).sum() == 4
