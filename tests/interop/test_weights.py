"""Checkpoints of other programs: names, what is changed on the way, the same answers, clear refusals."""

import argparse
import io
import lzma
import math
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision

import oracles
from foreign import EXTRA_NAMES, PROGRAMS, VGG_NAMES, Named, in_safetensors, renamed_by_hand, shapes
from ssdlib.interop.weights import (
    WeightsError,
    contents,
    from_state,
    from_vgg16,
    num_classes_of,
    read_file,
    state_in,
)
from ssdlib.model import SSD300
from ssdlib.records import Predictions


def assert_equal(first: Named, second: Named) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def answers(state: Named, images: torch.Tensor) -> Predictions:
    """What our network says with the weights of a state that fills it."""
    with torch.device("meta"):
        model = SSD300().eval()
    model.load_state_dict(state, assign=True)
    with torch.no_grad():
        return model(images)


def refusal(call, *arguments) -> str:
    """What the WeightsError says; it has to be one line without control characters, of bearable length."""
    with pytest.raises(WeightsError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300
    return message


@pytest.fixture(scope="module")
def small_state() -> Named:
    """The tensors of a narrow network, all of them random; the names are those of the full one."""
    random = torch.Generator().manual_seed(0)
    state = SSD300(width=1 / 8).state_dict()
    return {name: torch.randn(value.shape, generator=random) for name, value in state.items()}


# --- A whole SSD300


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_renamed_state_comes_back_under_our_names(small_state, program):
    state, clip = from_state(renamed_by_hand(small_state, program))
    assert_equal(state, small_state)
    assert clip == "center"
    SSD300(width=1 / 8).load_state_dict(state)  # nothing missing, nothing too much


def test_the_wrapper_of_lufficc_is_taken_off(small_state, tmp_path):
    saved = {
        "model": renamed_by_hand(small_state, "lufficc"),
        "iteration": 120000,
        "optimizer": {"state": {}},
    }
    torch.save(saved, tmp_path / "model_final.pth")
    state, clip = from_state(read_file(tmp_path / "model_final.pth"))
    assert_equal(state, small_state)
    assert clip == "center"


def test_names_that_nobody_asked_for_do_no_harm(small_state):
    theirs = renamed_by_hand(small_state, "amdegroot") | {"priors": torch.zeros(8732, 4)}
    assert_equal(from_state(theirs)[0], small_state)


def test_the_state_does_not_hang_on_to_the_one_it_was_read_from(small_state):
    theirs = {name: value.clone() for name, value in renamed_by_hand(small_state, "amdegroot").items()}
    state, _ = from_state(theirs)
    for value in theirs.values():
        value.zero_()
    assert_equal(state, small_state)


@pytest.mark.slow
def test_torchvisions_network_and_ours_answer_alike_with_the_same_weights():
    with torch.device("meta"):
        theirs = torchvision.models.detection.ssd300_vgg16(
            weights=None, weights_backbone=None, num_classes=21
        ).eval()
    theirs.to_empty(device="cpu").requires_grad_(False)
    random = torch.Generator().manual_seed(0)
    for parameter in theirs.parameters():
        bound = math.sqrt(6 / parameter[0].numel()) if parameter.ndim == 4 else 0.1
        parameter.uniform_(-bound, bound, generator=random)
    theirs.backbone.scale_weight.add_(20)
    images = oracles.pattern_images()
    with torch.no_grad():
        expected = theirs.head(list(theirs.backbone(images).values()))
    state, clip = from_state(theirs.state_dict())
    assert clip == "size"
    output = answers(state, images)
    assert expected["cls_logits"].std() > 0.1 and expected["bbox_regression"].std() > 0.1
    assert torch.allclose(output.logits, expected["cls_logits"], atol=1e-4)
    assert torch.allclose(output.offsets, expected["bbox_regression"], atol=1e-4)


def test_the_file_of_ssd_pytorch_gives_its_answers(shared, tmp_path, pattern_network):
    reference = shared / "reference" / "checkpoints"
    path = tmp_path / "amdegroot_ssd300.pth"
    path.write_bytes(lzma.decompress((reference / "amdegroot_ssd300.pth.xz").read_bytes()))
    state, clip = from_state(read_file(path))
    assert clip == "center"
    assert_equal(state, pattern_network.state_dict())
    output = answers(state, oracles.pattern_images())
    expected = np.load(reference / "network_output.npz")
    assert np.abs(output.offsets[0].numpy() - expected["offsets"]).max() < 2e-3
    assert np.abs(output.logits[0].numpy() - expected["logits"]).max() < 2e-3


def test_the_number_of_classes_shows_in_the_shapes_of_a_whole_ssd300():
    assert num_classes_of(shapes(21)) == 21 and num_classes_of(shapes(91)) == 91


@pytest.mark.parametrize(
    "change, sentence",
    [
        ({"conf.conv4_3.bias": (82,)}, "20.5 classes"),
        ({"conf.conv4_3.bias": ()}, "0 classes"),
        ({"conf.conv4_3.bias": (364,)}, "11 of 71 tensors have other shapes"),  # 91 in one of twelve
        ({"loc.fc7.weight": (24, 1024, 1, 1)}, "loc.fc7.weight is (24, 1024, 1, 1), wanted (24, 1024, 3, 3)"),
    ],
)
def test_shapes_that_are_not_ssd300s_are_refused(change, sentence):
    assert sentence in refusal(num_classes_of, shapes() | change)


# --- As they lie around: wrappers, prefixes, half precision

PLAIN = {"features.0.weight": torch.arange(6.0).view(2, 3), "classifier.0.bias": torch.tensor([0.5, -2.0])}


def prefixed(prefix: str) -> Named:
    return {f"{prefix}{name}": value for name, value in PLAIN.items()}


@pytest.mark.parametrize(
    "held, said",
    [
        (PLAIN, ""),
        (prefixed("module."), "without module."),
        (prefixed("model."), "without model."),
        (prefixed("_orig_mod."), "without _orig_mod."),
        (prefixed("module._orig_mod.model."), "without module._orig_mod.model."),
        ({"state_dict": PLAIN, "epoch": 3}, "under state_dict"),
        ({"model_state_dict": prefixed("module."), "loss": 2.5}, "under model_state_dict, without module."),
        ({"weight": PLAIN}, "under weight"),
        (
            {"model": {"state_dict": PLAIN, "epoch": 3}, "optimizer": {"state": {}}},
            "under model, under state_dict",
        ),
        ({"model": PLAIN, "state_dict": {"epoch": 3}}, "under model"),  # only one of them leads to tensors
        ({name: value.half() for name, value in PLAIN.items()}, "float16 made float32"),
        (
            {"model": {name: value.bfloat16() for name, value in PLAIN.items()}},
            "under model, bfloat16 made float32",
        ),
    ],
)
def test_what_programs_put_around_weights_is_taken_off_and_said(tmp_path, held, said):
    torch.save(held, tmp_path / "weights.pth")
    state, words = state_in(contents(tmp_path / "weights.pth"), tmp_path / "weights.pth")
    assert_equal(state, PLAIN)
    assert words == said and {value.dtype for value in state.values()} == {torch.float32}


def test_an_averaged_models_count_keeps_its_name_and_whole_numbers_stay_whole(tmp_path):
    """torch.optim.swa_utils.AveragedModel puts its count beside the prefixed names."""
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.BatchNorm1d(3))
    state, words = state_in(averaged.state_dict(), tmp_path)
    assert words == "without module." and {"n_averaged", "num_batches_tracked", "running_mean"} < state.keys()
    assert state["num_batches_tracked"].dtype == torch.int64


