"""Tests for `timed_run`: the parts of a run follow each other, and what is written in half precision comes back."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ssdlib.data import store, voc
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import RECIPES, load_run

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import timed_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny_data():
    devkit = Path(__file__).parents[2] / "data/mini/VOCdevkit"
    if not devkit.exists():
        pytest.skip("the mini VOC isn't there; `make mini` paints it")
    examples = voc.read_sets(devkit, ["2007-test"])[:4]
    return examples, store.Jpegs(examples)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_data):
    """A run laid out by a clock that has one second left, of which each step takes a tenth."""
    out = tmp_path_factory.mktemp("timed") / "run"
    config = replace(
        RECIPES["mini"], batch_size=2, warmup=2, val_every=0, log_every=1, checkpoint_every=10**6
    )
    taken, real = [], timed_run.engine.update_or_advise
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timed_run.engine, "update_or_advise", lambda *given: (taken.append(1), real(*given))[1])
        patch.setattr(timed_run, "time", SimpleNamespace(monotonic=lambda: len(taken) / 10))
        patch.setattr(timed_run, "pace_of", lambda out: 0.1)
        timed_run.whole_run(config, tiny_data, tiny_data, None, out, timed_run.Clock(1.0), first=4, looks=1)
    assert 20 <= len(taken) <= 60
    return out


def test_the_learning_rate_drops_at_two_thirds_and_at_five_sixths_of_all_steps(trained):
    config = load_run(trained)[1]
    rows = [row for row in read_log(trained) if "rate" in row]
    assert [row["step"] for row in rows] == list(range(1, config.steps + 1))
    rates = [round(row["rate"], 6) for row in rows]
    for drop, rate in zip(config.drops, (3e-3, 3e-4), strict=True):
        assert rates[drop] == rate and rates[drop - 1] == round(10 * rate, 6)


def test_weights_in_half_precision_come_back(trained):
    timed_run.halves(trained, 1.0)
    model, config, step = load_run(trained)
    assert len(list(trained.glob("half-*.pt"))) == 2
    assert json.loads((trained / "halves.json").read_text())["step"] == step
    back = timed_run.joined(trained)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(back[name], tensor.float(), atol=1e-2, rtol=1e-2)


def test_a_choice_that_cannot_work_is_left_out_and_the_plain_step_stays(tmp_path, tiny_data, capsys):
    config = replace(RECIPES["mini"], batch_size=2, warmup=2, val_every=0, map_every=0)
    assert timed_run.fastest(config, tiny_data, None, tmp_path / "run", [("graph",)], 3) == ()
    assert "CUDA graphs need a CUDA GPU" in capsys.readouterr().out


def test_a_graph_is_tried_in_another_process_and_its_failure_is_told(tmp_path, tiny_data, capsys):
    config = replace(RECIPES["mini"], batch_size=2, warmup=2, val_every=0, map_every=0)
    sources = Path(__file__).parents[2] / "data/mini/VOCdevkit", ["2007-test"], None
    assert timed_run.fastest(config, tiny_data, None, tmp_path / "run", [("graph",)], 3, sources) == ()
    assert "CUDA graphs need a CUDA GPU" in capsys.readouterr().out


def test_a_choice_that_computes_something_else_is_not_taken(tmp_path, tiny_data, monkeypatch):
    real = timed_run.engine.train

    def wrong(config, *rest, **more):
        other = replace(config, learning_rate=config.learning_rate * 3) if config.faster else config
        real(replace(other, faster=()), *rest, **more)

    monkeypatch.setattr(timed_run.engine, "train", wrong)
    config = replace(RECIPES["mini"], batch_size=2, warmup=0, val_every=0, map_every=0)
    assert timed_run.fastest(config, tiny_data, None, tmp_path / "run", [("fused",)], 12) == ()
