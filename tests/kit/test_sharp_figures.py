"""Figures have two pixels for each one of the page, and a notebook of photographs stays small."""

import io
import sys
from base64 import b64decode, b64encode
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "chapters"))
sys.path.append(str(ROOT / "chapters/book"))
book = pytest.importorskip("book")

from build import JPEG, LARGEST, PNG, in_few_bytes, make_small  # noqa: E402

DRAW = "import matplotlib.pyplot as plt\nplt.figure(figsize=(4, 3))\nplt.plot([1, 2]);"


def noise(side: int) -> str:
    """A picture that no format makes small."""
    pixels, out = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8), io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return b64encode(out.getvalue()).decode()


def line(side: int) -> str:
    """A picture that a PNG of few colours makes small."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), "white").save(out, "PNG")
    return b64encode(out.getvalue()).decode()


def size(picture: str) -> tuple[int, int]:
    return Image.open(io.BytesIO(b64decode(picture))).size


@pytest.mark.slow  # each starts a kernel
@pytest.mark.parametrize(
    "cells", [["import course", DRAW], [DRAW, "import course", DRAW]], ids=["first", "later"]
)
def test_a_figure_has_twice_the_pixels_of_its_place_on_the_page(cells):
    page = new_notebook(cells=[new_code_cell(cell) for cell in cells])
    where = {"metadata": {"path": str(ROOT)}}
    nbclient.NotebookClient(page, timeout=300, kernel_name="python3", resources=where).execute()
    picture = page.cells[-1].outputs[-1]
    shown = picture.metadata["image/png"]
    assert 300 < shown["width"] < 450
    assert size(picture.data["image/png"]) == pytest.approx((2 * shown["width"], 2 * shown["height"]), abs=1)


def test_a_figure_that_is_too_large_gets_fewer_pixels_and_not_fewer_than_its_place_on_the_page():
    kinds, sizes = zip(
        *(
            (kind, size(data))
            for kind, data in (in_few_bytes(noise(400), most) for most in (200_000, 100_000, 60_000, 10))
        ),
        strict=True,
    )
    assert kinds == (PNG, JPEG, JPEG, JPEG)
    assert sizes == ((400, 400), (400, 400), (340, 340), (200, 200))
    assert in_few_bytes(line(400), most=2_000)[0] == PNG


def test_a_notebook_of_many_figures_is_small_and_one_of_few_keeps_them_sharp():
    def page(figures: int) -> NotebookNode:
        cell = new_code_cell("plot()")
        cell.outputs = [
            NotebookNode(
                output_type="display_data", data=NotebookNode({"image/png": noise(330)}), metadata={}
            )
            for _ in range(figures)
        ]
        return new_notebook(cells=[cell])

    def sizes(page: NotebookNode) -> list[tuple[int, int]]:
        return [size(text) for out in page.cells[0].outputs for text in out.data.values()]

    few, many = page(2), page(20)
    make_small(few)
    make_small(many)
    assert sizes(few) == [(330, 330)] * 2
    assert all((165, 165) <= found < (330, 330) for found in sizes(many))
    assert len(nbformat.writes(many)) <= LARGEST


def test_the_reading_edition_shows_a_figure_at_its_width_on_the_page():

    cell = new_code_cell("plot()")
    cell.outputs = [
        NotebookNode(
            output_type="display_data",
            data={"image/png": ""},
            metadata={"image/png": {"width": 362, "height": 274, "alt": "a line"}},
        )
    ]
    assert book._image(cell) == {"alt": "a line", "width": "362px"}
    cell.outputs[0].metadata = {}
    assert book._image(cell) == {}
