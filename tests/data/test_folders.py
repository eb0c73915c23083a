"""Folders that people really have, each after a public bug report or question: what is read, and what is reported.

Wrong boxes, wrong classes, a split that nobody asked for and old pixels are the worst that a reader can do, because
nobody sees them. So each test compares boxes, classes and parts with what the folder was written to mean.
"""

import re
import shutil
from pathlib import Path

import pytest
from folders import BOX, SIZE, YOLO, annotated, coco, labelme, many, picture, text, xml, yolo
from PIL import Image

from ssdlib.__main__ import main
from ssdlib.data import formats, own, store
from ssdlib.data.formats import PICTURES, FormatError
from ssdlib.training.runs import CHECKPOINT, CONFIG


def boxes(found: own.Found) -> dict[str, list]:
    """Name and box of every object, picture by picture."""
    return {
        e.image_id: [
            (found.classes[label - 1], tuple(round(x, 1) for x in box))
            for label, box in zip(e.labels.tolist(), e.boxes.tolist(), strict=True)
        ]
        for e in found.examples
    }


def parts(found: own.Found) -> dict[str, str]:
    return {e.image_id: part for e, part in zip(found.examples, found.parts, strict=True)}


def note(found: own.Found, words: str) -> tuple[str, ...]:
    """Where the report says something; all of it, so that the number is right."""
    [where] = [n.where for n in found.report.notes if words in n.what]
    assert words in str(found)
    return where


def all_are(found: own.Found, name: str = "cat", box: tuple = BOX) -> bool:
    return bool(found.examples) and all(rows == [(name, box)] for rows in boxes(found).values())


def refused(folder: Path, *words: str, **how) -> str:
    with pytest.raises(FormatError) as error:
        own.read_folder(folder, **how)
    sentence = str(error.value)
    assert all(word in sentence for word in words), sentence
    assert "\n" not in sentence and len(sentence) < 600
    return sentence


# ---- ids and names that stand for two things


@pytest.mark.parametrize("second", [1, "1"])
def test_two_images_of_one_id_are_refused_because_boxes_would_lie_on_the_wrong_one(tmp_path, second):
    """COCO-Assistant 64, cocoapi 600: two sets joined."""
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    images = [{"id": 1, "file_name": "a.jpg"}, {"id": second, "file_name": "b.jpg"}]
    coco(tmp_path / "all.json", ["a.jpg"], images=images)
    refused(
        tmp_path, "all.json", f"image id {second!r} twice", "'a.jpg' and 'b.jpg'", "number the images again"
    )


@pytest.mark.parametrize("second", [1, "1"])
def test_two_categories_of_one_id_are_refused(tmp_path, second):
    picture(tmp_path / "a.jpg")
    coco(
        tmp_path / "all.json", ["a.jpg"], categories=[{"id": 1, "name": "cat"}, {"id": second, "name": "dog"}]
    )
    refused(
        tmp_path,
        "all.json",
        f"category id {second!r} twice",
        "'cat' and 'dog'",
        "give the categories new numbers",
    )


def test_one_picture_annotated_in_two_files_is_refused_with_both_unless_they_agree(tmp_path):
    annotated(tmp_path, "images/a.jpg")
    shutil.copy(tmp_path / "images/a.xml", tmp_path / "a.xml")
    found = own.read_folder(tmp_path)
    assert all_are(found) and note(found, "annotated twice in the same way") == (
        "images/a.jpg: a.xml and images/a.xml",
    )
    xml(tmp_path / "a.xml", ("cat", (1, 1, 9, 9)))
    refused(tmp_path, "images/a.jpg: annotated twice, by a.xml and images/a.xml", "move one elsewhere")


def test_a_category_that_no_object_has_goes_where_another_has_its_name(tmp_path):
    """rf-detr pull 1303: Roboflow's root category is called like a class."""
    for part in ("train", "valid"):
        picture(tmp_path / part / "a_jpg.rf.0123456789ab.jpg")
        two = [{"id": 0, "name": "cat", "supercategory": "none"}, {"id": 1, "name": "cat"}]
        coco(tmp_path / part / "_annotations.coco.json", ["a_jpg.rf.0123456789ab.jpg"], categories=two)
    found = own.read_folder(tmp_path)
    assert found.classes == ("cat",) and all_are(found) and "COCO JSON of Roboflow" in str(found)
    assert note(found, "categories without objects")[0] == "train/_annotations.coco.json, 0 cat"
    assert set(found.parts) == {"train", "test"}


def test_two_categories_of_one_name_that_both_have_objects_are_joined(tmp_path):
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
    rows = [{"image_id": i, "category_id": i, "bbox": [4, 5, 20, 15]} for i in (1, 2)]
    names = [{"id": 1, "name": "cat"}, {"id": 2, "name": "cat"}]
    coco(tmp_path / "all.json", ["a.jpg", "b.jpg"], rows, categories=names)
    found = own.read_folder(tmp_path)
    assert found.classes == ("cat",) and all_are(found)
    assert note(found, "categories of one name") == ("all.json, 1 and 2 cat",)


# ---- what a split is stated by


SCREENS = [f"Screenshot 2024-01-0{i} 9.58.0{i}" for i in range(1, 7)]


@pytest.mark.parametrize("quoted", [False, True])
def test_the_lists_of_imagesets_main_are_followed_with_spaces_and_dots_in_the_names(tmp_path, quoted):
    """jetson-inference 1640, pytorch-ssd 39: CVAT's export."""
    text(
        tmp_path / "labelmap.txt", ["# label:color_rgb:parts:actions", "background:0,0,0::", "cat:128,0,0::"]
    )
    for name in SCREENS:
        picture(tmp_path / f"JPEGImages/{name}.png")
        xml(tmp_path / f"Annotations/{name}.xml")
    lines = [f'"{name}" 1' if quoted else name for name in SCREENS]
    text(tmp_path / "ImageSets/Main/train.txt", lines[:2])
    text(tmp_path / "ImageSets/Main/test.txt", lines[2:])
    text(tmp_path / "ImageSets/Main/cat_train.txt", [f"{name}  1" for name in SCREENS])
    found = own.read_folder(tmp_path)
    assert list(parts(found).values()) == ["train"] * 2 + ["test"] * 4 and all_are(found)
    assert "Pascal XML of CVAT" in str(found)
    assert "split: ImageSets/Main/test.txt, ImageSets/Main/train.txt, followed" in str(found)


