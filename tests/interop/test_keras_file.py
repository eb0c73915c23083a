"""HDF5 files of ssd_keras: the known weights and answers, by hand where each number goes, clear refusals."""

import lzma
import sys

import h5py
import numpy as np
import pytest
import torch

import foreign
import oracles
from ssdlib.interop.weights import WeightsError, from_keras, is_hdf5
from ssdlib.model import SSD300


def refusal(path) -> str:
    """What the WeightsError says; one line without control characters that begins with the file."""
    with pytest.raises(WeightsError) as caught:
        from_keras(path)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 300 and message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


@pytest.fixture(scope="module")
def unpacked(shared, tmp_path_factory):
    """Name of a reference file -> where it lies unpacked; 105 MB each, and so taken away at the end."""
    folder = tmp_path_factory.mktemp("ssd_keras")

    def unpack(name):
        if not (folder / name).exists():
            packed = shared / "reference" / "checkpoints" / f"{name}.xz"
            (folder / name).write_bytes(lzma.decompress(packed.read_bytes()))
        return folder / name

    yield unpack
    for path in folder.iterdir():
        path.unlink()


@pytest.fixture(scope="module")
def marked():
    return foreign.marked_state()


@pytest.mark.parametrize("name", ["ssd_keras_weights.h5", "ssd_keras_model.h5"])
def test_the_files_of_ssd_keras_hold_the_known_weights(unpacked, pattern_network, name):
    state, known = from_keras(unpacked(name)), pattern_network.state_dict()
    assert state.keys() == known.keys()
    assert all(torch.equal(state[layer], known[layer]) for layer in known)


def test_the_file_of_ssd_keras_gives_its_answers(unpacked, shared):
    with torch.device("meta"):
        model = SSD300().eval()
    model.load_state_dict(from_keras(unpacked("ssd_keras_model.h5")), assign=True)
    with torch.no_grad():
        output = model(oracles.pattern_images())
    expected = np.load(shared / "reference/checkpoints/network_output.npz")
    probabilities = output.logits[0].softmax(dim=-1).numpy()
    assert np.abs(output.offsets[0].numpy() - expected["keras_offsets"]).max() < 2e-3
    assert np.abs(probabilities - expected["keras_probabilities"]).max() < 2e-4


@pytest.mark.parametrize("full_model", [False, True], ids=["weights", "full model"])
@pytest.mark.parametrize("old_names", [False, True], ids=["Keras 2", "Keras 1"])
def test_a_state_written_in_its_layout_comes_back(tmp_path, marked, full_model, old_names):
    foreign.write_keras(tmp_path / "ssd.h5", marked, full_model, old_names)
    state = from_keras(tmp_path / "ssd.h5")
    assert state.keys() == marked.keys()
    assert all(torch.equal(state[name], marked[name]) for name in marked)
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in state.values())


def test_each_number_of_a_kernel_goes_where_it_belongs(tmp_path):
    """Theirs at row, column, input, output; ours at output, input, row, column. Input 0 of conv1_1 is blue there,
    red here; only there is the order of inputs another."""
    foreign.write_keras(tmp_path / "ssd.h5", foreign.state_that_finds(None))
    with h5py.File(tmp_path / "ssd.h5", "r+") as file:
        file["conv1_1/conv1_1/kernel:0"][0, 2, 0, 5] = 7
        file["conv1_2/conv1_2/kernel:0"][0, 2, 0, 5] = 8
        file["fc7_mbox_conf/fc7_mbox_conf/kernel:0"][1, 0, 1000, 3 * 21 + 20] = 9
        file["fc7_mbox_loc/fc7_mbox_loc/bias:0"][5 * 4 + 1] = 10
    state = from_keras(tmp_path / "ssd.h5")
    for name, place, value in (
        ("body.conv1_1.0.weight", [5, 2, 0, 2], 7),
        ("body.conv1_2.0.weight", [5, 0, 0, 2], 8),
        ("conf.fc7.weight", [3 * 21 + 20, 1000, 1, 0], 9),  # box 3, class 20
    ):
        assert state[name].nonzero().tolist() == [place] and state[name][tuple(place)] == value
    assert state["loc.fc7.bias"].view(6, 4)[5].tolist() == [0, 10, 0, 0]  # box 5, y


def test_no_attribute_is_read_and_so_no_model_config(tmp_path, marked, monkeypatch):
    foreign.write_keras(tmp_path / "model.h5", marked, full_model=True)

    def touched(self, name):
        raise AssertionError(f"attribute {name} was read")

    monkeypatch.setattr(h5py.AttributeManager, "__getitem__", touched)
    with h5py.File(tmp_path / "model.h5") as file, pytest.raises(AssertionError):
        file.attrs["model_config"]
    assert len(from_keras(tmp_path / "model.h5")) == 71