def test_what_torchvisions_reference_script_saves_is_read_and_its_settings_are_allowed_for_that_alone(
    tmp_path,
):
    """references/detection/train.py saves model, optimizer, lr_scheduler, args and epoch; args is a Namespace."""
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[16, 22])
    held = {
        "model": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "lr_scheduler": scheduler.state_dict(),
        "args": argparse.Namespace(lr=0.1, lr_steps=[16, 22], device="cuda", weights=None),
        "epoch": 25,
    }
    torch.save(held, tmp_path / "model_25.pth")
    assert_equal(read_file(tmp_path / "model_25.pth"), network.state_dict())
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    held["args"].helper = Trap(tmp_path / "it ran")  # within it nothing else is allowed
    torch.save(held, tmp_path / "model_25.pth")
    assert "wanted the weights alone" in refusal(read_file, tmp_path / "model_25.pth")
    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize(
    "held, sentence",
    [
        (
            {"model": PLAIN, "state_dict": PLAIN},
            "holds weights under state_dict and under model, and which are meant",
        ),
        (PLAIN | prefixed("module."), "has both module.features.0.weight and features.0.weight"),
        (
            {"epoch": 3, "loss": 2.5},
            "holds dict with 'epoch', 'loss'; wanted tensors by name, alone or under state_dict, model_state_dict, ",
        ),
        ({"model": {"model": {"model": PLAIN}}}, "holds dict with 'model'; wanted tensors by name"),
    ],
)
def test_weights_that_would_have_to_be_guessed_are_refused(tmp_path, held, sentence):
    assert sentence in refusal(state_in, held, tmp_path / "weights.pth")


