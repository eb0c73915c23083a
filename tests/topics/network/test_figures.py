"""Tests of chapter 05's figures: where kernels stand, what they give, to which anchors it belongs, what cells see."""

import pytest
import torch
import torch.nn.functional as F
from matplotlib.text import Text

from course.kit import opening
from course.network import figures
from ssdlib.anchors import default_boxes
from ssdlib.matching import make_targets
from ssdlib.records import Predictions


def corners(patch):
    return patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()


def test_the_head_reads_nine_cells_around_its_own_and_its_rows_belong_to_the_anchors_drawn():
    """Before the 5 x 5 map there are 38² · 4 + 19² · 6 + 10² · 6 anchors; row 1, column 2 is cell 7, with 6."""
    left, middle, right = figures.head_sliding(opening.scene()).axes
    assert (1, 0, 3, 3) in [corners(patch) for patch in left.patches]  # columns 1 to 3, rows 0 to 2
    assert (2, 1, 1, 1) in [corners(patch) for patch in left.patches]  # its own cell
    assert "= 150 numbers" in middle.get_title()
    first = 38**2 * 4 + 19**2 * 6 + 10**2 * 6 + 7 * 6
    assert f"rows {first:,} to {first + 5:,}" in right.get_title()
    drawn = torch.tensor([corners(patch) for patch in right.patches])
    drawn[:, 2:] += drawn[:, :2]
    assert torch.allclose(drawn, default_boxes()[first : first + 6], atol=1e-3)


def test_a_fully_connected_layer_and_the_same_weights_as_a_kernel_give_the_same_number():
    """Oracle: torch's linear layer on each of the nine cut-outs."""
    random = torch.Generator().manual_seed(3)
    kernel, cells = torch.randn(7, 7, generator=random), torch.randn(9, 9, generator=random)
    answers = figures.sliding_answers(kernel, cells)
    for row in range(3):
        for column in range(3):
            part = cells[row : row + 7, column : column + 7]
            assert torch.isclose(answers[row, column], F.linear(part.flatten(), kernel.flatten()), atol=1e-4)


def test_the_answer_of_the_first_figure_is_the_first_of_the_nine():
    left, _, out = figures.from_fc_to_conv().axes
    assert left.get_title().endswith(f"one answer: {out.texts[0].get_text()}") and len(out.texts) == 9


def test_the_cells_that_fc6_reads_are_those_of_a_convolution_with_dilation_6():
    """Oracle: which cells have a gradient behind torch's convolution."""
    cells = torch.zeros(1, 1, 19, 19, requires_grad=True)
    out = F.conv2d(cells, torch.ones(1, 1, 3, 3), dilation=6, padding=6)
    out[0, 0, 9, 9].backward()
    assert sorted(figures.taps(6, 9, 9)) == sorted(map(tuple, cells.grad[0, 0].nonzero().tolist()))


def test_dilation_spreads_the_same_nine_cells_over_208_px():
    near, far = figures.dilation_on(opening.scene()).axes
    assert "3 x 3, 48 px" in near.get_title() and "13 x 13, 208 px" in far.get_title()
    for ax, side in ((near, 48), (far, 208)):
        assert len(ax.patches) == 10  # nine cells and the outline
        assert corners(ax.patches[-1])[2:] == (side, side)


def test_the_fields_drawn_are_those_worked_out_by_hand_and_stand_around_the_two_longest_anchors():
    """Small squares of 30, 60, 111, 162, 213 and 264 px; the longest anchors are theirs times √2 on maps with 4
    anchors in a cell and times √3 on those with 6."""
    longest = [30 * 2**0.5, 60 * 3**0.5, 111 * 3**0.5, 162 * 3**0.5, 213 * 2**0.5, 264 * 2**0.5]
    figure = figures.fields_on(opening.scene())
    for ax, seen, length in zip(figure.axes, (108, 452, 516, 644, 772, 900), longest, strict=True):
        widest, highest, field = (corners(patch)[2:] for patch in ax.patches)
        assert field == (seen, seen) and f"sees {seen} px" in ax.get_title()
        assert widest[0] == pytest.approx(length, abs=0.01) == highest[1]
        assert f"anchors up to {round(length)} px" in ax.get_title()
        dashes = [patch.get_linestyle() for patch in ax.patches]
        assert dashes == ["--", "--", "solid"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "what an answer sees",
        "widest and highest anchor",
    ]


def test_of_many_detections_the_first_are_drawn_and_all_are_counted():
    scene = opening.scene()
    targets = make_targets(scene.boxes[None], scene.labels[None], default_boxes())
    truth = Predictions(targets.offsets, 50 * F.one_hot(targets.labels, 21).float())
    for most, drawn, title in (
        (30, 3, "truth: 3 detections"),
        (2, 2, "truth: 3 detections, the surest 2 drawn"),
    ):
        [ax] = [figures.side_by_side([scene], {"truth": truth, "again": truth}, 0, most=most).axes[0]]
        solid = [corners(patch) for patch in ax.patches if patch.get_linestyle() == "solid"]
        assert len(solid) == drawn and ax.get_title() == title
        for x, y, width, height in solid:
            found = torch.tensor([x, y, x + width, y + height])
            assert min((found - box).abs().max() for box in scene.boxes) < 1
        assert sum(patch.get_linestyle() == "--" for patch in ax.patches) == 3


def test_the_network_drawn_has_the_channels_of_six_pairs_of_heads():
    figure = figures.draw_network()
    texts = [text.get_text() for text in figure.axes[0].texts]
    for boxes, side in zip((4, 6, 6, 6, 4, 4), (38, 19, 10, 5, 3, 1), strict=True):
        assert (
            f"{4 * boxes} + {21 * boxes}\nchannels" in texts and f"{side * side * boxes:,}\nanchors" in texts
        )


def test_no_letter_in_a_figure_of_the_chapter_is_smaller_than_9_points():
    scene = opening.scene()
    drawn = [
        figures.draw_network(),
        figures.head_sliding(scene),
        figures.from_fc_to_conv(),
        figures.dilation_on(scene),
        figures.fields_on(scene),
        figures.curves({"one": [3.0, 2.0], "other": [3.0, 2.5]}),
    ]
    small = [
        text.get_text()
        for figure in drawn
        for text in figure.findobj(Text)
        if text.get_text() and text.get_fontsize() < 9
    ]
    assert small == []
