"""Tests of what happens when something breaks under the program: kill -9, a full disk, a read-only place, a clock
that jumps, a process of several that dies. `python tests/faults.py --kills 100` does the first of these at length."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

import corpus
import faults
from ssdlib import evaluate, files, plots
from ssdlib.__main__ import main
from ssdlib.data import store
from ssdlib.data.results import write_results
from ssdlib.training import engine, runs

pytestmark = pytest.mark.slow  # about a minute on two cores, too much for `make check`

linux = pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    home = faults.world(tmp_path_factory.mktemp("faults"))
    faults.Downloads(home)
    return home


@pytest.mark.parametrize("name", faults.KINDS)
def test_work_killed_at_random_moments_ends_as_if_nothing_had_happened(name, home):
    tally = faults.torture(faults.KINDS[name], 3, home, random.Random(5))
    assert tally.kills >= 3 and tally.lost == []


# --- A full disk ----------------------------------------------------------------------------------------


def work_with_little_room(kind: str, home: Path, out: Path, most: int) -> None:
    """In a process of its own, in which no file may grow beyond `most` bytes."""
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    try:
        faults.KINDS[kind].work(home, out)
    except OSError:  # what the command prints as one sentence
        os._exit(9)


@linux
@pytest.mark.parametrize("name, most", [("training", 100_000), ("store building", 100_000)])
def test_a_full_disk_stops_the_work_which_ends_well_once_there_is_room(name, most, home, tmp_path):
    kind, processes = faults.KINDS[name], multiprocessing.get_context("forkserver")
    faults.KINDS[name].work(home, tmp_path / "undisturbed")
    worker = processes.Process(target=work_with_little_room, args=(name, home, tmp_path / "full" / "x", most))
    (tmp_path / "full").mkdir()
    worker.start()
    worker.join(120)
    assert worker.exitcode == 9
    assert kind.sound(tmp_path / "full" / "x") < kind.sound(tmp_path / "undisturbed")
    kind.work(home, tmp_path / "full" / "x")
    shutil.move(tmp_path / "full" / "x", tmp_path / "again")
    assert kind.made(tmp_path / "again") == kind.made(tmp_path / "undisturbed")


@pytest.fixture
def small_disk(tmp_path):
    """A folder that is a disk of 8 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)]
    done = subprocess.run(words, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode:
        why = done.stderr.strip() if done else "no mount"
        pytest.skip(f"a small disk can't be made here, which needs root ({why})")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def leave(disk: Path, room: int) -> None:
    """Let others take all of the disk but `room` bytes."""
    (disk / "others").write_bytes(b"")
    (disk / "others").write_bytes(bytes(max(0, shutil.disk_usage(disk).free - room)))


ROOMS = {  # bytes that are free when the work is begun, and begun again: it gets further each time
    "training": (0, 4096, 8192, 1_200_000, 1_300_000, 0, 4096, 1_200_000),
    "checkpointing": (0, 200_000, 500_000, 0),
    "store building": (0, 4096, 100_000, 200_000, 0),
    "download and extraction": (0, 4096, 100_000, 300_000, 700_000, 0, 50_000),
}

NAMES = {  # which of the files that it writes met the full disk
    "training": {"lock.by", "config.json", "log.jsonl", "checkpoint.pt"},
    "checkpointing": {"checkpoint.pt"},
    "store building": {"photographs.u8"},
    "download and extraction": {"test.tar.part"},
}


@linux
@pytest.mark.parametrize("name", faults.KINDS)
def test_a_disk_that_fills_up_names_the_file_and_loses_nothing(name, home, small_disk, tmp_path, monkeypatch):
    """What asks for room beforehand is told that there is enough: others took it in the meantime."""
    kind, out, said, before = faults.KINDS[name], small_disk / "home" / "x", [], 0
    out.parent.mkdir()
    (tmp_path / "undisturbed").mkdir()
    kind.work(home, tmp_path / "undisturbed" / "x")
    monkeypatch.setattr(store, "_require_space", lambda *_: None)
    monkeypatch.setattr(__import__("download_voc"), "require_space", lambda *_: None)
    for room in ROOMS[name]:
        leave(small_disk, room)
        with pytest.raises(OSError, match="No space left on device: '.*'$") as full:
            kind.work(home, out)
        named = Path(str(full.value).split("'")[1])
        assert named.is_relative_to(small_disk) and named != small_disk / "others"
        said.append(named.name)
        now = kind.sound(out)
        assert now >= before
        before = now
    print(said)
    assert before > 0 and set(said) >= NAMES[name]
    (small_disk / "others").unlink()
    kind.work(home, out)
    assert kind.made(out) == kind.made(tmp_path / "undisturbed" / "x")


@linux
def test_what_a_run_writes_at_its_end_is_named_on_a_full_disk(small_disk):
    leave(small_disk, 0)
    rows = evaluate.Results(["1"] * 3, np.full(3, 0.5), np.ones((3, 4)))
    for path, write in {
        small_disk / "comp4_det_test_dog.txt": lambda path: write_results(path.parent, "test", {"dog": rows}),
        small_disk / "ap.csv": evaluate.Table("area", {"dog": 1.0}, {}).write_csv,
        small_disk / "loss.png": lambda path: plots.save(Figure(), path),
    }.items():
        with pytest.raises(OSError, match=f"No space left on device: '{path}'"):
            write(path)


@linux
@pytest.mark.parametrize(
    "command",
    ["train --recipe mini --data {mini} --out {place}", "detect --checkpoint {run} --out {place} {jpg}"],
)
def test_a_place_where_nobody_may_write_is_named_in_one_sentence(command, home, mini, capsys):
    world, place = corpus.World(home), "/sys/kernel/ssd"  # where not even root can make a folder
    assert main(command.format(mini=mini, place=place, run=world.run, jpg=world.jpg()).split()) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert place in last and "Error" in last and "Traceback" not in last


# --- Time -----------------------------------------------------------------------------------------------


def test_files_dated_in_the_past_or_the_future_change_nothing(home, tmp_path):
    shutil.copytree(home, tmp_path / "world", ignore=shutil.ignore_patterns("tmp*"))
    world, data = corpus.World(tmp_path / "world"), (tmp_path / "world").rglob("*")
    for number, path in enumerate(data):
        os.utime(path, (86_400, 86_400) if number % 2 else (4e9, 4e9))
    pixels = world.store / store.PIXELS
    before = (
        pixels.read_bytes(),
        pixels.stat().st_mtime_ns,
    )  # the index notes the new dates, nothing is decoded again
    assert corpus.right_bytes(world) and world.train() == 2 and world.judge() == 1
    assert before == (pixels.read_bytes(), pixels.stat().st_mtime_ns)


def test_a_clock_that_jumps_back_and_forth_changes_no_weight(home, tmp_path, monkeypatch):
    examples = corpus.World(home).examples()
    data = examples, store.Jpegs(examples)
    engine.train(corpus.TINY, data, data, tmp_path / "calm")
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 1e9 * (-1) ** next(jumps))
    engine.train(corpus.TINY, data, data, tmp_path / "jumping")
    calm, jumping = (files.load_checkpoint(tmp_path / name / runs.CHECKPOINT) for name in ("calm", "jumping"))
    assert all((calm["model"][key] == jumping["model"][key]).all() for key in calm["model"])
    assert 0 <= jumping["seconds"] < 600


