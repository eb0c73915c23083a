"""`tile_bench` and `zoo`: an object under the anchors of its tile, the explorer's state, the zoo's three formats."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from course.own_images import example_datasets, figures, tile_bench
from course.own_images.tile_bench import TileBench, under
from ssdlib.anchors import default_boxes
from ssdlib.data import own
from ssdlib.records import Detections, Example

sys.path.insert(0, str(Path(__file__).parents[3] / "data_scripts"))


@pytest.fixture
def bench(monkeypatch):
    """An explorer that doesn't have the zoo painted."""
    monkeypatch.setattr(tile_bench, "shares", lambda name: dict.fromkeys(tile_bench.CUTS, 0.5))
    monkeypatch.setattr(
        tile_bench, "_zoo", lambda size, box: torch.zeros(size[1], size[0], 3, dtype=torch.uint8)
    )
    return TileBench()


def test_behind_the_object_lies_a_picture_of_the_photographs_shape(bench):
    for name, ((width, height), _) in tile_bench.PHOTOGRAPHS.items():
        pixels, shows = tile_bench.picture(name)
        assert pixels.shape[1] / pixels.shape[0] == pytest.approx(width / height, rel=0.01) and shows
        bench.photograph.value = name
        assert bench.board.picture.startswith("data:image/jpeg") and f"behind: {shows}" in bench.summary()
    tile_bench.picture.cache_clear()  # of the black zoo


