"""Chapter 11 without a browser: the devkit's rule as a loop, other rules, what they cost, and the recorded prices."""

import csv
import json
import math
import sys
import tarfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

import slow_oracles_data as slow
from course.evaluation import devkit_rule, figures, judging, rule_variants
from course.evaluation.devkit_rule import FALSE, IGNORED, TRUE, TWICE
from course.evaluation.judging import Rule, judge
from ssdlib import evaluate
from ssdlib.data import voc
from ssdlib.evaluate import ResultError, Results
from ssdlib.records import CLASSES, LABELS

ROOT = Path(__file__).parents[3]
GOLDEN = Path(__file__).parents[2] / "vectors" / "voc_golden"
LETTERS = {TRUE: "1", FALSE: "0", TWICE: "2", IGNORED: "-"}


@pytest.fixture(scope="module")
def golden():
    return judging.from_files(GOLDEN / "detections", GOLDEN / "VOCdevkit")


@pytest.fixture(scope="module")
def official():
    with open(GOLDEN / "official_ap.csv", newline="") as file:
        return {row["class"]: row for row in csv.DictReader(file)}


def spelled(said):
    return "".join(LETTERS[verdict] for verdict in said)


# ---- the loop of the page


def test_the_loop_of_the_page_gives_the_official_ap_on_detections_made_to_hurt(golden, official):
    for name in CLASSES[1:]:
        detections, objects = judging.rows(golden, name)
        total = sum(not hard for _, _, hard in objects)
        recall, precision = devkit_rule.curve(devkit_rule.verdicts(detections, objects), total)
        assert abs(devkit_rule.eleven_points(recall, precision) - float(official[name]["ap11"])) < 1e-11, name


def test_the_ten_detections_get_the_verdicts_and_the_ap_that_the_page_works_out():
    said = devkit_rule.verdicts(devkit_rule.TEN, devkit_rule.OBJECTS)
    assert spelled(said) == "1-2101-010"
    shares = [
        max(slow.iou(box, there, one=1.0) for where, there, _ in devkit_rule.OBJECTS if where == image)
        for image, _, box in devkit_rule.TEN
    ]
    assert [round(share, 2) for share in shares] == [1, 0.82, 0.9, 0.6, 0, 0.5, 0.8, 0.33, 0.82, 0]
    recall, precision = devkit_rule.curve(said, 4)
    assert recall == [0.25, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 1, 1]
    assert [round(p, 2) for p in precision] == [1, 1, 0.5, 0.67, 0.5, 0.6, 0.6, 0.5, 0.57, 0.5]
    assert (
        abs(devkit_rule.eleven_points(recall, precision) - (3 + 3 * 2 / 3 + 2 * 0.6 + 3 * 4 / 7) / 11) < 1e-12
    )


def test_the_ten_in_the_library_are_those_of_the_page():
    subject = figures.by_hand()
    curve = evaluate.judge(subject.results["dog"], subject.objects, LABELS["dog"])
    assert spelled(subject.judged["dog"].said) == "1-2101-010"
    assert curve.recall[-1] == 1 and curve.objects == 4
    assert abs(curve.average_precision() - 0.719481) < 1e-6
    assert abs(curve.average_precision("area") - 0.709524) < 1e-6


@pytest.mark.parametrize(
    ("flags", "total", "eleven", "area", "integrate"),
    [
        ("11010", 4, 0.681818, 0.6875, 0.5),
        ("111", 3, 1, 1, 0.666667),
        ("1", 1, 1, 1, 0),
        ("0111", 5, 0.409091, 0.45, 0.4),
        ("1111111", 10, 0.636364, 0.7, 0.6),
        ("1010101010", 10, 0.396825, 0.339365, 0.283810),
        ("", 3, 0, 0, 0),
    ],
)
def test_each_kind_of_ap_is_the_one_that_its_program_gives(flags, total, eleven, area, integrate):
    """Octave with VOCevaldet.m and VOCap.m, and ssd_keras's evaluator, were run on these flags."""
    recall, precision = devkit_rule.curve([TRUE if f == "1" else FALSE for f in flags], total)
    assert abs(devkit_rule.eleven_points(recall, precision) - eleven) < 1e-6
    recall, precision = np.array(recall), np.array(precision)
    for metric, wanted in (("11point", eleven), ("area", area), ("integrate", integrate)):
        assert abs(judging.average_precision(recall, precision, metric) - wanted) < 1e-6


def test_101_points_are_the_mean_of_101_best_precisions():
    flags = np.random.default_rng(0).random(60) < 0.6
    recall, precision = np.cumsum(flags) / 50, np.cumsum(flags) / np.arange(1, 61)
    best = [
        max([p for r, p in zip(recall, precision, strict=True) if r >= t], default=0.0)
        for t in np.linspace(0, 1, 101)
    ]
    assert abs(judging.average_precision(recall, precision, "101point") - sum(best) / 101) < 1e-12


