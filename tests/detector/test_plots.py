"""Tests for `plots`: what is in the figures, counted and read back from matplotlib."""

import matplotlib
import numpy as np
import pytest
import torch

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402

from ssdlib import plots  # noqa: E402
from ssdlib.evaluate import Curve, Table  # noqa: E402
from ssdlib.records import Batch, Detections, Example  # noqa: E402


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def example(*difficult):
    n = len(difficult)
    boxes = torch.tensor([[10.0, 20, 60, 80]]).repeat(n, 1)
    return Example(
        "000001", None, (100, 90), boxes, torch.arange(1, n + 1), torch.tensor(difficult, dtype=torch.bool)
    )


PHOTOGRAPH = torch.zeros(90, 100, 3, dtype=torch.uint8)


def outlines(ax):
    return [patch for patch in ax.patches if not patch.get_fill()]


def test_examples_show_every_box_where_it_is_and_dash_the_difficult():
    ax = plots.examples([example(False, True)], [PHOTOGRAPH]).axes[0]
    assert sorted(patch.get_linestyle() for patch in outlines(ax)) == ["-", "--"]
    assert {patch.get_bbox().bounds for patch in outlines(ax)} == {(10, 20, 50, 60)}
    assert sorted(text.get_text() for text in ax.texts) == ["aeroplane", "bicycle"]


def test_an_example_without_objects_is_just_a_photograph():
    ax = plots.examples([example()], [PHOTOGRAPH]).axes[0]
    assert not ax.patches and len(ax.images) == 1


def test_detections_show_only_what_reaches_the_score():
    found = Detections(
        torch.tensor([[0.0, 0, 9, 9], [5, 5, 50, 50]]), torch.tensor([0.8, 0.3]), torch.tensor([7, 8])
    )
    for score, words in ((0.5, ["car 0.80"]), (0.2, ["car 0.80", "cat 0.30"])):
        ax = plots.detections([example(False)], [PHOTOGRAPH], [found], score).axes[0]
        assert [text.get_text() for text in ax.texts] == words
        assert len(outlines(ax)) == 1 + len(words)


def test_a_picture_is_as_large_as_its_photograph():
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    figure = plots.picture(PHOTOGRAPH, nothing)
    assert tuple(figure.get_size_inches() * 100) == (100, 90)


def test_captions_cover_no_other_and_stay_in_the_picture():
    generator = torch.Generator().manual_seed(3)
    corners = torch.rand(8, 2, 2, generator=generator) * torch.tensor([400.0, 300])
    wild = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    in_one_place = torch.tensor([[390.0, 1, 399, 20]]).repeat(6, 1)
    for boxes in (wild, in_one_place, wild[:0]):
        found = Detections(boxes, torch.ones(len(boxes)), torch.full((len(boxes),), 11))
        figure = plots.picture(torch.zeros(300, 400, 3, dtype=torch.uint8), found)
        figure.canvas.draw()
        patches = [text.get_bbox_patch().get_window_extent() for text in figure.axes[0].texts]
        assert len(patches) == len(boxes)
        for i, (left, low, right, high) in enumerate(patch.extents for patch in patches):
            assert left > -0.5 and low > -0.5 and right < 400.5 and high < 300.5
            for other in patches[:i]:
                x0, y0, x1, y1 = other.extents
                assert min(right, x1) - max(left, x0) < 0.5 or min(high, y1) - max(low, y0) < 0.5


def test_the_loss_curve_holds_the_numbers_of_the_log_and_marks_the_drop():
    log = [
        {"step": s, "rate": r, "multibox": 2 * v, "confidence": v, "localisation": v}
        for s, r, v in ((10, 0.01, 4.0), (20, 0.01, 3.0), (30, 0.001, 1.0))
    ]
    log.insert(2, {"step": 20, "val": {"multibox": 7.5}})
    ax = plots.loss_curve(log).axes[0]
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines["training, multibox"] == [[10, 8], [20, 6], [30, 2]]
    assert lines["validation"] == [[20, 7.5]]
    assert [text.get_text().strip() for text in ax.texts] == ["learning rate 1e-03"]


def test_a_batch_is_shown_with_the_mean_added_back_and_without_its_empty_slots():
    images = torch.zeros(1, 3, 300, 300)
    boxes = torch.tensor([[[0.0, 0, 30, 30], [0, 0, 0, 0]]])
    ax = plots.batch(Batch(images, boxes, torch.tensor([[3, 0]]))).axes[0]
    assert ax.images[0].get_array()[0, 0].tolist() == [123, 117, 104]
    assert len(outlines(ax)) == 1


def test_precision_recall_has_a_panel_a_class_with_its_ap():
    curve = Curve(np.array([0.5, 1.0]), np.array([1.0, 0.5]), np.array([0.9, 0.8]), 2)
    figure = plots.precision_recall(Table("11point", {"cat": 0.75, "dog": 0.5}, {"cat": curve, "dog": curve}))
    assert [ax.get_title() for ax in figure.axes] == ["cat 75.0", "dog 50.0"]
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0.5, 1.0], [1.0, 0.5]]


def test_saving_makes_the_folder_and_closes_the_figure(tmp_path):
    path = plots.save(plots.examples([example(False)], [PHOTOGRAPH]), tmp_path / "new/sheet.png")
    assert path.stat().st_size > 500 and not plt.get_fignums()
