"""`verify_voc` and `prepare`: a small devkit made by hand with every kind of fault, each named with its file."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from course.boxes import voc_facts
from ssdlib.data import store, voc
from ssdlib.training.runs import RECIPES

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import prepare  # noqa: E402
import verify_voc as script  # noqa: E402

SIZE = (40, 30)
# set -> image -> objects, those with ! difficult. One image without objects.
SETS = {
    "2007-trainval": {"000001": ["dog", "dog", "cat!"], "000003": ["dog!"], "000005": []},
    "2007-test": {"000002": ["person", "dog"], "000004": ["person!"]},
    "2012-trainval": {"2012_000001": ["cat"], "2012_000002": ["cat", "cat!"]},
}
# Counted by hand: set, class -> images, objects, images and objects that aren't difficult
BY_HAND = {
    ("2007-trainval", "dog"): (2, 3, 1, 2),
    ("2007-trainval", "cat"): (1, 1, 0, 0),
    ("2007-trainval", "all"): (2, 4, 1, 2),
    ("2007-test", "person"): (2, 2, 1, 1),
    ("2007-test", "dog"): (1, 1, 1, 1),
    ("2007-test", "all"): (2, 3, 1, 2),
    ("2012-trainval", "cat"): (2, 3, 2, 2),
    ("2012-trainval", "all"): (2, 3, 2, 2),
}
COLUMNS = ("images", "objects", "images_easy", "objects_easy")
HAND_MADE = {
    name: {
        title: dict(zip(COLUMNS, BY_HAND.get((name, title), (0, 0, 0, 0)), strict=True))
        for title in [*voc.CLASSES[1:], "all"]
    }
    for name in SETS
}
HAND_MADE["2007-trainval"]["all"]["images"] = 3  # as lists count, the empty one included


def xml(objects: list[str]) -> str:
    corners = "<xmin>3</xmin><ymin>4</ymin><xmax>20</xmax><ymax>21</ymax>"
    nodes = [
        f"<object><name>{name.rstrip('!')}</name><difficult>{int(name.endswith('!'))}</difficult>"
        f"<bndbox>{corners}</bndbox></object>"
        for name in objects
    ]
    size = f"<size><width>{SIZE[0]}</width><height>{SIZE[1]}</height><depth>3</depth></size>"
    return f"<annotation>{size}{''.join(nodes)}</annotation>"


@pytest.fixture
def devkit(tmp_path) -> Path:
    folder, random = tmp_path / "VOCdevkit", np.random.default_rng(5)
    for name, images in SETS.items():
        year, part = name.split("-")
        for below in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / f"VOC{year}" / below).mkdir(parents=True, exist_ok=True)
        (folder / f"VOC{year}/ImageSets/Main/{part}.txt").write_text("\n".join(images) + "\n")
        for image_id, objects in images.items():
            (folder / f"VOC{year}/Annotations/{image_id}.xml").write_text(xml(objects))
            noise = random.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
            Image.fromarray(noise).save(folder / f"VOC{year}/JPEGImages/{image_id}.jpg", quality=90)
    return folder


@pytest.fixture
def wanted(monkeypatch) -> dict:
    """The small devkit's counts in place of VOC's."""
    monkeypatch.setattr(voc_facts, "classes", lambda: HAND_MADE)
    return HAND_MADE


def run(capsys, *arguments) -> tuple[int, str, list[str]]:
    """-> exit code, the table, the lines about faults. Progress bars taken out."""
    code = script.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    faults = [line for line in err.splitlines() if line.strip() and not re.search(r"\[\d\d:\d\d", line)]
    return code, out, faults


# --- Whole ----------------------------------------------------------------------------------------------


def test_counts_are_those_made_by_hand(devkit):
    found, problems = script.verify(devkit, None)
    for (name, title), numbers in BY_HAND.items():
        assert tuple(found[name][title][column] for column in COLUMNS) == numbers, (name, title)
    assert sum(row["objects"] for title, row in found["2007-test"].items() if title != "all") == 3
    assert not any(problems.values())


def test_the_mini_voc_is_complete_if_any_counts_will_do_and_not_voc_if_not(mini, capsys):
    code, table, faults = run(capsys, mini, "--any-counts")
    assert (code, faults) == (0, []) and f"{mini}: complete" in table
    assert "trainval: 16 images" in table and "test: 8 images" in table
    code, _, faults = run(capsys, mini)
    assert code == 1
    for words in ("2007-trainval: lists 10 images, wanted 5011", "2007-test: lists 8 images, wanted 4952"):
        assert any(words in line for line in faults)
    assert any(
        "2012-trainval, all" in line and "wanted 31561 objects in 11540 images" in line for line in faults
    )


def test_the_wanted_totals_are_those_of_the_paper_and_of_the_devkits_documentation():
    wanted = voc_facts.classes()
    train, test = [wanted[f"{year}-trainval"]["all"] for year in (2007, 2012)], wanted["2007-test"]["all"]
    assert [sum(row[column] for row in train) for column in COLUMNS] == [16551, 47223, 16551, 40058]
    assert [test[column] for column in COLUMNS] == [4952, 14976, 4952, 12032]
    assert list(wanted) == list(voc.COUNTS)


def test_the_table_shows_every_class_and_the_sums(devkit, capsys):
    code, table, _ = run(capsys, devkit, "--any-counts", "--quick")
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines() if line[:1].isalpha()}
    assert code == 0 and set(voc.CLASSES[1:]) <= set(rows)
    columns = table.splitlines()[0].split()
    for (name, title), numbers in BY_HAND.items():
        at = 2 * columns.index(name)
        assert rows[title][at : at + 2] == [str(n) for n in numbers[:2]]
    assert "trainval: 4 images with 7 objects" in table and "test: 2 images with 3 objects" in table


# --- Faults ---------------------------------------------------------------------------------------------


def jpeg(devkit: Path, image_id: str) -> Path:
    return devkit / f"VOC{2012 if '_' in image_id else 2007}/JPEGImages/{image_id}.jpg"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def lists(devkit: Path, text: str) -> None:
    (devkit / "VOC2007/ImageSets/Main/test.txt").write_text(text)


FAULTS = {
    "photograph missing": (lambda d: jpeg(d, "000001").unlink(), "photographs", "000001.jpg: not there"),
    "photograph cut off": (
        lambda d: cut(jpeg(d, "000002")),
        "photographs",
        "000002.jpg: image file is truncated",
    ),
    "photograph empty": (
        lambda d: jpeg(d, "2012_000001").write_bytes(b""),
        "photographs",
        "2012_000001.jpg: ",
    ),
    "photograph of another size": (
        lambda d: Image.new("RGB", (30, 40)).save(jpeg(d, "000003")),
        "photographs",
        "000003.jpg: 30x40 px; its annotation says 40x30",
    ),
    "photograph of an image without objects": (
        lambda d: jpeg(d, "000005").unlink(),
        "photographs",
        "000005.jpg: not there",
    ),
    "annotation unparseable": (
        lambda d: (d / "VOC2007/Annotations/000004.xml").write_text("<annotation><size>"),
        "annotations",
        "000004.xml: no element found",
    ),
    "annotation missing": (
        lambda d: (d / "VOC2012/Annotations/2012_000002.xml").unlink(),
        "annotations",
        "2012_000002.xml: not there; the image list names it",
    ),
    "annotation of an unknown class": (
        lambda d: (d / "VOC2007/Annotations/000001.xml").write_text(xml(["unicorn"])),
        "annotations",
        "000001.xml: class 'unicorn'",
    ),
    "id without files": (
        lambda d: lists(d, "000002\n000004\n000099\n"),
        "annotations",
        "000099.xml: not there",
    ),
    "list missing": (
        lambda d: (d / "VOC2007/ImageSets/Main/test.txt").unlink(),
        "image lists",
        "test.txt: not there",
    ),
    "list empty": (lambda d: lists(d, ""), "image lists", "test.txt: empty"),
    "id twice": (
        lambda d: lists(d, "000002\n000004\n000002\n"),
        "image lists",
        "test.txt, line 3: 000002 again, as in line 1",
    ),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_is_named_with_its_file(devkit, capsys, kind):
    make, heading, words = FAULTS[kind]
    make(devkit)
    code, _, faults = run(capsys, devkit, "--any-counts")
    assert code == 1
    assert faults[0] == f"{heading}: 1 wrong" and words in faults[1]
    assert len(faults) == 3 and "not complete" in faults[2]


def test_all_faults_are_found_in_one_go(devkit, capsys):
    makers = [
        "photograph missing",
        "photograph cut off",
        "photograph of another size",
        "annotation unparseable",
    ]
    makers += ["annotation missing"]
    for kind in makers:
        FAULTS[kind][0](devkit)
    code, _, faults = run(capsys, devkit, "--any-counts")
    assert code == 1
    assert [line for line in faults if line.endswith("wrong")] == [
        "annotations: 2 wrong",
        "photographs: 3 wrong",
    ]
    for kind in makers:
        assert any(FAULTS[kind][2] in line for line in faults), kind


def test_wrong_counts_are_named_by_set_and_class_with_both_numbers(devkit, wanted, capsys):
    (devkit / "VOC2007/Annotations/000002.xml").write_text(xml(["person", "cow!"]))
    _, _, faults = run(capsys, devkit)
    text = "\n".join(faults)
    for words in (
        "2007-test, dog: 0 objects in 0 images, 0 in 0 not difficult; wanted 1 objects in 1 images",
        "2007-test, cow: 1 objects in 1 images, 0 in 0 not difficult; wanted 0 objects in 0 images",
        "2007-test, all: 3 objects in 2 images, 1 in 1 not difficult; wanted 3 objects in 2 images, 2 in 1",
    ):
        assert words in text
    assert "2012-trainval" not in text and "person" not in text


def test_a_missing_image_is_noticed_though_it_has_no_objects(devkit, wanted, capsys):
    (devkit / "VOC2007/ImageSets/Main/trainval.txt").write_text("000001\n000003\n")
    _, _, faults = run(capsys, devkit)
    assert "    2007-trainval: lists 2 images, wanted 3" in faults


def test_twenty_faults_of_a_kind_are_printed_and_the_rest_counted(devkit, capsys):
    ids = [f"{i:06d}" for i in range(100, 147)]
    lists(devkit, "\n".join(ids))
    _, _, faults = run(capsys, devkit, "--any-counts")
    assert faults[0] == "annotations: 47 wrong"
    assert [Path(line.split(":")[0]).stem for line in faults[1:21]] == ids[:20]
    assert faults[21] == "    and 27 more" and len(faults) == 23


def test_quick_sees_that_a_photograph_is_gone_but_not_that_it_is_broken(devkit, capsys):
    cut(jpeg(devkit, "000002"))
    code, table, _ = run(capsys, devkit, "--any-counts", "--quick")
    assert code == 0 and "as far as it shows without decoding" in table
    jpeg(devkit, "000002").unlink()
    code, _, faults = run(capsys, devkit, "--any-counts", "--quick")
    assert code == 1 and "000002.jpg: not there" in faults[1]


def test_a_folder_that_is_no_devkit_is_said_to_be_none(tmp_path, capsys):
    code, _, faults = run(capsys, tmp_path / "nowhere")
    assert code == 1 and faults[0] == "image lists: 3 wrong"
    assert len(faults) == 5 and "Is " in faults[1] and "a VOCdevkit folder?" in faults[1]


# --- Prepare --------------------------------------------------------------------------------------------


def test_prepare_makes_the_stores_of_the_paper_where_training_looks_for_them(mini, tmp_path, capsys):
    devkit = tmp_path / "VOCdevkit"
    shutil.copytree(mini, devkit)
    assert prepare.main([str(devkit)]) == 0
    place = tmp_path / "VOCdevkit.store"
    assert sorted(path.name for path in place.iterdir()) == ["2007-test", "2007-trainval+2012-trainval"]
    for sets in (RECIPES["paper"].train_sets, RECIPES["paper"].test_sets):
        examples = voc.read_sets(devkit, sets)
        stored = store.Store(place / "+".join(sets), examples)
        for i in (0, len(examples) - 1):
            with Image.open(examples[i].path) as image:
                assert np.array_equal(stored[i].numpy(), np.asarray(image.convert("RGB")))


def test_prepare_refuses_a_disk_that_holds_one_store_but_not_both(devkit, monkeypatch, capsys):
    one = 3 * SIZE[0] * SIZE[1]
    free = type("usage", (), {"free": 7 * one - 1})
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: free)
    assert prepare.main([str(devkit)]) == 1
    assert "the disk has 0.0 GB free" in capsys.readouterr().err
    assert [path.name for path in devkit.parent.iterdir()] == ["VOCdevkit"]
    free.free += 1
    assert prepare.main([str(devkit)]) == 0


def test_prepare_says_what_is_wrong_in_one_sentence(devkit, capsys):
    cut(jpeg(devkit, "000004"))
    assert prepare.main([str(devkit)]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "000004.jpg" in error and "Traceback" not in error
