"""Tests of chapter 04's figures: the numbers that stand in them, against those worked out by hand or summed up."""

import re

import pytest
import torch

from course.kit import opening
from course.loss import figures, loss_anatomy
from ssdlib.anchors import default_boxes
from ssdlib.box_ops import to_cxcywh


def words(ax):
    return " ".join(text.get_text() for text in ax.texts)


def test_the_offsets_drawn_are_those_of_the_page_worked_out_by_hand():
    """Anchor (150, 150), 60 x 120; object (162, 159), 72 x 108: the table of chapter 04."""
    anchor, box = torch.tensor([120.0, 90, 180, 210]), torch.tensor([126.0, 105, 198, 213])
    shift, growth = figures.offsets_drawn(anchor, box).axes
    assert "x: 12 / 60 / 0.1 = 2.00" in words(shift) and "y: 9 / 120 / 0.1 = 0.75" in words(shift)
    assert "w: ln(72 / 60) / 0.2 = 0.91" in words(growth)  # ln 1.2 = .1823
    assert "h: ln(108 / 120) / 0.2 = -0.53" in words(growth)  # ln .9 = -.1054


def test_an_object_like_its_anchor_has_offsets_of_zero():
    anchor = torch.tensor([10.0, 20, 40, 80])
    shift, growth = figures.offsets_drawn(anchor, anchor).axes
    assert words(shift).count("= 0.00") == words(growth).count("= 0.00") == 2


@pytest.fixture(scope="module")
def mined():
    scene = opening.scene()
    predictions, targets = loss_anatomy.predict([scene]), loss_anatomy.targets_of([scene])
    return scene, loss_anatomy.loss_terms(predictions, targets), predictions, targets


def test_before_mining_every_background_anchor_is_a_dot_and_after_it_three_for_each_positive(mined):
    scene, terms, _, targets = mined
    positives = int((targets.labels > 0).sum())
    before, after = (ax.collections[-1] for ax in figures.mining_drawn(scene, terms).axes)
    assert len(before.get_offsets()) == 8732 - positives
    assert len(after.get_offsets()) == 3 * positives


def test_the_costs_in_the_titles_are_sums_over_the_dots(mined):
    """Oracle: -ln p(background) of the softmax in float64, the largest of them by sorting."""
    scene, terms, predictions, targets = mined
    cost = -predictions.logits[0].double().softmax(dim=1)[:, 0].log()
    cost = cost[targets.labels[0] == 0].sort(descending=True)[0]
    kept = cost[: 3 * int((targets.labels > 0).sum())].sum()
    before, after = (ax.get_title() for ax in figures.mining_drawn(scene, terms).axes)
    assert float(re.search(r"cost ([\d.]+)", before)[1]) == pytest.approx(float(cost.sum()), abs=0.06)
    assert float(re.search(r"cost ([\d.]+)", after)[1]) == pytest.approx(float(kept), abs=0.06)
    assert f"{float(kept / cost.sum()):.0%}" in after


def test_the_largest_dot_lies_at_the_centre_of_the_hardest_negative(mined):
    scene, terms, predictions, targets = mined
    background = predictions.logits[0].log_softmax(dim=1)[:, 0].masked_fill(targets.labels[0] > 0, 0)
    hardest = to_cxcywh(default_boxes())[background.argmin(), :2].tolist()
    dots = figures.mining_drawn(scene, terms).axes[1].collections[-1]
    assert dots.get_offsets()[dots.get_sizes().argmax()].tolist() == pytest.approx(hardest)
