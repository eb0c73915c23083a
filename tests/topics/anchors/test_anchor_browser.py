"""The anchor browser, coverage and what goes with them: against loops over all boxes, hand numbers, typed answers."""

import math
import random
from dataclasses import replace

import pytest
import torch

import oracles
from course.anchors import anchor_browser, check, coverage, figures, other_anchors, places
from course.anchors.anchor_browser import AnchorBrowser
from course.boxes.voc_facts import counted as facts
from course.boxes.voc_facts import shapes
from course.kit.checking import RIGHT, WRONG
from ssdlib import box_ops
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes

SPECS = {
    "released": SSD300_ANCHORS,
    "squares": replace(SSD300_ANCHORS, aspect_ratios=((),) * 6),
    "small": replace(SSD300_ANCHORS, first_percent=5, percent_range=(12, 70)),
    "letter": other_anchors.LetterSpec(),
}


def share_by_loop(spec: AnchorSpec, line: int, column: int, places: int, threshold: float) -> float:
    """Lay objects of one bin at their places, one after the other, and ask all anchors."""
    every, hits = default_boxes(spec).double(), 0
    for a in range(places):
        for b in range(places):
            w, h = 5 * column + 5 * (a + 0.5) / places, 5 * line + 5 * (b + 0.5) / places
            x = (300 - w) * ((3 * a + 1) % places + 0.5) / places
            y = (300 - h) * ((3 * b + 1) % places + 0.5) / places
            table = box_ops.iou(torch.tensor([x, y, x + w, y + h]).double(), every)
            hits += bool(table.max() >= threshold)
    return hits / places**2


# --- Coverage


@pytest.mark.parametrize("name", SPECS)
def test_a_shape_is_covered_where_the_best_of_all_anchors_reaches_the_threshold(name):
    share = coverage.covered(SPECS[name], places=4)
    chosen = random.Random(1).sample([(i, k) for i in range(60) for k in range(60)], 40)
    for line, column in [(4, 4), (3, 8), (0, 0), (59, 59), (20, 3), *chosen]:
        assert float(share[line, column]) == share_by_loop(SPECS[name], line, column, 4, 0.5)


def test_the_threshold_is_one_of_iou():
    share = coverage.covered(threshold=0.7, places=4)
    for line, column in ((4, 4), (12, 12), (30, 20), (22, 22), (50, 11)):
        assert float(share[line, column]) == share_by_loop(SSD300_ANCHORS, line, column, 4, 0.7)


def test_places_lie_inside_the_image_and_spread_evenly():
    sizes, centres = coverage.placed(300.0)
    assert (centres - sizes / 2 >= 0).all() and (centres + sizes / 2 <= 300).all()
    free = ((centres - sizes / 2) / (300 - sizes)).sort(dim=1)[0]
    assert torch.allclose(free, ((torch.arange(7) + 0.5) / 7).expand(60, 7), atol=1e-3)
    assert ((sizes / 5).floor() == torch.arange(60)[:, None]).all()


def test_the_estimate_is_within_half_a_percent_of_the_count_at_real_places():
    counted = 1 - facts()["best_iou_below_threshold"] / facts()["objects"]
    assert abs(coverage.coverage(SSD300_ANCHORS, shapes()) - counted) < 0.005


def test_the_table_holds_every_object_and_small_objects_are_those_that_no_anchor_covers():
    table = shapes()
    assert table.shape == (60, 60) and int(table.sum()) == facts()["objects"]
    bands = coverage.by_size(coverage.covered(), table)
    assert sum(count for count, _ in bands) == facts()["objects"]
    assert bands[0][1] < 0.05 < 0.8 < bands[1][1] and bands[-1][1] > 0.99


def test_a_table_without_objects_is_covered_by_nothing():
    assert coverage.coverage(SSD300_ANCHORS, torch.zeros(60, 60)) == 0
    assert all(band == (0, 0.0) for band in coverage.by_size(coverage.covered(), torch.zeros(60, 60)))


# --- Places and the border


def test_a_number_is_a_place_and_back_as_loops_count_them():
    index = 0
    for level, side in enumerate(oracles.SIDES):
        for line in range(side):
            for column in range(side):
                for shape in range(oracles.CELL[level]):
                    assert places.place_of(index) == places.Place(level, line, column, shape)
                    assert places.index_of(places.Place(level, line, column, shape)) == index
                    index += 1
    assert index == 8732


