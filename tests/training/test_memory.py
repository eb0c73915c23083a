"""Tests for `memory`: a step that doesn't fit is noticed, and what fits is found by trying."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from small_runs import TINY, painted
from ssdlib.training import engine, estimate, inference, memory, runs

CPU = torch.device("cpu")


@pytest.mark.parametrize("fits, wanted", [(32, 16), (16, 16), (9, 8), (1, 1), (0, 0)])
def test_the_largest_size_that_fits_is_found(fits, wanted):
    def attempt(images):
        if images > fits:
            raise torch.OutOfMemoryError("CUDA out of memory")

    assert memory.fitting(attempt, [16, 8, 4, 2, 1]) == wanted


def test_another_error_while_trying_is_not_hidden():
    def attempt(images):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        memory.fitting(attempt, [16, 8])


def test_no_memory_for_the_code_of_a_convolution_counts_among_smaller_parts_alone():
    def attempt(images):
        if images > 8:
            raise RuntimeError("could not create a primitive")

    assert memory.fitting(attempt, [16, 8]) == 8
    assert not memory.ran_out(RuntimeError("could not create a primitive"))


def test_only_errors_about_memory_count_as_such():
    assert memory.ran_out(torch.OutOfMemoryError("CUDA out of memory")) and memory.ran_out(MemoryError())
    assert memory.ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    for says in ("CUDA error: out of memory", "CUDNN_STATUS_ALLOC_FAILED", "not enough memory: you tried"):
        assert memory.ran_out(RuntimeError(says))
    assert not memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_sentence_names_what_fits_or_says_that_nothing_does():
    assert "--microbatch 8" in memory.advice(32, 8, CPU) and "(tried)" in memory.advice(32, 8, CPU)
    assert "perhaps 16" in memory.advice(32, None, CPU) and "--microbatch 16" in memory.advice(32, None, CPU)
    assert "nor" not in memory.advice(32, 8, CPU) and "batch norm" in memory.advice(
        32, 8, CPU, batch_norm=True
    )
    for images in (32, 1):
        nothing = memory.advice(images, 0, CPU)
        assert "no smaller part either" in nothing and "microbatch" not in nothing


HUNGRY = """
import dataclasses, resource, sys
sys.path.insert(0, sys.argv[1])
import torch
torch.set_num_threads(1)
from pathlib import Path
from small_runs import TINY, painted
from ssdlib.training import engine, memory

data = painted()
config = dataclasses.replace(TINY, strided_stem=False, batch_norm=False, batch_size=64, val_every=0)
if sys.argv[3] != "0":
    config = dataclasses.replace(config, microbatch=int(sys.argv[3]))
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + int(0.9 * 2**30), -1))  # a machine with so much left
try:
    engine.train(config, data, data, Path(sys.argv[2]), stop_after=1)