def test_trainval_and_test_count_where_train_and_val_are_its_halves(tmp_path):
    annotated(tmp_path, *many(4))
    for name, numbers in (("train", "0"), ("val", "1"), ("trainval", "01"), ("test", "23")):
        text(tmp_path / f"ImageSets/Main/{name}.txt", [f"0{number}" for number in numbers])
    assert list(parts(own.read_folder(tmp_path)).values()) == ["train", "train", "test", "test"]


def test_a_picture_that_no_list_names_is_left_out_and_one_in_both_is_in_both(tmp_path):
    annotated(tmp_path, *many(4))
    text(tmp_path / "my_train_list.txt", ["00.jpg", "01.jpg", "gone.jpg"])
    text(tmp_path / "test.txt", ["./01.jpg", "/mnt/me/02.jpg"])
    found = own.read_folder(tmp_path)
    assert parts(found) == {"00.jpg": "train", "01.jpg": "both", "02.jpg": "test"}
    assert [e.image_id for e in found.part("train")] == ["00.jpg", "01.jpg"]
    assert [e.image_id for e in found.part("test")] == ["01.jpg", "02.jpg"]
    assert note(found, "that neither part names") == ("03.jpg",)
    assert note(found, "that a list names and that aren't there") == ("my_train_list.txt: gone.jpg",)
    assert "1 images are named for both" in found.report.split


@pytest.mark.parametrize(
    "train, val",
    [
        ("site_a/images", "site_b/images"),
        ("../site_a/images", "../site_b/images"),  # as Roboflow writes it
        ("/content/set/site_a/images", "C:\\me\\set\\site_b\\images"),
        ("a.txt", "b.txt"),
        ("[site_a/images/0.jpg, site_a/images/1.jpg]", "[site_b/images]"),
    ],
)
def test_folders_and_lists_of_data_yaml_are_followed(tmp_path, train, val):
    """rf-detr 1177, yolov5 4912."""
    for site in "ab":
        yolo(tmp_path, *(f"site_{site}/images/{i}.jpg" for i in (0, 1)))
        text(tmp_path / f"{site}.txt", [f"./site_{site}/images/{i}.jpg" for i in (0, 1)])
    text(tmp_path / "data.yaml", f"path: .\ntrain: {train}\nval: {val}\nnc: 1\nnames: [cat]\n")
    found = own.read_folder(tmp_path)
    assert list(parts(found)) == [f"site_{site}/images/{i}.jpg" for site in "ab" for i in (0, 1)]
    assert found.parts == ("train", "train", "test", "test")
    assert found.report.split == "data.yaml, followed"


def test_a_folder_that_data_yaml_names_twice_is_both_and_the_report_warns(tmp_path):
    yolo(tmp_path, "images/a.jpg", "images/b.jpg")
    text(tmp_path / "data.yaml", "train: images\nval: images\nnames: [cat]\n")
    found = own.read_folder(tmp_path)
    assert found.parts == ("both", "both") and "they are trained on and judged" in str(found)
    assert len(found.part("train")) == len(found.part("test")) == 2


def test_a_part_that_data_yaml_names_and_that_is_not_there_is_said_and_nothing_else_is_taken_for_it(tmp_path):
    yolo(tmp_path, *(f"images/{i}.jpg" for i in range(20)))
    text(tmp_path / "data.yaml", "train: images\nval: ../valid/images\nnames: [cat]\n")
    found = own.read_folder(tmp_path)
    assert note(found, "that aren't there") == ("data.yaml, val: ../valid/images",)
    assert "both" not in found.parts and "by a hash" in found.report.split


def test_a_yaml_one_folder_down_with_words_in_its_name_is_read(tmp_path):
    """label-studio 5914, Roboflow's zip; the word test in the folder's own name says nothing."""
    yolo(tmp_path / "test train.v3i.yolov8", "train/images/a.jpg", "valid/images/b.jpg", "test/images/c.jpg")
    yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: ['cat']\n"
    text(tmp_path / "test train.v3i.yolov8/data.yaml", yaml)
    found = own.read_folder(tmp_path)
    assert list(parts(found).values()) == ["test", "train", "test"] and all_are(found)
    assert "for validation and images for testing are judged together" in str(found)


def test_darknets_names_and_lists_are_read(tmp_path):
    """CVAT's YOLO 1.1 and darknet's own: texts beside the pictures, lists with paths of another machine."""
    yolo(tmp_path, *(f"obj_train_data/{i}.jpg" for i in range(4)), labels=False)
    text(tmp_path / "obj.names", ["cat"])
    text(
        tmp_path / "obj.data",
        "classes = 1\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n",
    )
    text(tmp_path / "train.txt", ["data/obj_train_data/0.jpg", "data/obj_train_data/1.jpg"])
    text(
        tmp_path / "valid.txt", ["/content/darknet/data/obj_train_data/2.jpg", "data\\obj_train_data\\3.jpg"]
    )
    found = own.read_folder(tmp_path)
    assert found.parts == ("train", "train", "test", "test") and all_are(found)
    assert found.report.split == "obj.data, followed"


