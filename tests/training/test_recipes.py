"""Recipes and their scaling to batches of another size; the numbers are worked out by hand."""

from dataclasses import replace

import pytest

from ssdlib.__main__ import _config
from ssdlib.cli.options import parser
from ssdlib.training.recipes import RECIPES, RunConfig, RunError, scaled


def test_four_times_the_batch_has_four_times_the_rate_and_a_quarter_of_the_steps():
    run = scaled(RECIPES["paper"], 128)
    assert run == replace(
        RunConfig(),
        batch_size=128,
        learning_rate=0.004,
        steps=30_000,
        drops=(20_000, 25_000),
        warmup=500,
        val_every=250,
        map_every=5_000,
        checkpoint_every=250,
    )


def test_a_smaller_batch_needs_no_warm_up():
    run = scaled(RECIPES["paper"], 8)
    assert (run.learning_rate, run.steps, run.drops, run.warmup) == (2.5e-4, 480_000, (320_000, 400_000), 0)


def test_a_warm_up_keeps_its_steps_and_what_never_happens_stays_so():
    run = scaled(RECIPES["mini"], 32)
    assert (run.steps, run.drops, run.warmup, run.map_every) == (625, (488, 575), 200, 0)
    assert run.learning_rate == pytest.approx(0.12)


@pytest.mark.parametrize("name", RECIPES)
def test_the_same_size_is_the_same_run(name):
    assert scaled(RECIPES[name], RECIPES[name].batch_size) == RECIPES[name]


@pytest.mark.parametrize("size", [0, -4])
def test_a_batch_without_images_is_refused(size):
    with pytest.raises(RunError, match=f"the batch to scale to is {size}; wanted 1 or more"):
        scaled(RECIPES["paper"], size)


def test_the_command_line_scales_first_and_replaces_then():
    words = ["train", "--out", "run", "--scale-to", "64", "--warmup", "7"]
    run = _config(parser().parse_args(words))
    assert run == replace(scaled(RECIPES["paper"], 64), warmup=7)
    with pytest.raises(RunError, match="the batch to scale to is 0; wanted 1 or more"):
        _config(parser().parse_args([*words[:4], "0"]))


def test_the_name_a_recipe_had_before_still_names_it():
    words = ["train", "--data", "x", "--out", "y", "--recipe"]
    before, now = (_config(parser().parse_args([*words, name])) for name in ("seed", "ssd_keras"))
    assert before == now == RECIPES["ssd_keras"] and "seed" not in RECIPES
