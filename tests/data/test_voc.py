"""`voc`: counts of the genuine annotations, what becomes of an XML file, and the words for bad input."""

import re
import shutil
import struct
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from ssdlib.data import voc
from ssdlib.data.results import result_file, result_name
from ssdlib.data.store import open_store
from ssdlib.data.voc import COUNTS, VOCError
from ssdlib.records import CLASSES, Example
from ssdlib.training.runs import RunConfig, RunError, open_run, refuse_long_names
from voc_tables import TABLE

# --- The genuine annotations ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(genuine) -> dict:
    return {name: voc.read_sets(genuine, [name]) for name in COUNTS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images", "objects", "easy"),
    [
        ("2007-trainval", 5011, 15662, 12608),
        ("2012-trainval", 11540, 31561, 27450),
        ("2007-test", 4952, 14976, 12032),
    ],
)
def test_genuine_sets_have_the_documented_numbers_of_images_and_objects(sets, name, images, objects, easy):
    examples = sets[name]
    difficult = torch.cat([e.difficult for e in examples])
    assert (len(examples), len(difficult), int((~difficult).sum())) == (images, objects, easy)
    assert COUNTS[name] == (images, objects, objects - easy)
    assert len({e.image_id for e in examples}) == images


@pytest.mark.slow
def test_genuine_sets_have_the_documented_numbers_per_class(sets):
    def images_and_objects(examples: list, label: int) -> tuple[int, int]:
        image = np.repeat(np.arange(len(examples)), [len(e.labels) for e in examples])
        labels, difficult = (
            torch.cat([getattr(e, n) for e in examples]).numpy() for n in ("labels", "difficult")
        )
        mine = image[(labels == label) & ~difficult]
        return len(set(mine.tolist())), len(mine)

    assert len(TABLE) == 20
    for label, name in enumerate(CLASSES[1:], 1):
        old, new, test = (images_and_objects(examples, label) for examples in sets.values())
        assert (*old, *new, test[1]) == TABLE[name], name


@pytest.mark.slow
def test_the_training_set_is_the_two_trainvals_one_after_the_other(genuine, sets):
    both = voc.read_sets(genuine, ["2007-trainval", "2012-trainval"])
    ids = [e.image_id for e in sets["2007-trainval"]] + [e.image_id for e in sets["2012-trainval"]]
    assert len(both) == 16551
    assert [e.image_id for e in both] == ids
    assert sum(len(e.labels) for e in both) == 47223
    assert sum(int((~e.difficult).sum()) for e in both) == 40058


@pytest.mark.slow
def test_genuine_boxes_are_the_numbers_of_the_files_less_one_at_the_minima(genuine, sets):
    """A plain text search instead of an XML parser, on every 29th file of VOC2007 test."""
    for example in sets["2007-test"][::29]:
        text = (genuine / "VOC2007" / "Annotations" / f"{example.image_id}.xml").read_text()
        text = re.sub(r"<part>.*?</part>", "", text, flags=re.S)
        rows = re.findall(
            r"<name>(\w+)</name>(?:(?!</object>).)*?<difficult>(.)</difficult>(?:(?!</object>).)*?"
            r"<xmin>(\d+)</xmin>\s*<ymin>(\d+)</ymin>\s*<xmax>(\d+)</xmax>\s*<ymax>(\d+)</ymax>",
            re.search(r"<object>.*</object>", text, flags=re.S)[0],
            flags=re.S,
        )
        assert len(rows) == text.count("<object>") == len(example.labels)
        wanted = [[int(x1) - 1, int(y1) - 1, int(x2), int(y2)] for _, _, x1, y1, x2, y2 in rows]
        assert example.boxes.tolist() == wanted
        assert [CLASSES[label] for label in example.labels] == [row[0] for row in rows]
        assert example.difficult.tolist() == [row[1] == "1" for row in rows]


# --- The mini VOC ---------------------------------------------------------------------------------------