@pytest.mark.parametrize("index", [-1, 8732])
def test_a_number_that_no_anchor_has_is_refused(index):
    with pytest.raises(IndexError, match="0 to 8731"):
        places.place_of(index)


def test_2869_anchors_cross_and_a_box_that_touches_doesnt():
    assert oracles.per_map(anchor_browser.crossing(default_boxes())) == (1356, 914, 427, 136, 34, 2)
    touching = torch.tensor([[0.0, 0, 300, 300], [0, 0, 300.01, 300], [-0.01, 0, 5, 5]])
    assert anchor_browser.crossing(touching).tolist() == [False, True, True]
    assert anchor_browser.crossing(torch.zeros(0, 4)).shape == (0,)


def test_shapes_have_their_names_in_the_order_of_caffe():
    assert anchor_browser.names(SSD300_ANCHORS, 2) == ["1", "1'", "2", "1/2", "3", "1/3"]
    assert anchor_browser.names(SSD300_ANCHORS, 0) == ["1", "1'", "2", "1/2"]
    for level in range(6):
        for name, (w, h) in zip(
            anchor_browser.names(SSD300_ANCHORS, level), SSD300_ANCHORS.shapes(level), strict=True
        ):
            assert w / h == pytest.approx(eval(name.rstrip("'")))


# --- Anchors of other codes


def test_the_tutorials_anchors_differ_by_up_to_103_6_px_as_measured_on_its_own_code():
    theirs = other_anchors.reordered(default_boxes(other_anchors.LetterSpec()), (0, 1, 2, 4, 3, 5))
    assert float((theirs - default_boxes()).abs().max()) == pytest.approx(103.6, abs=0.05)
    assert other_anchors.LetterSpec().min_sizes == pytest.approx((30, 60, 112.5, 165, 217.5, 270))


def test_each_variant_changes_what_its_name_says():
    variants = other_anchors.variants()
    count = {name: int(other_anchors.changed(v).sum()) for name, v in variants.items()}
    assert count["as trained"] == 0 and count["sizes clipped"] == 20 and count["centres clipped"] == 134
    assert count["order 1 1' 2 3 1/2 1/3"] == (2166 + 600 + 150) // 3
    assert count["centres (i + ½) / cells"] == 8732 - 36 - 4  # 300 / 3 and 300 / 1 are the strides
    sizes = box_ops.to_cxcywh(variants["sizes by equation 4"])
    assert torch.allclose(sizes[:, :2], box_ops.to_cxcywh(default_boxes())[:, :2], atol=1e-3)
    assert float(sizes[7942, 2]) == pytest.approx(112.5)
    swapped = box_ops.to_cxcywh(variants["ratio read as h / w"])
    assert torch.allclose(swapped[:, :2], box_ops.to_cxcywh(default_boxes())[:, :2], atol=1e-3)
    assert torch.allclose(swapped[:, 2:], box_ops.to_cxcywh(default_boxes())[:, 2:].flip(1), atol=1e-3)
    turned = box_ops.to_cxcywh(variants["columns before rows"])
    assert torch.allclose(turned[:, :2], box_ops.to_cxcywh(default_boxes())[:, :2].flip(1), atol=1e-3)


@pytest.mark.slow
def test_the_network_loses_nothing_by_clipping_much_by_columns_and_says_more_that_is_wrong_by_order():
    if not (other_anchors.pictures.ROOT / other_anchors.pictures.MINI).exists():
        pytest.skip("the mini VOC isn't there; `make mini` paints it")
    answers = other_anchors.ask_network(count=26)
    score = {name: answers.score(anchors) for name, anchors in other_anchors.variants().items()}
    found, wrong, iou = score["as trained"]
    assert score["centres clipped"] == score["sizes clipped"] == score["as trained"]
    assert score["order 1 1' 2 3 1/2 1/3"][1] > wrong and score["ratio read as h / w"][1] > wrong
    assert score["centres (i + ½) / cells"][2] < iou - 0.02
    assert score["columns before rows"][0] < found / 3


# --- The explorer


def test_it_says_where_it_stands_and_what_it_covers():
    browser = AnchorBrowser()
    assert repr(browser) == (
        "AnchorBrowser(map 3, row 4, column 4, sizes [30, 60, 111, 162, 213, 264], 8732 anchors, 88.1 % covered)"
    )
    assert "427 of the map's 600 cross the border" in browser.summary()
    assert browser.board.status == "map 10², row 4, column 4; centre (144, 144), 32 px apart"


