"""Matching: against the rule of the Caffe code in plain loops, known counts, hand numbers, torchvision."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models.detection._utils import SSDMatcher
from torchvision.ops import box_iou

import oracles
from ssdlib.anchors import default_boxes
from ssdlib.matching import bipartite, make_targets, match, overlaps

ANCHORS = default_boxes()

# boxes of the unit frame; what the Caffe code makes of them: positives, positives on each map
A = (0.1, 0.2, 0.4, 0.6)
VOC_000001 = [(48 / 353, 240 / 500, 195 / 353, 371 / 500), (8 / 353, 12 / 500, 352 / 353, 498 / 500)]
TWINS = [(0.500, 0.500, 0.510, 0.510), (0.502, 0.500, 0.512, 0.510)]
CASES = {
    "A": ([A], 14, (0, 6, 8, 0, 0, 0)),
    "B": ([(0, 0, 1, 1)], 8, (0, 0, 0, 0, 4, 4)),
    "C": ([(0.50, 0.50, 0.54, 0.54)], 1, None),  # several anchors tie, on which maps is rounding noise
    "D": ([A, A], 14, (0, 6, 8, 0, 0, 0)),
    "E": (VOC_000001, 23, (0, 5, 10, 0, 4, 4)),
    "F": (TWINS, 2, None),
}


def canvas(unit_boxes) -> torch.Tensor:
    """(1, R, 4) px of the canvas."""
    return torch.tensor(unit_boxes, dtype=torch.float64).mul(300).float().reshape(1, -1, 4)


def matched_by(boxes: torch.Tensor, anchors: torch.Tensor = ANCHORS, threshold: float = 0.5) -> torch.Tensor:
    """(K,) for one image in which every slot holds an object."""
    return match(boxes, torch.ones(boxes.shape[:2], dtype=torch.int64), anchors, threshold)[0]


def own_anchor(boxes: torch.Tensor) -> list[int]:
    """Of each object in step one, alone."""
    return bipartite(overlaps(boxes[0], ANCHORS)).tolist()


# --- The known cases on the 8,732 anchors


@pytest.mark.parametrize("case", CASES)
def test_the_count_of_positives_is_that_of_the_caffe_code(case):
    objects, total, on_maps = CASES[case]
    matched = matched_by(canvas(objects))
    assert int((matched >= 0).sum()) == total
    if on_maps:
        assert oracles.per_map(matched >= 0) == on_maps


def test_the_best_anchors_are_those_of_the_caffe_code():
    assert own_anchor(canvas([A])) == [8134]
    assert own_anchor(canvas([(0, 0, 1, 1)])) == [8729]
    assert own_anchor(canvas([A, A])) == [8134, 8137]
    assert own_anchor(canvas(VOC_000001)) == [8262, 8729]


@pytest.mark.parametrize(
    ("box", "anchor", "expected"),
    [
        (A, 8134, 0.719545),
        (A, 8137, 0.687376),
        ((0, 0, 1, 1), 8729, 0.924),
        (VOC_000001[0], 8262, 0.672248),
        (VOC_000001[1], 8729, 0.959784),
    ],
)
def test_the_overlap_with_the_best_anchor_is_the_known_one(box, anchor, expected):
    table = overlaps(canvas([box])[0], ANCHORS)
    assert float(table[0, anchor]) == pytest.approx(expected, abs=2e-4 if expected == 0.924 else 1e-6)


def test_each_object_of_a_real_annotation_gets_its_share():
    matched = matched_by(canvas(VOC_000001))
    assert [int((matched == slot).sum()) for slot in (0, 1)] == [15, 8]
    assert oracles.per_map(matched == 0) == (0, 5, 10, 0, 0, 0)


def test_an_object_that_stands_there_twice_gets_one_anchor_the_second_time():
    matched = matched_by(canvas([A, A]))
    assert [int((matched == slot).sum()) for slot in (0, 1)] == [13, 1]
    assert int(matched[8134]) == 0 and int(matched[8137]) == 1


@pytest.mark.parametrize(
    ("box", "anchor", "expected"),
    [(A, 8134, (-0.45045, 0.720721, -1.048603, 0.389808)), ((0, 0, 1, 1), 8729, (0, 0, 0.197608, 0.197608))],
)
def test_the_offsets_of_the_best_anchor_are_the_known_ones(box, anchor, expected):
    targets = make_targets(canvas([box]), torch.tensor([[9]]), ANCHORS)
    assert int(targets.labels[0, anchor]) == 9
    assert targets.offsets[0, anchor].tolist() == pytest.approx(expected, abs=5e-6)


def test_two_objects_that_want_one_anchor_both_get_one():
    boxes = canvas(TWINS)
    # each by itself takes the same anchor; which of those that tie, all around it, is rounding noise
    (first,), (second,) = own_anchor(boxes[:, :1]), own_anchor(boxes[:, 1:])
    assert first == second
    matched = matched_by(boxes)
    assert sorted(matched[matched >= 0].tolist()) == [0, 1]
    for slot, tied in enumerate((36, 34)):
        best, equals = oracles.best_anchors(boxes[0, slot].tolist(), oracles.caffe_anchors())
        assert best == pytest.approx(0.01, abs=1e-6) and len(equals) == tied
        assert int((matched == slot).nonzero()) in equals
    # the usual shortcut, where each object takes its argmax, loses one
    shortcut = SSDMatcher(0.5)(box_iou(boxes[0], ANCHORS))
    assert len(shortcut[shortcut >= 0]) == 1


@pytest.mark.parametrize("case", ["A", "B", "D", "E"])
def test_where_nobody_competes_torchvision_finds_the_same_anchors(case):
    boxes = canvas(CASES[case][0])
    theirs = SSDMatcher(0.5)(box_iou(boxes[0], ANCHORS))
    assert torch.equal(theirs >= 0, matched_by(boxes) >= 0)


def test_a_crowd_on_all_anchors_is_matched_as_by_plain_loops():
    random = torch.Generator().manual_seed(7)
    low = torch.rand(3, 6, 2, generator=random) * 200
    size = 40 + torch.rand(3, 6, 2, generator=random) * 160
    boxes = torch.cat([low, low + size], dim=2)
    labels = torch.ones(3, 6, dtype=torch.int64)
    labels[1, 4:] = 0
    labels[2] = 0
    matched = match(boxes, labels, ANCHORS)
    anchors = ANCHORS.tolist()
    for b, objects in enumerate((6, 4, 0)):
        assert matched[b].tolist() == oracles.greedy_match(boxes[b, :objects].tolist(), anchors, 0.5)


# --- The rule, on squared paper: IoUs are fractions of small integers, equal ones equal to the last bit


def grid_boxes(most: int):
    side = st.tuples(st.integers(0, 5), st.integers(1, 3))
    box = st.tuples(side, side).map(lambda s: (s[0][0], s[1][0], s[0][0] + s[0][1], s[1][0] + s[1][1]))
    return st.lists(box, max_size=most)


@st.composite
def batches(draw):
    """Some images with some objects each, scattered over slots, and some anchors."""
    anchors = draw(grid_boxes(7).filter(len))
    images = draw(st.lists(grid_boxes(4), min_size=1, max_size=3))
    slots = max(map(len, images)) + draw(st.integers(0, 2))
    places = [sorted(draw(st.permutations(range(slots)))[: len(objects)]) for objects in images]
    return anchors, images, slots, places


def as_slots(images, slots, places):
    """Empty slots carry a box all the same: the label alone says that they are empty."""
    boxes = torch.tensor([0.0, 0.0, 4.0, 4.0]).repeat(len(images), slots, 1)
    labels = torch.zeros(len(images), slots, dtype=torch.int64)
    for b, (objects, places_) in enumerate(zip(images, places, strict=True)):
        for slot, box in zip(places_, objects, strict=True):
            boxes[b, slot], labels[b, slot] = torch.tensor(box, dtype=torch.float32), 1 + slot
    return boxes, labels


@settings(max_examples=60)
@given(batches(), st.sampled_from([Fraction(1, 2), Fraction(1, 4), Fraction(1)]))
def test_a_batch_is_matched_as_plain_loops_match_every_image(batch, threshold):
    anchors, images, slots, places = batch
    boxes, labels = as_slots(images, slots, places)
    matched = match(boxes, labels, torch.tensor(anchors, dtype=torch.float32), float(threshold))
    exact = [tuple(map(Fraction, anchor)) for anchor in anchors]
    for b, objects in enumerate(images):
        expected = oracles.greedy_match(objects, exact, threshold)
        expected = [places[b][i] if i >= 0 else -1 for i in expected]
        assert matched[b].tolist() == expected


@given(batches())
def test_an_image_is_matched_the_same_whatever_stands_beside_it(batch):
    anchors, images, slots, places = batch
    boxes, labels = as_slots(images, slots, places)
    anchors = torch.tensor(anchors, dtype=torch.float32)
    together = match(boxes, labels, anchors)
    for b in range(len(images)):
        assert torch.equal(together[b], match(boxes[b : b + 1], labels[b : b + 1], anchors)[0])


@given(batches())
def test_no_two_objects_share_their_own_anchor(batch):
    anchors, images, slots, places = batch
    boxes, labels = as_slots(images, slots, places)
    image, slot = (labels > 0).nonzero(as_tuple=True)
    table = overlaps(boxes[image, slot], torch.tensor(anchors, dtype=torch.float32))
    everywhere = bipartite(table, image)
    for b in range(len(images)):
        own, mine = everywhere[image == b].tolist(), table[image == b]
        taken = [anchor for anchor in own if anchor >= 0]
        assert len(taken) == len(set(taken))
        for slot, anchor in enumerate(own):
            assert anchor == -1 or mine[slot, anchor] > 0
        # nobody goes without while an anchor it touches is free
        for slot, anchor in enumerate(own):
            free = [k for k in range(len(anchors)) if k not in taken and mine[slot, k] > 0]
            assert anchor >= 0 or not free


# --- The rule, case by case


def test_an_overlap_of_exactly_one_half_counts():
    anchors = torch.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 2.0, 4.0], [0.0, 0.0, 2.0, 3.9]])
    # the first is the object's own; the second covers half of it; the third a little less
    assert matched_by(torch.tensor([[[0.0, 0.0, 4.0, 4.0]]]), anchors).tolist() == [0, 0, -1]


def test_the_best_pair_is_assigned_first_whatever_the_order_of_the_objects():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 6.0, 10.0, 16.0]])
    good, better = [0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 9.0]  # 0.8 and 0.9 of the first anchor
    assert matched_by(torch.tensor([[good, better]]), anchors).tolist() == [1, 0]
    assert matched_by(torch.tensor([[better, good]]), anchors).tolist() == [0, 1]


def test_a_chain_in_which_each_object_waits_for_the_one_before_is_followed_to_its_end():
    """Object i wants anchor i - 1, which object i - 1 wants more: only one pair at a time is nobody else's."""
    length = 6
    table = torch.zeros(length, length)
    for i in range(length):
        table[i, i] = 0.95 - 0.1 * i
        if i:
            table[i, i - 1] = 1.0 - 0.1 * i
    free, wanted = table.clone(), [-1] * length
    while free.max() > 0:  # the rule as it is written: the best pair of all, again and again
        slot, anchor = divmod(int(free.argmax()), length)
        wanted[slot] = anchor
        free[slot] = free[:, anchor] = 0
    assert wanted == [0, 1, 2, 3, 4, 5]
    assert bipartite(table).tolist() == wanted


