"""Chapter 11's anatomy of errors and AP by size: against plain loops over every detection and object, and by hand."""

import math
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import slow_oracles_data as slow
from course.evaluation import ap_by_size, errors, judging
from ssdlib.data import voc
from ssdlib.evaluate import Results
from ssdlib.records import LABELS, Example

NAMES = ("dog", "cat")
GOLDEN = Path(__file__).parents[2] / "vectors" / "voc_golden"

corner = st.integers(1, 14)
boxes = st.tuples(corner, corner, st.integers(0, 9), st.integers(0, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
ids, names = st.sampled_from(["a", "b"]), st.sampled_from(NAMES)
scores = st.integers(0, 8).map(lambda s: s / 8)
found_rows = st.lists(st.tuples(ids, names, scores, boxes), max_size=14)
object_rows = st.lists(st.tuples(ids, names, boxes, st.sampled_from([False, False, True])), max_size=8)


def subject_of(found, there):
    """Detections (picture, class, score, box) and objects (picture, class, box, difficult) as a subject."""
    examples = []
    for image in "ab":
        mine = [row for row in there if row[0] == image]
        corners = torch.tensor([box for *_, box, _ in mine], dtype=torch.float32).reshape(-1, 4)
        corners = corners - torch.tensor([1.0, 1, 0, 0])
        labels = torch.tensor([LABELS[name] for _, name, *_ in mine], dtype=torch.int64)
        difficult = torch.tensor([row[3] for row in mine], dtype=torch.bool)
        examples.append(Example(image, Path(f"{image}.jpg"), (60, 40), corners, labels, difficult))
    results = {}
    for name in NAMES:
        mine = [row for row in found if row[1] == name]
        places = np.array([box for *_, box in mine], dtype=np.float64).reshape(-1, 4)
        results[name] = Results([row[0] for row in mine], np.array([row[2] for row in mine], float), places)
    return judging.Subject("rows", results, examples)


def by_loops(found, there):
    """class -> [(score, verdict, kind, object)] best first, and the missed objects, all said with plain loops."""
    there = [row for image in "ab" for row in there if row[0] == image]
    lists, taken = {}, set()
    for name in NAMES:
        rows = []
        for image, _, score, box in sorted((r for r in found if r[1] == name), key=lambda r: -r[2]):
            own, other = (0.0, None), (0.0, None)
            for k, (where, kind, place, _) in enumerate(there):
                share = slow.iou(box, place, one=1.0) if where == image else 0.0
                if kind == name and share > own[0]:
                    own = share, k
                if kind != name and share > other[0]:
                    other = share, k
            if own[0] >= 0.5 and there[own[1]][3]:
                rows.append((score, None, "", own[1]))
            elif own[0] >= 0.5 and own[1] not in taken:
                taken.add(own[1])
                rows.append((score, True, "", own[1]))
            elif own[0] >= 0.5:
                rows.append((score, False, "duplicate", own[1]))
            elif other[0] >= 0.5:
                rows.append((score, False, "confusion", other[1]))
            elif own[0] >= 0.1:
                rows.append((score, False, "localisation", own[1]))
            elif other[0] >= 0.1:
                rows.append((score, False, "both", other[1]))
            else:
                rows.append((score, False, "background", None))
        lists[name] = rows
    near = {k for rows in lists.values() for _, _, kind, k in rows if kind in ("confusion", "localisation")}
    missed = [k for k in range(len(there)) if not there[k][3] and k not in taken | near]
    return lists, there, taken, missed


def ap_of(rows, total):
    said = [verdict for _, verdict in sorted(rows, key=lambda row: -row[0])]
    return slow.eleven_points(*slow.curve(said, total))


def repaired(lists, there, taken, missed, kind):
    """class -> AP after one kind has been put right, by lists of (score, verdict)."""
    rows = {n: [(s, v) for s, v, k, _ in lists[n] if k != kind or kind == "missed"] for n in NAMES}
    totals = {n: sum(row[1] == n and not row[3] for row in there) for n in NAMES}
    if kind == "missed":
        for k in missed:
            totals[there[k][1]] -= 1
    if kind in ("confusion", "localisation"):
        repairs = [(s, k) for n in NAMES for s, _, name, k in lists[n] if name == kind]
        done = set(taken)
        for score, k in sorted(repairs, key=lambda row: -row[0]):
            if k not in done and not there[k][3]:
                done.add(k)
                rows[there[k][1]].append((score, True))
    return {n: ap_of(rows[n], totals[n]) for n in NAMES}


@given(found=found_rows, there=object_rows)
@settings(max_examples=50)
def test_every_error_has_the_kind_and_costs_the_points_that_loops_find(found, there):
    subject = subject_of(found, there)
    anatomy = errors.error_anatomy(subject)
    lists, ordered, taken, missed = by_loops(found, there)
    for name in NAMES:
        assert list(anatomy[name].kinds) == [kind for *_, kind, _ in lists[name]]
        assert anatomy[name].missed == sum(ordered[k][1] == name for k in missed)
    for kind in errors.ALL:
        ours = errors.put_right(subject, anatomy, kind)
        wanted = repaired(lists, ordered, taken, missed, kind)
        assert all(abs(ours[name] - wanted[name]) < 1e-12 for name in NAMES), kind


def test_on_detections_made_to_hurt_every_false_one_has_a_kind_and_no_other():
    subject = judging.from_files(GOLDEN / "detections", GOLDEN / "VOCdevkit")
    anatomy = errors.error_anatomy(subject)
    for one in anatomy.values():
        false = np.isin(one.judged.said, (judging.FALSE, judging.TWICE))
        assert ((one.kinds != "") == false).all()
        assert (one.targets[one.kinds == errors.BACKGROUND] == judging.NOTHING).all()
    numbers = errors.counts(anatomy)
    assert sum(numbers[k] for k in errors.KINDS) == sum(int((a.kinds != "").sum()) for a in anatomy.values())
    text = repr(errors.error_table(("here", numbers, dict.fromkeys(errors.ALL, 0.0), 88)))
    assert all(kind in text for kind in errors.ALL) and len(text.splitlines()) == 7


DOG, CAT = ("a", "dog", (1, 1, 10, 10), False), ("a", "cat", (21, 1, 30, 10), False)


@pytest.mark.parametrize(
    ("box", "kind"),
    [
        ((21, 1, 30, 10), "confusion"),
        ((21, 1, 30, 5), "confusion"),  # exactly 0.5
        ((7, 1, 16, 10), "localisation"),  # 4 of 16 columns
        ((27, 1, 36, 10), "both"),
        ((41, 1, 50, 10), "background"),
        ((21, 1, 30, 1), "both"),  # exactly 0.1
    ],
)
def test_kinds_by_hand(box, kind):
    subject = subject_of([("a", "dog", 0.9, (1, 1, 10, 10)), ("a", "dog", 0.8, box)], [DOG, CAT])
    assert list(errors.error_anatomy(subject)["dog"].kinds) == ["", kind]


def test_a_confusion_put_right_finds_its_object_once_and_no_difficult_one():
    found = [("a", "dog", 0.9, (21, 1, 30, 10)), ("b", "dog", 0.8, (21, 1, 30, 10))]
    for hard, ap in ((False, 1.0), (True, 0.0)):
        subject = subject_of(found, [("a", "cat", (21, 1, 30, 10), hard), DOG])
        anatomy = errors.error_anatomy(subject)
        assert [a.missed for a in anatomy.values()] == [1, 0]
        assert errors.put_right(subject, anatomy, "confusion") == {"dog": 0.0, "cat": ap}
        assert errors.gains(subject, anatomy)["confusion"] == {"dog": 0.0, "cat": 100 * ap}
        assert errors.confused(subject, anatomy) == [(1, "dog", "cat")]


def test_nothing_found_and_nothing_there_make_no_error():
    for found, there in ((), ()), ((), (DOG,)), ((("a", "cat", 0.5, (1, 1, 3, 3)),), ()):
        anatomy = errors.error_anatomy(subject_of(found, there))
        assert errors.counts(anatomy) == {
            **dict.fromkeys(errors.ALL, 0),
            "background": len(found),
            "missed": len(there),
        }


# ---- AP by size


def test_the_size_of_an_object_is_the_root_of_its_area_on_the_input():
    box, picture = np.array([[11.0, 21, 60, 70]]), np.array([[500.0, 250]])  # 50 x 50 px of 500 x 250
    assert abs(ap_by_size.on_input(box, picture)[0] - math.sqrt(30 * 60)) < 1e-12


@given(found=found_rows, there=object_rows, limit=st.sampled_from([10.0, 25.0, 40.0]))
@settings(max_examples=30)
def test_small_and_large_are_judged_as_loops_judge_them(found, there, limit):
    subject = subject_of(found, there)
    lists, ordered, _, _ = by_loops(found, there)

    def size(box):
        return math.sqrt((box[2] - box[0] + 1) * 300 / 60 * (box[3] - box[1] + 1) * 300 / 40)

    shown = ap_by_size.by_size(subject, (0.0, limit, np.inf))
    for title, (low, high) in zip(shown, ((0.0, limit), (limit, np.inf)), strict=True):
        for name in NAMES:
            total = sum(n == name and not hard and low <= size(b) < high for _, n, b, hard in ordered)
            boxes_ = [row[3] for row in sorted((r for r in found if r[1] == name), key=lambda r: -r[2])]
            said = []
            for (_, verdict, kind, k), box in zip(lists[name], boxes_, strict=True):
                about = kind in ("", "duplicate") and k is not None
                fits = low <= size(ordered[k][2] if about else box) < high
                said.append(verdict if fits else None)
            if total:
                assert abs(shown[title][name][0] - slow.eleven_points(*slow.curve(said, total))) < 1e-12
                assert shown[title][name][1] == total
            else:
                assert name not in shown[title]


def test_all_sizes_together_are_the_ap_itself_and_no_object_is_lost():
    subject = judging.from_files(GOLDEN / "detections", GOLDEN / "VOCdevkit")
    [whole] = ap_by_size.by_size(subject, (0.0, np.inf)).values()
    for name, (ap, total) in whole.items():
        assert ap == subject.judged[name].ap() and total == subject.judged[name].total
    parts = ap_by_size.means(ap_by_size.by_size(subject))
    assert sum(count for *_, count in parts.values()) == sum(j.total for j in subject.judged.values())
    assert list(parts) == ["0 to 30", "30 to 60", "60 to 111", "111 to 162", "162 to 213", "over 213"]
    assert voc.CLASSES[1] in whole and ap_by_size.draw_sizes(("a", parts)) is not None