def test_an_unknown_kind_of_ap_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'12point'; it has to be one of 11point, area, 101point, integrate"):
        judging.average_precision(np.zeros(1), np.zeros(1), "12point")


# ---- rules

corner = st.integers(1, 14)
boxes = st.tuples(corner, corner, st.integers(0, 9), st.integers(0, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
ids = st.sampled_from(["a", "b", "c"])
found_rows = st.lists(st.tuples(ids, st.integers(0, 6).map(lambda s: s / 6), boxes), max_size=20)
object_rows = st.lists(st.tuples(ids, boxes, st.sampled_from([False, False, True])), max_size=10)


def subject_of(found, there):
    """A subject with one class, dog, from rows as the oracles take them."""
    import torch

    from ssdlib.records import Example

    examples = []
    for image in "abc":
        mine = [(box, hard) for where, box, hard in there if where == image]
        corners = torch.tensor([box for box, _ in mine], dtype=torch.float32).reshape(-1, 4)
        examples.append(
            Example(
                image,
                Path(f"{image}.jpg"),
                (60, 40),
                corners - torch.tensor([1.0, 1, 0, 0]),
                torch.full((len(mine),), LABELS["dog"]),
                torch.tensor([hard for _, hard in mine], dtype=torch.bool),
            )
        )
    scores = np.array([score for _, score, _ in found], dtype=np.float64)
    places = np.array([box for *_, box in found], dtype=np.float64).reshape(-1, 4)
    results = {"dog": Results([where for where, *_ in found], scores, places)}
    return judging.Subject("rows", results, examples)


@given(found=found_rows, there=object_rows)
@settings(max_examples=40)
def test_loop_and_judge_say_what_a_slow_program_says(found, there):
    ordered = [row for image in "abc" for row in there if row[0] == image]
    said, total = slow.verdicts(found, ordered)
    wanted = ["-" if verdict is None else "1" if verdict else "0" for verdict in said]
    assert spelled(devkit_rule.verdicts(found, ordered)).replace("2", "0") == "".join(wanted)
    judged = subject_of(found, there).judged["dog"]
    assert spelled(judged.said).replace("2", "0") == "".join(wanted) and judged.total == total


@pytest.mark.parametrize(
    ("rule", "said", "total"),
    [
        (Rule(), "1-2101-010", 4),
        (Rule(extent=0.0), "1-2100-010", 4),  # 49 rows of 99 in place of 50 of 100
        (Rule(strict=True), "1-2100-010", 4),
        (Rule(hit=0.75), "1-2000-010", 4),
        (Rule(difficult="counted"), "1121012010", 5),
        (Rule(difficult="unknown"), "1021010010", 4),
        (Rule(again="ignored"), "1--101-010", 4),
        (Rule(again="next"), "1-2101-010", 4),
    ],
    ids=str,
)
def test_each_rule_changes_of_the_ten_detections_what_it_says(rule, said, total):
    subject = figures.by_hand()
    judged = judge(subject.results["dog"], subject.objects, LABELS["dog"], rule)
    assert (spelled(judged.said), judged.total) == (said, total)


def test_a_second_hit_may_take_its_neighbour_only_where_the_rule_allows_it():
    neighbours = [("a", (11, 11, 110, 110), False), ("a", (41, 11, 140, 110), False)]
    subject = subject_of([("a", 0.9, (11, 11, 110, 110)), ("a", 0.8, (21, 11, 120, 110))], neighbours)
    for rule, said in ((Rule(), "12"), (Rule(again="next"), "11")):
        judged = judge(subject.results["dog"], subject.objects, LABELS["dog"], rule)
        assert spelled(judged.said) == said


def test_judge_has_the_librarys_curves_and_keeps_the_overlap_of_each_detection(golden):
    for name, judged in golden.judged.items():
        curve = evaluate.judge(golden.results[name], golden.objects, LABELS[name])
        np.testing.assert_array_equal(judged.recall, curve.recall)
        np.testing.assert_array_equal(judged.precision, curve.precision)
        assert judged.total == curve.objects
        for place, row in enumerate(judged.nearest):
            box = golden.results[name].boxes[judged.order[place]].tolist()
            wanted = slow.iou(box, golden.objects.boxes[row].tolist(), one=1.0) if row >= 0 else 0.0
            assert abs(judged.overlap[place] - wanted) < 1e-12


def test_standing_counts_what_a_loop_counts():
    judged = figures.by_hand().judged["dog"]
    for n in range(11):
        at, said = judging.standing(judged, n), list(judged.said[:n])
        assert (at.true, at.again, at.ignored) == tuple(map(said.count, (TRUE, TWICE, IGNORED)))
        assert at.false == said.count(FALSE) + said.count(TWICE) and at.recall == said.count(TRUE) / 4
        assert math.isnan(at.precision) if not at.true + at.false else at.precision == judged.precision[n - 1]


def test_files_that_name_an_unknown_picture_are_refused_in_one_sentence(tmp_path):
    for name in CLASSES[1:]:
        (tmp_path / f"comp4_det_test_{name}.txt").write_text("000999 .5 1 1 2 2\n" if name == "dog" else "")
    with pytest.raises(ResultError, match="dog in image '000999'; wanted images of 2007-test in"):
        judging.from_files(tmp_path, GOLDEN / "VOCdevkit")
    with pytest.raises(ResultError, match="nowhere: no such folder; wanted a folder of result files"):
        judging.from_files(tmp_path / "nowhere", GOLDEN / "VOCdevkit")
    with pytest.raises(voc.VOCError, match="is .* a VOCdevkit folder|wanted the image list"):
        judging.from_files(tmp_path, tmp_path)


# ---- changes and prices


def rows_of(results):
    return [
        (name, i, s, tuple(b))
        for name, r in results.items()
        for i, s, b in zip(r.image_ids, r.scores, r.boxes.tolist(), strict=True)
    ]


def test_cutting_off_keeps_what_a_loop_keeps(golden):
    every = rows_of(golden.results)
    assert rows_of(rule_variants.above(0.3)(golden.results, golden)) == [row for row in every if row[2] > 0.3]
    for count in (1, 4, 1000):
        kept, ranked = {}, sorted(range(len(every)), key=lambda n: -every[n][2])
        for n in ranked:
            kept.setdefault(every[n][1], []).append(n)
        wanted = sorted(n for rows in kept.values() for n in rows[:count])
        assert rows_of(rule_variants.best_of_image(count)(golden.results, golden)) == [
            every[n] for n in wanted
        ]


def test_only_pictures_with_the_class_leaves_out_all_others(golden):
    there = {(CLASSES[label], e.image_id) for e in golden.examples for label in e.labels.tolist()}
    left = rows_of(rule_variants.where_the_class_is(golden.results, golden))
    assert left == [row for row in rows_of(golden.results) if row[:2] in there] and len(left) < golden.count


def test_files_read_backwards_reverse_equals_alone():
    three = Results(["a", "b", "c"], np.array([0.501, 0.9, 0.499]), np.eye(3, 4))
    turned = rule_variants.reversed_equals({"dog": three}, None)["dog"]
    order = np.argsort(-turned.scores, kind="stable")
    assert [turned.image_ids[i] for i in order] == ["b", "c", "a"]


def test_moved_and_rounded_detections_keep_everything_else(golden):
    whole = rule_variants.whole(golden.results, golden)
    for name, r in golden.results.items():
        np.testing.assert_array_equal(whole[name].boxes, r.boxes.round())
        np.testing.assert_array_equal(whole[name].scores, r.scores)
        np.testing.assert_array_equal(rule_variants.moved(r, -1.0).boxes, r.boxes - 1)
        assert whole[name].image_ids == r.image_ids


def test_pooled_is_one_ranking_of_all_classes(golden):
    said = [
        (score, verdict)
        for judged in golden.judged.values()
        for score, verdict in zip(judged.scores, judged.said, strict=True)
    ]
    ranked = [verdict for _, verdict in sorted(said, key=lambda row: -row[0])]
    curve = devkit_rule.curve(ranked, sum(judged.total for judged in golden.judged.values()))
    assert abs(rule_variants.pooled(golden) - devkit_rule.eleven_points(*curve)) < 1e-12


def test_the_first_price_is_the_official_ap_and_a_change_of_nothing_costs_nothing(golden, official):
    found = rule_variants.prices(golden)
    for name, row in official.items():
        assert abs(found[rule_variants.DEVKIT][name] - float(row["ap11"])) < 1e-11
    assert found["the 100 best of an image"] == found[rule_variants.DEVKIT]  # no image has so many
    assert found["area under the curve (VOC2010 and later)"] != found[rule_variants.DEVKIT]
    text = repr(rule_variants.price_list(found, found))
    assert (
        all(v.name in text and v.group in text for v in rule_variants.VARIANTS)
        and rule_variants.POOLED in text
    )


# ---- the recorded prices


def test_what_is_recorded_has_every_rule_and_the_official_ap():
    facts = rule_variants.recorded_prices()
    assert list(facts["prices"]) == [
        rule_variants.DEVKIT,
        *(v.name for v in rule_variants.VARIANTS),
        rule_variants.POOLED,
    ]
    for name, ap in facts["prices"][rule_variants.DEVKIT].items():
        assert abs(ap - facts["official"][name]) < 1e-9
    assert facts["count"] == 52_404 and facts["images"] == voc.COUNTS["2007-test"][0]
    images, objects, difficult = voc.COUNTS["2007-test"]
    assert facts["objects"] == objects - difficult == sum(row[2] for row in facts["sizes"].values())
    assert facts["false"] == sum(facts["errors"].values()) - facts["errors"]["missed"]
    assert facts["date"] and len(facts["commit"]) == 40 and facts["device"] and "chance" in facts["seed"]


def test_the_picture_of_prices_places_the_recorded_means():
    found = rule_variants.recorded_prices()["prices"]
    means = {name: 100 * np.mean(list(found[name].values())) for name in found}
    shown = [
        "no + 1",
        "only scores above 0.5",
        "area under the curve (VOC2010 and later)",
    ]  # lowest: the second
    ax = figures.prices_drawn(found, shown).axes[0]
    drawn = [line.get_xydata()[1].tolist() for line in ax.lines]
    assert [place for _, place in drawn] == [0, 1, 2]
    assert [x for x, _ in drawn] == pytest.approx([means[shown[i]] for i in (1, 0, 2)])
    assert all(line.get_xdata()[0] == pytest.approx(means[rule_variants.DEVKIT]) for line in ax.lines)
    assert "cut off: only scores above 0.5" == ax.get_yticklabels()[0].get_text()


@pytest.mark.slow
def test_what_is_recorded_is_what_the_reference_detections_give(shared, genuine, tmp_path):
    from course.evaluation import ap_by_size, errors

    with tarfile.open(shared / "reference" / "voc07_eval_real" / "detections.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    subject, facts = judging.from_files(tmp_path, genuine), rule_variants.recorded_prices()
    for variant in rule_variants.VARIANTS[::6]:
        for name, ap in rule_variants.ap_by_class(subject, variant).items():
            assert abs(ap - facts["prices"][variant.name][name]) < 1e-6
    anatomy = errors.error_anatomy(subject)
    assert errors.counts(anatomy) == facts["errors"]
    for kind, row in errors.gains(subject, anatomy).items():
        assert all(abs(row[name] - facts["gains"][kind][name]) < 1e-3 for name in row)
    assert {k: list(v) for k, v in ap_by_size.means(ap_by_size.by_size(subject)).items()} == facts["sizes"]


def test_the_script_writes_what_the_page_reads(tmp_path, monkeypatch, capsys):
    sys.path.insert(0, str(ROOT / "data_scripts"))
    import price_rules
    import record_run

    monkeypatch.setattr(rule_variants, "RECORDED", tmp_path / "facts.json")
    monkeypatch.setattr(record_run, "git", lambda *words: "" if words[0] == "status" else "c" * 40)
    command = ["price_rules", "--detections", GOLDEN / "detections", "--data", GOLDEN / "VOCdevkit"]
    command += ["--official", GOLDEN / "official_ap.csv", "--what", "made to hurt"]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    price_rules.main()
    facts = json.loads((tmp_path / "facts.json").read_text())
    older = json.loads((ROOT / "course/facts/real_detections.json").read_text())  # names no versions
    assert facts.keys() - {"versions"} == older.keys()
    assert "171 detections, at most" in capsys.readouterr().out and "171 detections" in rule_variants.origin(
        facts
    )
    monkeypatch.setattr(sys, "argv", list(map(str, [*command[:2], tmp_path, *command[3:]])))
    with pytest.raises(SystemExit, match="price_rules: .*comp4_det_test_aeroplane.txt"):
        price_rules.main()


def test_the_scene_of_chapter_00_is_judged_class_by_class():
    """A false box costs only the class that it names, and a class without an object has no AP."""
    subject = judging.opened()
    examples = subject.examples
    table = evaluate.evaluate(subject.results, examples)
    for name, judged in subject.judged.items():
        assert math.isnan(table.ap[name]) == (judged.total == 0)
        assert not judged.total or judged.ap() == pytest.approx(table.ap[name])
    assert subject.judged["car"].total == 1 and subject.judged["sheep"].total == 0
    assert (subject.judged["sheep"].said == FALSE).any()


def test_its_figure_shows_each_of_its_best_boxes_and_whether_it_is_true():
    subject = judging.opened()
    figure = figures.one_scene_drawn(subject, least=0.3)
    left, right = figure.axes
    found = [
        (score, said)
        for judged in subject.judged.values()
        for score, said in zip(judged.scores, judged.said, strict=True)
        if score >= 0.3
    ]
    assert len(left.patches) == len(right.patches) == len(found) >= 4
    assert sorted(text.get_text() for text in right.texts) == sorted(f"{s:.2f} {v}" for s, v in found)
