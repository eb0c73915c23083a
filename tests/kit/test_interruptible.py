"""Tests of trainings that a learner stops: the sentence says where they stand, and the page goes on or ends in it."""

import dataclasses
import re

import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from course.kit import interruptible as stopping
from course.kit.interruptible import Interrupted, interruptible
from course.kit.places import recording
from small_runs import painted
from ssdlib.training import engine, runs
from ssdlib.training.runlog import read_log

TINY = dataclasses.replace(
    runs.RECIPES["mini"],
    steps=6,
    batch_size=2,
    warmup=0,
    val_every=0,
    log_every=1,
    checkpoint_every=2,
    width=0.125,
)


class Stopping(stopping.tqdm):
    """A progress bar at which the learner presses the button, as soon as a step is done: always the same one."""

    at = 0

    def update(self, n=1):
        super().update(n)
        if self.n == Stopping.at:
            raise KeyboardInterrupt


@pytest.fixture
def stop_at(monkeypatch):
    def at(step):
        monkeypatch.setattr(Stopping, "at", step)
        monkeypatch.setattr(stopping, "tqdm", Stopping)

    return at


@pytest.fixture(scope="module")
def data():
    return painted()


def train(out, data, config=TINY, recorded=None):
    with interruptible(out, recorded) as mine:
        mine.table = engine.train(config, data, data, out, resume=True, bar=mine.bar)
    return mine


@pytest.mark.slow
def test_an_interrupted_run_says_its_step_what_was_saved_and_goes_on_to_the_same_weights(
    tmp_path, data, stop_at, capsys
):
    train(tmp_path / "through", data)
    stop_at(5)
    mine = train(tmp_path / "run", data, recorded=recording("mini"))
    assert capsys.readouterr().out == (
        "Interrupted at step 5, saved at 4: run the cell again, and it goes on from there.\n"
    )
    assert mine.table is None
    stop_at(0)
    assert train(tmp_path / "run", data).table is not None
    whole, stopped = (runs.load_run(tmp_path / name)[0].state_dict() for name in ("through", "run"))
    assert all(a.equal(b) for a, b in zip(whole.values(), stopped.values(), strict=True))


def test_before_the_first_checkpoint_it_says_that_it_begins_anew(tmp_path, data, stop_at, capsys):
    stop_at(1)
    train(tmp_path / "run", data, recorded=recording("mini"))
    assert (
        capsys.readouterr().out
        == "Interrupted at step 1, nothing was saved yet: run the cell again, and it begins anew.\n"
    )


@pytest.mark.slow
def test_what_follows_shows_the_finished_run_or_the_recorded_one_and_says_which(
    tmp_path, data, stop_at, capsys
):
    stop_at(3)
    mine = train(tmp_path / "run", data, recorded=recording("mini"))
    capsys.readouterr()
    done = mine.or_recorded(data)
    said = capsys.readouterr().out
    assert "Interrupted at step 3, saved at 2" in said and "shows the recorded run, recordings/mini" in said
    assert done.folder == recording("mini") and set(done.table.ap) == set(TINY.classes)
    stop_at(0)
    mine = train(tmp_path / "run", data, recorded=recording("mini"))
    done = mine.or_recorded(data)
    assert done.folder == tmp_path / "run" and done.table is mine.table and capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_recorded_run_is_judged_on_the_scenes_it_was_made_for(tmp_path, data):
    """Its own AP table, written when it was recorded, is the oracle."""
    from course.kit.pictures import mini_test_set
    from ssdlib.data.store import Jpegs

    test = mini_test_set()
    mine = stopping.Attempt(tmp_path / "none", recording("mini"))
    done = mine.or_recorded(data, lambda: (test, Jpegs(test)), say=lambda words: None)
    rows = (recording("mini") / "ap.csv").read_text().split()[1:]
    recorded = {name: float(ap) for name, ap in (row.split(",") for row in rows)}
    assert done.test[0] is test and done.table.mean == pytest.approx(recorded["mean"], abs=0.01)


def test_without_a_recorded_run_the_page_ends_in_one_sentence(tmp_path, data, stop_at):
    stop_at(3)
    with pytest.raises(
        Interrupted, match="Interrupted at step 3, saved at 2: .* cells below need its result"
    ):
        train(tmp_path / "run", data)
    with pytest.raises(Interrupted, match="keeps nothing: run it again"), interruptible():
        raise KeyboardInterrupt


def test_a_page_shows_the_sentence_and_no_traceback(capsys):
    shell = InteractiveShell()
    shell.run_cell(
        "from course.kit.interruptible import interruptible\nwith interruptible():\n    raise KeyboardInterrupt"
    )
    shown = capsys.readouterr()
    assert (shown.out + shown.err).strip() == (
        "Interrupted; this cell keeps nothing: run it again. The cells below need its result."
    )


def test_a_run_that_breaks_is_a_sentence_too(tmp_path, data, capsys):
    wild = dataclasses.replace(TINY, batch_norm=False, learning_rate=1e6, steps=30)
    mine = train(tmp_path / "run", data, wild, recorded=recording("mini"))
    said = capsys.readouterr().out
    assert re.match(r"Stopped: step \d+: .*learning rate 1e\+06", said) and "A lower learning rate" in said
    assert mine.table is None and read_log(tmp_path / "run")[-1]["diverged"]


def test_other_errors_come_through(tmp_path):
    with pytest.raises(ZeroDivisionError), interruptible(tmp_path, recording("mini")):
        torch.tensor(1 // 0)
