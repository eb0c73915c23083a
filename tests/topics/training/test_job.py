"""Tests of the training job that chapter 09 takes: which data, which recipe, which folder."""

import pytest

from course.kit import places
from course.training import job
from ssdlib.training.runs import RECIPES, RunError


@pytest.fixture(autouse=True)
def bare(monkeypatch, tmp_path):
    for name in ("COURSE_RUNS", "COURSE_SHORT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(places, "ROOT", tmp_path)
    return tmp_path


def genuine(root):
    for year in ("VOC2007", "VOC2012"):
        (root / "data/VOCdevkit" / year).mkdir(parents=True)


def test_without_the_genuine_voc_it_is_the_mini_run_that_make_train_makes(bare):
    now = job.here()
    assert (now.recipe, now.config, now.expected) == ("mini", RECIPES["mini"], 0.55)
    assert (now.out, now.devkit) == (bare / "runs/mini", bare / "data/mini/VOCdevkit")
    with pytest.raises(RunError, match="make voc"):
        job.here("ssd_keras")


def test_with_the_genuine_voc_it_is_the_paper_or_what_is_asked_for(bare):
    genuine(bare)
    now = job.here()
    assert (now.recipe, now.config, now.out) == ("paper", RECIPES["paper"], bare / "runs/voc0712")
    assert job.here("ssd_keras").out == bare / "runs/voc0712_ssd_keras" and job.here("mini").recipe == "mini"
    (bare / "runs/voc0712_seed").mkdir(parents=True)  # a run begun when the recipe was called so goes on
    assert job.here("ssd_keras").out == bare / "runs/voc0712_seed"
    with pytest.raises(RunError, match="'sed': wanted one of mini, voc-short, paper, ssd_keras"):
        job.here("sed")


def test_the_short_recipe_needs_no_voc2012(bare):
    (bare / "data/VOCdevkit/VOC2007").mkdir(parents=True)
    now = job.here("voc-short")
    assert (now.config, now.out) == (RECIPES["voc-short"], bare / "runs/voc2007_short")
    assert {s[:4] for s in now.config.train_sets + now.config.test_sets} == {"2007"}
    with pytest.raises(RunError, match="VOC2012"):
        job.here("paper")


def test_tests_train_elsewhere_shorter_and_on_the_mini_voc(bare, monkeypatch):
    genuine(bare)
    monkeypatch.setenv("COURSE_RUNS", str(bare / "elsewhere"))
    monkeypatch.setenv("COURSE_SHORT", "1")
    now = job.here()
    assert (now.recipe, now.out, now.config.steps, now.expected) == (
        "mini",
        bare / "elsewhere/mini",
        400,
        0.05,
    )
