"""Tests for `usable`: what is bad is named before a training starts, and too much of it stops everything."""

import shutil

import pytest
from folders import annotated

import corpus
from ssdlib.__main__ import main
from ssdlib.data import own, store, voc


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return corpus.make(tmp_path_factory.mktemp("whole")).home


@pytest.fixture
def world(whole, tmp_path):
    """Five photographs, of which the second's annotation and the fourth's pixels are broken."""
    shutil.copytree(whole, tmp_path / "world")
    world = corpus.World(tmp_path / "world")
    for number in (4, 5):
        shutil.copy(world.xml("000001"), world.xml(f"00000{number}"))
        shutil.copy(world.jpg("000001"), world.jpg(f"00000{number}"))
    world.list.write_text("".join(f"00000{number}\n" for number in range(1, 6)))
    world.xml("000002").write_text("<annotation>")
    world.jpg("000004").write_bytes(world.jpg("000004").read_bytes()[:300])
    return world


def test_without_a_share_the_first_bad_annotation_stops_everything(world):
    with pytest.raises(voc.VOCError, match=r"000002\.xml"):
        own.read_usable(world.devkit, ["2007-test"])


def test_what_is_left_out_is_counted_and_named_and_the_rest_keeps_its_order(world):
    examples, words = own.read_usable(world.devkit, ["2007-test"], share=0.4)
    assert [e.image_id for e in examples] == ["000001", "000003", "000005"]
    assert words.startswith("2007-test: 2 of 5 images can't be used and are left out: ")
    assert str(world.xml("000002")) in words and str(world.jpg("000004")) in words


def test_more_than_the_share_is_refused_by_one_sentence_with_both_numbers(world):
    with pytest.raises(own.TooManyBad) as error:
        own.read_usable(world.devkit, ["2007-test"], share=0.39)
    assert "2 of 5 images can't be used, wanted 39.00% at most" in str(error.value)
    assert str(world.xml("000002")) in str(error.value) and "\n" not in str(error.value)


def test_a_whole_set_is_whole_with_a_share_of_nothing(whole):
    world = corpus.World(whole)
    examples, words = own.read_usable(world.devkit, ["2007-test"], share=0)
    assert len(examples) == 3 and words == "2007-test: 0 of 3 images can't be used and are left out"


def test_of_many_the_first_three_are_named():
    assert own.within(list("abcde"), 9, 1).endswith("left out: a; b; c; and 2 more")


def test_a_share_with_two_digits_is_enough_for_as_many_images_as_it_says():
    for bad in range(101):
        assert own.within(["x"] * bad, 100, bad / 100).startswith(f"{bad} of 100 ")
    assert own.within(["x"] * 29, 50, 0.58).startswith("29 of 50 ")
    with pytest.raises(own.TooManyBad, match="30 of 50"):
        own.within(["x"] * 30, 50, 0.58)


def test_a_set_of_which_nothing_is_left_is_refused_with_its_name_whatever_the_share(world):
    for number in range(1, 6):
        world.jpg(f"00000{number}").write_bytes(b"")
    with pytest.raises(own.TooManyBad) as error:
        own.read_usable(world.devkit, ["2007-test"], share=1)
    sentence = str(error.value)
    assert (
        sentence.startswith(f"{world.devkit}, 2007-test: 5 of 5 images can't be used")
        and "\n" not in sentence
    )
    assert "wanted one at least that can" in sentence


def test_no_share_is_advised_for_a_folder_of_which_nothing_would_be_left(tmp_path):
    for name in ("a.bmp", "b.bmp"):
        path = annotated(tmp_path, name) / name
        path.write_bytes(path.read_bytes()[:-200])
    found = own.read_folder(tmp_path)
    sentence = own.undecodable(found)
    assert sentence.startswith("2 of 2 images can't be decoded, at which a training stops: ")
    with pytest.raises(own.TooManyBad, match="train: 1 of 1 images can't be used, wanted one"):
        own.read_usable(tmp_path, ["train"], found.classes, found, 1)


def test_pictures_of_ones_own_that_were_left_out_count_as_well(world):
    (world.own / "labels/000002.txt").write_bytes(b"\xff\xfe\xfa")
    found = own.read_folder(world.own)
    assert own.bad_of(found) == ["images/000002.jpg: its text file can't be read"]


@pytest.mark.slow
def test_train_says_before_it_starts_what_it_leaves_out_and_stops_if_it_is_too_much(world, capsys):
    settings = (
        "--recipe mini --width 0.015625 --no-batch-norm --warmup 0 --drops --train-sets 2007-test --steps 1"
    )
    command = f"train --data {world.devkit} --out {world.home / 'new'} --batch-size 2 {settings}".split()
    assert main([*command, "--skip-bad", "0.1"]) == 1
    assert "TooManyBad: 2 of 5 images can't be used" in capsys.readouterr().err
    assert not (world.home / "new").exists()
    assert main([*command, "--skip-bad", "0.5"]) == 0
    said = capsys.readouterr().out
    left_out, start = (said.index(words) for words in ("2 of 5 images can't be used", "writing to"))
    assert left_out < start and "3 photographs to train on, 3 to test on" in said
    assert (store.beside(world.devkit) / "2007-test" / store.INDEX).is_file()


def test_train_refuses_a_folder_of_ones_own_of_which_more_than_a_tenth_is_bad(world, capsys):
    (world.own / "labels/000002.txt").write_bytes(b"\xff\xfe\xfa")
    assert (
        main(["train", "--data", str(world.own), "--out", str(world.home / "new"), "--recipe", "mini"]) == 1
    )
    assert "TooManyBad: 1 of 3 images can't be used, wanted 10.00% at most" in capsys.readouterr().err
