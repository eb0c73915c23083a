"""Tests for `engine`, `runs` and `runlog`: schedule, update, resume, divergence, microbatches."""

import dataclasses
import json
import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from small_runs import TINY, painted, same, weights_of
from ssdlib import evaluate, plots
from ssdlib.anchors import default_boxes
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets
from ssdlib.model import SSD300
from ssdlib.records import Batch
from ssdlib.training import engine, inference, runs
from ssdlib.training.runlog import RunLog, read_log

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data():
    return painted()


def test_the_rate_rises_through_warm_up_and_falls_to_a_tenth_at_each_drop():
    config = dataclasses.replace(TINY, learning_rate=1e-3, warmup=4, drops=(10, 20))
    rates = [engine.learning_rate(config, step) for step in (0, 1, 3, 4, 9, 10, 19, 20, 99)]
    assert rates == pytest.approx([2.5e-4, 5e-4, 1e-3, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5])


def test_paper_and_caffe_settings_are_the_defaults():
    paper = runs.RECIPES["paper"]
    assert (paper.steps, paper.batch_size, paper.learning_rate) == (120_000, 32, 1e-3)
    assert (paper.momentum, paper.weight_decay, paper.drops) == (0.9, 5e-4, (80_000, 100_000))
    assert (paper.width, paper.batch_norm, paper.strided_stem, paper.mining) == (1, False, False, "image")
    assert (paper.augment_rule, paper.new_layers) == ("caffe", "xavier")


def test_one_update_is_caffes_sgd_written_out_by_hand(data):
    """Two steps of v <- .9 v + g + decay w, w <- w - rate v; biases at twice the rate and without decay."""
    config = dataclasses.replace(TINY, batch_norm=False)
    model, optimizer, anchors = engine.build(config, CPU)
    maker = engine.batch_maker(config, data, CPU)
    by_hand, velocity = dict(engine.build(config, CPU)[0].named_parameters()), {}
    reference = engine.build(config, CPU)[0]
    for step in range(2):
        batch = maker(step)
        targets = make_targets(batch.boxes, batch.labels, anchors)
        reference.load_state_dict(by_hand, strict=False)
        reference.zero_grad()
        multibox_loss(reference(batch.images), targets).multibox.backward()
        for name, parameter in reference.named_parameters():
            factor, decay = (2, 0) if name.endswith("bias") else (1, 5e-4)
            gradient = parameter.grad + decay * parameter.detach()
            velocity[name] = 0.9 * velocity[name] + gradient if step else gradient
            by_hand[name] = parameter.detach() - 1e-4 * factor * velocity[name]
        engine.update(model, optimizer, batch, anchors, 1e-4, config)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), by_hand[name].detach(), rtol=1e-5, atol=1e-6, msg=name)


def test_the_recipe_of_the_published_run_is_that_of_its_program():
    """drops, end and batch of the published run; decay by its penalty's own gradient; Keras has one rate for all."""
    seed = runs.RECIPES["ssd_keras"]
    assert (seed.drops, seed.steps, seed.batch_size, seed.mining) == ((56_000, 76_000), 102_000, 32, "batch")
    assert (seed.augment_rule, seed.new_layers) == ("ssd_keras", "he_normal")
    assert engine.batch_maker(seed, ([], []), CPU).rule == "ssd_keras"
    model, optimizer, _ = engine.build(dataclasses.replace(seed, width=1 / 16), CPU)
    kernel = model.body["fc7"][0].weight
    (gradient,) = torch.autograd.grad(5e-4 * kernel.square().sum(), kernel)
    decays = {p: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert all(group["rate_factor"] == 1 for group in optimizer.param_groups)
    torch.testing.assert_close(decays[kernel] * kernel.detach(), gradient)
    assert decays[model.conv4_3_norm.weight] == decays[model.body["fc7"][0].bias] == 0


@pytest.mark.parametrize("mining", ["image", "batch"])
def test_microbatches_give_the_gradient_of_the_whole_batch(data, mining):
    outcomes = []
    for microbatch in (0, 1, 3):
        config = dataclasses.replace(
            TINY, batch_size=4, batch_norm=False, microbatch=microbatch, mining=mining
        )
        model, optimizer, anchors = engine.build(config, CPU)
        losses = engine.update(
            model, optimizer, engine.batch_maker(config, data, CPU)(0), anchors, 1e-3, config
        )
        outcomes.append((model.state_dict(), losses))
    whole, whole_losses = outcomes[0]
    for state, losses in outcomes[1:]:
        torch.testing.assert_close(losses.multibox, whole_losses.multibox, rtol=1e-5, atol=0)
        assert (losses.positives, losses.negatives) == (whole_losses.positives, whole_losses.negatives)
        for name in whole:
            torch.testing.assert_close(state[name], whole[name], rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.slow
def test_one_batch_can_be_learnt_by_heart(data):
    """The loss of four photographs seen again and again falls below a twentieth of where it began."""
    config = dataclasses.replace(TINY, batch_size=4, augment=(), learning_rate=0.03)
    model, optimizer, anchors = engine.build(config, CPU)
    batch = engine.batch_maker(config, data, CPU)(0)
    first = engine.update(model, optimizer, batch, anchors, 0.015, config).multibox
    for _ in range(35):
        last = engine.update(model, optimizer, batch, anchors, 0.03, config).multibox
    assert last < first / 20


def test_a_killed_run_goes_on_to_the_same_bits(data, tmp_path):
    table = engine.train(TINY, data, data, tmp_path / "whole")
    assert engine.train(TINY, data, data, tmp_path / "killed", stop_after=3) is None
    with open(tmp_path / "killed" / "log.jsonl", "a") as log:
        log.write('{"step": 4, "multibox": 99.0}\n{"step": 5, "mult')  # written after the last checkpoint
    again = engine.train(TINY, data, data, tmp_path / "killed", resume=True)
    whole, killed = weights_of(tmp_path / "whole"), weights_of(tmp_path / "killed")
    assert whole["step"] == 6
    for part in ("model", "optimizer", "step", "config"):
        assert same(whole[part], killed[part]), part
    assert again.ap == table.ap
    logs = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_log(tmp_path / n)]
        for n in ("whole", "killed")
    ]
    assert logs[0] == logs[1]


