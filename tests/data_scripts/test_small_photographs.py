"""Tests for `small_photographs`: what was packed comes back as the same devkit, its photographs nearly the same."""

import sys
from pathlib import Path

import pytest
import torch

from ssdlib.data import voc

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import small_photographs

MINI = Path(__file__).parents[2] / "data/mini/VOCdevkit"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A devkit of six painted scenes, packed and unpacked."""
    if not MINI.exists():
        pytest.skip("the mini VOC isn't there; `make mini` paints it")
    home = tmp_path_factory.mktemp("small")
    ids = list(voc.read_ids(MINI / "VOC2007/ImageSets/Main/test.txt"))[:6]
    for folder, ending in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (home / "few/VOC2007" / folder).mkdir(parents=True)
        for i in ids:
            content = (MINI / f"VOC2007/{folder}/{i}.{ending}").read_bytes()
            (home / f"few/VOC2007/{folder}/{i}.{ending}").write_bytes(content)
    lists = home / "few/VOC2007/ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "six.txt").write_text("\n".join(ids) + "\n")
    small_photographs.pack(home / "few", home / "packed.zip", ["2007-six"], side=200, quality=60)
    small_photographs.unpack(home / "packed.zip", home / "back")
    return home


def test_annotations_and_lists_come_back_unchanged(few):
    before, after = (voc.read_sets(few / name, ["2007-six"]) for name in ("few", "back"))
    assert [e.image_id for e in before] == [e.image_id for e in after]
    for one, other in zip(before, after, strict=True):
        assert torch.equal(one.boxes, other.boxes) and torch.equal(one.labels, other.labels)
        assert one.size == other.size


def test_photographs_have_their_old_size_and_nearly_their_old_colours(few):
    before, after = (voc.read_sets(few / name, ["2007-six"]) for name in ("few", "back"))
    for one, other in zip(before, after, strict=True):
        old, new = (voc.read_photograph(e.path).float() for e in (one, other))
        assert new.shape == old.shape
        assert 0 < (new - old).abs().mean() < 12 < old.std()


def test_the_packed_file_is_far_smaller(few):
    photographs = sum(p.stat().st_size for p in (few / "few/VOC2007/JPEGImages").iterdir())
    assert (few / "packed.zip").stat().st_size < photographs / 2
