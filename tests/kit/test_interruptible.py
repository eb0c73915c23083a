"""Tests of trainings that a learner stops: the sentence says where they stand, and the page goes on or ends in it."""

import ast
import dataclasses
import re
from pathlib import Path

import jupytext
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell

from course.kit import interruptible as stopping
from course.kit.interruptible import Interrupted, interruptible
from course.kit.places import recording
from small_runs import painted
from ssdlib.training import engine, runs
from ssdlib.training.runlog import read_log

SOURCES = Path(__file__).parents[2] / "chapters/source"
LONG = {"train", "of_network", "heads_learn", "stretch", "try_all", "search"}  # they compute for seconds
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


# ---- the pages


def cells_of(source: Path) -> list[str]:
    """The code of a page, without what is for the shell."""
    cells = [cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code"]
    return [re.sub(r"^\s*[!%].*$", "pass", code, flags=re.M) for code in cells]


def called(node: ast.AST) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""


def unguarded(node: ast.AST) -> list[str]:
    """The long calls below a node that no `with interruptible` is around; a function's body runs elsewhere."""
    if isinstance(node, ast.FunctionDef):
        return []
    if isinstance(node, ast.With) and "interruptible" in {called(item.context_expr) for item in node.items}:
        return []
    name = called(node)
    own = [name] if name in LONG and ast.unparse(node.func) not in ("re.search", "model.train") else []
    return own + [name for child in ast.iter_child_nodes(node) for name in unguarded(child)]


@pytest.mark.parametrize("source", sorted(SOURCES.glob("[0-9]*.py")), ids=lambda path: path.stem[:2])
def test_no_cell_of_a_page_computes_for_many_seconds_without_a_sentence_for_its_interruption(source):
    assert [names for cell in cells_of(source) if (names := unguarded(ast.parse(cell)))] == []


def test_a_page_that_can_do_without_a_result_goes_on_and_says_what_it_does_instead(capsys):
    went_on = False
    with interruptible(instead="the table shows the recorded curvature") as attempt:
        raise KeyboardInterrupt
    went_on = True
    said = "Interrupted: the table shows the recorded curvature. Run the cell again for its own result.\n"
    assert went_on and attempt.table is None and capsys.readouterr().out == said


class Page:
    """Cells of a chapter in a shell, in which a function is the one at which the learner presses the button."""

    def __init__(self, stem: str, capsys: pytest.CaptureFixture, **names: object):
        [source] = SOURCES.glob(f"{stem}_*.py")
        self.cells, self.shell, self.capsys = cells_of(source), InteractiveShell(), capsys
        self.shell.user_ns |= names
        self.run("import ")

    def run(self, begin: str) -> str:
        """Run the first cell in which a line begins like this; -> what it prints, without the lines of objects."""
        code = next(cell for cell in self.cells if re.search(f"^{re.escape(begin)}", cell, re.M))
        self.capsys.readouterr()
        assert self.shell.run_cell(code).success
        return self.capsys.readouterr().out


def press_the_button(*arguments: object, **named: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_chapter_05_goes_on_when_its_heads_are_stopped_while_they_learn(capsys, monkeypatch):
    from course.network import figures

    monkeypatch.setattr(figures, "heads_learn", press_the_button)
    page = Page("05", capsys, recorded=None, chosen=[], unpermuted=None)
    said = page.run("    learned = {")
    left_out = "Interrupted: the two curves are left out, and no cell below needs them."
    assert said.splitlines() == [f"{left_out} Run the cell again for its own result."]


@pytest.mark.slow
def test_chapter_07_shows_the_recorded_curvature_when_its_own_is_stopped(capsys, monkeypatch):
    from course.instability import curvature, figures

    monkeypatch.setattr(curvature, "of_network", press_the_button)
    recorded = figures.bends("paper", 0)[1].curvature
    page = Page("07", capsys, start={"confidence": [0.0]})
    monkeypatch.setattr(page.shell.user_ns["watched_start"], "again", press_the_button)
    said = page.run("    value, _ = ")
    assert said.startswith("Interrupted: the table shows the recorded curvature. ")
    assert f"{round(recorded, -3):,.0f}" in said and page.shell.user_ns["value"] == recorded


@pytest.mark.slow
def test_chapter_13_goes_on_when_its_trials_and_its_searches_are_stopped(capsys, monkeypatch):
    from course.capstone import bisection, trial

    def second_is_endless(functions, name, step_seconds=None):
        return trial.Tried(name, "", 1.0, 1.0) if name == "box format" else press_the_button()

    monkeypatch.setattr(trial, "try_block", second_is_endless)
    monkeypatch.setattr(trial, "plain_step", lambda: 1.0)
    monkeypatch.setattr(bisection, "first_difference", press_the_button)
    page = Page("13", capsys)
    said = page.run("tried = ")
    assert said.startswith("Interrupted: the table says which blocks have not been tried. Run the cell again")
    assert re.search(r"box format +✓ right and fast enough", said)
    assert re.search(r"IoU +○ stopped while it was being tried", said)
    assert len(re.findall("○ not tried", said)) == 14
    assert page.run("found = ").startswith("Interrupted: ")
    table = page.run("table(bisection.sentences")
    assert table.count("not compared") == 16 and "the same as" not in table
    assert "SwapBoard(yours: 16 of 16" in page.run("explorer = ")
    assert page.run("broken = ").startswith("Interrupted: ")
    assert page.run("def wide_encode").startswith("Interrupted: ")
