"""Tests of chapter 08's numbers: recordings and the published curve as read, the noisy parabola, wrong answers."""

import csv
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course.drops import check, figures, noisy_quadratic, published_figures, schedules
from course.drops.noisy_quadratic import expected, floor, simulated, step_lengths
from course.kit import checking

# ---- the noisy parabola


def test_the_floor_by_hand():
    assert floor(0.2) == pytest.approx(1 / 18) and floor(0.02) == pytest.approx(1 / 198)
    assert floor(0.4) == pytest.approx(0.125)
    assert floor(0.2, curvature=1.0, noise=3.0) == pytest.approx(9 / 18)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("rate, curvature", [(0.1, 1.0), (0.02, 4.0), (0.5, 0.3)])
def test_the_floor_is_what_runs_by_chance_end_at(rate, curvature, momentum):
    found = simulated([rate] * 600, 1.0, curvature, 0.7, momentum, runs=4000)[:, -200:].mean()
    assert float(found) == pytest.approx(floor(rate, curvature, 0.7, momentum), rel=0.05)


def test_a_rate_beyond_the_edge_has_no_floor():
    for rate, momentum in ((2.0, 0.0), (3.81, 0.9), (0.0, 0.0)):
        with pytest.raises(ValueError, match="no floor"):
            floor(rate, momentum=momentum)
    assert floor(3.79, momentum=0.9) > 0


@given(st.lists(st.sampled_from([0.3, 0.1, 0.03]), max_size=30), st.sampled_from([0.0, 0.9]))
def test_without_noise_the_mean_is_the_way_of_pytorchs_sgd(rates, momentum):
    w = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer, losses = torch.optim.SGD([w], lr=1.0, momentum=momentum), []
    for rate in [*rates, 0.0]:
        loss = 1.5 / 2 * (w**2).sum()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
    found = expected(rates, 2.0, 1.5, 0.0, momentum)
    assert found.tolist() == pytest.approx(losses, rel=1e-9, abs=1e-12)


def test_the_mean_over_runs_by_chance_follows_the_expected_loss_through_a_drop():
    rates = [0.2] * 40 + [0.02] * 60
    exact, found = expected(rates, 3.0, momentum=0.5), simulated(rates, 3.0, momentum=0.5, runs=20_000)
    assert torch.allclose(found.mean(dim=0), exact, rtol=0.06)


def test_in_the_valley_a_late_drop_ends_lower_than_an_early_one_and_never_is_worst():
    ends = [float(noisy_quadratic.valley(d, 2500)[-1]) for d in ((2000,), (1500,), (1000,), (500,), ())]
    assert ends == sorted(ends)
    after = noisy_quadratic.valley((1000,), 2500)
    assert after[1000] - after[1010] > 10 * (after[1990] - after[2000])  # at once, then slowly


def test_caffes_steps_coast_as_the_formula_says_and_agree_while_the_rate_stays():
    caffe, pytorch = step_lengths([1.0] * 300 + [0.1] * 30)
    assert caffe[:300] == pytest.approx(pytorch[:300])
    for n in range(1, 31):
        assert caffe[299 + n] / pytorch[299 + n] == pytest.approx(1 + 9 * 0.9**n, rel=1e-9)


# ---- recordings


def lines(name="at_20", drops=(20,), begin=20, steps=40, complete=True):
    head = {
        "schedule": name,
        "drops": list(drops),
        "seed": 3,
        "begin": begin,
        "config": {"steps": steps, "seed": 3},
        "commit": "0123456789abcdef",
        "date": "2026-01-02",
        "device": "a pocket calculator",
        "precision": "float32",
    }
    rows = [[step, 1.0 + step, 2.0] for step in range(begin, steps)]
    found = [json.dumps(head)]
    for row in rows:
        found.append(json.dumps(row))
        if row[0] + 1 in (begin + 10, steps):
            check = {"step": row[0] + 1, "rate": 0.1, "multibox": 100.0 - row[0], "l2": 0.5}
            found.append(json.dumps(check))
    return "\n".join(found + [json.dumps({"step": steps, "map": 0.5})] * complete)


@pytest.fixture()
def folder(tmp_path):
    (tmp_path / "at_20.jsonl").write_text(lines())
    (tmp_path / "never.jsonl").write_text(lines("never", (), 0))
    (tmp_path / "both.jsonl").write_text(lines("both", (10, 30), 10))
    return tmp_path


