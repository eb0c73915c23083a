"""`detect`: from logits and offsets to boxes on the photograph, against plain loops and torchvision."""

import math

import hypothesis.strategies as st
import pytest
import torch
import torchvision
from hypothesis import given, settings

import slow_oracles_data as slow
from ssdlib import detect as module
from ssdlib.anchors import default_boxes
from ssdlib.detect import best_kept, best_per_class, detect, nms
from ssdlib.records import Predictions


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_boxes(count: int, seed: int, whole: bool = False) -> torch.Tensor:
    """Boxes of all sizes that overlap a lot; `whole` px make equal overlaps and exact thresholds likely."""
    source = seeded(seed)
    corner = torch.rand(count, 2, generator=source) * 60
    boxes = torch.cat([corner, corner + 2 + torch.rand(count, 2, generator=source) * 60], dim=1)
    return boxes.round() if whole else boxes


def logits_of(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.double().log().float()


# --- Non-maximum suppression ----------------------------------------------------------------------------


@given(
    count=st.integers(0, 60),
    classes=st.integers(1, 4),
    levels=st.sampled_from([3, 20, 10**6]),
    whole=st.booleans(),
    max_iou=st.sampled_from([0.0, 0.3, 0.45, 0.5, 1.0]),
    seed=st.integers(0, 10**6),
)
@settings(max_examples=80)
def test_nms_is_greedy_suppression_class_by_class(count, classes, levels, whole, max_iou, seed):
    """Few `levels` of score make ties, which go to the earlier box."""
    boxes = random_boxes(count, seed, whole)
    scores = torch.randint(1, levels + 1, (count,), generator=seeded(seed + 1)) / levels
    labels = torch.randint(1, classes + 1, (count,), generator=seeded(seed + 2))
    kept = nms(boxes, scores, labels, max_iou).tolist()

    wanted = []
    for label in range(1, classes + 1):
        mine = [i for i in range(count) if labels[i] == label]
        within = slow.suppress([boxes[i].tolist() for i in mine], [float(scores[i]) for i in mine], max_iou)
        wanted += [mine[i] for i in within]
    wanted.sort(key=lambda i: (-float(scores[i]), i))
    assert kept == wanted


@pytest.mark.parametrize("seed", range(5))
def test_nms_keeps_what_torchvision_keeps(seed):
    boxes = random_boxes(1500, seed)
    labels = torch.randint(1, 21, (1500,), generator=seeded(seed + 100))
    scores = torch.rand(1500, generator=seeded(seed + 200))
    assert len(scores.unique()) == 1500  # torchvision promises nothing about equals
    wanted = torchvision.ops.batched_nms(boxes.double(), scores.double(), labels, 0.45)
    assert nms(boxes, scores, labels).tolist() == wanted.tolist()


@pytest.mark.parametrize("count, spread", [(0, 1), (1, 1), (300, 1), (1200, 1), (1200, 0)])
@pytest.mark.parametrize("keep", [0, 1, 20, 200, 5000])
def test_looking_at_the_best_first_keeps_the_same(count, spread, keep):
    """Without spread all boxes lie upon each other, so that one of each class stays and all have to be asked."""
    boxes = random_boxes(count, 3) * spread + torch.tensor([0.0, 0, 40, 40]) * (1 - spread)
    labels = torch.randint(1, 6, (count,), generator=seeded(4))
    scores = torch.rand(count, generator=seeded(5)).mul(50).round()  # many are equal
    wanted = nms(boxes, scores, labels, 0.3)[:keep]
    assert best_kept(boxes, scores, labels, 0.3, keep).tolist() == wanted.tolist()


def test_a_long_chain_is_decided_from_the_best_down():
    """Each box suppresses the next one only if it stays itself: every second one goes."""
    x = torch.arange(121.0) * 3
    boxes = torch.stack([x, torch.zeros(121), x + 10, torch.full((121,), 10.0)], dim=1)  # neighbours: 7/13
    kept = nms(boxes, torch.linspace(1, 0.1, 121), torch.ones(121))
    assert kept.tolist() == list(range(0, 121, 2))


def test_an_overlap_of_exactly_the_threshold_suppresses_nobody():
    boxes = torch.tensor([[0.0, 0, 20, 10], [0, 0, 10, 10], [0, 0, 20, 10]])  # IoU exactly .5 and 1
    scores, labels = torch.tensor([0.9, 0.8, 0.7]), torch.ones(3)
    assert nms(boxes, scores, labels, 0.5).tolist() == [0, 1]
    assert nms(boxes, scores, labels, 0.499).tolist() == [0]
    assert nms(boxes, scores, labels, 1.0).tolist() == [0, 1, 2]


def test_nothing_and_one_box_pass_through():
    assert nms(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64)).shape == (0,)
    assert nms(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.5]), torch.tensor([7])).tolist() == [0]


