"""Multibox loss: against plain float64 loops, hand numbers and the figures of two other programs."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import oracles
from ssdlib.anchors import default_boxes
from ssdlib.loss import hard_negatives, l2_penalty, multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import SSD300
from ssdlib.records import Predictions, Targets


def problem(seed: int, images: int, anchors: int, positives: list[int], classes: int = 5, spread: float = 2):
    """Random predictions, and targets with so many positives in each image."""
    random = torch.Generator().manual_seed(seed)
    offsets = torch.randn(images, anchors, 4, generator=random) * spread
    logits = torch.randn(images, anchors, classes, generator=random) * spread
    labels = torch.zeros(images, anchors, dtype=torch.int64)
    for b, count in enumerate(positives):
        where = torch.randperm(anchors, generator=random)[:count]
        labels[b, where] = torch.randint(1, classes, (count,), generator=random)
    wanted = torch.randn(images, anchors, 4, generator=random)
    return Predictions(offsets, logits), targets_of(wanted, labels)


def targets_of(offsets: torch.Tensor, labels: torch.Tensor) -> Targets:
    return Targets(offsets, labels, torch.where(labels > 0, 0, -1))


def by_loops(predictions: Predictions, targets: Targets, mining: str = "image", ratio: float = 3):
    return oracles.multibox_loss(
        predictions.offsets, predictions.logits, targets.offsets, targets.labels, mining, ratio
    )


def leaves(predictions: Predictions) -> Predictions:
    """The same numbers, to ask for gradients."""
    return Predictions(
        predictions.offsets.detach().clone().requires_grad_(),
        predictions.logits.detach().clone().requires_grad_(),
    )


def gradients(loss: torch.Tensor, predictions: Predictions) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss, (predictions.offsets, predictions.logits))


# --- The whole loss against loops


@given(
    st.integers(0, 10**6),
    st.lists(st.integers(0, 12), min_size=1, max_size=3),
    st.integers(2, 6),
    st.sampled_from(["image", "batch"]),
    st.sampled_from([3, 1, 2.5]),
)
def test_both_parts_and_both_counts_are_those_of_plain_loops(seed, positives, classes, mining, ratio):
    predictions, targets = problem(seed, len(positives), 12, positives, classes)
    losses = multibox_loss(predictions, targets, mining, ratio)
    localisation, confidence, count, negatives = by_loops(predictions, targets, mining, ratio)
    assert losses.localisation.item() == pytest.approx(float(localisation), rel=1e-5)
    assert losses.confidence.item() == pytest.approx(float(confidence), rel=1e-5)
    assert (int(losses.positives), int(losses.negatives)) == (count, negatives)
    assert losses.multibox.item() == pytest.approx(float(localisation + confidence), rel=1e-5)


@pytest.mark.parametrize("mining", ["image", "batch"])
def test_gradients_are_those_of_plain_loops(mining):
    predictions, targets = problem(3, 3, 40, [5, 0, 2])
    ours, slow = leaves(predictions), leaves(predictions)
    localisation, confidence, *_ = by_loops(slow, targets, mining)
    expected = gradients(localisation + confidence, slow)
    for got, wanted in zip(
        gradients(multibox_loss(ours, targets, mining).multibox, ours), expected, strict=True
    ):
        assert wanted.any()
        torch.testing.assert_close(got, wanted.float(), rtol=1e-4, atol=1e-6)


def test_a_loss_by_hand():
    # anchor 0 is of class 2, three negatives are wanted but only two are there
    offsets = torch.tensor([[[0.5, -0.5, 3.0, 0.0], [9.0, 9.0, 9.0, 9.0], [9.0, 9.0, 9.0, 9.0]]])
    logits = torch.tensor([[[0.0, 0.0, math.log(2)], [math.log(8), 0.0, 0.0], [0.0, 0.0, 0.0]]])
    targets = targets_of(torch.zeros(1, 3, 4), torch.tensor([[2, 0, 0]]))
    losses = multibox_loss(Predictions(offsets, logits), targets)
    assert losses.localisation.item() == pytest.approx(0.125 + 0.125 + 2.5)
    assert losses.confidence.item() == pytest.approx(-math.log(2 / 4) - math.log(8 / 10) - math.log(1 / 3))
    assert (int(losses.positives), int(losses.negatives)) == (1, 2)


def test_an_unknown_mining_is_refused_with_the_known_ones_named():
    predictions, targets = problem(0, 1, 5, [1])
    with pytest.raises(ValueError, match="image, batch"):
        multibox_loss(predictions, targets, mining="anchor")


# --- Hard negatives


def test_each_image_brings_three_negatives_for_each_positive():
    predictions, targets = problem(1, 3, 40, [4, 1, 0])
    chosen = hard_negatives(predictions.logits, targets.labels > 0, "image", 3)
    assert chosen.sum(dim=1).tolist() == [12, 3, 0]


def test_a_batch_mined_as_a_whole_takes_negatives_from_an_image_without_objects():
    predictions, targets = problem(1, 2, 40, [4, 0])
    predictions.logits[1, :, 0] -= 20  # the second image is the hard one
    chosen = hard_negatives(predictions.logits, targets.labels > 0, "batch", 3)
    assert chosen.sum(dim=1).tolist() == [0, 12]
    chosen = hard_negatives(predictions.logits, targets.labels > 0, "image", 3)
    assert chosen.sum(dim=1).tolist() == [12, 0]


@pytest.mark.parametrize(("mining", "expected"), [("image", [4, 3]), ("batch", [4, 9])])
def test_there_are_fewer_negatives_where_there_are_not_enough_anchors(mining, expected):
    predictions, targets = problem(2, 2, 10, [6, 1])
    chosen = hard_negatives(predictions.logits, targets.labels > 0, mining, 3)
    assert chosen.sum(dim=1).tolist() == expected
    assert not (chosen & (targets.labels > 0)).any()


def test_half_a_negative_is_rounded_down_once_for_the_images_or_once_for_the_batch():
    predictions, targets = problem(3, 2, 20, [1, 1])
    positive = targets.labels > 0
    assert hard_negatives(predictions.logits, positive, "image", 2.5).sum() == 2 + 2
    assert hard_negatives(predictions.logits, positive, "batch", 2.5).sum() == 5


def test_an_image_full_of_positives_has_no_negatives():
    predictions, targets = problem(2, 1, 10, [10])
    assert not hard_negatives(predictions.logits, targets.labels > 0, "image", 3).any()
    assert torch.isfinite(multibox_loss(predictions, targets).multibox)


@pytest.mark.parametrize(
    ("rival", "hard", "easy"),
    [
        # p(background) is .4 or .5, but the one object class of the second is likelier than any of the first
        (
            "largest p(object)",
            [math.log(0.4), math.log(0.3), math.log(0.3)],
            [math.log(0.5), math.log(0.5), -30],
        ),
        ("lowest background logit", [0.0, 5.0, 0.0], [-10.0, -30.0, -30.0]),
        ("largest object logit", [0.0, 5.0, 0.0], [120.0, 110.0, 0.0]),
        ("largest distance between logits", [0.0, 1.0, 0.0], [60.0, 0.0, 0.0]),
    ],
)
def test_the_hardest_is_the_one_least_seen_as_background(rival, hard, easy):
    rank = {
        "largest p(object)": lambda z: z.softmax(dim=0)[1:].max(),
        "lowest background logit": lambda z: -z[0],
        "largest object logit": lambda z: z[1:].max(),
        "largest distance between logits": lambda z: z.max() - z.min(),
    }[rival]
    logits = torch.tensor([[[0.0, 9.0, 0.0], easy, hard]])
    assert rank(logits[0, 1]) > rank(logits[0, 2])  # it would choose the other
    chosen = hard_negatives(logits, torch.tensor([[True, False, False]]), "image", 1)
    assert chosen.tolist() == [[False, False, True]]


def test_which_negatives_are_mined_has_no_gradient_of_its_own():
    predictions, targets = problem(5, 1, 30, [2])
    ours = leaves(predictions)
    gradient = gradients(multibox_loss(ours, targets).multibox, ours)[1]
    touched = gradient.abs().sum(dim=2)[0] > 0
    chosen = hard_negatives(predictions.logits, targets.labels > 0, "image", 3)[0]
    assert torch.equal(touched, chosen | (targets.labels[0] > 0))


# --- Images without objects


@pytest.mark.parametrize("mining", ["image", "batch"])
@pytest.mark.parametrize("images", [1, 3])
def test_a_batch_without_objects_costs_nothing_and_moves_nothing(mining, images):
    predictions, targets = problem(4, images, 20, [0] * images)
    ours = leaves(predictions)
    losses = multibox_loss(ours, targets, mining)
    assert losses.localisation.item() == losses.confidence.item() == 0
    assert (int(losses.positives), int(losses.negatives)) == (0, 0)
    for gradient in gradients(losses.multibox, ours):
        assert torch.equal(gradient, torch.zeros_like(gradient))  # NaN is not equal to 0


def test_targets_made_of_no_objects_cost_nothing():
    anchors = default_boxes()
    targets = make_targets(torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.int64), anchors)
    predictions, _ = problem(4, 2, 8732, [0, 0])
    assert float(multibox_loss(predictions, targets).multibox) == 0


def test_an_image_without_objects_changes_nothing_for_the_one_beside_it():
    predictions, targets = problem(6, 2, 20, [3, 0])
    ours = leaves(predictions)
    both = multibox_loss(ours, targets)
    first = Predictions(predictions.offsets[:1], predictions.logits[:1])
    alone = multibox_loss(first, targets_of(targets.offsets[:1], targets.labels[:1]))
    assert both.multibox.item() == pytest.approx(alone.multibox.item(), rel=1e-6)
    for gradient in gradients(both.multibox, ours):
        assert gradient[0].any() and torch.equal(gradient[1], torch.zeros_like(gradient[1]))


def test_what_stands_in_the_targets_of_background_does_not_matter():
    predictions, targets = problem(6, 2, 20, [3, 1])
    spoilt = targets.offsets.masked_fill((targets.labels == 0)[..., None], torch.nan)
    ours = leaves(predictions)
    losses = multibox_loss(ours, targets_of(spoilt, targets.labels))
    assert losses.multibox.item() == pytest.approx(float(multibox_loss(predictions, targets).multibox))
    assert all(torch.isfinite(gradient).all() for gradient in gradients(losses.multibox, ours))


# --- N, precision, extremes


def test_two_halves_divided_by_the_matches_of_the_whole_sum_to_the_whole():
    predictions, targets = problem(8, 4, 30, [5, 0, 2, 1])
    whole = multibox_loss(predictions, targets)
    parts = []
    for half in (slice(0, 2), slice(2, 4)):
        share = Predictions(predictions.offsets[half], predictions.logits[half])
        wanted = targets_of(targets.offsets[half], targets.labels[half])
        parts.append(multibox_loss(share, wanted, num_matched=torch.tensor(8)))
    for name in ("localisation", "confidence", "multibox"):
        together = sum(float(getattr(part, name)) for part in parts)
        assert together == pytest.approx(float(getattr(whole, name)), rel=1e-6)
    assert [int(part.positives) for part in parts] == [5, 3]  # the counts stay those of the share


def test_a_share_without_matches_in_a_batch_without_matches_is_zero():
    predictions, targets = problem(8, 2, 30, [0, 0])
    assert float(multibox_loss(predictions, targets, num_matched=torch.tensor(0)).multibox) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_left_before_anything_is_summed(dtype):
    predictions, targets = problem(9, 2, 300, [20, 7])
    half = Predictions(predictions.offsets.to(dtype), predictions.logits.to(dtype))
    full = Predictions(half.offsets.float(), half.logits.float())
    got, wanted = multibox_loss(half, targets), multibox_loss(full, targets)
    assert got.localisation.dtype == got.confidence.dtype == torch.float32
    assert torch.equal(got.localisation, wanted.localisation)
    assert torch.equal(got.confidence, wanted.confidence)
    localisation, confidence, *_ = by_loops(full, targets)
    assert got.multibox.item() == pytest.approx(float(localisation + confidence), rel=1e-5)


@pytest.mark.parametrize("mining", ["image", "batch"])
def test_huge_logits_and_offsets_give_a_finite_loss_and_gradient(mining):
    predictions, targets = problem(10, 2, 30, [3, 1], spread=1e4)
    ours = leaves(predictions)
    losses = multibox_loss(ours, targets, mining)
    localisation, confidence, *_ = by_loops(predictions, targets, mining)
    assert float(confidence) > 1000
    assert losses.multibox.item() == pytest.approx(float(localisation + confidence), rel=1e-5)
    assert all(torch.isfinite(gradient).all() for gradient in gradients(losses.multibox, ours))


# --- The figures of ssd_keras, and of the formula in float64, on three images

BOXES = [
    [(40.79320113314448, 144, 165.72237960339942, 222.6), (6.798866855524079, 7.2, 299.1501416430595, 298.8)],
    [(30, 60, 120, 180)],
    [(150, 150, 153, 153), (150.6, 150, 153.6, 153)],
]
LABELS = [[12, 15], [7, 0], [15, 8]]
LOCALISATION = 4.044894087329638
CONFIDENCE = {"image": 23.347389190662696, "batch": 23.806183108181333}
SSD_KERAS_TOTAL = 27.850992  # mines in the batch; float32, probabilities clipped


def reference_targets() -> Targets:
    """Two images as our matching has them, and the third with the two anchors that ssd_keras has chosen.

    Its objects of 3 x 3 px lie wholly inside dozens of anchors of one area, which all have an IoU of .01 with
    them. Which of those is taken is rounding noise: ssd_keras took 2663 and 2958, our matching takes others.
    """
    boxes = torch.zeros(3, 2, 4)
    for b, objects in enumerate(BOXES):
        boxes[b, : len(objects)] = torch.tensor(objects)
    anchors, labels = default_boxes(), torch.tensor(LABELS)
    targets = make_targets(boxes, labels, anchors)
    assert (targets.labels > 0).sum(dim=1).tolist() == [23, 14, 2]
    offsets, classes = targets.offsets.clone(), targets.labels.clone()
    classes[2] = 0
    for slot, anchor in enumerate((2663, 2958)):
        best, equals = oracles.best_anchors(BOXES[2][slot], oracles.caffe_anchors())
        assert best == pytest.approx(0.01, abs=1e-7) and len(equals) == (36, 34)[slot]
        assert int((targets.matched[2] == slot).nonzero()) in equals and anchor in equals
        classes[2, anchor] = LABELS[2][slot]
        x1, y1, x2, y2 = anchors[anchor].double().tolist()
        u1, v1, u2, v2 = BOXES[2][slot]
        offsets[2, anchor] = torch.tensor(
            [
                ((u1 + u2) - (x1 + x2)) / 2 / (x2 - x1) / 0.1,
                ((v1 + v2) - (y1 + y2)) / 2 / (y2 - y1) / 0.1,
                math.log((u2 - u1) / (x2 - x1)) / 0.2,
                math.log((v2 - v1) / (y2 - y1)) / 0.2,
            ]
        )
    return targets_of(offsets, classes)


def rolled(offsets: torch.Tensor, logits: torch.Tensor) -> Predictions:
    """Three images out of one, its rows moved along by so many places."""
    moves = (0, 1000, 3000)
    return Predictions(
        torch.stack([offsets.roll(move, dims=0) for move in moves]),
        torch.stack([logits.roll(move, dims=0) for move in moves]),
    )


def compare_with_reference(predictions: Predictions, rel: float = 1e-5) -> None:
    targets = reference_targets()
    for mining, confidence in CONFIDENCE.items():
        losses = multibox_loss(predictions, targets, mining)
        assert int(losses.positives) == 39 and int(losses.negatives) == 3 * 39
        assert losses.localisation.item() == pytest.approx(LOCALISATION, rel=rel)
        assert losses.confidence.item() == pytest.approx(confidence, rel=rel)
    assert losses.multibox.item() == pytest.approx(SSD_KERAS_TOTAL, rel=rel)


def test_the_loss_of_three_images_is_that_of_ssd_keras(shared):
    output = np.load(shared / "reference" / "checkpoints" / "network_output.npz")
    compare_with_reference(rolled(torch.from_numpy(output["offsets"]), torch.from_numpy(output["logits"])))


def test_the_whole_way_from_weights_to_loss_gives_the_figure_of_ssd_keras(pattern_output):
    # processors add up the products of a convolution in different orders
    compare_with_reference(rolled(pattern_output.offsets[0], pattern_output.logits[0]), rel=1e-4)


def test_the_figures_above_are_those_of_the_reference_file(shared):
    facts = json.loads((shared / "reference" / "checkpoints" / "loss_reference.json").read_text())
    assert [[tuple(box) for box in boxes] for boxes in facts["boxes"]] == BOXES
    assert [[label for label in labels if label] for labels in LABELS] == facts["labels"]
    assert facts["positives_per_image"] == [23, 14, 2]
    assert facts["ssd_keras_total_batch_mining"] == SSD_KERAS_TOTAL
    formula = facts["formula_float64"]
    assert formula["N"] == 39 and formula["localisation"] == LOCALISATION
    assert {name: formula[f"confidence_{name}_mining"] for name in CONFIDENCE} == CONFIDENCE


# --- The L2 term of the reported loss


def test_the_l2_penalty_sums_the_squares_of_all_kernels_and_of_nothing_else():
    model = SSD300(width=1 / 8, batch_norm=True)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.fill_(100.0)  # biases, norms and the scale of conv4_3
    squares = sum(math.fsum((p.double() ** 2).flatten().tolist()) for p in model.parameters() if p.ndim == 4)
    assert float(l2_penalty(model)) == pytest.approx(5e-4 * squares, rel=1e-5)
    assert float(l2_penalty(model, strength=1.0)) == pytest.approx(squares, rel=1e-5)


def test_the_l2_penalty_by_hand():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Sequential(nn.Conv2d(1, 2, 1)), nn.Linear(2, 2))
    with torch.no_grad():
        model[0].weight.fill_(3.0)
        model[2][0].weight.fill_(4.0)
    assert float(l2_penalty(model, 0.5)) == pytest.approx(0.5 * (9 + 16 + 16))
    assert not l2_penalty(model).requires_grad  # it is reported, not trained on


def test_the_slope_of_the_keras_penalty_is_that_of_twice_the_weight_decay():
    conv = nn.Conv2d(1, 1, 1, bias=False).double()
    values = []
    for weight in (2.999, 3.001):
        nn.init.constant_(conv.weight, weight)
        values.append(float(l2_penalty(conv, 5e-4)))
    slope = (values[1] - values[0]) / 0.002
    nn.init.constant_(conv.weight, 3.0)
    conv.weight.grad = torch.zeros_like(conv.weight)
    torch.optim.SGD(conv.parameters(), lr=1.0, weight_decay=1e-3).step()
    assert slope == pytest.approx(3.0 - conv.weight.item(), rel=1e-3)


def test_a_new_network_starts_with_the_penalty_that_its_initialisation_implies():
    # E[w²] is 1 / inputs in extras and heads, so an output channel adds 1 (1,920 + 750); in the body 2,
    # but for the first layer, which starts too small to count
    expected = 5e-4 * (1920 + 750 + 2 * (64 + 128 * 2 + 256 * 3 + 512 * 6 + 1024 * 2))
    torch.manual_seed(0)
    assert float(l2_penalty(SSD300())) == pytest.approx(expected, rel=0.003)
    # He's normal distribution doubles the part of extras and heads: 2.67 instead of 1.34
    torch.manual_seed(0)
    he = float(l2_penalty(SSD300(new_layers="he_normal")))
    assert he == pytest.approx(expected + 5e-4 * 2670, rel=0.003)