@pytest.mark.parametrize("half", [False, True])
def test_safetensors_are_read_whatever_the_file_is_called(tmp_path, half):
    pytest.importorskip("safetensors")
    state = {f"module.{name}": value.half() if half else value for name, value in PLAIN.items()}
    assert_equal(read_file(in_safetensors(tmp_path / "weights.pth", state)), PLAIN)


def test_broken_safetensors_are_called_so(tmp_path):
    pytest.importorskip("safetensors")
    path = in_safetensors(tmp_path / "weights.safetensors", PLAIN)
    path.write_bytes(path.read_bytes()[:-5])
    assert "a safetensors file, broken or cut off" in refusal(read_file, path)


def test_without_the_package_a_safetensors_file_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    path = in_safetensors(tmp_path / "weights.safetensors", PLAIN)
    assert refusal(read_file, path) == f"{path}: a safetensors file; to read it, pip install safetensors"


class Network(torch.nn.Module):
    """One of somebody's own, pickled whole."""


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():  # torch would have people use something newer
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), path)


def keras_model(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("metadata.json", "config.json", "model.weights.h5"):
            archive.writestr(name, "{}")


WAYS_OUT = {
    "a whole module of torch's": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        "holds a pickled torch.nn.modules.linear.Linear, and opening that would execute code of the file; wanted the "
        "weights alone, saved by the program that wrote it: torch.save(model.state_dict(), 'weights.pth')",
    ),
    "a whole module of one's own, wrapped": (
        lambda path: torch.save({"epoch": 3, "model": Network()}, path),
        f"holds a pickled {__name__}.Network, ",
    ),
    "a whole module in the old layout": (
        lambda path: torch.save(torch.nn.Linear(2, 2), path, _use_new_zipfile_serialization=False),
        "holds a pickled torch.nn.modules.linear.Linear, ",
    ),
    "a number of numpy's beside the state": (
        lambda path: torch.save({"state_dict": PLAIN, "best": np.float64(0.7)}, path),
        "multiarray.scalar, ",
    ),
    "a module by pickle itself": (
        lambda path: path.write_bytes(pickle.dumps(torch.nn.Linear(2, 2))),
        "holds a pickled object that PyTorch didn't save, ",
    ),
    "TorchScript": (
        torchscript,
        "a TorchScript program; wanted its weights: model = torch.jit.load(FILE), torch.save(",
    ),
    "a model of Keras 3": (keras_model, "a whole model of Keras; wanted its weights: model.save_weights("),
    "Caffe's": (
        lambda path: path.rename(path.with_suffix(".caffemodel")).write_bytes(b"\n\x0eVGG_VOC0712_SSD"),
        "Caffe's own format, which isn't read; wanted a run or a network that PyTorch or Keras saved",
    ),
}


