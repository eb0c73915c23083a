"""Tests of what the chapters share: boards, stubs from solutions, the reading edition, the counted facts' reader."""

import base64
import io
import re
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
import torch
from PIL import Image

from course.kit import explorer, pictures
from course.kit.board import Board, as_url, layer
from ssdlib.records import Example

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "chapters"))


def test_a_layer_is_plain_numbers_that_a_browser_can_read():
    import json

    drawn = layer(torch.tensor([[0.0, 1.5, 2, 3.123456]]), "#000000", texts=[(1, 2, "a")], points=[1, 2])
    assert json.loads(json.dumps(drawn))["boxes"] == [0.0, 1.5, 2.0, 3.12]
    assert layer()["boxes"] == [] and layer()["curves"] == []
    assert layer(curves=[torch.tensor([0.0, 1, 2.3456, 3])])["curves"] == [[0.0, 1.0, 2.35, 3.0]]


def test_the_still_picture_shows_every_box_of_the_board():
    board = Board(
        boxes=[[0.0, 0, 10, 10], [5.0, 5, 20, 20]],
        box_names=["a", "b"],
        scene={
            "layers": [
                layer(torch.rand(7, 4) * 100, dash=(4, 2)),
                layer(points=[3, 4], texts=[(1, 1, "x")]),
                layer(curves=[[0, 0, 5, 9, 10, 3]]),
            ]
        },
        picture=as_url(torch.full((30, 40, 3), 200, dtype=torch.uint8)),
        pointer_mode="move",
    )
    figure, ax = plt.subplots()
    board.on(ax)
    outlines = [p for p in ax.patches if not p.get_fill()]
    assert len(outlines) == 2 and len(ax.collections[0].get_paths()) == 7
    assert {"a", "b", "x"} <= {t.get_text() for t in ax.texts}
    assert [line.get_xydata().tolist() for line in ax.lines[:1]] == [[[0, 0], [5, 9], [10, 3]]]
    plt.close(figure)


def test_a_scene_has_its_boxes_on_the_canvas(mini, monkeypatch):
    monkeypatch.setenv("COURSE_VOC", str(mini))
    example = pictures.test_set()[0]
    scene = pictures.scene(example)
    width, height = example.size
    wanted = example.boxes * torch.tensor([300 / width, 300 / height] * 2)
    assert torch.allclose(scene.boxes, wanted, atol=1e-3) and scene.pixels.shape == (300, 300, 3)
    assert len(scene.names) == len(wanted)


def test_too_few_pictures_of_a_kind_are_told_in_one_sentence(mini, monkeypatch):
    monkeypatch.setenv("COURSE_VOC", str(mini))
    with pytest.raises(
        LookupError, match=r"VOCdevkit: \d+ test pictures with exactly 2 objects.*; wanted 1001"
    ):
        pictures.pick(objects=2, skip=1000)


def test_a_progress_bar_is_dropped_and_what_a_cell_prints_is_kept():
    from nbformat.v4 import new_output

    from build import _lean

    assert _lean(new_output("stream", name="stderr", text="7%|#  |"), None) is None
    assert _lean(new_output("stream", name="stdout", text="7%| of all"), None)


def test_a_picture_is_picked_whose_objects_lie_apart_or_else_overlap_least(monkeypatch):
    def example(name, *boxes):
        count = len(boxes)
        labels, easy = torch.ones(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
        return Example(name, Path(name), (100, 100), torch.tensor(boxes), labels, easy)

    crowded = example("crowded", [0.0, 0, 10, 10], [0.0, 0, 10, 9])
    closer = example("closer", [0.0, 0, 10, 10], [5.0, 0, 15, 10])
    apart = example("apart", [0.0, 0, 10, 10], [20.0, 0, 30, 10])
    monkeypatch.setattr(pictures, "test_set", lambda: [crowded, closer, apart])
    assert [pictures.pick(2, skip).image_id for skip in range(3)] == ["apart", "closer", "crowded"]
    with pytest.raises(LookupError, match="0 test pictures with exactly 7 objects"):
        pictures.pick(7)


# ---- stubs


def test_a_stub_keeps_the_question_and_loses_the_answer():
    from build import solution_of, stub_of

    function = 'def f(x):\n    """What."""\n    # solution\n    y = x\n\n    return y\n'
    code = function + "\ndef g():\n    pass\nz = 3  # solution"
    stub = stub_of(code)
    wanted = 'def f(x):\n    """What."""\n    ...  # your code\ndef g():\n    pass\nz = None  # your answer'
    assert stub == wanted
    assert "# solution" not in solution_of(code) and "return y" in solution_of(code)


@pytest.mark.parametrize("path", sorted((ROOT / "chapters").glob("[0-9]*.ipynb")), ids=lambda p: p.stem)
def test_no_notebook_holds_a_mark_of_its_source(path):
    text = path.read_text()
    assert "<!-- solution -->" not in text and "# solution" not in text


# ---- the reading edition


@pytest.mark.slow
def test_every_chapter_is_a_page_of_the_reading_edition_and_can_be_searched(site):
    index = (site / "searchindex.js").read_text()
    for path in (ROOT / "chapters").glob("[0-9]*.ipynb"):
        page = (site / f"{path.stem}.html").read_text()
        assert path.stem in index and "In one sentence" in page


@pytest.mark.slow
def test_the_reading_edition_has_no_line_for_readers_in_jupyter_and_its_contents_lead_to_pages(site):
    assert "it moves once you have run" in (ROOT / "chapters/03_matching.ipynb").read_text()
    assert "it moves once you have run" not in (site / "03_matching.html").read_text()
    page = (site / "contents.html").read_text()
    assert "href='03_matching.html'" in page and "href='03_matching.ipynb'" not in page


@pytest.mark.slow
def test_the_reading_edition_fetches_nothing_and_its_links_and_pictures_are_there(site):
    for page in site.glob("*.html"):
        text = page.read_text()
        loaded = re.findall(r"""<(?:img|script|iframe)[^>]+src=["']?([^"'\s>]+)""", text)
        loaded += re.findall(r'<link[^>]+rel="stylesheet"[^>]+href="([^"]+)', text)
        for target in loaded:
            assert target.startswith("data:") or not target.startswith(("http", "//")), target
            assert target.startswith("data:") or (site / target.split("?")[0]).exists(), target
        for target in re.findall(r'<a[^>]+href="([^"#]+\.html)', text):
            assert target.startswith("http") or (site / target).exists(), f"{page.name} links to {target}"
        for picture in re.findall(r"<img[^>]+>", text):
            assert re.search(r"alt=.{20}", picture), f"{page.name}: a picture without words"


def test_a_still_has_twice_the_pixels_few_colours_and_a_ground_that_lets_the_page_through():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 3))
    ax = figure.add_axes((0.1, 0.1, 0.4, 0.8))
    ax.set(facecolor="#e8e8e8", xticks=(), yticks=())
    figure.text(0.6, 0.5, "words")
    png, width = explorer.still_png(figure)
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    assert picture.size == (640, 480) and width == 320 and picture.mode == "P"
    seen = picture.convert("RGBA")
    assert seen.getpixel((2, 2))[3] == 0 and seen.getpixel((160, 240)) == (232, 232, 232, 255)
