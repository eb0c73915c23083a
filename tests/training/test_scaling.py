"""Tests of float16: scaled gradients are the gradients, what overflows is skipped and logged, and a run resumes."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch

from small_runs import TINY, painted, same, weights_of
from ssdlib.training import engine, inference, runs, scaling
from ssdlib.training.runlog import read_log

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
from float16 import SummedInFloat32

CPU = torch.device("cpu")
HALF = dataclasses.replace(TINY, precision="float16", val_every=0, log_every=1)


@pytest.fixture(scope="module")
def data():
    return painted()


@pytest.fixture
def quick_float16():
    """Most CPUs take twenty times as long for float16's convolutions as for float32's."""
    with SummedInFloat32():
        yield


def test_auto_never_means_float16_and_its_name_does():
    assert inference.precision_on(CPU) != "float16"
    assert inference.precision_on(CPU, "float16") == "float16"
    with inference.autocast(CPU, "float16"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float16


def test_the_first_scale_is_that_of_pytorch():
    assert scaling.scaler_for(CPU, HALF).get_scale() == torch.amp.GradScaler("cpu").get_scale() == 65_536


def test_other_precisions_are_not_scaled():
    for precision in ("auto", "float32", "bfloat16"):
        scaler = scaling.scaler_for(CPU, dataclasses.replace(TINY, precision=precision))
        assert not scaler.is_enabled() and scaler.state_dict() == {}


@pytest.mark.slow
def test_an_update_in_float16_moves_the_weights_as_one_in_float32_does(data):
    """After one step from the same weights, by more than nine tenths of the way and in the same direction."""
    moved = {}
    for precision in ("float32", "float16"):
        config = dataclasses.replace(HALF, precision=precision, batch_norm=False, batch_size=4)
        model, optimizer, anchors = engine.build(config, CPU)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        # a scale of 1: that of a run's first step may be too large for these weights, and the step be skipped
        scaler = torch.amp.GradScaler("cpu", init_scale=1.0, enabled=precision == "float16")
        engine.update(
            model, optimizer, engine.batch_maker(config, data, CPU)(0), anchors, 1e-3, config, scaler
        )
        moved[precision] = torch.cat([(v - before[n]).flatten() for n, v in model.state_dict().items()])
    full, half = moved["float32"].double(), moved["float16"].double()
    assert torch.dot(full, half) / (full.norm() * half.norm()) > 0.999
    assert 0.99 < half.norm() / full.norm() < 1.01


def test_a_scale_that_overflows_skips_the_step_halves_itself_and_is_told_by_the_log(
    data, quick_float16, tmp_path, monkeypatch
):
    monkeypatch.setattr(scaling, "FIRST", 2.0**40)  # no gradient fits
    engine.train(dataclasses.replace(HALF, steps=3), data, data, tmp_path)
    rows = [row for row in read_log(tmp_path) if "skipped" in row]
    assert [(row["step"], row["scale"]) for row in rows] == [(1, 2.0**39), (2, 2.0**38), (3, 2.0**37)]
    begun, state = engine.build(HALF, CPU)[0].state_dict(), weights_of(tmp_path)
    learned = [name for name, _ in engine.build(HALF, CPU)[0].named_parameters()]
    assert all(torch.equal(begun[name], state["model"][name]) for name in learned), "skipped, so not moved"
    assert state["scaler"]["scale"] == 2.0**37


def test_a_run_stopped_between_skipped_steps_goes_on_to_the_same_bits(
    data, quick_float16, tmp_path, monkeypatch
):
    """The first scale is too large for some steps, and the stop comes between them."""
    monkeypatch.setattr(scaling, "FIRST", 2.0**14)
    config = dataclasses.replace(HALF, steps=4)
    engine.train(config, data, data, tmp_path / "whole")
    engine.train(config, data, data, tmp_path / "stopped", stop_after=1)
    engine.train(config, data, data, tmp_path / "stopped", resume=True)
    whole, stopped = weights_of(tmp_path / "whole"), weights_of(tmp_path / "stopped")
    for part in ("model", "optimizer", "scaler", "step"):
        assert same(whole[part], stopped[part]), part
    logs = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(tmp_path / name)]
        for name in ("whole", "stopped")
    ]
    assert logs[0] == logs[1]
    skipped = [row["step"] for row in logs[0] if "skipped" in row]
    assert {1, 2} <= set(skipped) < {1, 2, 3, 4}, "skipped before and after the stop, then trained"


def test_a_loss_that_overflows_once_is_passed_over_and_one_that_always_does_ends_the_run(
    data, quick_float16, tmp_path, monkeypatch
):
    monkeypatch.setattr(scaling, "FIRST", 2.0**5)
    real, broken = engine.multibox_loss, [2]

    def overflowing(*given, **named):
        losses = real(*given, **named)
        step = 1 + overflowing.calls
        overflowing.calls += 1
        factor = torch.inf if step in broken else 1.0
        return dataclasses.replace(losses, confidence=losses.confidence * factor)

    overflowing.calls = 0
    monkeypatch.setattr(engine, "multibox_loss", overflowing)
    engine.train(dataclasses.replace(HALF, steps=4), data, data, tmp_path / "once")
    rows = read_log(tmp_path / "once")
    assert [row["step"] for row in rows if "skipped" in row] == [2]
    assert [row["step"] for row in rows if "multibox" in row] == [1, 3, 4]
    overflowing.calls, broken[:] = 0, range(1, 100)
    with pytest.raises(runs.Diverged, match="step 6: gradients overflow float16 .* --precision float32"):
        engine.train(dataclasses.replace(HALF, steps=40), data, data, tmp_path / "always")
    assert read_log(tmp_path / "always")[-1]["diverged"] is True


def test_in_other_precisions_such_a_loss_is_a_divergence_as_before(data, tmp_path, monkeypatch):
    real = engine.multibox_loss

    def overflowing(*given, **named):
        losses = real(*given, **named)
        return dataclasses.replace(losses, confidence=losses.confidence * torch.inf)

    monkeypatch.setattr(engine, "multibox_loss", overflowing)
    with pytest.raises(runs.Diverged, match="step 1: .* confidence loss inf"):
        engine.train(dataclasses.replace(HALF, precision="float32"), data, data, tmp_path)


@pytest.mark.slow
def test_a_run_of_float32_from_before_there_was_a_scaler_goes_on(data, tmp_path):
    config = dataclasses.replace(HALF, precision="float32")
    engine.train(config, data, data, tmp_path, stop_after=2)
    state = weights_of(tmp_path)
    assert state.pop("scaler") == {}
    torch.save(state, tmp_path / runs.CHECKPOINT)
    engine.train(config, data, data, tmp_path, resume=True)
    assert weights_of(tmp_path)["step"] == 6
