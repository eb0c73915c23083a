"""Tests of `threads`: which number is chosen by which times, when it is looked at again, and who fixes it.

No test waits: the clock is a number that each step moves on by what a step with so many threads is to take.
"""

import dataclasses
import threading

import pytest
import torch

from small_runs import TINY, painted, weights_of
from ssdlib.training import engine, estimate, inference, threads
from ssdlib.training.runlog import read_log

CPU = torch.device("cpu")


@pytest.fixture
def machine(monkeypatch):
    """A clock, and steps that take `seconds(threads)`; torch is on a machine of `cores`."""

    class Machine:
        now = 0.0
        cores = 2
        seconds = staticmethod(lambda count: 1.0)
        used: list[int]

        def chooser(self, **free):
            torch.set_num_threads(self.cores)
            self.used = []
            return threads.Chooser(CPU)

        def steps(self, chooser, count):
            for _ in range(count):
                with chooser.step():
                    self.used.append(torch.get_num_threads())
                    self.now += self.seconds(torch.get_num_threads())

    one = Machine()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_last", None)
    monkeypatch.setattr(threads.time, "perf_counter", lambda: one.now)
    with threads.restored():
        yield one


ALONE = {8: 1.0, 4: 1.8, 2: 3.3, 1: 6.0}
# measured on two cores, 60 steps of the mini recipe: alone; beside one busy program; beside one of two threads
# (the number of threads that is faster, and how many rounds of both that takes); the last: beside a dozen others
ON_TWO = [
    ({2: 13.7, 1: 18.4}, 2, 4),
    ({2: 32, 1: 19}, 1, 4),
    ({2: 63, 1: 30}, 1, 3),
    ({2: 39, 1: 29}, 1, 4),
    ({2: 673, 1: 106}, 1, 1),
    ({2: 673, 1: 206}, 1, 2),
]


@pytest.mark.parametrize("took, best, rounds", ON_TWO)
def test_on_two_cores_the_faster_number_is_taken_and_the_sooner_the_clearer_it_is(
    machine, took, best, rounds
):
    machine.seconds = took.__getitem__
    chooser = machine.chooser()
    machine.steps(chooser, 12)
    assert machine.used == [2, 1] * rounds + [best] * (12 - 2 * rounds) and not chooser.trying
    news = chooser.told()
    assert (news is None) if best == 2 else (news["threads"], news["before"]) == (1, 2)
    assert chooser.told() is None


def test_a_gain_that_may_be_chance_changes_nothing(machine):
    machine.seconds = {2: 1.0, 1: 0.95}.__getitem__
    chooser = machine.chooser()
    machine.steps(chooser, 9)
    assert machine.used[-1] == 2


def test_one_slow_step_and_the_first_of_each_number_decide_nothing(machine):
    times = iter([9, 9, 1, 1.5, 1, 1.5, 30, 1.5, 1])  # two and one thread in turn; the first two make buffers
    machine.seconds = lambda count: next(times)
    chooser = machine.chooser()
    machine.steps(chooser, 9)
    assert machine.used[-1] == 2


def test_the_first_step_of_a_number_does_not_hide_that_it_is_obviously_faster(machine):
    times = iter([3.5, 9, 3.5] + 5 * [1.0])  # two threads, one, two, and one from then on
    machine.seconds = lambda count: next(times)
    machine.steps(machine.chooser(), 8)
    assert machine.used == [2, 1, 2, 1] + 4 * [1]


@pytest.mark.parametrize(
    "took, best, tried",
    [
        (ALONE, 8, {8, 4}),
        ({8: 9.0, 4: 1.9, 2: 3.4, 1: 6.1}, 4, {8, 4, 2}),
        ({8: 9.0, 4: 5.0, 2: 3.0, 1: 2.0}, 1, {8, 4, 2, 1}),
    ],
)
def test_numbers_are_halved_as_long_as_it_pays(machine, took, best, tried):
    machine.cores, machine.seconds = 8, took.__getitem__
    chooser = machine.chooser()
    machine.steps(chooser, 60)
    assert machine.used[-1] == best and set(machine.used) == tried
    news = chooser.told()
    assert (news is None) if best == 8 else (news["threads"], news["before"]) == (best, 8)


def test_a_core_that_becomes_busy_is_noticed_at_a_checkpoint_and_so_is_one_that_becomes_free(machine):
    machine.seconds = {2: 1.0, 1: 1.5}.__getitem__
    chooser = machine.chooser()
    machine.steps(chooser, 20)
    chooser.look()
    machine.steps(chooser, 1)
    assert set(machine.used[8:]) == {2}, "as fast as before: nothing is tried"
    machine.seconds = {2: 3.0, 1: 1.6}.__getitem__
    machine.steps(chooser, 20)
    assert machine.used[-1] == 2, "only at a checkpoint"
    chooser.look()
    machine.steps(chooser, 9)
    assert machine.used[-1] == 1 and chooser.told()["threads"] == 1
    machine.seconds = {2: 1.0, 1: 1.5}.__getitem__
    machine.steps(chooser, 5)
    chooser.look()
    machine.steps(chooser, 9)
    assert machine.used[-1] == 2 and chooser.told() == {
        "threads": 2,
        "before": 1,
        "seconds_a_step": {"1": 1.5, "2": 1.0},
    }


