"""Tests of chapter 07's explorer without a browser, on recordings made up here."""

import json

import pytest
import torch
from hands import arrows, press

from course.instability import replay, starts
from course.instability.replay import BREAKS, FALLS, LEFT, RIGHT, RISES, STAYS, what_next

COLUMNS = ("step", "localisation", "confidence", "positives", "negatives", "rate", "gradient", "update_ratio")
COLUMNS += ("conv4_3", "fc7", "dead", "background")


def write(folder, name, seed, confidence, broke=None):
    head = {"arm": name, "seed": seed, "rate": 0.001, "columns": COLUMNS}
    lines = [head]
    for step, value in enumerate(confidence):
        if step in (0, 60):
            box = [step + 1, 0.5, 10.0, 20, 90, 120]
            lines.append({"step": step, "detections": [[15, 0.4, *box[2:]]] * (1 + (step > 0))})
        lines.append({"row": [step, 2.5, value, 100, 300, 0.001, 5.0, 0.01, 1, 1, 0.1, 0]})
    lines.append({"step": len(confidence), **({"broke": {"tensor": broke}} if broke else {"detections": []})})
    path = folder / name / f"{seed}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.fixture
def folder(tmp_path):
    """Flat then falling; rising; and one that breaks after 40 steps, the third with one start only."""
    write(tmp_path, "paper", 0, [12.0] * 80 + [6.0] * 80)
    write(tmp_path, "paper", 1, [12.0 + step / 10 for step in range(160)])
    write(tmp_path, "beyond", 0, [20.0] * 40, broke="output of body.conv5_1.0")
    return tmp_path


@pytest.fixture
def explorer(folder):
    starts.arm.cache_clear()
    return replay.Replay(("paper", "beyond"), folder)


# ---- what comes next


def test_what_comes_next_is_told_by_hand_counted_cases(folder):
    flat, rising = starts.arm("paper", folder)
    [broken] = starts.arm("beyond", folder)
    assert [what_next(flat, step) for step in (20, 60, 100)] == [STAYS, FALLS, STAYS]
    assert what_next(rising, 10) == RISES
    assert [what_next(broken, step) for step in (0, 10, 39)] == [BREAKS] * 3


def test_near_the_end_and_at_the_beginning_the_recording_does_not_say(folder):
    flat = starts.arm("paper", folder)[0]
    assert what_next(flat, 5) is None and what_next(flat, 111) is None and what_next(flat, 110) == STAYS


# ---- what is shown


def curves(explorer, color):
    return [c for part in explorer.board.scene["layers"] if part["color"] == color for c in part["curves"]]