@pytest.mark.parametrize(
    "first, second", [("trainval", "test"), ("Train2017", "valSet"), ("train_a", "testing")]
)
def test_words_in_the_names_of_folders_are_followed_but_not_those_above_the_set(tmp_path, first, second):
    folder = tmp_path / "train and test of mine" / "test"
    yolo(folder, *(f"{first}/images/{i}.jpg" for i in range(3)), f"{second}/images/9.jpg")
    text(folder / "classes.txt", ["cat"])
    assert own.read_folder(folder).parts == tuple(
        "train" if name.startswith(first) else "test" for name in parts(own.read_folder(folder))
    )
    shutil.rmtree(folder / second)
    found = own.read_folder(tmp_path)  # now one word alone, below folders with words
    assert "by a hash" in found.report.split and "train.txt and test.txt" in found.report.split


def test_a_hash_decides_only_if_nothing_is_stated_and_says_how_to_state_a_split(tmp_path):
    found = own.read_folder(annotated(tmp_path / "train_test", *many(30)))
    by_hand = ["test" if own.share_of(name) < 0.2 else "train" for name in many(30)]
    assert list(found.parts) == by_hand and {"train", "test"} == set(by_hand)
    assert "by a hash" in found.report.split and "ImageSets/Main/train.txt" in found.report.split


def test_one_picture_is_trained_on_whatever_its_hash_and_the_sentence_names_the_flag(tmp_path):
    """yolact 598: to overfit on."""
    for name in many(9):
        found = own.read_folder(annotated(tmp_path / name, name))
        assert found.parts == ("train",)
        with pytest.raises(FormatError) as error:
            found.part("test")
        assert "there are 1 train, 0 test" in str(error.value) and "--test-sets train" in str(error.value)
        assert "Counter" not in str(error.value)


# ---- boxes


KEYPOINTS = {
    "2 of 2": "0.3 0.3 0.5 0.6",
    "3 of 3": "0.3 0.3 2 0.5 0.6 1 0.2 0.3 0",
    "17 of 3": "0.3 0.3 2 " * 17,
}


@pytest.mark.parametrize("shape", KEYPOINTS)
@pytest.mark.parametrize("stated", [True, False])
def test_the_box_of_a_pose_is_its_first_four_numbers(tmp_path, shape, stated):
    """yolov5 12330, JSON2YOLO 94. Where no kpt_shape says so, points that the box always holds do."""
    yolo(tmp_path, "images/a.jpg", "images/b.jpg", lines=[f"0 {YOLO} {KEYPOINTS[shape]}"])
    kpt_shape = f"kpt_shape: [{shape.replace(' of ', ', ')}]\n" if stated else ""
    text(tmp_path / "data.yaml", f"{kpt_shape}names:\n  0: cat\n")
    found = own.read_folder(tmp_path)
    assert all_are(found) and len(note(found, "keypoints; the first four numbers are the box")) == 2
    assert stated or note(found, "taken as a box and") == ("",)


def test_a_pose_of_another_shape_than_stated_is_refused(tmp_path):
    yolo(tmp_path, "images/a.jpg", lines=[f"0 {YOLO} 0.3 0.3 0.5 0.6"])
    text(tmp_path / "data.yaml", "kpt_shape: [3, 3]\nnames: [cat]\n")
    refused(tmp_path, "a.txt, line 1: 9 numbers; wanted 5 + 3 x 3", "kpt_shape", "correct")


def test_outlines_of_four_corners_are_no_poses(tmp_path):
    """Turned boxes have nine numbers, too; what would be their box doesn't hold them."""
    yolo(tmp_path, "images/a.jpg", lines=["0 0.1 0.166667 0.6 0.166667 0.6 0.666667 0.1 0.666667"])
    text(tmp_path / "classes.txt", ["cat"])
    found = own.read_folder(tmp_path)
    assert all_are(found) and note(found, "outlines") == ("labels/a.txt, line 1",)


def test_a_score_behind_the_box_is_left_out(tmp_path):
    yolo(tmp_path, "images/a.jpg", lines=[f"0 {YOLO} 0.93"])
    text(tmp_path / "classes.txt", ["cat"])
    assert all_are(found := own.read_folder(tmp_path)) and len(note(found, "a sixth number")) == 1


def test_cocos_annotations_without_bbox_have_the_box_of_their_outline_or_are_left_out(tmp_path):
    """sahi pull 1028, cocoapi 600. The runs are those of a 20 x 15 block at 4, 5, by hand: 4 columns of 30 px are off
    and 5 px more, then twenty times 15 on, 15 off."""
    names = many(7)
    for name in names:
        picture(tmp_path / name)
    runs = [4 * 30 + 5, *[15, 15] * 20]
    shapes = [
        {"bbox": [4, 5, 20, 15], "segmentation": {"counts": [0, 9], "size": [30, 40]}, "iscrowd": 1},
        {"bbox": [], "segmentation": [[4, 5, 24, 5, 24, 20, 4, 20]]},
        {"bbox": None, "segmentation": [[4, 5, 14, 5, 14, 9], [20, 20, 24, 20, 24, 12]]},
        {"segmentation": {"counts": runs, "size": [30, 40]}, "iscrowd": 1},
        {"bbox": [0, 0, 0, 0], "segmentation": {"counts": packed(runs), "size": [30, 40]}, "iscrowd": 1},
        {"bbox": [], "segmentation": []},
        {"caption": "a cat"},
    ]
    rows = [{"image_id": i, **shape} for i, shape in enumerate(shapes, 1)]
    coco(tmp_path / "all.json", names, rows)
    found = own.read_folder(tmp_path)
    assert [rows for rows in boxes(found).values()] == [[("cat", BOX)]] * 5 + [[], []]
    assert [e.difficult.tolist() for e in found.examples[:5]] == [[True], [False], [False], [True], [True]]
    assert note(found, "neither bbox nor outline") == ("all.json, annotation 5", "all.json, annotation 6")
    assert len(note(found, "outlines")) == 4


def packed(counts: list[int]) -> str:
    """COCO's letters for runs, as its C code packs them: five bits each, from the third on as differences."""
    letters = []
    for place, count in enumerate(counts):
        number, more = count - (counts[place - 2] if place > 2 else 0), True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            letters.append(chr((bits | 32 * more) + 48))
    return "".join(letters)