def test_steps_that_are_slow_with_any_number_are_tried_once(machine):
    machine.seconds = {2: 1.0, 1: 1.5}.__getitem__
    chooser = machine.chooser()
    machine.steps(chooser, 10)
    machine.seconds = {2: 5.0, 1: 7.0}.__getitem__
    machine.steps(chooser, 20)
    chooser.look()
    machine.steps(chooser, 28)
    chooser.look()
    assert not chooser.trying and machine.used[-1] == 2


def test_nothing_is_chosen_where_the_number_is_fixed(machine, monkeypatch):
    machine.seconds = {2: 9.0, 1: 1.0, 3: 1.0}.__getitem__
    with threads.fixed(3):
        assert torch.get_num_threads() == 3 and not threads.Chooser(CPU).trying
    torch.set_num_threads(2)
    assert not threads.Chooser(torch.device("cuda")).trying
    with threads.restored():
        threads._deciding.clear()
        assert machine.chooser().trying
        assert not threads.Chooser(CPU).trying, "within another one"
    threads._deciding.clear()
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert not machine.chooser().trying
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(threads.distributed, "processes", lambda: 2)
    threads._deciding.clear()
    assert not machine.chooser().trying


def test_the_callers_number_is_set_again_even_after_an_error(machine):
    torch.set_num_threads(2)
    with pytest.raises(KeyboardInterrupt), threads.fixed(1):
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 2 and not threads._deciding


def test_what_comes_after_a_training_computes_with_the_number_it_chose(machine):
    machine.seconds = {2: 3.0, 1: 1.0}.__getitem__
    with threads.restored():
        machine.steps(machine.chooser(), 9)
        with threads.fixed(2), threads.as_chosen():
            assert torch.get_num_threads() == 2, "fixed meanwhile"
    torch.set_num_threads(2)
    with threads.as_chosen():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


@pytest.fixture
def slow_with_two(monkeypatch):
    """A machine on which two threads take three times as long as one, in training and in evaluation."""
    clock = threading.local()
    clock.now = 0.0

    def perf_counter():
        clock.now += 3.0 if torch.get_num_threads() == 2 else 1.0
        return clock.now

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "_last", None)
    monkeypatch.setattr(threads.time, "perf_counter", perf_counter)
    with threads.restored():
        torch.set_num_threads(2)
        yield


def test_a_training_takes_the_faster_number_says_so_in_its_log_and_sets_back_the_callers(
    slow_with_two, tmp_path
):
    data = painted()
    config = dataclasses.replace(TINY, steps=5, val_every=0, checkpoint_every=100)
    engine.train(config, data, data, tmp_path)
    rows = [row for row in read_log(tmp_path) if "threads" in row]
    assert [(row["step"], row["threads"], row["before"]) for row in rows] == [(4, 1, 2)]
    assert torch.get_num_threads() == 2 and weights_of(tmp_path)["step"] == 5


@pytest.mark.slow
def test_a_fixed_number_trains_with_it_and_logs_no_choice(slow_with_two, tmp_path):
    seen, data, real = set(), painted(), engine.update

    def watched(*given):
        seen.add(torch.get_num_threads())
        return real(*given)

    with pytest.MonkeyPatch.context() as patch, threads.fixed(2):
        patch.setattr(engine, "update", watched)
        engine.train(dataclasses.replace(TINY, val_every=0, steps=3, drops=()), data, data, tmp_path)
    assert seen == {2} and not any("threads" in row for row in read_log(tmp_path))


@pytest.mark.slow
def test_an_estimate_measures_with_the_faster_number_and_says_which(slow_with_two):
    data = painted()
    pace = estimate.measure(TINY, data, data)
    assert pace.threads == 1 and torch.get_num_threads() == 2
    said = estimate.report(TINY, pace, data, data)
    assert "; 1 thread\n" in said and "faster: no other programs: with 2 threads" in said


@pytest.mark.slow
def test_an_evaluation_chooses_too(slow_with_two, monkeypatch):
    seen, data = [], tuple(list(part) * 20 for part in painted())
    model, _, anchors = engine.build(TINY, CPU)
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    monkeypatch.setattr(inference, "VALIDATION_BATCH", 8)
    monkeypatch.setattr(inference, "detect", lambda said, anchors, sizes: [None] * len(sizes))
    inference.detect_all(model, data, anchors, TINY)
    assert seen == [2, 1] * 2 + [1] * 16 and torch.get_num_threads() == 2
