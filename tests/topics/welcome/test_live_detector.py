"""Tests of chapter 00's explorer: what is painted, what the network says of it, and which anchors said so."""

import numpy as np
import pytest
import torch
from PIL import Image

from course.kit import opening, pictures
from course.welcome import live_detector
from course.welcome.live_detector import LiveDetector, Sight, answer
from ssdlib import box_ops
from ssdlib.records import CLASSES, LABELS, Detections


@pytest.fixture(scope="module")
def explorer():
    return LiveDetector()


def test_painted_at_its_places_the_scene_is_the_stored_picture():
    """To JPEG's accuracy: within 3 grey levels on average, nowhere wrong by an object."""
    painted = opening.Painter(opening.SIZE).paint(opening.example().boxes).numpy().astype(int)
    stored = np.asarray(Image.open(opening.example().path)).astype(int)
    assert painted.shape == stored.shape and np.abs(painted - stored).mean() < 3


def test_moving_the_car_changes_the_picture_where_it_was_and_where_it_is_and_nowhere_else():
    before, painter = opening.scene().boxes.round(), opening.Painter()
    after = before.clone()
    after[0] += torch.tensor([150.0, 20.0, 150.0, 20.0])
    changed = (painter.paint(before).int() - painter.paint(after).int()).abs().sum(dim=2) > 0
    allowed = torch.zeros(300, 300, dtype=torch.bool)
    for x1, y1, x2, y2 in torch.stack([before[0], after[0]]).int().tolist():
        allowed[y1:y2, x1:x2] = True
    assert changed.any() and not (changed & ~allowed).any()


def test_an_object_outside_of_the_picture_is_no_error_and_leaves_the_background():
    painter, none = opening.Painter(), torch.zeros(0, 4)
    away = torch.tensor([[400.0, 400.0, 480.0, 480.0]])
    assert torch.equal(painter.paint(away), painter.paint(none))


def test_the_boxes_of_the_annotation_are_tight_around_what_is_painted():
    """Oracle: the pixels in which the scene differs from its background."""
    painter = opening.Painter(opening.SIZE)
    empty = painter.paint(torch.zeros(0, 4)).int()
    boxes = opening.example().boxes
    for i in range(len(boxes)):
        away = boxes + 5000
        away[i] = boxes[i]
        rows, columns = ((painter.paint(away).int() - empty).abs().sum(dim=2) > 60).nonzero(as_tuple=True)
        seen = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (seen - boxes[i]).abs().max() <= 3, opening.NAMES[i]


def test_the_recorded_network_finds_all_three_objects_of_the_scene(explorer):
    for i, name in enumerate(opening.NAMES):
        explorer.board.active = i
        assert CLASSES[explorer.answer.label] == name and explorer.answer.score > 0.5
        assert float(box_ops.iou(explorer.answer.box, explorer.places[i])) >= 0.5
    explorer.board.active = 0


def test_folding_batch_norm_changes_no_probability_by_a_ten_thousandth(explorer):
    plain = live_detector.look(pictures.recorded_network(), explorer.pixels, explorer.anchors)
    fast = live_detector.look(explorer.network, explorer.pixels, explorer.anchors)
    assert torch.allclose(plain.probabilities, fast.probabilities, atol=1e-4)
    assert torch.allclose(plain.boxes, fast.boxes, atol=1e-2)


def by_hand():
    """Four anchors, of which 0 and 1 say car of the same place, 2 says bus of it, 3 says car elsewhere."""
    probabilities = torch.full((4, 21), 0.001)
    for anchor, name, p in ((0, "car", 0.6), (1, "car", 0.9), (2, "bus", 0.7), (3, "car", 0.8)):
        probabilities[anchor, LABELS[name]] = p
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 11], [50, 50, 60, 60]])
    labels = torch.tensor([LABELS["car"], LABELS["car"], LABELS["bus"]])
    return Sight(probabilities, boxes, Detections(boxes[[1, 3, 2]], torch.tensor([0.9, 0.8, 0.7]), labels))


def test_an_answer_counts_the_anchors_that_say_the_same_of_the_same_place():
    found = answer(by_hand(), torch.tensor([0.0, 0, 10, 10]))
    assert CLASSES[found.label] == "car" and found.score == pytest.approx(0.9)
    assert found.anchors.tolist() == [1, 0]
    assert found.iou == pytest.approx(90 / 110)  # of 10 x 10 boxes, one px apart
    assert found.ranking[0] == (LABELS["car"], pytest.approx(0.9))


def test_the_best_detection_on_an_object_answers_for_it_also_where_its_class_is_wrong():
    sight = by_hand()
    only_bus = Detections(sight.found.boxes[2:], sight.found.scores[2:], sight.found.labels[2:])
    found = answer(Sight(sight.probabilities, sight.boxes, only_bus), torch.tensor([0.0, 0, 10, 10]))
    assert CLASSES[found.label] == "bus" and found.anchors.tolist() == [2]


@pytest.mark.parametrize("box", [[100.0, 100, 120, 120], [0, 0, 4, 4]], ids=["elsewhere", "barely touched"])
def test_where_no_detection_lies_on_an_object_there_is_no_answer(box):
    assert answer(by_hand(), torch.tensor(box)) is None


def test_without_any_detection_there_is_no_answer():
    none = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert answer(Sight(torch.zeros(4, 21), torch.zeros(4, 4), none), torch.tensor([0.0, 0, 10, 10])) is None


def test_it_states_its_state_and_reset_brings_it_back(explorer):
    begun = repr(explorer)
    assert begun.startswith("LiveDetector(car [24, 32, 102, 112], dog ") and "car found as car 0.9" in begun
    explorer.board.boxes = [[60.0, 32, 138, 112], *explorer.board.boxes[1:]]
    explorer.board.active = 2
    assert "car [60, 32, 138, 112]" in repr(explorer) and "person found as person" in repr(explorer)
    explorer.reset.click()
    assert repr(explorer) == begun


def test_an_object_dragged_out_of_the_picture_is_said_to_be_found_by_nobody(explorer):
    explorer.board.boxes = [[600.0, 600, 680, 680], *explorer.board.boxes[1:]]
    assert explorer.board.status == "car: nothing found on it with a score above 0.3"
    assert "car found as nothing" in repr(explorer)
    explorer.reset.click()


def test_without_its_anchors_the_detection_stays(explorer):
    with_them = len(explorer.board.scene["layers"])
    explorer.glow.value = False
    without = explorer.board.scene["layers"]
    assert with_them - len(without) == live_detector.GLOWING
    assert any("car 0.9" in text for drawn in without for *_, text in drawn["texts"])
    explorer.glow.value = True