def test_exchanged_corners_are_put_right_in_every_format_and_never_background(tmp_path):
    """pytorch-ssd 139, tensorflow/models 3688: some boxes drawn from the lower right."""
    annotated(tmp_path / "xml", *many(5))
    xml(tmp_path / "xml/03.xml", ("cat", (24, 20, 5, 6)))
    for name in many(5):
        picture(tmp_path / "coco" / name)
        picture(tmp_path / "labelme" / name)
        labelme((tmp_path / "labelme" / name).with_suffix(".json"), {"points": [BOX[2:], BOX[:2]]})
    rows = [{"image_id": i, "bbox": [4, 5, 20, 15] if i != 4 else [24, 20, -20, -15]} for i in range(1, 6)]
    coco(tmp_path / "coco/all.json", many(5), rows)
    yolo(tmp_path / "yolo", *(f"images/{name}" for name in many(5)))
    text(tmp_path / "yolo/labels/03.txt", ["0 0.35 0.416667 -0.5 -0.5"])
    text(tmp_path / "yolo/classes.txt", ["cat"])
    for kind in ("xml", "coco", "yolo"):
        found = own.read_folder(tmp_path / kind)
        assert all_are(found), kind
        assert [Path(where).stem for where in note(found, "exchanged corners, corrected")] == ["03"]
    assert all_are(own.read_folder(tmp_path / "labelme"))  # there any two opposite corners are a rectangle


def test_width_and_height_in_the_place_of_corners_are_refused_not_exchanged(tmp_path):
    annotated(tmp_path, *many(4), objects=[("cat", (20, 18, 9, 8))])
    refused(tmp_path, "00.xml: xmin, ymin, xmax, ymax are 20, 18, 9, 8", "4 of 4", "add x and y")


def test_corners_in_the_place_of_width_and_height_are_refused(tmp_path):
    for name in many(4):
        picture(tmp_path / "coco" / name)
    rows = [{"image_id": i, "bbox": [10 + i, 9, 35, 28]} for i in range(1, 5)]
    coco(tmp_path / "coco/all.json", many(4), rows)
    refused(tmp_path / "coco", "00.jpg: as x, y, width, height 4 of 4 boxes reach out", "export")
    yolo(tmp_path / "yolo", *(f"images/{name}" for name in many(4)), lines=["0 0.2 0.3 0.9 0.95"])
    text(tmp_path / "yolo/classes.txt", ["cat"])
    refused(tmp_path / "yolo", "images/00.jpg: as centre, width, height 4 of 4 boxes reach out", "export")


@pytest.mark.parametrize("kind", ["xml", "coco", "labelme"])
def test_boxes_in_parts_of_1_are_taken_as_such_and_reported(tmp_path, kind):
    parts_of_1 = (BOX[0] / 40, BOX[1] / 30, BOX[2] / 40, BOX[3] / 30)
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / name)
        if kind == "xml":
            xml((tmp_path / name).with_suffix(".xml"), ("cat", parts_of_1))
        elif kind == "labelme":
            labelme((tmp_path / name).with_suffix(".json"), {"points": [parts_of_1[:2], parts_of_1[2:]]})
    if kind == "coco":
        x1, y1, x2, y2 = parts_of_1
        rows = [{"image_id": i, "bbox": [x1, y1, x2 - x1, y2 - y1]} for i in (1, 2)]
        coco(tmp_path / "all.json", ["a.jpg", "b.jpg"], rows)
    found = own.read_folder(tmp_path)
    assert all_are(found) and note(found, "taken as fractions of the image, not as px") == ("",)


def test_an_object_that_stands_there_twice_is_one(tmp_path):
    annotated(tmp_path, "a.jpg", objects=[("cat", (5, 6, 24, 20))] * 2)
    assert all_are(found := own.read_folder(tmp_path)) and note(found, "annotated twice in one image") == (
        "a.jpg",
    )


def test_xml_without_bndbox_has_the_box_of_its_polygon_or_turned_box(tmp_path):
    shapes = {
        "points": "<polygon><pt><x>5</x><y>6</y></pt><pt><x>24</x><y>7</y></pt><pt><x>9</x><y>20</y></pt></polygon>",
        "row": "<polygon><x1>5</x1><y1>20</y1><x2>24</x2><y2>6</y2></polygon>",
        "turned": "<robndbox><cx>14.5</cx><cy>13</cy><w>14</w><h>19</h><angle>1.5707963</angle></robndbox>",
    }
    for name, shape in shapes.items():
        picture(tmp_path / f"{name}.jpg")
        xml(tmp_path / f"{name}.xml", ("cat", shape))
    found = own.read_folder(tmp_path)
    assert all_are(found) and len(note(found, "outlines")) == 3


# ---- class lists


def test_of_two_class_lists_the_nearest_counts_and_the_names_are_joined(tmp_path):
    """labelImg 721 and 707: two folders, each with its own order."""
    for folder, names, number in (("a", ["bolt", "nut"], 0), ("b", ["nut", "bolt"], 1)):
        yolo(
            tmp_path / folder,
            *(f"{folder}{i}.jpg" for i in range(2)),
            lines=[f"{number} {YOLO}"],
            labels=False,
        )
        text(tmp_path / folder / "classes.txt", names)
    found = own.read_folder(tmp_path)
    assert all_are(found, "bolt") and found.classes == ("bolt",)
    assert note(found, "class lists that differ; the nearest counts") == (
        "a/classes.txt (bolt, nut)",
        "b/classes.txt (nut, bolt)",
    )


def test_two_exports_with_a_data_yaml_each_are_joined_by_name(tmp_path):
    for folder, names in (("one", "[cat, dog]"), ("two", "[dog, cat]")):
        yolo(
            tmp_path / folder,
            "train/images/a.jpg",
            "valid/images/b.jpg",
            lines=[f"{names.index('cat') // 5} {YOLO}"],
        )
        text(tmp_path / folder / "data.yaml", f"train: train/images\nval: valid/images\nnames: {names}\n")
    found = own.read_folder(tmp_path)
    assert all_are(found) and list(parts(found).values()) == ["train", "test"] * 2


