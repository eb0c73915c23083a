"""Tests of the run planner: its plan equals counting step by step, and what moves its handles."""

import dataclasses
import math

import pytest
import torch

from course.training import plan_drawing, run_plan
from course.training.plan_drawing import BARS, HANDLE, WIDE
from course.training.run_planner import OTHER, THIS, Planner
from ssdlib import __main__ as main
from ssdlib.cli.options import parser
from ssdlib.training import engine, runs
from ssdlib.training.estimate import Pace
from ssdlib.training.runs import RECIPES, RunError

PACE = Pace(making=0.1, update=0.4, validated=0.01, detected=0.02, ahead=False)
PAPER, MINI = RECIPES["paper"], RECIPES["mini"]
VOC = dict(test_images=4952, train_images=16_551)


def planned(config, **changes):
    return run_plan.plan(config, PACE, **(VOC | changes))


@pytest.fixture()
def explorer():
    return Planner(PAPER, pace=PACE, **VOC)


def looks(explorer):
    return [(one["line"], tuple(one["dash"])) for one in explorer.board.scene["layers"] if one["curves"]]


# ---- the arithmetic


def test_the_papers_run_by_hand():
    plan = planned(PAPER)
    assert plan.time.total == pytest.approx(120_000 * 0.5 + 120 * 49.52 + 6 * 99.04)
    assert (plan.images, round(plan.epochs(120_000), 1)) == (3_840_000, 232.0)
    assert (plan.validations, plan.evaluations, plan.saves, plan.lost) == (120, 6, 120, 500)
    assert [stage.steps for stage in plan.stages] == [80_000, 20_000, 20_000]
    assert [stage.rate for stage in plan.stages] == pytest.approx([1e-3, 1e-4, 1e-5])
    assert plan.checkpoint == 2 * plan.best == 2 * 4 * 26_285_486
    lines = run_plan.lines(plan)
    assert lines[0] == "18 h in all: training 17 h (90 %), validation 2 h (9 %), evaluation 10 min (1 %)"
    assert lines[1] == "3,840,000 images seen, 232 epochs of 16,551; 120 validations, 6 evaluations"
    assert lines[2] == "learning rate 0.001: 80,000 steps, 155 epochs, 67 % of the images"
    assert lines[5].startswith(
        "checkpoint 210.3 MB, written 120 times: 25.2 GB; a kill costs 500 steps on average"
    )


@pytest.mark.parametrize("every", [(7, 0, 10), (0, 6, 4), (5, 5, 60), (1, 3, 59), (100, 100, 100)])
@pytest.mark.parametrize("drops", [(20, 40), (0, 30), (45, 90), (60, 60)])
def test_a_plan_equals_counting_step_by_step(every, drops):
    """The loop of `engine.train`, with a clock in place of a network."""
    val, mean, save = every
    config = dataclasses.replace(
        MINI, steps=60, drops=drops, warmup=3, val_every=val, map_every=mean, checkpoint_every=save
    )
    clock, at, saved, counts, lost, rates = 0.0, {0: 0.0}, 0, [0, 0, 0], [], {}
    for done in range(1, 61):
        clock += 0.5
        lost.append(done - 1 - saved + 0.5)  # killed half way through this step
        level = round(0.03 * 0.1 ** sum(done - 1 >= drop for drop in drops), 12)
        rates[level] = rates.get(level, 0) + 1
        if val and done % val == 0:
            clock, counts[0] = clock + 0.01 * 50, counts[0] + 1
        if (mean and done % mean == 0 and done < 60) or done == 60:
            clock, counts[1] = clock + 0.02 * 50, counts[1] + 1
        if done % save == 0 or done == 60:
            saved, counts[2] = done, counts[2] + 1
        at[done] = clock
    plan = planned(config, test_images=50, train_images=40)
    assert [plan.validations, plan.evaluations, plan.saves] == counts
    assert plan.time.total == pytest.approx(clock) and plan.lost == pytest.approx(sum(lost) / 60)
    assert [plan.elapsed(step) for step in range(60)] == pytest.approx([at[step] for step in range(60)])
    assert {round(stage.rate, 12): stage.steps for stage in plan.stages} == rates
    assert sum(stage.steps for stage in plan.stages) == 60 and plan.epochs(60) == 60 * 8 / 40