except memory.OutOfMemory as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory as Linux does")
def test_on_a_machine_too_small_the_sentence_names_a_microbatch_with_which_the_step_goes_through(tmp_path):
    """A process that may use 0.9 GiB more than it has, and a batch of 64."""
    (tmp_path / "hungry.py").write_text(HUNGRY)
    command = [sys.executable, str(tmp_path / "hungry.py"), str(Path(__file__).parents[1])]

    def train(out, microbatch):
        done = subprocess.run(
            [*command, str(out), str(microbatch)], capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    said = train(tmp_path / "run", 0)
    assert "64 images at a time don't fit" in said
    fits = int(said.split("--microbatch ")[1].split()[0])
    assert 1 <= fits < 64 and train(tmp_path / "again", fits) == ""
    assert (tmp_path / "again" / runs.CHECKPOINT).exists() and not (
        tmp_path / "run" / runs.CHECKPOINT
    ).exists()


def test_a_run_that_ran_out_of_memory_keeps_its_checkpoint(tmp_path, monkeypatch):
    data, real, config = painted(), engine.update, dataclasses.replace(TINY, batch_size=4)
    engine.train(config, data, data, tmp_path, stop_after=2)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()

    def full(network, optimizer, batch, anchors, rate, config, scaler=None):
        if (config.microbatch or len(batch.images)) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(network, optimizer, batch, anchors, rate, config)

    monkeypatch.setattr(engine, "update", full)
    with pytest.raises(memory.OutOfMemory, match="4 images at a time .* 2 do .*--microbatch 2"):
        engine.train(config, data, data, tmp_path, resume=True)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before


@pytest.mark.parametrize(
    "changes, room, says",
    [
        # batch norm compares images: halves of 9 would leave one alone, three threes don't
        (dict(batch_size=9), 4, "9 images at a time .*; 3 do .*--microbatch 3 "),
        (dict(batch_size=8), 1, "8 images at a time .*no smaller part either"),
        (dict(batch_size=8, batch_norm=False), 1, "8 images at a time .*; 1 do .*--microbatch 1 "),
        # mining over the batch looks at parts twice, which would change batch norm's means: a smaller batch then
        (
            dict(batch_size=8, mining="batch"),
            2,
            "8 images at a time .*; 2 do .*--batch-size 2.*--mining image",
        ),
        (dict(batch_size=8, mining="batch", batch_norm=False), 4, "; 4 do .*--microbatch 4 "),
    ],
)
def test_what_is_said_to_fit_was_tried_and_can_be_asked_for(monkeypatch, changes, room, says):
    """Memory for `room` images: whatever the settings forbid, the sentence is about memory, and its way out works."""
    config, real, tried = dataclasses.replace(TINY, **changes), engine.update, []
    data = tuple(2 * list(part) for part in painted())

    def full(network, optimizer, batch, anchors, rate, config, scaler=None):
        images = config.microbatch or len(batch.images)
        tried.append(images)
        if images > room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(network, optimizer, batch, anchors, rate, config)

    monkeypatch.setattr(engine, "update", full)
    model, optimizer, anchors = engine.build(config, CPU)
    with pytest.raises(memory.OutOfMemory, match=says):
        engine.update_or_advise(
            model, optimizer, engine.batch_maker(config, data, CPU)(0), anchors, 1e-3, config
        )
    assert tried == sorted(tried, reverse=True)


def test_processes_among_several_are_advised_a_part_that_their_share_allows(monkeypatch):
    """Nothing is tried where others would wait: of a share of 9 with batch norm 3 at a time, not 4."""

    def full(*_):
        raise MemoryError

    monkeypatch.setattr(engine, "update", full)
    monkeypatch.setattr(engine.distributed, "processes", lambda: 2)
    config = dataclasses.replace(TINY, batch_size=18)
    model, optimizer, anchors = engine.build(config, CPU)
    data = tuple(3 * list(part) for part in painted())
    with pytest.raises(memory.OutOfMemory, match="9 images .*perhaps 3 do.*--microbatch 3 "):
        batch = engine.batch_maker(config, data, CPU)(0)
        engine.update_or_advise(model, optimizer, batch, anchors, 1e-3, config)


# --- What the allocator keeps

KEPT = """
import torch
from course.kit.leave import resident
from ssdlib.training import memory

def used():
    blocks = [torch.ones(5_000_000) for _ in range(10)]  # 200 MB in blocks of 20
    del blocks
    return resident()

before = resident()
plain = used() - before
with memory.keeping():
    inside = used() - before
    with memory.keeping():
        deeper = used() - before
    between = resident() - before
after = resident() - before
print(plain, inside, deeper, between, after)
"""


@pytest.mark.parametrize(
    "own_setting", [{}, pytest.param({"MALLOC_MMAP_THRESHOLD_": "1000000"}, marks=pytest.mark.slow)]
)
def test_freed_blocks_are_kept_while_a_network_works_and_given_back_after_unless_one_has_said_otherwise(
    own_setting,
):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", KEPT], env=clean | own_setting, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    if not sys.platform.startswith("linux") or "libc.so.6" not in open("/proc/self/maps").read():
        pytest.skip("another C library than glibc")
    plain, inside, deeper, between, after = map(int, done.stdout.split())
    assert plain < 50e6, "glibc gives blocks of this size back by itself"
    assert (min(inside, deeper, between) > 150e6) == (not own_setting)
    assert after < 50e6


def test_a_system_without_glibc_trains_as_before(monkeypatch):
    def none(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(memory.ctypes, "CDLL", none)
    with memory.keeping():
        assert memory._keeping == 1
    assert memory._keeping == 0


@pytest.mark.slow
def test_training_evaluation_and_estimate_keep_blocks(tmp_path, monkeypatch):
    depth, data = [], painted()
    model, optimizer, anchors = engine.build(TINY, CPU)
    model.register_forward_pre_hook(lambda *_: depth.append(memory._keeping))
    monkeypatch.setattr(engine, "build", lambda *_: (model, optimizer, anchors))
    engine.train(dataclasses.replace(TINY, steps=1, val_every=0), data, data, tmp_path)
    assert depth == [1, 2], "a step, and an evaluation within the training"
    inference.detect_all(model, data, anchors, TINY)
    assert depth[2:] == [1] and memory._keeping == 0
    estimate.measure(TINY, data, data)
    assert 0 not in depth and memory._keeping == 0
