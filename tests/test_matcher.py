"""Tests of the matcher explorer: its matching against the counts of the released code, its state, its presets."""

import pytest
import torch

from course import matcher
from course.matcher import GREEDY, OVERWRITE, Matcher, match_with
from ssdlib.anchors import SSD300, default_boxes

ANCHORS = default_boxes()
# Unit boxes and the positives per map that the released Caffe code gives them
CASES = {
    "A": ([(0.1, 0.2, 0.4, 0.6)], [0, 6, 8, 0, 0, 0]),
    "B": ([(0.0, 0.0, 1.0, 1.0)], [0, 0, 0, 0, 4, 4]),
    "D": ([(0.1, 0.2, 0.4, 0.6)] * 2, [0, 6, 8, 0, 0, 0]),
    "E": ([(48 / 353, 0.48, 195 / 353, 0.742), (8 / 353, 0.024, 352 / 353, 0.996)], [0, 5, 10, 0, 4, 4]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", (GREEDY, OVERWRITE))
def test_the_counts_are_those_of_the_released_code(name, rule):
    unit, per_map = CASES[name]
    result = match_with(torch.tensor(unit) * 300, ANCHORS, rule=rule)
    found = torch.tensor([result.per_map(i) for i in range(len(unit))]).sum(dim=0)
    assert found.tolist() == per_map


def test_two_objects_with_one_best_anchor_get_two_anchors_or_lose_one():
    pair = torch.tensor([[0.500, 0.500, 0.510, 0.510], [0.502, 0.500, 0.512, 0.510]]) * 300
    assert (match_with(pair, ANCHORS).matched >= 0).sum() == 2
    shortcut = match_with(pair, ANCHORS, rule=OVERWRITE)
    assert (shortcut.matched >= 0).sum() == 1 and (shortcut.own >= 0).tolist() == [False, True]


def test_no_object_no_positive():
    result = match_with(torch.zeros(0, 4), ANCHORS)
    assert (result.matched == -1).all() and len(result.own) == 0


def test_an_anchor_is_described_by_its_place():
    start = SSD300.per_map[0]
    assert matcher.describe(0) == "38² map, row 0, column 0, 30x30 px"
    assert matcher.describe(start + 6 * 20 + 4) == "19² map, row 1, column 1, 104x35 px"
    assert matcher.describe(8731) == "1² map, row 0, column 0, 187x373 px"


@pytest.mark.parametrize(
    "preset, found",
    [
        ("two objects, one best anchor", [1, 1]),
        ("too small for any IoU of .5", [1]),
        ("the same object twice", [13, 1]),
        ("the whole picture", [8]),
    ],
)
def test_the_presets_show_what_they_promise(preset, found):
    assert f"positives {found}" in repr(Matcher(preset=preset))


def test_the_shortcut_loses_the_first_object_in_the_explorer_too():
    explorer = Matcher(preset="two objects, one best anchor")
    explorer.rule.value = OVERWRITE
    assert "positives [0, 1]" in repr(explorer)


def test_moving_a_box_changes_picture_words_and_state():
    explorer = Matcher()
    before = (explorer.board.scene, explorer.board.status, repr(explorer))
    explorer.board.boxes = [[10.0, 10, 40, 40], [150, 40, 290, 270]]
    after = (explorer.board.scene, explorer.board.status, repr(explorer))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_it_brings_a_still_picture_with_words_for_pages_without_a_kernel():
    data, metadata = Matcher()._repr_mimebundle_()
    assert data["text/plain"].startswith("Matcher(objects")
    assert data["image/png"].startswith("iVBOR") and len(metadata["image/png"]["alt"]) > 20
    assert "application/vnd.jupyter.widget-view+json" in data
