"""The default boxes: against the array of the released Caffe code, a loop, and torchvision's generator."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.image_list import ImageList

import oracles
from oracles import CELL, FIRST, PER_MAP, SIDES, STRIDES
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes

# corners in px, float64 arithmetic
SAMPLES = {
    0: (-11, -11, 19, 19),
    1: (-17.2132, -17.2132, 25.2132, 25.2132),
    2: (-17.2132, -6.6066, 25.2132, 14.6066),
    3: (-6.6066, -17.2132, 14.6066, 25.2132),
    5775: (289.3934, 278.7868, 310.6066, 321.2132),
    5776: (-22, -22, 38, 38),
    5780: (-43.9615, -9.3205, 59.9615, 25.3205),
    7941: (278.6795, 244.0385, 313.3205, 347.9615),
    7942: (-39.5, -39.5, 71.5, 71.5),
    8541: (271.9571, 207.8712, 336.0430, 400.1288),
    8542: (-49, -49, 113, 113),
    8691: (241.2346, 147.7039, 334.7654, 428.2961),
    8692: (-56.5, -56.5, 156.5, 156.5),
    8727: (174.6931, 99.3862, 325.3069, 400.6137),
    8728: (18, 18, 282, 282),
    8729: (5.8126, 5.8126, 294.1874, 294.1874),
    8730: (-36.6762, 56.6619, 336.6762, 243.3381),
    8731: (56.6619, -36.6762, 243.3381, 336.6762),
}
# centre of the first cell, then width x height of its boxes in order, px
FIRST_CELLS = (
    (4, [(30, 30), (42.4264, 42.4264), (42.4264, 21.2132), (21.2132, 42.4264)]),
    (
        8,
        [(60, 60), (81.6088, 81.6088), (84.8528, 42.4264), (42.4264, 84.8528)]
        + [(103.9230, 34.6410), (34.6410, 103.9230)],
    ),
    (
        16,
        [(111, 111), (134.0970, 134.0970), (156.9777, 78.4889), (78.4889, 156.9777)]
        + [(192.2576, 64.0859), (64.0859, 192.2576)],
    ),
    (
        32,
        [(162, 162), (185.7579, 185.7579), (229.1026, 114.5513), (114.5513, 229.1026)]
        + [(280.5922, 93.5307), (93.5307, 280.5922)],
    ),
    (50, [(213, 213), (237.1329, 237.1329), (301.2275, 150.6138), (150.6138, 301.2275)]),
    (150, [(264, 264), (288.3748, 288.3748), (373.3524, 186.6762), (186.6762, 373.3524)]),
)


@pytest.fixture(scope="module")
def anchors() -> torch.Tensor:
    return default_boxes()


@pytest.fixture(scope="module")
def by_loop() -> torch.Tensor:
    return torch.tensor(oracles.caffe_anchors(), dtype=torch.float64)


def torchvision_boxes(clip: bool) -> torch.Tensor:
    generator = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.1, 0.2, 0.37, 0.54, 0.71, 0.88, 1.05],  # its default is COCO's
        steps=[8, 16, 32, 64, 100, 300],
        clip=clip,
    )
    images = ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)])
    return generator(images, [torch.zeros(1, 1, side, side) for side in SIDES])[0]


def changed(boxes: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    return (boxes - anchors).abs().amax(dim=1) > 1e-3


# --- The boxes


def test_there_are_8732_of_them_in_float32(anchors):
    assert anchors.shape == (8732, 4) and anchors.dtype == torch.float32


def test_every_box_is_that_of_the_released_caffe_code(anchors, shared):
    caffe = np.load(shared / "reference" / "caffe_priors.npy").astype(np.float64) * 300
    assert np.abs(anchors.double().numpy() - caffe).max() < 5e-5


def test_forty_boxes_of_the_released_caffe_code_that_travel_with_the_project(anchors):
    rows = np.loadtxt(oracles.VECTORS / "caffe_priors.csv", delimiter=",")
    assert len(rows) == 40
    assert np.abs(anchors[rows[:, 0].astype(int)].double().numpy() - rows[:, 1:] * 300).max() < 5e-5


def test_every_box_is_that_of_a_loop_over_maps_rows_columns_and_shapes(anchors, by_loop):
    assert (anchors.double() - by_loop).abs().max() < 2e-5


@pytest.mark.parametrize("index", SAMPLES)
def test_a_sample_of_boxes_lies_where_it_has_to(anchors, index):
    assert anchors[index].tolist() == pytest.approx(SAMPLES[index], abs=1e-4)


@pytest.mark.parametrize("level", range(6), ids=oracles.LAYERS)
def test_the_first_cell_holds_its_boxes_in_the_order_1_1_2_half_3_third(anchors, level):
    centre, shapes = FIRST_CELLS[level]
    cell = anchors[FIRST[level] : FIRST[level] + CELL[level]].double()
    assert len(cell) == len(shapes)
    for box, (width, height) in zip(cell.tolist(), shapes, strict=True):
        x1, y1, x2, y2 = box
        assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((centre, centre), abs=1e-4)
        assert (x2 - x1, y2 - y1) == pytest.approx((width, height), abs=1e-4)


@pytest.mark.parametrize("level", range(6), ids=oracles.LAYERS)
def test_cells_run_along_the_row_first_and_a_stride_apart(anchors, level):
    side, stride, per_cell = SIDES[level], STRIDES[level], CELL[level]
    level_boxes = anchors[FIRST[level] : FIRST[level] + PER_MAP[level]].double()
    centres = ((level_boxes[:, :2] + level_boxes[:, 2:]) / 2).reshape(side, side, per_cell, 2)
    for row, column in {(0, 0), (0, side - 1), (side - 1, 0), (side // 2, side - 1)}:
        for x, y in centres[row, column].tolist():
            assert (x, y) == pytest.approx(((column + 0.5) * stride, (row + 0.5) * stride), abs=1e-4)


def test_sums_over_all_boxes_are_the_known_ones(anchors):
    sums = anchors.double().sum(dim=0).tolist()
    assert sums == pytest.approx([1106619.607, 1106619.607, 1559748.393, 1559748.393], abs=0.05)
    width, height = (anchors[:, 2:] - anchors[:, :2]).double().unbind(dim=1)
    assert float((width * height).sum()) / 300**2 == pytest.approx(328.0601, abs=1e-4)


def test_2869_boxes_cross_the_border_and_stay_as_they_are(anchors):
    crossing = ((anchors < 0) | (anchors > 300)).any(dim=1)
    assert int(crossing.sum()) == 2869
    assert oracles.per_map(crossing) == (1356, 914, 427, 136, 34, 2)


# --- Clipping


def test_clipping_sizes_changes_the_20_boxes_that_torchvision_changes(anchors):
    ours = default_boxes(clip="size")
    assert (ours - torchvision_boxes(clip=True)).abs().max() < 1e-3
    assert oracles.per_map(changed(ours, anchors)) == (0, 0, 0, 0, 18, 2)


def test_without_clipping_torchvision_gives_our_boxes(anchors):
    assert (anchors - torchvision_boxes(clip=False)).abs().max() < 1e-3
    assert torch.equal(anchors, default_boxes(clip="none"))


def test_clipping_centres_changes_134_boxes(anchors, by_loop):
    ours = default_boxes(clip="center")
    assert oracles.per_map(changed(ours, anchors)) == (0, 0, 114, 0, 18, 2)
    for box, (x1, y1, x2, y2) in zip(ours.tolist(), by_loop.tolist(), strict=True):
        # ssd.pytorch clamps centre and size, each in the unit frame
        x, y, w, h = (min(max(v / 300, 0), 1) for v in ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1))
        expected = [300 * v for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
        assert box == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("clip", ["", "centre", "corner", "NONE", None, True])
def test_an_unknown_clip_is_refused_with_the_known_ones_named(clip):
    with pytest.raises(ValueError, match="none, center, size"):
        default_boxes(clip=clip)


# --- The specification


def test_sizes_are_derived_from_the_floored_ratio_step():
    assert SSD300_ANCHORS.percents == (10, 20, 37, 54, 71, 88, 105)
    assert SSD300_ANCHORS.min_sizes == pytest.approx((30, 60, 111, 162, 213, 264))
    assert SSD300_ANCHORS.max_sizes == pytest.approx((60, 111, 162, 213, 264, 315))


def test_boxes_per_cell_and_per_map_are_derived():
    assert SSD300_ANCHORS.boxes_per_cell == (4, 6, 6, 6, 4, 4)
    assert SSD300_ANCHORS.per_map == (5776, 2166, 600, 150, 36, 4)


def test_another_specification_gives_other_boxes():
    small = AnchorSpec(
        canvas=100,
        sources=("a", "b", "c"),
        feature_maps=(2, 1, 1),
        strides=(50, 100, 100),
        aspect_ratios=((), (4,), ()),
        percent_range=(20, 90),
    )
    # the step is floor(70 / 1): sizes 10, 20, 90 and, for the last large square, 160
    boxes = default_boxes(small)
    assert small.per_map == (8, 4, 2) and len(boxes) == 14
    half = math.sqrt(10 * 20) / 2
    expected = {
        0: (20, 20, 30, 30),
        1: (25 - half, 25 - half, 25 + half, 25 + half),
        2: (70, 20, 80, 30),  # to the right of it
        8: (40, 40, 60, 60),
        10: (30, 45, 70, 55),  # lying, four times as wide as high
        11: (45, 30, 55, 70),
        12: (5, 5, 95, 95),
        13: (-10, -10, 110, 110),
    }
    for index, box in expected.items():
        assert boxes[index].tolist() == pytest.approx(box, abs=1e-4)


def test_the_specification_cannot_be_changed_by_accident():
    with pytest.raises(dataclasses.FrozenInstanceError):
        SSD300_ANCHORS.canvas = 512


def test_a_caller_who_writes_into_the_boxes_spoils_nobody_elses(anchors):
    mine = default_boxes()
    mine.zero_()
    assert torch.equal(default_boxes(), anchors)