def test_a_checkpoint_takes_the_bytes_that_a_run_writes(tmp_path):
    model, optimizer, _ = engine.build(MINI, torch.device("cpu"))
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    runs.save_run(tmp_path, runs.Progress(1), MINI, model, optimizer)
    assert planned(MINI).checkpoint == pytest.approx((tmp_path / runs.CHECKPOINT).stat().st_size, rel=0.02)
    runs.save_best(tmp_path, 1, MINI, model)
    assert planned(MINI).best == pytest.approx((tmp_path / runs.BEST).stat().st_size, rel=0.02)


def test_a_scaled_batch_keeps_the_pictures_and_the_unscaled_one_the_steps():
    large = run_plan.for_batch(PAPER, 256)
    assert (large.steps, large.drops, large.learning_rate) == (15_000, (10_000, 12_500), pytest.approx(0.008))
    for batch in (8, 16, 31, 64, 128, 256):
        config = run_plan.for_batch(PAPER, batch)
        words = ["train", "--out", "run", "--scale-to", str(batch)]
        assert config == main._config(parser().parse_args(words))
        assert abs(config.steps * batch - 3_840_000) <= batch / 2
        assert config.learning_rate / batch == pytest.approx(1e-3 / 32)
        plain = run_plan.for_batch(PAPER, batch, scaled=False)
        assert plain == dataclasses.replace(PAPER, batch_size=batch)
    assert run_plan.for_batch(PAPER, 32) == PAPER


def test_a_batch_costs_by_its_images_and_processes_share_all_the_work():
    plan = planned(run_plan.for_batch(PAPER, 64), measured=32, processes=4)
    assert plan.pace.step == pytest.approx(2 * 0.5 / 4)
    assert plan.time.training == pytest.approx(planned(PAPER).time.training / 4)
    assert plan.time.validation == pytest.approx(120 * 49.52 / 4)  # as many as ever
    ahead = dataclasses.replace(PACE, ahead=True)
    assert run_plan.plan(PAPER, ahead, **VOC).pace.step == 0.4


@pytest.mark.parametrize(
    "config, says",
    [
        (PAPER, []),
        (dataclasses.replace(PAPER, drops=(76_000, 100_000)), ["first drop 4,000 steps earlier"]),
        (dataclasses.replace(PAPER, steps=102_000), ["run 18,000 steps shorter (-15%)"]),
        (
            dataclasses.replace(PAPER, steps=90_000, drops=(81_000, 100_000)),
            ["first drop 1,000 steps later", "second drop never reached", "run 30,000 steps shorter (-25%)"],
        ),
        (
            run_plan.for_batch(PAPER, 8, scaled=False),
            [
                "first drop 1.92 million images earlier",
                "second drop 2.40 million images earlier",
                "run 2.88 million images shorter (-75%)",
                "batch 8, not 32",
            ],
        ),
        (
            run_plan.for_batch(PAPER, 64),
            ["batch 64, not 32", "learning rate 0.002, not 0.001", "warm-up of 500 steps, not of 0 steps"],
        ),
        (
            dataclasses.replace(PAPER, val_every=100, map_every=0),
            [
                "validation every 100 steps, not every 1,000 steps",
                "evaluation not on the way, not every 20,000 steps",
            ],
        ),
    ],
)
def test_what_a_plan_changes_is_said_in_words(config, says):
    assert run_plan.differences(PAPER, config) == says


def test_a_drop_that_a_recipe_never_reaches_is_no_news_and_one_reached_is():
    short = dataclasses.replace(PAPER, steps=60_000)
    assert run_plan.differences(short, short) == []
    longer = dataclasses.replace(short, steps=90_000)
    assert run_plan.differences(short, longer)[0] == "first drop reached, which the recipe's isn't"


def test_only_a_raised_rate_asks_for_warmup_and_five_epochs_of_it():
    assert run_plan.warmup_advised(PAPER, PAPER, 16_551) == 0
    assert run_plan.warmup_advised(PAPER, run_plan.for_batch(PAPER, 8), 16_551) == 0
    large = run_plan.for_batch(PAPER, 256)
    none, enough = (dataclasses.replace(large, warmup=steps) for steps in (0, 324))
    assert run_plan.warmup_advised(PAPER, none, 16_551) == math.ceil(5 * 16_551 / 256) == 324
    assert run_plan.warmup_advised(PAPER, enough, 16_551) == 0
    assert run_plan.warmup_advised(PAPER, large, 16_551) == 0  # scaling brings 500


