"""Tests of chapter 05's pictures of kernels: where they stand, what they give, whose their numbers are."""

import torch
import torch.nn.functional as F

from course.kit import opening
from course.network import figures
from ssdlib.anchors import default_boxes


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
