"""`store`: the pixels of the photographs, and every way in which a store refuses to be built or opened."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssdlib import store, voc
from ssdlib.records import Example
from ssdlib.store import Jpegs, StoreError, open_store

SIZES = [(40, 30), (30, 40), (33, 17), (1, 1), (50, 50)]


def example(path: Path, size: tuple[int, int]) -> Example:
    nothing = torch.zeros(0, dtype=torch.int64)
    return Example(path.stem, path, size, torch.zeros(0, 4), nothing, nothing.bool())


@pytest.fixture
def examples(tmp_path) -> list[Example]:
    """Five photographs of noise, one of them grey."""
    folder = tmp_path / "VOC2007" / "JPEGImages"
    folder.mkdir(parents=True)
    random = np.random.default_rng(7)
    found = []
    for i, (width, height) in enumerate(SIZES):
        path = folder / f"{i:06d}.jpg"
        image = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        image.convert("L" if i == 2 else "RGB").save(path, quality=90)
        found.append(example(path, (width, height)))
    return found


def pillow(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def left_on_disk(folder: Path) -> list[str]:
    """Names beside and including the store: the store itself, or parts of one."""
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "stores" / "some set"


# --- What is in it --------------------------------------------------------------------------------------


def test_the_pixels_are_those_that_pillow_decodes(examples, folder):
    stored, jpegs = open_store(folder, examples), Jpegs(examples)
    assert len(stored) == len(jpegs) == len(examples)
    for i, e in enumerate(examples):
        assert stored[i].dtype == torch.uint8 and stored[i].is_contiguous()
        assert np.array_equal(stored[i].numpy(), pillow(e.path))
        assert np.array_equal(jpegs[i].numpy(), pillow(e.path))


def test_the_pixel_file_is_all_photographs_one_after_the_other_and_nothing_else(examples, folder):
    open_store(folder, examples)
    assert (folder / store.PIXELS).read_bytes() == b"".join(pillow(e.path).tobytes() for e in examples)
    assert sorted(path.name for path in folder.iterdir()) == sorted([store.PIXELS, store.INDEX])
    assert left_on_disk(folder) == [folder.name]


def test_a_store_of_the_mini_voc_serves_every_scene(mini, folder):
    scenes = voc.read_sets(mini, ["2007-test", "2012-trainval"])
    stored = open_store(folder, scenes)
    for i, e in enumerate(scenes):
        assert np.array_equal(stored[i].numpy(), pillow(e.path))


def test_it_is_built_once_and_only_read_afterwards(examples, folder, monkeypatch):
    seen = []

    def progress(items, desc):
        for item in items:
            seen.append(desc)
            yield item

    open_store(folder, examples, progress)
    assert seen == ["decoding"] * len(examples)

    def no_decoding(path):
        raise AssertionError(f"decoded {path} again")

    monkeypatch.setattr(store, "read_photograph", no_decoding)
    again = open_store(folder, examples, progress)
    assert len(seen) == len(examples)
    assert np.array_equal(again[1].numpy(), pillow(examples[1].path))


def test_changing_a_tensor_never_changes_the_file(examples, folder):
    stored = open_store(folder, examples)
    before = (folder / store.PIXELS).read_bytes()
    for i in range(len(stored)):
        stored[i].fill_(77)
    assert bool((stored[0] == 77).all())
    del stored
    assert (folder / store.PIXELS).read_bytes() == before
    assert np.array_equal(open_store(folder, examples)[0].numpy(), pillow(examples[0].path))


# --- A store that doesn't fit ---------------------------------------------------------------------------


def test_a_store_of_another_data_set_is_refused(examples, folder, tmp_path):
    open_store(folder, examples)
    elsewhere = tmp_path / "VOC2012" / "JPEGImages"
    shutil.copytree(tmp_path / "VOC2007" / "JPEGImages", elsewhere)
    others = {
        "one less": examples[:-1],
        "one twice": [*examples, examples[0]],
        "another order": [examples[1], examples[0], *examples[2:]],
        "the same ids in another year": [example(elsewhere / e.path.name, e.size) for e in examples],
        "none": [],
    }
    for what, wrong in others.items():
        with pytest.raises(StoreError, match=f"differ from the {len(wrong)} asked for") as error:
            open_store(folder, wrong)
        assert str(folder) in str(error.value) and "delete the folder" in str(error.value), what


def test_a_photograph_replaced_by_one_of_another_length_is_noticed(examples, folder):
    open_store(folder, examples)
    Image.new("RGB", examples[0].size).save(examples[0].path)
    with pytest.raises(StoreError, match="differ from the 5 asked for"):
        open_store(folder, examples)


def test_a_photograph_that_is_gone_is_named(examples, folder):
    open_store(folder, examples)
    examples[3].path.unlink()
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    assert str(examples[3].path) in str(error.value)


@pytest.mark.parametrize("change", [-1, 1, -10000])
def test_a_pixel_file_of_another_length_is_refused(examples, folder, change):
    open_store(folder, examples)
    whole = (folder / store.PIXELS).read_bytes()
    (folder / store.PIXELS).write_bytes(whole[: len(whole) + change] if change < 0 else whole + b"x")
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    wanted = sum(3 * width * height for width, height in SIZES)
    for words in (str(folder / store.PIXELS), f"{wanted + change} bytes, wanted {wanted}", "delete"):
        assert words in str(error.value)


def test_a_pixel_file_that_is_gone_is_named(examples, folder):
    open_store(folder, examples)
    (folder / store.PIXELS).unlink()
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    assert str(folder / store.PIXELS) in str(error.value)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "[1, 2]", id="a list"),
        pytest.param(lambda text: "null", id="null"),
        pytest.param(lambda text: "{}", id="without format"),
        pytest.param(
            lambda text: text.replace(f'"format": {store.FORMAT}', '"format": 0'), id="another format"
        ),
        pytest.param(lambda text: text.replace("fingerprint", "fingermark"), id="without fingerprint"),
        pytest.param(lambda text: text.replace("sizes", "sighs"), id="without sizes"),
        pytest.param(None, id="gone"),
    ],
)
def test_a_damaged_index_is_refused_by_name(examples, folder, damage):
    open_store(folder, examples)
    path = folder / store.INDEX
    if damage is None:
        path.unlink()
    else:
        text = path.read_text()
        assert damage(text) != text
        path.write_text(damage(text))
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    assert str(path) in str(error.value) and "delete" in str(error.value)


def test_an_index_that_lies_about_the_sizes_is_refused(examples, folder):
    open_store(folder, examples)
    path = folder / store.INDEX
    index = json.loads(path.read_text())
    index["sizes"][0] = [1000, 1000]
    path.write_text(json.dumps(index))
    with pytest.raises(StoreError, match="delete"):
        open_store(folder, examples)


# --- A build that can't be finished ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("which", "lie"), [(0, (30, 40)), (1, (40, 30)), (2, (33, 18)), (3, (1, 2)), (4, (25, 100))]
)
def test_a_photograph_of_another_size_than_annotated_is_refused_and_nothing_stays(
    examples, folder, which, lie
):
    """Also if the lie has as many pixels: lying instead of standing."""
    examples[which] = example(examples[which].path, lie)
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    truth = "{}x{} px".format(*SIZES[which])
    for words in (str(examples[which].path), truth, "its annotation says {}x{}".format(*lie)):
        assert words in str(error.value)
    assert left_on_disk(folder) == []


def test_a_photograph_that_cannot_be_decoded_leaves_nothing(examples, folder):
    examples[4].path.write_bytes(examples[4].path.read_bytes()[:-200])
    with pytest.raises(voc.VOCError, match="000004.jpg"):
        open_store(folder, examples)
    assert left_on_disk(folder) == []


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError, MemoryError])
@pytest.mark.parametrize("after", [0, 3, 5])
def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(examples, folder, reason, after):
    def progress(items, desc):
        yield from items[:after]
        raise reason

    with pytest.raises(reason):
        open_store(folder, examples, progress)
    assert left_on_disk(folder) == []
    assert np.array_equal(open_store(folder, examples)[2].numpy(), pillow(examples[2].path))


def test_the_folder_appears_only_when_it_is_complete(examples, folder):
    seen = []

    def progress(items, desc):
        for item in items:
            seen.append(folder.exists())
            yield item
        seen.append(folder.exists())

    open_store(folder, examples, progress)
    assert seen == [False] * (len(examples) + 1)
    assert folder.exists()


def test_too_small_a_disk_is_refused_with_both_numbers_and_nothing_is_written(examples, folder, monkeypatch):
    usage = namedtuple("usage", "total used free")
    needed = sum(3 * width * height for width, height in SIZES)
    asked = []

    def disk_usage(path):
        asked.append(Path(path))
        return usage(10**12, 10**12, needed - 1)

    monkeypatch.setattr(store.shutil, "disk_usage", disk_usage)
    with pytest.raises(StoreError, match=r"needs 0\.0 GB, the disk has 0\.0 GB free") as error:
        open_store(folder, examples)
    assert str(folder) in str(error.value)
    assert asked == [folder.parent]
    assert left_on_disk(folder) == []

    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage(10**12, 0, needed))
    assert len(open_store(folder, examples)) == len(examples)