def test_the_mini_voc_is_read_with_the_same_code_and_keeps_its_order(mini):
    for name in ("2007-trainval", "2007-test", "2012-trainval"):
        year, part = name.split("-")
        ids = (mini / f"VOC{year}" / "ImageSets" / "Main" / f"{part}.txt").read_text().split()
        examples = voc.read_sets(mini, [name])
        assert [e.image_id for e in examples] == ids == voc.image_ids(mini, name)
        for example in examples:
            with Image.open(example.path) as image:
                assert image.size == example.size
            tree = ElementTree.parse(mini / f"VOC{year}" / "Annotations" / f"{example.image_id}.xml")
            assert len(example.labels) == len(tree.findall("object")) > 0


def test_progress_sees_every_annotation(mini):
    seen = []

    def progress(items, desc):
        for item in items:
            seen.append((item, desc))
            yield item

    examples = voc.read_sets(mini, ["2007-test", "2012-trainval"], progress)
    assert len(seen) == len(examples) == 14


def test_an_image_that_two_sets_list_is_read_once_in_the_place_of_the_first(mini, tmp_path):
    devkit = tmp_path / "VOCdevkit"
    shutil.copytree(mini, devkit)
    lists = devkit / "VOC2007" / "ImageSets" / "Main"
    ids = voc.image_ids(devkit, "2007-trainval")
    (lists / "val.txt").write_text("".join(f"{i}\n" for i in ids[1::-1]))
    found = voc.read_sets(devkit, ["2007-val", "2007-trainval"])
    assert [e.image_id for e in found] == [ids[1], ids[0], *ids[2:]]
    assert [e.image_id for e in voc.read_sets(devkit, ["2007-val", "2007-val"])] == [ids[1], ids[0]]


def test_images_of_one_id_in_two_years_are_two(mini, tmp_path):
    devkit = tmp_path / "VOCdevkit"
    shutil.copytree(mini, devkit)
    shutil.copytree(devkit / "VOC2007", devkit / "VOC2011")
    found = voc.read_sets(devkit, ["2007-test", "2011-test"])
    assert len(found) == len({e.path for e in found}) == 2 * len({e.image_id for e in found})


# --- One annotation -------------------------------------------------------------------------------------


def xml(
    *objects: str, size: str = "<size><width>500</width><height>375</height><depth>3</depth></size>"
) -> str:
    return f"<annotation><filename>x.jpg</filename>{size}{''.join(objects)}</annotation>"