@pytest.mark.slow
def test_a_run_from_before_there_were_rules_goes_on_as_one_of_caffes(data, tmp_path):
    new = ("augment_rule", "new_layers")
    engine.train(TINY, data, data, tmp_path / "whole")
    engine.train(TINY, data, data, tmp_path / "old", stop_after=4)
    state = weights_of(tmp_path / "old")
    state["config"] = {name: value for name, value in state["config"].items() if name not in new}
    torch.save(state, tmp_path / "old" / runs.CHECKPOINT)
    assert runs.load_run(tmp_path / "old")[1] == TINY
    engine.train(TINY, data, data, tmp_path / "old", resume=True)
    assert same(weights_of(tmp_path / "whole")["model"], weights_of(tmp_path / "old")["model"])


def test_the_weights_of_the_least_validation_loss_are_kept_through_a_stop(data, tmp_path, monkeypatch):
    """Losses as told below, whatever the network says: the best of them is at step 3, of what is left at step 5."""
    told = {1: 5.0, 2: 4.0, 3: 2.0, 4: 3.0, 5: 2.5, 6: float("nan")}
    seen = iter(told.values())
    monkeypatch.setattr(engine, "validation_loss", lambda *_: {"multibox": next(seen)})
    config = dataclasses.replace(TINY, val_every=1, checkpoint_every=1)
    engine.train(config, data, data, tmp_path, stop_after=3)
    kept = (tmp_path / runs.BEST).read_bytes()
    model, _, step = runs.load_run(tmp_path / runs.BEST)
    assert step == 3 and same(model.state_dict(), weights_of(tmp_path)["model"])
    engine.train(config, data, data, tmp_path, resume=True)
    assert (tmp_path / runs.BEST).read_bytes() == kept and weights_of(tmp_path)["step"] == 6


def test_a_run_is_not_resumed_with_other_pictures_or_boxes(data, tmp_path):
    engine.train(TINY, data, data, tmp_path, stop_after=2)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    moved = [dataclasses.replace(data[0][0], boxes=data[0][0].boxes + 1), *data[0][1:]]
    for others in (data[0][:-1], data[0][::-1], moved):
        with pytest.raises(runs.RunError, match="saw other images or boxes"):
            engine.train(TINY, (others, data[1]), data, tmp_path, resume=True)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before
    assert engine.train(
        TINY, data, (data[0][:4], data[1]), tmp_path, resume=True
    )  # other test pictures may be


def test_a_stop_before_the_first_step_or_behind_the_run_is_refused(data, tmp_path):
    for stop in (0, -5):
        with pytest.raises(runs.RunError, match="stopped after step"):
            engine.train(TINY, data, data, tmp_path / "none", stop_after=stop)
    engine.train(TINY, data, data, tmp_path / "run", stop_after=3)
    with pytest.raises(runs.RunError, match="at step 3 already"):
        engine.train(TINY, data, data, tmp_path / "run", resume=True, stop_after=2)