def test_an_object_of_its_own_overrules_a_better_overlap():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0]])
    large, small = [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 3.0, 3.0]
    # the second anchor has 0.9 with the large object and 0.1 with the small one, for which it is all there is
    assert matched_by(torch.tensor([[large, small]]), anchors).tolist() == [0, 1]


def test_a_free_anchor_takes_the_better_of_two_objects():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [2.0, 0.0, 12.0, 10.0], [0.0, 0.0, 10.0, 9.0]])
    objects = torch.tensor([[[2.0, 0.0, 12.0, 10.0], [0.0, 0.0, 10.0, 10.0]]])
    assert matched_by(objects, anchors).tolist() == [1, 0, 1]


def test_an_object_left_without_an_anchor_stays_without():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
    objects = torch.tensor([[[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 8.0]]])
    assert matched_by(objects, anchors).tolist() == [1]


def test_an_object_that_touches_no_anchor_stays_unmatched():
    assert int((matched_by(torch.tensor([[[1000.0, 1000.0, 1100.0, 1100.0]]])) >= 0).sum()) == 0


def test_an_object_that_touches_no_anchor_does_not_steal_the_first_one():
    inside, outside = ANCHORS[0].tolist(), [1000.0, 1000.0, 1100.0, 1100.0]
    for slot, objects in enumerate([[inside, outside], [outside, inside]]):
        matched = matched_by(torch.tensor([objects]))
        assert int(matched[0]) == slot
        assert not (matched == 1 - slot).any()