def test_without_h5py_it_says_how_to_get_it(tmp_path, marked, monkeypatch):
    foreign.write_keras(tmp_path / "ssd.h5", marked)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert refusal(tmp_path / "ssd.h5") == "an HDF5 file; to read it, pip install h5py"


def test_hdf5_is_known_by_its_content(tmp_path, marked):
    foreign.write_keras(tmp_path / "ssd.pth", marked)
    (tmp_path / "ssd.h5").write_bytes(b"\x89PNG\r\n")
    (tmp_path / "empty.h5").write_bytes(b"")
    assert [is_hdf5(tmp_path / name) for name in ("ssd.pth", "ssd.h5", "empty.h5")] == [True, False, False]


def without(file):
    del file["conv7_1"]


def without_a_bias(file):
    del file["conv7_1/conv7_1/bias:0"]


def another_network(file):
    for name in list(file):
        del file[name]
    file["dense_1/dense_1/kernel:0"] = np.zeros((3, 4))


def nothing(file):
    for name in list(file):
        del file[name]


def seven_maps(file):
    file["conv10_2_mbox_loc/conv10_2_mbox_loc/bias:0"] = np.zeros(16)


def a_number_in_place_of_a_layer(file):
    del file["fc6"]
    file["fc6"] = 3


def more_than_any_memory_holds(file):
    del file["fc6"]
    file.create_dataset("fc6/fc6/kernel:0", (3, 3, 512, 10**12), "float32", chunks=(3, 3, 8, 8))
    file["fc6/fc6/bias:0"] = np.zeros(1024)


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (without, "no weights of a layer conv7_1, layers are"),
        (without_a_bias, "no weights of a layer conv7_1, layers are"),
        (another_network, "layers are dense_1 ...; wanted SSD300 by ssd_keras, or VGG16 by Keras"),
        (nothing, "layers are none ...; wanted SSD300 by ssd_keras"),
        (seven_maps, "SSD512 by ssd_keras (it has a layer conv10_2_mbox_loc); wanted SSD300"),
        (a_number_in_place_of_a_layer, "no weights of a layer fc6, layers are"),
        (
            more_than_any_memory_holds,
            "body.fc6.0.weight is (1000000000000, 512, 3, 3), wanted (1024, 512, 3, 3)",
        ),
    ],
)
def test_a_file_of_another_network_is_refused_in_a_sentence(tmp_path, marked, spoil, sentence):
    foreign.write_keras(tmp_path / "ssd.h5", marked)
    with h5py.File(tmp_path / "ssd.h5", "r+") as file:
        spoil(file)
    assert sentence in refusal(tmp_path / "ssd.h5")


def test_other_numbers_of_classes_are_refused_before_anything_is_read(tmp_path):
    foreign.write_keras(tmp_path / "ssd.h5", foreign.state_that_finds(1, num_classes=81))
    assert "81 classes with background; wanted 21 of VOC" in refusal(tmp_path / "ssd.h5")


# --- VGG16, to start from

LAYOUTS = ("ssd_keras", "keras 1", "keras 2", "keras 3")


def vgg16(layers=foreign.VGG):
    """A state of VGG16's layers in which every kernel says which one it is: small numbers in its first entries."""
    state = {}
    for i, (name, shape) in enumerate(foreign.shapes().items()):
        if name.startswith("body.") and name.split(".")[1] in layers:
            state[name] = torch.zeros(shape)
            state[name].view(-1)[:50] = torch.arange(50) + 100 * i
    return state


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_convolutions_of_a_vgg16_come_back_in_rgb_whatever_their_layout(tmp_path, layout):
    """conv4_2 ... conv5_3 have one shape, and HDF5 lists conv2d_10 before conv2d_2: each has to find its place."""
    foreign.write_keras_vgg16(tmp_path / "vgg16.h5", vgg16(), layout)
    state, known = from_keras(tmp_path / "vgg16.h5"), vgg16()
    assert len(known) == 26 and state.keys() == known.keys()
    assert all(torch.equal(state[name], known[name]) for name in known)
    assert all(value.is_contiguous() and value.dtype == torch.float32 for value in state.values())


def test_input_0_of_keras_conv1_1_is_blue(tmp_path):
    foreign.write_keras_vgg16(tmp_path / "vgg16.h5", {n: 0 * v for n, v in vgg16().items()}, "keras 2")
    with h5py.File(tmp_path / "vgg16.h5", "r+") as file:
        file["block1_conv1/block1_conv1/kernel:0"][0, 2, 0, 5] = 7
        file["block1_conv2/block1_conv2/kernel:0"][0, 2, 0, 5] = 8
    state = from_keras(tmp_path / "vgg16.h5")
    assert state["body.conv1_1.0.weight"].nonzero().tolist() == [[5, 2, 0, 2]]
    assert state["body.conv1_2.0.weight"].nonzero().tolist() == [[5, 0, 0, 2]]