def test_a_recording_is_read_as_it_was_written(folder):
    found = schedules.recorded(folder)
    assert list(found) == ["both", "at_20", "never"]
    one = found["at_20"]
    assert (one.drops, one.begin, one.steps, one.map) == ((20,), 20, 40, 0.5)
    assert one.train(20, 22).tolist() == [23.0, 24.0]
    assert one.check(40) == 61.0 and one.check(30, "l2") == 0.5
    assert one.curve() == ([40], [61.0])
    assert one.label == "drop at 20" and found["both"].label == "drops at 10, 30"
    assert one.origin.endswith("calculator, float32, commit 0123456789, random seed 3")


def test_a_run_in_progress_has_no_map_yet(tmp_path):
    (tmp_path / "x.jsonl").write_text(lines(complete=False))
    assert schedules.read_schedule(tmp_path / "x.jsonl").map is None


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "no recording"),
        ('{"a": 1}', "no recording"),
        ("text", "no recording"),
        ("[1, 2]", "no recording"),
    ],
)
def test_another_file_is_refused_in_a_sentence(tmp_path, text, says):
    (tmp_path / "x.jsonl").write_text(text)
    with pytest.raises(ValueError, match=says):
        schedules.read_schedule(tmp_path / "x.jsonl")
    with pytest.raises(ValueError, match="no recorded schedule"):
        schedules.recorded(tmp_path / "nothing")


def test_a_missing_step_and_a_step_outside_are_noticed(tmp_path, folder):
    text = lines().splitlines()
    (tmp_path / "x.jsonl").write_text("\n".join(text[:5] + text[6:]))
    with pytest.raises(ValueError, match="one after the other"):
        schedules.read_schedule(tmp_path / "x.jsonl")
    one = schedules.read_schedule(tmp_path / "at_20.jsonl")
    with pytest.raises(ValueError, match="no steps 19"):
        one.train(19, 25)
    with pytest.raises(ValueError, match="wasn't validated"):
        one.check(39)


def test_gains_are_taken_on_the_same_steps(folder):
    found = schedules.recorded(folder)
    assert schedules.gain(found["never"], found["at_20"], 0, 5).tolist() == [0.0] * 5
    better = schedules.Schedule(**vars(found["at_20"]) | {"losses": found["at_20"].losses - 0.25})
    assert schedules.gain(found["never"], better, 0, 3).tolist() == [0.5] * 3


def test_the_nearest_is_the_one_whose_rate_differs_for_the_shortest_time(folder):
    found = schedules.recorded(folder)
    assert schedules.nearest(found, (0.5, 1.0)) == (found["at_20"], 0.0)
    best, away = schedules.nearest(found, (0.3, 0.7))
    assert best.name == "both" and away == pytest.approx(0.1)
    steps = range(1000)  # the definition, counted: decades between two rates, averaged over the steps
    counted = (
        sum(abs(sum(s >= 300 for _ in "a") + (s >= 700) - (s >= 250) - (s >= 750)) for s in steps) / 1000
    )
    assert away == pytest.approx(counted)


def test_the_recordings_that_are_shipped_leave_the_trunk_with_its_weights_and_batches():
    for folder in schedules.random_seeds():
        found = schedules.recorded(folder)
        trunk = found["never"]
        for one in found.values():
            assert one.map is not None and len(one.losses) == one.steps - one.begin
            assert one.head["commit"] == trunk.head["commit"] and str(one.head["seed"]) == folder.name
            if one.begin:  # the first batch is answered before the first step at the lower rate
                assert float(schedules.gain(trunk, one, 0, 1)) == pytest.approx(0, abs=2e-3)


# ---- the published run


def test_the_published_curve_is_the_file_to_the_last_point():
    curve = schedules.published()
    with open(schedules.FACTS / "published_loss_history.csv") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert len(rows) == len(curve.steps) == 105
    for row, *found in zip(rows, curve.steps, curve.train, curve.val, strict=True):
        assert int(row["step"]) == found[0] and float(row["val_loss"]) == found[2]
        assert math.isnan(found[1]) if row["train_loss"] == "" else float(row["train_loss"]) == found[1]
    assert curve.map == {
        20000: 0.696,
        40000: 0.726,
        60000: 0.738,
        80000: 0.766,
        100000: 0.7709,
        102000: 0.7711,
    }
    assert [curve.rate(step) for step in (55_999, 56_000, 76_000)] == pytest.approx([1e-3, 1e-4, 1e-5])


