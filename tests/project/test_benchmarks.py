"""The benchmarks run, and what they compare computes the same: with tiny sizes, and nothing is timed."""

import sys

import busy
import data_path
import evaluation
import everything
import gpu
import growth
import heads
import inputs
import numpy as np
import operations
import pytest
import roofline
import timing
import torch

from ssdlib import coding, evaluate, matching
from ssdlib.anchors import default_boxes
from ssdlib.data import store
from ssdlib.model import SSD300
from ssdlib.training.runs import RunConfig

pytestmark = pytest.mark.slow  # about a minute on two cores, too much for `make check`


@pytest.fixture
def printed(monkeypatch, capsys):
    """What the main function of a benchmark prints when it is given these words."""
    threads = torch.get_num_threads()

    def run(main, *words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["benchmark", "--quick", "--threads", "1", *words])
        main()
        return capsys.readouterr().out

    yield run
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def peer():
    return inputs.networks()[1]


def test_both_sides_have_the_same_weights():
    ours, theirs = inputs.networks()
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    assert all(parameter.requires_grad for parameter in theirs.parameters())
    image = torch.rand(1, 3, 300, 300, generator=torch.Generator().manual_seed(1))
    mean = torch.tensor([123.0, 117.0, 104.0])[:, None, None]
    with torch.no_grad():
        features = theirs.eval().backbone(theirs.transform([image[0]])[0].tensors)
        wanted = theirs.head(list(features.values()))
        found = ours.eval()(255 * image - mean)
    scale = wanted["cls_logits"].abs().max()
    assert (found.logits - wanted["cls_logits"]).abs().max() < 1e-4 * scale
    assert (found.offsets - wanted["bbox_regression"]).abs().max() < 1e-3


def test_the_loss_and_its_gradient_are_those_of_torchvision(peer):
    batch, said = inputs.training_batch(3, seed=4), inputs.predictions(3, 2000, seed=4)
    (ours, our_grad), (theirs, their_grad) = (
        heads.our_loss(batch, said)(),
        heads.their_loss(peer, batch, said)(),
    )
    assert ours > 0.1 and torch.allclose(ours, theirs, rtol=1e-5)
    assert their_grad.abs().max() > 0 and torch.allclose(our_grad, their_grad, atol=1e-7)


def test_a_batch_to_measure_on_has_objects_and_anchors_that_answer_for_them():
    batch = inputs.training_batch(4)
    assert (batch.labels > 0).any(dim=1).all()
    matched = matching.match(batch.boxes, batch.labels, default_boxes())
    objects = (batch.labels > 0).sum(dim=1)
    assert all(len(row[row >= 0].unique()) == count for row, count in zip(matched, objects, strict=True))


@pytest.mark.parametrize("candidates", [200, 5000])
def test_detections_are_those_of_torchvision(peer, candidates):
    said = inputs.predictions(1, candidates, seed=2)
    assert int((said.logits.softmax(-1)[..., 1:] > 0.01).sum()) == pytest.approx(candidates, rel=0.02)
    theirs = heads.their_boxes(peer, said)()
    assert len(theirs[0]["labels"]) > 100
    assert heads.same_detections(heads.our_boxes(said)(), theirs) < 1e-3


def test_detections_with_other_labels_or_boxes_are_not_called_the_same(peer):
    said = inputs.predictions(1, 300)
    ours, theirs = heads.our_boxes(said)(), heads.their_boxes(peer, said)()
    moved = [dict(theirs[0], boxes=theirs[0]["boxes"] + 1)]
    renamed = [dict(theirs[0], labels=theirs[0]["labels"] % 20 + 1)]
    assert heads.same_detections(ours, moved) > 0.9
    assert heads.same_detections(ours, renamed) == float("inf")
    with pytest.raises(SystemExit, match="differ by inf"):
        timing.agree("labels", heads.same_detections(ours, renamed), 1e-3)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_plain_rule_gives_the_same_ap(seed):
    results, truth = inputs.detections(4000, 300, seed)
    assert sum(len(r.scores) for r in results.values()) == 4000
    table = evaluate.evaluate(results, truth)
    plain = evaluation.plain(results, evaluation.objects_by_image(truth))
    assert np.allclose(list(table.ap.values()), plain, atol=1e-12) and 0.02 < table.mean < 0.98


