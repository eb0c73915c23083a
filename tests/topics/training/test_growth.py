"""The recorded training of chapter 09, look by look: what is shown is what was recorded."""

import json

import pytest
from hands import arrows, press

from course.kit import opening, places
from course.training.growth import BEGIN, SURE, Growth, opening_at, opening_scores


@pytest.fixture(scope="module")
def known() -> dict:
    return json.loads((places.recording("growth") / "growth.json").read_text("utf-8"))


@pytest.fixture
def growth() -> Growth:
    return Growth()


def test_the_recording_is_small_and_looks_every_50_steps_at_five_scenes(known):
    assert (places.recording("growth") / "growth.json").stat().st_size < 300_000
    steps = [look["step"] for look in known["looks"]]
    assert steps == list(range(0, steps[-1] + 1, 50)) and steps[-1] >= 1000
    for look in known["looks"]:
        assert len(look["scenes"]) == len(known["scenes"]) == 5
        for scene, own in zip(look["scenes"], known["own"], strict=True):
            assert len(scene["own"]) == len(own)
            scores = [score for _, score, *_ in scene["found"]]
            assert scores == sorted(scores, reverse=True) and all(0.1 <= score <= 1 for score in scores)


def test_boxes_are_born_in_it_and_the_loss_falls(known):
    """Not from step 0: there batch norm hasn't seen a picture, and random weights are sure of anything."""
    first, last = known["looks"][2], known["looks"][-1]
    sure = [
        sum(s >= 0.5 for scene in look["scenes"] for _, s, *_ in scene["found"]) for look in (first, last)
    ]
    assert sure[0] == 0 and sure[1] >= 6
    assert (first["map"] or 0) < 0.05 and last["map"] > 0.4
    assert known["losses"][0][2] > 3 * known["losses"][-1][2]


def test_each_look_shows_its_own_detections_and_numbers(growth, known):
    for at in (0, 3, len(known["looks"]) - 1):
        growth.step.value = 50 * at
        look = known["looks"][at]["scenes"][growth.scene.value]
        drawn = [layer for layer in growth.board.scene["layers"] if layer["dash"] == [5, 3]]
        assert [layer["boxes"] for layer in drawn] == [list(map(float, box)) for _, _, *box in look["found"]]
        assert f"step {50 * at:,} of" in growth.board.status
    rows = [row for row in known["losses"] if 100 < row[0] <= 150]
    growth.step.value = 150
    assert f"confidence {sum(row[2] for row in rows) / len(rows):.2f}" in growth.summary()[1]


def test_the_scene_of_chapter_00_comes_first_and_its_figure_shows_each_look_as_recorded(known):
    assert known["scenes"][0] == opening.example().image_id
    figure = opening_at((50, 1200), "a claim")
    looks = {look["step"]: look["scenes"][0]["found"] for look in known["looks"]}
    losses = [confidence for step, _, confidence in known["losses"] if step <= 50]
    for ax, step in zip(figure.axes, (50, 1200), strict=True):
        assert ax.get_title().startswith(f"step {step:,}\nconfidence loss ")
        assert len(ax.patches) == len(opening.NAMES) + len(looks[step])
        sure = [round(score, 2) for _, score, *_ in looks[step] if score >= SURE]
        assert sorted(float(text.get_text().split()[1]) for text in ax.texts) == sorted(sure)
    assert figure.axes[0].get_title().endswith(f"{sum(losses) / len(losses):.1f}")
    assert figure.axes[1].texts and not figure.axes[0].texts


def test_the_curves_of_its_objects_are_their_anchors_scores_and_the_drops_are_the_runs(known):
    [ax] = opening_scores("a claim", first=1500).axes
    curves = {line.get_label(): line for line in ax.get_lines()}
    looks = [look for look in known["looks"] if look["step"] >= 1500]
    for i, name in enumerate(opening.NAMES):
        assert list(curves[name].get_xdata()) == [look["step"] for look in looks]
        assert list(curves[name].get_ydata()) == [look["scenes"][0]["own"][i][0] for look in looks]
    dashed = [line.get_xdata()[0] for line in ax.get_lines() if line.get_label() not in opening.NAMES]
    facts = json.loads((places.recording("growth") / "recording.json").read_text("utf-8"))
    assert dashed == facts["config"]["drops"]


def test_it_plays_to_the_end_and_begins_again_and_keys_and_clicks_go_to_a_step(growth):
    assert growth.step.value == BEGIN
    last = growth.steps[-1]
    growth.play.playing = True
    growth.play.value += (last - BEGIN) // 50
    assert growth.step.value == last and not growth.play.playing
    growth.play.value += 1
    assert growth.step.value == 0
    arrows(growth.board, 2, -1)
    assert growth.step.value == 600
    press(growth.board, 350.0 + 398.0 / 2, 100.0)
    assert abs(growth.step.value - last / 2) <= 25
    growth.board.steps += 1
    assert growth.play.playing and growth.still()
