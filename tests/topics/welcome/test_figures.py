"""Tests of chapter 00's figure and count: which objects were found, by hand."""

import torch

from course.welcome import figures
from ssdlib.records import Detections, Example


def example(boxes, labels):
    boxes, none = torch.tensor(boxes).float().reshape(-1, 4), torch.zeros(len(labels), dtype=torch.bool)
    return Example("x", None, (100, 100), boxes, torch.tensor(labels, dtype=torch.int64), none)


def found(*rows):
    boxes, scores, labels = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    boxes = torch.tensor(boxes).float().reshape(-1, 4)
    return Detections(boxes, torch.tensor(scores), torch.tensor(labels, dtype=torch.int64))


def test_an_object_counts_as_found_with_its_class_a_score_of_half_and_an_iou_of_half():
    three = example([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], [1, 2, 3])
    right = ([0, 0, 10, 10], 0.5, 1)
    other_class, unsure = ([20, 0, 30, 10], 0.9, 1), ([40, 0, 50, 10], 0.49, 3)
    half = ([40.0, 0, 50, 5], 0.9, 3)  # 50 of 100 px: exactly half
    less = ([40.0, 0, 50, 4.9], 0.9, 3)
    assert figures.found_again([three], [found(right, other_class, unsure)]) == 1
    assert figures.found_again([three], [found(right, half)]) == 2
    assert figures.found_again([three], [found(right, less)]) == 1


def test_without_objects_or_without_detections_nothing_is_found():
    assert figures.found_again([example([], [])], [found(([0, 0, 10, 10], 0.9, 1))]) == 0
    assert figures.found_again([example([[0, 0, 10, 10]], [1])], [found()]) == 0


def test_before_stands_above_after_and_each_shows_its_own_detections():
    one, photograph = example([[10, 10, 60, 60]], [1]), torch.zeros(100, 100, 3, dtype=torch.uint8)
    figure = figures.before_and_after([one], [photograph], [found()], [found(([10, 10, 60, 60], 0.9, 1))])
    above, below = figure.axes
    assert [ax.get_title(loc="left") for ax in (above, below)] == ["before", "after"]
    assert [text.get_text() for text in above.texts] == []
    assert [text.get_text() for text in below.texts] == ["aeroplane 0.90"]


def test_of_many_boxes_the_best_are_drawn_and_the_others_counted_in_words():
    one, photograph = example([[10, 10, 60, 60]], [1]), torch.zeros(100, 100, 3, dtype=torch.uint8)
    many = found(*[([10, 10, 60, 60 + i], 0.9 - i / 100, 1) for i in range(9)])
    above, _ = figures.before_and_after([one], [photograph], [many], [found()], most=2).axes
    assert [text.get_text() for text in above.texts] == ["aeroplane 0.90", "aeroplane 0.89"]
    assert above.get_title(loc="right") == "and 7 more boxes"