def test_its_map_is_the_mean_of_its_classes():
    table = schedules._table(schedules.FACTS / "published_map_by_step.csv")
    columns = list(zip(*table[1:-1], strict=True))[1:]
    for column, mean in zip(columns, table[-1][1:], strict=True):
        assert len(column) == 20 and sum(map(float, column)) / 20 == pytest.approx(float(mean), abs=6e-4)


def test_a_jump_is_measured_against_a_line_by_hand():
    one = schedules.jump([9.0, 8, 7, 6, 2], at=4, window=4)
    assert (one.trend, one.found, one.slope, one.size) == pytest.approx((5, 2, -1, -3))
    assert one.scatter == pytest.approx(0, abs=1e-9)
    for at in (3, 5):
        with pytest.raises(ValueError, match="hasn't 4 points before it"):
            schedules.jump([9.0, 8, 7, 6, 2], at=at, window=4)
    uneven = schedules.jump([1.0, -1.0, math.nan, -1.0, 1.0, 5.0], at=5, window=5)
    assert uneven.trend == pytest.approx(0) and uneven.scatter == pytest.approx(2**0.5)
    assert [one.line(i) for i in (-4, -1, 0, 2)] == pytest.approx([9, 6, 5, 3])


def test_what_branches_save_stands_on_their_bars_and_a_window_that_a_run_does_not_reach_has_none():
    """Trunk and branch on paper: each step of the branch is 1 lower at first, then 2 higher."""
    made = dict(checks=(), map=None, head={}, steps=8, drops=())
    trunk = schedules.Schedule("never", begin=0, losses=torch.full((8, 2), 5.0), **made)
    below = torch.tensor([[4.0, 5.0]] * 2 + [[6.0, 6.0]] * 2)
    branch = schedules.Schedule("at_500", begin=4, losses=below, **made)
    windows = ((0, 2), (2, 4), (0, 4), (4, 6))
    figure = figures.gains({"never": trunk, "at_500": branch}, windows, "a title")
    minus = "\N{MINUS SIGN}"
    assert [text.get_text() for text in figure.axes[0].texts] == ["+1.00", f"{minus}2.00", f"{minus}0.50"]


def test_the_jitter_of_a_curve_is_its_distance_from_its_line_and_its_scatter_a_number():
    figure = figures.jitter(
        {"straight": ([3.0, 2, 1, 0, -1], 4), "uneven": ([1.0, -1, -1, 1, 9], 4)}, count=4
    )
    straight, uneven = (line.get_xdata() for line in figure.axes[0].lines[:2])
    assert list(straight) == pytest.approx([0] * 4, abs=1e-9) and list(uneven) == pytest.approx(
        [1, -1, -1, 1]
    )
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.00", "1.41", "scatter"]


def test_the_distance_between_the_published_losses_stands_at_the_steps_that_are_asked_for():
    curve = schedules.published()
    figure = published_figures.gap(curve, marked=(40_000, 75_000))
    at = [curve.steps.index(step) for step in (40_000, 75_000)]
    wanted = [f"{curve.val[i] - curve.train[i]:.2f}" for i in at]
    assert [text.get_text() for text in figure.axes[0].texts] == wanted


def test_schedules_are_drawn_in_epochs_of_voc():
    """The paper's: 80,000 steps of 32 images are 2,560,000, which are 155 times 16,551."""
    figure = published_figures.epochs({"paper": schedules.SchedulePlan((2 / 3, 5 / 6), 120_000, 32)})
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["155", "39", "39", "232 epochs, 3.84 million images"]


def test_smoothing_takes_the_mean_of_neighbours():
    assert figures.smooth(torch.tensor([1.0, 2, 6, 4]), 2).tolist() == [1.5, 4, 5]


# ---- answers as a learner would type them


def says(exercise, answer, words):
    """The words are somewhere in what a check says of a wrong answer, which it says in full at the second try."""
    exercise(answer)
    verdict = exercise(answer)
    assert verdict.state == checking.WRONG and words in verdict.message, verdict.message


