"""Tests for `estimate`: the forecast is counted by hand, and measuring it changes nothing."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from small_runs import TINY, painted
from ssdlib.training import estimate, faster, runs, threads
from ssdlib.training.estimate import Pace

PACE = Pace(making=0.1, update=0.4, validated=0.01, detected=0.02, ahead=False)
PAPER = runs.RECIPES["paper"]


def test_the_paper_run_is_counted_by_hand():
    """120,000 steps of .5 s; 120 validations and 6 evaluations (20k ... 100k, and the end) of 4,952 photographs."""
    found = estimate.shares(PAPER, PACE, test_images=4952)
    assert found.training == pytest.approx(60_000)
    assert found.validation == pytest.approx(120 * 49.52)
    assert found.evaluation == pytest.approx(6 * 99.04)
    assert found.total == pytest.approx(60_000 + 5942.4 + 594.24)


@pytest.mark.parametrize("done", [0, 1, 999, 1000, 19_999, 20_000, 119_999, 120_000])
def test_what_is_left_equals_a_loop_over_the_steps_that_are_left(done):
    validations = sum(step % PAPER.val_every == 0 for step in range(done + 1, PAPER.steps + 1))
    evaluations = sum(step % PAPER.map_every == 0 for step in range(done + 1, PAPER.steps)) + 1
    found = estimate.shares(PAPER, PACE, 100, done)
    assert found.training == pytest.approx(0.5 * (PAPER.steps - done))
    assert (found.validation, found.evaluation) == pytest.approx((validations, 2.0 * evaluations))


def test_what_is_switched_off_takes_no_time():
    found = estimate.shares(dataclasses.replace(PAPER, val_every=0, map_every=0), PACE, 100)
    assert (found.validation, found.evaluation) == (0, pytest.approx(2.0))  # the table at the end


def test_batches_made_ahead_cost_only_what_the_device_waits_for_them():
    assert dataclasses.replace(PACE, ahead=True).step == 0.4
    slow = dataclasses.replace(PACE, ahead=True, making=0.8)
    assert slow.step == 0.8 and PACE.step == pytest.approx(0.5)
    said = estimate.remarks(PAPER, slow, estimate.shares(PAPER, slow, 1), torch.device("cpu"), painted())
    assert any("waits for them 50%" in line for line in said)


@pytest.mark.parametrize(
    "seconds, says", [(40, "40 s"), (720, "12 min"), (111_600, "31 h"), (777_600, "9 days"), (0, "0 s")]
)
def test_durations_are_said_as_one_says_them(seconds, says):
    assert estimate.in_words(seconds) == says


EXACT = {
    0.42: "0.4 s",
    7: "7 s",
    12: "12 s",
    59.7: "1 min",
    293.4: "4 min 53 s",
    3599.6: "1 h",
    11_220: "3 h 7 min",
}
EXACT |= {86_400: "24 h", 432_000: "5 days", 190_800: "2 days 5 h", float("nan"): "unknown"}


@pytest.mark.parametrize("seconds", EXACT)
def test_measured_durations_are_said_in_two_units_of_which_the_second_is_never_0(seconds):
    assert estimate.in_words(seconds, exact=True) == EXACT[seconds]


def test_measuring_gives_positive_times_and_changes_neither_chance_nor_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = painted()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    pace = estimate.measure(TINY, data, data)
    assert torch.equal(torch.rand(2), expected) and not list(tmp_path.iterdir())
    assert min(pace.making, pace.update, pace.validated, pace.detected) > 0
    said = estimate.report(TINY, pace, data, data)
    assert said.startswith("about ") and "images a second" in said


@threads.restored()
def test_enough_steps_are_measured_however_soon_the_number_of_threads_is_chosen(monkeypatch):
    """Two threads are ten times as fast as four and one is as much faster again, which four steps show."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    torch.set_num_threads(4)
    now, taken, data = [0.0], [], painted()

    def clock():
        now[0] += {4: 100.0, 2: 10.0, 1: 1.0}[torch.get_num_threads()]
        return now[0]

    def stepping(model, config):
        return model, lambda *rest: taken.append(torch.get_num_threads())

    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(estimate.engine, "stepping", stepping)
    pace = estimate.measure(TINY, data, data)
    assert taken == [4, 2, 2, 1] + [1] * estimate.STEPS
    assert pace.threads == 1 and pace.update > 0


@pytest.mark.slow
def test_what_is_measured_is_a_step_that_trains_no_frozen_layer(monkeypatch):
    data, seen = painted(), []
    real = estimate.engine.update_or_advise

    def watched(model, *rest):
        seen.append({name.split(".")[1] for name, p in model.named_parameters() if not p.requires_grad})
        return real(model, *rest)

    monkeypatch.setattr(estimate.engine, "update_or_advise", watched)
    estimate.measure(dataclasses.replace(TINY, freeze="conv2_1"), data, data)
    assert seen and all(frozen == {"conv1_1", "conv2_1"} for frozen in seen)


@pytest.mark.slow
def test_what_is_measured_is_a_step_with_what_faster_names(monkeypatch):
    """A graph is recorded in a step that isn't counted, and replayed in all that are."""
    seen = []

    class Cast(faster.CastOnce):
        def forward(self, images):
            seen.append("cast")
            return super().forward(images)

    def record(work):
        seen.append("recorded")
        return lambda: (seen.append("replayed"), work())

    real = faster.Graphed
    monkeypatch.setattr(faster, "CastOnce", Cast)
    monkeypatch.setattr(faster, "Graphed", lambda plain, update: real(plain, update, record))
    monkeypatch.setattr(
        faster, "prepare", lambda config, device: seen.append(config.faster)
    )  # a CPU has no graph
    data, named = painted(), ("graph", "cast")
    config = dataclasses.replace(TINY, batch_norm=False, precision="bfloat16", faster=named)
    assert estimate.measure(config, data, data).update > 0
    warm, step = ["cast"] * faster.WARM, ["replayed", "cast"]
    assert seen == [named, *warm, "recorded", *step * (1 + estimate.STEPS)]


def test_photographs_read_as_jpegs_and_a_days_long_run_on_a_processor_are_remarked_on():
    from ssdlib.data.store import Jpegs

    said = estimate.remarks(
        PAPER, PACE, estimate.shares(PAPER, PACE, 4952), torch.device("cpu"), ([], Jpegs([]))
    )
    assert any(line.startswith("a store") for line in said)
    slow = dataclasses.replace(PACE, update=20.0)
    said = estimate.remarks(PAPER, slow, estimate.shares(PAPER, slow, 4952), torch.device("cpu"), ([], []))
    assert any(line.startswith("a GPU; 28 days") for line in said)
