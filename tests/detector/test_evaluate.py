"""`evaluate`: AP against the official code's, against a slow program, by hand; and the result files."""

import csv
import dataclasses
import json
import math
import tarfile
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import slow_oracles_data as slow
from ssdlib.data import voc
from ssdlib.data.results import read_results, result_name, write_results
from ssdlib.evaluate import Objects, ResultError, Results, Table, average_precision, collect, evaluate, judge
from ssdlib.records import CLASSES, LABELS, Detections, Example

GOLDEN = Path(__file__).parents[1] / "vectors" / "voc_golden"


def image(image_id: str, *objects: tuple) -> Example:
    """An example from (class, box with inclusive corners counted from 1, difficult)."""
    boxes = torch.tensor([box for _, box, _ in objects], dtype=torch.float32).reshape(-1, 4)
    return Example(
        image_id=image_id,
        path=Path(f"{image_id}.jpg"),
        size=(500, 375),
        boxes=boxes - torch.tensor([1.0, 1.0, 0.0, 0.0]),
        labels=torch.tensor([LABELS[name] for name, _, _ in objects], dtype=torch.int64),
        difficult=torch.tensor([difficult for _, _, difficult in objects], dtype=torch.bool),
    )


def results(**rows: list) -> dict[str, Results]:
    """Results of all classes from (image, score, box) rows of some."""
    found = {}
    for name in CLASSES[1:]:
        mine = rows.get(name, [])
        scores = np.array([score for _, score, _ in mine], dtype=np.float64)
        boxes = np.array([box for _, _, box in mine], dtype=np.float64).reshape(-1, 4)
        found[name] = Results([where for where, _, _ in mine], scores, boxes)
    return found


def official(path: Path) -> dict[str, dict]:
    with open(path, newline="") as file:
        return {row["class"]: row for row in csv.DictReader(file)}