def test_boxes_without_area_suppress_nobody():
    point = torch.tensor([[5.0, 5, 5, 5]] * 3)
    assert nms(point, torch.tensor([0.5, 0.9, 0.5]), torch.ones(3)).tolist() == [1, 0, 2]


# --- Candidates -----------------------------------------------------------------------------------------


@given(
    anchors=st.integers(0, 80),
    levels=st.sampled_from([3, 50]),
    top_k=st.integers(1, 20),
    seed=st.integers(0, 10**6),
)
def test_candidates_are_the_best_of_each_class_above_the_score_and_never_background(
    anchors, levels, top_k, seed
):
    probabilities = torch.randint(0, levels + 1, (anchors, 5), generator=seeded(seed)) / levels
    rows = best_per_class(probabilities, 1 / 3, top_k)
    wanted = []
    for label in range(1, 5):
        mine = [a for a in range(anchors) if float(probabilities[a, label]) > float(torch.tensor(1 / 3))]
        wanted += [[label, a] for a in sorted(mine, key=lambda a: -float(probabilities[a, label]))[:top_k]]
    assert rows.shape == (len(wanted), 2)
    assert rows.tolist() == wanted


def test_four_hundred_candidates_a_class_and_scores_strictly_above_a_hundredth():
    probabilities = torch.zeros(1000, 21)
    probabilities[:, 3] = torch.linspace(0.011, 0.9, 1000)
    probabilities[:399, 20] = 0.5
    probabilities[:2, 7] = torch.tensor([0.01, 0.010001])
    probabilities[:, 0] = 0.99
    rows = best_per_class(probabilities)
    assert rows[rows[:, 0] == 3, 1].tolist() == list(range(999, 599, -1))
    assert rows[rows[:, 0] == 20, 1].tolist() == list(range(399))
    assert rows[rows[:, 0] == 7, 1].tolist() == [1]
    assert rows[:, 0].unique().tolist() == [3, 7, 20]


# --- The whole way --------------------------------------------------------------------------------------


def decoded(offsets: torch.Tensor) -> list:
    """Boxes of the 8,732 anchors by the formula of the paper, number by number."""
    boxes = []
    for (x1, y1, x2, y2), (tx, ty, tw, th) in zip(default_boxes().tolist(), offsets.tolist(), strict=True):
        width, height = x2 - x1, y2 - y1
        x, y = (x1 + x2) / 2 + 0.1 * tx * width, (y1 + y2) / 2 + 0.1 * ty * height
        width, height = width * math.exp(0.2 * tw), height * math.exp(0.2 * th)
        boxes.append((x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    return boxes


@pytest.mark.slow
@pytest.mark.parametrize("sharpness", [2.0, 3.5])
def test_detections_are_those_of_a_plain_program_that_follows_the_rules(sharpness):
    """8,732 anchors, some classes with more than 400 candidates, more than 200 survivors."""
    source = seeded(int(10 * sharpness))
    logits = torch.randn(2, 8732, 21, generator=source) * sharpness
    logits[:, :, 0] += 6.5
    logits[:, ::3, 5] += 4
    offsets = torch.randn(2, 8732, 4, generator=source)
    sizes = [(500, 375), (120, 333)]
    found = detect(Predictions(offsets, logits), default_boxes(), sizes)
    probabilities = logits.softmax(dim=-1)
    assert int((probabilities[0, :, 5] > 0.01).sum()) > 400
    for image in range(2):
        wanted = slow.find(probabilities[image].tolist(), decoded(offsets[image]), sizes[image])
        assert len(wanted) == len(found[image]) == 200
        assert found[image].labels.tolist() == [label for label, _, _ in wanted]
        scores = torch.tensor([score for _, score, _ in wanted])
        torch.testing.assert_close(found[image].scores, scores, atol=1e-7, rtol=1e-6)
        boxes = torch.tensor([box for _, _, box in wanted])
        torch.testing.assert_close(found[image].boxes, boxes, atol=2e-3, rtol=0)


@pytest.fixture
def two_anchors() -> torch.Tensor:
    return torch.tensor([[30.0, 60, 90, 180], [200, 200, 320, 340]])


def one_image(anchors: torch.Tensor, probabilities: list) -> Predictions:
    """Offsets of zero, so that every anchor is where its box is."""
    return Predictions(torch.zeros(1, len(anchors), 4), logits_of(torch.tensor([probabilities])))


def test_boxes_are_scaled_to_the_photograph_and_cut_off_at_its_border(two_anchors):
    predictions = one_image(two_anchors, [[0.1, 0.9, 0], [0.2, 0, 0.8]])
    [found] = detect(predictions, two_anchors, [(600, 150)])
    assert found.labels.tolist() == [1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.9, 0.8]))
    wanted = torch.tensor([[60.0, 30, 180, 90], [400, 100, 600, 150]])
    torch.testing.assert_close(found.boxes, wanted, atol=1e-3, rtol=0)