@pytest.mark.parametrize(
    "changes, says",
    [
        (dict(processes=3), "processes is 3; wanted a number that divides the batch of 32"),
        (dict(processes=0), "processes is 0"),
        (dict(test_images=0), "test_images is 0; wanted at least one image"),
        (dict(train_images=-1), "train_images is -1"),
    ],
)
def test_what_cannot_be_planned_is_refused_in_a_sentence(changes, says):
    with pytest.raises(RunError, match=says):
        planned(PAPER, **changes)


@pytest.mark.parametrize("making", [0.0, math.nan, math.inf, -1.0])
def test_a_step_needs_a_time(making):
    with pytest.raises(RunError, match="wanted a measured time above 0"):
        run_plan.plan(PAPER, dataclasses.replace(PACE, making=making, update=0.0), **VOC)


@pytest.mark.parametrize("most", [0.4, 1, 9, 75, 4000, 86_400, 700_000, 3e7, 4e9])
def test_marks_are_round_and_few(most):
    found = run_plan.marks(most)
    assert len(found) <= 8 or most > 8 * run_plan.CLOCK[-1]
    assert all(mark <= most and mark % found[0] == 0 for mark in found)
    assert most < 1 or found


def test_shares_are_said_as_one_says_them():
    assert [run_plan.percent(s) for s in (0, 0.001, 0.006, 0.5, 1)] == [
        "0 %",
        "under 1 %",
        "1 %",
        "50 %",
        "100 %",
    ]
    assert [run_plan.many(n, "process") for n in (1, 2)] == ["1 process", "2 processes"]
    assert run_plan.size(210_283_888) == "210.3 MB" and run_plan.size(25_234_066_560) == "25.2 GB"


def test_the_staircase_is_the_loops_learning_rate():
    for config in (PAPER, MINI, RECIPES["ssd_keras"], dataclasses.replace(MINI, drops=(0, 2500))):
        points = run_plan.staircase(config)
        assert points[0][0] == 0 and points[-1][0] == config.steps
        for (step, rate), (after, _) in zip(points, points[1:], strict=False):
            assert rate == engine.learning_rate(config, step)
            if config.warmup <= step < after:  # level until the next corner
                assert engine.learning_rate(config, after - 1) == rate


@pytest.mark.parametrize("box", [(0, 0, 100, 20), (10, 5, 13, 37), (0, 0, 0, 30), (3, 0, 640, 18)])
def test_hatching_stays_inside_its_box(box):
    left, top, right, bottom = box
    for hatching in "/x":
        for a, b, c, d in plan_drawing._hatched(*map(float, box), hatching):
            assert left <= a <= c <= right + 1e-9
            assert top - 1e-9 <= min(b, d) and max(b, d) <= bottom + 1e-9
    assert plan_drawing._hatched(*map(float, box), "") == []


# ---- the explorer


def test_it_begins_with_the_recipe_as_it_is(explorer):
    assert repr(explorer) == (
        "Planner(paper, drops 80000, 100000, end 120000, batch 32, learning rate 0.001, validation 1000, "
        "evaluation 20000, checkpoint 1000, 1 process, 0.5 s a step: 18 h)"
    )
    assert explorer.config == PAPER
    assert explorer.summary()[0] == "drop 1 at step 80,000, after 12 h; in your hand"
    assert explorer.summary()[-1] == "against the recipe paper: no difference"
    assert explorer.machine.value == THIS and explorer.speed.value == pytest.approx(2, rel=0.02)


def test_every_recipe_can_be_chosen_and_is_what_it_is(explorer):
    for name in ("ssd_keras", "mini", "paper"):
        explorer.batch.value, explorer.scaled.value, explorer.places[0] = 64, False, 0
        explorer.recipe.value = name
        assert explorer.config == RECIPES[name]


def move(explorer, i, thousands):
    """What the browser says when handle i, in the hand, is asked for at this step."""
    places = [list(place) for place in explorer.board.handles]
    places[i] = [WIDE * thousands / 180, HANDLE]
    explorer.board.set_state({"active": i, "handles": places})