def test_a_benchmark_begins_with_where_and_with_what_unless_that_was_said(printed, monkeypatch):
    lines = printed(evaluation.main).splitlines()
    for word in ("cores (", "Python 3.", "torch 2.", "commit ", "load "):
        assert word in lines[0]
    monkeypatch.setenv(timing.SAID, "1")
    assert "commit" not in printed(evaluation.main)


def test_a_number_that_is_nothing_agrees_with_nothing():
    with pytest.raises(SystemExit, match="a thing"):
        timing.agree("a thing", float("nan"), 1.0)


def test_ratios_say_how_many_times_as_fast_and_memory_how_many_times_as_much():
    assert timing.Row("x", [1.0, 2.0], [3.0, 4.0]).ratios == [3.0, 2.0]
    assert timing.Row("x", [1.0], [4.0], inverse=True).ratios == [0.25]
    cells = timing.Row("x", [1.0, 2.0, 2.0], [3.0, 4.0, 5.0], "goal", "ms").cells()
    assert cells == ["x", "2.00 ms", "4.00 ms", "2.50x", "2.00 to 3.00", "goal"]


@pytest.mark.parametrize(
    "value, words",
    [(0.012345, "0.0123"), (1.0, "1.00"), (99.96, "100"), (1234.5, "1230"), (0.0, "0"), (0.09996, "0.100")],
)
def test_three_digits_count(value, words):
    assert timing.three(value) == words


def test_ours_and_the_peer_run_in_turn_as_often_as_each_other():
    calls = []
    taken = timing.in_turn(lambda: calls.append("o"), lambda: calls.append("p"), rounds=3)
    assert [len(times) for times in taken] == [3, 3]
    assert "".join(calls) == "op" + "po" + "op" + "po"  # the first pair isn't counted


def test_the_exponent_of_a_power_law_is_its_power():
    sizes = [1, 10, 100]
    assert growth.exponent(sizes, [3 * n**1.5 for n in sizes]) == pytest.approx(1.5)


def test_the_operations_counted_are_those_of_its_convolutions():
    macs, hooks = [], []
    with torch.device("meta"):
        model = SSD300()
        for layer in model.modules():
            if isinstance(layer, torch.nn.Conv2d):
                per_cell = layer.weight.numel()
                hooks.append(
                    layer.register_forward_hook(
                        lambda _, __, out, n=per_cell: macs.append(n * out.shape[0] * out[0, 0].numel())
                    )
                )
        model(torch.empty(2, 3, 300, 300))
    assert roofline.counted(RunConfig(), 2)["operations"] == 2 * sum(macs)


def test_what_was_measured_replaces_what_stood_between_the_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"a\n{everything.BEGIN}\nold\n{everything.END}\nb\n")
    everything.record(page, "new\n")
    assert page.read_text() == f"a\n{everything.BEGIN}\n\nnew\n\n{everything.END}\nb\n"
    (tmp_path / "bare.md").write_text("nothing")
    with pytest.raises(SystemExit, match="bare.md: without"):
        everything.record(tmp_path / "bare.md", "new")


def test_of_what_is_printed_the_page_gets_the_tables(printed):
    out = printed(evaluation.main)
    kept = everything.tables(f"a word\n{out}\n{out}")
    assert "Checked" in out and "Checked" not in kept and "a word" not in kept
    lines = [line for line in out.splitlines() if line.startswith(("|", "**"))]
    assert [line for line in kept.splitlines() if line] == 2 * lines
    assert kept.startswith("**") and "\n\n\n" not in kept and kept.count("|\n\n**") == 1