# --- Several processes, much memory ---------------------------------------------------------------------

DYING = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import corpus, faults
from ssdlib.data import store
from ssdlib.training import distributed, engine

update, done = engine.update_or_advise, []
def dies(*arguments):
    done.append(1)
    if len(done) == 3 and distributed.rank() == 1:
        os.kill(os.getpid(), 9)
    return update(*arguments)
engine.update_or_advise = dies
faults.train(Path(sys.argv[2]), Path(sys.argv[3]))
"""


@linux
@pytest.mark.slow
def test_a_process_of_two_that_dies_ends_both_with_the_reason_and_the_run_goes_on(home, tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [
        *launch,
        str(tmp_path / "dying.py"),
        str(Path(__file__).parents[1]),
        str(home),
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and "Signal 9 (SIGKILL)" in done.stderr
    assert files.load_checkpoint(tmp_path / "run" / runs.CHECKPOINT)["step"] == 2
    faults.train(home, tmp_path / "run")  # the folder isn't locked any more
    assert files.load_checkpoint(tmp_path / "run" / runs.CHECKPOINT)["step"] == faults.STEPS


@linux
def test_memory_stops_growing(home):
    """`python tests/faults.py --memory 2000` asks the same at length."""
    assert faults.growth(home, 60, warm=20) < 50