def test_a_handle_goes_where_the_board_says_and_snaps_to_thousands(explorer):
    for i, (asked, steps) in enumerate(((81, 81_000), (98.7, 99_000), (121, 121_000))):
        assert explorer.board.handles[i] == pytest.approx([WIDE * explorer.places[i] / 180_000, HANDLE])
        move(explorer, i, asked)
        assert explorer.places[i] == steps
        assert explorer.board.handles[i][0] == pytest.approx(WIDE * steps / 180_000)
    assert explorer.board.status.startswith("end at step 121,000, after 19 h")
    move(explorer, 1, 82)  # nearer to where drop 1 is, which doesn't matter
    assert explorer.places == [81_000, 82_000, 121_000]


def test_an_arrow_key_is_a_thousand_steps_and_nothing_is_said_back(explorer):
    x, y = explorer.board.handles[0]
    asked = [[x - explorer.board.key_step, y], *explorer.board.handles[1:]]
    explorer.board.set_state({"handles": asked})
    assert explorer.places == [79_000, 100_000, 120_000] and explorer.board.handles == asked


def test_another_handle_in_the_hand_moves_nothing(explorer):
    explorer.board.set_state({"active": 2})
    assert explorer.places == [80_000, 100_000, 120_000]
    assert explorer.board.status.startswith("end at step 120,000")


def test_handles_moved_while_the_kernel_was_busy_all_arrive(explorer):
    asked = [[WIDE * thousands / 180, HANDLE] for thousands in (20, 90.2, 140)]
    explorer.board.set_state({"active": 2, "handles": asked})
    assert explorer.places == [20_000, 90_000, 140_000]


def test_drops_keep_their_order_but_the_end_may_come_before_them(explorer):
    move(explorer, 0, 140.2)
    assert explorer.places == [100_000, 100_000, 120_000]
    move(explorer, 2, 60.2)
    assert explorer.places[2] == 60_000 and explorer.config.steps == 60_000
    assert (
        "first drop never reached; second drop never reached; run 60,000 steps shorter"
        in explorer.summary()[-1]
    )
    move(explorer, 2, 0.1)
    assert explorer.config.steps == 1000
    explorer.board.active = 0
    assert "drop 1 at step 100,000, never reached, the run ends at 1,000" in explorer.board.status


def test_a_scaled_batch_leaves_the_picture_and_changes_what_its_axis_says(explorer):
    before = explorer.board.handles
    explorer.batch.value = 256
    assert explorer.config == run_plan.for_batch(PAPER, 256)
    assert explorer.board.handles == before
    assert "3,840,000 images seen, 232 epochs" in explorer.summary()[2]
    assert explorer.summary()[-1].endswith(
        "learning rate 0.008, not 0.001; warm-up of 500 steps, not of 0 steps"
    )
    assert "120 validations, 6 evaluations" in explorer.summary()[2]  # as many as the recipe has
    explorer.batch.value = 64
    assert explorer.summary()[-1].endswith("--warmup 1294")  # as the command line reads it
    explorer.batch.value = 256
    move(explorer, 0, 79)
    assert explorer.config.drops == (9875, 12_500)  # 1,000 steps of the recipe
    explorer.scaled.value = False
    assert explorer.config.steps == 120_000 and "1,856 epochs" in explorer.summary()[2].replace(
        "1856", "1,856"
    )


def test_the_slider_means_another_machine_and_all_gets_faster_alike(explorer):
    time = explorer.plans()[1].time
    explorer.speed.value = 20.0
    assert explorer.machine.value == OTHER and explorer.plans()[1].pace.step == pytest.approx(0.05)
    now = explorer.plans()[1].time
    assert now.total == pytest.approx(time.total / 10) and now.validation == pytest.approx(
        time.validation / 10
    )
    assert "from 20 steps of 32 a second" in explorer.summary()[-2]
    explorer.machine.value = THIS
    assert explorer.plans()[1].time == time and explorer.speed.value == pytest.approx(2, rel=0.02)