# --- The official code's results ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["voc07_eval_real", "voc07_eval_edge"])
def test_ap_is_the_official_one_on_the_reference_detections(shared, genuine, tmp_path, name):
    folder = shared / "reference" / name
    with tarfile.open(folder / "detections.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    truth = voc.read_sets(genuine, ["2007-test"])
    if (folder / "image_ids.txt").exists():
        ids = set((folder / "image_ids.txt").read_text().split())
        truth = [example for example in truth if example.image_id in ids]
        assert len(truth) == len(ids) == 250
    found = read_results(tmp_path, "test")
    table = evaluate(found, truth)
    wanted = official(folder / "official_ap.csv")
    assert set(wanted) == {*CLASSES[1:], "mean"}
    for class_name in CLASSES[1:]:
        curve, row = table.curves[class_name], wanted[class_name]
        assert abs(table.ap[class_name] - float(row["ap11"])) < 1e-9, class_name
        assert len(found[class_name].scores) == int(row["num_detections"])
        assert abs(curve.recall[-1] - float(row["final_recall"])) < 1e-9
        assert abs(curve.precision[-1] - float(row["final_precision"])) < 1e-9
    assert abs(table.mean - float(wanted["mean"]["ap11"])) < 1e-9


@pytest.fixture(scope="module")
def golden() -> tuple:
    return voc.read_sets(GOLDEN / "VOCdevkit", ["2007-test"]), read_results(GOLDEN / "detections", "test")


@pytest.mark.parametrize(("metric", "column"), [("11point", "ap11"), ("area", "area")])
def test_ap_is_the_official_one_on_detections_made_to_hurt(golden, metric, column):
    truth, found = golden
    table = evaluate(found, truth, metric)
    wanted = official(GOLDEN / "official_ap.csv")
    assert list(wanted) == list(CLASSES[1:])
    for name, row in wanted.items():
        if not table.curves[
            name
        ].objects:  # the kit divides by zero there, and its two rules make 0 and NaN of it
            assert float(row["ap11"]) == 0 and math.isnan(float(row["area"])) and math.isnan(table.ap[name])
            continue
        assert abs(table.ap[name] - float(row[column])) < 1e-11, name
        if not math.isnan(float(row["recall"])):
            assert abs(table.curves[name].recall[-1] - float(row["recall"])) < 1e-11
            assert abs(table.curves[name].precision[-1] - float(row["precision"])) < 1e-11


def test_the_detections_made_to_hurt_do_what_their_readme_says(golden):
    truth, found = golden
    exact, equal = 0, 0
    for name, rows in found.items():
        equal += len(rows.scores) - len(set(rows.scores))
        for where, box in zip(rows.image_ids, rows.boxes.tolist(), strict=True):
            [example] = [e for e in truth if e.image_id == where]
            for there, label in zip(example.boxes.tolist(), example.labels.tolist(), strict=True):
                there = (there[0] + 1, there[1] + 1, there[2], there[3])
                exact += label == LABELS[name] and slow.iou(box, there, one=1.0) == 0.5
    assert (exact, equal) == (18, 60)
    difficult = torch.cat([e.difficult for e in truth])
    assert (len(truth), len(difficult), int(difficult.sum())) == (12, 103, 15)
    assert sum(len(rows.scores) for rows in found.values()) == 171


# --- A slow program that follows the rules ---------------------------------------------------------------

corner = st.integers(1, 14)
boxes = st.tuples(corner, corner, st.integers(0, 9), st.integers(0, 9)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
ids = st.sampled_from(["a", "b", "c"])
detections = st.lists(st.tuples(ids, st.integers(0, 6).map(lambda s: s / 6), boxes), max_size=25)
objects = st.lists(st.tuples(ids, boxes, st.sampled_from([False, False, True])), max_size=12)


@given(found=detections, there=objects)
@settings(max_examples=150)
def test_ap_and_curves_are_those_of_a_slow_program_that_follows_the_rules(found, there):
    """Small boxes of whole pixels: full of equal scores, second hits and overlaps of exactly .5."""
    truth = [image(i, *(("dog", box, hard) for where, box, hard in there if where == i)) for i in "abc"]
    ordered = [row for i in "abc" for row in there if row[0] == i]
    said, total = slow.verdicts(found, ordered)
    recall, precision = slow.curve(said, total)
    for metric, wanted in (("11point", slow.eleven_points), ("area", slow.area)):
        table = evaluate(results(dog=found), truth, metric)
        curve = table.curves["dog"]
        assert curve.objects == total
        np.testing.assert_allclose(curve.recall, recall, rtol=0, atol=1e-15)
        np.testing.assert_allclose(curve.precision, precision, rtol=0, atol=1e-15)
        assert curve.scores.tolist() == sorted((score for _, score, _ in found), reverse=True)
        assert math.isnan(table.ap["dog"]) == (total == 0)
        assert total == 0 or abs(table.ap["dog"] - wanted(recall, precision)) < 1e-12


@given(found=detections, there=objects)
@settings(max_examples=20)
def test_a_class_is_judged_by_its_own_objects_and_detections(found, there):
    truth = [image(i, *(("cat", box, hard) for where, box, hard in there if where == i)) for i in "abc"]
    mixed = [
        image(
            i,
            *(
                row
                for where, box, hard in there
                if where == i
                for row in (("dog", box, False), ("cat", box, hard))
            ),
        )
        for i in "abc"
    ]
    alone = evaluate(results(cat=found), truth).ap["cat"]
    mixed_up = evaluate(results(cat=found, dog=found), mixed).ap["cat"]
    assert mixed_up == alone or (math.isnan(mixed_up) and math.isnan(alone))


# --- By hand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "total", "eleven", "area"),
    [
        ("1 1 0 1 0", 4, 0.681818, 0.687500),
        ("1 1 1", 3, 1, 1),
        ("1", 1, 1, 1),
        ("0 1 1 1", 5, 0.409091, 0.45),
        ("1 1 1 1 1 1 1", 10, 0.636364, 0.70),
        ("1 0 1 0 1 0 1 0 1 0", 10, 0.396825, 0.339365),
        ("0 0", 3, 0, 0),
        ("", 3, 0, 0),
    ],
)
def test_average_precision_of_curves_known_by_hand(flags, total, eleven, area):
    true = np.array(flags.split(), dtype=int)
    recall, precision = np.cumsum(true) / total, np.cumsum(true) / np.arange(1, len(true) + 1)
    assert abs(average_precision(recall, precision) - eleven) < 1e-6
    assert abs(average_precision(recall, precision, "area") - area) < 1e-6


DOG = (11, 11, 20, 20)  # 10 x 10 px


@pytest.mark.parametrize(
    ("objects", "found", "said"),
    [
        pytest.param([(DOG, 0)], [(0.9, (11, 11, 20, 15))], "1", id="an overlap of exactly .5 is a hit"),
        pytest.param([(DOG, 0)], [(0.9, (11, 11, 20, 14))], "0", id="one of .4 isn't"),
        pytest.param([(DOG, 0)], [(0.9, (11, 11, 20, 14.99))], "0", id="nor one of .499"),
        pytest.param([(DOG, 0)], [(0.9, DOG), (0.8, DOG)], "10", id="a second hit is a false alarm"),
        pytest.param([(DOG, 1)], [(0.9, DOG), (0.8, DOG)], "--", id="hits on a difficult object don't count"),
        pytest.param([(DOG, 1)], [(0.9, (50, 50, 60, 60))], "0", id="misses beside one do"),
        pytest.param(
            [(DOG, 0), (DOG, 0)], [(0.9, DOG), (0.8, DOG)], "10", id="only the first of equals is found"
        ),
        pytest.param([(DOG, 1), (DOG, 0)], [(0.9, DOG)], "-", id="even if it is difficult"),
        pytest.param([(DOG, 0), (DOG, 1)], [(0.9, DOG)], "1", id="or easy"),
        pytest.param(
            [(DOG, 0), ((13, 11, 22, 20), 0)],
            [(0.9, DOG), (0.8, (12, 11, 20, 20))],
            "10",
            id="an object that was found before is still the best",
        ),
        pytest.param(
            [(DOG, 0)], [(0.5, DOG), (0.9, (11, 11, 20, 16))], "10", id="the best score comes first"
        ),
        pytest.param(
            [(DOG, 0)], [(0.5, (1, 1, 9, 9)), (0.5, DOG)], "01", id="equals stay in the file's order"
        ),
        pytest.param([], [(0.9, DOG)], "0", id="without objects everything is a false alarm"),
    ],
)
def test_verdicts_by_hand(objects, found, said):
    truth = [image("other"), image("here", *(("dog", box, hard) for box, hard in objects))]
    curve = judge(
        results(dog=[("here", score, box) for score, box in found])["dog"], Objects.of(truth), LABELS["dog"]
    )
    right = np.cumsum([flag == "1" for flag in said])
    judged = np.cumsum([flag != "-" for flag in said])
    total = sum(not hard for _, hard in objects)
    assert curve.objects == total
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(curve.recall, right / np.float64(total))
        np.testing.assert_array_equal(curve.precision, right / judged)


@pytest.mark.parametrize("again", [image("b"), image("b", ("dog", DOG, False))])
def test_two_images_of_one_id_are_refused_by_one_sentence_that_names_both(again):
    """Otherwise the detections in both would be compared with the objects of one of them."""
    truth = [image("a"), image("b", ("dog", DOG, False)), dataclasses.replace(again, path=Path("2012/b.jpg"))]
    with pytest.raises(
        ResultError, match=r"^2012/b\.jpg: its id 'b' is that of b\.jpg too; wanted each id once"
    ):
        evaluate(results(dog=[("b", 0.5, DOG)]), truth)
    with pytest.raises(ResultError, match="its id 'b'"):
        Objects.of([truth[1], truth[1]])


def test_an_object_in_another_image_cannot_be_hit():
    truth = [image("a", ("dog", DOG, False)), image("b", ("dog", (100, 100, 200, 200), False))]
    table = evaluate(results(dog=[("b", 0.9, DOG), ("a", 0.8, DOG)]), truth)
    assert table.curves["dog"].recall.tolist() == [0, 0.5]


def test_a_class_of_which_nothing_is_there_to_be_found_has_no_ap_and_no_part_in_the_mean():
    """Of cat an object was missed, which is an AP of 0; of birds there are none, of cows a difficult one alone."""
    truth = [image("a", ("dog", DOG, False), ("cat", DOG, False), ("cow", DOG, True)), image("b")]
    found = results(dog=[("a", 0.9, DOG)], bird=[("b", 0.9, DOG)], cow=[("a", 0.9, DOG), ("b", 0.8, DOG)])
    for metric in ("11point", "area"):
        table = evaluate(found, truth, metric)
        known = {name: ap for name, ap in table.ap.items() if not math.isnan(ap)}
        assert known == {"dog": 1.0, "cat": 0.0} and table.mean == 0.5
        assert len(table.absent) == 18 and {"bird", "cow"} < set(table.absent)
        assert table.curves["cat"].recall.shape == (0,)


def test_images_without_any_object_can_be_judged():
    table = evaluate(results(dog=[("a", 0.5, DOG)]), [image("a"), image("b")])
    assert math.isnan(table.mean) and table.curves["dog"].objects == 0
    assert "mAP (11point) -" in str(table) and "aeroplane, bicycle, bird, boat, bottle and 15 more" in str(
        table
    )


def test_a_class_without_an_ap_is_marked_in_table_csv_and_json(tmp_path):
    truth, classes = [image("a", ("dog", DOG, False))], ("cat", "dog")
    table = evaluate(results(dog=[("a", 0.9, DOG)]), truth)
    table = Table(table.metric, {name: table.ap[name] for name in classes}, table.curves)
    assert str(table).splitlines() == [
        "cat              -   dog          100.0",
        "mAP (11point) 100.00",
        "no AP (-) and no part in the mean, because the judged images hold no object to find: cat",
    ]
    table.write_csv(tmp_path / "ap.csv")
    assert (tmp_path / "ap.csv").read_text().splitlines()[1:] == [
        "cat,nan",
        "dog,1.000000000000",
        "mean,1.000000000000",
    ]
    assert json.loads(json.dumps(table.as_json(), allow_nan=False)) == {"cat": None, "dog": 1.0}


def test_a_subset_of_the_images_is_judged_like_a_set_of_its_own(golden):
    truth, found = golden
    few = truth[2:7]
    mine = {e.image_id for e in few}
    for name, rows in found.items():
        chosen = [
            row
            for row in zip(rows.image_ids, rows.scores.tolist(), rows.boxes.tolist(), strict=True)
            if row[0] in mine
        ]
        said, total = slow.verdicts(
            chosen,
            [
                (e.image_id, (box[0] + 1, box[1] + 1, box[2], box[3]), bool(hard))
                for e in few
                for box, label, hard in zip(e.boxes.tolist(), e.labels, e.difficult, strict=True)
                if label == LABELS[name]
            ],
        )
        table = evaluate(results(**{name: chosen}), few)
        assert math.isnan(table.ap[name]) == (total == 0)
        assert total == 0 or abs(table.ap[name] - slow.eleven_points(*slow.curve(said, total))) < 1e-12


def test_the_order_of_the_images_does_not_matter(golden):
    truth, found = golden
    assert evaluate(found, truth[::-1]).ap == evaluate(found, truth).ap


def test_an_unknown_image_is_refused_by_class_and_id():
    with pytest.raises(ResultError, match="dog: image '000009' isn't in the set that is judged"):
        evaluate(results(dog=[("a", 0.5, DOG), ("000009", 0.4, DOG)]), [image("a")])


def test_an_unknown_metric_is_refused_with_the_ones_there_are():
    with pytest.raises(ValueError, match="'12point'; it has to be one of 11point, area"):
        evaluate(results(), [image("a")], "12point")


# --- The table ------------------------------------------------------------------------------------------


@pytest.fixture
def table() -> Table:
    return Table("area", {"aeroplane": 1 / 3, "bicycle": 0.5, "bird": 0.0}, {})


def test_the_table_is_written_with_twelve_decimals_and_a_mean(table, tmp_path):
    table.write_csv(tmp_path / "ap.csv")
    assert (tmp_path / "ap.csv").read_text() == (
        "class,ap\naeroplane,0.333333333333\nbicycle,0.500000000000\nbird,0.000000000000\nmean,0.277777777778\n"
    )


def test_names_with_commas_and_quotes_come_back_from_the_csv(tmp_path):
    names = ["car, red", 'say "no"', "plain"]
    Table("area", dict.fromkeys(names, 0.5), {}).write_csv(tmp_path / "ap.csv")
    with open(tmp_path / "ap.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows == [["class", "ap"], *([name, "0.500000000000"] for name in [*names, "mean"])]


def test_the_table_is_printed_in_percent_with_its_metric(table):
    words = str(table).split()
    assert words == [*"aeroplane 33.3 bicycle 50.0 bird 0.0 mAP (area) 27.78".split()]


def test_all_twenty_classes_are_printed_once(golden):
    truth, found = golden
    text = str(evaluate(found, truth)).partition("no AP")[0]
    assert [text.count(name) for name in CLASSES[1:]] == [1] * 20
    assert len(text.splitlines()) == 6


# --- Result files ---------------------------------------------------------------------------------------


def random_detections(images: int, seed: int) -> list[Detections]:
    source = torch.Generator().manual_seed(seed)
    found = []
    for i in range(images):
        count = (0, 7, 1)[i % 3]
        corner = torch.rand(count, 2, generator=source) * 200
        found.append(
            Detections(
                boxes=torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=source) * 100], dim=1),
                scores=torch.rand(count, generator=source).sort(descending=True).values,
                labels=torch.randint(1, 21, (count,), generator=source),
            )
        )
    return found


