"""What chapters 10 and 11 say of the network that was judged on photographs: read from a folder, nothing else."""

import json
import re

import pytest

from course.detection import figures, photographs
from course.evaluation import ap_by_size, errors, judging
from course.evaluation import photographs as evaluated
from course.kit import free_photographs
from ssdlib.detect import KEEP, NMS_IOU, SCORE, TOP_K
from ssdlib.records import CLASSES

CAVEAT = "40 official test images in a split of our own: no VOC result"
USUAL = {"score": SCORE, "top_k": TOP_K, "nms_iou": NMS_IOU, "keep": KEEP}
PAINTED = {
    "score": {0.01: 80.0, 0.1: 60.0, 0.5: 40.0, 0.9: 20.0},
    "top_k": {1: 40.0, 400: 80.0},
    "nms_iou": {0.45: 80.0, 1.0: 20.0},
    "keep": {1: 8.0, 200: 80.0},
}
CAT = [0.0, 0.0, 400.0, 300.0]  # the cat's box as it was drawn by hand


@pytest.fixture
def folder(tmp_path):
    """A small folder in the format of `judge_photographs.py`, written by hand."""
    by_class = dict.fromkeys(CLASSES[1:], 0.1) | {"cat": 0.4, "bottle": 0.0}
    facts = dict(
        detections="made to test",
        count=12,
        images=40,
        step=7500,
        date="2026-11-29",
        device="a device",
        commit="c" * 40,
        seed="0 of the run",
        worth={
            "score": {"0.01": 20.0, "0.05": 19.0, "0.1": 22.0, "0.5": 5.0},
            "top_k": {"1": 15.0, "400": 20.0},
            "nms_iou": {"0.45": 20.0, "1.0": 6.0},
            "keep": {"1": 4.0, "200": 20.0},
        },
        boxes={"0.01": dict(boxes=50.0, empty=0), "0.1": dict(boxes=6.0, empty=2), "0.5": dict(boxes=0.5, empty=30)},
        prices={photographs.DEVKIT: by_class},
        errors=dict.fromkeys(errors.ALL, 3),
        objects=100,
        gains={kind: dict.fromkeys(CLASSES[1:], 2.0) for kind in errors.ALL},
        confused=[[5, "cat", "dog"]],
        ends={name: [1, 4, 0.5] for name in CLASSES[1:]},
        sizes={name: [5.0, 20, 30] for name in ap_by_size.names()},
    )  # fmt: skip
    said = {
        "chelsea": [
            {"class": "dog", "score": 0.7, "box": CAT},
            {"class": "cat", "score": 0.6, "box": CAT},
            {"class": "cat", "score": 0.5, "box": CAT},
        ],
        "astronaut": [{"class": "person", "score": 0.4, "box": [19.0, 15.0, 100.0, 100.0]}],
        "camera": [],
        "rocket": [{"class": "boat", "score": 0.1, "box": [0.0, 0.0, 10.0, 10.0]}],
    }
    (tmp_path / "judged.json").write_text(json.dumps(facts))
    (tmp_path / "free_photographs.json").write_text(json.dumps(said))
    return tmp_path


@pytest.fixture
def full(folder):
    return photographs.judged(folder)


def words_of(figure):
    """All that is written in a figure."""
    figure.draw_without_rendering()
    texts = [text.get_text() for part in (figure, *figure.axes) for text in part.texts]
    texts += [ax.get_title() for ax in figure.axes]
    texts += [text.get_text() for legend in figure.legends for text in legend.texts]
    texts += [figure.get_supxlabel(), figure.get_suptitle()]
    return " ".join(" ".join(texts).split())


def test_the_mean_is_that_of_the_twenty_classes(full):
    assert full.mean_ap == pytest.approx(100 * (18 * 0.1 + 0.4 + 0.0) / 20)


@pytest.mark.slow
def test_every_table_and_figure_says_that_it_is_no_voc_result(full):
    subject = judging.recorded()
    anatomy = errors.error_anatomy(subject)
    unnamed = dict(errors=dict.fromkeys(errors.ALL, 1), gains=full.facts["gains"], objects=10)
    tables = [
        photographs.threshold_table([(0.01, 60.0, 0, 80.0)], 200, full),
        evaluated.ap_table(subject, full),
        evaluated.error_table(anatomy, full.facts["gains"], full, unnamed),
        evaluated.confused_table([(1, "cat", "dog")], full, [(2, "cow", "horse")]),
    ]
    assert all(CAVEAT in repr(one) for one in tables)
    drawn = [
        photographs.worth_drawn(PAINTED, USUAL, full),
        evaluated.ap_drawn(subject, full),
        ap_by_size.draw_sizes((full.title, full.facts["sizes"])),
    ]
    assert all(CAVEAT in words_of(figure) for figure in drawn)
    free = photographs.free_drawn(full, "a claim", score=0.3)
    assert "no VOC result" in words_of(free) and "no VOC result" in repr(photographs.free_table(full))


