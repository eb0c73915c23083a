"""Tests for `lock`: the second training in a folder is refused, and a crash leaves nothing in the way."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from small_runs import TINY, painted, weights_of
from ssdlib.training import engine, runs

fcntl = pytest.importorskip("fcntl", reason="the holder of these tests locks as Unix does")

# Without `lock`, and so without PyTorch: what the system says is what counts.
HOLDER = """
import fcntl, os, pathlib, sys, time
path = pathlib.Path(sys.argv[1])
path.parent.mkdir()
with open(path, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(f"process {os.getpid()}", file=file, flush=True)
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def data():
    return painted()


@pytest.fixture
def holder(tmp_path):
    """Another process that trains in tmp_path/run, as far as anybody can see."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run" / runs.LOCK)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait(30)


def listing(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_second_training_in_a_folder_is_refused_by_one_sentence_and_touches_nothing(
    holder, data, tmp_path
):
    before = listing(tmp_path)
    with pytest.raises(runs.RunError) as error:
        engine.train(TINY, data, data, tmp_path / "run", resume=True)
    wanted = (
        f"{tmp_path / 'run'}: process {holder.pid} trains there; wait for it, stop it, or name another folder"
    )
    assert str(error.value) == wanted
    assert listing(tmp_path) == before


def test_a_holder_that_was_killed_is_in_nobodys_way(holder, data, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait(30)
    assert (tmp_path / "run" / runs.LOCK).exists()  # the file stays, the lock doesn't
    engine.train(TINY, data, data, tmp_path / "run", stop_after=2)
    assert weights_of(tmp_path / "run")["step"] == 2


def test_two_trainings_in_two_folders_do_not_know_of_each_other(holder, data, tmp_path):
    engine.train(TINY, data, data, tmp_path / "other", stop_after=2)
    assert weights_of(tmp_path / "other")["step"] == 2


def test_a_training_that_ends_well_or_badly_leaves_no_lock(data, tmp_path):
    engine.train(TINY, data, data, tmp_path / "run", stop_after=2)
    assert not (tmp_path / "run" / runs.LOCK).exists()
    with pytest.raises(runs.Diverged):
        wild = dataclasses.replace(TINY, learning_rate=1e12)
        engine.train(wild, data, data, tmp_path / "wild")
    assert not (tmp_path / "wild" / runs.LOCK).exists()
    with pytest.raises(runs.RunError, match="holds a run at step 2"):
        engine.train(TINY, data, data, tmp_path / "run")
    with runs.held(tmp_path / "run"):  # its own traceback doesn't hold it either
        pass


def test_a_folder_made_for_the_lock_alone_goes_again(tmp_path):
    with pytest.raises(RuntimeError, match="nothing came of it"), runs.held(tmp_path / "new" / "run"):
        raise RuntimeError("nothing came of it")
    assert not (tmp_path / "new" / "run").exists()


def test_within_one_process_a_folder_is_held_once(tmp_path):
    with runs.held(tmp_path), pytest.raises(runs.RunError, match=f"process {os.getpid()} trains there"):
        with runs.held(tmp_path):
            pass
    with runs.held(tmp_path):
        pass


def test_only_the_first_of_several_processes_takes_it(holder, tmp_path, monkeypatch):
    monkeypatch.setattr(runs.distributed, "is_first", lambda: False)
    assert runs.alone(lambda out: out)(tmp_path / "run") == tmp_path / "run"