@pytest.mark.filterwarnings("error")  # one sentence and nothing beside it
@pytest.mark.parametrize("kind", WAYS_OUT)
def test_what_is_refused_is_refused_for_its_real_reason_with_the_way_out(tmp_path, kind):
    make, sentence = WAYS_OUT[kind]
    (tmp_path / "VGG_VOC0712.pth").touch()
    make(tmp_path / "VGG_VOC0712.pth")
    [path] = tmp_path.iterdir()
    message = refusal(read_file, path)
    assert sentence in message and "broken" not in message


# --- VGG16 to start from


@pytest.fixture(scope="module")
def vgg16() -> Named:
    """A state with the names and shapes of torchvision's VGG16. The two large tensors are zero but for a few
    entries that say where they stand; memory that is never written costs nothing."""
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in torchvision.models.vgg16(weights=None).state_dict().items()}
    random = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(shape, generator=random) if "features" in name else torch.zeros(shape)
        for name, shape in shapes.items()
    }
    state["classifier.0.bias"] = torch.arange(4096).float()
    state["classifier.3.bias"] = torch.arange(4096).float() + 10000
    for value, (output, channel, row, column) in enumerate(FC6_MARKS, start=1):
        # the classifier sees the 512 maps of 7 x 7 in one row, map after map
        state["classifier.0.weight"][output, channel * 49 + row * 7 + column] = value
    for value, place in enumerate(FC7_MARKS, start=1):
        state["classifier.3.weight"][place] = value
    return state


# output, channel, row, column of the 7 x 7 kernel
FC6_KEPT = [(0, 0, 0, 0), (4, 1, 3, 0), (4, 1, 0, 3), (8, 511, 6, 3), (4092, 200, 6, 6), (2000, 77, 3, 6)]
FC6_MARKS = FC6_KEPT + [
    (1, 0, 0, 0),
    (2, 1, 3, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 5),
    (4095, 200, 6, 6),
    (8, 3, 2, 2),
]
FC7_KEPT = [(0, 0), (4, 8), (8, 4), (4092, 4092)]
FC7_MARKS = FC7_KEPT + [(1, 0), (0, 1), (4095, 4092), (6, 6)]


