"""Tests of chapter 07's recordings and their reader, of the curvature, and of starts made again."""

import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from course.instability import check, curvature, starts, watched_start
from ssdlib.loss import multibox_loss
from ssdlib.records import Batch, Predictions, Targets

NEEDED = {"paper", "safe", "near", "edge", "beyond", "warmup", "clipped", "adam"}  # ten starts each


# ---- levels, computed by the library instead of by hand


def constant_answers(background):
    """A batch of two images with 3 and 2 positives, and a network that says the same of all anchors."""
    labels = torch.zeros(2, 60, dtype=torch.int64)
    labels[0, :3], labels[1, 4:6] = 7, 12
    logits = torch.zeros(2, 60, 21)
    logits[..., 0] = background
    return Predictions(torch.zeros(2, 60, 4), logits), Targets(torch.zeros(2, 60, 4), labels, labels - 1)


def test_the_levels_are_the_library_s_loss_of_a_network_that_looks_at_nothing():
    assert abs(float(multibox_loss(*constant_answers(0.0)).confidence) - starts.NO_OPINION) < 1e-4
    known = multibox_loss(*constant_answers(math.log(60))).confidence
    assert abs(float(known) - starts.BACKGROUND_ONLY) < 1e-4


def test_no_other_constant_answer_is_better_than_three_quarters_of_background():
    found = [float(multibox_loss(*constant_answers(b / 10)).confidence) for b in range(0, 80)]
    assert min(found) > starts.BACKGROUND_ONLY - 1e-4
    assert abs(found.index(min(found)) / 10 - math.log(60)) < 0.1


# ---- leaving a level


@given(st.lists(st.floats(0, 20), max_size=30), st.integers(1, 6))
def test_first_below_is_what_a_loop_finds(losses, window):
    means = [math.fsum(losses[i : i + window]) / window for i in range(len(losses) - window + 1)]
    if any(abs(mean - 10) < 1e-9 for mean in means):
        return  # rounding may decide
    wanted = None
    for i in range(len(means)):
        if all(mean < 10 for mean in means[i:]):
            wanted = i
            break
    assert starts.first_below(torch.tensor(losses, dtype=torch.float64), 10.0, window) == wanted


# ---- reading


def recording(folder, broke=None, rows=3, seed=4):
    path = folder / "edge" / f"{seed}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    head = {"arm": "edge", "seed": seed, "columns": ["step", "localisation", "confidence"], "rate": 0.1}
    head |= {"commit": "c" * 40, "date": "2026-01-02", "device": "a machine"}
    lines = [head, {"step": 0, "detections": [[7, 0.5, 1, 2, 3, 4]], "by_map": {"negatives": [1] * 6}}]
    lines += [{"row": [step, 1.0, 10.0 - step]} for step in range(rows)]
    lines.append({"step": rows, "broke": broke} if broke else {"step": rows, "detections": []})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_a_recording_is_read_as_it_was_written(tmp_path):
    start = starts.read_start(recording(tmp_path))
    assert (start.arm, start.seed, len(start), start.broke) == ("edge", 4, 3, None)
    assert start["confidence"].tolist() == [10, 9, 8] and start.multibox.tolist() == [11, 10, 9]
    assert start.seen_at(2) == [[7, 0.5, 1, 2, 3, 4]] and start.seen_at(3) == []
    assert "2026-01-02, a machine, commit cccccccccc" in starts.made([start])


def test_a_recording_made_with_one_thread_says_so_in_the_singular():
    assert ", 1 thread," in starts.made(starts.arm("paper"))


def test_the_kernel_that_moved_farthest_is_named_and_none_where_no_step_was_taken():
    layers = {
        "body.conv1_1.0": watched_start.Layer(1.0, 2.0, 0.1),
        "conf.fc7": watched_start.Layer(1.0, 2.0, 0.3),
    }
    step = watched_start.WatchedStep(3, 1.0, 2.0, 5.0, layers)
    assert step.farthest == (0.3, "conf.fc7")
    lower = {name: watched_start.Layer(1.0, 2.0, 0.1 + 0.2 * ("1_1" in name)) for name in layers}
    assert watched_start.WatchedStep(3, 1.0, 2.0, 5.0, lower).farthest == (pytest.approx(0.3), "body.conv1_1")
    assert watched_start.WatchedStep(3, 1.0, math.nan, 5.0, layers).farthest == (None, "none")


