"""What ssd_keras saved as HDF5 -> the state of our network.

Its layers have the names of Caffe, as ours do, its kernels are (height, width, inputs, outputs), and its first
layer takes BGR, into which the network turns RGB itself (models/keras_ssd300.py). Files of both kinds are read: the
weights alone (`save_weights`), and a full model, which keeps the same under `model_weights`.

Only arrays are read. A full model also carries `model_config` with the byte code of its Lambda layers, which Keras
would run; nothing here looks at it. So the file can't say either whether it was built with settings other than the
program's own: BGR inside, anchors unclipped.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssdlib.anchors import SSD300 as SPEC
from ssdlib.model import BODY
from ssdlib.weights import WeightsError, num_classes_of

SIGNATURE = b"\x89HDF\r\n\x1a\n"
SCALE = "conv4_3_norm"
SSD512 = "conv10_2_mbox_loc"  # its seventh pair of heads


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does. Raises OSError if it can't be read."""
    with open(path, "rb") as file:
        return file.read(len(SIGNATURE)) == SIGNATURE


def from_keras(path: Path) -> dict[str, Tensor]:
    """A whole SSD300 by ssd_keras, with 21 classes or as many as `weights` knows -> our state, float32, RGB.

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
    arrays = {}
    for ours, theirs in _names().items():
        # versions of Keras call the arrays differently ("kernel:0", "conv1_1_W:0"); their dimensions tell them apart
        kinds = {1: "weight"} if theirs == SCALE else {4: "weight", 1: "bias"}
        found = _arrays_below(layers[theirs]) if theirs in layers else []
        if sorted(array.ndim for array in found) != sorted(kinds):
            some = ", ".join(ascii(name)[1:-1][:40] for name in list(layers)[:3]) or "none"
            raise WeightsError(
                f"no weights of a layer {theirs}, layers are {some} ...; wanted SSD300 by ssd_keras"
            )
        arrays |= {f"{ours}.{kinds[array.ndim]}": array for array in found}
    # before anything is read: a file may promise more than fits into memory
    num_classes_of({name: tuple(array.shape[i] for i in _to_oihw(array)) for name, array in arrays.items()})
    state = {
        name: torch.from_numpy(array.astype("float32")[()]).permute(_to_oihw(array)).contiguous()
        for name, array in arrays.items()
    }
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


def _to_oihw(array: Any) -> tuple[int, ...]:
    """The order in which an array's dimensions are ours."""
    return (3, 2, 0, 1) if array.ndim == 4 else (0,)
