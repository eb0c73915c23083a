"""Tests of bad input: every case of `corpus` is refused by one good sentence or repaired by its rule."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

import corpus
from ssdlib.__main__ import EXPECTED


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A world in which nothing is wrong, to be copied."""
    return corpus.make(tmp_path_factory.mktemp("whole")).home


def on_disk(home: Path) -> dict[str, bytes]:
    """What is where. The content itself, so that no two files can be mistaken for each other."""
    return {
        path.relative_to(home).as_posix(): path.read_bytes() if path.is_file() else b"folder"
        for path in home.rglob("*")
    }


@pytest.mark.parametrize("case", corpus.CASES, ids=lambda case: case.name)
def test_what_is_wrong_is_refused_by_one_sentence_or_repaired_by_its_rule(case, whole, tmp_path):
    world = corpus.World(tmp_path / "world")
    shutil.copytree(whole, world.home)
    case.spoil(world)
    before = on_disk(world.home)
    if case.rule == "refused":
        with pytest.raises(EXPECTED) as error:
            case.then(world)
        sentence = str(error.value)
        assert case.where.partition("/")[0] in sentence
        assert all(words in sentence for words in (Path(case.where).name, *case.says)), sentence
        assert "\n" not in sentence and len(sentence) < 600
    else:
        answer = case.then(world)
        assert case.answer is corpus.ALL or answer == case.answer
    after = on_disk(world.home)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert {path for path in changed if not path.startswith(case.touches)} == set()
    assert not (world.home / "executed").exists()


def test_in_a_world_without_faults_everything_works(whole, tmp_path):
    world = corpus.World(tmp_path / "world")
    shutil.copytree(whole, world.home)
    assert corpus.decoded(world) and corpus.ids(world) == list(corpus.IDS)
    assert (world.judge(), world.train()) == (1.0, 2) and corpus.right_bytes(world)
    assert world.detector() == "a run of this library, step 2"
    assert corpus.picked(world) == ["classes of the list without objects, left out"]


def test_the_table_has_many_cases_each_once_and_of_both_kinds():
    names = Counter(case.name for case in corpus.CASES)
    assert len(names) == len(corpus.CASES) >= 60
    assert min(Counter(case.rule for case in corpus.CASES).values()) >= 20
