"""Chapter 01: the overlap explorer against counted squares, facts against the tables of VOC, the checks."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course.boxes import check, voc_facts
from course.boxes.overlap import (
    CANVAS,
    NOTATIONS,
    PRESETS,
    SIZE,
    Overlaps,
    measure,
    notations,
    worth_reading,
    written,
)
from course.kit import checking
from ssdlib.data import voc
from ssdlib.records import LABELS, Example
from voc_tables import TABLE

sys.path.insert(0, str(Path(__file__).parents[3] / "data_scripts"))

whole = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(1, 8)] * 2).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def squares(box, last=0):
    x1, y1, x2, y2 = box
    return {(x, y) for x in range(x1, x2 + last) for y in range(y1, y2 + last)}


# ---- what two boxes share


@given(whole, whole)
def test_intersection_union_and_iou_are_those_of_counted_squares(first, second):
    found = measure(torch.tensor(first).float(), torch.tensor(second).float())
    both, either = squares(first) & squares(second), squares(first) | squares(second)
    assert (found.intersection, found.union) == (len(both), len(either))
    assert found.iou == pytest.approx(len(both) / len(either))
    if both:
        assert squares(found.shared.int().tolist()) == both


@given(whole, whole)
def test_plus_one_counts_the_squares_of_inclusive_corners(first, second):
    found = measure(torch.tensor(first).float(), torch.tensor(second).float())
    both, either = (squares(first, 1) & squares(second, 1), squares(first, 1) | squares(second, 1))
    assert found.iou_plus_one == pytest.approx(len(both) / len(either))


def test_boxes_far_apart_share_nothing_and_boxes_without_area_are_no_nan():
    apart = measure(torch.tensor([0.0, 0, 20, 20]), torch.tensor([50.0, 50, 70, 80]))
    assert (apart.intersection, apart.iou, apart.union) == (0, 0, 1000)
    empty = measure(torch.tensor([5.0, 5, 5, 9]), torch.tensor([5.0, 5, 5, 9]))
    assert (empty.intersection, empty.union, empty.iou) == (0, 0, 0)


def test_one_box_in_four_notations_by_hand():
    found = notations(torch.tensor([100.0, 75, 200, 300]), (500, 375))
    assert list(found) == list(NOTATIONS)
    wanted = ([100, 75, 200, 300], [150, 187.5, 100, 225], [0.2, 0.2, 0.4, 0.8], [101, 76, 200, 300])
    for numbers, right in zip(found.values(), wanted, strict=True):
        assert numbers == pytest.approx(right)


def test_the_whole_picture_and_the_first_pixel_read_as_voc_writes_them():
    assert notations(torch.tensor([0.0, 0, 500, 375]), (500, 375))["VOC, from 1"] == [1, 1, 500, 375]
    assert notations(torch.tensor([0.0, 0, 1, 1]), (500, 375))["VOC, from 1"] == [1, 1, 1, 1]


def test_numbers_are_written_short():
    assert written([100.0, 187.5, 1 / 3, 0.0]) == "100, 187.5, 0.3333, 0"


def test_a_picture_worth_reading_has_an_overlap_and_a_difficult_object():
    def example(boxes, difficult, width=500):
        n = len(boxes)
        labels, flags = torch.ones(n, dtype=torch.int64), torch.tensor(difficult, dtype=torch.bool)
        corners = torch.tensor(boxes).reshape(-1, 4)
        return Example("x", Path("x.jpg"), (width, 375), corners, labels, flags)

    overlapping, apart = [[0.0, 0, 9, 9], [2, 2, 9, 9]], [[0.0, 0, 9, 9], [20, 20, 29, 29]]
    good = example(overlapping, [True, False])
    others = [
        example(apart, [True, False]),
        example(overlapping, [False, False]),
        example(overlapping, [True, False], width=375),
        example([], []),
    ]
    assert worth_reading([*others, good]) == [good]


# ---- the explorer

IOU = {
    "half shifted": 1 / 3,
    "same box": 1.0,
    "one inside the other": 0.25,
    "touching edge": 0.0,
    "one pixel wide": 0.5,
    "disjoint": 0.0,
}


@pytest.mark.parametrize("preset", PRESETS)
def test_the_presets_show_what_they_promise(preset):
    explorer = Overlaps(preset=preset)
    assert explorer.result.iou == pytest.approx(IOU[preset])
    assert f"IoU {IOU[preset]:.3f}" in repr(explorer) and f"IoU {IOU[preset]:.3f}" in explorer.board.status
    layers = explorer.board.scene["layers"]
    assert len(layers) == (2 if IOU[preset] else 1)


@pytest.mark.parametrize("preset", PRESETS)
def test_squeezing_changes_the_boxes_and_not_the_iou_and_back_again(preset):
    explorer = Overlaps(preset=preset)
    before, iou = explorer.board.boxes, explorer.result.iou
    explorer.squeeze.value = True
    assert explorer.board.frame == [0, 0, *CANVAS] and explorer.result.iou == pytest.approx(iou, abs=2e-2)
    for box, small in zip(before, explorer.board.boxes, strict=True):
        wanted = [
            box[0] * 300 / SIZE[0],
            box[1] * 300 / SIZE[1],
            box[2] * 300 / SIZE[0],
            box[3] * 300 / SIZE[1],
        ]
        assert small == pytest.approx(wanted, abs=0.06)
    explorer.squeeze.value = False
    assert sum(explorer.board.boxes, []) == pytest.approx(sum(before, []), abs=0.2)


def test_a_preset_chosen_while_squeezed_is_squeezed_too():
    explorer = Overlaps()
    explorer.squeeze.value = True
    explorer.preset.value = "one inside the other"
    assert explorer.board.boxes[0] == pytest.approx([24, 48, 96, 144])
    assert explorer.result.iou == pytest.approx(0.25)


def test_the_buttons_change_the_numbers_and_nothing_else():
    explorer = Overlaps()
    state = repr(explorer)
    explorer.notation.value = "centre, px"
    assert "A: 100, 120, 120, 120" in explorer.table.value
    explorer.notation.value = "unit, corners"
    assert "B: 0.2, 0.16, 0.44, 0.48" in explorer.table.value
    explorer.notation.value = "VOC, from 1"
    assert "B: 101, 61, 220, 180" in explorer.table.value
    assert repr(explorer) == state


def test_moving_a_box_changes_picture_words_and_state():
    explorer = Overlaps()
    before = (explorer.board.scene, explorer.board.status, explorer.table.value, repr(explorer))
    explorer.board.boxes = [[40.0, 60, 160, 180], [80, 60, 200, 180]]
    after = (explorer.board.scene, explorer.board.status, explorer.table.value, repr(explorer))
    assert all(a != b for a, b in zip(before, after, strict=True))
    assert repr(explorer) == "Overlaps(A [40.0, 60.0, 160.0, 180.0], B [80.0, 60.0, 200.0, 180.0], IoU 0.500)"


def test_with_a_picture_the_unit_is_that_of_the_picture():
    explorer = Overlaps(torch.zeros(400, 200, 3, dtype=torch.uint8))
    explorer.notation.value = "unit, corners"
    assert explorer.board.frame == [0, 0, 200, 400] and "A: 0.2, 0.15, 0.8, 0.45" in explorer.table.value


def test_it_brings_a_still_picture_with_words_for_pages_without_a_kernel():
    data, metadata = Overlaps()._repr_mimebundle_()
    assert data["text/plain"].startswith("Overlaps(A [40.0")
    assert data["image/png"].startswith("iVBOR") and len(metadata["image/png"]["alt"]) > 20


# ---- the counted facts


def test_the_facts_about_each_set_are_those_the_library_states():
    counted = voc_facts.classes()
    assert list(counted) == list(voc.COUNTS)
    for name, rows in counted.items():
        everything = rows["all"]
        difficult = everything["objects"] - everything["objects_easy"]
        assert (everything["images"], everything["objects"], difficult) == voc.COUNTS[name]
        assert everything["objects"] == sum(rows[title]["objects"] for title in voc.CLASSES[1:])


def test_the_facts_are_those_of_the_development_kits_documentation():
    counted = voc_facts.classes()
    wanted = {"2007-trainval": (5011, 12608), "2012-trainval": (11540, 27450), "2007-test": (4952, 12032)}
    assert {n: (r["all"]["images"], r["all"]["objects_easy"]) for n, r in counted.items()} == wanted
    for title in voc.CLASSES[1:]:
        old, new, test = (rows[title] for rows in counted.values())
        found = (old["images_easy"], old["objects_easy"], new["images_easy"], new["objects_easy"])
        assert (*found, test["objects_easy"]) == TABLE[title]


def test_the_histograms_hold_every_object_of_07_12_once():
    assert sum(count * pictures for count, pictures in voc_facts.per_image().items()) == 47223
    assert int(voc_facts.shapes().sum()) == 47223 and sum(voc_facts.per_image().values()) == 16551


def test_the_share_of_small_objects_is_counted_in_both_directions():
    table = torch.zeros(60, 60, dtype=torch.int64)
    table[5, 5], table[6, 5], table[5, 6], table[0, 59] = (
        2,
        1,
        1,
        4,
    )  # 25..30 px square, and three shapes larger
    assert voc_facts.smaller_than(30, table) == pytest.approx(2 / 8)


def test_counting_classes_by_hand():
    from count_facts import HEAD, per_class

    def example(labels, difficult):
        n = len(labels)
        labels, flags = torch.tensor(labels, dtype=torch.int64), torch.tensor(difficult, dtype=torch.bool)
        return Example("x", Path("x.jpg"), (500, 375), torch.zeros(n, 4), labels, flags)

    lines = per_class("set", [example([1, 1, 2], [True, False, True]), example([], []), example([1], [True])])
    assert HEAD.count(",") == lines[0].count(",")
    assert lines[:3] == ["set,aeroplane,2,3,1,1", "set,bicycle,1,1,0,0", "set,bird,0,0,0,0"]
    assert lines[-1] == "set,all,2,4,1,1"


def test_counting_what_an_augmentation_leaves_gives_bounds_known_by_hand():
    """A picture without objects is shown whole and stays empty; an object that is the picture always stays."""
    from count_facts import RULES_HEAD, per_rule

    def example(boxes):
        easy = torch.zeros(len(boxes), dtype=torch.bool)
        boxes = torch.tensor(boxes).reshape(-1, 4)
        return Example("x", Path("x.jpg"), (300, 300), boxes, torch.ones(len(boxes), dtype=torch.int64), easy)

    nothing, everything = example([]), example([[0.0, 0, 300, 300]])
    for size in (2, 3):
        for line in per_rule([nothing, everything] * 3, size):
            row = dict(zip(RULES_HEAD.split(","), line.split(","), strict=True))
            assert (row["pictures"], row["emptied"], row["objects"]) == ("6", "3", "3")
            assert 3 <= int(row["whole"]) <= 6 and int(row["anchors"]) >= 3


def test_the_table_of_the_rules_counts_every_picture_once_for_each_of_them():
    found = voc_facts.by_rule()
    assert list(found) == ["caffe", "ssd_keras"]
    assert all(row["pictures"] == 16551 == voc_facts.counted()["images"] for row in found.values())
    assert (
        found["ssd_keras"]["emptied"] < 0.75 * found["caffe"]["emptied"]
    )  # 4.2 against 8.4 % by its own program


@pytest.mark.slow
def test_counting_the_genuine_annotations_again_gives_the_same_facts(genuine):
    from count_facts import count_classes

    assert count_classes(genuine) == (voc_facts.FOLDER / "voc_classes.csv").read_text()


def test_the_figures_of_the_facts_show_every_class_and_every_picture():
    left, right = voc_facts.sizes_drawn().axes
    assert sum(bar.get_height() for bar in left.patches) == 16551
    names = [t.get_text() for t in voc_facts.classes_drawn().axes[0].get_yticklabels()]
    assert sorted(names) == sorted(voc.CLASSES[1:]) and names[-1] == "person"


# ---- wrong answers as one types them


def answers_of_a_learner():
    def half(b):
        return torch.stack([b[:, 0] - b[:, 2] / 2, b[:, 1] - b[:, 3] / 2, b[:, 0] + b[:, 2] / 2, b[:, 1]], 1)

    def top_left(b):
        out = b.clone()
        out[..., 2:] += out[..., :2]
        return out

    yield check.to_corners, half, "one box: your function stopped with IndexError"
    yield check.to_corners, top_left, "the first two numbers are the centre"

    def in_place(b):
        b[..., 2:] += b[..., :2]
        return b

    yield check.to_corners, in_place, "your function changed what it was given"

    def minus_all(c):
        return c - 1

    yield check.from_voc, minus_all, "you took 1 off all four"

    def no_clamp(a, b):
        x, y = torch.maximum(a[..., 0], b[..., 0]), torch.maximum(a[..., 1], b[..., 1])
        r, s = torch.minimum(a[..., 2], b[..., 2]), torch.minimum(a[..., 3], b[..., 3])
        both = (r - x) * (s - y)
        areas = (
            (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1]),
            (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]),
        )
        return both / (areas[0] + areas[1] - both)

    yield check.iou, no_clamp, "boxes apart in x and in y have a negative width"

    def sides(b, plus=0):
        return (b[..., 2] - b[..., 0] + plus) * (b[..., 3] - b[..., 1] + plus)

    def inner(a, b, plus=0):
        low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
        return (high - low + plus).clamp(min=0).prod(-1)

    yield (
        check.iou,
        lambda a, b: inner(a, b, 1) / (sides(a, 1) + sides(b, 1) - inner(a, b, 1)),
        "your boxes are a pixel wider",
    )
    yield (
        check.iou,
        lambda a, b: inner(a, b) / (sides(a) + sides(b)).clamp(min=1e-9),
        "your union is the sum of both areas",
    )
    yield (
        check.iou,
        lambda a, b: inner(a, b) / (sides(a) + sides(b) - inner(a, b)),
        "two boxes without area give 0 / 0",
    )
    yield check.iou, lambda a, b: inner(a, b), "that is the intersection"

    def flat(a, b):
        width = torch.minimum(a[:, 2], b[:, 2]) - torch.maximum(a[:, 0], b[:, 0])
        height = torch.minimum(a[:, 3], b[:, 3]) - torch.maximum(a[:, 1], b[:, 1])
        both = width.clamp(0) * height.clamp(0)
        return torch.where(both > 0, both / (sides(a) + sides(b) - both), 0.0)

    yield check.iou, flat, "a table: two boxes against three: your function stopped with IndexError"

    def still_swapped(b, width):
        out = b.clone()
        out[..., 0::2] = width - out[..., 0::2]
        return out

    yield check.mirrored, still_swapped, "your xmin is larger than your xmax"
    yield (
        check.judged,
        lambda e, name: sum(voc.CLASSES[label] == name for label in e.labels.tolist()),
        "you counted the difficult objects too",
    )
    yield (
        check.judged,
        lambda e, name: sum(
            voc.CLASSES[1:].index(name) == label and not d
            for label, d in zip(e.labels, e.difficult, strict=True)
        ),
        "your labels are one too small",
    )
    yield check.shift, 60, "too far: after a shift by half its width"
    yield check.shift, 120 / 4, "not far enough: a quarter of the width"
    swapped = ["xywh", "unit cxcywh", "xyxy", "cxcywh", "unit xyxy", "voc", "yxyx"]
    yield check.which, swapped, "two boxes have the same maxima"
    yield check.which, ["voc"] * 7, "6 of 7 aren't right: A, B, D, E, F, G"
    yield check.which, check.which.right[:6], "7 names are wanted, A to G; yours are 6"
    yield check.which, [*check.which.right[:6], "yx"], "there is no 'yx'; choose from xywh"
    yield check.which, "xywh", "yours is 'xywh'"

    def without_dim(b):
        cx, cy, w, h = b.unbind(dim=-1)
        return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])

    yield check.to_corners, without_dim, "the four numbers of a box stand in the last dimension"
    yield check.from_voc, lambda c: c + torch.tensor([1.0, 1, 0, 0]), "the minima moved the wrong way"
    yield (
        check.iou,
        lambda a, b: inner(a, b) / sides(a).clamp(min=1e-9),
        "you divided by the area of the first box alone",
    )
    yield check.shift, 1 / 3, "that is the part of the width"

    def overwritten(b, width):
        b = b.clone()
        b[..., 0] = width - b[..., 2]
        b[..., 2] = width - b[..., 0]
        return b

    yield check.mirrored, overwritten, "your xmax comes from the xmin that you had already overwritten"
    yield (
        check.judged,
        lambda e, name: (e.labels == LABELS[name]) & ~e.difficult,
        "that says yes or no for each object",
    )


@pytest.mark.parametrize("exercise, answer, says", list(answers_of_a_learner()))
def test_a_learner_is_told_which_mistake_it_was(exercise, answer, says):
    verdict = exercise(answer)
    assert verdict.state == checking.WRONG and verdict.message.startswith(says), verdict.message


def test_the_drill_takes_names_as_people_write_them():
    names = ["xywh ", "unit  cxcywh", "VOC", "cxcywh", "Unit xyxy", "xyxy", "yxyx"]
    assert check.which(names).state == check.which(tuple(names)).state == checking.RIGHT


def test_the_explorer_calls_the_plus_one_wrong_as_its_numbers_are_no_pixel_numbers():
    lines = [line for line in Overlaps().summary() if "+1" in line]
    assert lines == ["with a +1, which is wrong here: 0.337"]  # 121 · 61 / (2 · 121² - 121 · 61)


def test_a_box_dragged_out_of_sight_comes_back_with_the_button():
    explorer = Overlaps()
    explorer.squeeze.value = True
    explorer.board.boxes = [[790.0, 810, 910, 930], [-90, -90, -88, -88]]
    explorer.again.click()
    assert repr(explorer) == "Overlaps(A [24.0, 48.0, 96.0, 144.0], B [60.0, 48.0, 132.0, 144.0], IoU 0.333)"


def test_the_seven_notations_of_the_drill_are_one_object():
    name = {letter: kind for letter, kind in zip(check.WRITTEN, check.which.right, strict=True)}
    corners = {"xyxy": (100, 75, 200, 300)}
    corners["voc"] = (100 + 1, 75 + 1, 200, 300)
    corners["yxyx"] = (75, 100, 300, 200)
    corners["xywh"] = (100, 75, 200 - 100, 300 - 75)
    corners["cxcywh"] = ((100 + 200) / 2, (75 + 300) / 2, 100, 225)
    corners["unit xyxy"] = (100 / 500, 75 / 375, 200 / 500, 300 / 375)
    corners["unit cxcywh"] = (150 / 500, 187.5 / 375, 100 / 500, 225 / 375)
    for letter, numbers in check.WRITTEN.items():
        assert numbers == pytest.approx(corners[name[letter]])


def test_the_shift_of_exercise_five_gives_one_half():
    box = torch.tensor([0.0, 0, 120, 120])
    moved = box + torch.tensor([1.0, 0, 1, 0]) * check.shift.right
    assert measure(box, moved).iou == pytest.approx(0.5)
