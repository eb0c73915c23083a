"""Boxes to offsets and back: against hand numbers, the known vectors and torchvision's coder."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BoxCoder

from ssdlib.coding import decode, encode

positions = st.floats(-100, 400)
sizes = st.floats(1, 400)


@st.composite
def pairs(draw):
    """(R, 4) boxes and (R, 4) anchors in px, float64; R may be 0."""
    rows = draw(st.lists(st.tuples(*[positions, positions, sizes, sizes] * 2), max_size=5))
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 2, 4)
    table[..., 2:] += table[..., :2]
    return table[:, 0], table[:, 1]


def unit(*corners: float) -> torch.Tensor:
    """One box of the unit frame in px of the canvas."""
    return torch.tensor([corners], dtype=torch.float64) * 300


ANCHOR = unit(0.4, 0.3, 0.6, 0.7)  # centre (.5, .5), size (.2, .4)


def test_the_known_vector_is_encoded():
    code = encode(unit(0.42, 0.35, 0.66, 0.71), ANCHOR)
    assert code[0].tolist() == pytest.approx([2, 0.75, 0.91160778, -0.52680258], abs=1e-8)


def test_the_known_vector_is_decoded():
    x1, y1, x2, y2 = (decode(torch.tensor([[0.5, -0.25, 1, -0.5]]).double(), ANCHOR) / 300)[0].tolist()
    assert ((x1 + x2) / 2, (y1 + y2) / 2) == pytest.approx((0.51, 0.49), abs=1e-8)
    assert (x2 - x1, y2 - y1) == pytest.approx((0.24428055, 0.36193497), abs=1e-8)


def test_every_offset_answers_for_one_coordinate():
    # a tenth of the width to the right; a tenth of the height down; e^.2 as wide; e^.2 as high
    anchor = torch.tensor([100.0, 100.0, 140.0, 120.0], dtype=torch.float64)
    grown = math.exp(0.2)
    expected = [
        (104, 100, 144, 120),
        (100, 102, 140, 122),
        (120 - 20 * grown, 100, 120 + 20 * grown, 120),
        (100, 110 - 10 * grown, 140, 110 + 10 * grown),
    ]
    for offsets, box in zip(torch.eye(4, dtype=torch.float64), expected, strict=True):
        assert decode(offsets, anchor).tolist() == pytest.approx(box)


def test_an_anchor_on_its_object_needs_no_offset():
    assert encode(ANCHOR, ANCHOR).tolist() == [[0, 0, 0, 0]]
    assert torch.allclose(decode(torch.zeros(1, 4, dtype=torch.float64), ANCHOR), ANCHOR)


@given(pairs())
def test_encoding_is_undone_by_decoding(pair):
    boxes, anchors = pair
    torch.testing.assert_close(decode(encode(boxes, anchors), anchors), boxes, rtol=1e-9, atol=1e-9)


@given(pairs(), st.integers(0, 99))
def test_decoding_is_undone_by_encoding(pair, seed):
    anchors = pair[1]
    offsets = torch.randn(anchors.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    torch.testing.assert_close(encode(decode(offsets, anchors), anchors), offsets, rtol=1e-8, atol=1e-7)


@given(pairs())
def test_offsets_are_those_of_torchvision(pair):
    boxes, anchors = pair
    code = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)).encode([boxes], [anchors])[0]
    torch.testing.assert_close(encode(boxes, anchors), code, rtol=1e-9, atol=1e-9)


@given(pairs(), st.integers(0, 99))
def test_boxes_are_those_of_torchvision(pair, seed):
    anchors = pair[1]
    offsets = torch.randn(anchors.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    theirs = BoxCoder(weights=(10.0, 10.0, 5.0, 5.0)).decode(offsets, [anchors]).reshape(-1, 4)
    torch.testing.assert_close(decode(offsets, anchors), theirs, rtol=1e-9, atol=1e-9)


def test_growth_and_border_are_not_clamped():
    # torchvision stops at 62.5 times the size; we go on to e^5 = 148.4
    box = decode(torch.tensor([[0.0, 0.0, 25.0, 0.0]]), torch.tensor([[0.0, 0.0, 10.0, 10.0]]))[0]
    assert float(box[2] - box[0]) == pytest.approx(10 * math.exp(5), rel=1e-5)
    assert float(box[0]) == pytest.approx(5 - 5 * math.exp(5), rel=1e-5)


def test_one_set_of_anchors_serves_a_batch():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [10.0, 10.0, 30.0, 20.0]])
    offsets = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    boxes = decode(offsets, anchors)
    assert boxes.shape == (3, 2, 4)
    for b in range(3):
        for k in range(2):
            assert torch.allclose(boxes[b, k], decode(offsets[b, k], anchors[k]), atol=1e-5)


def test_no_boxes_are_coded_into_no_offsets():
    none = torch.zeros(0, 4)
    assert encode(none, none).shape == (0, 4) and decode(none, none).shape == (0, 4)
    assert decode(torch.zeros(2, 0, 4), none).shape == (2, 0, 4)


def test_the_number_type_is_that_of_the_argument():
    for dtype in (torch.float32, torch.float64):
        assert encode(ANCHOR.to(dtype), ANCHOR.to(dtype)).dtype == dtype
        assert decode(ANCHOR.to(dtype), ANCHOR.to(dtype)).dtype == dtype
