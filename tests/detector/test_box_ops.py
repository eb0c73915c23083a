"""Geometry of boxes: formats, area, IoU, clip, scale, flip, against loops, torchvision and hand numbers."""

import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st

import oracles
from ssdlib import box_ops

numbers = st.floats(-1000, 1000, allow_nan=False, width=32)
lengths = st.floats(0.125, 1000, width=32)


@st.composite
def corner_boxes(draw, least: int = 0, most: int = 6):
    """(R, 4) float64 boxes with an area; R may be 0."""
    rows = draw(st.lists(st.tuples(numbers, numbers, lengths, lengths), min_size=least, max_size=most))
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows], dtype=torch.float64).reshape(-1, 4)


def near(values, expected, tolerance=1e-9):
    expected = torch.as_tensor(expected, dtype=values.dtype)
    torch.testing.assert_close(values, expected, rtol=0, atol=tolerance)


# --- Formats


def test_corners_become_centre_and_size():
    near(box_ops.to_cxcywh(torch.tensor([10.0, 20.0, 40.0, 100.0])), [25.0, 60.0, 30.0, 80.0])


def test_centre_and_size_become_corners():
    near(box_ops.to_xyxy(torch.tensor([25.0, 60.0, 30.0, 80.0])), [10.0, 20.0, 40.0, 100.0])


@given(corner_boxes())
def test_a_box_survives_the_way_to_centre_form_and_back(some):
    near(box_ops.to_xyxy(box_ops.to_cxcywh(some)), some)


@given(corner_boxes())
def test_centre_form_is_that_of_torchvision(some):
    near(box_ops.to_cxcywh(some), torchvision.ops.box_convert(some, "xyxy", "cxcywh"))


def test_formats_keep_every_leading_dimension():
    for shape in [(4,), (0, 4), (2, 0, 4), (2, 3, 5, 4)]:
        assert box_ops.to_xyxy(torch.zeros(shape)).shape == shape
        assert box_ops.to_cxcywh(torch.zeros(shape)).shape == shape


# --- Area


def test_area_is_width_times_height():
    near(box_ops.area(torch.tensor([[0.0, 0.0, 300.0, 200.0], [-5.0, 5.0, 5.0, 6.5]])), [60000.0, 15.0])


def test_area_of_inclusive_pixel_numbers_counts_the_last_pixel():
    # columns 10..19 and rows 5..6: ten pixels wide, two high
    near(box_ops.area(torch.tensor([10.0, 5.0, 19.0, 6.0]), extent=1), 20.0)


# --- IoU


@given(corner_boxes(), corner_boxes())
def test_the_matrix_of_all_pairs_is_that_of_torchvision(first, second):
    near(box_ops.iou(first[:, None], second), torchvision.ops.box_iou(first, second))


@given(corner_boxes(), corner_boxes(), st.sampled_from([0, 1]))
def test_every_entry_is_that_of_a_loop_over_pairs(first, second, extent):
    table = box_ops.iou(first[:, None], second, extent)
    assert table.shape == (len(first), len(second))
    for i, a in enumerate(first.tolist()):
        for j, b in enumerate(second.tolist()):
            assert float(table[i, j]) == pytest.approx(oracles.iou(a, b, extent), abs=1e-12)


@given(corner_boxes(least=1))
def test_a_box_overlaps_itself_by_one(some):
    near(box_ops.iou(some, some), torch.ones(len(some)))


@given(corner_boxes(least=1, most=3), corner_boxes(least=1, most=3))
def test_which_box_comes_first_makes_no_difference(first, second):
    near(box_ops.iou(first[:, None], second), box_ops.iou(second[:, None], first).T)