def test_detections_of_many_images_are_collected_by_class_and_counted_from_1():
    found = random_detections(8, seed=1)
    names = [f"{i:06d}" for i in range(8)]
    collected = collect(names, found)
    assert list(collected) == list(CLASSES[1:])
    for name, rows in collected.items():
        wanted = [
            (names[i], float(score), [box[0] + 1, box[1] + 1, box[2], box[3]])
            for i, d in enumerate(found)
            for box, score, label in zip(d.boxes.double().tolist(), d.scores.double(), d.labels, strict=True)
            if label == LABELS[name]
        ]
        assert list(rows.image_ids) == [row[0] for row in wanted]
        assert rows.scores.tolist() == [row[1] for row in wanted]
        assert rows.boxes.tolist() == [row[2] for row in wanted]
        assert rows.boxes.shape == (len(wanted), 4)


def test_an_image_in_which_nothing_was_found_adds_nothing():
    empty = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    assert all(
        len(rows.image_ids) == len(rows.scores) == 0 for rows in collect(["a", "b"], [empty, empty]).values()
    )


def test_results_come_back_from_disk_as_they_were(tmp_path):
    written = collect([f"{i:06d}" for i in range(30)], random_detections(30, seed=2))
    write_results(tmp_path / "new" / "folder", "test", written)
    back = read_results(tmp_path / "new" / "folder", "test")
    assert list(back) == list(CLASSES[1:])
    for name, rows in written.items():
        assert back[name].image_ids == list(rows.image_ids)
        np.testing.assert_allclose(back[name].scores, rows.scores, rtol=0, atol=5.1e-7)
        np.testing.assert_allclose(back[name].boxes, rows.boxes, rtol=0, atol=5.1e-7)
        assert back[name].boxes.shape == (len(rows.scores), 4)