@pytest.mark.parametrize("cut", [1, 2, 3, 7])
def test_the_nearest_anchor_is_the_one_a_loop_finds(cut):
    width, height, box = 640, 480, (201.0, 130.0, 260.0, 240.0)
    tile = (width / cut, height / cut)
    column, line = int((box[0] + box[2]) / 2 // tile[0]), int((box[1] + box[3]) / 2 // tile[1])
    left, top = column * tile[0], line * tile[1]
    a, c = ((min(max(x, left), left + tile[0]) - left) * 300 / tile[0] for x in box[::2])
    b, d = ((min(max(y, top), top + tile[1]) - top) * 300 / tile[1] for y in box[1::2])
    best, at, many = -1.0, 0, 0
    for i, (w, x, y, z) in enumerate(default_boxes().tolist()):
        both = max(0, min(c, y) - max(a, w)) * max(0, min(d, z) - max(b, x))
        overlap = both / ((c - a) * (d - b) + (y - w) * (z - x) - both)
        many += overlap >= 0.5
        if overlap > best + 1e-6:
            best, at = overlap, i
    found = under(torch.tensor(box), (width, height), cut)
    assert found.on_canvas.tolist() == pytest.approx([a, b, c, d], abs=1e-3)
    assert (found.anchor, found.matched) == (at, many)
    assert found.overlap == pytest.approx(best, abs=1e-4)
    assert found.map == sum(at >= total for total in np.cumsum([5776, 2166, 600, 150, 36, 4]))


def test_the_share_inside_is_that_of_the_area():
    found = under(torch.tensor([90.0, 10.0, 130.0, 20.0]), (200, 100), 2)
    assert found.tile == (100, 0, 200, 50) and found.inside == pytest.approx(0.75)


def test_the_state_follows_the_box_the_photograph_and_the_tiles(bench):
    assert "15 x 17 px in the input" in repr(bench) and "not covered" in repr(bench)
    bench.cut.value = 2
    assert "2 tiles a side" in repr(bench) and ": covered" in repr(bench)
    bench.board.boxes = [[200.0, 150.0, 280.0, 210.0]]
    assert "object (200, 150, 280, 210)" in repr(bench)
    bench.photograph.value = "aerial, 2299 x 2472"
    assert bench.board.frame == [0, 0, 2299, 2472] and "not covered" in bench.board.status
    assert any("of the objects" in line for line in bench.summary())


def test_the_still_picture_draws_grid_tile_and_anchor(bench):
    bench.cut.value = 3
    figure = bench.still()
    assert len(figure.axes[0].lines) == 4  # two lines each way
    assert sum(len(c.get_paths()) for c in figure.axes[0].collections) >= 2
    plt.close(figure)


def test_the_crowns_are_951_boxes_in_four_photographs_of_the_stated_sizes():
    found = example_datasets.crowns()
    assert [len(e.labels) for e in found] == [574, 279, 61, 37]
    for example in found:
        x1, y1, x2, y2 = example.boxes.unbind(dim=1)
        assert bool((x1 < x2).all() and (y1 < y2).all() and (x1 >= 0).all())
        assert float(x2.max()) <= example.size[0] and float(y2.max()) <= example.size[1]


def test_a_few_pictures_of_the_zoo_are_the_same_set_in_every_format(tmp_path, monkeypatch):
    import make_zoo

    monkeypatch.setattr(make_zoo, "NO_PICTURE", 2)
    monkeypatch.setattr(make_zoo, "TURNED", 3)
    boxes = {}
    make_zoo.make_zoo(tmp_path, make_zoo.KINDS, count=7)
    for kind in make_zoo.KINDS:
        found = own.read_folder(tmp_path / kind)
        boxes[kind] = {e.image_id: e for e in found.examples}
    assert len(boxes["xml"]) == 6 and any(e.upright for e in boxes["xml"].values())
    for kind in ("coco", "yolo"):
        for name, example in boxes["xml"].items():
            assert torch.allclose(example.boxes, boxes[kind][name].boxes, atol=0.01)
    seen = make_zoo.paint(0, 1)
    wanted = sorted([*map(float, box)] for _, box in seen.animals)
    assert sorted(boxes["xml"]["images/zoo_0001.jpg"].boxes.tolist()) == wanted


def test_what_stands_where_the_zoo_goes_is_left_alone(tmp_path):
    import make_zoo

    (tmp_path / "xml").mkdir()
    (tmp_path / "xml/mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="nothing was changed"):
        make_zoo.make_zoo(tmp_path)
    assert [p.name for p in (tmp_path / "xml").iterdir()] == ["mine.txt"]


def example(name, boxes, labels, size=(100, 80)):
    boxes, labels = torch.tensor(boxes).reshape(-1, 4).float(), torch.tensor(labels, dtype=torch.int64)
    return Example(name, Path(), size, boxes, labels, labels < 0)


def read(*examples):
    return own.Found("by hand", examples, ("crab", "owl"), ("train",) * len(examples), None)


def test_two_readings_are_compared_by_the_names_of_their_images():
    first = read(example("a", [10, 10, 20, 20], [1]), example("b", [], []), example("c", [1, 1, 5, 5], [2]))
    other = read(example("c", [1, 1, 5, 5.25], [2]), example("a", [10, 10.125, 20, 20], [1]))
    assert example_datasets.compared(first, other) == (2, 0.25)
    with pytest.raises(ValueError, match=r"a: classes \[1\] and \[2\]"):
        example_datasets.compared(first, read(example("a", [10, 10, 20, 20], [2])))


def test_an_exported_networks_boxes_agree_to_a_tenth_of_a_pixel_and_in_number():
    found = Detections(torch.tensor([[1.0, 2, 3, 4]]), torch.tensor([0.9]), torch.tensor([1]))
    near, far = (np.array([[1.0, 2, 3, 4 + by]], dtype=np.float32) for by in (0.09, 0.11))
    assert example_datasets.agree(found, near) and not example_datasets.agree(found, far)
    assert not example_datasets.agree(found, near[:0])


def test_remedies_are_the_shares_of_covered_objects_folder_by_folder():
    crowns = example_datasets.crowns()
    small = example(
        "a", [10, 10, 20, 20], [1], size=(300, 300)
    )  # 10 px: no anchor, but a third of a tile's 30
    large = example("b", [0, 0, 299, 299], [1], size=(300, 300))
    found = figures.remedies({"crowns": crowns, "two": [small, large]})
    rows = {tuple(row[:2]): row[2:] for row in found.rows}
    assert rows["10 20 37 54 71 88 105, the paper's", "whole"] == [pytest.approx(0.0862, abs=1e-3), 0.5]
    assert rows["the paper's", "cut into 3 x 3"][1] == 1.0 and len(rows) == len(found.rows) == 10


def test_full_images_are_wide_and_hold_enough_objects():
    wide, high = (
        example("w", [[1, 1, 5, 5]] * 3, [1] * 3),
        example("h", [[1, 1, 5, 5]] * 3, [1] * 3, (80, 100)),
    )
    assert figures.full([high, example("e", [], []), wide, wide], least=3, count=1) == [wide]