def thing(box: tuple, name: str = "dog", extra: str = "") -> str:
    corners = "".join(
        f"<{side}>{value}</{side}>" for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object><name>{name}</name>{extra}<bndbox>{corners}</bndbox></object>"


@pytest.fixture
def read(tmp_path):
    def read(text: str):
        path = tmp_path / "000001.xml"
        path.write_text(text)
        return voc.read_example(path, tmp_path / "000001.jpg", "000001")

    return read


def test_one_based_inclusive_corners_become_exact_ones(read):
    example = read(xml(thing((1, 1, 500, 375)), thing((48, 240, 195, 371), "tvmonitor"), thing((7, 9, 7, 9))))
    assert example.boxes.tolist() == [[0, 0, 500, 375], [47, 239, 195, 371], [6, 8, 7, 9]]
    assert example.boxes.dtype == torch.float32
    assert example.labels.tolist() == [12, 20, 12]
    assert example.labels.dtype == torch.int64
    assert (example.image_id, example.size) == ("000001", (500, 375))
    assert example.path.name == "000001.jpg"  # never opened: there is none


def test_difficult_is_what_the_file_says_and_no_by_default(read):
    flags = ["<difficult>1</difficult>", "<difficult>0</difficult>", "", "<difficult> 1 </difficult>"]
    flags += ["<truncated>1</truncated><difficult>0</difficult>", "<truncated>1</truncated>"]
    flags += ["<difficult>Unspecified</difficult>"]  # as some tools write it
    example = read(xml(*(thing((1, 2, 3, 4), extra=flag) for flag in flags)))
    assert example.difficult.tolist() == [True, False, False, True, False, False, False]
    assert example.difficult.dtype == torch.bool


def test_parts_nested_in_an_object_are_no_objects(read):
    head = (
        "<part><name>head</name><bndbox>"
        "<xmin>20</xmin><ymin>20</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></part>"
    )
    before = f"<object><name>person</name>{head}<bndbox>" + (
        "<xmin>11</xmin><ymin>12</ymin><xmax>90</xmax><ymax>100</ymax></bndbox></object>"
    )
    after = thing((101, 12, 190, 100), "person").replace("</object>", head + head + "</object>")
    example = read(xml(before, after))
    assert example.boxes.tolist() == [[10, 11, 90, 100], [100, 11, 190, 100]]
    assert example.labels.tolist() == [15, 15]


def test_coordinates_may_be_fractions(read):
    example = read(xml(thing((45.75, 1.5, 100.25, 375.0))))
    assert example.boxes.tolist() == [[44.75, 0.5, 100.25, 375.0]]


def test_an_annotation_without_objects_gives_empty_tensors_of_the_right_shape(read):
    example = read(xml())
    assert example.boxes.shape == (0, 4) and example.boxes.dtype == torch.float32
    assert example.labels.shape == (0,) and example.labels.dtype == torch.int64
    assert example.difficult.shape == (0,) and example.difficult.dtype == torch.bool


@pytest.mark.parametrize("label", range(1, 21))
def test_every_class_has_the_label_of_its_place_in_the_alphabet(read, label):
    names = sorted(TABLE)
    assert read(xml(thing((1, 2, 3, 4), names[label - 1]))).labels.tolist() == [label]


# --- Bad input ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("<annotation><size>", "wanted well-formed XML"),
        ("", "wanted well-formed XML"),
        ("plain text", "wanted well-formed XML"),
        ('<?xml version="1.0" encoding="no-such-code"?><annotation/>', "wanted well-formed XML"),
        (xml(thing((1, 2, 3, 4), "unicorn")), "class 'unicorn'; wanted one of aeroplane, bicycle"),
        (xml(thing((1, 2, 3, 4), "background")), "class 'background'; wanted one of aeroplane"),
        (xml(thing((1, 2, 3, 4)).replace("<name>dog</name>", "")), "class ''; wanted one of"),
        (xml(thing((300, 20, 200, 40))), "(300, 20, 200, 40) (its corners are exchanged); wanted 1 <= xmin"),
        (xml(thing((200, 40, 300, 20))), "(200, 40, 300, 20) (its corners are exchanged); wanted 1 <= xmin"),
        (xml(thing((301, 20, 300, 40))), "dog at (301, 20, 300, 40)"),  # no area: minima lose one
        (
            xml(thing((1, 20, 501, 40))),
            "wanted 1 <= xmin <= xmax <= 500 and 1 <= ymin <= ymax <= 375. Correct the file, or",
        ),
        (xml(thing((1, 20, 30, 376))), "dog at (1, 20, 30, 376)"),
        (xml(thing((0, 20, 30, 40))), "dog at (0, 20, 30, 40)"),
        (xml(thing((1, 0, 30, 40))), "dog at (1, 0, 30, 40)"),
        (xml(thing((-5, 20, 30, 40))), "dog at (-5, 20, 30, 40)"),
        (xml(thing(("nan", 20, 30, 40))), "<bndbox/xmin> is 'nan'; wanted a number"),
        (xml(thing((1, 20, "inf", 40))), "<bndbox/xmax> is 'inf'; wanted a number"),
        (xml(thing((1, "abc", 30, 40))), "<bndbox/ymin> is 'abc'; wanted a number"),
        (xml(thing((1, 20, 30, ""))), "<bndbox/ymax> is ''; wanted a number"),
        (xml("<object><name>dog</name></object>"), "<bndbox/xmin> is None; wanted a number"),
        (xml(thing((1, 2, 3, 4)), size=""), "<size/width> is None; wanted a number"),
        (xml(size="<size><width>500</width></size>"), "<size/height> is None; wanted a number"),
        (xml(size="<size><width>x</width><height>3</height></size>"), "<size/width> is 'x'; wanted a number"),
        (
            xml(size="<size><width>nan</width><height>3</height></size>"),
            "<size/width> is 'nan'; wanted a number",
        ),
        (
            xml(size="<size><width>9</width><height>inf</height></size>"),
            "<size/height> is 'inf'; wanted a number",
        ),
    ],
)
def test_a_bad_annotation_is_refused_with_its_file_and_what_was_wanted(read, tmp_path, text, wanted):
    with pytest.raises(VOCError) as error:
        read(text)
    assert str(tmp_path / "000001.xml") in str(error.value)
    assert wanted in str(error.value)