def test_a_click_goes_to_the_cell_it_hits_and_the_cross_to_its_centre():
    browser = AnchorBrowser()
    browser.board.pointer = [70.0, 3.0]
    assert browser.cell == (0, 2) and browser.board.pointer == [80.0, 16.0]
    browser.board.pointer = [9999.0, 299.0]
    assert browser.cell == (9, 9) and browser.board.pointer == [304.0, 304.0]


@pytest.mark.parametrize("level", range(6))
def test_each_map_can_be_walked_through_from_its_first_cell_to_its_last(level):
    browser = AnchorBrowser(level=level)
    stride, side = oracles.STRIDES[level], oracles.SIDES[level]
    assert browser.board.key_step == stride
    assert browser.board.pointer_limits == [stride / 2] * 2 + [(side - 0.5) * stride] * 2
    for corner, cell in (([0.0, 0.0], (0, 0)), ([400.0, 400.0], (side - 1, side - 1))):
        browser.board.pointer = corner
        assert browser.cell == cell
    mine = [drawn["boxes"] for drawn in browser.board.scene["layers"] if drawn["texts"]]
    last = default_boxes().split(oracles.PER_MAP)[level][-oracles.CELL[level] :]
    assert torch.allclose(torch.tensor(mine), last, atol=0.01)


def test_sliders_make_another_spec_and_the_button_brings_the_released_one_back():
    browser = AnchorBrowser()
    browser.first.value, browser.range.value = 7, (15, 90)
    browser.ratios.value = "squares only"
    assert [round(s) for s in browser.spec.min_sizes] == [21, 45, 99, 153, 207, 261]
    assert "sizes [21, 45, 99, 153, 207, 261], 3880 anchors" in repr(browser)
    assert sum(bool(drawn["texts"]) for drawn in browser.board.scene["layers"]) == 2
    browser.reset.click()
    assert browser.spec == SSD300_ANCHORS and "8732 anchors, 88.1 %" in repr(browser)


