"""Readers under a rain of broken files: each answers, or refuses with the error it has for that; nothing else.

Hypothesis changes bytes and words of good files. `HYPOTHESIS_EXAMPLES=5000 pytest tests/robustness/test_fuzz.py`
does so at length; otherwise the same examples are tried in every run, so that what passes once passes always.
"""

import argparse
import contextlib
import json
import os
import shutil
from pathlib import Path

import folders
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import corpus
import foreign
from ssdlib import evaluate, files
from ssdlib.data import own, store, voc
from ssdlib.data.formats import FormatError
from ssdlib.data.results import read_results
from ssdlib.interop import published, weights
from ssdlib.training import runlog, runs

many = settings(
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", 100)),
    derandomize="HYPOTHESIS_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
ODD = (
    "",
    "nan",
    "-inf",
    "1e999",
    "1e308",
    "-1",
    "0",
    "1_0",
    "٣",
    "0x10",
    " 7 ",
    "9" * 400,
    "true",
    "\0",
    "\ufeff",
    "🐕",
    "\x85",
)
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 9), st.one_of(st.binary(max_size=4), st.sampled_from(ODD))),
    max_size=4,
)


def edited(whole: bytes, edits: list) -> bytes:
    """Some bytes taken out and others put in, at parts of the length."""
    for where, cut, new in edits:
        place = int(where * len(whole))
        whole = whole[:place] + (new if isinstance(new, bytes) else new.encode()) + whole[place + cut :]
    return whole


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = corpus.make(tmp_path_factory.mktemp("world"))
    world.good = world.examples()  # before anything is changed
    return world


@many
@given(edits=EDITS, words=st.lists(st.sampled_from(ODD), min_size=7, max_size=7))
def test_an_annotation_is_an_example_inside_its_picture_or_a_voc_error(world, edits, words):
    for text in (
        corpus.annotation(),
        corpus.annotation(corpus.corners(*words[:4]), size=size(words[4:6]), name=words[6]),
    ):
        world.xml().write_bytes(edited(text.encode(), edits))
        with contextlib.suppress(voc.VOCError):
            example = voc.read_example(world.xml(), world.jpg(), "x")
            width, height = example.size
            assert (
                width > 0
                and height > 0
                and len(example.boxes) == len(example.labels) == len(example.difficult)
            )
            assert bool(((example.boxes >= 0) & (example.boxes <= max(width, height))).all())


def size(words: list[str]) -> str:
    return f"<size><width>{words[0]}</width><height>{words[1]}</height></size>"


@many
@given(
    st.one_of(st.binary(max_size=60), st.text(max_size=30).map(lambda text: text.encode("utf-8", "replace")))
)
def test_a_list_is_of_single_words_each_once_or_a_voc_error(world, content):
    world.list.write_bytes(content)
    with contextlib.suppress(voc.VOCError):
        ids = voc.image_ids(world.devkit, "2007-test")
        assert len(set(ids)) == len(ids) > 0
        for image_id in ids:
            place = (world.xml().parent / f"{image_id}.xml").resolve()
            assert place.parent == world.xml().parent.resolve() and image_id.split() == [image_id]


@many
@given(edits=EDITS, words=st.lists(st.sampled_from(ODD), min_size=5, max_size=5))
def test_a_result_file_holds_finite_numbers_or_is_a_result_error(world, edits, words):
    for text in (corpus.LINES, f"000001 {' '.join(words)}\n"):
        world.table().write_bytes(edited(text.encode(), edits))
        with contextlib.suppress(evaluate.ResultError):
            found = read_results(world.results, "test", ["dog"])["dog"]
            assert np.isfinite(found.scores).all() and np.isfinite(found.boxes).all()
            assert found.boxes.shape == (len(found.image_ids), 4)


THINGS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 10**30),
        st.floats(),
        st.text(max_size=4),
        st.sampled_from(ODD),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(["id", "bbox", "x"]), inner)
    ),
    max_leaves=5,
)
PLACES = (
    *(("images", 0, key) for key in ("id", "file_name", "width", "height")),
    *(("annotations", 0, key) for key in ("image_id", "category_id", "bbox", "iscrowd")),
    *(("annotations", 0), ("images", 0), ("categories", 0), ("annotations",), ("images",), ("categories",)),
    *(("categories", 0, key) for key in ("id", "name")),
)


