"""Checkpoints that others published -> the state of our network.

Each supported program keeps the same tensors under its own names (the tables below). The programs in PyTorch take
RGB and keep kernels as OIHW, so reading one means renaming its tensors (`from_keras` reads the others). The anchors a
file was trained with differ, and `SOURCES` says which `clip` of `anchors.default_boxes` belongs to it; what else a
whole detector needs is in `published`.

What ssd_keras and Keras saved as HDF5 -> the state of our network.

Its layers have the names of Caffe, as ours do, its kernels are (height, width, inputs, outputs), and its first
layer takes BGR, into which the network turns RGB itself (models/keras_ssd300.py). Files of both kinds are read: the
weights alone (`save_weights`), and a full model, which keeps the same under `model_weights`.

VGG16, to start training from, comes in three layouts, all of them with Caffe's weights, for BGR minus the mean:
    conv1_1 ... fc7                  what ssd_keras starts from (VGG_ILSVRC_16_layers_fc_reduced.h5)
    block1_conv1 ... block5_conv3    Keras's own (vgg16_..._notop.h5), with fc1 and fc2 if it has its top
    layers/conv2d ... conv2d_12      the same by `save_weights` of Keras 3 (.weights.h5): layers of a kind are counted

Only arrays are read. A full model also carries `model_config` with the byte code of its Lambda layers, which Keras
would execute; it isn't read here. So it stays unknown whether the model was built with settings other than the
program's defaults: BGR inside, anchors unclipped.
"""

import argparse
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.model import BODY, MEAN, PRETRAINED, SSD300

VGG = PRETRAINED[:-2]  # conv1_1 ... conv5_3
EXTRAS = tuple(BODY)[len(PRETRAINED) :]
# in torchvision's VGG16 and its followers
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)

# of torchvision's VGG16; those trained on small images have another one
CLASSIFIER = {"classifier.0.weight": (4096, 25088), "classifier.0.bias": (4096,)}
CLASSIFIER |= {"classifier.3.weight": (4096, 4096), "classifier.3.bias": (4096,)}

# each kind of file is recognised by a name that no other kind has
SOURCES = {
    "torchvision": ("backbone.scale_weight", "size"),
    "amdegroot": ("L2Norm.weight", "center"),
    "lufficc": ("backbone.l2_norm.weight", "center"),
}

# keys under which programs keep the weights, beside optimisers and step counts
WRAPPERS = ("state_dict", "model_state_dict", "weight", "model")

# prefixes that DataParallel and its successors, Lightning and torch.compile put before every name
PREFIXES = ("module.", "model.", "_orig_mod.")

NUM_CLASSES = (21, 91)  # VOC's, and COCO's as torchvision counts them; the order of others isn't known

# the first bytes of wrong files, so that the error can say what they are
BEGINNINGS = {
    b"\x89HDF": "an HDF5 file",
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"<": "a web page, perhaps that of a download",
    b"version https://git-lfs": "a Git LFS pointer without its file",
}
SUFFIXES = {  # used where the content doesn't tell: both are protocol buffers
    ".caffemodel": "Caffe's own format, which isn't read",
    ".onnx": "an exported network (ONNX), which no longer holds weights by name",
}


class WeightsError(ValueError):
    """A file holds no weights that are known here. The message names it, what was found and what was wanted."""