def test_fc6_keeps_every_fourth_output_and_the_taps_0_3_6(vgg16):
    kernel = from_vgg16(vgg16)["body.fc6.0.weight"]
    assert kernel.shape == (1024, 512, 3, 3)
    expected = {(o // 4, c, y // 3, x // 3): v for v, (o, c, y, x) in enumerate(FC6_KEPT, start=1)}
    assert {tuple(place): kernel[tuple(place)].item() for place in kernel.nonzero().tolist()} == expected


def test_fc7_keeps_every_fourth_output_of_every_fourth_input(vgg16):
    kernel = from_vgg16(vgg16)["body.fc7.0.weight"]
    assert kernel.shape == (1024, 1024, 1, 1)
    expected = {(o // 4, i // 4, 0, 0): v for v, (o, i) in enumerate(FC7_KEPT, start=1)}
    assert {tuple(place): kernel[tuple(place)].item() for place in kernel.nonzero().tolist()} == expected


def test_the_biases_of_fc6_and_fc7_are_thinned_out_alike(vgg16):
    state = from_vgg16(vgg16)
    assert state["body.fc6.0.bias"].tolist() == list(range(0, 4096, 4))
    assert state["body.fc7.0.bias"].tolist() == list(range(10000, 14096, 4))


def test_the_convolutions_after_the_first_are_taken_as_they_are(vgg16):
    state = from_vgg16(vgg16)
    for name, place in list(VGG_NAMES.items())[1:13]:
        for kind in ("weight", "bias"):
            assert torch.equal(state[f"body.{name}.0.{kind}"], vgg16[f"features.{place}.{kind}"])


def test_vgg16_fills_the_layers_up_to_fc7_and_no_others(vgg16):
    model = SSD300()
    missing, unexpected = model.load_state_dict(from_vgg16(vgg16), strict=False)
    assert unexpected == []
    left = {name.split(".")[1] if name.startswith("body") else name.split(".")[0] for name in missing}
    assert left == {*EXTRA_NAMES, "loc", "conf", "conv4_3_norm"}


def test_conv1_1_answers_our_pictures_as_the_original_answered_its_own(vgg16):
    """Theirs: divide by 255, subtract a mean, divide by a deviation. Ours: subtract (123, 117, 104)."""
    original = torchvision.models.VGG16_Weights.IMAGENET1K_V1.transforms()
    rgb = torch.randint(0, 256, (1, 3, 40, 50), generator=torch.Generator().manual_seed(0)).double()
    mean, deviation = (torch.tensor(v).double().reshape(3, 1, 1) for v in (original.mean, original.std))
    kernel, bias = (vgg16[f"features.0.{kind}"].double() for kind in ("weight", "bias"))
    expected = F.conv2d((rgb / 255 - mean) / deviation, kernel, bias, padding=1)
    state = from_vgg16(vgg16)
    kernel, bias = (state[f"body.conv1_1.0.{kind}"].double() for kind in ("weight", "bias"))
    ours = F.conv2d(rgb - torch.tensor([123.0, 117.0, 104.0]).reshape(3, 1, 1), kernel, bias, padding=1)
    inside = (..., slice(1, -1), slice(1, -1))
    assert expected.std() > 1
    assert torch.allclose(ours[inside], expected[inside], atol=1e-4)
    assert not torch.allclose(ours, expected, atol=1e-4)  # at the border our padding is another grey


def test_reading_vgg16_leaves_it_as_it_was(vgg16):
    before = {name: vgg16[name].clone() for name in ("features.0.weight", "features.0.bias")}
    from_vgg16(vgg16)
    assert all(torch.equal(vgg16[name], value) for name, value in before.items())


def test_the_reduced_vgg16_is_renamed_and_nothing_else(small_state):
    theirs = {}
    for name, place in VGG_NAMES.items():
        for kind in ("weight", "bias"):
            theirs[f"{place}.{kind}"] = small_state[f"body.{name}.0.{kind}"]
    state = from_vgg16(theirs)
    assert len(state) == 30
    assert_equal(state, {name: small_state[name] for name in state})


# --- Refusals


@pytest.mark.parametrize("call", [from_state, from_vgg16])
@pytest.mark.parametrize(
    "state", [{}, {"encoder.weight": torch.zeros(1)}], ids=["empty", "of something else"]
)
def test_a_state_of_something_else_is_refused_with_what_was_wanted(call, state):
    message = refusal(call, state)
    assert "wanted" in message and all(name in message for name in state)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_state_with_a_tensor_missing_is_refused_with_its_name(small_state, program):
    theirs = renamed_by_hand(small_state, program)
    gone = f"{PROGRAMS[program][1]}.3.bias"
    del theirs[gone]
    assert gone in refusal(from_state, theirs)


def test_a_vgg16_with_a_tensor_missing_is_refused_with_its_name(vgg16):
    assert "features.28.bias" in refusal(
        from_vgg16, {name: value for name, value in vgg16.items() if name != "features.28.bias"}
    )


@pytest.mark.parametrize("gone", ["classifier.0.weight", "classifier.0.bias", "classifier.3.bias"])
def test_a_vgg16_without_its_classifier_is_refused(vgg16, gone):
    state = {name: value for name, value in vgg16.items() if name != gone}
    assert "wanted a whole VGG16" in refusal(from_vgg16, state)


@pytest.mark.parametrize(
    "name, shape",
    [
        ("classifier.0.weight", (4096, 512)),
        ("classifier.0.weight", (512, 512)),
        ("classifier.3.bias", (512,)),
    ],
)
def test_a_vgg16_with_another_classifier_is_refused_with_both_shapes(vgg16, name, shape):
    said = refusal(from_vgg16, vgg16 | {name: torch.ones(shape)})
    assert f"a VGG16 whose {name} is {shape}, of which" in said
    assert f"wanted {tuple(vgg16[name].shape)}, or the features.* alone" in said


@pytest.mark.parametrize("classifier", ["none", "of NaN"])
def test_the_convolutions_alone_are_taken_unfolded_and_without_fc6_and_fc7(vgg16, classifier):
    """torchvision's IMAGENET1K_FEATURES has a classifier of NaN; its inputs are 0..255 minus the mean, as ours."""
    nan = {n: torch.full_like(v, torch.nan) for n, v in vgg16.items() if n.startswith("classifier")}
    theirs = {n: v for n, v in vgg16.items() if n.startswith("features")}
    state = from_vgg16(theirs | (nan if classifier == "of NaN" else {}))
    wanted = {
        f"body.{name}.0.{kind}": theirs[f"features.{place}.{kind}"]
        for name, place in list(VGG_NAMES.items())[:13]
        for kind in ("weight", "bias")
    }
    assert state.keys() == wanted.keys()
    assert_equal(state, wanted)


def test_a_whole_ssd_is_no_vgg16_and_the_other_way_round(small_state, vgg16):
    assert "VGG16" in refusal(from_vgg16, renamed_by_hand(small_state, "amdegroot"))
    assert "features.0.weight" in refusal(from_state, vgg16)


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


WHOLE = saved({"conv": torch.zeros(1000)})
FILES = {
    "truncated": WHOLE[: len(WHOLE) // 2],
    "without its end": WHOLE[:-30],
    "empty": b"",
    "text": b"<!DOCTYPE html><title>404</title>",
    "a JPEG": b"\xff\xd8\xff\xe0" + bytes(200),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "a list": saved([torch.zeros(3)]),
    "numbers": saved({"epoch": 3, "loss": 2.5}),
    "tensors by number": saved({0: torch.zeros(3)}),
    "a wrapped number": saved({"model": 3}),
    "a whole network": saved(torch.nn.Linear(2, 2)),
    "another pickle": pickle.dumps({"conv": [1, 2, 3]}, protocol=2),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_holds_no_weights_is_refused_in_one_sentence_with_its_name(tmp_path, kind):
    path = tmp_path / "VGG_VOC0712.pth"
    path.write_bytes(FILES[kind])
    message = refusal(read_file, path)
    assert message.startswith(f"{path}: ")
    # torch would advise to switch its protection off, at length
    assert "weights_only" not in message and ". " not in message.removeprefix(str(path))


def test_a_file_that_is_not_there_or_a_folder_is_refused_with_its_name(tmp_path):
    assert str(tmp_path / "none.pth") in refusal(read_file, tmp_path / "none.pth")
    assert str(tmp_path) in refusal(read_file, tmp_path)


class Trap:
    """A pickle that runs a command when it is opened, as a hostile checkpoint would."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self):
        return Path.touch, (self.sign,)


def pickled(value) -> bytes:
    return pickle.dumps(value, protocol=2)


@pytest.mark.parametrize("save", [pickled, saved])
def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path, save):
    sign, path = tmp_path / "it ran", tmp_path / "weights.pth"
    path.write_bytes(save({"model": Trap(sign)}))
    assert str(path) in refusal(read_file, path)
    assert not sign.exists()
    pickle.loads(pickle.dumps(Trap(sign)))
    assert sign.exists()  # it would have


def test_a_good_file_is_read_as_it_was_saved(tmp_path, small_state):
    torch.save(small_state, tmp_path / "state.pth")
    assert_equal(dict(read_file(tmp_path / "state.pth")), small_state)