def test_a_start_that_broke_before_its_first_row_has_no_steps(tmp_path):
    start = starts.read_start(recording(tmp_path, broke={"tensor": "gradient"}, rows=0))
    assert len(start) == 0 and start.left is None and start.broke["tensor"] == "gradient"


def test_starts_come_by_seed_and_none_is_one_sentence(tmp_path):
    for seed in (10, 2):
        recording(tmp_path, seed=seed)
    assert [s.seed for s in starts.arm("edge", tmp_path)] == [2, 10]
    with pytest.raises(FileNotFoundError, match="paper: no recorded starts; wanted some SEED.jsonl"):
        starts.arm("paper", tmp_path)


# ---- the recordings themselves


@pytest.mark.parametrize("name", starts.ARMS)
def test_every_arm_was_recorded_whole_with_device_date_commit_and_seed(name):
    found = starts.arm(name)
    assert len(found) >= (10 if name in NEEDED else 5)
    assert [s.seed for s in found] == list(range(len(found)))
    for s in found:
        assert (
            len(s.head["commit"]) == 40
            and s.head["date"]
            and s.head["device"]
            and s.head["versions"]["torch"]
        )
        assert s["step"].tolist() == list(range(len(s))) and s.head["config"]["seed"] == s.seed
        assert s.broke or len(s) >= s.head["steps"]
        assert all(column.isfinite().all() for column in s.values.values())


@pytest.mark.parametrize("name", starts.ARMS)
def test_three_negatives_were_mined_for_each_positive(name):
    for s in starts.arm(name):
        assert torch.equal(s["negatives"], 3 * s["positives"])
        assert all(3 * sum(look["positives"]) == sum(look["negatives"]) for look in s.by_map.values())


def test_one_seed_means_the_same_pictures_in_every_arm():
    for name in starts.ARMS:
        for a, b in zip(starts.arm("paper"), starts.arm(name), strict=False):
            shared = min(len(a), len(b))
            assert torch.equal(a["positives"][:shared], b["positives"][:shared])


def test_the_same_function_gives_the_same_first_loss_however_it_is_written():
    for a, b in zip(starts.arm("paper"), starts.arm("pixels"), strict=False):
        assert abs(a.multibox[0] - b.multibox[0]) < 1e-3 * a.multibox[0]


# ---- curvature


@given(st.integers(0, 10**6), st.integers(2, 9))
def test_power_iteration_finds_what_the_eigenvalues_of_the_whole_matrix_say(seed, size):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    values = torch.linalg.eigvalsh(root + root.T)
    sizes = values.abs().sort()[0]
    if sizes[-2] > 0.95 * sizes[-1]:
        return  # two directions bend alike, and it takes long to decide
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    found, direction = curvature.largest_curvature(lambda v: (root + root.T) @ v, start, 600)
    assert abs(found - values[values.abs().argmax()]) < 1e-6 * sizes[-1]
    assert torch.allclose((root + root.T) @ direction, found * direction, atol=1e-5 * float(sizes[-1]))


def test_a_plane_bends_nowhere():
    assert curvature.largest_curvature(lambda v: 0 * v, torch.ones(3), 5)[0] == 0


class TinyNetwork(nn.Module):
    """Answers for 30 anchors out of 3 numbers for each image."""

    def __init__(self):
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(3, 30 * 7) * 0.3)
        self.bias = nn.Parameter(torch.randn(30 * 7) * 0.1)

    def forward(self, images):
        out = (images.mean(dim=(2, 3)) @ self.kernel + self.bias).tanh().reshape(-1, 30, 7)
        return Predictions(out[..., :4], out[..., 4:] * 3)