def test_another_random_seed_gives_other_initial_weights_and_the_same_seed_the_same():
    first, again, other = (
        engine.build(dataclasses.replace(TINY, seed=seed), CPU)[0].state_dict() for seed in (5, 5, 6)
    )
    kernels = [name for name, value in first.items() if value.ndim == 4]
    assert len(kernels) > 30 and same(dict(first), dict(again))
    assert not any(torch.equal(first[name], other[name]) for name in kernels)


def test_evaluations_on_the_way_come_every_so_many_steps_and_the_last_step_has_one(
    data, tmp_path, monkeypatch
):
    """In 4 steps one each 2 (the last one is the run's own) and one each 3."""
    real, calls = engine.evaluate_on, []
    monkeypatch.setattr(engine, "evaluate_on", lambda *given: calls.append(given) or real(*given))
    for every, wanted in ((2, [2, 4]), (3, [3, 4])):
        calls.clear()
        out = tmp_path / str(every)
        config = dataclasses.replace(TINY, steps=4, map_every=every, val_every=0)
        table = engine.train(config, data, data, out)
        rows = [row for row in read_log(out) if "map" in row]
        assert [row["step"] for row in rows] == wanted and len(calls) == len(wanted)
        assert rows[-1]["ap"] == {name: None if math.isnan(ap) else ap for name, ap in table.ap.items()}


@pytest.mark.slow
def test_a_run_stopped_after_an_evaluation_on_the_way_goes_on_to_the_same_bits(data, tmp_path):
    config = dataclasses.replace(TINY, map_every=2)
    engine.train(config, data, data, tmp_path / "whole")
    engine.train(config, data, data, tmp_path / "stopped", stop_after=4)
    engine.train(config, data, data, tmp_path / "stopped", resume=True)
    whole, stopped = (read_log(tmp_path / name) for name in ("whole", "stopped"))
    assert [row["step"] for row in whole if "map" in row] == [2, 4, 6]
    assert [{**row, "seconds": 0} for row in stopped] == [{**row, "seconds": 0} for row in whole]
    assert same(weights_of(tmp_path / "whole")["model"], weights_of(tmp_path / "stopped")["model"])


def test_training_leaves_the_callers_chance_alone(data):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    engine.build(TINY, CPU)
    engine.batch_maker(TINY, data, CPU)(0)
    assert torch.equal(torch.rand(3), expected)


def test_the_log_tells_losses_and_rate_and_can_be_read_alone(data, tmp_path):
    engine.train(TINY, data, data, tmp_path)
    rows = read_log(tmp_path)
    losses = [row for row in rows if "multibox" in row]
    assert [row["step"] for row in losses] == [2, 4, 6]
    assert [row["rate"] for row in losses] == pytest.approx([0.01, 0.01, 0.001])
    for row in losses:
        assert row["multibox"] == pytest.approx(row["localisation"] + row["confidence"], abs=2e-6)
        assert row["keras_equivalent"] == pytest.approx(row["multibox"] + row["l2"], abs=2e-6)
        assert row["negatives"] == 3 * row["positives"]
    assert [row["step"] for row in rows if "val" in row] == [3, 6]
    assert [row["step"] for row in rows if "map" in row] == [6]
    assert json.loads((tmp_path / "config.json").read_text())["width"] == 1 / 16


def test_validation_loss_is_that_of_a_plain_loop(data):
    model, _, anchors = engine.build(TINY, CPU)
    found = inference.validation_loss(model, data, anchors, TINY)
    model.eval()
    batch = Batch(*_plain(data))
    losses = multibox_loss(model(batch.images), make_targets(batch.boxes, batch.labels, anchors))
    assert found["multibox"] == pytest.approx(losses.multibox.item(), rel=1e-4)
    assert model.training is False


def test_validation_does_not_ask_for_difficult_objects(data):
    model, _, anchors = engine.build(TINY, CPU)

    def loss(change):
        return inference.validation_loss(model, ([change(e) for e in data[0]], data[1]), anchors, TINY)

    def first_hard(example):
        hard = torch.arange(len(example.labels)) == 0
        return dataclasses.replace(example, difficult=hard)

    def without_first(example):
        rest = {name: getattr(example, name)[1:] for name in ("boxes", "labels", "difficult")}
        return dataclasses.replace(example, **rest)

    assert loss(first_hard) == loss(without_first) != loss(lambda example: example)