def test_what_it_shows_besides_are_those_that_cross_or_those_that_clipping_changes():
    browser = AnchorBrowser(level=2)
    counts = []
    for choice in (anchor_browser.BORDER, anchor_browser.CENTRES, anchor_browser.SIZES):
        browser.show.value = choice
        [shown] = [drawn for drawn in browser.board.scene["layers"] if drawn["line"] == 0.7]
        counts.append(len(shown["boxes"]) // 4)
    assert counts == [427, 114, 0]


def test_figures_are_drawn_without_a_photograph_of_ones_own():
    figure = figures.shapes_of_voc(SPECS["squares"])
    assert len(figure.axes) == 3
    assert AnchorBrowser().still().axes


# --- Wrong answers as learners type them


def said(exercise, answer) -> str:
    """All that a check says of a wrong answer, which it does at the second try."""
    exercise(answer)
    verdict = exercise(answer)
    assert verdict.state == WRONG
    return verdict.message


def test_a_step_that_isnt_floored_is_named():
    def answer(first, low, high, maps):
        step = (high - low) / (maps - 2)
        return [first * 3.0] + [3 * (low + i * step) for i in range(maps)]

    assert "whole number of percent" in said(check.sizes, answer)


def test_shapes_typed_with_the_tutorials_order_or_without_the_root_are_told_apart():
    def standing_last(s, n, ratios):
        out = [[s, s], [math.sqrt(s * n)] * 2]
        out += [[s * math.sqrt(r), s / math.sqrt(r)] for r in ratios]
        return out + [[s / math.sqrt(r), s * math.sqrt(r)] for r in ratios]

    def no_root(s, n, ratios):
        out = [[s, s], [math.sqrt(s * n)] * 2]
        for r in ratios:
            out += [[s * r, s / r], [s / r, s * r]]
        return out

    assert "2, 1/2, 3, 1/3" in said(check.shapes, standing_last)
    assert "root is missing" in said(check.shapes, no_root)
    assert "large square" in said(
        check.shapes, lambda s, n, r: [(s, s), (n, n)] + check.shapes.right(s, n, r)[2:]
    )
    right = check.shapes.right
    assert "tall ones are missing" in said(
        check.shapes, lambda s, n, r: right(s, n, ()) + right(s, n, r)[2::2]
    )
    assert "don't round" in said(
        check.shapes, lambda s, n, r: [[round(x) for x in shape] for shape in right(s, n, r)]
    )


def test_centres_by_meshgrid_with_the_wrong_indexing_are_named_and_a_list_of_pairs_is_accepted():
    def meshed(cells, stride):
        c = (torch.arange(cells) + 0.5) * stride
        x, y = torch.meshgrid(c, c, indexing="ij")
        return torch.stack([x, y], dim=-1).reshape(-1, 2)

    def listed(cells, stride):
        return [((j + 0.5) * stride, (i + 0.5) * stride) for i in range(cells) for j in range(cells)]

    assert "x and y are swapped" in said(check.centres, meshed)
    assert check.centres(listed).state == RIGHT
    assert "not at i · stride" in said(
        check.centres, lambda f, s: [(j * s, i * s) for i in range(f) for j in range(f)]
    )
    assert "half a pixel in" in said(
        check.centres, lambda f, s: [(j * s + 0.5, i * s + 0.5) for i in range(f) for j in range(f)]
    )
    assert "number 0" in said(
        check.centres, lambda f, s: [(j * s + s, i * s + s) for i in range(f) for j in range(f)]
    )


def test_a_count_with_one_box_for_each_ratio_and_the_paper_number():
    assert check.count512(24564).state == RIGHT
    assert "without the comma" in said(check.count512, (24, 564))
    assert "counts twice" in said(check.count512, 64**2 * 3 + (1024 + 256 + 64 + 16) * 4 + 5 * 3)


def test_a_place_with_the_border_of_a_map_off_by_one_and_one_by_planes():
    def late(index):
        level = 0
        for n in SSD300_ANCHORS.per_map:
            if index <= n:
                break
            index, level = index - n, level + 1
        k, f = SSD300_ANCHORS.boxes_per_cell[level], SSD300_ANCHORS.feature_maps[level]
        return level, index // k // f, index // k % f, index % k

    assert ">=, not >" in said(check.place, late)
    assert "a place" not in said(check.place, lambda index: (0, 0, 0, 0))


def test_crossing_counted_by_corners_or_with_touching_boxes():
    assert "one box" in said(check.crossing, lambda b: ((b < 0) + (b > 300)).sum())
    assert "add them up" in said(check.crossing, lambda b: ((b < 0) | (b > 300)).any(dim=1))
    assert "x and y both count" in said(check.crossing, lambda b: ((b[:, 1] < 0) | (b[:, 3] > 300)).sum())
    assert "still inside" in said(
        check.crossing, lambda b: ((b.amin(1) <= 0) | (b.amax(1) >= 300)).sum() if len(b) else 0
    )
    assert check.crossing(lambda b: sum(min(row) < 0 or max(row) > 300 for row in b.tolist())).state == RIGHT


def test_bars_say_what_the_table_says_and_the_dots_are_the_anchors_shapes():
    browser = AnchorBrowser()
    browser.first.value = 20
    layers = browser.chart.scene["layers"]
    width = anchor_browser.BARS.right - anchor_browser.BARS.left
    for drawn, column in ((layers[2], 0), (layers[3], 1)):
        shares = [100 * (drawn["boxes"][i + 2] - drawn["boxes"][i]) / width for i in range(0, 24, 4)]
        rows = [
            line for line in browser.summary() if "px" in line[:12] and "-" in line[:12] or "covered" in line
        ]
        said = [float(line.split()[-2 + column]) for line in rows]
        assert shares == pytest.approx([*said[1:], said[0]], abs=0.06)
    sizes = {round(w) for i in range(6) for w, _ in browser.spec.shapes(i)}
    places = layers[1]["points"][::2]
    scale = (anchor_browser.HEAT.right - anchor_browser.HEAT.left) / 300
    assert {round((x - anchor_browser.HEAT.left) / scale) for x in places} == sizes


def test_the_heat_map_is_darkest_where_most_objects_are():
    picture, table = anchor_browser.heat(), anchor_browser.voc_shapes()
    line, column = divmod(int(table.argmax()), table.shape[1])
    dark = picture.sum(dim=-1)
    assert dark[295 - 5 * line, 5 * column] == dark.min() and (picture[:5, :5] > 200).all()
