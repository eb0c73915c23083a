"""Tests for `experiments`: each arm differs from the library by its one rule, and a run is kept once."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import experiments

from course.kit import pictures
from ssdlib import loss, matching
from ssdlib.data import voc
from ssdlib.data.store import Jpegs
from ssdlib.records import Predictions, Targets
from ssdlib.training.runs import RECIPES

# Two anchors. Both objects overlap the first one most: object 0 by 1, object 1 by .9; the second anchor touches both.
ANCHORS = torch.tensor([[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 100.0, 300.0]])
BOXES = torch.tensor([[[0.0, 0.0, 100.0, 100.0], [0.0, 0.0, 90.0, 100.0]]])
LABELS = torch.tensor([[7, 8]])


@pytest.mark.parametrize(
    ("matcher", "wanted"),
    [
        (matching.match, [0, 1]),  # the second object gets the anchor that is left
        (experiments.argmax_match, [1, -1]),  # the later object has taken the anchor of the first
        (experiments.threshold_match, [0, -1]),
    ],
)
def test_the_three_matchers_differ_where_two_objects_want_one_anchor(matcher, wanted):
    assert matcher(BOXES, LABELS, ANCHORS).tolist() == [wanted]
    empty = matcher(BOXES[:, :0], LABELS[:, :0], ANCHORS)
    assert empty.tolist() == [[-1, -1]]


@pytest.mark.parametrize(("arm", "wanted"), [("negatives_1", 1), ("negatives_10", 10), ("negatives_all", 7)])
def test_the_arms_of_the_loss_mine_as_many_negatives_as_they_say(arm, wanted):
    labels = torch.tensor([[3] + 11 * [0]]) if wanted == 10 else torch.tensor([[3] + 7 * [0]])
    shape = (*labels.shape, 21)
    predictions = Predictions(torch.zeros(*labels.shape, 4), torch.zeros(shape))
    targets = Targets(torch.zeros(*labels.shape, 4), labels, labels - 1)
    [(_, _, arm_loss)] = experiments.ARMS[arm].patches
    assert int(arm_loss(predictions, targets, "image").negatives) == wanted


def test_focal_loss_with_gamma_0_and_half_the_weight_is_half_of_cross_entropy_over_all_anchors():
    torch.manual_seed(0)
    labels = torch.tensor([[3, 0, 0, 5]])
    predictions = Predictions(torch.randn(1, 4, 4), torch.randn(1, 4, 21))
    targets = Targets(torch.randn(1, 4, 4), labels, labels - 1)
    got = experiments.focal_loss(predictions, targets, gamma=0.0, alpha=0.5)
    wanted = loss.multibox_loss(predictions, targets, negative_ratio=1e6)
    assert float(got.confidence) == pytest.approx(float(wanted.confidence) / 2)
    assert float(got.localisation) == pytest.approx(float(wanted.localisation))


def test_starts_change_the_rate_for_their_first_steps_alone():
    config = RECIPES["mini"]
    for arm, factor, until in (
        ("plateau", 0.1, 300),
        ("nearly_broken", 3.0, 100),
        ("revived", 3.0, 100),
        ("head_anew", 3.0, 100),
    ):
        [(module, name, rate)] = experiments.ARMS[arm].patches
        plain = getattr(module, name)
        assert rate(config, until - 1) == pytest.approx(factor * plain(config, until - 1))
        assert rate(config, until) == plain(config, until)


def test_a_network_for_focal_loss_begins_by_saying_background():
    small = dataclasses.replace(RECIPES["mini"], width=1 / 64)
    [_, (module, name, build)] = experiments.ARMS["focal"].patches
    model, _, _ = build(small, torch.device("cpu"))
    for head in model.conf.values():
        head.weight.data.zero_()
    logits = model.eval()(torch.zeros(1, 3, 300, 300)).logits
    assert float(logits.detach().softmax(-1)[..., 0].mean()) == pytest.approx(0.99, abs=1e-6)


@pytest.mark.slow
def test_dead_channels_begin_anew_once_and_no_other_number_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("record_run.git", lambda *command, code=None: "1" if "log" in command else "")
    monkeypatch.setitem(experiments.ARMS, "revived", experiments.Arm((0,), (), experiments.revive, 2))
    small = dict(steps=3, batch_size=2, val_every=0, warmup=0, drops=(), width=1 / 64, checkpoint_every=1)
    config = dataclasses.replace(RECIPES["mini"], **small)
    devkit = pictures.mini_voc()
    test = voc.read_sets(devkit, ["2007-test"])[:4]
    data = (test, Jpegs(test)), (test, Jpegs(test))
    work = tmp_path / "work/0"
    experiments.engine.train(config, *data, work, stop_after=2)
    images = torch.cat([pictures.scene(example).image for example in test])
    state = torch.load(work / "checkpoint.pt", weights_only=True)
    shift = state["model"]["body.conv4_3.1.bias"]
    shift[[0, 2]] = -1e6
    torch.save(state, work / "checkpoint.pt")
    found = experiments.change_run(work / "checkpoint.pt", experiments.revive, images)
    assert found["conv4_3"] == 2
    revived = torch.load(work / "checkpoint.pt", weights_only=True)
    assert revived["changed"] == found
    network, optimizer, _ = experiments.engine.build(config, torch.device("cpu"))
    for name, before in state["model"].items():
        now = revived["model"][name]
        if name.startswith("body.conv4_3.1.") and name.endswith(("weight", "bias")):
            assert now[[0, 2]].tolist() == ([1.0, 1.0] if name.endswith("weight") else [0.0, 0.0])
            now, before = now[[1, 3]], before[[1, 3]]
        elif name.split(".")[1] in found:
            continue
        assert torch.equal(now, before), name
    network.load_state_dict(revived["model"])
    assert not experiments.dead_channels(network, images)["conv4_3"][[0, 2]].any()
    optimizer.load_state_dict(revived["optimizer"])
    momentum = optimizer.state[network.body["conv4_3"][1].bias]["momentum_buffer"]
    assert momentum[[0, 2]].tolist() == [0, 0]
    monkeypatch.setattr(experiments, "change_run", None)  # not a second time
    experiments.run("revived", 0, work, tmp_path / "kept", devkit, data, dataclasses.replace(config, seed=0))
    facts = json.loads((tmp_path / "kept/recording.json").read_text())
    assert "changed at step 2: " in facts["note"] and "conv4_3 2" in facts["note"]


def test_parts_that_begin_anew_have_their_first_numbers_without_momentum_and_the_others_stay():
    config = dataclasses.replace(RECIPES["mini"], width=1 / 64, seed=3)
    network, optimizer, _ = experiments.engine.build(config, torch.device("cpu"))
    first = {name: value.clone() for name, value in network.state_dict().items()}
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    network.body["conv4_3"][1].running_mean += 1
    later = {name: value.clone() for name, value in network.state_dict().items()}
    parts = ("body.conv4_3.", *experiments.AROUND)
    told = experiments.begin_anew(*parts)(network, optimizer, first, torch.empty(0))
    assert told["conv4_3_norm."] == network.conv4_3_norm.weight.numel() and set(told) == set(parts)
    for name, value in network.state_dict().items():
        assert torch.equal(value, first[name] if name.startswith(parts) else later[name]), name
    for name, parameter in network.named_parameters():
        assert bool(optimizer.state[parameter]["momentum_buffer"].any()) != name.startswith(parts), name


@pytest.mark.slow
def test_a_run_is_kept_with_its_seed_its_sizes_and_its_ap(tmp_path, monkeypatch):
    monkeypatch.setattr("record_run.git", lambda *command, code=None: "1" if "log" in command else "")
    config = dataclasses.replace(
        RECIPES["mini"], steps=2, batch_size=2, val_every=0, warmup=0, drops=(1,), width=1 / 64
    )
    devkit = pictures.mini_voc()
    test = voc.read_sets(devkit, ["2007-test"])
    data = (test[:4], Jpegs(test[:4])), (test, Jpegs(test))
    monkeypatch.setitem(experiments.ARMS, "argmax", dataclasses.replace(experiments.ARMS["argmax"], later=1))
    experiments.run("argmax", 5, tmp_path / "work", tmp_path / "kept", devkit, data, config)
    facts = json.loads((tmp_path / "kept/recording.json").read_text())
    assert facts["config"]["seed"] == 5 and "argmax" in facts["note"]
    assert facts["config"]["steps"] == 3 and facts["config"]["drops"] == [2]
    assert set(json.loads((tmp_path / "kept/sizes.json").read_text())) == set(experiments.ap_by_size.names())
    assert len((tmp_path / "kept/ap.csv").read_text().splitlines()) >= 21