def test_the_rate_of_the_check_is_that_of_pytorchs_multistep_schedule():
    weight = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.5)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 7])
    for step in range(12):
        assert check.rate.right(step, 0.5, [3, 7]) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()


def test_the_resumed_loop_of_the_check_is_pytorchs_sgd_and_its_parts_make_the_whole():
    noise = [0.5, -1.0, 0.25, 1.0, -0.75, 0.5, 1.5, -0.5]
    w = torch.tensor([8.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([w], lr=0.2, momentum=0.9)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 6])
    for error in noise:
        w.grad = (w + error).detach()
        optimizer.step()
        schedule.step()
    start = {"w": 8.0, "v": 0.0, "step": 0}
    whole = check.go_on.right(start, noise, 0.2, [3, 6])
    assert whole["w"] == pytest.approx(w.item()) and whole["step"] == 8
    for cut in range(9):
        half = check.go_on.right(start, noise[:cut], 0.2, [3, 6])
        assert check.go_on.right(half, noise[cut:], 0.2, [3, 6]) == pytest.approx(whole)


def test_the_plateau_rule_of_the_check_is_reduce_lr_on_plateau():
    chance = torch.Generator().manual_seed(0)
    for _ in range(300):
        losses = (
            (torch.rand(20, generator=chance) + torch.linspace(2, 0, 20)).mul(16).round().div(16).tolist()
        )
        patience = int(torch.randint(1, 6, (1,), generator=chance))
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        rule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, patience=patience - 1, threshold=0.125, threshold_mode="abs"
        )
        dropped = -1
        for i, loss in enumerate(losses):
            rule.step(loss)
            if optimizer.param_groups[0]["lr"] < 0.5:
                dropped = i
                break
        assert check.when.right(losses, patience, 0.125) == dropped


def test_a_resumed_run_with_common_mistakes_is_told_which():
    def from_zero(saved, noise, base, drops):
        w, v = saved["w"], saved["v"]
        for i, error in enumerate(noise):
            v = 0.9 * v + w + error
            w -= base * 0.1 ** sum(i >= d for d in drops) * v
        return {"w": w, "v": v, "step": saved["step"] + len(noise)}

    def fresh_momentum(saved, noise, base, drops):
        w, v, step = saved["w"], 0.0, saved["step"]
        for error in noise:
            v = 0.9 * v + w + error
            w -= check.rate.right(step, base, drops) * v
            step += 1
        return dict(w=w, v=v, step=step)

    says(check.go_on, from_zero, "the schedule begins anew")
    says(check.go_on, fresh_momentum, "the momentum is lost")
    says(check.go_on, lambda saved, *rest: saved.update(step=9), "changed what it was given")
    assert check.go_on(from_zero).figure is not None


def test_rates_momentum_and_plateaus_with_common_mistakes_are_told_which():
    says(
        check.rate,
        lambda step, base, drops: base / 10 ** len([d for d in drops if step > d]),
        "one step late",
    )
    says(
        check.rate,
        lambda step, base, drops: base if not drops or step < drops[0] else base / 10,
        "a hundredth",
    )
    says(check.coasting, 10, "an old step")
    says(check.ground, 0.25, "the mean of w²")
    says(check.images, [80_000, 100_000, 120_000], "a quarter")

    def pytorch(w, gradients, rates):
        v, places = 0, []
        for g, r in zip(gradients, rates, strict=True):
            v = 0.9 * v + g
            w = w - r * v
            places.append(w)
        return places

    def last_two(losses, patience, least):
        bad = 0
        for i, (a, b) in enumerate(zip(losses, losses[1:], strict=False), 1):
            bad = bad + 1 if b >= a - least else 0
            if bad >= patience:
                return i
        return -1

    says(check.caffe, pytorch, "that is PyTorch's")
    says(check.when, last_two, "with the check before")


def test_maps_stand_by_label_and_random_seed():
    runs = [schedules.recorded(folder) for folder in schedules.random_seeds()]
    found = schedules.maps_by_seed(runs, ("never", "at_1000"))
    assert list(found) == ["no drop", "drop at 1000"]
    assert found["no drop"][0] == runs[0]["never"].map and set(found["no drop"]) == set(range(len(runs)))