def test_a_benchmark_prints_a_table_and_what_was_checked(printed):
    out = printed(evaluation.main)
    assert (
        "Checked: AP of each class" in out
        and "| 20 classes, 500 detections (drawn from a random seed), 50 images |" in out
    )


def test_the_operations_of_a_step_are_told_beside_their_goals(printed, mini):
    out = printed(operations.main, "--data", str(mini), "--batch", "2")
    rows = {line.split("|")[1].strip(): line for line in out.splitlines() if line.startswith("|")}
    assert "at most 120" in rows["making a batch, caffe's rule"]
    assert "at most 350" in rows["forward + loss + backward"]


def test_exponents_are_told_for_matching_and_evaluation(printed, monkeypatch, mini):
    monkeypatch.setattr(timing, "MINI", mini)
    table = [line for line in printed(growth.main).splitlines() if line.startswith("| ")]
    first_words = [row.split()[1] for row in table[2:]]
    assert "exponent" in table[0] and first_words == ["matching", "evaluation,", "building"]


def test_the_data_path_resizes_like_torchvision(printed, mini):
    out = printed(data_path.main, "--data", str(mini))
    assert "Checked: resized only, grey levels" in out and "store" in out


def test_result_files_and_annotations_belong_together(printed, tmp_path):
    with pytest.raises(SystemExit, match="belong together"):
        printed(evaluation.main, "--detections", str(tmp_path))


def test_the_sections_for_a_gpu_run_on_a_processor(mini, capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BENCH_STOPS", "1")
    monkeypatch.setattr(gpu, "WAYS", ((), ("fused",)))
    monkeypatch.setattr(gpu, "GRAPHS", (("graph",),))
    examples = inputs.painted(mini, most=2)
    photographs = store.open_store(tmp_path / "store", examples)
    config = RunConfig(width=1 / 16, strided_stem=True)
    bench = gpu.Bench(torch.device("cpu"), 1, 1, 1, config, examples, photographs)
    full = {
        gpu.beside_torchvision,
        gpu.profile,
        gpu.batches,
    }  # these take longest; the others are the same kind
    gpu.run(bench, 10, [section for section in gpu.SECTIONS if section not in full])
    out = capsys.readouterr().out
    assert "The loop of `train`" in out and "least, ms" in out and "the device's memory" in out
    for size in (1, 4):  # a way that needs a GPU breaks, says why, and the next one is measured
        assert f"training, batch {size}, fused " in out
        row = [line for line in out.splitlines() if f"batch {size}, graph" in line][-1]  # of the table
        assert "broke" in row and "faster names graph, but this run computes on cpu" in row


def test_a_section_that_breaks_or_comes_too_late_says_so(capsys):
    def breaks(_: gpu.Bench) -> str:
        raise RuntimeError("no such kernel")

    gpu.run(None, 10, [breaks])
    gpu.run(None, -1, [breaks])
    out = capsys.readouterr().out
    assert "breaks: failed, RuntimeError: no such kernel" in out and "breaks: left out" in out


def test_images_to_measure_on_keep_their_boxes_inside():
    said = inputs.predictions(1, 500)
    boxes = coding.decode(said.offsets, default_boxes())
    assert boxes.min() > -0.01 and boxes.max() < 300.01


def test_a_busy_process_is_there_while_it_is_asked_for_and_gone_after(monkeypatch):
    started, real = [], busy.subprocess.Popen

    def watched(*given, **named):
        started.append(real(*given, **named))
        return started[-1]

    monkeypatch.setattr(busy.subprocess, "Popen", watched)
    with pytest.raises(KeyboardInterrupt), busy.busy((1, 1)):
        assert [process.poll() for process in started] == [None, None]
        raise KeyboardInterrupt
    assert all(process.poll() is not None for process in started) and len(started) == 2


def test_a_full_step_beside_torchvisions_runs_with_a_number_that_was_chosen(printed, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # put back by the test; the benchmark takes it away
    said = printed(busy.main, "--only", "full")
    assert "| beside nothing; ours chose 1 |" in said