def test_overlaps_that_can_be_counted_on_squared_paper():
    square = torch.tensor([0.0, 0.0, 4.0, 4.0])
    others = torch.tensor(
        [
            [2.0, 2.0, 6.0, 6.0],  # 4 of 28 squares
            [1.0, 1.0, 3.0, 3.0],  # inside: 4 of 16
            [4.0, 0.0, 8.0, 4.0],  # an edge in common and nothing else
            [5.0, 5.0, 6.0, 6.0],  # apart in both directions: (-1) x (-1) isn't an overlap
            [2.0, 9.0, 3.0, 10.0],  # apart in y alone
        ]
    )
    near(box_ops.iou(square, others), [4 / 28, 4 / 16, 0.0, 0.0, 0.0], 1e-7)


def test_boxes_of_one_shape_are_paired_element_by_element():
    first = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 2.0]])
    second = torch.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.0]])
    near(box_ops.iou(first, second), [1.0, 0.5])


def test_a_batch_of_objects_meets_all_anchors_by_broadcasting():
    objects, anchors = torch.rand(3, 2, 4), torch.rand(5, 4)
    objects[..., 2:] += objects[..., :2]
    anchors[..., 2:] += anchors[..., :2]
    table = box_ops.iou(objects[:, :, None], anchors)
    assert table.shape == (3, 2, 5)
    for b in range(3):
        near(table[b], torchvision.ops.box_iou(objects[b], anchors), 1e-6)


def test_no_objects_give_an_empty_table():
    anchors = torch.rand(5, 4)
    assert box_ops.iou(torch.zeros(0, 1, 4), anchors).shape == (0, 5)
    assert box_ops.iou(torch.zeros(2, 0, 1, 4), anchors).shape == (2, 0, 5)


def test_a_box_without_area_overlaps_nothing_and_gives_no_nan():
    point, line = [3.0, 3.0, 3.0, 3.0], [1.0, 3.0, 5.0, 3.0]
    hollow = torch.tensor([point, line])
    around = torch.tensor([[0.0, 0.0, 6.0, 6.0], point, line])
    assert box_ops.iou(hollow[:, None], around).tolist() == [[0.0] * 3] * 2


def test_inclusive_corners_follow_the_plus_one_of_the_devkit():
    # VOCevaldet.m: iw = min(x2) - max(x1) + 1, areas (x2 - x1 + 1)(y2 - y1 + 1)
    first = torch.tensor([10.0, 10.0, 19.0, 19.0])  # 10 x 10 pixels
    half = torch.tensor([15.0, 10.0, 24.0, 19.0])  # 5 columns in common: 50 of 150
    column = torch.tensor([19.0, 10.0, 28.0, 19.0])  # the column 19 in common: 10 of 190
    beside = torch.tensor([20.0, 10.0, 29.0, 19.0])  # the next pixel, none in common
    others = torch.stack([half, column, beside])
    near(box_ops.iou(first, others, extent=1), [50 / 150, 10 / 190, 0.0], 1e-7)
    near(box_ops.iou(first, others), [36 / 126, 0.0, 0.0], 1e-7)


def test_a_single_pixel_of_inclusive_corners_has_an_area():
    pixel = torch.tensor([7.0, 7.0, 7.0, 7.0])
    assert box_ops.iou(pixel, pixel, extent=1) == 1
    assert box_ops.iou(pixel, pixel) == 0


def test_iou_changes_neither_argument():
    first, second = torch.tensor([[0.0, 0.0, 2.0, 2.0]]), torch.tensor([[5.0, 5.0, 6.0, 6.0]])
    box_ops.iou(first, second)
    assert first.tolist() == [[0, 0, 2, 2]] and second.tolist() == [[5, 5, 6, 6]]


# --- Clip, scale, flip


def test_clip_cuts_at_each_of_the_four_borders():
    wide = torch.tensor([[-10.0, -20.0, 600.0, 500.0], [5.0, 6.0, 7.0, 8.0]])
    near(box_ops.clip(wide, 500, 375), [[0.0, 0.0, 500.0, 375.0], [5.0, 6.0, 7.0, 8.0]])