def test_an_annotation_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "000001.xml"
    path.write_bytes(bytes(range(128, 256)))
    with pytest.raises(VOCError, match="000001.xml.*wanted well-formed XML"):
        voc.read_example(path, tmp_path / "000001.jpg", "000001")


@pytest.fixture
def lists(tmp_path) -> Path:
    folder = tmp_path / "VOC2007" / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (tmp_path / "VOC2007" / "Annotations").mkdir()
    return folder


def test_a_missing_image_list_is_named_with_the_set_and_the_folder(lists, tmp_path):
    with pytest.raises(VOCError) as error:
        voc.read_sets(tmp_path, ["2007-trainval"])
    for words in (
        str(lists / "trainval.txt"),
        "image list of 2007-trainval",
        f"Is {tmp_path} a VOCdevkit folder?",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize("content", ["", "\n\n  \n"])
def test_an_empty_image_list_is_refused(lists, tmp_path, content):
    (lists / "test.txt").write_text(content)
    with pytest.raises(VOCError) as error:
        voc.image_ids(tmp_path, "2007-test")
    assert f"{lists / 'test.txt'}: empty; wanted one image id a line" == str(error.value)


@pytest.mark.parametrize(
    "name", ["", "2007", "trainval", "2007-", "07-test", "2007_test", "2007-test/../..", "2007-a b"]
)
def test_a_bad_set_name_is_refused_with_an_example_of_a_good_one(tmp_path, name):
    with pytest.raises(VOCError) as error:
        voc.read_sets(tmp_path, [name])
    assert repr(name) in str(error.value) and "2007-trainval" in str(error.value)


def test_a_missing_annotation_is_named(lists, tmp_path):
    (lists / "test.txt").write_text("000007\n")
    with pytest.raises(VOCError) as error:
        voc.read_sets(tmp_path, ["2007-test"])
    path = tmp_path / "VOC2007" / "Annotations" / "000007.xml"
    assert f"{path}: not there; the image list names it" == str(error.value)


# --- Names of classes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size"),
    [("x" * 186, 186), ("ä" * 93, 186), ("*" * 62, 186)],
)
def test_a_class_whose_result_file_no_file_system_takes_is_refused_before_it_is_trained(tmp_path, name, size):
    """A file may have 255 bytes in its name, of which the sets take some; letters that Windows refuses take three."""
    trouble = voc.refused_name(["cat", name])
    assert trouble == f"{name[:20]!r}..., {size} bytes in the name of a file; wanted 185 at most"
    assert voc.refused_name(["cat", name[:-1]]) == ""
    sets = ("2007-trainval", "2012-trainval")
    (tmp_path / result_file(result_name(sets), name[:-1])).touch()