def test_the_file_that_ssd_keras_starts_from_brings_fc6_and_fc7_too(tmp_path):
    known = vgg16((*foreign.VGG, "fc6", "fc7"))
    foreign.write_keras_vgg16(tmp_path / "VGG_ILSVRC_16_layers_fc_reduced.h5", known, "ssd_keras")
    state = from_keras(tmp_path / "VGG_ILSVRC_16_layers_fc_reduced.h5")
    assert len(state) == 30 and all(torch.equal(state[name], known[name]) for name in known)


@pytest.mark.parametrize("layout", ["keras 2", "keras 3"])
def test_the_top_of_keras_vgg16_is_thinned_out_and_its_cells_come_before_its_channels(tmp_path, layout):
    """Row 1, column 2 of map 3 is input (1 * 7 + 2) * 512 + 3 of fc1. Kept: taps 0, 3, 6, every fourth output."""
    foreign.write_keras_vgg16(tmp_path / "vgg16.h5", vgg16(), layout)
    names = ("fc1/fc1/kernel:0", "fc1/fc1/bias:0", "fc2/fc2/kernel:0", "fc2/fc2/bias:0")
    if layout == "keras 3":
        names = tuple(f"layers/dense{i}/vars/{kind}" for i in ("", "_1") for kind in (0, 1))
    with h5py.File(tmp_path / "vgg16.h5", "r+") as file:
        shape = {0: (25088, 4096), 2: (4096, 4096)}
        for i, name in enumerate(names):
            chunks = (512, 512) if i in shape else None  # what isn't written costs nothing
            file.create_dataset(name, shape.get(i, (4096,)), "float32", chunks=chunks)
        for value, (row, column, channel, output) in enumerate(
            [(3, 6, 300, 8), (0, 3, 1, 4092), (1, 3, 1, 8)], 1
        ):
            file[names[0]][(row * 7 + column) * 512 + channel, output] = value
        file[names[2]][40, 80], file[names[2]][41, 80], file[names[2]][40, 81] = 5, 6, 7
        file[names[1]][...], file[names[3]][...] = np.arange(4096), np.arange(4096) + 10000
    state = from_keras(tmp_path / "vgg16.h5")
    fc6, fc7 = state["body.fc6.0.weight"], state["body.fc7.0.weight"]
    assert (fc6.shape, fc7.shape) == ((1024, 512, 3, 3), (1024, 1024, 1, 1))
    assert {tuple(p): fc6[tuple(p)].item() for p in fc6.nonzero().tolist()} == {
        (2, 300, 1, 2): 1,
        (1023, 1, 0, 1): 2,
    }
    assert {tuple(p): fc7[tuple(p)].item() for p in fc7.nonzero().tolist()} == {(20, 10, 0, 0): 5}
    assert state["body.fc6.0.bias"].tolist() == list(range(0, 4096, 4))
    assert state["body.fc7.0.bias"].tolist() == list(range(10000, 14096, 4))


def without_its_last_layer(file):
    del file["block5_conv3"]


def of_other_shape(file):
    del file["block3_conv1"]
    file["block3_conv1/block3_conv1/kernel:0"] = np.zeros((3, 3, 128, 100))
    file["block3_conv1/block3_conv1/bias:0"] = np.zeros(100)


def kernel_without_bias(file):
    del file["block3_conv1/block3_conv1/bias:0"]


@pytest.mark.parametrize(
    "spoil, sentence",
    [
        (without_its_last_layer, "no layer block5_conv3; wanted the 13 convolutions of VGG16"),
        (of_other_shape, "wanted [(3, 3, 128, 256), (256,)], conv3_1 of VGG16"),
        (kernel_without_bias, "/block3_conv1 holds [(3, 3, 128, 256)]; wanted"),
    ],
)
def test_a_vgg16_that_is_not_whole_is_refused_in_a_sentence(tmp_path, spoil, sentence):
    foreign.write_keras_vgg16(tmp_path / "vgg16.h5", vgg16(), "keras 2")
    with h5py.File(tmp_path / "vgg16.h5", "r+") as file:
        spoil(file)
    assert sentence in refusal(tmp_path / "vgg16.h5")


def test_another_network_by_keras_3_is_refused_by_its_number_of_convolutions(tmp_path):
    foreign.write_keras_vgg16(tmp_path / "resnet.weights.h5", vgg16(foreign.VGG[:7]), "keras 3")
    assert "7 convolutions by Keras 3; wanted the 13 of VGG16" in refusal(tmp_path / "resnet.weights.h5")


@pytest.mark.parametrize("left", [8, 1000, -100])
def test_a_file_cut_off_is_refused(tmp_path, marked, left):
    foreign.write_keras(tmp_path / "whole.h5", marked)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:left])
    assert "an HDF5 file, broken or cut off" in refusal(tmp_path / "cut.h5")
