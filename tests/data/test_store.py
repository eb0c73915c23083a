"""`store`: the pixels of the photographs, and every way in which a store refuses to be built or opened."""

import dataclasses
import errno
import multiprocessing
import os
import shutil
import signal
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ssdlib.data import store, voc
from ssdlib.data.store import Jpegs, StoreError, open_store
from ssdlib.records import Example

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


@pytest.mark.skipif(os.name == "nt", reason="there, names of files are Unicode always")
def test_a_photograph_whose_name_is_not_utf_8_is_stored_like_any_other(examples, folder):
    path = examples[0].path.with_name(os.fsdecode(b"caf\xe9.jpg"))
    try:
        path.write_bytes(examples[0].path.read_bytes())
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    strange = [example(path, SIZES[0]), *examples]
    open_store(folder, strange)
    assert right(open_store(folder, strange), strange)


def test_it_is_built_once_and_only_read_afterwards(examples, folder, monkeypatch):
    seen = []

    def progress(items, desc, **_):
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


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the photographs decoded since; how far a build has come is noted after every second one."""
    names = []

    def read(path, upright=False):
        names.append(path.name)
        return voc.read_photograph(path, upright)

    monkeypatch.setattr(store, "read_photograph", read)
    monkeypatch.setattr(store, "KEPT_EVERY", 2)
    return names


# --- A store that is older than its source --------------------------------------------------------------


def painted(path: Path, colour: tuple[int, int, int]) -> None:
    """Repaint a picture in its format and size. Bitmaps keep their length."""
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size, colour).save(path)


def dated(path: Path, seconds: int) -> None:
    os.utime(path, (seconds, seconds))


def right(stored, examples) -> bool:
    return len(stored) == len(examples) and all(
        np.array_equal(stored[i].numpy(), pillow(e.path)) for i, e in enumerate(examples)
    )


def test_a_store_of_other_photographs_is_brought_up_to_date_and_decodes_only_the_new_ones(
    examples, folder, tmp_path, decoded
):
    elsewhere = tmp_path / "VOC2012" / "JPEGImages"
    shutil.copytree(tmp_path / "VOC2007" / "JPEGImages", elsewhere)
    others = {
        "one less": (examples[:-1], 0),
        "one twice": ([*examples, examples[0]], 1),  # of five again, the last was gone
        "another order": ([examples[1], examples[0], *examples[2:]], 0),
        "the same ids in another year": ([example(elsewhere / e.path.name, e.size) for e in examples], 5),
    }
    open_store(folder, examples)
    for what, (now, anew) in others.items():
        decoded.clear()
        stored = open_store(folder, now)
        assert right(stored, now) and len(decoded) == anew, what
        assert stored.news.endswith(f"{anew} photographs decoded anew, {len(now) - anew} kept as they were")
        assert left_on_disk(folder) == [folder.name]


def test_a_photograph_that_is_to_be_turned_upright_is_decoded_again(examples, folder, decoded):
    """A square one: its size says nothing about which way up it is stored."""
    open_store(folder, examples)
    square = examples[-1]
    assert square.size[0] == square.size[1]
    decoded.clear()
    open_store(folder, [*examples[:-1], dataclasses.replace(square, upright=True)])
    assert decoded == [square.path.name]


@pytest.mark.parametrize("suffix", [".bmp", ".png", ".jpg"])
def test_a_photograph_replaced_by_one_of_the_same_length_is_noticed_by_its_time_and_decoded_again(
    examples, folder, decoded, suffix, tmp_path
):
    mine = []
    for e in examples:
        path = e.path.with_suffix(suffix)
        if path != e.path:
            Image.open(e.path).convert("RGB").save(path)
        dated(path, 1_700_000_000)
        mine.append(example(path, e.size))
    open_store(folder, mine)
    painted(mine[1].path, (9, 200, 30))
    decoded.clear()
    stored = open_store(folder, mine)
    assert decoded == [mine[1].path.name] and right(stored, mine)
    assert stored.news.endswith("1 photographs decoded anew, 4 kept as they were")


def test_new_times_alone_are_noted_and_nothing_is_decoded_or_read_twice(
    examples, folder, decoded, monkeypatch
):
    open_store(folder, examples)
    decoded.clear()
    for e in examples:
        dated(e.path, 1_700_000_000)
    assert right(open_store(folder, examples), examples) and decoded == []
    monkeypatch.setattr(store, "_content", lambda path: 1 / 0)
    assert right(open_store(folder, examples), examples)


def test_a_photograph_changed_while_the_store_is_open_changes_nothing_there_and_is_seen_by_the_next(
    examples, folder
):
    first = open_store(folder, examples)
    before = first[0].clone()
    painted(examples[0].path, (255, 0, 0))
    second = open_store(folder, examples)
    assert torch.equal(first[0], before) and right(second, examples)


def test_a_store_that_nobody_brings_up_to_date_is_refused(examples, folder):
    """What the second of several processes opens was built by the first."""
    open_store(folder, examples)
    Image.new("RGB", examples[0].size).save(examples[0].path)
    with pytest.raises(StoreError, match="differ from the 5 asked for"):
        store.Store(folder, examples)


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_an_interrupted_update_leaves_the_older_store_and_the_next_one_finishes(
    examples, folder, after, decoded
):
    open_store(folder, examples[:2])
    whole = (folder / store.PIXELS).read_bytes()

    def interrupted(items, **_):
        yield from items[:after]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(folder, examples, interrupted)
    assert (folder / store.PIXELS).read_bytes() == whole
    assert right(open_store(folder, examples), examples) and left_on_disk(folder) == [folder.name]


@pytest.mark.parametrize("after", [0, 3])
def test_a_full_disk_stops_an_update_with_its_own_words_and_the_next_one_goes_on(
    examples, folder, after, decoded
):
    """The older store stays, and so does what has been decoded."""
    open_store(folder, examples[:1])
    whole = (folder / store.PIXELS).read_bytes()

    def full(items, **_):
        yield from items[:after]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OSError, match="No space left") as error:
        open_store(folder, examples, full)
    assert error.value.errno == errno.ENOSPC and store.PIXELS in error.value.filename
    assert (folder / store.PIXELS).read_bytes() == whole and len(left_on_disk(folder)) == 2
    decoded.clear()
    assert right(open_store(folder, examples), examples) and left_on_disk(folder) == [folder.name]
    assert len(decoded) == (4 if after == 0 else 3)


def test_a_folder_that_is_no_store_is_never_replaced(examples, folder):
    folder.mkdir(parents=True)
    (folder / "thesis.txt").write_text("ten years")
    with pytest.raises(StoreError, match=r"holds thesis\.txt, so it isn't a store; .* by --store"):
        open_store(folder, examples)
    assert (folder / "thesis.txt").read_text() == "ten years"


def test_a_photograph_that_is_gone_is_named(examples, folder):
    open_store(folder, examples)
    examples[3].path.unlink()
    with pytest.raises(StoreError) as error:
        open_store(folder, examples)
    assert str(examples[3].path) in str(error.value)


@pytest.mark.parametrize("change", [-1, 1, -10000, None])
def test_a_pixel_file_of_another_length_or_none_is_made_again(examples, folder, change):
    open_store(folder, examples)
    whole = (folder / store.PIXELS).read_bytes()
    if change is None:
        (folder / store.PIXELS).unlink()
    else:
        (folder / store.PIXELS).write_bytes(whole[: len(whole) + change] if change < 0 else whole + b"x")
    with pytest.raises(StoreError, match=f"photographs.u8: .* bytes, wanted {len(whole)}"):
        store.Store(folder, examples)
    assert right(open_store(folder, examples), examples)
    assert (folder / store.PIXELS).read_bytes() == whole


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[: len(text) // 2], id="cut off"),
        pytest.param(lambda text: "", id="empty"),
        pytest.param(lambda text: "[1, 2]", id="a list"),
        pytest.param(lambda text: "null", id="null"),
        pytest.param(lambda text: "{}", id="without format"),
        pytest.param(
            lambda text: text.replace(f'"format": {store.FORMAT}', '"format": 1'), id="an older format"
        ),
        pytest.param(lambda text: text.replace("photographs", "photos"), id="without photographs"),
        pytest.param(lambda text: text.replace("40, 30", '"a", "b"'), id="words for sizes"),
        pytest.param(lambda text: text.replace("40, 30", "1000, 1000"), id="another size"),
        pytest.param(None, id="gone"),
    ],
)
def test_a_store_with_a_damaged_index_is_refused_by_name_and_made_again(examples, folder, damage):
    open_store(folder, examples)
    path = folder / store.INDEX
    if damage is None:
        path.unlink()
    else:
        text = path.read_text()
        assert damage(text) != text
        path.write_text(damage(text))
    with pytest.raises(StoreError) as error:
        store.Store(folder, examples)
    assert str(folder) in str(error.value) and "open_store" in str(error.value)
    assert right(open_store(folder, examples), examples)


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


def test_a_photograph_of_another_size_than_annotated_is_refused_when_it_is_read_without_a_store_too(examples):
    """Its boxes would be judged in the wrong places."""
    lying = example(examples[0].path, SIZES[0][::-1])
    with pytest.raises(store.BadPhotograph) as error:
        Jpegs([*examples, lying])[5]
    assert str(error.value) == f"{lying.path}: 40x30 px; its annotation says 30x40"


def test_a_photograph_that_cannot_be_decoded_leaves_nothing(examples, folder):
    examples[4].path.write_bytes(examples[4].path.read_bytes()[:-200])
    with pytest.raises(voc.VOCError, match="000004.jpg"):
        open_store(folder, examples)
    assert left_on_disk(folder) == []


@pytest.mark.parametrize("reason", [KeyboardInterrupt, RuntimeError, MemoryError, OSError])
@pytest.mark.parametrize(("after", "kept"), [(0, 0), (1, 0), (2, 2), (3, 2), (4, 4), (5, 4)])
def test_an_interrupted_build_is_no_store_and_the_next_one_goes_on_from_the_last_note(
    examples, folder, decoded, reason, after, kept
):
    bars = []

    def interrupted(items, **_):
        yield from items[:after]
        raise reason

    def progress(items, desc, initial, total):
        bars.append((len(items), initial, total))
        return items

    with pytest.raises(reason):
        open_store(folder, examples, interrupted)
    assert not folder.exists() and len(left_on_disk(folder)) == 1
    decoded.clear()
    open_store(folder, examples, progress)
    assert decoded == [f"{i:06d}.jpg" for i in range(kept, 5)]
    assert bars == [(5 - kept, kept, 5)]
    assert (folder / store.PIXELS).read_bytes() == b"".join(pillow(e.path).tobytes() for e in examples)
    assert left_on_disk(folder) == [folder.name]


def build_slowly(folder: Path, devkit: Path) -> None:
    """In a process of its own, for being killed."""

    def slowly(items, **_):
        for item in items:
            time.sleep(0.02)
            yield item

    store.KEPT_EVERY = 3
    open_store(folder, voc.read_sets(devkit, ["2007-trainval", "2007-test"]), slowly)


@pytest.mark.slow
def test_a_build_killed_again_and_again_ends_with_the_bytes_of_an_undisturbed_one(mini, tmp_path):
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "killed"
    open_store(undisturbed, voc.read_sets(mini, ["2007-trainval", "2007-test"]))
    sizes, whole = [0], (undisturbed / store.PIXELS).stat().st_size
    processes = multiprocessing.get_context("forkserver")  # imports PyTorch once, not for every process
    processes.set_forkserver_preload(["ssdlib.data.store"])
    for part in (0.2, 0.45, 0.7, None):
        builder = processes.Process(target=build_slowly, args=(folder, mini))
        builder.start()
        while builder.is_alive() and part and sizes[-1] < part * whole:
            time.sleep(0.002)
            sizes += [path.stat().st_size for path in tmp_path.glob(f"killed.part-*/{store.PIXELS}")]
        if part:
            builder.kill()
        builder.join(60)
        assert (builder.exitcode, folder.exists()) == ((-signal.SIGKILL, False) if part else (0, True))
    for name in (store.PIXELS, store.INDEX):
        assert (folder / name).read_bytes() == (undisturbed / name).read_bytes()
    assert left_on_disk(folder) == ["killed", "undisturbed"]


def interrupt(examples, folder, after: int) -> Path:
    """A build stopped after so many photographs. -> what it left."""

    def progress(items, **_):
        yield from items[:after]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_store(folder, examples, progress)
    [part] = folder.parent.glob("*.part-*")
    return part


def test_a_build_killed_just_before_the_renaming_decodes_nothing_again(examples, folder, decoded):
    open_store(folder, examples)
    part = interrupt(examples, folder.with_name("another name"), 2)
    name = part.name.replace("another name", folder.name)
    shutil.rmtree(part)
    folder.rename(folder.with_name(name))
    decoded.clear()
    open_store(folder, examples)
    assert decoded == []
    assert (folder / store.PIXELS).read_bytes() == b"".join(pillow(e.path).tobytes() for e in examples)


@pytest.mark.parametrize("damage", ["cut", "note cut", "note of another store", "pixels gone", "note gone"])
def test_what_a_stopped_build_left_is_used_only_if_it_fits(examples, folder, decoded, damage):
    part = interrupt(examples, folder, 4)
    note, pixels = part / store.INDEX, part / store.PIXELS
    if damage == "cut":
        pixels.write_bytes(pixels.read_bytes()[:-1000])
    elif damage == "note cut":
        note.write_text(note.read_text()[:-5])
    elif damage == "note of another store":
        note.write_text(note.read_text().replace("40, 30", "30, 40"))
    else:
        (pixels if damage == "pixels gone" else note).unlink()
    decoded.clear()
    open_store(folder, examples)
    assert len(decoded) == 5
    assert (folder / store.PIXELS).read_bytes() == b"".join(pillow(e.path).tobytes() for e in examples)


def test_a_photograph_replaced_after_the_stop_is_decoded_anew_and_the_old_part_goes(
    examples, folder, decoded
):
    interrupt(examples, folder, 4)
    Image.new("RGB", examples[0].size).save(examples[0].path)
    stored = open_store(folder, examples)
    assert not stored[0].any() and np.array_equal(stored[1].numpy(), pillow(examples[1].path))
    assert left_on_disk(folder) == [folder.name]


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("some set.old-1", "thesis.txt"),
        ("some set.part-0123456789ab", "thesis.txt"),
        ("some set.part-two", store.INDEX),
        ("some set.old-ones", store.PIXELS),
        ("some set.old-1.bak", store.PIXELS),
    ],
)
def test_a_folder_beside_the_store_that_no_build_made_is_left_alone(examples, folder, name, holds):
    beside = folder.with_name(name) / holds
    beside.parent.mkdir(parents=True)
    beside.write_text("ten years")
    open_store(folder, examples)
    assert beside.read_text() == "ten years"


def test_a_folder_beside_the_store_that_cannot_be_looked_into_stops_nothing(examples, folder, monkeypatch):
    folder.with_name("some set.old-1").mkdir(parents=True)

    def closed(path):
        raise PermissionError

    monkeypatch.setattr(store, "_strange", closed)
    open_store(folder, examples)
    assert left_on_disk(folder) == ["some set", "some set.old-1"]


@pytest.mark.parametrize("name", ["some set.old-1", "some set.part-0123456789ab"])
def test_what_stopped_builds_left_goes_with_the_next_one_that_is_finished(examples, folder, name):
    left = folder.with_name(name)
    left.mkdir(parents=True)
    for there in (store.PIXELS, store.INDEX, f"{store.INDEX}.part-77"):
        (left / there).touch()
    open_store(folder, examples)
    assert left_on_disk(folder) == [folder.name]


def test_two_builders_at_once_end_with_one_right_store(examples, folder, decoded):
    """The second begins and ends while the first has three photographs to go."""

    def progress(items, **_):
        yield from items[:2]
        open_store(folder, examples)
        yield from items[2:]

    stored = open_store(folder, examples, progress)
    assert all(np.array_equal(stored[i].numpy(), pillow(e.path)) for i, e in enumerate(examples))
    assert sorted(path.name for path in folder.iterdir()) == sorted([store.PIXELS, store.INDEX])
    assert left_on_disk(folder) == [folder.name]


@pytest.mark.parametrize(
    ("devkit", "place"),
    [
        ("set", "set.store"),
        (".", "project.store"),
        ("set/..", "project.store"),
        ("..", "{}.store"),
        ("./set/", "set.store"),
    ],
)
def test_the_folder_of_stores_bears_the_name_of_the_data_however_that_is_written(
    tmp_path, monkeypatch, devkit, place
):
    project = tmp_path / "project"
    (project / "set").mkdir(parents=True)
    monkeypatch.chdir(project)
    assert store.beside(Path(devkit)).name == place.format(tmp_path.name)
    assert store.beside(Path(devkit)).parent == Path(devkit).resolve().parent


def test_the_folder_appears_only_when_it_is_complete(examples, folder):
    seen = []

    def progress(items, **_):
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


def test_only_what_is_still_to_be_written_has_to_fit(examples, folder, decoded, monkeypatch):
    usage = namedtuple("usage", "total used free")
    kept = sum(3 * width * height for width, height in SIZES[:4])
    rest = 3 * SIZES[4][0] * SIZES[4][1]
    interrupt(examples, folder, 4)
    other = folder.with_name("other")
    for free, wanted in (
        (rest - 1, {folder: examples}),
        (2 * rest + kept - 1, {folder: examples, other: examples}),
    ):
        monkeypatch.setattr(store.shutil, "disk_usage", lambda path, free=free: usage(0, 0, free))
        with pytest.raises(StoreError, match="some set.*needs"):
            store.require_space(wanted)
        monkeypatch.setattr(store.shutil, "disk_usage", lambda path, free=free: usage(0, 0, free + 1))
        store.require_space(wanted)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage(0, 0, rest))
    open_store(folder, examples)
    monkeypatch.setattr(store.shutil, "disk_usage", lambda path: usage(0, 0, 0))
    store.require_space({folder: examples})  # there already: nothing to write