@pytest.mark.parametrize(
    "field, sets, one_less, size",
    [
        ("test_sets", ("2007-test", "2007-" + "x" * 222), ("2007-test", "2007-" + "x" * 221), 256),
        ("test_sets", ("2007-" + "ä" * 117,), ("2007-" + "ä" * 116,), 257),
        ("train_sets", ("2012-" + "x" * 233,), ("2012-" + "x" * 232,), 256),
        ("train_sets", tuple(f"2012-part{i:02d}" for i in range(20)), ("2012-part00",) * 19, 257),
    ],
)
def test_sets_after_which_no_file_can_be_named_are_refused_before_a_run(
    field, sets, one_less, size, tmp_path
):
    """The devkit's names hold all sets that are judged, and the store's folder all that are read."""
    said = f"{field} has '{'+'.join(sets)[:40]}'..., which makes the name of a file {size} bytes long; wanted 255"
    few = RunConfig(classes=("cat", "boat"), **{field: sets})  # as a checkpoint holds it: that stays readable
    with pytest.raises(RunError, match=re.escape(said)):
        refuse_long_names(few)
    with pytest.raises(RunError, match=re.escape(said)):
        open_run(tmp_path / "run", few, None, None, resume=False)
    refuse_long_names(RunConfig(classes=("cat", "boat"), **{field: one_less}))
    if field == "test_sets":
        (tmp_path / result_file(result_name(one_less), "boat")).touch()
    Image.new("RGB", (4, 4)).save(tmp_path / "a.jpg")
    nothing = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.bool)
    open_store(tmp_path / "+".join(one_less), [Example("a", tmp_path / "a.jpg", (4, 4), *nothing)])


# --- Photographs ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((90, 60), Image.Resampling.BICUBIC)