def test_the_future_is_hidden_until_it_is_asked_for(explorer):
    explorer.step.value = 30
    assert [len(curve) // 2 for curve in curves(explorer, replay.BLUE)] == [30, 30]
    others = [len(c) // 2 for c in curves(explorer, replay.GREY) if len(c) > 4]
    assert others and max(others) == 30
    explorer.future.value = True
    assert [len(curve) // 2 for curve in curves(explorer, replay.BLUE)] == [160, 160]


def test_the_curve_lies_where_the_numbers_say(explorer):
    explorer.step.value = 2
    x0, y0, x1, _ = curves(explorer, replay.BLUE)[0]
    assert abs(x0 - LEFT) < 0.01 and abs(x1 - LEFT - (RIGHT - LEFT) / 160) < 0.01
    level = [c for c in curves(explorer, replay.GREEN) if abs(c[1] - y0) < 1.5]
    assert level, "a confidence of 12.0 lies beside the level of 12.18"


def test_the_boxes_are_those_of_the_last_look(explorer):
    def dashed():
        return sum(len(p["boxes"]) // 4 for p in explorer.board.scene["layers"] if p["color"] == replay.BLUE)

    explorer.step.value = 59
    assert dashed() == 1 and "step 0," in " ".join(explorer.summary())
    explorer.step.value = 60
    assert dashed() == 2 and "step 60," in " ".join(explorer.summary())


def test_a_start_that_broke_says_where_and_shows_it_only_at_its_end(explorer):
    explorer.arm.value = "beyond"
    explorer.step.value = 39
    assert "NaN" not in explorer.board.status
    explorer.step.value = 40
    assert "then NaN, first in the output of body.conv5_1.0" in explorer.board.status
    assert any(text[2] == "NaN" for part in explorer.board.scene["layers"] for text in part["texts"])


def test_step_0_is_before_anything_was_computed(explorer):
    explorer.step.value = 0
    assert explorer.board.status == "before the first step"


# ---- guesses


def test_a_right_guess_counts_and_the_recording_goes_on(explorer):
    explorer.step.value = 60
    explorer.guess.value = FALLS
    assert explorer.verdict.startswith("✓") and (explorer.right, explorer.asked) == (1, 1)
    assert explorer.step.value == 110 and explorer.guess.value is None


def test_guesses_stay_on_the_curve_in_colour_and_in_words(explorer):
    def told(color, mark):
        layers = explorer.board.scene["layers"]
        texts = [text[2] for part in layers for text in part["texts"] if text[2].startswith(mark)]
        return [
            c for part in layers if part["color"] == color and part["line"] == 6 for c in part["curves"]
        ], texts

    explorer.step.value = 20
    explorer.guess.value = RISES
    explorer.step.value = 60
    explorer.guess.value = FALLS
    [wrong], words = told(replay.RED, "✗")
    assert words == ["✗ stays, not rises"]
    across = (RIGHT - LEFT) / 160
    assert abs(wrong[0] - (LEFT + 19 * across)) < 0.01 and abs(wrong[-2] - (LEFT + 69 * across)) < 0.01
    [right], words = told(replay.GREEN, "✓")
    assert words == ["✓ falls"] and right[1] < right[-1]  # down on the board


@pytest.mark.parametrize("change", ["which", "arm"])
def test_another_start_begins_without_the_verdict_of_the_last_one(explorer, change):
    explorer.guess.value = FALLS
    explorer.which.value = 1 if change == "which" else explorer.which.value
    explorer.arm.value = "beyond" if change == "arm" else explorer.arm.value
    assert explorer.verdict == replay.ASK and replay.ASK in explorer.said.value
    assert not [
        text for part in explorer.board.scene["layers"] for text in part["texts"] if text[2][0] in "✓✗"
    ]
    assert (explorer.right, explorer.asked) == (1, 1)  # the score goes on


def test_a_wrong_guess_is_told_what_happened(explorer):
    explorer.arm.value = "beyond"
    explorer.step.value = 20
    explorer.guess.value = STAYS
    assert explorer.verdict == f"✗ you: {STAYS}; the recording: it {BREAKS}" and explorer.step.value == 40
    assert "0 of 1 right" in repr(explorer)


def test_where_the_recording_ends_a_guess_costs_nothing(explorer):
    explorer.step.value = 150
    explorer.guess.value = FALLS
    assert explorer.asked == 0 and "doesn't say" in explorer.verdict and explorer.step.value == 150


# ---- keys and clicks


def test_arrow_keys_go_one_step_or_ten_and_stop_at_the_ends(explorer):
    explorer.step.value = 50
    for dx, dy, wanted in ((1, 0, 51), (-1, 0, 50), (0, -1, 60), (0, 1, 50)):
        arrows(explorer.board, dx, dy)
        assert explorer.step.value == wanted
    explorer.step.value = 0
    arrows(explorer.board, -1)
    assert explorer.step.value == 0


def test_a_click_on_a_panel_goes_to_its_step_and_one_on_the_picture_does_nothing(explorer):
    press(explorer.board, (LEFT + RIGHT) / 2, 100.0)
    assert explorer.step.value == 80
    press(explorer.board, 100.0, 100.0)
    assert explorer.step.value == 80


def test_another_configuration_with_fewer_starts_shows_a_start_that_is_there(explorer):
    explorer.which.value = 1
    explorer.arm.value = "beyond"
    assert explorer.start.seed == 0 and "beyond 0, 40 steps, NaN" in repr(explorer)


def test_the_still_picture_travels_along(explorer):
    data, extra = explorer._repr_mimebundle_()
    assert len(data["image/png"]) > 1000 and len(extra["image/png"]["alt"]) > 50
    assert torch.tensor(explorer.board.view).isfinite().all()


def test_what_the_page_says_in_its_folded_answers_is_what_the_recordings_say():
    edge = [what_next(start, 14) for start in starts.arm("edge")]
    assert (edge.count(BREAKS), edge.count(FALLS)) == (5, 5)
    assert sum(start.broke is not None for start in starts.arm("edge")) == 6
    assert [what_next(starts.arm("paper")[0], step) for step in (60, 100, 130)] == [STAYS, FALLS, FALLS]
    one, nine = (starts.arm("edge")[i] for i in (1, 9))
    assert one.broke and one["gradient"][13] < 5 and not nine.broke and nine["gradient"][13] > 120
    long = [float((s["gradient"][:200] > 10).double().mean()) for s in starts.arm("clipped")]
    assert 0.3 <= min(long) and max(long) < 0.5
    below = [
        int((starts.running_mean(s["confidence"]) < starts.LEFT * starts.NO_OPINION).nonzero()[0, 0])
        for s in starts.arm("warmup")
        if not s.broke
    ]
    assert (len(below), min(below), max(below)) == (8, 55, 94)