def test_thresholds_are_compared_where_both_were_measured(full):
    rows = [(score, 10.0, 20, ap) for score, ap in PAINTED["score"].items()]
    head, *lines, _ = repr(photographs.threshold_table(rows, 200, full)).splitlines()
    assert [line.split()[0] for line in lines] == ["0.01", "0.10", "0.50"]
    assert re.findall(r"[\d.]+", lines[2]) == ["0.50", "10.0", "10", "40.0", "0.5", "75", "5.0"]


def test_what_a_number_is_worth_is_a_share_of_what_caffes_values_give(full):
    score, top_k, nms_iou, keep = photographs.worth_drawn(PAINTED, USUAL, full).axes

    def lines(ax):
        return [[float(v) for v in line.get_ydata()] for line in ax.lines if len(line.get_xdata()) > 1]

    assert lines(score) == [[100, 75, 50], [100, 110, 25]]
    assert lines(top_k) == [[50, 100], [75, 100]]
    assert lines(nms_iou) == [[100, 25], [100, 30]]
    assert lines(keep) == [[10, 100], [20, 100]]


def test_a_second_box_on_the_cat_is_false_and_so_is_another_class_on_it(full):
    rows = [line.split() for line in repr(photographs.free_table(full)).splitlines()[1:]]
    assert rows[:3] == [
        ["chelsea", "dog", "0.70", "false"],
        ["chelsea", "cat", "0.60", "1.00", "right"],
        ["chelsea", "cat", "0.50", "1.00", "false"],
    ]
    assert rows[3][:3] + rows[3][-1:] == ["astronaut", "person", "0.40", "false"]
    assert rows[4] == ["camera", "nothing"] and rows[5] == ["rocket", "boat", "0.10", "false"]


def test_only_what_scores_enough_is_drawn_on_the_free_photographs(full):
    chelsea, astronaut, camera, rocket = photographs.free_drawn(full, "", score=0.55).axes
    assert (
        len(chelsea.patches) == 1 + 2 and len(astronaut.patches) == 1
    )  # those drawn by hand, and what was found
    assert len(camera.patches) == 1 and len(rocket.patches) == 0


def test_where_the_photographs_are_missing_boxes_lie_on_grey_ones_of_their_size(full, monkeypatch):
    monkeypatch.setattr(free_photographs, "folder", lambda: None)
    chelsea = photographs.free_drawn(full, "", score=0.55).axes[0]
    shown = chelsea.images[0].get_array()
    assert shown.shape == (300, 451, 3) and shown.min() == shown.max()


@pytest.mark.slow
def test_the_best_class_on_photographs_comes_first_and_the_mean_last(full):
    lines = repr(evaluated.ap_table(judging.recorded(), full)).splitlines()
    assert lines[1].startswith("cat") and lines[20].startswith("bottle") and lines[21].startswith("mAP")
    assert lines[1].split()[2:] == ["40.0", "4", "25", "%"]


def test_a_folder_that_holds_something_else_is_refused_by_name(folder):
    facts = json.loads((folder / "judged.json").read_text())
    (folder / "judged.json").write_text(json.dumps({k: v for k, v in facts.items() if k != "boxes"}))
    with pytest.raises(photographs.JudgedError, match=r"judged\.json: no 'boxes' in it; wanted what"):
        photographs.judged(folder)
    (folder / "judged.json").write_text("[]")
    with pytest.raises(photographs.JudgedError, match=r"judged\.json: a list; wanted"):
        photographs.judged(folder)
    (folder / "judged.json").write_text("{")
    with pytest.raises(photographs.JudgedError, match=r"judged\.json: no JSON"):
        photographs.judged(folder)


def test_without_the_free_photographs_file_nothing_is_said_about_them(folder):
    (folder / "free_photographs.json").unlink()
    assert len(photographs.judged(folder).detections("chelsea")) == 0
    assert figures.TITLES.keys() == PAINTED.keys()
