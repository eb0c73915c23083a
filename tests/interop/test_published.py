"""Detectors of other programs: recognised by content, with their anchors and classes, and refused by name."""

import io
import pickle
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

import foreign
from ssdlib import coding
from ssdlib.anchors import SSD300_ANCHORS, default_boxes
from ssdlib.data import voc
from ssdlib.detect import detect
from ssdlib.interop.published import COCO_ANCHORS, Translated, load_detector, read_weights, starting_weights
from ssdlib.interop.weights import WeightsError
from ssdlib.model import SSD300
from ssdlib.records import Predictions
from ssdlib.training.runs import RunConfig

# the official category numbers of COCO (cocodataset.org), which torchvision counts by
COCO_IDS = {
    **{"person": 1, "bicycle": 2, "car": 3, "motorbike": 4, "aeroplane": 5, "bus": 6, "train": 7, "boat": 9},
    **{"bird": 16, "cat": 17, "dog": 18, "horse": 19, "sheep": 20, "cow": 21, "bottle": 44, "chair": 62},
    **{"sofa": 63, "pottedplant": 64, "diningtable": 67, "tvmonitor": 72},
}
MINI_RUN = Path(__file__).parents[2] / "chapters/recordings/mini"
KINDS = ("ssd_keras weights", "ssd_keras model", "amdegroot", "lufficc", "torchvision")
COCO = torchvision.models.detection.SSD300_VGG16_Weights.COCO_V1.meta["categories"]


class Saying(nn.Module):
    """A network that says the same whatever it sees."""

    def __init__(self, offsets, logits):
        super().__init__()
        self.said = Predictions(offsets, logits)

    def forward(self, images):
        return self.said


def refusal(path) -> str:
    """What the WeightsError says after the name of the file; one line without control characters."""
    with pytest.raises(WeightsError) as caught:
        load_detector(path)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 320 and message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


# --- What a file is, and what it doesn't say


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_written_by_any_program_comes_back_and_its_name_does_not_matter(tmp_path, kind):
    state = foreign.marked_state()
    foreign.write(tmp_path / "holiday.jpg", kind, state)
    published = read_weights(tmp_path / "holiday.jpg")
    assert published.source == kind.split()[0]
    assert published.state.keys() == state.keys()
    assert all(torch.equal(published.state[name], state[name]) for name in state)
    assert published.classes == voc.CLASSES
    wanted = {"ssd_keras": "none", "amdegroot": "center", "lufficc": "center", "torchvision": "size"}
    assert published.clip_anchors == wanted[published.source]
    assert published.spec == (COCO_ANCHORS if kind == "torchvision" else SSD300_ANCHORS)


def test_ninety_one_classes_of_torchvision_are_cocos(tmp_path):
    foreign.write(tmp_path / "coco.pth", "torchvision", foreign.state_that_finds(1, 91))
    assert list(read_weights(tmp_path / "coco.pth").classes) == COCO


def test_weights_of_half_precision_become_float32(tmp_path):
    state = {name: value.half() for name, value in foreign.marked_state().items()}
    foreign.write(tmp_path / "half.pth", "amdegroot", state)
    assert {value.dtype for value in read_weights(tmp_path / "half.pth").state.values()} == {torch.float32}


def test_torchvisions_anchors_are_those_of_its_own_generator():
    with torch.device("meta"):
        theirs = torchvision.models.detection.ssd300_vgg16(weights=None, weights_backbone=None)
    images = torchvision.models.detection.image_list.ImageList(torch.zeros(1, 3, 300, 300), [(300, 300)])
    maps = [torch.zeros(1, 1, side, side) for side in (38, 19, 10, 5, 3, 1)]
    [expected] = theirs.anchor_generator(images, maps)
    assert torch.allclose(default_boxes(COCO_ANCHORS, "size"), expected, atol=1e-3)
    assert not torch.allclose(default_boxes(COCO_ANCHORS), expected, atol=1)


@pytest.mark.parametrize("program", ["amdegroot", "lufficc", "torchvision"])
@pytest.mark.parametrize(
    "wrapper, prefix, said",
    [
        ("state_dict", "module.", "(under state_dict, without module.)"),
        ("model_state_dict", "", "(under model_state_dict)"),
        ("weight", "model.", "(under weight, without model.)"),
        ("", "_orig_mod.", "(without _orig_mod.)"),
    ],
)
def test_a_detector_is_found_under_wrappers_and_prefixes_and_they_are_told(
    tmp_path, program, wrapper, prefix, said
):
    state = foreign.marked_state()
    named = (
        foreign.as_torchvision(state) if program == "torchvision" else foreign.renamed_by_hand(state, program)
    )
    named = {f"{prefix}{name}": value for name, value in named.items()}
    torch.save({wrapper: named, "epoch": 12} if wrapper else named, tmp_path / "best.pth.tar")
    published = read_weights(tmp_path / "best.pth.tar")
    assert published.source == program and all(
        torch.equal(published.state[name], state[name]) for name in state
    )
    assert str(published).endswith(said)


