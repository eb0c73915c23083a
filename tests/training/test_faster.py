"""`faster`: each way beside the plain step, on the CPU as far as it goes there."""

from dataclasses import replace

import operations
import pytest
import torch
from small_data import striped
from torch.utils.flop_counter import FlopCounterMode

from small_runs import TINY
from ssdlib.data import voc
from ssdlib.data.store import Jpegs, open_store
from ssdlib.model import SSD300
from ssdlib.training import engine, faster
from ssdlib.training.recipes import RunConfig, RunError

CPU = torch.device("cpu")
CONFIG = replace(TINY, batch_norm=False, batch_size=4, precision="bfloat16", learning_rate=1e-5)


def trained(config: RunConfig, steps: int = 6, wrap=lambda model: model, update=engine.update):
    """Losses of a few steps, and the weights after them."""
    model, optimizer, anchors = engine.build(config, CPU)
    network, maker, losses = wrap(model), engine.batch_maker(config, striped(), CPU), []
    for step in range(steps):
        rate = 1e-5 * (step + 1)  # another one each time
        losses.append(update(network, optimizer, maker(step), anchors, rate, config))
    return losses, model.state_dict(), optimizer


def same(first, second, tolerance: float = 0.0) -> None:
    for ours, theirs in zip(first[0], second[0], strict=True):
        torch.testing.assert_close(ours.multibox, theirs.multibox, rtol=tolerance, atol=tolerance)
    for name, weight in second[1].items():
        torch.testing.assert_close(first[1][name], weight, rtol=tolerance, atol=tolerance)


def test_kernels_cast_together_give_the_same_bits_with_fewer_operations():
    same(trained(CONFIG, wrap=faster.CastOnce), trained(CONFIG))
    plain, together = (operations.learning(width=1 / 16, wrap=wrap) for wrap in (None, faster.CastOnce))
    assert sum(together.values()) < sum(plain.values()) - 120


def test_a_cast_network_has_the_weights_of_the_plain_one_and_no_others():
    model = engine.build(CONFIG, CPU)[0]
    assert set(map(id, faster.CastOnce(model).parameters())) == set(map(id, model.parameters()))


def test_of_a_frozen_layer_cast_computes_no_backward_either():
    counts = []
    for wrap in (lambda model: model, faster.CastOnce):
        model = SSD300(width=1 / 16)
        model.freeze("conv3_3")
        with FlopCounterMode(display=False) as counter, torch.autocast("cpu", torch.bfloat16):
            said = wrap(model)(torch.zeros(1, 3, 300, 300))
            (said.offsets.sum() + said.logits.sum()).backward()
        counts.append(counter.get_total_flops())
        assert model.body["conv3_3"][0].weight.grad is None is not model.body["conv4_1"][0].weight.grad
    assert counts[0] == counts[1]


def test_fused_sgd_is_sgd_up_to_rounding():
    fused, plain = trained(replace(CONFIG, faster=("fused",))), trained(CONFIG)
    assert fused[2].defaults["fused"] and not plain[2].defaults["fused"]
    same(fused, plain, 1e-4)


def test_a_replayed_step_reads_its_own_batch_and_rate_and_gives_losses_of_its_own():
    """With a stand-in that repeats what was recorded and writes into the same memory, as a CUDA graph does, but in
    plain operations."""
    recorded = []

    def record(work):
        def replay():
            before = getattr(step, "losses", None)
            work()
            if before is not None:
                for name, value in vars(step.losses).items():
                    getattr(before, name).copy_(value)
                step.losses = before

        recorded.append(work)
        return replay

    config = replace(CONFIG, faster=("graph",))
    step = faster.Graphed(engine.update, engine.update, record)
    graphed = trained(config, update=step)
    assert len(recorded) == 1
    same(graphed, trained(replace(CONFIG, faster=("fused",))))
    for group in graphed[2].param_groups:
        assert isinstance(group["lr"], float) and group["lr"] == pytest.approx(6e-5 * group["rate_factor"])
    assert len({float(one.multibox) for one in graphed[0]}) == 6


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here: a CUDA graph can't be recorded")
def test_a_step_as_a_cuda_graph_is_the_plain_step():
    config, device = replace(CONFIG, faster=("graph",)), torch.device("cuda")
    results = []
    for update in (faster.Graphed(engine.update, engine.update), engine.update):
        model, optimizer, anchors = engine.build(config, device)
        maker = engine.batch_maker(config, striped(), device)
        losses = [update(model, optimizer, maker(step), anchors, 1e-3, config) for step in range(8)]
        results.append((losses, model.state_dict()))
    same(*results, tolerance=1e-2)


def test_photographs_in_the_memory_of_a_device_are_the_same(mini, tmp_path):
    examples = voc.read_sets(mini, ["2007-test"])
    stored = open_store(tmp_path / "store", examples)
    there = faster.resident(stored, CPU)
    assert all(torch.equal(there[i], stored[i]) for i in range(len(stored)))
    with pytest.raises(RunError, match="needs a store"):
        faster.resident(Jpegs(examples), CPU)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"faster": ("graph",)}, "computes on cpu; CUDA graphs need a CUDA GPU"),
        ({"faster": ("cast",), "precision": "float32"}, "computes in float32"),
        ({"faster": ("graph",), "microbatch": 2}, "can't take batch_norm, microbatch or float16"),
        ({"faster": ("graph",), "batch_norm": True}, "can't take batch_norm, microbatch or float16"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(changes, words):
    device = CPU if "CUDA" in words or "float32" in words else torch.device("cuda")
    with pytest.raises(RunError, match=words):
        faster.prepare(replace(CONFIG, **changes), device)


def test_an_unknown_way_is_refused_with_those_there_are():
    with pytest.raises(
        RunError, match="faster has 'warp'; wanted some of resident, cast, fused, graph, benchmark"
    ):
        RunConfig(faster=("warp",))


def test_nothing_of_it_is_on_by_default(tmp_path):
    assert RunConfig().faster == () and not torch.backends.cudnn.benchmark
    assert not engine.build(CONFIG, CPU)[1].defaults["fused"]


def test_a_run_with_some_of_it_is_trained_and_resumed_without(tmp_path):
    config = replace(CONFIG, steps=4, batch_size=4, faster=("cast", "fused"))
    data = striped()
    engine.train(config, data, data, tmp_path / "run", stop_after=2)
    engine.train(replace(config, faster=()), data, data, tmp_path / "run", resume=True)


def test_the_way_of_the_last_session_does_not_outlive_it(tmp_path, monkeypatch):
    """A checkpoint says of each group whether its SGD was fused."""
    config, data, seen = replace(CONFIG, steps=4, batch_size=4), striped(), []
    real = engine.update
    monkeypatch.setattr(
        engine, "update", lambda network, sgd, *rest: seen.append(sgd) or real(network, sgd, *rest)
    )
    for step, way in enumerate(((), ("fused",), ()), 1):
        now = replace(config, faster=way)
        engine.train(now, data, data, tmp_path / "run", resume=True, stop_after=step)
        assert {group["fused"] for group in seen[-1].param_groups} == {True if way else None}


def test_a_first_step_that_the_scaler_skips_leaves_no_momentum_to_fused_sgd():
    config = replace(CONFIG, faster=("fused",), precision="float16")
    model, optimizer, anchors = engine.build(config, CPU)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120)
    engine.update(
        model, optimizer, engine.batch_maker(config, striped(), CPU)(0), anchors, 1e-3, config, scaler
    )
    assert scaler.get_scale() < 2.0**120
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(not state["momentum_buffer"].any() for state in optimizer.state.values())