def test_a_slider_that_rounds_what_it_was_told_is_no_other_machine(explorer):
    explorer.speed.value = explorer.speed.value * (1 + 1e-9)
    assert explorer.machine.value == THIS
    for making in (0.0003, 0.02, 3.3, 2e4):
        pace = dataclasses.replace(PACE, making=making, update=0.0)
        slider = Planner(PAPER, pace=pace, **VOC).speed
        assert slider.min <= round(math.log10(slider.value), 9) <= slider.max
        assert (
            abs(math.log10(slider.value) / slider.step - round(math.log10(slider.value) / slider.step)) < 1e-6
        )


def test_a_pace_of_another_network_is_not_passed_off_as_measured(explorer):
    explorer.recipe.value = "mini"
    assert explorer.machine.options == (OTHER,) and "measured was another network" in explorer.summary()[-2]
    explorer.speed.value = 10
    assert explorer.plans()[1].pace.step == pytest.approx(0.1)
    explorer.recipe.value = "ssd_keras"
    assert explorer.machine.value == THIS and explorer.plans()[1].pace.step == pytest.approx(0.5)


def test_another_recipe_of_the_same_network_keeps_the_chosen_machine(explorer):
    explorer.speed.value = 10
    explorer.recipe.value = "ssd_keras"
    assert explorer.machine.value == OTHER and explorer.plans()[1].pace.step == pytest.approx(0.1)


def test_how_often_is_said_and_what_it_costs_is_a_longer_bar(explorer):
    explorer.every["val_every"].value = 100
    recipe, plan = explorer.plans()
    assert plan.validations == 1200 and plan.time.validation == pytest.approx(10 * recipe.time.validation)
    explorer.every["val_every"].value = explorer.every["map_every"].value = 0
    assert "0 validations, 1 evaluation" in explorer.summary()[2]
    assert 0 not in [value for _, value in explorer.every["checkpoint_every"].options]


def test_both_bars_share_one_scale(explorer):
    move(explorer, 2, 60)
    boxes = [
        torch.tensor(one["boxes"]).reshape(-1, 4)
        for one in explorer.board.scene["layers"]
        if len(one["boxes"]) == 8
    ][1:]
    ends = torch.stack(boxes)  # (3 parts, 2 bars, 4)
    assert ends[:, :, 1].tolist() == [[BARS[0][0], BARS[1][0]]] * 3
    assert float(ends[2, 0, 2]) == pytest.approx(WIDE)
    recipe, plan = explorer.plans()
    assert float(ends[2, 1, 2]) / WIDE == pytest.approx(plan.time.total / recipe.time.total, abs=1e-3)
    assert float(ends[1, 1, 2] - ends[1, 1, 0]) == pytest.approx(
        WIDE * plan.time.validation / recipe.time.total, abs=0.1
    )
    assert torch.equal(ends[:2, :, 2], ends[1:, :, 0])  # part after part


def test_the_button_brings_the_recipe_back(explorer):
    explorer.batch.value, explorer.every["val_every"].value, explorer.places[0] = 8, 100, 1000
    explorer.back.click()
    assert explorer.config == PAPER


def test_settings_of_ones_own_can_be_planned_too():
    own = dataclasses.replace(PAPER, batch_size=6, steps=700, drops=(333,))
    explorer = Planner(own, pace=PACE, **VOC)
    assert explorer.config == own and explorer.recipe.value == "of your own"
    assert explorer.processes.options == (1, 2) and explorer.batch.value == 6
    (x, y), end = explorer.board.handles
    explorer.board.handles = [[x + explorer.board.key_step, y], end]
    assert explorer.config.drops == (334,)
    explorer.board.active = 1
    assert explorer.board.status == "end at step 700, after 7 min; in your hand"


def test_things_are_told_apart_without_colour(explorer):
    stairs_and_handles = looks(explorer)[1:6]
    assert len(set(stairs_and_handles)) == 5
    assert [name for name, _, _ in plan_drawing.PARTS] == ["training", "validation", "evaluation"]
    assert len({hatching for _, _, hatching in plan_drawing.PARTS}) == 3


def test_a_drop_beyond_the_end_is_named_so_on_the_board(explorer):
    explorer.places[2] = 90_000
    explorer._show()
    texts = [text for one in explorer.board.scene["layers"] for _, _, text in one["texts"]]
    assert "drop 2, never" in texts and "drop 1" in texts


def test_it_has_a_still_picture_with_its_numbers(explorer):
    said = explorer.still().axes[1].texts[0].get_text()
    assert explorer.summary()[1] in said