def from_state(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """A whole SSD300 by torchvision, amdegroot or lufficc -> (our state, clip of its anchors).

    The heads keep their number of classes, which must be that of the network they are loaded into.
    """
    for source, (mark, clip) in SOURCES.items():
        if mark in state:
            return _renamed(state, _names(source)), clip
    known = ", ".join(f"{mark} ({source})" for source, (mark, _) in SOURCES.items())
    raise WeightsError(f"state with names like {', '.join(list(state)[:3])}: wanted one that has {known}")


def from_vgg16(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """VGG16 -> the layers conv1_1 ... fc7 of our state, or conv1_1 ... conv5_3, to start training from.

    Takes torchvision's classifier ("features.0.weight" ..., "classifier.3.bias"), whose fc6 and fc7 are thinned
    out: every fourth output, and of fc6's 7x7 taps those in rows and columns 0, 3, 6; or the file usually called
    vgg16_reducedfc.pth ("0.weight" ... "33.bias"), where that has been done already.
    Or the 13 convolutions alone, which are taken for Caffe's, made for our RGB - (123, 117, 104): torchvision's
    IMAGENET1K_FEATURES, whose classifier is filled with NaN, or a file of "features.*" only. The first weights of fc6
    and fc7 are then set by `engine.fit_scale`.

    torchvision's whole VGG16 was trained on (RGB/255 - mean)/deviation; conv1_1 is changed so that it gives the
    same outputs for our RGB - (123, 117, 104), except at the border, where our padding means another grey.
    """
    if "31.weight" in state:
        names = dict(zip(PRETRAINED, map(str, (*VGG_PLACES, 31, 33)), strict=True))
        return _renamed(state, {f"body.{name}.0": place for name, place in names.items()})
    classifier = [value for name, value in state.items() if name.startswith("classifier.")]
    features_alone = all(bool(value.isnan().all()) for value in classifier) and "features.0.weight" in state
    whole = {f"classifier.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")} <= state.keys()
    if not (features_alone or whole):
        raise WeightsError(
            f"state with names like {', '.join(list(state)[:3])}: wanted a whole VGG16, or its features.* alone"
        )
    ours = _renamed(state, {f"body.{n}.0": f"features.{p}" for n, p in zip(VGG, VGG_PLACES, strict=True)})
    if features_alone:
        return ours
    for name, shape in CLASSIFIER.items():
        if (found := tuple(state[name].shape)) != shape:
            raise WeightsError(
                f"a VGG16 whose {name} is {found}, of which fc6 and fc7 can't be made: wanted {shape}, or the "
                "features.* alone, if their inputs were 0..255 minus the mean"
            )
    fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)[::4, :, ::3, ::3]
    fc7 = state["classifier.3.weight"].view(4096, 4096, 1, 1)[::4, ::4]
    ours |= {"body.fc6.0.weight": fc6.clone(), "body.fc6.0.bias": state["classifier.0.bias"][::4].clone()}
    ours |= {"body.fc7.0.weight": fc7.clone(), "body.fc7.0.bias": state["classifier.3.bias"][::4].clone()}
    _fold_normalisation(ours)
    return ours


def refuse_broken(state: Mapping[str, Tensor], path: Path) -> None:
    """Raise WeightsError that names the first tensor in which a number isn't finite."""
    for name, value in state.items():
        if not bool(value.isfinite().all()):
            raise WeightsError(
                f"{path}: {name} isn't finite, the training diverged or the file is damaged; "
                "wanted an earlier checkpoint or a fresh download"
            )


def read_file(path: Path) -> dict[str, Tensor]:
    """The state in a file of weights: `state_in` of its `contents`."""
    return state_in(contents(path), path)[0]