def test_a_class_list_beside_is_taken_if_there_is_one_only_and_refused_where_two_differ(tmp_path):
    yolo(tmp_path, "images/a.jpg")
    text(tmp_path / "config/my.names", ["cat"])
    assert all_are(own.read_folder(tmp_path))
    text(tmp_path / "other/classes.txt", ["dog"])
    refused(tmp_path, "labels/a.txt: config/my.names and other/classes.txt", "wanted classes.txt")
    text(tmp_path / "labels/classes.txt", ["cat"])
    text(tmp_path / "labels/data.yaml", "names: [dog]\n")
    refused(tmp_path, "data.yaml: dog, but labels/classes.txt has cat", "move the wrong one elsewhere")


def test_texts_without_any_class_list_are_refused_with_its_names(tmp_path):
    refused(
        yolo(tmp_path, "images/a.jpg"), "labels/a.txt: no class list", "classes.txt", "obj.names", "data.yaml"
    )


def test_a_class_list_beside_xml_is_no_second_format(tmp_path):
    text(annotated(tmp_path, "a.jpg") / "classes.txt", ["dog"])
    assert all_are(own.read_folder(tmp_path))


@pytest.mark.parametrize("content", ["cat\n".encode("utf-16"), b"\xef\xbb\xbfcat\r\n", b"cat"])
def test_class_lists_as_editors_and_shells_save_them_are_read(tmp_path, content):
    yolo(tmp_path, "images/a.jpg")
    text(tmp_path / "classes.txt", content)
    assert all_are(own.read_folder(tmp_path))


@pytest.mark.parametrize(
    "yaml, words",
    [
        ("names: {0: cat, 0: dog}\n", "'0' twice"),
        ("names: [cat\n", "wanted YAML"),
        ("names: [cat, '']\n", "wanted names: "),
        ("names: cat\n", "wanted names: "),
    ],
)
def test_class_names_that_cannot_be_told_are_refused(tmp_path, yaml, words):
    yolo(tmp_path, "images/a.jpg")
    text(tmp_path / "data.yaml", yaml)
    refused(tmp_path, "data.yaml", words)


def test_names_that_yaml_would_take_for_something_else_stay_names(tmp_path):
    yolo(tmp_path, "images/a.jpg", lines=[f"{i} {0.2 + i / 10} .5 .2 .2" for i in range(5)])
    text(tmp_path / "data.yaml", "names: [no, 1, 007, null, it's]\n")
    assert own.read_folder(tmp_path).classes == ("no", "1", "007", "null", "it's")


@pytest.mark.parametrize(
    "bad, words",
    [("background", "is class 0 always"), ("car/truck", "without /"), ("Plate", "'Plate' and 'plate'")],
)
def test_look_and_train_say_the_same_of_a_class_that_no_run_takes(tmp_path, bad, words, capsys):
    """caffe 612, sahi pull 369."""
    annotated(tmp_path / "set", *many(6), objects=[("plate", (5, 6, 24, 20))])
    for name in ("00.xml", "02.xml"):
        xml(tmp_path / "set" / name, (bad, (5, 6, 24, 20)))
    said = []
    for command in (["look"], ["train", "--out", str(tmp_path / "run")]):
        assert main([*command, "--data", str(tmp_path / "set")]) == 1
        said.append(capsys.readouterr().err.strip().splitlines()[-1])
    assert said[0] == said[1] and words in said[0]
    assert re.search("0[01].xml: class ", said[0])
    assert re.search(r"rename it .* --classes (plate|Plate)$", said[0])
    assert own.read_folder(tmp_path / "set", classes=("plate",)).report.refusal == ""
    assert not (tmp_path / "run").exists()


def test_names_with_spaces_and_of_other_scripts_are_classes(tmp_path):
    annotated(
        tmp_path,
        "a.jpg",
        objects=[("traffic light", (1, 1, 9, 9)), ("Ünï 犬", (5, 6, 24, 20)), ("0", (2, 2, 8, 8))],
    )
    found = own.read_folder(tmp_path)
    found.require_trainable()
    assert found.classes == ("0", "traffic light", "Ünï 犬")


# ---- pictures and their annotations


def test_an_annotation_called_otherwise_is_found_by_its_filename(tmp_path):
    """classifai 277."""
    for i in range(3):
        picture(tmp_path / f"images/{i}.jpg")
        xml(tmp_path / f"annotations/{i}_jpg.xml", ("cat", (5, 6, 24 - i, 20)), filename=f"{i}.jpg")
    picture(tmp_path / "images/d.png")
    xml(tmp_path / "annotations/d.png.xml", ("cat", (5, 6, 20, 20)))
    found = own.read_folder(tmp_path)
    assert [rows[0][1][2] for rows in boxes(found).values()] == [24, 23, 22, 20]
    assert note(found, "found by <filename>")[0] == "annotations/0_jpg.xml" and len(found.examples) == 4


def test_where_stem_and_filename_name_two_pictures_the_stem_counts_and_the_report_says_so(tmp_path):
    annotated(tmp_path, "a.jpg", "b.jpg")
    xml(tmp_path / "a.xml", filename="b.jpg")
    found = own.read_folder(tmp_path)
    assert all_are(found) and note(found, "<filename> is another image of the folder") == ("a.xml (b.jpg)",)


def test_images_of_one_name_are_told_apart_by_the_folders_above_that_they_share_with_the_annotation(tmp_path):
    """train and val each have images/ and annotations/ with the same names; so have the sets of two cameras."""
    rights = {}
    for number, place in enumerate(("left/train", "left/val", "right/train", "right/val")):
        for name in many(3):
            picture(tmp_path / place / "images" / name)
            one = tmp_path / place / "annotations" / Path(name).with_suffix(".xml")
            xml(one, ("cat", (5, 6, 20 + number, 20)), filename=name)
            rights[f"{place}/images/{name}"] = 20 + number
    found = own.read_folder(tmp_path)
    assert {name: rows[0][1][2] for name, rows in boxes(found).items()} == rights and own.bad_of(found) == []