def test_the_files_are_named_and_laid_out_as_the_devkit_wants_them(tmp_path):
    write_results(tmp_path, "test", results(dog=[("000001", 0.25, (1, 2, 30.5, 40)), ("000002", 0.5, DOG)]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        f"comp4_det_test_{name}.txt" for name in CLASSES[1:]
    )
    lines = (tmp_path / "comp4_det_test_dog.txt").read_text().splitlines()
    words = [line.split(" ") for line in lines]
    assert [w[0] for w in words] == ["000001", "000002"]
    assert [[float(x) for x in w[1:]] for w in words] == [[0.25, 1, 2, 30.5, 40], [0.5, *map(float, DOG)]]
    assert (tmp_path / "comp4_det_test_cat.txt").read_text() == ""


def test_a_box_over_a_whole_photograph_is_written_as_voc_counts_it(tmp_path):
    whole = Detections(torch.tensor([[0.0, 0, 500, 375]]), torch.tensor([0.5]), torch.tensor([LABELS["dog"]]))
    write_results(tmp_path, "test", collect(["000001"], [whole]))
    words = (tmp_path / "comp4_det_test_dog.txt").read_text().split()
    assert [float(word) for word in words[2:]] == [1, 1, 500, 375]


def test_writing_makes_no_ties_so_that_files_are_judged_like_what_was_found(tmp_path):
    """The scores of a sure network lie closer to each other than a millionth."""
    scores = torch.tensor([0.99999988, 0.99999994, 0.0100001, 0.01000011]).float()
    assert len(scores.unique()) == 4
    label = torch.tensor([LABELS["dog"]])
    truth = [image(str(i), ("dog", DOG, False)) for i in range(4)]
    hit, miss = torch.tensor([[10.0, 10, 20, 20]]), torch.tensor([[100.0, 100, 120, 120]])
    found = collect(
        [str(i) for i in range(4)],
        [Detections(hit if i % 2 else miss, scores[i : i + 1], label) for i in range(4)],
    )
    write_results(tmp_path, "test", found)
    back = read_results(tmp_path, "test")
    assert np.argsort(-back["dog"].scores, kind="stable").tolist() == [1, 0, 3, 2]
    assert evaluate(back, truth).ap == evaluate(found, truth).ap


@pytest.mark.parametrize(
    ("line", "quoted"),
    [
        ("000001 0.5 1 2 3", "000001 0.5 1 2 3"),
        ("000001 0.5 1 2 3 4 5", "000001 0.5 1 2 3 4 5"),
        ("000001", "000001"),
        ("000001 nan 1 2 3 4", "000001 nan 1 2 3 4"),
        ("000001 0.5 1 2 inf 4", "000001 0.5 1 2 inf 4"),
        ("000001 0.5 1 -inf 3 4", "000001 0.5 1 -inf 3 4"),
        ("000001 0.5 1 two 3 4", "000001 0.5 1 two 3 4"),
        ("000001,0.5,1,2,3,4", "000001,0.5,1,2,3,4"),
        ("0.5 000001 1 2 3 dog", "0.5 000001 1 2 3 dog"),
    ],
)
def test_a_bad_line_is_refused_with_file_line_and_what_was_wanted(tmp_path, line, quoted):
    write_results(tmp_path, "test", results(dog=[("000001", 0.5, DOG)] * 2))
    path = tmp_path / "comp4_det_test_dog.txt"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ResultError) as error:
        read_results(tmp_path, "test")
    assert str(error.value) == f"{path}, line 3: {quoted!r}; wanted image id, score and four corners"