def test_an_overlap_of_a_millionth_is_none():
    anchor = torch.tensor([[0.0, 0.0, 300.0, 300.0]])
    speck, dot = [10.0, 10.0, 10.25, 10.25], [10.0, 10.0, 10.5, 10.5]  # 0.7 and 2.8 millionths of it
    assert matched_by(torch.tensor([[speck]]), anchor).tolist() == [-1]
    assert matched_by(torch.tensor([[dot]]), anchor).tolist() == [0]


def test_an_empty_slot_matches_nothing_even_if_a_box_stands_in_it():
    boxes = torch.tensor([[[0.0, 0.0, 300.0, 300.0], [30.0, 60.0, 120.0, 180.0]]])
    matched = match(boxes, torch.tensor([[0, 7]]), ANCHORS)
    assert set(matched.flatten().tolist()) == {-1, 1}
    assert int((matched == 1).sum()) == 14  # case A
    assert int((match(boxes, torch.tensor([[0, 0]]), ANCHORS) >= 0).sum()) == 0


def test_zeros_in_an_empty_slot_match_nothing():
    boxes = torch.zeros(2, 3, 4)
    boxes[0, 0] = torch.tensor([30.0, 60.0, 120.0, 180.0])
    matched = match(boxes, torch.tensor([[7, 0, 0], [0, 0, 0]]), ANCHORS)
    assert (matched >= 0).sum(dim=1).tolist() == [14, 0]