@many
@given(st.lists(st.tuples(st.sampled_from(PLACES), THINGS), min_size=1, max_size=2))
def test_coco_is_read_or_a_format_error(world, changes):
    folder = world.home / "coco"
    if not folder.exists():
        shutil.copytree(world.own / "images", folder)
    whole = {
        "images": [
            {"id": 0, "file_name": "000001.jpg", "width": 40, "height": 30},
            {"id": 1, "file_name": "000002.jpg"},
        ],
        "annotations": [{"image_id": i, "category_id": 1, "bbox": [4, 5, 20, 10]} for i in (0, 1)],
        "categories": [{"id": 1, "name": "dog"}],
    }
    for path, thing in changes:
        holder = whole
        with contextlib.suppress(LookupError, TypeError):
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = thing
    (folder / "all.json").write_text(json.dumps(whole))
    with contextlib.suppress(FormatError):
        sound(own.read_folder(folder, kind="coco"))


@many
@given(edits=EDITS, words=st.lists(st.sampled_from(ODD), min_size=5, max_size=5), which=st.booleans())
def test_yolo_is_read_or_a_format_error(world, edits, words, which):
    text, names = world.own / "labels/000002.txt", world.own / "classes.txt"
    text.write_bytes(b"0 .5 .5 .4 .4\n" + " ".join(words).encode())
    names.write_bytes(b"dog\ncat\n")
    changed = names if which else text
    changed.write_bytes(edited(changed.read_bytes(), edits))
    with contextlib.suppress(FormatError):
        sound(own.read_folder(world.own))


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """A folder of each kind with a split that it states, and the files that are changed."""
    home = tmp_path_factory.mktemp("sets")
    names = [f"images/{i}.jpg" for i in range(3)]
    for name in names:
        picture = folders.picture(home / "labelme" / name)
        folders.labelme(
            picture.with_suffix(".json"), {"shape_type": "polygon", "points": [[1, 1], [9, 2], [3, 8]]}
        )
        folders.xml(folders.picture(home / "xml" / name).with_suffix(".xml"), filename=name)
    text = folders.text(home / "xml/ImageSets/Main/train.txt", ["0", "1"])
    folders.text(text.with_name("test.txt"), ["2"])
    for kind in ("yaml", "darknet"):
        folders.yolo(home / kind, *names)
        folders.text(home / kind / "train.txt", names[:2])
        folders.text(home / kind / "test.txt", names[2:])
    yaml = "path: .\ntrain: train.txt\nval: [images/2.jpg, test.txt]\nkpt_shape: [17, 3]\nnames:\n  0: cat\n"
    folders.text(home / "yaml/data.yaml", yaml)
    folders.text(home / "darknet/obj.names", ["cat"])
    folders.text(home / "darknet/obj.data", ["train = data/train.txt", "valid = data/test.txt"])
    return home


CHANGED = (
    *("labelme/images/1.json", "xml/images/1.xml", "xml/ImageSets/Main/train.txt", "yaml/data.yaml"),
    *("yaml/train.txt", "yaml/labels/1.txt", "darknet/obj.names", "darknet/obj.data", "darknet/test.txt"),
)


