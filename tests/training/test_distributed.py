"""Tests for `distributed`: two processes on one machine do what one process does."""

import contextlib
import dataclasses
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from small_runs import TINY, painted, same, weights_of
from ssdlib import __main__ as main
from ssdlib.data.augment import STEPS
from ssdlib.loss import MININGS
from ssdlib.training import distributed, engine, runs
from ssdlib.training.runlog import read_log

WORKER = """
import dataclasses, json, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from small_runs import painted
from ssdlib.training import distributed, engine, runs

for out, config in json.loads(sys.argv[2]).items():
    table = engine.train(runs.config_from(config), painted(), painted(), Path(out))
    if distributed.is_first():
        (Path(out) / "ap.json").write_text(json.dumps(table.ap))
assert distributed.gather(distributed.rank()) == list(range(distributed.processes()))
distributed.stop()
"""


# Batch norm would see half a batch in each process, so this claim is made without it. In eight photographs
# matches are spread unevenly over the halves, so dividing by a process's own count would show.
PLAIN = dataclasses.replace(TINY, batch_norm=False, learning_rate=1e-6, steps=4, batch_size=4)


@pytest.fixture(scope="module")
def by_both(tmp_path_factory) -> Path:
    """A folder with the runs of one process, mining/run1, and of two, mining/run2. Starting them takes longest."""
    folder, by_two = tmp_path_factory.mktemp("both"), {}
    for mining in MININGS:
        config, alone = dataclasses.replace(PLAIN, mining=mining), folder / mining / "run1"
        table = engine.train(config, painted(), painted(), alone)
        (alone / "ap.json").write_text(json.dumps(table.ap))
        by_two[str(folder / mining / "run2")] = dataclasses.asdict(config)
    (folder / "worker.py").write_text(WORKER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launch, str(folder / "worker.py"), str(Path(__file__).parents[1])]
    done = subprocess.run([*command, json.dumps(by_two)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("mining", MININGS)
def test_two_processes_give_the_weights_log_and_table_of_one(by_both, mining):
    config, tmp_path = dataclasses.replace(PLAIN, mining=mining), by_both / mining
    one, two = (weights_of(tmp_path / f"run{n}") for n in (1, 2))
    start = engine.build(config, torch.device("cpu"))[0].state_dict()
    for name, begin in start.items():  # what was learnt; sums in another order flip a ReLU or two
        learnt, again = one["model"][name] - begin, two["model"][name] - begin
        assert (again - learnt).norm() <= 0.02 * learnt.norm(), name
    assert not torch.equal(one["model"]["body.fc7.0.weight"], start["body.fc7.0.weight"])
    rows = [
        [json.loads(r) for r in (tmp_path / f"run{n}/log.jsonl").read_text().splitlines()] for n in (1, 2)
    ]
    assert [row["step"] for row in rows[0]] == [row["step"] for row in rows[1]]
    for first, second in zip(*rows, strict=True):
        if "multibox" in first:
            assert second["multibox"] == pytest.approx(first["multibox"], rel=1e-4)
            assert second["positives"] == first["positives"]
    assert json.loads((tmp_path / "run1/ap.json").read_text()) == pytest.approx(
        json.loads((tmp_path / "run2/ap.json").read_text()), abs=1e-6, nan_ok=True
    )


RESUMER = """
import json, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from small_runs import painted
from ssdlib.training import distributed, engine, runs

config, sessions, kill = runs.config_from(json.loads(sys.argv[2])), *map(json.loads, sys.argv[3:])
update, data, done = engine.update_or_advise, painted(), []
def dies(*arguments):
    done.append(1)
    if kill and [distributed.rank(), len(done)] == kill:
        os.kill(os.getpid(), 9)
    return update(*arguments)
engine.update_or_advise = dies
for out, stop in sessions:
    engine.train(config, data, data, Path(out), resume=True, stop_after=stop)
distributed.stop()
"""


def train_in(folder: Path, processes: int, config: runs.RunConfig, *sessions: tuple, kill=None) -> bool:
    """Begin or go on with runs: `sessions` are (name of the run, after which step to stop), `kill` is a rank and the
    update in which it dies. -> whether it did."""
    (folder / "resumer.py").write_text(RESUMER)
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    asked = [(str(folder / name), stop) for name, stop in sessions]
    words = [json.dumps(thing) for thing in (dataclasses.asdict(config), asked, kill)]
    command = [sys.executable, *launch, str(folder / "resumer.py"), str(Path(__file__).parents[1]), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 or "Signal 9 (SIGKILL)" in done.stderr, done.stderr[-3000:]
    return done.returncode != 0


def assert_the_same_run(one: Path, other: Path) -> None:
    """Weights, momentum, settings and log but for the seconds, to the last bit."""
    first, second = weights_of(one), weights_of(other)
    for part in ("model", "optimizer", "step", "seen", "config"):
        assert same(first[part], second[part]), part
    logs = [[{**row, "seconds": 0} for row in read_log(out)] for out in (one, other)]
    assert logs[0] == logs[1] and len(logs[0]) > 3


@pytest.mark.slow
def test_two_processes_stopped_twice_go_on_to_the_same_bits_with_augmentation(tmp_path):
    """A session of two ends between two lines of the log and two checkpoints, twice. Batch norm included."""
    config = dataclasses.replace(TINY, batch_size=4, checkpoint_every=4)
    assert config.augment == STEPS and config.batch_norm
    stopped = (("stopped", stop) for stop in (1, 3, None))
    train_in(tmp_path, 2, config, ("whole", None), *stopped)
    assert_the_same_run(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.nightly
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("change", [{}, {"batch_norm": False, "mining": "batch", "learning_rate": 1e-6}])
def test_kill_9_again_and_again_leads_to_the_same_bits_with_augmentation(processes, change, tmp_path):
    """One process of one or two, whichever it is, in whichever step; begun again until it comes to the end."""
    config = dataclasses.replace(TINY, batch_size=4, steps=12, drops=(9,), checkpoint_every=3, **change)
    assert config.augment == STEPS
    train_in(tmp_path, processes, config, ("whole", None))
    chance, deaths = random.Random(processes), 0
    for number in range(2):
        kills = ([chance.randrange(processes), chance.randint(2, 8)] for _ in range(99))
        while train_in(tmp_path, processes, config, (str(number), None), kill=next(kills)):
            deaths += 1
        assert_the_same_run(tmp_path / "whole", tmp_path / str(number))
    print(f"{deaths} deaths")
    assert deaths >= 6


def train_by_two(*arguments: str) -> subprocess.CompletedProcess:
    """`torchrun --nproc-per-node 2 -m ssdlib train ...`"""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, "-m", "ssdlib", "train", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
def test_two_processes_get_through_the_door_and_out_again(mini, tmp_path):
    settings = "--width 0.0625 --strided-stem --batch-size 4 --learning-rate 1e-6 --steps 2 --val-every 1"
    done = train_by_two("--data", str(mini), "--out", str(tmp_path / "run"), *settings.split())
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("mAP (11point)") == 1 and (tmp_path / "run/detections.png").exists()


@pytest.mark.slow
def test_what_goes_wrong_in_every_process_ends_all_of_them(mini, tmp_path):
    done = train_by_two("--data", str(mini), "--out", str(tmp_path / "run"), "--train-sets", "2031-nothing")
    assert done.returncode != 0 and "2031" in done.stderr


@pytest.mark.parametrize(
    "batch, microbatch, processes, device, refused",
    [
        (6, 2, 2, "cpu", True),  # shares of 3, computed as 2 and 1
        (6, 2, 1, "cpu", False),
        (6, 3, 2, "cpu", False),
        (2, 0, 2, "cpu", True),
        (2, 0, 2, "cuda", False),  # GPUs take the means of batch norm over both
        (6, 2, 2, "cuda", False),
    ],
)
def test_batch_norm_never_gets_a_single_image_of_a_process_s_share(
    batch, microbatch, processes, device, refused, monkeypatch
):
    monkeypatch.setattr(distributed, "processes", lambda: processes)
    config = dataclasses.replace(TINY, batch_size=batch, microbatch=microbatch)
    wanted = pytest.raises(runs.RunError, match="share is 1 image") if refused else contextlib.nullcontext()
    with wanted:
        engine.batch_maker(config, painted(), torch.device(device))
    engine.batch_maker(dataclasses.replace(config, batch_norm=False), painted(), torch.device(device))


@pytest.fixture
def group():
    """Processes of which there is one, as torchrun would have joined them."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_gradients_of_a_batch_in_parts_are_exchanged_once(group):
    """Counted by a hook of torch's own; the weights are those of the network that isn't wrapped."""
    data, outcomes, exchanged = painted(), [], []

    def count(_, bucket):
        exchanged.append(bucket.index())
        done = torch.futures.Future()
        done.set_result(bucket.buffer())
        return done

    config = dataclasses.replace(PLAIN, microbatch=1)
    for wrapped in (False, True):
        model, optimizer, anchors = engine.build(config, torch.device("cpu"))
        network = torch.nn.parallel.DistributedDataParallel(model) if wrapped else model
        if wrapped:
            network.register_comm_hook(None, count)
        batch = engine.batch_maker(config, data, torch.device("cpu"))(0)
        engine.update(network, optimizer, batch, anchors, 1e-3, config)
        outcomes.append(model.state_dict())
    assert exchanged and len(set(exchanged)) == len(exchanged)  # each bucket of gradients once
    for name, value in outcomes[0].items():
        torch.testing.assert_close(outcomes[1][name], value, msg=name)


def test_of_several_processes_the_first_draws_the_progress_bars(monkeypatch, capsys):
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        assert list(main.progress([1, 2], desc=f"of process {rank}")) == [1, 2]
    drawn = capsys.readouterr().err
    assert "of process 0" in drawn and "of process 1" not in drawn


def test_float32_means_float32_on_a_gpu_too(monkeypatch):
    """PyTorch lets cuDNN round the factors of a convolution to TF32's ten bits unless it is told not to."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    distributed.start()
    assert not torch.backends.cudnn.allow_tf32


def test_alone_every_question_has_the_plain_answer():
    assert (distributed.rank(), distributed.processes(), distributed.is_first()) == (0, 1, True)
    value = torch.tensor([1.0, 2.0])
    assert torch.equal(distributed.total(value), value)
    assert distributed.gather({"a": 1}) == [{"a": 1}]
    model = torch.nn.Linear(1, 1)
    assert distributed.wrap(model) is model
    assert distributed.wait() is None