def test_boxes_are_cut_off_only_after_suppression():
    """Both reach far beyond the border; inside they are alike, as a whole they are not."""
    anchors = torch.tensor([[-200.0, 0, 100, 100], [0, 0, 100, 100]])
    [found] = detect(one_image(anchors, [[0.1, 0.9], [0.2, 0.8]]), anchors, [(300, 300)])
    assert len(found) == 2
    torch.testing.assert_close(found.boxes, torch.tensor([[0.0, 0, 100, 100]] * 2), atol=1e-3, rtol=0)


def test_one_anchor_may_be_found_as_two_classes_but_once_of_each():
    anchors = torch.tensor([[10.0, 10, 60, 60], [11, 10, 61, 60]])
    [found] = detect(one_image(anchors, [[0.1, 0.5, 0.4], [0.2, 0.45, 0.35]]), anchors, [(300, 300)])
    assert found.labels.tolist() == [1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.5, 0.4]))


def test_nothing_found_is_an_empty_record_of_the_right_shapes(two_anchors):
    predictions = Predictions(
        torch.zeros(2, 2, 4), torch.tensor([[[20.0, 0, 0]] * 2, [[20.0, 0, 0], [0, 20, 0]]])
    )
    nothing, something = detect(predictions, two_anchors, [(500, 375), (500, 375)])
    assert len(nothing) == 0 and len(something) == 1
    assert nothing.boxes.shape == (0, 4) and nothing.boxes.dtype == torch.float32
    assert nothing.scores.shape == (0,) and nothing.scores.dtype == torch.float32
    assert nothing.labels.shape == (0,) and nothing.labels.dtype == torch.int64
    assert detect(Predictions(torch.zeros(0, 2, 4), torch.zeros(0, 2, 3)), two_anchors, []) == []


def test_the_numbers_of_the_paper_stand_in_the_signature():
    assert (module.SCORE, module.TOP_K, module.NMS_IOU, module.KEEP) == (0.01, 400, 0.45, 200)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, 3),
        ({"score": 0.15}, 2),
        ({"keep": 1}, 1),
        ({"top_k": 1}, 2),
        ({"nms_iou": 0.2}, 2),
        ({"nms_iou": 1.0}, 3),
    ],
)
def test_each_number_can_be_changed(change, found):
    anchors = torch.tensor([[0.0, 0, 100, 100], [0, 60, 100, 160]])  # IoU .25
    predictions = one_image(anchors, [[0.2, 0.7, 0.1], [0.3, 0.695, 0.005]])
    assert len(detect(predictions, anchors, [(300, 300)], **change)[0]) == found


def test_only_the_two_hundred_best_of_all_classes_stay():
    x = torch.arange(240.0)
    anchors = torch.stack([x, 10 * (x % 10), x + 0.5, 10 * (x % 10) + 0.5], dim=1)  # no two overlap
    probabilities = torch.zeros(240, 21)
    scores = 0.1 + 0.003 * torch.randperm(240, generator=seeded(1))
    probabilities[torch.arange(240), 1 + torch.arange(240) % 20] = scores
    probabilities[:, 0] = 1 - scores
    [found] = detect(one_image(anchors, probabilities.tolist()), anchors, [(300, 300)])
    torch.testing.assert_close(found.scores, scores.sort(descending=True).values[:200])
    assert len(found.above(0.5)) == int((found.scores >= 0.5).sum())


def test_predictions_in_half_precision_are_judged_in_single_precision(two_anchors):
    predictions = one_image(two_anchors, [[0.1, 0.9, 0.001], [0.2, 0.001, 0.8]])
    half = Predictions(predictions.offsets.bfloat16(), predictions.logits.bfloat16())
    [found] = detect(half, two_anchors, [(300, 300)])
    assert found.scores.dtype == found.boxes.dtype == torch.float32
    wanted = torch.tensor([[30.0, 60, 90, 180], [200, 200, 300, 300]])
    torch.testing.assert_close(found.boxes, wanted, atol=1e-3, rtol=0)
    assert not found.scores.requires_grad