def test_no_objects_match_nothing():
    boxes, labels = torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64)
    assert overlaps(boxes[0], ANCHORS).shape == (0, 8732)
    assert bipartite(torch.zeros(0, 8732)).shape == (0,)
    matched = match(boxes, labels, ANCHORS)
    assert matched.dtype == torch.int64 and (matched == -1).all() and matched.shape == (2, 8732)


def test_step_one_leaves_its_table_as_it_was():
    table = torch.tensor([[0.5, 0.25], [0.75, 0.25]])
    bipartite(table)
    assert table.tolist() == [[0.5, 0.25], [0.75, 0.25]]


def test_of_equal_overlaps_the_lowest_anchor_counts_then_the_lowest_object():
    assert bipartite(torch.tensor([[0.2, 0.5, 0.5]])).tolist() == [1]
    assert bipartite(torch.tensor([[0.0, 0.5], [0.0, 0.5]])).tolist() == [1, -1]
    assert bipartite(torch.tensor([[0.0, 0.5], [0.5, 0.5]])).tolist() == [1, 0]


def test_objects_of_different_images_do_not_compete():
    table = torch.tensor([[0.9, 0.8], [0.7, 0.6], [0.5, 0.0]])
    assert bipartite(table).tolist() == [0, 1, -1]  # all in one image
    assert bipartite(table, torch.tensor([0, 1, 1])).tolist() == [0, 0, -1]
    assert bipartite(table, torch.tensor([0, 1, 2])).tolist() == [0, 0, 0]


