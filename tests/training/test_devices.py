"""Tests of devices: as ever by default, by name where they are, else one sentence; what a device is asked to do."""

import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from small_runs import TINY, painted
from ssdlib.__main__ import main
from ssdlib.cli import doctor
from ssdlib.cli.options import parser
from ssdlib.data import augment
from ssdlib.detect import detect
from ssdlib.training import distributed, engine, inference
from ssdlib.training.runs import RunError

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nothing_named():
    yield
    distributed.use("")


@pytest.fixture
def gpus(monkeypatch):
    """A machine that says it has two GPUs of CUDA; nothing is computed on them."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


def test_without_a_name_the_first_gpu_is_taken_or_else_the_cpu(gpus, monkeypatch):
    assert distributed.start() == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert distributed.start() == CPU


@pytest.mark.parametrize(
    "name, device", [("cpu", CPU), ("cuda", torch.device("cuda", 0)), ("cuda:1", torch.device("cuda", 1))]
)
def test_a_named_device_is_taken(gpus, name, device):
    distributed.use(name)
    assert distributed.start() == device and gpus == ([device] if device.type == "cuda" else [])


def test_processes_take_a_gpu_each_and_none_by_number(gpus, monkeypatch):
    monkeypatch.setattr(distributed.dist, "is_torchelastic_launched", lambda: True)
    monkeypatch.setattr(distributed.dist, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    distributed.use("cuda")
    assert distributed.start() == torch.device("cuda", 1)
    for name in ("cuda:0", "mps"):
        with pytest.raises(RunError, match=f"device {name}: several processes .*; wanted cpu or cuda"):
            distributed.use(name)


@pytest.mark.parametrize(
    "name, built, says",
    [
        ("cuda", None, "device cuda: torch [^ ]+ is built without CUDA; there is cpu$"),
        ("cuda:1", "13.0", "device cuda:1: no driver or no GPU answers; there is cpu$"),
        ("mps", None, "device mps: (torch .* is built without it|macOS doesn't offer it); there is cpu$"),
    ],
)
def test_a_device_that_is_not_there_is_refused_in_one_sentence(monkeypatch, name, built, says):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", built)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(RunError, match=says):
        distributed.use(name)


def test_a_third_gpu_of_two_is_refused_with_the_two_that_are_there(gpus):
    with pytest.raises(
        RunError, match="device cuda:2: not one of this machine's; there is cpu, cuda:0, cuda:1"
    ):
        distributed.use("cuda:2")


COMMANDS = {
    "doctor": "",
    "look": "--data x",
    "train": "--out x",
    "detect": "--checkpoint x --out y z",
    "evaluate": "--checkpoint x",
    "export": "--checkpoint x --out y",
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_device_and_refuses_one_that_is_not_there(command, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    words = [command, *COMMANDS[command].split()]
    assert parser().parse_args([*words, "--device", "cuda:1"]).device == "cuda:1"
    assert main([*words, "--device", "cuda:1"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("RunError: device cuda:1: ") and said.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        main([*words, "--device", "gpu"])
    assert "'gpu'; wanted cpu, cuda, cuda:1 or mps" in capsys.readouterr().err


def test_threads_are_fixed_for_a_command_and_set_back_after_it(capsys):
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr("ssdlib.__main__.detect", lambda options: seen.append(torch.get_num_threads()))
        assert main("detect --checkpoint x --out y z --threads 2".split()) == 0
    assert seen == [2] and torch.get_num_threads() == before
    with pytest.raises(SystemExit, match="2"):
        main("detect --checkpoint x --out y z --threads 0".split())
    assert "'0'; wanted a whole number of 1 or more" in capsys.readouterr().err


def test_an_operator_that_apples_gpus_lack_is_said_in_one_sentence(monkeypatch, capsys):
    """The beginning of PyTorch's own message, as its aten/src/ATen/mps/MPSFallback.mm words it."""

    def lacking(options):
        raise NotImplementedError(
            "The operator 'aten::something' is not currently implemented for the MPS device. If you want"
        )

    monkeypatch.setattr("ssdlib.__main__.look", lacking)
    assert main(["look", "--data", "x"]) == 1
    said = capsys.readouterr().err
    assert "no aten::something there" in said and "PYTORCH_ENABLE_MPS_FALLBACK=1" in said
    assert said.count("\n") == 1
    monkeypatch.setattr("ssdlib.__main__.look", lambda options: exec("raise NotImplementedError('other')"))
    with pytest.raises(NotImplementedError, match="other"):
        main(["look", "--data", "x"])


class Double(TorchDispatchMode):
    """Notes every operator that makes a tensor of float64, which Apple's GPUs don't know."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, operator, types, given=(), named=None):
        results = operator(*given, **(named or {}))
        for one in results if isinstance(results, tuple | list) else [results]:
            if isinstance(one, torch.Tensor) and one.dtype == torch.float64:
                self.found.append(str(operator))
        return results


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_nothing_that_a_device_computes_is_float64(precision):
    """Resampling, an update, detections: everything after the draw, which is the CPU's."""
    examples, photographs = painted()
    config = dataclasses.replace(TINY, batch_size=4, precision=precision, batch_norm=False)
    model, optimizer, anchors = engine.build(config, CPU)
    batch = engine.batch_maker(config, (examples, photographs), CPU)(0)
    sizes = torch.tensor([(200, 150)] * 4)
    drawn = augment.draw(sizes, torch.zeros(4, 0, 4), torch.zeros(4, 0).long(), steps=())
    with Double() as seen:
        augment.warp(photographs[:4], drawn, CPU)
        engine.update(model, optimizer, batch, anchors, 1e-3, config)
        with torch.no_grad(), inference.autocast(CPU, precision):
            said = model.eval()(batch.images)
        detect(said, anchors, [(200, 150)] * 4)
    assert not seen.found
    with Double() as seen:
        torch.ones(2).double()
    assert seen.found, "the watcher sees what it is to see"


def test_doctor_offers_float16_by_name_and_more_loudly_on_a_gpu_that_has_units_for_it(monkeypatch, gpus):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (15e9, 16e9))
    facts = doctor.examine(torch.device("cuda", 0))
    assert facts["device"].startswith("Tesla T4") and facts["precision"] == "float32"
    assert "float16" in facts["by_name"] and "T4" in facts["by_name"]
    assert doctor.examine(CPU)["device"].endswith("--device takes cuda:0 and cuda:1, too")
    assert "slow on most CPUs" in doctor.examine(CPU)["by_name"]
