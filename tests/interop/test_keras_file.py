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
    file["block1_conv1/block1_conv1/kernel:0"] = np.zeros((3, 3, 3, 64))


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
        (another_network, "layers are block1_conv1 ...; wanted SSD300 by ssd_keras"),
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


@pytest.mark.parametrize("left", [8, 1000, -100])
def test_a_file_cut_off_is_refused(tmp_path, marked, left):
    foreign.write_keras(tmp_path / "whole.h5", marked)
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:left])
    assert "an HDF5 file, broken or cut off" in refusal(tmp_path / "cut.h5")
