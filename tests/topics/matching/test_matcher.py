"""Tests of the matcher explorer: its matching against the counts of the released code, its state, its presets."""

import pytest
import torch

from course.kit import checking
from course.matching import check, counts, matcher
from course.matching.matcher import GREEDY, OVERWRITE, Matcher, match_with
from ssdlib import box_ops, matching
from ssdlib.anchors import SSD300_ANCHORS, default_boxes

ANCHORS = default_boxes()
# Unit boxes and the positives per map that the released Caffe code gives them
CASES = {
    "A": ([(0.1, 0.2, 0.4, 0.6)], [0, 6, 8, 0, 0, 0]),
    "B": ([(0.0, 0.0, 1.0, 1.0)], [0, 0, 0, 0, 4, 4]),
    "D": ([(0.1, 0.2, 0.4, 0.6)] * 2, [0, 6, 8, 0, 0, 0]),
    "E": ([(48 / 353, 0.48, 195 / 353, 0.742), (8 / 353, 0.024, 352 / 353, 0.996)], [0, 5, 10, 0, 4, 4]),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("rule", (GREEDY, OVERWRITE))
def test_the_counts_are_those_of_the_released_code(name, rule):
    unit, per_map = CASES[name]
    result = match_with(torch.tensor(unit) * 300, ANCHORS, rule=rule)
    found = torch.tensor([result.per_map(i) for i in range(len(unit))]).sum(dim=0)
    assert found.tolist() == per_map


def test_two_objects_with_one_best_anchor_get_two_anchors_or_lose_one():
    pair = torch.tensor([[0.500, 0.500, 0.510, 0.510], [0.502, 0.500, 0.512, 0.510]]) * 300
    assert (match_with(pair, ANCHORS).matched >= 0).sum() == 2
    shortcut = match_with(pair, ANCHORS, rule=OVERWRITE)
    assert (shortcut.matched >= 0).sum() == 1 and (shortcut.own >= 0).tolist() == [False, True]


def test_no_object_no_positive():
    result = match_with(torch.zeros(0, 4), ANCHORS)
    assert (result.matched == -1).all() and len(result.own) == 0


def test_an_anchor_is_described_by_its_place():
    start = SSD300_ANCHORS.per_map[0]
    assert matcher.describe(0) == "38² map, row 0, column 0, 30x30 px"
    assert matcher.describe(start + 6 * 20 + 4) == "19² map, row 1, column 1, 104x35 px"
    assert matcher.describe(8731) == "1² map, row 0, column 0, 187x373 px"


@pytest.mark.parametrize(
    "preset, found",
    [
        ("two objects, one best anchor", [1, 1]),
        ("too small for any IoU of 0.5", [1]),
        ("the same object twice", [13, 1]),
        ("the whole image", [8]),
    ],
)
def test_the_presets_show_what_they_promise(preset, found):
    assert f"positives {found}" in repr(Matcher(preset=preset))


def test_the_shortcut_loses_the_first_object_in_the_explorer_too():
    explorer = Matcher(preset="two objects, one best anchor")
    explorer.rule.value = OVERWRITE
    assert "positives [0, 1]" in repr(explorer)


def test_moving_a_box_changes_drawing_words_and_state():
    explorer = Matcher()
    before = (explorer.board.scene, explorer.board.status, repr(explorer))
    explorer.board.boxes = [[10.0, 10, 40, 40], [150, 40, 290, 270]]
    after = (explorer.board.scene, explorer.board.status, repr(explorer))
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_it_brings_a_still_image_with_words_for_pages_without_a_kernel():
    data, metadata = Matcher()._repr_mimebundle_()
    assert data["text/plain"].startswith("Matcher(objects")
    assert data["image/png"].startswith("iVBOR") and len(metadata["image/png"]["alt"]) > 20
    assert "application/vnd.jupyter.widget-view+json" in data


def test_a_tiny_overlap_is_not_called_zero_and_no_object_is_no_error():
    explorer = Matcher(preset="too small for any IoU of 0.5")
    explorer.board.boxes = [[0.0, 0, 2, 2]]
    assert "best IoU below 0.01" in explorer.board.status and "step one: 38² map" in explorer.table.value
    explorer.board.boxes = [[-500.0, -500, -490, -490]]
    assert "best IoU 0.00" in explorer.board.status and "step one: none" in explorer.table.value
    explorer.board.boxes = []
    assert explorer.board.status == "0 of 8,732 anchors are positive"


def pairs_of(table: torch.Tensor) -> list[tuple[int, int]]:
    """Naive: the largest number of the table, its row and column struck out, and so on."""
    table, found = table.clone(), []
    while table.max() > 0:
        anchor, i = divmod(int(table.T.argmax()), len(table))
        found.append((i, anchor))
        table[i], table[:, anchor] = 0, 0
    return found


def test_played_step_one_takes_the_pairs_in_the_order_of_a_naive_loop_then_step_two_follows():
    explorer = Matcher(objects=torch.tensor([[30.0, 60, 120, 180], [94, 95, 112, 113], [97, 95, 115, 113]]))
    wanted, told = pairs_of(explorer.result.table), []
    assert len(wanted) == 3
    everything = (explorer.board.scene, explorer.board.status)
    for _ in range(5):
        explorer.play.value += 1
        told.append(explorer.board.status)
        if explorer.round is not None:
            assert list(explorer.taken.items()) == [(anchor, i) for i, anchor in wanted[: explorer.round]]
    assert [line.partition(",")[0] for line in told[:4]] == [
        "no anchor is assigned yet",
        *(f"round {n}: object {i}" for n, (i, _) in enumerate(wanted, 1)),
    ]
    assert (explorer.board.scene, explorer.board.status) == everything and not explorer.play.playing


def test_played_the_shortcut_says_from_whom_an_anchor_is_taken():
    explorer = Matcher(preset="two objects, one best anchor")
    explorer.rule.value = OVERWRITE
    explorer.play.value += 3
    assert explorer.board.status.endswith("taken from object 0")
    explorer.board.boxes = [[10.0, 10, 40, 40]]  # a box that is moved ends the play
    assert explorer.round is None


def test_the_objects_of_an_image_are_called_by_their_class_and_told_apart():
    explorer = Matcher(objects=torch.tensor([[30.0, 60, 120, 180]] * 3), names=["cow", "dog", "cow"])
    assert explorer.board.box_names == ["cow 1", "dog", "cow 2"] and explorer.board.status.startswith(
        "cow 1:"
    )
    explorer.preset.value = "between two cells"
    assert explorer.board.box_names == ["object 0"]


# ---- how many anchors an object gets


def test_the_counts_of_single_objects_are_those_of_matching():
    some = counts.laid(torch.tensor([[12.0, 9], [60, 60], [150, 50], [299, 280], [300, 300]]))
    assert (some >= 0).all() and (some <= 300).all()
    wanted = [int((match_with(box[None], ANCHORS).matched == 0).sum()) for box in some]
    assert counts.anchors_each(some, ANCHORS).tolist() == wanted


def test_no_object_of_less_than_450_px_square_reaches_the_threshold():
    sides = torch.linspace(4, 112, 60)
    thin = torch.stack([sides, 449 / sides], dim=1)
    assert (counts.anchors_each(counts.laid(thin), ANCHORS) == 1).all()


def test_objects_without_an_anchor_are_counted_by_both_rules():
    """Three images: the pair of chapter 03 of which one is overwritten, an 18 px square that reaches no 0.5, a large
    one; and none."""
    pair = torch.tensor([[94.0, 95, 112, 113], [97, 95, 115, 113]])
    large = torch.tensor([[30.0, 30, 130, 130]])
    found = counts.without_an_anchor([pair, large, torch.zeros(0, 4)], default_boxes())
    assert found == {"objects": 3, "overwritten": 1, "below the threshold": 2}


def test_small_objects_have_a_smaller_share_of_the_positives_than_of_the_objects():
    rows = counts.voc_by_size()
    assert sum(row[1] for row in rows) == pytest.approx(1) and sum(row[3] for row in rows) == pytest.approx(1)
    # counted once on every sixth picture of the genuine annotations: 8.5, 15.6, 22.6, 28.4, 24.3 percent of the
    # objects, with 1.0, 5.3, 9.1, 10.4, 8.5 anchors
    assert [row[1] for row in rows] == pytest.approx([0.085, 0.156, 0.226, 0.284, 0.243], abs=0.01)
    assert [row[2] for row in rows] == pytest.approx([1.0, 5.3, 9.1, 10.4, 8.5], abs=0.5)


def test_a_square_like_its_anchor_matches_as_many_of_its_kind_as_exercise_5_says():
    found = []
    for side, stride, cells in zip(
        SSD300_ANCHORS.min_sizes, SSD300_ANCHORS.strides, SSD300_ANCHORS.feature_maps, strict=True
    ):
        middle = (cells // 2 + 0.5) * stride
        box = torch.tensor([middle - side / 2, middle - side / 2, middle + side / 2, middle + side / 2])
        same = ((ANCHORS[:, 2:] - ANCHORS[:, :2] - side).abs() < 1e-3).all(dim=1)
        found.append(int((box_ops.iou(box, ANCHORS[same]) >= matching.THRESHOLD).sum()))
    assert found == check.same_size.right


# ---- answers as a learner would type them


def says(exercise, answer, words):
    """The words are somewhere in what a check says of a wrong answer, which it says in full at the second try."""
    exercise(answer)
    verdict = exercise(answer)
    assert verdict.state == checking.WRONG and words in verdict.message, verdict.message


def test_step_two_wants_the_best_object_and_the_lower_of_equals():
    def any_object(table, threshold):
        return [
            max([i for i in range(len(table)) if table[i, k] >= threshold], default=-1)
            for k in range(table.shape[1])
        ]

    def last_of_equals(table, threshold):
        best = [max(range(len(table)), key=lambda i: (float(table[i, k]), i)) for k in range(table.shape[1])]
        return [i if table[i, k] >= threshold else -1 for k, i in enumerate(best)]

    says(check.step_two, any_object, "you took the last one")
    says(check.step_two, last_of_equals, "the lower one gets it")
    says(check.step_two, lambda table, threshold: table >= threshold, "True and False")


def test_step_one_wants_the_best_pair_of_the_whole_table_whatever_the_order_of_equals():
    def by_anchors(table):
        free, own = set(range(len(table))), [-1] * len(table)
        for k in range(table.shape[1]):
            best = max(sorted(free), key=lambda i: float(table[i, k]), default=None)
            if best is not None and table[best, k] > 0:
                own[best] = k
                free.remove(best)
        return own

    def by_lines(table):  # ties go to the lower object here, which gives the same pairs
        left, own = table.clone(), [-1] * len(table)
        while left.max() > 0:
            i, k = divmod(int(left.argmax()), left.shape[1])
            own[i] = k
            left[i], left[:, k] = 0, 0
        return own

    says(check.greedy, by_anchors, "you took the anchors in their order")
    says(check.greedy, lambda table: table.argmax(dim=1), "that is each object's argmax")
    assert check.greedy(by_lines).state == checking.RIGHT


def test_the_lost_are_those_overwritten_by_any_later_object():
    def by_the_next(table):
        best = table.argmax(dim=1).tolist()
        return [i for i in range(len(best) - 1) if best[i] == best[i + 1]]

    says(check.lost, by_the_next, "look at all later objects")


def test_a_table_frames_what_was_wanted_by_object_or_by_anchor():
    def framed(exercise, answer):
        found = [patch.get_xy() for patch in exercise(answer).figure.axes[0].patches]
        return {(round(x), round(y)) for x, y in found}

    assert check.CHAIN.shape[0] == check.CHAIN.shape[1]  # where the shape doesn't say which is meant

    def wrong_in_the_chain(table):
        return [0, 0, 0] if torch.equal(table, check.CHAIN) else check.greedy.right(table)

    assert framed(check.greedy, wrong_in_the_chain) == {(0, 0), (0, 1), (0, 2), (1, 1)}

    def wrong_shape_after_the_chain(table, threshold):
        right = torch.equal(table, check.CHAIN)
        return check.step_two.right(table, threshold) if right else table.argmax(dim=1)

    both = {(0, 2), (1, 1), (0, 0), (1, 0), (2, 0)}
    assert framed(check.step_two, lambda table, threshold: table.argmax(dim=1)) == both
    assert framed(check.step_two, wrong_shape_after_the_chain) == {(0, 0), (1, 1), (3, 0)}


def test_the_objects_of_the_image_are_the_first_case_and_the_others_follow():
    explorer = Matcher(objects=torch.tensor([[30.0, 60, 120, 180]]))
    assert "objects [[30, 60, 120, 180]], positives [14]" in repr(explorer)
    assert list(explorer.preset.options)[1:] == list(matcher.PRESETS)