@pytest.mark.parametrize("kind", ["lufficc", "vgg16", "a run"])
def test_a_file_is_read_once(tmp_path, monkeypatch, kind):
    path = tmp_path / "weights.pth"
    if kind == "lufficc":
        foreign.write(path, kind, foreign.marked_state())
    elif kind == "vgg16":
        torch.save(vgg16(), path)
    else:
        path = MINI_RUN
    loaded, real = [], torch.load
    monkeypatch.setattr(torch, "load", lambda *a, **k: loaded.append(a) or real(*a, **k))
    read_weights(path)
    if kind != "vgg16":
        load_detector(path)
        assert len(loaded) == 2
    starting_weights(path, RunConfig() if kind != "a run" else load_detector(path)[1])
    assert len(loaded) == {"lufficc": 3, "vgg16": 2, "a run": 4}[kind]


def test_what_was_done_to_a_vgg16_of_torchvisions_is_told(tmp_path, monkeypatch):
    """Its own training wants other inputs; Caffe's are taken as they are. Nothing of the 0.5 GB is written."""
    whole = vgg16() | {
        "classifier.0.weight": torch.zeros(1).expand(4096, 25088),
        "classifier.3.weight": torch.zeros(1).expand(4096, 4096),
        **{f"classifier.{i}.bias": torch.zeros(4096) for i in (0, 3)},
    }
    (tmp_path / "vgg16.pth").write_bytes(b"stands for it")
    said = []
    for state in (whole, vgg16()):
        monkeypatch.setattr(torch, "load", lambda *_, state=state, **__: state)
        said.append(str(read_weights(tmp_path / "vgg16.pth")))
    assert said == [
        "conv1_1 ... fc7 of a VGG16, its inputs' mean and deviation folded into conv1_1, fc6 and fc7 thinned out",
        "conv1_1 ... conv5_3 of a VGG16, taken for Caffe's (inputs 0..255 minus the mean)",
    ]


def vgg16():
    """The 13 convolutions under torchvision's names, all of them 0."""
    shapes = foreign.shapes()
    return {
        f"features.{foreign.VGG_NAMES[layer]}.{kind}": torch.zeros(shapes[f"body.{layer}.0.{kind}"])
        for layer in foreign.VGG
        for kind in ("weight", "bias")
    }


# --- Our anchors and our classes


@pytest.mark.parametrize(
    "spec, clip", [(SSD300_ANCHORS, "center"), (COCO_ANCHORS, "size"), (SSD300_ANCHORS, "none")]
)
def test_translated_offsets_lead_to_the_boxes_that_the_own_anchors_give(spec, clip):
    anchors = default_boxes(spec, clip)
    random = torch.Generator().manual_seed(0)
    offsets, logits = (torch.randn(2, len(anchors), n, generator=random) for n in (4, 21))
    said = Translated(Saying(offsets, logits), anchors, voc.CLASSES)(torch.zeros(2, 3, 300, 300))
    expected = coding.decode(offsets, anchors)
    assert torch.allclose(coding.decode(said.offsets, default_boxes()), expected, atol=2e-3)
    far = (coding.decode(offsets, default_boxes()) - expected).abs().max()
    assert far == 0 if clip == "none" else far > 10  # what taking the wrong anchors would have cost
    assert torch.allclose(said.logits, logits, atol=1e-5)


def test_cocos_other_classes_count_as_background_and_vocs_keep_their_probabilities():
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 8732, 91, generator=random) * 3
    said = Translated(Saying(torch.zeros(1, 8732, 4), logits), default_boxes(), tuple(COCO))(None)
    ours, theirs = said.logits.double().softmax(-1), logits.double().softmax(-1)
    assert ours.shape == (1, 8732, 21)
    for label, name in enumerate(voc.CLASSES[1:], start=1):
        assert torch.allclose(ours[..., label], theirs[..., COCO_IDS[name]], atol=1e-6), name
    others = [i for i in range(91) if i not in COCO_IDS.values()]
    assert torch.allclose(ours[..., 0], theirs[..., others].sum(-1), atol=1e-6)


def test_a_network_that_sees_only_background_finds_nothing():
    logits = torch.zeros(1, 8732, 91)
    logits[..., 0] = 9
    network = Translated(Saying(torch.zeros(1, 8732, 4), logits), default_boxes(), tuple(COCO))
    [found] = detect(network(None), default_boxes(), [(500, 375)])
    assert len(found) == 0


def test_what_needs_no_translation_is_the_plain_network(tmp_path):
    foreign.write(tmp_path / "ssd.h5", "ssd_keras model", foreign.marked_state())
    foreign.write(tmp_path / "ssd.pth", "lufficc", foreign.marked_state())
    plain, config, kind = load_detector(tmp_path / "ssd.h5")
    translated, _, _ = load_detector(tmp_path / "ssd.pth")
    assert type(plain) is SSD300 and type(translated) is Translated
    assert not plain.training and not translated.training
    assert config.precision == "float32"
    assert kind == (
        "SSD300 by ssd_keras; classes: VOC's; anchors: 10, 20, 37, 54, 71, 88, 105 percent, clipped: none"
    )