def test_an_annotation_between_two_images_of_its_name_is_left_out(tmp_path):
    annotated(tmp_path / "whole", "b.jpg")
    for place in ("", "one", "two/three"):
        picture(tmp_path / place / "a.jpg")
    xml(tmp_path / "annotations/a.xml", filename="a.jpg")
    found = own.read_folder(tmp_path)
    assert list(boxes(found)) == ["whole/b.jpg"]
    assert own.bad_of(found) == ["annotations/a.xml: several images of its name"]


@pytest.mark.parametrize(
    "name",
    [
        "https://storage.example.org/bucket/one%20b.jpg?X-Signature=1",
        "/data/local-files/?d=images%2Fone%20b.jpg",
        "/data/upload/3/0123abcd-one b.jpg",
        "C:\\Users\\me\\one b.jpg",
        "ONE B.JPG",
        "one b.png",
    ],
)
def test_coco_names_from_elsewhere_are_found_by_name_and_reported(tmp_path, name):
    """label-studio 7294 and others."""
    picture(tmp_path / "images/one b.jpg")
    coco(tmp_path / "result.json", [name])
    found = own.read_folder(tmp_path)
    assert boxes(found) == {"images/one%20b.jpg": [("cat", BOX)]}
    assert any(f"result.json, {name}" in n.where for n in found.report.notes)


@pytest.mark.parametrize("suffix", [".jfif", ".JPE", ".jif", ".gif", ".webp", ".bmp", ".tif"])
def test_pictures_under_less_usual_suffixes_are_read(tmp_path, suffix):
    """nomacs 627: .jfif."""
    kind = {".jfif": "JPEG", ".JPE": "JPEG", ".jif": "JPEG"}.get(suffix)
    annotated(tmp_path, f"a{suffix}", format=kind)
    assert suffix.lower() in PICTURES and all_are(own.read_folder(tmp_path))


def test_a_suffix_that_is_not_read_is_named_with_the_file_and_what_to_do(tmp_path):
    annotated(tmp_path, "a.jpg")
    text(tmp_path / "phone.heic", b"....ftypheic")
    xml(tmp_path / "phone.xml")
    found = own.read_folder(tmp_path)
    words = ".heic: an image format that isn't read, convert it to JPEG or PNG"
    assert {n.what: n.where for n in found.report.notes if words in n.what} == {
        words: ("phone.heic",),
        f"left out: its image isn't read ({words})": ("phone.xml",),
    }
    (tmp_path / "a.jpg").unlink()
    (tmp_path / "a.xml").unlink()
    refused(tmp_path, "phone.heic", "convert it to JPEG or PNG")


