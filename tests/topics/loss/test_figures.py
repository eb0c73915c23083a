"""Tests of chapter 04's figures: the numbers that stand in them, against those worked out by hand or summed up."""

import re

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

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


def test_the_spread_before_and_after_the_division_is_the_standard_deviation_of_numpy():
    random = np.random.default_rng(0)
    before = random.normal(0, [0.1, 0.12, 0.2, 0.25], (400, 4))
    after = before / [0.1, 0.1, 0.2, 0.2]
    left, right = figures.spread(torch.tensor(before), torch.tensor(after)).axes
    for ax, values in ((left, before), (right, after)):
        said = [text.get_text() for text in ax.get_legend().get_texts()]
        wanted = zip("xywh", values.std(axis=0, ddof=1), strict=True)
        assert said == [f"{name}, {deviation:.2f}" for name, deviation in wanted]
        x, y, w, h = (patch.get_linestyle() for patch in ax.patches)
        assert x == y != w == h  # shifts and growths differ in more than colour


def test_the_curve_of_smooth_l1_goes_through_points_worked_out_by_hand():
    [ax] = figures.smooth_l1_drawn().axes
    x, y = ax.lines[0].get_data()
    for error, cost in ((0, 0), (-0.5, 0.125), (1, 0.5), (2, 1.5), (-3, 2.5)):
        assert np.interp(error, x, y) == pytest.approx(cost, abs=1e-3)
    named = {text.get_text(): text.get_position() for text in ax.texts}
    assert {"smooth L1", "0.5 d²", "|d|"} == set(named)
    for curve, name in zip(ax.lines, ("smooth L1", "0.5 d²", "|d|"), strict=True):
        along = np.column_stack(curve.get_data())
        assert np.abs(along - named[name]).sum(axis=1).min() < 0.6  # the name stands beside its curve


def test_a_drawn_choice_of_negatives_says_what_each_kind_of_line_is(mined):
    scene, terms, _, _ = mined
    figure = figures.draw_negatives(scene, terms.positive[0], {"claim": terms.chosen[0]})
    [legend] = figure.legends
    kinds = [text.get_text() for text in legend.get_texts()]
    assert kinds == ["object", "positive, of car", "positive, of another object", "hard negative"]
    drawn = {(patch.get_edgecolor(), patch.get_linestyle()) for patch in figure.axes[0].patches}
    shown = {
        (to_rgba(line.get_color(), 0.6 if i == 2 else 1), line.get_linestyle())
        for i, line in enumerate(legend.get_lines())
    }
    assert drawn == shown