def test_clip_leaves_a_box_outside_without_area_on_the_border():
    outside = torch.tensor([[-30.0, 10.0, -20.0, 20.0], [600.0, 10.0, 700.0, 20.0]])
    near(box_ops.clip(outside, 500, 375), [[0.0, 10.0, 0.0, 20.0], [500.0, 10.0, 500.0, 20.0]])


def test_clip_takes_a_size_for_each_image():
    box = torch.tensor([[0.0, 0.0, 99.0, 99.0]]).expand(2, 1, 4)
    width, height = torch.tensor([[50], [60]]), torch.tensor([[70], [80]])
    near(box_ops.clip(box, width, height), [[[0.0, 0.0, 50.0, 70.0]], [[0.0, 0.0, 60.0, 80.0]]])


@given(corner_boxes())
def test_what_clip_leaves_is_the_part_inside_the_image(some):
    part = box_ops.clip(some, 500, 375)
    assert part.shape == some.shape
    near(box_ops.clip(part, 500, 375), part, 0)  # a second time changes nothing
    for (x1, y1, x2, y2), left in zip(some.tolist(), box_ops.area(part).tolist(), strict=True):
        inside = max(0, min(x2, 500) - max(x1, 0)) * max(0, min(y2, 375) - max(y1, 0))
        assert left == pytest.approx(inside, abs=1e-6)


def test_scale_multiplies_x_and_y_apart():
    # a 500 x 375 photograph becomes the 300 x 300 canvas
    box = torch.tensor([48.0, 240.0, 195.0, 371.0], dtype=torch.float64)
    near(box_ops.scale(box, 300 / 500, 300 / 375), [28.8, 192.0, 117.0, 296.8])


def test_scale_takes_factors_for_each_image():
    box = torch.tensor([[1.0, 2.0, 3.0, 4.0]]).expand(2, 1, 4)
    scaled = box_ops.scale(box, torch.tensor([[2.0], [3.0]]), torch.tensor([[10.0], [1.0]]))
    near(scaled, [[[2.0, 20.0, 6.0, 40.0]], [[3.0, 2.0, 9.0, 4.0]]])


@given(corner_boxes(), lengths, lengths)
def test_scale_multiplies_the_area_by_both_factors(some, x, y):
    torch.testing.assert_close(box_ops.area(box_ops.scale(some, x, y)), box_ops.area(some) * x * y)


def test_flip_mirrors_x_and_leaves_y():
    near(box_ops.flip(torch.tensor([10.0, 20.0, 60.0, 90.0]), 500), [440.0, 20.0, 490.0, 90.0])


def test_flip_takes_a_width_for_each_image():
    box = torch.tensor([[0.0, 1.0, 10.0, 2.0]]).expand(2, 1, 4)
    near(box_ops.flip(box, torch.tensor([[50], [60]])), [[[40.0, 1.0, 50.0, 2.0]], [[50.0, 1.0, 60.0, 2.0]]])


@given(corner_boxes(), lengths)
def test_flipping_twice_changes_nothing_and_once_keeps_the_area(some, width):
    once = box_ops.flip(some, width)
    near(box_ops.flip(once, width), some)
    near(box_ops.area(once), box_ops.area(some), 1e-6)
    assert (once[:, 2] > once[:, 0]).all()  # left stays left of right


def test_clip_scale_and_flip_take_no_boxes_at_all():
    none = torch.zeros(0, 4)
    for result in (box_ops.clip(none, 500, 375), box_ops.scale(none, 0.5, 2), box_ops.flip(none, 500)):
        assert result.shape == (0, 4)


def test_geometry_keeps_the_number_type():
    box = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    for result in (
        box_ops.clip(box, 2, 2),
        box_ops.scale(box, 0.5, 2),
        box_ops.flip(box, 5),
        box_ops.iou(box, box),
    ):
        assert result.dtype == torch.float64