@pytest.mark.parametrize("name", CHANGED)
def test_a_folder_of_any_kind_is_read_or_a_format_error(sets, name):
    path = sets / name
    whole = path.read_bytes()

    @settings(many, max_examples=many.max_examples // 4)
    @given(edits=EDITS)
    def changed(edits: list) -> None:
        path.write_bytes(edited(whole, edits))
        with contextlib.suppress(FormatError):
            sound(own.read_folder(sets / name.partition("/")[0]))

    try:
        changed()
    finally:
        path.write_bytes(whole)


@many
@given(
    st.lists(st.tuples(st.sampled_from(("label", "points", "shape_type", "group_id")), THINGS), max_size=2),
    THINGS,
)
def test_labelme_is_read_or_a_format_error(sets, changes, thing):
    path = sets / "labelme/images/1.json"
    whole = path.read_text()
    try:
        folders.labelme(path, dict(changes), imagePath=thing)
        with contextlib.suppress(FormatError):
            sound(own.read_folder(sets / "labelme"))
    finally:
        path.write_text(whole)


def sound(found: own.Found) -> None:
    assert set(found.parts) <= {"train", "test", "both"} and found.report.split
    for example in found.examples:
        width, height = example.size
        x1, y1, x2, y2 = example.boxes.T
        assert bool(((0 <= x1) & (x1 < x2) & (x2 <= width) & (0 <= y1) & (y1 < y2) & (y2 <= height)).all())
    assert str(found)


@many
@given(EDITS)
def test_a_log_is_rows_with_steps_however_it_is_cut(world, edits):
    folder = world.home / "log"
    folder.mkdir(exist_ok=True)
    whole = b"".join(b'{"step": %d, "multibox": 1.5, "seconds": 0.1}\n' % step for step in range(4))
    (folder / runlog.LOG).write_bytes(edited(whole, edits))
    rows = runlog.read_log(folder)
    assert all(isinstance(row["step"], int) for row in rows)


@many
@given(st.integers(0, 5), THINGS, st.sampled_from(["row", "photographs", "format"]))
def test_a_store_with_another_index_is_a_store_error_and_is_made_again(world, place, thing, which):
    """Whatever stands in the place of a name, a size, a time or a content."""
    index = world.store / store.INDEX
    whole = index.read_text()
    new = json.loads(whole)
    if which == "row":
        new["photographs"][1][place] = thing
    else:
        new[which] = thing
    try:
        index.write_text(json.dumps(new))
        if which == "row" and place in (4, 5):  # a time or a content of its own may still be that of the file
            with contextlib.suppress(store.StoreError):
                store.Store(world.store, world.good)
        elif json.dumps(new) != whole:
            with pytest.raises(store.StoreError):
                store.Store(world.store, world.good)
        pixels = store.open_store(world.store, world.good)
        assert all(torch.equal(pixels[i], voc.read_photograph(e.path)) for i, e in enumerate(world.good))
    finally:
        index.write_text(whole)


@many
@given(EDITS)
def test_a_changed_checkpoint_is_tensors_or_a_checkpoint_error(world, edits):
    path = world.home / "changed.pt"
    if not path.exists():
        files.save_checkpoint(
            path, {"step": 3, "weights": {"a": corpus.torch.arange(9.0)}, "config": {"drops": (1, 2)}}
        )
        (world.home / "whole.pt").write_bytes(path.read_bytes())
    path.write_bytes(edited((world.home / "whole.pt").read_bytes(), edits))
    with contextlib.suppress(files.CheckpointError):
        assert isinstance(files.load_checkpoint(path), dict)


def a_file_of(kind: str, path: Path) -> bytes:
    """Weights as they lie around, small."""
    state = {f"module.features.{i}.weight": torch.arange(9.0) for i in range(3)}
    held = {"model": state, "args": argparse.Namespace(lr=0.1, steps=[3]), "epoch": 2}
    if kind == "safetensors":
        return foreign.in_safetensors(path, state).read_bytes()
    if kind.startswith("keras"):
        ours = {
            n: v
            for n, v in foreign.marked_state().items()
            if n[:5] == "body." and n.split(".")[1] in foreign.VGG
        }
        foreign.write_keras_vgg16(path, ours, kind)
    else:
        torch.save(held, path, _use_new_zipfile_serialization=kind == "zip")
    return path.read_bytes()


@many
@given(EDITS, st.sampled_from(["zip", "old layout", "safetensors", "keras 2", "keras 3"]))
def test_changed_weights_are_read_or_refused_as_weights(world, edits, kind):
    path, whole = world.home / "changed", world.home / f"{kind}.whole"
    if not whole.exists():
        whole.write_bytes(a_file_of(kind, path))
    path.write_bytes(edited(whole.read_bytes(), edits))
    with contextlib.suppress(weights.WeightsError, files.CheckpointError, runs.RunError):
        assert published.read_weights(path)