def test_empty_lines_and_spare_spaces_do_no_harm(tmp_path):
    write_results(tmp_path, "test", results())
    (tmp_path / "comp4_det_test_dog.txt").write_text("\n a  0.5\t1 2 3 4 \n\nb 1e-2 5 6 7 8")
    dog = read_results(tmp_path, "test")["dog"]
    assert (list(dog.image_ids), dog.scores.tolist()) == (["a", "b"], [0.5, 0.01])
    assert dog.boxes.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]


def test_a_missing_or_unreadable_result_file_is_named(tmp_path):
    write_results(tmp_path, "test", results())
    path = tmp_path / "comp4_det_test_sofa.txt"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultError) as error:
        read_results(tmp_path, "test")
    assert str(path) in str(error.value) and "wanted one detection a line" in str(error.value)
    path.unlink()
    with pytest.raises(ResultError) as error:
        read_results(tmp_path, "test")
    says = str(error.value)
    assert says.startswith(f"{path}: not there, there are comp4_det_test_aeroplane.txt, ")
    assert says.endswith("and 16 more; wanted one file for every class, an empty one where nothing was found")


def test_a_missing_folder_and_a_folder_of_other_things_are_told_from_a_missing_file(tmp_path):
    with pytest.raises(ResultError, match="no such folder; wanted a folder of result files") as error:
        read_results(tmp_path / "resluts", "test")
    assert str(error.value).startswith(f"{tmp_path / 'resluts'}: ")
    (tmp_path / "notes.txt").write_text("dog")
    with pytest.raises(ResultError, match="not there, nor any other comp4_det_ file; wanted one file"):
        read_results(tmp_path, "test")
    write_results(tmp_path, "val", results())  # written under another set's name
    with pytest.raises(ResultError, match="there are comp4_det_val_aeroplane.txt"):
        read_results(tmp_path, "test")


def test_files_are_named_after_the_list_without_its_year():
    assert result_name(["2007-test"]) == "test"
    assert result_name(["2012-trainval"]) == "trainval"
    both = result_name(["2007-trainval", "2012-trainval"])
    assert "2007-trainval" in both and "2012-trainval" in both


def test_names_that_windows_takes_for_no_file_come_back_from_result_files(tmp_path):
    """Of these letters and %, no file name holds any; names that differ stay apart."""
    names = ["what?", "what%3F", "a*b", "<other>", 'say "no"', "a|b", "100%", "Äpfel"]
    some = np.array([[1.0, 2.0, 3.0, 4.0]])
    results = {n: Results(["x"], np.array([i / 8]), some) for i, n in enumerate(names)}
    write_results(tmp_path, "test", results)
    files = sorted(path.name for path in tmp_path.iterdir())
    assert len(files) == len(names) and not set("".join(files)) & set('*?<>|"')
    assert "comp4_det_test_what%3F.txt" in files and "comp4_det_test_Äpfel.txt" in files
    again = read_results(tmp_path, "test", names)
    assert {n: float(r.scores[0]) for n, r in again.items()} == {n: i / 8 for i, n in enumerate(names)}
