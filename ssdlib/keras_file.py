"""What ssd_keras and Keras saved as HDF5 -> the state of our network.

Its layers have the names of Caffe, as ours do, its kernels are (height, width, inputs, outputs), and its first
layer takes BGR, into which the network turns RGB itself (models/keras_ssd300.py). Files of both kinds are read: the
weights alone (`save_weights`), and a full model, which keeps the same under `model_weights`.

VGG16, to start training from, comes in three layouts, all of them with Caffe's weights, for BGR minus the mean:
    conv1_1 ... fc7                  what ssd_keras starts from (VGG_ILSVRC_16_layers_fc_reduced.h5)
    block1_conv1 ... block5_conv3    Keras's own (vgg16_..._notop.h5), with fc1 and fc2 if it has its top
    layers/conv2d ... conv2d_12      the same by `save_weights` of Keras 3 (.weights.h5): layers of a kind are counted

Only arrays are read. A full model also carries `model_config` with the byte code of its Lambda layers, which Keras
would run; nothing here looks at it. So the file can't say either whether it was built with settings other than the
program's own: BGR inside, anchors unclipped.
"""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssdlib.anchors import SSD300 as SPEC
from ssdlib.model import BODY, PRETRAINED, SSD300
from ssdlib.weights import VGG, WeightsError, num_classes_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SCALE = "conv4_3_norm"
FULLY_CONNECTED = {
    "fc6": (7, 7, 512, 4096),
    "fc7": (1, 1, 4096, 4096),
}  # Keras's fc1 and fc2, as convolutions
SSD512 = "conv10_2_mbox_loc"  # its seventh pair of heads


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does. Raises OSError if it can't be read."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def from_keras(path: Path) -> dict[str, Tensor]:
    """A whole SSD300 by ssd_keras, with 21 classes or as many as `weights` knows -> our state, float32, RGB.

    Or a VGG16 -> its layers conv1_1 ... conv5_3 of our state, to fc7 where the file has fc6 and fc7.

    Raises WeightsError, naming the file, if it is broken or of another network, or if h5py isn't installed.
    """
    try:
        import h5py  # here, because not everybody has such a file
    except ImportError:
        raise WeightsError(f"{path}: an HDF5 file; to read it, pip install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            return _state(file)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except Exception as error:  # h5py raises whatever the broken file provokes
        raise WeightsError(
            f"{path}: an HDF5 file, broken or cut off ({type(error).__name__}); wanted a whole one by ssd_keras"
        ) from error


def _state(file: Any) -> dict[str, Tensor]:
    """The state in an open h5py.File."""
    layers = file["model_weights"] if "model_weights" in file else file
    if SSD512 in layers:
        raise WeightsError(f"SSD512 by ssd_keras (it has a layer {SSD512}); wanted SSD300")
    if SCALE not in layers and (found := _vgg16_layers(layers)):
        return _vgg16(found)
    arrays = {}
    for ours, theirs in _names().items():
        # versions of Keras call the arrays differently ("kernel:0", "conv1_1_W:0"); their dimensions tell them apart
        kinds = {1: "weight"} if theirs == SCALE else {4: "weight", 1: "bias"}
        found = _arrays_below(layers[theirs]) if theirs in layers else []
        if sorted(array.ndim for array in found) != sorted(kinds):
            some = ", ".join(ascii(name)[1:-1][:40] for name in list(layers)[:3]) or "none"
            raise WeightsError(
                f"no weights of a layer {theirs}, layers are {some} ...; "
                "wanted SSD300 by ssd_keras, or VGG16 by Keras"
            )
        arrays |= {f"{ours}.{kinds[array.ndim]}": array for array in found}
    # before anything is read: a file may promise more than fits into memory
    num_classes_of({name: tuple(array.shape[i] for i in _to_oihw(array)) for name, array in arrays.items()})
    state = {name: _read(array) for name, array in arrays.items()}
    state["body.conv1_1.0.weight"] = state["body.conv1_1.0.weight"].flip(1)  # BGR -> RGB
    return state


def _vgg16_layers(layers: Any) -> dict[str, Any]:
    """Caffe's name of a layer -> its h5py.Group, in a file of a VGG16 in one of three layouts; {} in any other."""
    if "conv1_1" in layers:
        names = {name: name for name in PRETRAINED}
    elif "block1_conv1" in layers:
        names = {name: f"block{name[4]}_conv{name[6]}" for name in VGG} | {"fc6": "fc1", "fc7": "fc2"}
    elif "layers" in layers and "conv2d" in layers["layers"]:
        layers = layers["layers"]
        counted = [name for name in layers if re.fullmatch(r"conv2d(_\d+)?", name)]
        if len(counted) != len(VGG):
            raise WeightsError(f"{len(counted)} convolutions by Keras 3; wanted the {len(VGG)} of VGG16")
        # in the order of their numbers: HDF5 lists conv2d_10 before conv2d_2
        names = {name: f"conv2d_{i}" if i else "conv2d" for i, name in enumerate(VGG)}
        names |= {"fc6": "dense", "fc7": "dense_1"}
    else:
        return {}
    missing = [theirs for ours, theirs in names.items() if ours in VGG and theirs not in layers]
    if missing:
        raise WeightsError(f"no layer {missing[0]}; wanted the {len(VGG)} convolutions of VGG16")
    if not {names["fc6"], names["fc7"]} <= set(layers):
        names = {name: names[name] for name in VGG}
    return {ours: layers[theirs] for ours, theirs in names.items()}


def _vgg16(layers: dict[str, Any]) -> dict[str, Tensor]:
    """Our state from the groups of a VGG16's layers."""
    with torch.device("meta"):
        kernels = {name: tuple(layer[0].weight.shape) for name, layer in SSD300().body.items()}
    state = {}
    for name, group in layers.items():
        found = {array.ndim: array for array in _arrays_below(group)}
        dense = FULLY_CONNECTED.get(name) if 2 in found else None
        wanted = (
            (dense[0] * dense[1] * dense[2], 4096) if dense else tuple(kernels[name][i] for i in (2, 3, 1, 0))
        )
        kernel, bias = found.get(len(wanted)), found.get(1)
        shapes = [array.shape for array in (kernel, bias) if array is not None]
        if shapes != [wanted, wanted[-1:]]:  # before anything is read, as below
            raise WeightsError(
                f"{group.name} holds {shapes}; wanted {[wanted, wanted[-1:]]}, {name} of VGG16"
            )
        if dense:  # thinned out as `from_vgg16` does; Keras lays maps in a row cell after cell, channels last
            kernel = torch.from_numpy(kernel.astype("float32")[()]).view(dense)
            kernel = kernel[::3, ::3, :: 4 if name == "fc7" else 1, ::4]
            state[f"body.{name}.0.weight"] = kernel.permute(3, 2, 0, 1).contiguous()
            state[f"body.{name}.0.bias"] = _read(bias)[::4].clone()
        else:
            state[f"body.{name}.0.weight"], state[f"body.{name}.0.bias"] = _read(kernel), _read(bias)
    state["body.conv1_1.0.weight"] = state["body.conv1_1.0.weight"].flip(1)  # BGR -> RGB
    return state


def _names() -> dict[str, str]:
    """Our layer -> theirs."""
    names = {f"body.{name}.0": name for name in BODY} | {SCALE: SCALE}
    for map_ in SPEC.sources:
        head = SCALE if map_ == "conv4_3" else map_
        names |= {f"loc.{map_}": f"{head}_mbox_loc", f"conf.{map_}": f"{head}_mbox_conf"}
    return names


def _arrays_below(group: Any) -> list[Any]:
    """The datasets in an h5py.Group, however deep, or the dataset itself. Links that lead elsewhere aren't taken."""
    if hasattr(group, "shape"):
        return [group]
    found = []
    group.visititems(lambda _, item: found.append(item) if hasattr(item, "shape") else None)
    return found


def _read(array: Any) -> Tensor:
    """An h5py.Dataset as float32, its dimensions in our order."""
    return torch.from_numpy(array.astype("float32")[()]).permute(_to_oihw(array)).contiguous()


def _to_oihw(array: Any) -> tuple[int, ...]:
    """The order in which an array's dimensions are ours."""
    return (3, 2, 0, 1) if array.ndim == 4 else (0,)
