"""Chapter 09's table of recordings and its staircases, against the files and the settings themselves."""

import json

from course.kit import places
from course.training import figures
from ssdlib.training import engine, runs


def test_the_scaled_batches_are_those_of_the_recordings_the_smallest_first():
    rows, note = figures.scaled_batches()
    assert [row[0] for row in rows] == [8, 16, 32, 64]
    for batch, rate, steps, middle, end, score in rows:
        lines = places.recording("batches", str(batch), "log.jsonl").read_text("utf-8").splitlines()
        seen = [json.loads(line) for line in lines]
        assert [middle, end] == [row["val"]["multibox"] for row in seen if "val" in row] + [None] * (
            batch == 64
        )
        assert [score] == ([row["map"] for row in seen if "map" in row] or [None])
        assert abs(batch * steps - 20_000) < batch and abs(rate / batch - 0.03 / 8) < 1e-9
    assert "random seed" in note and "commit" in note


def test_each_recipe_has_a_staircase_that_begins_and_ends_where_its_settings_say():
    figure = figures.staircases(runs.RECIPES)
    assert [ax.get_title() for ax in figure.axes] == list(runs.RECIPES)
    for ax, recipe in zip(figure.axes, runs.RECIPES.values(), strict=True):
        levels = list(ax.lines[0].get_ydata())
        assert levels[0] == engine.learning_rate(recipe, 0)
        assert levels[-1] == engine.learning_rate(recipe, recipe.steps - 1)


def test_recipes_are_compared_in_words_field_by_field():
    paper, mini = runs.RECIPES["paper"], runs.RECIPES["mini"]
    rows = {name: values for name, *values in figures.differing({"paper": paper, "mini": mini})}
    assert rows["steps"] == ["120,000", "2,500"] and rows["batch_norm"] == ["no", "yes"]
    assert rows["augment"] == ["distort, expand, crop, flip", "flip"]
    assert "momentum" not in rows and figures.differing({"a": mini, "b": mini}) == []
