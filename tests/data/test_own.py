"""`formats` and `own`: folders written by hand in three formats, all kinds of rubbish, a split that stays."""

import json
import struct
from pathlib import Path, PureWindowsPath

import pytest
import torch
from PIL import Image

from ssdlib.__main__ import main
from ssdlib.data import formats, own, split
from ssdlib.data.formats import FormatError
from ssdlib.data.report import Notes
from ssdlib.data.store import Jpegs, open_store

# one picture of 400 x 300 px, its objects in px counted from 0
TRUTH = {"cat": (100, 50, 300, 200), "dog": (0, 10, 40, 300)}


def picture(path: Path, size=(400, 300), colour=(120, 90, 60), mode="RGB", **more) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **more)
    return path


def xml(path: Path, objects, size=(400, 300), filename="x.jpg", first=0) -> Path:
    """An annotation as a tool writes it that counts from `first`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = ""
    for name, (a, b, c, d) in objects:
        tags = zip(("xmin", "ymin", "xmax", "ymax"), (a + first, b + first, c, d), strict=True)
        box = "".join(f"<{tag}>{value}</{tag}>" for tag, value in tags)
        words += f"<object><name>{name}</name><bndbox>{box}</bndbox></object>"
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    path.write_text(f"<annotation><filename>{filename}</filename>{stated}{words}</annotation>")
    return path


def as_xml(folder: Path, first=0) -> Path:
    picture(folder / "pictures/a.jpg")
    picture(folder / "pictures/empty.png")
    xml(folder / "annotations/a.xml", TRUTH.items(), first=first)
    xml(folder / "annotations/empty.xml", [])
    return folder


def coco(folder: Path, **changes) -> Path:
    picture(folder / "pictures/a.jpg")
    picture(folder / "pictures/empty.png")
    boxes = [[a, b, c - a, d - b] for a, b, c, d in TRUTH.values()]
    whole = {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 400, "height": 300},
            {"id": 8, "file_name": "pictures/empty.png", "width": 400, "height": 300},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": boxes[0], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 9, "bbox": boxes[1], "iscrowd": 1},
        ],
        "categories": [{"id": 9, "name": "dog"}, {"id": 3, "name": "cat"}, {"id": 1, "name": "all"}],
    }
    (folder / "labels.json").write_text(json.dumps(whole | changes))
    return folder


def yolo(folder: Path, names="names: [cat, dog]\n", text=None) -> Path:
    picture(folder / "images/train/a.jpg")
    picture(folder / "images/train/empty.png")
    lines = [
        f"{i} {(a + c) / 800} {(b + d) / 600} {(c - a) / 400} {(d - b) / 300}"
        for i, (a, b, c, d) in enumerate(TRUTH.values())
    ]
    (folder / "labels/train").mkdir(parents=True)
    (folder / "labels/train/a.txt").write_text("\n".join(lines) if text is None else text)
    (folder / "data.yaml").write_text(names)
    return folder


def one(found: own.Found, stem: str):
    [example] = [e for e in found.examples if Path(e.image_id).stem == stem]
    return example


@pytest.mark.parametrize("write", [as_xml, coco, yolo])
def test_the_same_boxes_come_out_of_every_format_and_a_picture_without_objects_stays(tmp_path, write):
    found = own.read_folder(write(tmp_path / "my set"))
    assert found.classes == ("cat", "dog") and len(found.examples) == 2
    example = one(found, "a")
    assert example.boxes.tolist() == [pytest.approx(box, abs=1e-3) for box in map(list, TRUTH.values())]
    assert example.labels.tolist() == [1, 2] and example.size == (400, 300)
    assert one(found, "empty").boxes.shape == (0, 4)


def test_xml_that_counts_from_1_gives_the_same_boxes_as_xml_that_counts_from_0(tmp_path):
    a, b = (one(own.read_folder(as_xml(tmp_path / str(first), first)), "a").boxes for first in (0, 1))
    assert torch.equal(a, b)


def test_cocos_crowds_are_difficult_and_its_unused_categories_are_left_out_and_said(tmp_path):
    found = own.read_folder(coco(tmp_path))
    assert one(found, "a").difficult.tolist() == [False, True]
    assert "left out: 1, first all" in str(found)


@pytest.mark.parametrize(
    "names",
    [
        "names: ['cat', \"dog\"]  # two\nnc: 2\n",
        "names:\n- cat\n- dog\ntrain: x\n",
        "path: .\nnames:\n  0: cat\n  1: dog\n",
        "names:\n  [cat,\n   dog]\n",
        "names: {0: cat, 1: 'dog'}\n",
    ],
)
def test_names_are_read_in_the_usual_spellings_of_yaml(tmp_path, names):
    assert own.read_folder(yolo(tmp_path, names)).classes == ("cat", "dog")


def test_an_outline_in_yolos_format_gives_the_box_around_it(tmp_path):
    found = own.read_folder(yolo(tmp_path, text="0 0.25 0.2 0.5 0.1 0.75 0.9"))
    assert one(found, "a").boxes.tolist() == [pytest.approx([100, 30, 300, 270], abs=1e-3)]


# EXIF's table: an orientation, how an upright picture is stored with it, and where its upper left corner then lies
TURNS = {
    5: (Image.Transpose.TRANSPOSE, (0, 0, 60, 60)),
    6: (Image.Transpose.ROTATE_90, (0, 240, 60, 300)),
    7: (Image.Transpose.TRANSVERSE, (340, 240, 400, 300)),
    8: (Image.Transpose.ROTATE_270, (340, 0, 400, 60)),
}


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", TURNS)
def test_a_turned_picture_has_its_boxes_on_the_upright_one_unless_the_size_says_otherwise(
    tmp_path, orientation, suffix
):
    """A red corner, upper left when upright, is stored in another one."""
    turn, corner = TURNS[orientation]
    upright = Image.new("RGB", (300, 400), (0, 0, 0))
    upright.paste((255, 0, 0), (0, 0, 60, 60))
    exif = Image.Exif()
    exif[274] = orientation
    for name, size in (("seen", (300, 400)), ("stored", (400, 300))):
        path = picture(tmp_path / f"{name}.{suffix}")
        upright.transpose(turn).save(path, exif=exif)
        xml(tmp_path / f"{name}.xml", [("red", (0, 0, 60, 60) if name == "seen" else corner)], size=size)
    found = own.read_folder(tmp_path)
    for name in ("seen", "stored"):
        example = one(found, name)
        x1, y1, x2, y2 = example.boxes[0].int().tolist()
        pixels = Jpegs([example])[0]
        assert pixels.shape[:2] == example.size[::-1]
        assert bool((pixels[y1:y2, x1:x2] == torch.tensor([255, 0, 0])).all()), name
    stored = open_store(tmp_path / "store", list(found.examples))
    assert all(torch.equal(stored[i], Jpegs(found.examples)[i]) for i in range(2))


def test_one_picture_with_damaged_notes_or_a_broken_directory_does_not_stop_the_others(tmp_path):
    """Pillow raises TypeError for both: one where it would turn the picture, one where it counts the frames."""
    for name in ("whole.png", "notes.jpg", "directory.tif"):
        xml(tmp_path / f"{Path(name).stem}.xml", [("cat", (5, 5, 50, 50))], size=None)
    picture(tmp_path / "whole.png")
    notes = struct.pack("<HHIHxx", 274, 3, 1, 6) + struct.pack("<HHI4s", 282, 7, 4, b"abcd")
    picture(tmp_path / "notes.jpg", exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + notes + bytes(4))
    path = picture(tmp_path / "directory.tif")
    tiff = path.read_bytes()
    [start] = struct.unpack_from("<I", tiff, 4)
    end = start + 2 + 12 * struct.unpack_from("<H", tiff, start)[0]  # there the place of the second is noted
    second = struct.pack("<HHHII", 1, 274, 3, 1, 1) + bytes(4)  # which has no sizes
    path.write_bytes(tiff[:end] + struct.pack("<I", len(tiff)) + tiff[end + 4 :] + second)
    found = own.read_folder(tmp_path)
    assert [one(found, stem).size for stem in ("whole", "notes", "directory")] == [
        (400, 300),
        (300, 400),
        (400, 300),
    ]
    assert own.undecodable(found) == "" and len(open_store(tmp_path / "store", list(found.examples))) == 3


def test_a_png_that_was_cut_is_left_out_as_soon_as_it_is_looked_at(tmp_path):
    """Its notes may follow its pixels, so these are read anyhow."""
    for name in ("whole", "cut"):
        path = picture(tmp_path / f"{name}.png")
        xml(tmp_path / f"{name}.xml", [("cat", (5, 5, 50, 50))], size=None)
    path.write_bytes(path.read_bytes()[:-60])
    found = own.read_folder(tmp_path)
    assert [e.image_id for e in found.examples] == ["whole.png"]
    assert "no image, or a broken one: 1, first cut.png" in str(found)


def test_grey_and_png_pictures_are_read_as_colour(tmp_path):
    picture(tmp_path / "grey.png", mode="L", colour=90)
    xml(tmp_path / "grey.xml", [("cat", (5, 5, 50, 50))])
    assert Jpegs(own.read_folder(tmp_path).examples)[0].shape == (300, 400, 3)


def test_what_cannot_be_used_is_left_out_and_counted_with_its_name(tmp_path):
    as_xml(tmp_path)
    picture(tmp_path / "pictures/unlabelled.jpg")
    xml(tmp_path / "annotations/gone.xml", TRUTH.items())
    picture(tmp_path / "pictures/broken.jpg").write_bytes(b"\xff\xd8\xff")
    xml(tmp_path / "annotations/broken.xml", TRUTH.items())
    picture(tmp_path / "pictures/small.jpg", size=(40, 30))
    xml(tmp_path / "annotations/small.xml", TRUTH.items())
    picture(tmp_path / "pictures/torn.jpg")
    (tmp_path / "annotations/torn.xml").write_text("<annotation><object>")
    picture(tmp_path / "pictures/boxless.jpg")
    (tmp_path / "annotations/boxless.xml").write_text(
        "<annotation><object><name>cat</name></object></annotation>"
    )
    picture(tmp_path / "pictures/deep.png", mode="I;16", colour=900)
    xml(tmp_path / "annotations/deep.xml", TRUTH.items())
    found = own.read_folder(tmp_path)
    assert len(found.examples) == 2
    said = str(found)
    for words in (
        "images without annotation, left out (no file: unlabelled; one without objects: empty): 1, "
        "first pictures/unlabelled.jpg",
        "no image of its name: 1, first annotations/gone.xml",
        "no image, or a broken one: 1, first pictures/broken.jpg",
        "its annotation states another size: 1, first pictures/small.jpg (40x30, stated 400x300)",
        "XML that can't be read: 1, first annotations/torn.xml",
        "an object without name or box: 1, first annotations/boxless.xml",
        "more than 8 bits a colour, convert it to 8: 1, first pictures/deep.png",
    ):
        assert words in said


def test_boxes_are_cut_off_at_the_border_and_left_out_where_nothing_remains(tmp_path):
    picture(tmp_path / "a.jpg")
    boxes = [("cat", (-20, 10, 50, 60)), ("cat", (380, 10, 430, 60)), ("cat", (400, 0, 420, 30))]
    xml(tmp_path / "a.xml", [*boxes, ("cat", (60, 60, 60, 90))])
    found = own.read_folder(tmp_path)
    assert found.examples[0].boxes.tolist() == [[0, 10, 50, 60], [380, 10, 400, 60]]
    assert "cut off: 2" in str(found) and "without area inside the image, left out: 2" in str(found)


@pytest.mark.parametrize("place", ["../{}", "{out}/{}", "C:\\{}", "x/../../{}", "file://{out}/{}"])
def test_no_annotation_leads_out_of_the_folder(tmp_path, place):
    """A picture of the name below the folder is meant, whatever path another machine had; one outside never is."""
    picture(tmp_path / "out/secret.jpg")
    picture(tmp_path / "secret.jpg")
    for name, there in (("a.jpg", ["pictures/a.jpg"]), ("secret.jpg", [])):
        where = place.format(name, out=tmp_path / "out")
        images = [
            {"id": 7, "file_name": where, "width": 400, "height": 300},
            {"id": 8, "file_name": "empty.png", "width": 400, "height": 300},
        ]
        set_ = coco(tmp_path / f"set of {name}", images=images)
        if there:
            found = own.read_folder(set_)
            assert [e.image_id for e in found.examples] == [*there, "pictures/empty.png"]
            assert "found by" in str(found)
        else:
            with pytest.raises(FormatError, match="no object is left .* no image of its name"):
                own.read_folder(set_)


def test_an_image_without_a_file_name_is_refused(tmp_path):
    with pytest.raises(FormatError, match="labels.json: a file_name that is no text; wanted a file name in"):
        own.read_folder(coco(tmp_path, images=[{"id": 7, "file_name": "", "width": 400, "height": 300}]))


def test_an_xml_that_swells_is_refused_before_it_does(tmp_path):
    as_xml(tmp_path)
    entities = "".join(f"<!ENTITY e{i} '{f'&e{i - 1};' * 10 if i else 'ha' * 10}'>" for i in range(12))
    picture(tmp_path / "pictures/bomb.jpg")
    (tmp_path / "annotations/bomb.xml").write_text(
        f"<!DOCTYPE x [{entities}]><annotation><object><name>&e11;</name></object></annotation>"
    )
    assert "XML that can't be read: 1" in str(own.read_folder(tmp_path))


@pytest.mark.parametrize(
    "write, sentence",
    [
        (lambda f: f, "no such folder"),
        (lambda f: f.mkdir() or f, "no images in it"),
        (lambda f: picture(f / "a.jpg").parent, "neither XML, nor COCO's JSON, nor classes.txt"),
        (lambda f: as_xml(yolo(f)), "xml and yolo in it; wanted annotations of one kind"),
        (lambda f: yolo(f, text="2 .5 .5 .1 .1"), r"a.txt, line 1: class 2; wanted 0 to 1"),
        (lambda f: yolo(f, text="0 200 125 200 150"), "wanted fractions of the image, 0 to 1, not px"),
        (lambda f: yolo(f, text="0 .5 .5 .1"), "wanted a class number and four numbers from 0 to 1"),
        (lambda f: yolo(f, text="0 .5 .5 nan .1"), "wanted a class number and four numbers from 0 to 1"),
        (lambda f: yolo(f, text="cat .5 .5 .1 .1"), "wanted a class number"),
        (lambda f: yolo(f, text=""), "no object is left to train on"),
        (lambda f: yolo(f, names="names: {a: {b: c}}\n"), "wanted names: "),
        (lambda f: yolo(f, names="names:\n  1: cat\n  2: dog\n"), "wanted names: "),
        (
            lambda f: coco(f, categories=[{"id": 9, "name": "dog"}]),
            "annotation 1 has category 3; wanted one of 9; add it",
        ),
        (lambda f: coco(f, images=[]), "7 is the image_id of an annotation and names nothing"),
        (lambda f: coco(f, categories=[{"id": float("inf"), "name": "dog"}]), "wanted COCO's JSON"),
        (lambda f: coco(f, categories={}), "wanted COCO's JSON|wanted one of"),
        (
            lambda f: coco(f, annotations=[{"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3]}]),
            r"annotation 5 has bbox \[1, 2, 3\]; wanted x, y, width, height",
        ),
    ],
)
def test_a_folder_that_cannot_be_read_is_refused_in_one_sentence(tmp_path, write, sentence):
    with pytest.raises(FormatError, match=sentence) as refusal:
        own.read_folder(write(tmp_path / "set"))
    assert "\n" not in str(refusal.value)


def test_chosen_classes_are_numbered_as_chosen_and_others_are_left_out(tmp_path):
    found = own.read_folder(as_xml(tmp_path), classes=("dog",))
    assert one(found, "a").labels.tolist() == [1] and "other classes, left out (cat): 1" in str(found)
    with pytest.raises(FormatError, match="no object is left"):
        own.read_folder(tmp_path, classes=("cow",))


def test_a_picture_stays_on_its_side_when_others_come_and_go(tmp_path):
    for i in range(40):
        picture(tmp_path / f"p{i:02d}.png", size=(20, 20))
        xml(tmp_path / f"p{i:02d}.xml", [("cat", (1, 1, 9, 9))], size=None)
    before = own.read_folder(tmp_path)
    sides = dict(zip([e.image_id for e in before.examples], before.parts, strict=True))
    assert {"train", "test"} == set(sides.values()) and 2 <= list(sides.values()).count("test") <= 16
    (tmp_path / "p07.xml").unlink()
    picture(tmp_path / "new one.png", size=(20, 20))
    xml(tmp_path / "new one.xml", [("cat", (1, 1, 9, 9))], size=None)
    after = own.read_folder(tmp_path)
    assert "new%20one.png" in [e.image_id for e in after.examples]  # result files are words in lines
    for example, part in zip(after.examples, after.parts, strict=True):
        assert sides.get(example.image_id, part) == part


def test_folders_called_train_and_val_decide_if_both_are_there(tmp_path):
    for part in ("train", "val"):
        picture(tmp_path / part / "a.png")
        xml(tmp_path / part / "a.xml", [("cat", (1, 1, 9, 9))])
    found = own.read_folder(tmp_path)
    assert [(e.image_id, p) for e, p in zip(found.examples, found.parts, strict=True)] == [
        ("train/a.png", "train"),
        ("val/a.png", "test"),
    ]
    assert [e.image_id for e in found.part("test")] == ["val/a.png"]
    with pytest.raises(FormatError, match="no images in the part 'nonsense'"):
        found.part("nonsense")


def test_a_picture_of_both_parts_is_read_once_where_both_are_asked_for(tmp_path):
    picture(tmp_path / "a.png")
    xml(tmp_path / "a.xml", [("cat", (1, 1, 9, 9))])
    for part in ("train", "test"):
        (tmp_path / f"{part}.txt").write_text("a.png\n")
    found = own.read_folder(tmp_path)
    assert list(found.parts) == ["both"]
    for share in (None, 0):
        for parts in (["train", "test"], ["test"], ["train", "train"]):
            examples, _ = own.read_usable(tmp_path, parts, found=found, share=share)
            assert [e.image_id for e in examples] == ["a.png"]


def test_a_devkit_is_told_from_a_folder_of_ones_own(tmp_path, mini):
    assert own.is_devkit(mini) and not own.is_own(mini)
    assert own.is_own(as_xml(tmp_path)) and not own.is_own(tmp_path / "nowhere")


def test_an_empty_folder_and_one_of_links_are_ones_own_as_look_has_them(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    as_xml(tmp_path / "elsewhere")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/all").symlink_to(tmp_path / "elsewhere")
    assert own.is_own(tmp_path / "empty") and own.is_own(tmp_path / "set")
    said = []
    for command in (["look"], ["train", "--out", str(tmp_path / "run")]):
        assert main([*command, "--data", str(tmp_path / "empty")]) == 1
        said.append(capsys.readouterr().err.splitlines()[-1])
    assert said[0] == said[1] and "no images in it" in said[0]


def beside(found: own.Found) -> dict[str, list[int]]:
    """The widths of a picture's boxes, by its path."""
    return {e.image_id: [round(x2 - x1) for x1, _, x2, _ in e.boxes.tolist()] for e in found.examples}


