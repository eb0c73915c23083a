"""Figures of images with boxes: a title, and a legend of the kinds of lines that are there and of no other."""

import pytest
import torch

from course.kit import box_figures
from ssdlib.records import Detections, Example

PHOTOGRAPH = torch.zeros(100, 100, 3, dtype=torch.uint8)


def example(*difficult):
    boxes = torch.tensor([[10.0 * i, 10, 10 * i + 20, 60] for i in range(len(difficult))]).reshape(-1, 4)
    labels = torch.ones(len(difficult), dtype=torch.int64)
    return Example("x", None, (100, 100), boxes, labels, torch.tensor(difficult, dtype=torch.bool))


def legend(figure):
    return {
        line.get_label(): line.get_linestyle() for found in figure.legends for line in found.legend_handles
    }


@pytest.mark.parametrize(
    "flags, wanted",
    [
        ((False, True), {"annotated": "-", "annotated as difficult": "--"}),
        ((False,), {"annotated": "-"}),
        ((True,), {"annotated as difficult": "--"}),
        ((), {}),
    ],
)
def test_the_legend_explains_the_lines_that_are_drawn_and_no_other(flags, wanted):
    figure = box_figures.annotated([example(*flags)], [PHOTOGRAPH], "Two boxes")
    assert figure.get_suptitle() == "Two boxes" and legend(figure) == wanted


def test_detections_are_explained_beside_what_is_annotated():
    found = Detections(torch.tensor([[10.0, 10, 30, 60]]), torch.tensor([0.9]), torch.tensor([1]))
    figure = box_figures.detected([example(False)], [PHOTOGRAPH], [found], "One is found")
    assert legend(figure) == {"found, with class and score": "-", "annotated": "-"}
    assert [text.get_text() for text in figure.axes[0].texts] == ["aeroplane 0.90"]
