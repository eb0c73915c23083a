"""The photographs of the course: their boxes against the pixels, their licences against scikit-image's own words."""

import ast

import pytest
import torch

import oracles
from course.anchors import figures
from course.kit import free_photographs, pictures
from course.kit.free_photographs import PHOTOGRAPHS
from ssdlib.data import voc

needs_scikit_image = pytest.mark.skipif(
    not free_photographs.installed(), reason="scikit-image isn't installed: pip install scikit-image"
)
NEAR = 4  # px, within which an edge drawn by hand has to lie


def channels(name):
    return voc.read_photograph(free_photographs.example(name).path).int().unbind(dim=2)


def rows(mask):
    """First and last + 1 of the rows in which a mask has anything."""
    found = mask.any(dim=1).nonzero()
    return int(found.min()), int(found.max()) + 1


def columns(mask):
    return rows(mask.T)


def box(name):
    [found] = free_photographs.example(name).boxes.int().tolist()
    return found


@needs_scikit_image
def test_the_box_of_the_astronaut_reaches_from_hair_to_border_and_from_sleeve_to_sleeve():
    red, green, blue = channels("astronaut")
    hair = red[:100, 150:310] < 150  # before a light backdrop
    orange = (red > 190) & (green > 70) & (blue < 110) & (red - green > 70)
    left_sleeve, right_sleeve = orange[300:500, :100], (red - blue)[330:352, 340:370] > 80
    edges = [columns(left_sleeve)[0], rows(hair)[0], 340 + columns(right_sleeve)[1], rows(orange)[1]]
    assert box("astronaut") == pytest.approx(edges, abs=NEAR)


@needs_scikit_image
def test_the_box_of_the_camera_man_reaches_from_hair_to_border_and_from_border_to_glove():
    grey = channels("camera")[0]
    hair, glove, coat = grey[:100, 150:270] < 120, grey[165:200, :340] < 60, grey[300:] < 60
    edges = [columns(coat)[0], rows(hair)[0], columns(glove)[1], 300 + rows(coat[:, :200])[1]]
    assert box("camera") == pytest.approx(edges, abs=NEAR)


@needs_scikit_image
def test_the_box_of_the_cat_ends_where_the_ear_does_and_at_three_borders():
    red = channels("chelsea")[0]
    ear = red[:1, 320:] > 110  # before something dark
    height, width = red.shape
    assert box("chelsea") == pytest.approx([0, 0, 320 + columns(ear)[1], height], abs=NEAR)
    assert box("chelsea")[2] < width - 40


@needs_scikit_image
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_the_licence_is_what_scikit_image_says(name):
    """The docstring of `skimage.data.<name>`, read without importing it, names the author and allows what we say."""
    source = (free_photographs.folder() / "_fetchers.py").read_text("utf-8")
    words = {node.name: ast.get_docstring(node) for node in ast.parse(source).body if hasattr(node, "name")}
    said = " ".join(words[name].lower().split())
    assert PHOTOGRAPHS[name].licence.lower() in said
    assert PHOTOGRAPHS[name].title.split(" by ")[1].lower() in said


@needs_scikit_image
@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_is_an_example_like_any_other(name):
    example, photograph = free_photographs.example(name), PHOTOGRAPHS[name]
    assert len(example.boxes) == len(example.labels) == len(example.difficult) == len(photograph.objects)
    scene = pictures.scene(example)  # read, resampled and labelled by the library's own code
    assert scene.names == [label for label, _ in photograph.objects]
    width, height = example.size
    stretched = example.boxes * torch.tensor([300 / width, 300 / height] * 2)
    torch.testing.assert_close(scene.boxes, stretched, rtol=0, atol=1e-3)
    assert free_photographs.credit(name).endswith(photograph.licence)


@needs_scikit_image
def test_pixels_to_which_the_boxes_do_not_belong_are_refused(monkeypatch):
    from dataclasses import replace

    monkeypatch.setitem(PHOTOGRAPHS, "chelsea", replace(PHOTOGRAPHS["chelsea"], size=(450, 300)))
    with pytest.raises(voc.VOCError, match=r"chelsea\.png: 451x300 px; wanted 450x300"):
        free_photographs.example("chelsea")


def test_without_scikit_image_each_has_a_stand_in_of_its_own(monkeypatch):
    monkeypatch.setattr(free_photographs, "find_spec", lambda name: None)
    assert not free_photographs.installed()
    given = {name: free_photographs.example(name) for name in PHOTOGRAPHS}
    assert len({e.image_id for e in given.values()}) == len(PHOTOGRAPHS)
    alone = [e for e in pictures.test_set() if len(e.labels) == 1 and not e.difficult.any()]
    largest = sorted(filled(e) for e in alone)[-len(PHOTOGRAPHS) :]
    assert [filled(e) for e in given.values()] == largest[::-1]
    assert all("test scene" in free_photographs.credit(name) for name in PHOTOGRAPHS)


def filled(example):
    """The part of the picture that its first box fills, of whole pixels."""
    x1, y1, x2, y2 = example.boxes[0].tolist()
    return (x2 - x1) * (y2 - y1) / (example.size[0] * example.size[1])


def test_the_anchor_that_is_drawn_for_each_map_overlaps_the_object_most():
    scene = pictures.scene(free_photographs.example("chelsea"))
    figure = figures.best_of_each_map(scene)
    anchors = oracles.caffe_anchors()
    for ax, first, count in zip(figure.axes, oracles.FIRST, oracles.PER_MAP, strict=True):
        best, equals = oracles.best_anchors(scene.boxes[0].tolist(), anchors[first : first + count])
        drawn = torch.from_numpy(ax.patches[-1].get_bbox().get_points()).flatten()
        assert min(float((torch.tensor(anchors[first + k]) - drawn).abs().max()) for k in equals) < 1e-3
        assert ax.get_title().endswith(f"{best:.2f}")


@needs_scikit_image
def test_a_figure_names_all_whose_photographs_it_shows():
    below = free_photographs.draw_photographs().get_supxlabel()
    assert all(photograph.credit in below for photograph in PHOTOGRAPHS.values())