def test_a_text_without_its_picture_is_counted_and_a_readme_is_not(tmp_path):
    yolo(tmp_path)
    (tmp_path / "labels/train/gone.txt").write_text("0 .5 .5 .1 .1\n")
    (tmp_path / "images/train/readme.txt").write_text("2 pictures of mine")
    assert "no image of its name: 1, first labels/train/gone.txt" in str(own.read_folder(tmp_path))


def test_pictures_of_one_name_are_told_apart_by_the_folder_that_both_sides_name(tmp_path):
    """train and val each have an a.png; the box is 8 px wide in one and 5 in the other."""
    for kind in ("xml", "coco"):
        for part, width in (("train", 8), ("val", 5)):
            picture(tmp_path / kind / "images" / part / "a.png", size=(20, 20))
            if kind == "xml":
                box = [("cat", (1, 1, 1 + width, 9))]
                xml(tmp_path / kind / "annotations" / part / "a.xml", box, (20, 20), first=1)
                continue
            (tmp_path / kind / "annotations").mkdir(exist_ok=True)
            whole = {
                "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 20}],
                "annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 1, width, 8]}],
                "categories": [{"id": 1, "name": "cat"}],
            }
            (tmp_path / kind / "annotations" / f"instances_{part}.json").write_text(json.dumps(whole))
        found = own.read_folder(tmp_path / kind)
        assert beside(found) == {"images/train/a.png": [8], "images/val/a.png": [5]}, kind
        assert found.parts == ("train", "test")


