"""Checkpoints that others published -> the state of our network.

Every known program keeps the same tensors under names of its own (the tables below). All sources
here take RGB and keep kernels as OIHW, so that reading one is renaming; the anchors a file was trained with differ,
and `SOURCES` says which `clip` of `anchors.default_boxes` belongs to it.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ssdlib.anchors import SSD300 as SPEC
from ssdlib.model import BODY, MEAN, PRETRAINED

VGG = PRETRAINED[:-2]  # conv1_1 ... conv5_3
EXTRAS = tuple(BODY)[len(PRETRAINED) :]
VGG_PLACES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # in torchvision's VGG16 and all who follow it

# what a file is recognised by: a name that no other kind has
SOURCES = {
    "torchvision": ("backbone.scale_weight", "size"),
    "amdegroot": ("L2Norm.weight", "center"),
    "lufficc": ("backbone.l2_norm.weight", "center"),
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
    """VGG16 -> the layers conv1_1 ... fc7 of our state, to start training from.

    Takes torchvision's classifier ("features.0.weight" ..., "classifier.3.bias"), whose fc6 and fc7 are thinned
    out: every fourth output, and of fc6's 7x7 taps those in rows and columns 0, 3, 6; or the file usually called
    vgg16_reducedfc.pth ("0.weight" ... "33.bias"), where somebody did that already.

    torchvision's VGG16 was trained on (RGB/255 - mean)/deviation; conv1_1 is changed so that it answers our
    RGB - (123, 117, 104) in the same way, but for the border, where our padding stands for another grey.
    """
    if "31.weight" in state:
        names = dict(zip(PRETRAINED, map(str, (*VGG_PLACES, 31, 33)), strict=True))
        return _renamed(state, {f"body.{name}.0": place for name, place in names.items()})
    if not {f"classifier.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")} <= state.keys():
        raise WeightsError(f"state with names like {', '.join(list(state)[:3])}: wanted a whole VGG16")
    ours = _renamed(state, {f"body.{n}.0": f"features.{p}" for n, p in zip(VGG, VGG_PLACES, strict=True)})
    fc6 = state["classifier.0.weight"].view(4096, 512, 7, 7)[::4, :, ::3, ::3]
    fc7 = state["classifier.3.weight"].view(4096, 4096, 1, 1)[::4, ::4]
    ours |= {"body.fc6.0.weight": fc6.clone(), "body.fc6.0.bias": state["classifier.0.bias"][::4].clone()}
    ours |= {"body.fc7.0.weight": fc7.clone(), "body.fc7.0.bias": state["classifier.3.bias"][::4].clone()}
    _fold_normalisation(ours)
    return ours


def read_file(path: Path) -> Mapping[str, Tensor]:
    """A state from a .pth file. Nothing but tensors is unpickled; a wrapper {"model": state} is taken off."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise WeightsError(f"{path}: not there; wanted a file of weights") from None
    except Exception as error:  # torch raises whatever the broken file provokes, and advises to trust it
        raise WeightsError(f"{path}: broken, or no file of tensors ({type(error).__name__})") from error
    state = state.get("model", state) if isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise WeightsError(f"{path}: holds {type(state).__name__}; wanted tensors by name")
    return state


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
    for i, map_ in enumerate(SPEC.sources):
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


def _fold_normalisation(ours: dict[str, Tensor]) -> None:
    """Make conv1_1 take RGB - MEAN where it took (RGB/255 - mean)/deviation."""
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    kernel = ours["body.conv1_1.0.weight"]
    shift = (torch.tensor(MEAN) / 255 - mean) / deviation  # what our 0 was to the original
    ours["body.conv1_1.0.bias"] = ours["body.conv1_1.0.bias"] + (kernel.sum(dim=(2, 3)) * shift).sum(dim=1)
    ours["body.conv1_1.0.weight"] = kernel / (255 * deviation)[:, None, None]