def test_a_photograph_is_what_pillow_decodes_as_height_width_rgb(tmp_path, picture):
    picture.save(tmp_path / "a.jpg")
    photograph = voc.read_photograph(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        wanted = [[image.getpixel((x, y)) for x in range(90)] for y in range(60)]
    assert photograph.dtype == torch.uint8 and photograph.shape == (60, 90, 3)
    assert photograph.tolist() == [[list(pixel) for pixel in row] for row in wanted]


def test_grey_and_cmyk_pictures_become_rgb(tmp_path, picture):
    picture.convert("L").save(tmp_path / "grey.jpg", quality=95)
    grey = voc.read_photograph(tmp_path / "grey.jpg")
    assert grey.shape == (60, 90, 3)
    assert torch.equal(grey[..., 0], grey[..., 1]) and torch.equal(grey[..., 0], grey[..., 2])

    picture.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    with Image.open(tmp_path / "cmyk.jpg") as image:
        assert image.mode == "CMYK"
        c, m, y, k = (np.asarray(channel, dtype=float) for channel in image.split())
    colour = voc.read_photograph(tmp_path / "cmyk.jpg").numpy()
    assert colour.shape == (60, 90, 3)
    by_hand = np.stack([(255 - ink) * (255 - k) / 255 for ink in (c, m, y)], axis=-1)
    assert np.abs(colour - by_hand).max() <= 1.5
    assert np.abs(colour - np.asarray(picture, dtype=float)).mean() < 6


@pytest.mark.parametrize(
    "kind", ["cut in the middle", "cut in the header", "empty", "text", "missing", "a folder"]
)
def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path, picture, kind):
    path = tmp_path / "000042.jpg"
    picture.save(path)
    whole = path.read_bytes()
    content = {
        "cut in the middle": whole[: len(whole) // 2],
        "cut in the header": whole[:50],
        "empty": b"",
        "text": b"<html>404 not found</html>",
    }.get(kind)
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    elif kind == "a folder":
        path.mkdir()
    with pytest.raises(VOCError) as error:
        voc.read_photograph(path)
    assert str(path) in str(error.value) and "wanted a complete image" in str(error.value)


def test_no_cut_of_a_photograph_raises_anything_but_voc_error(tmp_path, picture):
    path = tmp_path / "cut.jpg"
    picture.save(path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 13):
        path.write_bytes(whole[:length])
        with pytest.raises(VOCError, match=r"cut\.jpg"):
            voc.read_photograph(path)


def noted(image: Image.Image, path: Path, orientation: int, **more) -> Path:
    exif = Image.Exif()
    exif[voc.ORIENTATION] = orientation
    image.save(path, exif=exif, **more)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_pillow_turns_it_only_if_asked(tmp_path, picture, orientation):
    stored = np.asarray(picture)
    path = noted(picture, tmp_path / "a.png", orientation)
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    assert np.array_equal(voc.read_photograph(path).numpy(), stored)
    assert np.array_equal(voc.read_photograph(path, upright=True).numpy(), upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_is_read_as_any_other_picture_though_pillow_turns_it_by_itself(
    tmp_path, picture, orientation, compression
):
    """The two compressions are decoded in two ways."""
    png = noted(picture, tmp_path / "a.png", orientation)
    tiff = noted(picture, tmp_path / "a.tif", orientation, compression=compression)
    for upright in (False, True):
        assert torch.equal(voc.read_photograph(tiff, upright), voc.read_photograph(png, upright))
    with Image.open(tiff) as image:
        assert (voc.stored_size(image), voc.orientation(image)) == (picture.size, orientation)


NOTE = struct.Struct("<HHI4s")
TURN = NOTE.pack(voc.ORIENTATION, 3, 1, b"\6\0\0\0")
DAMAGED = {
    "a resolution of letters": [TURN, NOTE.pack(282, 7, 4, b"abcd")],
    "a number too large for its kind": [TURN, NOTE.pack(296, 4, 1, struct.pack("<I", 70000))],
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
@pytest.mark.parametrize("damage", DAMAGED)
def test_notes_that_pillow_cannot_write_again_do_not_keep_a_photograph_from_being_turned(
    tmp_path, picture, damage, suffix
):
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + b"".join(DAMAGED[damage]) + bytes(4)
    plain, path = tmp_path / f"plain.{suffix}", tmp_path / f"a.{suffix}"
    picture.save(plain)
    picture.save(path, exif=exif)
    with Image.open(path) as image, pytest.raises((TypeError, struct.error)):
        ImageOps.exif_transpose(image)
    turned = voc.read_photograph(plain).numpy()[::-1].swapaxes(0, 1)  # orientation 6
    assert np.array_equal(voc.read_photograph(path, upright=True).numpy(), turned)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0nonsense", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0II"])
def test_a_photograph_with_notes_that_cannot_be_read_is_read_as_stored(tmp_path, picture, exif):
    picture.save(tmp_path / "a.jpg", exif=exif)
    picture.save(tmp_path / "plain.jpg")
    found = voc.read_photograph(tmp_path / "a.jpg", upright=True)
    assert torch.equal(found, voc.read_photograph(tmp_path / "plain.jpg"))


def broken_tiff(path: Path, picture: Image.Image) -> Path:
    """A TIFF whose second directory has no sizes, which fails as soon as its images are counted."""
    picture.save(path)
    whole = bytearray(path.read_bytes())
    [start] = struct.unpack_from("<I", whole, 4)
    [entries] = struct.unpack_from("<H", whole, start)
    struct.pack_into("<I", whole, start + 2 + 12 * entries, len(whole))
    path.write_bytes(whole + struct.pack("<H", 1) + TURN + bytes(4))
    return path


def test_a_tiff_with_a_broken_directory_is_one_image(tmp_path, picture):
    path = broken_tiff(tmp_path / "a.tif", picture)
    with Image.open(path) as image, pytest.raises(TypeError):
        image.n_frames  # noqa: B018
    assert voc.frame_count(path) == 1
    assert np.array_equal(voc.read_photograph(path, upright=True).numpy(), np.asarray(picture))


@pytest.mark.parametrize("error", [TypeError, struct.error, IndexError, EOFError, ZeroDivisionError])
def test_any_error_of_the_decoder_names_the_photograph(tmp_path, picture, monkeypatch, error):
    picture.save(tmp_path / "a.jpg")

    def convert(self, mode):
        raise error

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(voc.PhotographError, match=r"a\.jpg: unreadable; wanted a complete image$"):
        voc.read_photograph(tmp_path / "a.jpg")


def test_a_lack_of_memory_is_not_the_fault_of_a_photograph(tmp_path, picture, monkeypatch):
    """Otherwise --skip-bad would leave out what doesn't fit at the moment."""
    picture.save(tmp_path / "a.jpg")

    def convert(self, mode):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", convert)
    with pytest.raises(MemoryError):
        voc.read_photograph(tmp_path / "a.jpg")