# --- Refusals


@pytest.mark.parametrize("program", ["torchvision", "Keras"])
def test_a_vgg16_is_no_detector_and_what_it_is_for_is_said(tmp_path, program):
    if program == "Keras":
        state = {
            name: value for name, value in foreign.marked_state().items() if name.split(".")[1] in foreign.VGG
        }
        foreign.write_keras_vgg16(tmp_path / "vgg16.h5", state, "keras 2")
    else:
        torch.save(vgg16(), tmp_path / "vgg16.h5")
    message = refusal(tmp_path / "vgg16.h5")
    assert message.startswith(
        "conv1_1 ... conv5_3 of a VGG16, taken for Caffe's (inputs 0..255 minus the mean)"
    )
    assert "which detects nothing by itself; wanted an SSD300. To train one from it: train --init" in message
    assert ("BGR turned into RGB" in message) == (program == "Keras")


def test_our_own_weights_without_their_settings_are_refused_as_that(tmp_path):
    torch.save({"model": SSD300(width=1 / 16).state_dict()}, tmp_path / "mine.pth")
    assert refusal(tmp_path / "mine.pth") == (
        "weights of this library's network without their settings (classes, width ...); "
        "wanted the run's folder, or a checkpoint.pt or best.pt in it"
    )


def saved(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Trap:
    """A pickle that runs a command when it is opened, as a hostile checkpoint would."""

    def __init__(self, sign: Path):
        self.sign = sign

    def __reduce__(self):
        return Path.touch, (self.sign,)


FILES = {
    "a JPEG image; wanted": b"\xff\xd8\xff\xe0" + bytes(200),
    "a PNG image; wanted": b"\x89PNG\r\n\x1a\n" + bytes(200),
    "a web page, perhaps that of a download; wanted": b"<!DOCTYPE html><title>Quota exceeded</title>",
    "a Git LFS pointer without its file; wanted": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "an HDF5 file, broken or cut off": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "broken, or no file of tensors": saved({"conv": torch.zeros(1000)})[:900],
    "state with names like 0.weight, 0.bias": saved({"0.weight": torch.zeros(1), "0.bias": torch.zeros(1)}),
    "broken, or no file of tensors (EOFError); wanted": b"",
}


@pytest.mark.parametrize("sentence", FILES)
def test_a_wrong_file_is_named_with_what_it_is_and_what_was_wanted(tmp_path, sentence):
    (tmp_path / "VGG_VOC0712.pth").write_bytes(FILES[sentence])
    message = refusal(tmp_path / "VGG_VOC0712.pth")
    assert message.startswith(sentence) and "wanted" in message and ". " not in message


def test_a_hostile_file_is_refused_and_runs_nothing(tmp_path):
    sign, path = tmp_path / "it ran", tmp_path / "weights.pth"
    for hostile in (pickle.dumps({"model": Trap(sign)}, protocol=2), saved({"loc.0.weight": Trap(sign)})):
        path.write_bytes(hostile)
        assert "wanted" in refusal(path)
    assert not sign.exists()
    pickle.loads(pickle.dumps(Trap(sign)))
    assert sign.exists()  # it would have


@pytest.mark.parametrize("kind", ["amdegroot", "lufficc"])
def test_ssd512_is_recognised_by_its_seventh_map(tmp_path, kind):
    heads = foreign.PROGRAMS[kind][2]
    state = foreign.renamed_by_hand(foreign.marked_state(), kind) | {f"{heads}.6.weight": torch.zeros(16)}
    torch.save(state, tmp_path / "ssd512.pth")
    assert refusal(tmp_path / "ssd512.pth") == f"SSD512 (it has {heads}.6.weight); wanted SSD300"


@pytest.mark.parametrize(
    "kind, num_classes", [("amdegroot", 81), ("lufficc", 91), ("ssd_keras weights", 91), ("torchvision", 20)]
)
def test_classes_whose_order_nobody_told_are_refused(tmp_path, kind, num_classes):
    foreign.write(tmp_path / "ssd", kind, foreign.state_that_finds(1, num_classes))
    message = refusal(tmp_path / "ssd")
    assert f"{num_classes} classes" in message and "wanted" in message and "21" in message


def test_a_narrow_network_is_refused_with_the_shapes(tmp_path):
    state = {name: torch.zeros(1).expand(shape) for name, shape in foreign.shapes(width=1 / 8).items()}
    foreign.write(tmp_path / "ssd.pth", "amdegroot", state)
    message = refusal(tmp_path / "ssd.pth")
    assert "body.conv1_1.0.weight is (16, 3, 3, 3), wanted (64, 3, 3, 3)" in message


@pytest.mark.parametrize("kind", ["ssd_keras model", "lufficc"])
def test_weights_that_are_no_numbers_any_more_are_refused(tmp_path, kind):
    state = foreign.marked_state()
    state["loc.fc7.bias"][3] = float("nan")
    foreign.write(tmp_path / "ssd", kind, state)
    assert "loc.fc7.bias isn't finite, the training diverged" in refusal(tmp_path / "ssd")