# --- Targets


def test_targets_by_hand():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 40.0, 40.0], [100.0, 0.0, 200.0, 100.0]])
    boxes = torch.tensor([[[20.0, 20.0, 60.0, 40.0], [0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 12.0, 10.0]]])
    targets = make_targets(boxes, torch.tensor([[15, 0, 3]]), anchors)
    assert targets.matched.tolist() == [[2, 0, -1]]
    assert targets.labels.tolist() == [[3, 15, 0]]
    expected = [
        (2 / 10 / 0.1, 0, 0, 0),  # two of ten px to the right
        (10 / 20 / 0.1, 0, math.log(2) / 0.2, 0),  # half a width to the right, twice as wide
        (0, 0, 0, 0),
    ]
    for offsets, wanted in zip(targets.offsets[0].tolist(), expected, strict=True):
        assert offsets == pytest.approx(wanted, abs=1e-6)


def test_targets_of_an_image_without_objects_are_background_beside_one_with():
    boxes = torch.zeros(2, 1, 4)
    boxes[1, 0] = torch.tensor([30.0, 60.0, 120.0, 180.0])
    targets = make_targets(boxes, torch.tensor([[0], [7]]), ANCHORS)
    assert not targets.labels[0].any() and not targets.offsets[0].any() and (targets.matched[0] == -1).all()
    assert int((targets.labels[1] == 7).sum()) == 14


def test_targets_without_any_object_are_finite_background():
    targets = make_targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), ANCHORS)
    assert targets.offsets.shape == (2, 8732, 4) and not targets.offsets.any()
    assert targets.labels.shape == (2, 8732) and not targets.labels.any()
    assert (targets.matched == -1).all()


def test_padding_makes_no_nan_in_the_offsets():
    targets = make_targets(torch.zeros(1, 3, 4), torch.zeros(1, 3, dtype=torch.int64), ANCHORS)
    assert torch.isfinite(targets.offsets).all()


def test_every_positive_has_the_class_of_its_object_and_nobody_else_has_one():
    boxes = canvas(VOC_000001)
    targets = make_targets(boxes, torch.tensor([[12, 15]]), ANCHORS)
    classes = {-1: 0, 0: 12, 1: 15}
    assert targets.labels[0].tolist() == [classes[slot] for slot in targets.matched[0].tolist()]


def test_decoding_the_targets_gives_each_image_its_objects_back():
    boxes = torch.cat([canvas(VOC_000001), canvas([A, (0.5, 0.5, 0.9, 0.8)])])
    targets = make_targets(boxes, torch.tensor([[12, 15], [7, 9]]), ANCHORS)
    for b, k in (targets.matched >= 0).nonzero().tolist():
        slot = int(targets.matched[b, k])
        assert int(targets.labels[b, k]) == ((12, 15), (7, 9))[b][slot]
        x1, y1, x2, y2 = ANCHORS[k].tolist()
        t = targets.offsets[b, k].tolist()
        x, y = (x1 + x2) / 2 + t[0] * 0.1 * (x2 - x1), (y1 + y2) / 2 + t[1] * 0.1 * (y2 - y1)
        w, h = (x2 - x1) * math.exp(0.2 * t[2]), (y2 - y1) * math.exp(0.2 * t[3])
        found = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
        assert found == pytest.approx(boxes[b, slot].tolist(), abs=1e-3)
