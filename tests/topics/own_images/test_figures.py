"""The tables of chapter 12: what a folder holds, what was noted about it, and its objects under the anchors."""

import re
from pathlib import Path

import pytest
import torch

from course.own_images import figures
from ssdlib.data import own
from ssdlib.data.report import Notes
from ssdlib.records import Example


def example(name: str, boxes: list, labels: list) -> Example:
    boxes = torch.tensor(boxes).float().reshape(-1, 4)
    none_hard = torch.zeros(len(labels), dtype=torch.bool)
    return Example(name, Path(name), (300, 300), boxes, torch.tensor(labels, dtype=torch.int64), none_hard)


@pytest.fixture
def found() -> own.Found:
    box = [0, 0, 100, 100]
    notes = Notes()
    notes.guessed("corners are taken to be counted from 0")
    notes.ignored("left out: no image of its name", "b.xml")
    notes.ignored("left out: no image of its name", "c.xml")
    chosen = (example("1", [box, box], [2, 2]), example("2", [], []), example("3", [box], [1]))
    parts = ("train", "train", "both")
    return own.Found("Pascal XML", chosen, ("ant", "bee"), parts, notes.frozen("by a hash"))


def test_objects_are_counted_by_class_and_part_and_what_is_in_both_parts_counts_in_both(found):
    shown = figures.contents(found)
    assert shown.rows == [["ant", 1, 1], ["bee", 2, 0]]
    assert shown.caption == "Pascal XML: 3 images (3 train, 1 test), 3 objects, 1 images without any"
    assert shown.caption == str(found).splitlines()[0]  # the command line says the same


def test_notes_stand_in_the_order_of_the_librarys_report_with_how_often_and_where_first(found):
    shown = figures.notes(found)
    assert shown.rows == [
        ["ignored", "left out: no image of its name", 2, "b.xml"],
        ["guessed", "corners are taken to be counted from 0", 1, ""],
    ]
    assert shown.note == "split: by a hash"


def test_readings_stand_beside_each_other_and_a_gap_says_that_nothing_was_noted(found):
    bare = own.Found("COCO JSON", (), ("ant", "bee"), (), Notes().frozen())
    shown = figures.readings({"XML": found, "COCO": bare})
    assert shown.head == ["", "XML", "COCO"]
    assert shown.rows == [
        ["images", 3, 0],
        ["images without objects", 1, 0],
        ["objects", 3, 0],
        ["ignored: left out: no image of its name", 2, None],
        ["guessed: corners are taken to be counted from 0", 1, None],
    ]
    assert [row[1:] for row in figures.contents(bare).rows] == [[0, 0], [0, 0]]


def test_the_survey_has_a_row_for_each_size_gaps_where_there_is_no_object_and_all_at_its_end():
    # 30 px around the centre of a cell of the 38 x 38 map: an anchor itself; 10 px: a ninth of its area
    cell = 8 * 18.5
    whole, small = ([cell - half, cell - half, cell + half, cell + half] for half in (15, 5))
    shown = figures.under_anchors([example("1", [whole, small], [1, 1])])
    words = [row[0] for row in shown.rows]
    assert words == ["0 to 15 px", "15 to 30 px", "30 to 60 px", "60 to 120 px", "120 to 300 px", "all"]
    assert shown.rows[0][1:] == [1, 0.0, pytest.approx(1 / 9)]
    assert shown.rows[2][1:] == [1, 1.0, pytest.approx(1)]
    assert shown.rows[1][1:] == [0, None, None] and shown.rows[-1][1:] == [2, 0.5, None]
    assert figures.under_anchors([]).rows[-1] == ["all", 0, None, None]


def test_the_title_claims_success_for_the_fine_tuned_network_alone(found):
    from course.own_images import example_datasets
    from ssdlib.training.runs import RECIPES

    tuned = example_datasets.recipe(found, 80)
    assert figures.says(found, tuned) == "After 80 steps most animals are found"
    assert re.search("wrong names", figures.says(found, RECIPES["mini"]))