def contents(path: Path) -> Any:
    """What a file of PyTorch or of safetensors holds, on the CPU.

    Only tensors and plain values are ever made of it, and an argparse.Namespace, in which torchvision's reference
    scripts keep their settings beside the weights: it holds values and executes nothing. Raises WeightsError that
    names the file, what it is, and where possible the way to something that can be read.
    """
    path = Path(path)
    if path.is_file() and _is_safetensors(path):
        return _from_safetensors(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about foreign files: they are read, or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: not there; wanted a file of weights") from None
    except Exception as error:  # torch raises many kinds of errors on broken files, and advises to trust them
        raise WeightsError(f"{path}: {_reason(path, error)}") from error


def state_in(found: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    """The weights by name, float32, in the `contents` of a file, and what was taken off them as text ("" = nothing).

    Programs keep them under a key (`WRAPPERS`, one in another at most), with a prefix before each name (`PREFIXES`,
    several in a row perhaps), in half precision.
    """
    taken_off: list[str] = []
    for _ in range(2):
        keys = [key for key in WRAPPERS if isinstance(found, Mapping) and _leads_to_tensors(found.get(key))]
        if len(keys) > 1:
            raise WeightsError(
                f"{path}: holds weights under {' and under '.join(keys)}, and which are meant isn't known; "
                f"wanted one of them: torch.save(torch.load(FILE)['{keys[0]}'], 'weights.pth')"
            )
        if keys:
            found = found[keys[0]]
            taken_off.append(f"under {keys[0]}")
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in found.items()
    ):
        what = ", ".join(ascii(key)[:40] for key in list(found)[:3]) if isinstance(found, Mapping) else ""
        raise WeightsError(
            f"{path}: holds {type(found).__name__}{f' with {what}' if what else ''}; "
            f"wanted tensors by name, alone or under {', '.join(WRAPPERS)}"
        )
    bare = {name: re.sub(f"^({'|'.join(map(re.escape, PREFIXES))})+", "", name) for name in found}
    twice = [name for name, short in bare.items() if short != name and short in found]
    if twice:
        raise WeightsError(
            f"{path}: has both {twice[0]} and {bare[twice[0]]}; wanted the weights of one network"
        )
    taken_off += sorted(
        {f"without {name.removesuffix(short)}" for name, short in bare.items() if short != name}
    )
    other = {value.dtype for value in found.values() if value.is_floating_point()} - {torch.float32}
    taken_off += sorted(f"{str(dtype).removeprefix('torch.')} made float32" for dtype in other)
    return {
        bare[name]: value.float() if value.is_floating_point() else value for name, value in found.items()
    }, ", ".join(taken_off)


def num_classes_of(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """C of the full SSD300 whose state, under our names, has these shapes. Raises WeightsError if there is none."""
    rows = sum(shapes["conf.conv4_3.bias"])  # a sum, because files may hold a () there
    boxes = SSD300_ANCHORS.boxes_per_cell[0]
    if rows not in [boxes * known for known in NUM_CLASSES]:
        raise WeightsError(
            f"{rows / boxes:g} classes with background; wanted 21 of VOC, or torchvision's 91 of COCO"
        )
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in SSD300(rows // boxes).state_dict().items()}
    wrong = [name for name, shape in wanted.items() if shapes[name] != shape]
    if wrong:
        raise WeightsError(
            f"{len(wrong)} of {len(wanted)} tensors have other shapes than SSD300's: "
            f"{wrong[0]} is {shapes[wrong[0]]}, wanted {wanted[wrong[0]]}"
        )
    return rows // boxes


def _names(source: str) -> dict[str, str]:
    """Our layer name -> theirs, without ".weight" and ".bias"."""
    if source == "torchvision":
        vgg = [f"backbone.features.{i}" for i in VGG_PLACES[:10]]
        vgg += [f"backbone.extra.0.{i}" for i in (1, 3, 5)] + ["backbone.extra.0.7.1", "backbone.extra.0.7.3"]
        extras = [f"backbone.extra.{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 2)]
        loc, conf = "head.regression_head.module_list", "head.classification_head.module_list"
    elif source == "amdegroot":
        vgg = [f"vgg.{i}" for i in (*VGG_PLACES, 31, 33)]
        extras = [f"extras.{i}" for i in range(8)]
        loc, conf = "loc", "conf"
    else:
        vgg = [f"backbone.vgg.{i}" for i in (*VGG_PLACES, 31, 33)]
        extras = [f"backbone.extras.{i}" for i in range(8)]
        loc, conf = "box_head.predictor.reg_headers", "box_head.predictor.cls_headers"
    names = {f"body.{ours}.0": theirs for ours, theirs in zip(BODY, vgg + extras, strict=True)}
    for i, map_ in enumerate(SSD300_ANCHORS.sources):
        names[f"loc.{map_}"], names[f"conf.{map_}"] = f"{loc}.{i}", f"{conf}.{i}"
    return names


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    wanted = {
        f"{ours}.{kind}": f"{theirs}.{kind}" for ours, theirs in names.items() for kind in ("weight", "bias")
    }
    scale = [mark for mark, _ in SOURCES.values() if mark in state]
    if scale:
        wanted["conv4_3_norm.weight"] = scale[0]
    missing = [theirs for theirs in wanted.values() if theirs not in state]
    if missing:
        raise WeightsError(f"{len(missing)} of {len(wanted)} tensors aren't there, {missing[0]} for one")
    return {ours: state[theirs].clone() for ours, theirs in wanted.items()}


def _leads_to_tensors(value: Any) -> bool:
    """Whether a wrapper holds tensors, or another one that may."""
    return isinstance(value, Mapping) and any(
        isinstance(one, Tensor) or (key in WRAPPERS and isinstance(one, Mapping))
        for key, one in value.items()
    )


def _reason(path: Path, error: Exception) -> str:
    """What a file is that torch can't or won't load, and what was wanted."""
    wanted = "wanted tensors saved by PyTorch"
    save = "torch.save(model.state_dict(), 'weights.pth')"
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            file.seek(max(0, path.stat().st_size - 65_536))
            tail = file.read()  # the end, where a zip archive lists its files
    except OSError as cause:
        return f"{cause.strerror or type(cause).__name__}; {wanted}"
    for beginning, what in BEGINNINGS.items():
        if head.startswith(beginning):
            return f"{what}; {wanted}"
    if "TorchScript" in str(error):
        return f"a TorchScript program; wanted its weights: model = torch.jit.load(FILE), {save}"
    if head.startswith(b"PK") and b"model.weights.h5" in tail:
        return "a whole model of Keras; wanted its weights: model.save_weights('vgg16.weights.h5')"
    pickled = re.search(r"GLOBAL ([\w.]+)", str(error), re.ASCII)
    if pickled:
        return (
            f"holds a pickled {pickled[1][:80]}, and opening that would execute code of the file; "
            f"wanted the weights alone, saved by the program that wrote it: {save}"
        )
    if head[:2] in (b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return (
            "holds a pickled object that PyTorch didn't save, and opening that would execute code of the file; "
            f"wanted the weights alone, saved by the program that wrote it: {save}"
        )
    if path.suffix in SUFFIXES:
        return f"{SUFFIXES[path.suffix]}; wanted a run or a network that PyTorch or Keras saved"
    return f"broken, or no file of tensors ({type(error).__name__}); {wanted}"


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do: eight bytes with the length of a header, and the header, in JSON."""
    with open(path, "rb") as file:
        head = file.read(9)
    return head[8:] == b"{" and int.from_bytes(head[:8], "little") <= path.stat().st_size - 8


def _from_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file  # here, because not everybody has such a file
    except ImportError:
        raise WeightsError(f"{path}: a safetensors file; to read it, pip install safetensors") from None
    try:
        return load_file(path)
    except Exception as error:  # the package has its own kinds of errors
        raise WeightsError(
            f"{path}: a safetensors file, broken or cut off ({type(error).__name__}); wanted a complete one"
        ) from error


def _fold_normalisation(ours: dict[str, Tensor]) -> None:
    """Make conv1_1 take RGB - MEAN where it took (RGB/255 - mean)/deviation."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    kernel = ours["body.conv1_1.0.weight"]
    shift = (torch.tensor(MEAN) / 255 - mean) / deviation  # our 0 in the original's units
    ours["body.conv1_1.0.bias"] = ours["body.conv1_1.0.bias"] + (kernel.sum(dim=(2, 3)) * shift).sum(dim=1)
    ours["body.conv1_1.0.weight"] = kernel / (255 * deviation)[:, None, None]


HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
KERAS_SCALE = "conv4_3_norm"
FULLY_CONNECTED = {
    "fc6": (7, 7, 512, 4096),
    "fc7": (1, 1, 4096, 4096),
}  # Keras's fc1 and fc2, as convolutions
SSD512 = "conv10_2_mbox_loc"  # its seventh pair of heads


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does. Raises OSError if it can't be read."""
    with open(path, "rb") as file:
        return file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE


def from_keras(path: Path) -> dict[str, Tensor]:
    """A whole SSD300 by ssd_keras, with 21 classes or another number that `num_classes_of` accepts -> our state,
    float32, RGB.

    Or a VGG16 -> its layers conv1_1 ... conv5_3 of our state, to fc7 where the file has fc6 and fc7.

    Raises WeightsError, naming the file, if it is broken or of another network, or if h5py isn't installed.
    """
    try:
        import h5py  # here, because not everybody has such a file
    except ImportError:
        raise WeightsError(f"{path}: an HDF5 file; to read it, pip install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            return _keras_state(file)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    except Exception as error:  # h5py raises many kinds of errors on broken files
        raise WeightsError(
            f"{path}: an HDF5 file, broken or cut off ({type(error).__name__}); wanted a complete one by ssd_keras"
        ) from error


def _keras_state(file: Any) -> dict[str, Tensor]:
    """The state in an open h5py.File."""
    layers = file["model_weights"] if "model_weights" in file else file
    if SSD512 in layers:
        raise WeightsError(f"SSD512 by ssd_keras (it has a layer {SSD512}); wanted SSD300")
    if KERAS_SCALE not in layers and (found := _vgg16_layers(layers)):
        return _vgg16(found)
    arrays = {}
    for ours, theirs in _keras_names().items():
        # versions of Keras call the arrays differently ("kernel:0", "conv1_1_W:0"); their dimensions tell them apart
        kinds = {1: "weight"} if theirs == KERAS_SCALE else {4: "weight", 1: "bias"}
        found = _arrays_below(layers[theirs]) if theirs in layers else []
        if sorted(array.ndim for array in found) != sorted(kinds):
            some = ", ".join(ascii(name)[1:-1][:40] for name in list(layers)[:3]) or "none"
            raise WeightsError(
                f"no weights of a layer {theirs}, layers are {some} ...; "
                "wanted SSD300 by ssd_keras, or VGG16 by Keras"
            )
        arrays |= {f"{ours}.{kinds[array.ndim]}": array for array in found}
    # before anything is read, because a file may claim more than fits into memory
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


def _keras_names() -> dict[str, str]:
    """Our layer -> theirs."""
    names = {f"body.{name}.0": name for name in BODY} | {KERAS_SCALE: KERAS_SCALE}
    for map_ in SSD300_ANCHORS.sources:
        head = KERAS_SCALE if map_ == "conv4_3" else map_
        names |= {f"loc.{map_}": f"{head}_mbox_loc", f"conf.{map_}": f"{head}_mbox_conf"}
    return names


def _arrays_below(group: Any) -> list[Any]:
    """The datasets in an h5py.Group, at any depth, or the dataset itself. Links that lead elsewhere are ignored."""
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