def test_frames_after_the_first_are_reported(tmp_path):
    frames = [Image.new("RGB", SIZE, (i, 0, 0)) for i in range(0, 250, 60)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    xml(tmp_path / "a.xml")
    assert note(own.read_folder(tmp_path), "frames after the first") == ("a.gif (5 frames)",)


def test_look_finds_the_float_picture_and_the_broken_body_at_which_a_training_would_stop(tmp_path, capsys):
    """icevision 1135; SKU110K 23."""
    annotated(tmp_path, *many(12))
    picture(tmp_path / "deep.tif", mode="F", colour=0.5)
    xml(tmp_path / "deep.xml")
    whole = tmp_path / "03.jpg"
    picture(whole, quality=95)
    Image.effect_noise(SIZE, 90).save(whole, quality=95)
    whole.write_bytes(whole.read_bytes()[:-200])
    assert main(["look", "--data", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "left out: more than 8 bits a colour, convert it to 8: 1, first deep.tif" in said
    assert "1 of 12 images can't be decoded" in said and "03.jpg" in said
    share = re.search(r"--skip-bad (0\.\d+) leaves", said)[1]
    out = tmp_path.with_name("run")
    assert main(["train", "--data", str(tmp_path), "--out", str(out), "--test-sets", "train"]) == 1
    error = capsys.readouterr().err
    assert "03.jpg" in error and "--skip-bad" in error
    found = own.read_folder(tmp_path)
    for part in ("train", "test"):
        good, _ = own.read_usable(tmp_path, [part], found.classes, found, float(share))
        assert "03.jpg" not in {e.image_id for e in good}


def test_hidden_files_are_never_read_by_any_reader(tmp_path):
    """RoadDamageDetector 8: macOS puts ._name beside every file."""
    junk = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        \xb0\xff"
    annotated(tmp_path / "xml", "a.jpg")
    picture(tmp_path / "coco/a.jpg")
    coco(tmp_path / "coco/all.json", ["a.jpg"])
    picture(tmp_path / "labelme/a.jpg")
    labelme(tmp_path / "labelme/a.json")
    text(yolo(tmp_path / "yolo", "images/a.jpg") / "data.yaml", "train: images\nval: images\nnames: [cat]\n")
    for path in [path for path in tmp_path.rglob("*") if path.is_file()]:
        text(path.with_name(f"._{path.name}"), junk)
        text(path.parent / "__MACOSX" / f"._{path.name}", junk)
    for kind, hidden in (("xml", 2), ("coco", 2), ("labelme", 2), ("yolo", 3)):
        found = own.read_folder(tmp_path / kind)
        assert all_are(found) and len(note(found, "hidden files, never read")) == hidden


def test_a_link_to_a_folder_is_followed_and_one_that_leads_back_does_no_harm(tmp_path):
    annotated(tmp_path / "elsewhere", *many(3))
    (tmp_path / "set").mkdir()
    (tmp_path / "set/images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/again").symlink_to(tmp_path / "set")
    assert list(boxes(own.read_folder(tmp_path / "set"))) == [f"images/{name}" for name in many(3)]


def test_lists_of_numeric_ids_are_no_yolo(tmp_path):
    """VOC's own layout, and a set in YOLO's format with such lists."""
    ids = [f"{number:06d}" for number in range(1, 13)]
    for name in ids:
        picture(tmp_path / f"voc/JPEGImages/{name}.jpg")
        xml(tmp_path / f"voc/Annotations/{name}.xml", filename=f"{name}.jpg")
    yolo(tmp_path / "yolo", *(f"images/{name}.jpg" for name in ids))
    text(tmp_path / "yolo/classes.txt", ["cat"])
    for place in ("voc/ImageSets/Main", "yolo"):
        text(tmp_path / place / "train.txt", ids[:6])
        text(tmp_path / place / "test.txt", ids[6:])
    for kind in ("voc", "yolo"):
        found = own.read_folder(tmp_path / kind)
        assert all_are(found) and list(parts(found).values()) == ["train"] * 6 + ["test"] * 6
        assert own.bad_of(found) == []


def test_a_background_never_gets_the_boxes_of_another_image_of_its_name(tmp_path):
    """Even numbers have objects in train and odd ones in valid; the others have no text file."""
    for number, name in enumerate(many(6)):
        for odd, part in enumerate(("train", "valid")):
            picture(tmp_path / part / "images" / name)
            if number % 2 == odd:
                text(tmp_path / part / "labels" / Path(name).with_suffix(".txt"), [f"0 {YOLO}"])
    text(tmp_path / "classes.txt", ["cat"])
    found = own.read_folder(tmp_path)
    objects = {name: len(rows) for name, rows in boxes(found).items()}
    assert objects == {
        f"{part}/images/{name}": int(number % 2 == odd)
        for odd, part in enumerate(("train", "valid"))
        for number, name in enumerate(many(6))
    }
    assert len(note(found, "images without a text file")) == 6


@pytest.mark.parametrize(("pictures", "texts"), [("{}/photos", "{}/boxes"), ("photos/{}", "boxes/{}")])
def test_texts_of_one_name_in_folders_of_their_own_are_told_apart(tmp_path, pictures, texts):
    """As above, without the usual folders."""
    for number, name in enumerate(many(6)):
        for odd, part in enumerate(("train", "valid")):
            picture(tmp_path / pictures.format(part) / name)
            if number == 0 or number % 2 == odd:
                text(tmp_path / texts.format(part) / Path(name).with_suffix(".txt"), [f"{odd} {YOLO}"])
    text(tmp_path / "classes.txt", ["cat", "dog"])
    found = own.read_folder(tmp_path)
    assert own.bad_of(found) == []
    assert {name: [rows[0] for rows in objects] for name, objects in boxes(found).items()} == {
        f"{pictures.format(part)}/{name}": [("cat", "dog")[odd]] * (number == 0 or number % 2 == odd)
        for odd, part in enumerate(("train", "valid"))
        for number, name in enumerate(many(6))
    }


def test_a_text_in_no_images_own_place_is_found_by_its_name(tmp_path):
    yolo(tmp_path, "photos/a.jpg", "photos/b.jpg", labels=False)
    for name in ("a", "b"):
        (tmp_path / f"photos/{name}.txt").rename(text(tmp_path / f"boxes/{name}.txt", ""))
    text(tmp_path / "classes.txt", ["cat"])
    found = own.read_folder(tmp_path)
    assert all_are(found) and note(found, "in another folder") == ("boxes/a.txt", "boxes/b.txt")


def test_names_that_are_not_utf8_are_divided_and_have_ids_that_a_file_can_hold(tmp_path):
    """caf\xe9.jpg from an old archive, which Python reads as caf\udce9.jpg."""
    annotated(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    for suffix in ("jpg", "xml"):
        try:
            (tmp_path / f"a.{suffix}").rename(tmp_path / f"caf\udce9.{suffix}")
        except OSError:
            pytest.skip("this file system holds names in UTF-8 only")
    found = own.read_folder(tmp_path)
    assert all_are(found) and list(boxes(found)) == ["b.jpg", "c.jpg", "caf%DCE9.jpg"]
    assert 0 <= own.share_of("caf\udce9.jpg") < 1


def test_a_run_inside_the_data_adds_nothing_to_it(tmp_path):
    """train --data X --out X/run, and then --resume; a network's results look like YOLO's texts."""
    text(yolo(tmp_path, *(f"images/{name}" for name in many(3))) / "classes.txt", ["cat"])
    before = own.read_folder(tmp_path)
    run = tmp_path / "runs/first"
    for name in ("detections.png", "loss.png", "precision_recall.png"):
        picture(run / name)
    text(run / "results/comp4_det_test_cat.txt", ["000001 0.5 1 2 3 4"])
    text(run / "config.json", "{}")
    text(run / CHECKPOINT, b"")
    assert {CHECKPOINT, CONFIG} == formats.RUN
    found = own.read_folder(tmp_path)
    assert boxes(found) == boxes(before) and own.bad_of(found) == []
    assert note(found, "folders that hold a run, never read") == ("runs/first",)
    assert len(formats.pictures_below(run)) == 3  # unless it is the folder that was named


# ---- LabelMe


def test_labelmes_shapes_are_boxes_and_what_has_no_area_is_left_out(tmp_path):
    """labelme 542. A circle of radius 5 around 14, 12; two outlines of one group are one object."""
    for name in many(5) + ["moved.jpg"]:
        picture(tmp_path / "images" / name)
    place = tmp_path / "labels"
    outline = {"shape_type": "polygon"}
    labelme(place / "00.json", {"points": [BOX[2:], BOX[:2]]}, image="..\\images\\00.jpg")
    labelme(place / "01.json", outline | {"points": [[4, 5], [24, 9], [9, 20]]}, image="../images/01.jpg")
    labelme(
        place / "02.json", {"shape_type": "circle", "points": [[14, 12], [17, 16]]}, image="../images/02.jpg"
    )
    pair = [{"points": [[4, 5], [9, 5], [9, 9]]}, {"points": [[20, 12], [24, 20], [20, 20]]}]
    labelme(place / "03.json", *(outline | one | {"group_id": 7} for one in pair), image="../images/03.jpg")
    labelme(place / "04.json", {"shape_type": "point", "points": [[3, 3]]}, {}, image="../images/04.jpg")
    labelme(place / "moved.json", image="/mnt/me/old name.jpg")
    found = own.read_folder(tmp_path)
    wanted = dict.fromkeys([f"images/{name}" for name in many(5)] + ["images/moved.jpg"], [("cat", BOX)])
    assert boxes(found) == wanted | {"images/02.jpg": [("cat", (9.0, 7.0, 19.0, 17.0))]}
    assert "LabelMe JSON: 6 images" in str(found)
    assert note(found, "shapes of one group_id") == ("labels/03.json, cat",)
    assert note(found, "shapes without area (point)") == ("labels/04.json",)
    assert note(found, "imagePath isn't there") == ("labels/moved.json",)


def test_what_is_wrong_with_a_labelme_file_is_left_out_and_named(tmp_path):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        picture(tmp_path / name)
    labelme(tmp_path / "a.json")
    labelme(tmp_path / "b.json", {"points": [[1, 2]]})
    labelme(tmp_path / "c.json")
    text(tmp_path / "c.json", (tmp_path / "c.json").read_bytes()[:-9])
    labelme(tmp_path / "inside.json", imageData="aGVsbG8=")
    found = own.read_folder(tmp_path)
    assert boxes(found) == {"a.jpg": [("cat", BOX)]}
    assert "an object without name or box" in str(found) and "JSON that can't be read" in str(found)
    assert "inside the JSON, as imageData: labelme_export_json takes it out" in str(found)


# ---- programs, and formats that aren't read


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("a.json", '[{"data": {}, "annotations": [{"result": []}]}]', "Label Studio's own JSON"),
        ("a.json", '{"a.jpg1": {"regions": [{"shape_attributes": {}}]}}', "VIA's JSON"),
        ("a.json", '[{"image": "a.jpg", "annotations": [{"coordinates": {}}]}]', "CreateML's JSON"),
        ("a.json", '[{"image_id": 1, "score": 0.5, "bbox": []}]', "COCO's results, not annotations"),
        ("a.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n", "a table of boxes (CSV)"),
        ("a.xml", '<annotations><image name="a.jpg"><box/></image></annotations>', "CVAT's own XML"),
    ],
)
def test_formats_of_other_programs_are_called_by_their_names_with_the_way_out(tmp_path, name, content, words):
    picture(tmp_path / "a.jpg")
    text(tmp_path / name, content)
    assert "export" in refused(tmp_path, name, words, "wanted")


def test_two_formats_in_a_folder_are_told_apart_by_a_flag(tmp_path, capsys):
    annotated(tmp_path, *(f"images/{name}" for name in many(4)))
    yolo(tmp_path, *(f"images/{name}" for name in many(4)), lines=["0 .5 .5 .5 .5"])
    text(tmp_path / "classes.txt", ["dog"])
    refused(tmp_path, "xml and yolo in it", "--format xml")
    assert all_are(own.read_folder(tmp_path, kind="xml"))
    assert main(["look", "--data", str(tmp_path), "--format", "yolo"]) == 0
    assert "  dog" in capsys.readouterr().out


# ---- commands


def test_the_report_is_the_same_with_the_classes_of_a_checkpoint_as_without(tmp_path):
    yolo(tmp_path, "images/a.jpg")
    text(tmp_path / "classes.txt", ["cat", "dog"])
    found = own.read_folder(tmp_path)
    assert own.read_folder(tmp_path, classes=found.classes).report == found.report
    assert note(found, "classes of the list without objects, left out") == ("dog",)
    more = own.read_folder(tmp_path, classes=("cat", "fox"))
    assert note(more, "requested classes without objects") == ("fox",)


@pytest.mark.slow
def test_look_train_and_evaluate_print_the_same_report(tmp_path, capsys):
    annotated(tmp_path / "set", *many(12))
    picture(tmp_path / "set/unlabelled.jpg")
    settings = "--recipe mini --width 0.015625 --no-batch-norm --warmup 0 --drops --steps 1 --batch-size 2"
    run, data = str(tmp_path / "run"), str(tmp_path / "set")
    xml(tmp_path / "set/00.xml", ("cat", (24, 20, 5, 6)))
    report = []
    for command in (["look"], ["train", "--out", run, *settings.split()], ["evaluate", "--checkpoint", run]):
        assert main([*command, "--data", data]) == 0, capsys.readouterr().err
        said = capsys.readouterr().out
        assert str(own.read_folder(Path(data))) in said, command
        report.append(said)
    assert all("exchanged corners, corrected" in said for said in report)


def test_pictures_that_come_and_change_need_no_folder_deleted(tmp_path):
    """YOLOX 1002, yolov5 306: more pictures; then bitmaps repainted, of the same length."""
    data = annotated(tmp_path / "set", *many(6, ".bmp"))

    def opened() -> store.Store:
        return store.open_store(store.beside(data) / "all", own.read_folder(data).examples)

    assert opened().news == ""
    annotated(data, *(f"new{i}.bmp" for i in range(4)))
    assert opened().news.endswith("4 photographs decoded anew, 6 kept as they were")
    for path in data.glob("*.bmp"):
        length = path.stat().st_size
        picture(path, colour=(200, 10, 10))
        assert path.stat().st_size == length
    assert opened().news.endswith("10 photographs decoded anew, 0 kept as they were")
    pixels = (tmp_path / "set.store/all/photographs.u8").read_bytes()
    assert set(zip(pixels[::3], pixels[1::3], pixels[2::3], strict=True)) == {(200, 10, 10)}