def test_evaluating_leaves_no_mode_behind_in_what_is_computed_from_the_predictions(data, monkeypatch):
    """Matching, loss and detection see neither inference mode nor autocast."""
    config = dataclasses.replace(TINY, precision="bfloat16")
    model, _, anchors = engine.build(config, CPU)
    modes = set()

    def watched(real):
        def call(*arguments, **named):
            modes.add((torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu")))
            return real(*arguments, **named)

        return call

    for name in ("make_targets", "multibox_loss", "detect"):
        monkeypatch.setattr(inference, name, watched(getattr(inference, name)))
    inference.validation_loss(model, data, anchors, config)
    inference.detect_all(model, data, anchors, config)
    assert modes == {(False, False)}


@pytest.mark.parametrize("where", ["photograph", "loss"])
@pytest.mark.parametrize("training", [True, False])
def test_an_interrupted_validation_leaves_the_network_in_the_mode_it_was_in(
    data, where, training, monkeypatch
):
    class Interrupted(list):
        def __getitem__(self, _):
            raise KeyboardInterrupt

    model, _, anchors = engine.build(TINY, CPU)
    model.train(training)
    seen = []

    def interrupt(*_):
        seen.append(model.training)
        raise KeyboardInterrupt

    if where == "loss":
        monkeypatch.setattr(inference, "multibox_loss", interrupt)
    examples, photographs = data
    with pytest.raises(KeyboardInterrupt):
        photographs = Interrupted(photographs) if where == "photograph" else photographs
        inference.validation_loss(model, (examples, photographs), anchors, TINY)
    assert model.training is training and seen == [False] * (where == "loss")


def _plain(data):
    from torchvision.transforms.v2.functional import resize

    images, boxes, labels = [], torch.zeros(8, 2, 4), torch.zeros(8, 2, dtype=torch.int64)
    for i, (example, photograph) in enumerate(zip(*data, strict=True)):
        pixels = photograph.permute(2, 0, 1).float()
        images.append(
            resize(pixels, [300, 300], antialias=False) - torch.tensor([123.0, 117, 104])[:, None, None]
        )
        n = len(example.labels)
        boxes[i, :n] = example.boxes * torch.tensor([1.5, 2, 1.5, 2])
        labels[i, :n] = example.labels
    return torch.stack(images), boxes, labels


def test_nan_stops_the_run_and_keeps_the_checkpoint_before_it(data, tmp_path, monkeypatch):
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    real = engine.multibox_loss

    def broken(*args, **kwargs):
        losses = real(*args, **kwargs)
        return dataclasses.replace(losses, confidence=losses.confidence * torch.nan)

    monkeypatch.setattr(engine, "multibox_loss", broken)
    with pytest.raises(runs.Diverged) as stop:
        engine.train(dataclasses.replace(TINY, val_every=0), data, data, tmp_path, resume=True)
    message = str(stop.value)
    assert "step 3:" in message and "confidence loss nan" in message and "learning rate 0.01" in message
    assert "kept in" in message and (tmp_path / runs.CHECKPOINT).read_bytes() == before
    assert read_log(tmp_path)[-1]["diverged"] is True


def test_the_message_of_a_diverged_run_names_the_last_finite_loss(data, tmp_path):
    log = RunLog(tmp_path, runs.Progress(), every=10)
    model, _, _ = engine.build(TINY, CPU)
    one, count = torch.tensor(1.5), torch.tensor(3)
    log.add(1, 0.01, engine.Losses(one, one, count, count), model)
    log.add(2, 0.01, engine.Losses(one * torch.inf, one, count, count), model)
    with pytest.raises(
        runs.Diverged, match=r"step 2: localisation loss inf.* last finite loss was 3 at step 1"
    ):
        log.look()


def test_the_progress_bar_writes_a_loss_of_any_size_in_a_few_letters(tmp_path):
    model, _, _ = engine.build(TINY, CPU)
    for size, written in ((2.5, "loss 5,"), (1e33, "loss 2e+33,")):
        log = RunLog(tmp_path / str(size), runs.Progress(), every=1)
        log.out.mkdir()
        one, count = torch.tensor(size, dtype=torch.float64), torch.tensor(3)
        log.add(1, 0.01, engine.Losses(one, one, count, count), model)
        assert log.summary.startswith(written)


def test_a_rate_far_too_high_diverges_with_a_sentence(data, tmp_path):
    config = dataclasses.replace(
        TINY, batch_norm=False, learning_rate=1e6, steps=20, drops=(), log_every=1, val_every=0
    )
    with pytest.raises(runs.Diverged, match="learning rate 1e"):
        engine.train(config, data, data, tmp_path)


def test_weights_that_are_not_finite_are_not_saved(data, tmp_path):
    model, optimizer, _ = engine.build(TINY, CPU)
    runs.save_run(tmp_path, runs.Progress(1), TINY, model, optimizer)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    next(model.parameters()).data[0] = torch.nan
    with pytest.raises(runs.Diverged, match="a weight isn't finite"):
        runs.save_run(tmp_path, runs.Progress(2), TINY, model, optimizer)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before


def test_a_run_is_not_overwritten_nor_resumed_with_other_settings(data, tmp_path):
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    with pytest.raises(runs.RunError, match="holds a run at step 2"):
        engine.train(TINY, data, data, tmp_path)
    with pytest.raises(runs.RunError, match=r"seed 0, asked for is 1"):
        engine.train(dataclasses.replace(TINY, seed=1), data, data, tmp_path, resume=True)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before


def test_whether_a_run_may_begin_in_a_folder_can_be_asked_before_anything_is_read(data, tmp_path):
    out = tmp_path / "run"
    runs.refuse_folder(out, resume=False)
    engine.train(dataclasses.replace(TINY, steps=2), data, data, out)
    runs.refuse_folder(out, resume=True)
    with pytest.raises(runs.RunError, match="holds a run at step 2; resume it, or name another folder"):
        runs.refuse_folder(out, resume=False)
    (out / runs.CHECKPOINT).unlink()  # stopped before its first checkpoint
    runs.refuse_folder(out, resume=False)


def test_drops_ahead_may_be_changed_on_resuming_and_the_log_says_so(data, tmp_path):
    longer = dataclasses.replace(TINY, steps=4, drops=(2, 3))
    engine.train(longer, data, data, tmp_path, stop_after=3)
    # a drop after 3 updates has not acted yet: the rate of the fourth is still open
    table = engine.train(dataclasses.replace(longer, drops=(2,)), data, data, tmp_path, resume=True)
    rows = read_log(tmp_path)
    [note] = [row for row in rows if "drops" in row]
    assert {**note, "seconds": 0} == {"step": 3, "drops": [2], "replaced": [2, 3], "seconds": 0}
    assert [row["rate"] for row in rows if "multibox" in row] == pytest.approx([0.01, 0.001])
    assert table is not None and weights_of(tmp_path)["config"]["drops"] == (2,)
    assert plots.loss_curve(rows)  # who reads a log passes over its notes


def test_changed_drops_are_noted_once_though_a_session_was_killed_before_its_checkpoint(data, tmp_path):
    engine.train(TINY, data, data, tmp_path, stop_after=2)
    killed = (tmp_path / runs.CHECKPOINT).read_bytes()
    sooner = dataclasses.replace(TINY, drops=(3,))
    engine.train(sooner, data, data, tmp_path, resume=True, stop_after=3)
    (tmp_path / runs.CHECKPOINT).write_bytes(killed)  # as if it had never been written
    engine.train(sooner, data, data, tmp_path, resume=True)
    assert [row["drops"] for row in read_log(tmp_path) if "drops" in row] == [[3]]


@pytest.mark.parametrize(
    "begun, asked", [((2,), ()), ((4,), (2, 4)), ((1, 4), (2, 4)), ((1, 4), (4,)), ((1, 4), (1, 2))]
)
def test_drops_that_would_have_changed_what_is_done_are_refused(data, tmp_path, begun, asked):
    config = dataclasses.replace(TINY, drops=begun)
    engine.train(config, data, data, tmp_path, stop_after=3)
    before = (tmp_path / runs.CHECKPOINT).read_bytes()
    with pytest.raises(runs.RunError, match="only drops from step 3 on can be changed"):
        engine.train(dataclasses.replace(config, drops=asked), data, data, tmp_path, resume=True)
    assert (tmp_path / runs.CHECKPOINT).read_bytes() == before


# ---- weights of VGG16's convolutions alone

BARE = dataclasses.replace(TINY, batch_norm=False, steps=2, learning_rate=1e-9, val_every=0)


def convolutions(config, scale=8.0):
    """conv1_1 ... conv5_3 whose answers are far larger than those of random weights."""
    random = engine.build(config, CPU)[0].state_dict()
    last = "body.conv5_3.0.weight"
    kept = {n: v for n, v in random.items() if n.startswith("body.conv") and n < "body.conv6"}
    return kept | {last: scale * kept[last]}


def deviation(model, name, images):
    """Of what a layer gives before its ReLU, from what the layer before it gives."""
    seen = {}
    for other in ("fc6", "fc7"):
        model.body[other][0].register_forward_hook(
            lambda _, i, o, other=other: seen.update({other: o.clone()})
        )
    with torch.no_grad():
        model.feature_maps(images)
    return float(seen[name].std())


def test_layers_that_vgg16s_convolutions_do_not_bring_begin_with_outputs_of_unit_deviation(data, tmp_path):
    given = convolutions(BARE)
    engine.train(BARE, data, data, tmp_path, weights=given)
    [note] = [row for row in read_log(tmp_path) if "scaled" in row]
    random = engine.build(BARE, CPU)[0].state_dict()
    trained = weights_of(tmp_path)["model"]
    for name in ("fc6", "fc7"):  # the rate is tiny: what training did to them doesn't show
        kernel = f"body.{name}.0.weight"
        torch.testing.assert_close(
            trained[kernel], note["scaled"][name] * random[kernel], rtol=1e-3, atol=1e-5
        )
    model = engine.build(BARE, CPU, trained)[0]
    images = torch.stack([oracle_canvas(photograph) for photograph in data[1]])
    assert deviation(model, "fc6", images) == pytest.approx(1, rel=0.02)
    assert deviation(model, "fc7", images) == pytest.approx(1, rel=0.02)
    unscaled = engine.build(BARE, CPU, given)[0]
    assert not 0.5 < deviation(unscaled, "fc6", images) < 2  # or there would have been nothing to do


def oracle_canvas(photograph):
    """A photograph (H, W, 3) as the network's input, by torch's own resampling."""
    pixels = photograph.permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(pixels, (300, 300), mode="bilinear", align_corners=False)
    return resized[0] - torch.tensor([123.0, 117.0, 104.0]).view(3, 1, 1)


@pytest.mark.slow
def test_a_whole_vgg16_a_whole_network_and_a_resumed_run_are_not_scaled(data, tmp_path):
    random = engine.build(BARE, CPU)[0].state_dict()
    whole = {n: v for n, v in random.items() if n.startswith("body.") and n < "body.conv6"}
    whole |= {n: v for n, v in random.items() if n.startswith("body.fc")}
    for name, given in {
        "vgg16": whole,
        "network": random,
        "heads": {"loc.fc7.bias": random["loc.fc7.bias"]},
    }.items():
        engine.train(BARE, data, data, tmp_path / name, weights=given)
        assert not [row for row in read_log(tmp_path / name) if "scaled" in row]
    engine.train(BARE, data, data, tmp_path / "twice", weights=convolutions(BARE), stop_after=1)
    engine.train(BARE, data, data, tmp_path / "once", weights=convolutions(BARE))
    engine.train(BARE, data, data, tmp_path / "twice", weights=convolutions(BARE), resume=True)
    assert same(weights_of(tmp_path / "twice")["model"], weights_of(tmp_path / "once")["model"])
    assert len([row for row in read_log(tmp_path / "twice") if "scaled" in row]) == 1


# ---- a frozen part

FROZEN = ("conv1_1", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3")  # with the strided stem


def is_frozen(name):
    return any(name.startswith(f"body.{layer}.") for layer in FROZEN)


@pytest.fixture(scope="module")
def learned(data, tmp_path_factory):
    """The state of a short run: with means and deviations in batch norm that differ from 0 and 1."""
    out = tmp_path_factory.mktemp("learned")
    engine.train(dataclasses.replace(TINY, steps=3, val_every=0), data, data, out)
    return weights_of(out)["model"]


def test_what_is_frozen_is_the_same_bits_after_training_and_all_else_has_moved(data, tmp_path, learned):
    """Validation in between puts the network into eval mode and back."""
    config = dataclasses.replace(TINY, freeze="conv3_3")
    engine.train(config, data, data, tmp_path, weights=learned)
    trained = weights_of(tmp_path)["model"]
    assert {name for name in learned if torch.equal(trained[name], learned[name])} == set(
        filter(is_frozen, learned)
    )


def test_the_optimiser_knows_nothing_of_what_is_frozen(learned):
    model, optimizer, _ = engine.build(dataclasses.replace(TINY, freeze="conv3_3"), CPU, learned)
    theirs = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert theirs == {id(p) for name, p in model.named_parameters() if not is_frozen(name)}


def test_a_frozen_part_answers_in_training_as_the_network_it_came_from_does_in_evaluation(data, learned):
    model, _, _ = engine.build(dataclasses.replace(TINY, freeze="conv3_3"), CPU, learned)
    plain, _, _ = engine.build(TINY, CPU, learned)
    answers = []
    for network in (model.train(), plain.eval()):
        network.body["conv3_3"].register_forward_hook(lambda _, __, out: answers.append(out.detach().clone()))
        network(torch.stack([oracle_canvas(photograph) for photograph in data[1][:2]]))
    assert torch.equal(*answers)
    assert model.body["conv4_1"].training and not model.eval().training


def test_the_first_update_of_what_is_not_frozen_is_that_of_the_whole_network(data, learned):
    """The gradient of an upper layer knows nothing of whether those below it are trained."""
    bare = dataclasses.replace(TINY, batch_norm=False)
    after = []
    for config in (bare, dataclasses.replace(bare, freeze="conv3_3")):
        model, optimizer, anchors = engine.build(config, CPU)
        engine.update(model, optimizer, engine.batch_maker(config, data, CPU)(0), anchors, 1e-3, config)
        after.append(model.state_dict())
    random = engine.build(bare, CPU)[0].state_dict()
    for name in random:
        if is_frozen(name):
            assert torch.equal(after[1][name], random[name]) and not torch.equal(after[0][name], random[name])
        else:
            assert torch.equal(after[1][name], after[0][name]), name


def test_freezing_vgg16_up_to_conv3_3_saves_a_third_of_a_steps_convolutions():
    """By hand: seven layers, output side² · outputs · inputs · 9 each, whose gradients of weights and of inputs
    aren't computed (of conv1_1's inputs never). 300² · 64 · 3 · 9 and so on."""
    sides = {300: [(3, 64), (64, 64)], 150: [(64, 128), (128, 128)], 75: [(128, 256), (256, 256), (256, 256)]}
    forward = [2 * 9 * side**2 * a * b for side, layers in sides.items() for a, b in layers]
    found = []
    for layer in ("", "conv3_3"):
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            model = SSD300()
            if layer:
                model.freeze(layer)
            said = model(torch.zeros(1, 3, 300, 300))
            (said.offsets.sum() + said.logits.sum()).backward()
        found.append(counter.get_total_flops())
    assert found[0] - found[1] == 2 * sum(forward) - forward[0] + 2 * 9 * 38**2 * 256 * 512
    assert 0.34 < 1 - found[1] / found[0] < 0.40


@pytest.mark.parametrize("lacking", [None, "body.conv1_1.0.weight", "body.conv3_3.0.weight"])
def test_freezing_random_weights_is_refused_before_a_folder_is_made(data, tmp_path, learned, lacking):
    config, out = dataclasses.replace(TINY, freeze="conv3_3"), tmp_path / "run"
    given = {name: value for name, value in learned.items() if name != lacking} if lacking else None
    found = "have no " + lacking.split(".")[1] if lacking else "it starts from random weights"
    with pytest.raises(runs.RunError, match=f"freeze is 'conv3_3', but .*{found}.*--init"):
        engine.train(config, data, data, out, weights=given)
    assert not out.exists()
    with pytest.raises(runs.RunError, match="freeze is 'conv3_3', but"):
        engine.refuse_random_frozen(config, given)


@pytest.mark.slow
def test_a_killed_run_with_a_frozen_part_goes_on_to_the_same_bits_and_with_no_other(data, tmp_path, learned):
    config = dataclasses.replace(TINY, freeze="conv3_3")
    engine.train(config, data, data, tmp_path / "whole", weights=learned)
    engine.train(config, data, data, tmp_path / "parts", weights=learned, stop_after=3)
    with pytest.raises(runs.RunError, match="its run has freeze conv3_3, asked for is conv4_1"):
        other = dataclasses.replace(TINY, freeze="conv4_1")
        engine.train(other, data, data, tmp_path / "parts", resume=True)
    engine.train(config, data, data, tmp_path / "parts", resume=True)  # the weights are in its checkpoint
    whole, parts = (weights_of(tmp_path / name) for name in ("whole", "parts"))
    assert same(whole["model"], parts["model"]) and same(whole["optimizer"], parts["optimizer"])


def test_a_folder_of_something_else_is_refused_untouched(data, tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(runs.RunError, match="aren't a run"):
        engine.train(TINY, data, data, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_folder_with_a_part_of_anothers_file_is_refused_untouched(data, tmp_path):
    (tmp_path / "backup.zip.part-001").write_text("precious")
    with pytest.raises(runs.RunError, match="aren't a run"):
        engine.train(TINY, data, data, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["backup.zip.part-001"]


def test_a_run_clears_away_the_parts_of_its_own_files_and_no_others(data, tmp_path):
    ours = [f"{name}.part-77" for name in ("checkpoint.pt", "best.pt", "config.json", "lock.by", "log.jsonl")]
    others = ["backup.zip.part-001", "checkpoint.pt.part-old", "my.checkpoint.pt.part-77"]
    (tmp_path / "config.json").write_text("{}")
    for name in [*ours, "log.old-1.jsonl.part-77", *others]:
        (tmp_path / name).write_text("half")
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*part-*")) == sorted(others)


def test_test_images_of_one_id_are_refused_before_a_folder_is_made(data, tmp_path):
    twice = data[0] + data[0][:1], data[1] + data[1][:1]
    with pytest.raises(evaluate.ResultError, match="its id '000000'"):
        engine.train(TINY, data, twice, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_finished_run_asked_again_only_judges(data, tmp_path):
    table = engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    log = (tmp_path / "log.jsonl").read_text()
    again = engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path, resume=True)
    assert again.ap == table.ap and (tmp_path / "log.jsonl").read_text() == log


def test_a_run_can_be_loaded_to_detect(data, tmp_path):
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    model, config, step = runs.load_run(tmp_path)
    assert (step, config.width, model.training) == (2, 1 / 16, False)
    whole = inference.detect_all(model, data, default_boxes(), config)
    alone = inference.detect_in(model, data[1][2:3], config)[0]
    torch.testing.assert_close(alone.scores, whole[2].scores, rtol=1e-4, atol=1e-5)
    assert len(whole) == 8


def test_weights_to_start_from_go_into_their_layers_and_the_others_stay_random():
    random = engine.build(TINY, CPU)[0].state_dict()
    kernel = torch.full_like(random["body.fc7.0.weight"], 0.5)
    state = engine.build(TINY, CPU, {"body.fc7.0.weight": kernel})[0].state_dict()
    assert torch.equal(state["body.fc7.0.weight"], kernel)
    assert all(torch.equal(state[name], random[name]) for name in random if name != "body.fc7.0.weight")


@pytest.mark.parametrize(
    "name, shape", [("body.fc7.0.weight", (1024, 1024, 1, 1)), ("body.fc8.weight", (2, 2))]
)
def test_weights_of_another_network_are_refused_by_name(name, shape):
    with pytest.raises(runs.RunError, match=rf"{name} is \({shape[0]}"):
        engine.build(TINY, CPU, {name: torch.zeros(shape)})


@pytest.mark.parametrize(
    "wrong, sentence",
    [
        ({"precision": "float8"}, "precision is 'float8'; it has to be one of auto, float32, bfloat16"),
        ({"mining": "none"}, "mining is 'none'"),
        ({"augment": ("rotate",)}, "augment has 'rotate'"),
        ({"augment_rule": "keras"}, "augment_rule is 'keras'; it has to be one of caffe, ssd_keras"),
        ({"new_layers": "zeros"}, "new_layers is 'zeros'; it has to be one of xavier, he_normal"),
        ({"log_every": 0}, "log_every is 0"),
        ({"width": 0.0}, "width is 0.0"),
        ({"test_sets": ()}, "test_sets is"),
        ({"microbatch": -1}, "microbatch is -1"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; wanted a number that is 0 or more"),
        ({"drops": (3, -5)}, "drops is"),
        ({"warmup": -3}, "warmup is -3"),
        ({"val_every": -1}, "val_every is -1"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"width": float("inf")}, "width is inf"),
        ({"momentum": 2.0}, "momentum is 2.0"),
        ({"seed": -1}, "seed is -1"),
        ({"seed": 10**23}, "seed is 1"),
        ({"microbatch": 2, "mining": "batch"}, "would change batch norm's means"),
        ({"microbatch": 1}, "a part of the batch is 1 image"),
        ({"microbatch": 3}, "a part of the batch is 1 image"),
        ({"batch_size": 1}, "batch norm needs two"),
        (
            {"freeze": "conv3_4"},
            "freeze is 'conv3_4'; wanted a layer of the network's body: conv1_1, conv2_1, ",
        ),
        ({"freeze": "conv1_2"}, "freeze is 'conv1_2'"),  # which the strided stem stands in for
    ],
)
def test_settings_that_cannot_be_trained_are_refused_at_once(wrong, sentence):
    with pytest.raises(runs.RunError, match=sentence):
        dataclasses.replace(TINY, **{"batch_size": 4} | wrong)


def test_a_run_is_not_shortened_by_resuming_it(data, tmp_path):
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    with pytest.raises(runs.RunError, match="at step 2, asked for are 1"):
        engine.train(dataclasses.replace(TINY, steps=1), data, data, tmp_path, resume=True)


def test_the_log_of_a_run_that_broke_is_kept_aside(data, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "log.jsonl").write_text('{"step": 3, "diverged": true}\n')
    engine.train(dataclasses.replace(TINY, steps=2), data, data, tmp_path)
    assert (tmp_path / "log.old-1.jsonl").read_text() == '{"step": 3, "diverged": true}\n'
    assert all("diverged" not in row for row in read_log(tmp_path))