def test_the_curvature_of_a_network_is_that_of_its_whole_matrix_of_second_derivatives():
    torch.manual_seed(0)
    network, factors = TinyNetwork(), (1.0, 2.0)
    labels = torch.zeros(2, 30, dtype=torch.int64)
    labels[:, :4] = 2
    targets = Targets(torch.rand(2, 30, 4), labels, labels - 1)
    batch = Batch(torch.rand(2, 3, 5, 5), torch.zeros(2, 0, 4), labels[:, :0])
    found, parts = curvature.of_network(network, batch, targets, factors, rounds=300)

    shapes = [p.shape for p in network.parameters()]
    sizes = [p.numel() for p in network.parameters()]

    def loss_of(flat):
        values = [v.reshape(s) for v, s in zip(flat.split(sizes), shapes, strict=True)]
        said = torch.func.functional_call(
            network, dict(zip(("kernel", "bias"), values, strict=True)), batch.images
        )
        return multibox_loss(said, targets).multibox

    flat = torch.cat([p.detach().reshape(-1) for p in network.parameters()])
    matrix = torch.autograd.functional.hessian(loss_of, flat)
    roots = torch.cat([torch.full((n,), f**0.5) for n, f in zip(sizes, factors, strict=True)])
    scaled = (roots[:, None] * matrix * roots).double()
    values = torch.linalg.eigvalsh((scaled + scaled.T) / 2)
    wanted = float(values[values.abs().argmax()])
    assert abs(found - wanted) < 0.01 * abs(wanted)
    assert abs(sum(parts.values()) - 1) < 1e-4 and set(parts) == {"kernel", "bias"}


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("bend", [0.3, 250.0])
def test_torch_s_sgd_comes_back_below_the_edge_and_leaves_beyond_it(momentum, bend):
    def ends(rate):
        w = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.SGD([w], lr=rate, momentum=momentum)
        for _ in range(2000):
            optimizer.zero_grad()
            (0.5 * bend * w**2).backward()
            optimizer.step()
        return abs(float(w.detach()))

    edge = curvature.edge(bend, momentum)
    assert ends(0.98 * edge) < 0.1 and ends(1.02 * edge) > 10


# ---- made again


@pytest.fixture(scope="module")
def again():
    return watched_start.again(starts.arm("beyond")[0])


@pytest.mark.slow
def test_a_recorded_start_can_be_made_again_and_shows_how_it_breaks(again):
    recorded = starts.arm("beyond")[0]
    steps = list(again.steps(60))
    for step, loss, length in zip(steps[:3], recorded.multibox, recorded["gradient"], strict=False):
        assert abs(step.localisation + step.confidence - loss) < 0.02 * loss
        assert abs(step.gradient - length) < 0.05 * length
    assert all(step.finite for step in steps[:-1]) and not steps[-1].finite
    first = [layer.update for layer in steps[0].layers.values()]
    assert abs(max(first) - recorded["update_ratio"][0]) < 0.02 * recorded["update_ratio"][0]
    assert all(math.isnan(layer.update) for layer in steps[-1].layers.values())


@pytest.mark.slow
def test_dividing_the_pixels_changes_no_answer():
    plain, divided = (watched_start.again(starts.arm(name)[0]) for name in ("pixels", "paper"))
    one, other = plain.batch(0)[0].images, divided.batch(0)[0].images
    assert torch.allclose(one[:2], 64 * other[:2], atol=1e-3)
    with torch.no_grad():
        said = [again.model(images[:2]).logits for again, images in ((plain, one), (divided, other))]
    assert torch.allclose(*said, atol=1e-3)


# ---- answers that learners give


def says(exercise, answer, words):
    """The words are somewhere in what a check says of a wrong answer, which it says in full at the second try."""
    exercise(answer)
    verdict = exercise(answer)
    assert verdict.state == "wrong" and words in verdict.message, verdict


def test_an_answer_written_in_another_way_is_right():
    assert check.level(5.245).state == "right" and check.level(5.24).state == "right"
    assert check.edge(lambda curvature, momentum: (2 + 2 * momentum) / curvature).state == "right"

    def with_numpy_means(losses, level, window):
        import numpy as np

        means = np.convolve(losses, np.ones(window) / window, "valid") if len(losses) >= window else []
        bad = [i for i, m in enumerate(means) if m >= level]
        first = bad[-1] + 1 if bad else 0
        return first if first < len(means) else None

    assert check.plateau(with_numpy_means).state == "right"

    def by_the_largest_factor(gradients, limit):
        length = math.hypot(*(float(g.norm()) for g in gradients))
        return [g / max(1.0, length / limit) for g in gradients]

    assert check.clip(by_the_largest_factor).state == "right"


def test_common_mistakes_are_told_which():
    says(check.level, 12.18, "first level")
    says(
        check.warmup,
        lambda step, peak, steps: peak * min(1, step / max(steps, 1)) if steps else peak,
        "rate 0",
    )
    says(check.warmup, lambda step, peak, steps: peak * min(1, (step + 1) / steps), "ZeroDivisionError")

    def in_place(gradients, limit):
        for g in gradients:
            g.mul_(0.5)
        return gradients

    says(check.clip, in_place, "work on a copy")
    says(check.accumulate, lambda parts: sum(t / max(n, 1) for t, n in parts) / len(parts), "weighs as much")