def test_a_picture_whose_name_is_there_twice_is_called_so_in_coco_too(tmp_path):
    coco(tmp_path)
    picture(tmp_path / "more/a.jpg")
    with pytest.raises(FormatError, match="several images of its name"):
        own.read_folder(tmp_path)


def test_coco_with_numbers_as_text_is_read_and_captions_beside_it_are_passed_over(tmp_path):
    coco(tmp_path)
    text = (tmp_path / "labels.json").read_text().replace('"image_id": 7', '"image_id": "7"')
    (tmp_path / "labels.json").write_text(text.replace('"category_id": 3', '"category_id": "3"'))
    (tmp_path / "captions.json").write_text('{"images": [], "annotations": []}')
    assert one(own.read_folder(tmp_path), "a").labels.tolist() == [1, 2]


def test_a_class_list_is_found_where_labelimg_leaves_it(tmp_path):
    yolo(tmp_path)
    (tmp_path / "data.yaml").unlink()
    (tmp_path / "labels/classes.txt").write_text("cat\ndog\n")
    assert own.read_folder(tmp_path).classes == ("cat", "dog")


def test_two_spellings_of_one_class_are_said(tmp_path):
    as_xml(tmp_path)
    picture(tmp_path / "b.jpg")
    xml(tmp_path / "b.xml", [("Cat", TRUTH["cat"])])
    found = own.read_folder(tmp_path)
    with pytest.raises(FormatError, match="annotations/a.xml: class 'Cat' and 'cat'; .* --classes Cat dog"):
        found.require_trainable()
    assert "can't be trained on: annotations/a.xml: class 'Cat' and 'cat'" in str(found)
    own.read_folder(tmp_path, classes=("Cat", "dog")).require_trainable()


def test_what_an_annotation_is_called_has_slashes_on_windows_too():
    """Its words decide what a picture is for, so a folder must be divided alike on every system."""
    files = formats.Files.__new__(formats.Files)
    files.folder = PureWindowsPath(r"C:\data")
    assert files.where(PureWindowsPath(r"C:\data\train\labels\a.txt")) == "train/labels/a.txt"


def test_a_folder_on_windows_is_divided_by_its_words_as_anywhere(tmp_path):
    files = formats.Files(tmp_path)  # nothing in it states a split
    files.folder = PureWindowsPath(r"C:\my data")
    pictures = {
        files.where(PureWindowsPath(rf"C:\my data\all\{part}\images\{name}.jpg")): files.where(
            PureWindowsPath(rf"C:\my data\all\{part}\labels\{name}.txt")
        )
        for part, name in (("train", "a"), ("train", "b"), ("val", "c"))
    }
    parts, how = split.divide(files, pictures, Notes())
    assert list(parts.values()) == ["train", "train", "test"]
    assert how.startswith("by the words train and val or test")
