"""SSD300 as other programs save it, written out by hand: their names, their layouts, their classes.

Full-size states are cheap here: a tensor of one number needs one number, in memory, in a .pth and in an HDF5.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import torch

import oracles
from ssdlib.model import SSD300

Named = dict[str, torch.Tensor]

VGG_NAMES = dict(
    zip(
        "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3".split()
        + "conv5_1 conv5_2 conv5_3 fc6 fc7".split(),
        (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28, 31, 33),
        strict=True,
    )
)
EXTRA_NAMES = ("conv6_1", "conv6_2", "conv7_1", "conv7_2", "conv8_1", "conv8_2", "conv9_1", "conv9_2")
# theirs: (prefix of the body, of the extras, of the offset heads, of the class heads, the scale)
PROGRAMS = {
    "amdegroot": ("vgg", "extras", "loc", "conf", "L2Norm.weight"),
    "lufficc": (
        "backbone.vgg",
        "backbone.extras",
        "box_head.predictor.reg_headers",
        "box_head.predictor.cls_headers",
        "backbone.l2_norm.weight",
    ),
}
KERAS_HEADS = dict(
    zip(oracles.LAYERS, ("conv4_3_norm", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2"), strict=True)
)


def renamed_by_hand(state: Named, program: str) -> Named:
    """Our state as that program would have saved it."""
    vgg, extras, loc, conf, scale = PROGRAMS[program]
    theirs = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        part, _, place = layer.partition(".")
        place = place.removesuffix(".0")
        if part == "conv4_3_norm":
            theirs[scale] = value
        elif part == "body" and place in VGG_NAMES:
            theirs[f"{vgg}.{VGG_NAMES[place]}.{kind}"] = value
        elif part == "body":
            theirs[f"{extras}.{EXTRA_NAMES.index(place)}.{kind}"] = value
        else:
            heads = loc if part == "loc" else conf
            theirs[f"{heads}.{oracles.LAYERS.index(place)}.{kind}"] = value
    return theirs


def as_torchvision(state: Named) -> Named:
    """Our state under the names of torchvision's ssd300_vgg16."""
    places = dict(list(VGG_NAMES.items())[:10])
    body = {name: f"backbone.features.{place}" for name, place in places.items()}
    body |= {f"conv5_{i}": f"backbone.extra.0.{place}" for i, place in ((1, 1), (2, 3), (3, 5))}
    body |= {"fc6": "backbone.extra.0.7.1", "fc7": "backbone.extra.0.7.3"}
    for i, name in enumerate(EXTRA_NAMES):
        body[name] = f"backbone.extra.{i // 2 + 1}.{i % 2 * 2}"
    heads = {"loc": "head.regression_head.module_list", "conf": "head.classification_head.module_list"}
    theirs = {"backbone.scale_weight": state["conv4_3_norm.weight"]}
    for name, value in state.items():
        part, *place, kind = name.split(".")
        if part == "body":
            theirs[f"{body[place[0]]}.{kind}"] = value
        elif part in heads:
            theirs[f"{heads[part]}.{oracles.LAYERS.index(place[0])}.{kind}"] = value
    return theirs


def write_keras(path: Path, state: Named, full_model: bool = False, old_names: bool = False) -> None:
    """Our state as ssd_keras saves it: HWIO, conv1_1 for BGR, two groups of a layer's name, empty layers too.

    `full_model` puts all below model_weights and adds a model_config and an optimiser; `old_names` are Keras 1's.
    """
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if full_model else file
        if full_model:
            file.attrs["model_config"] = b"\x80\x04not to be looked at"
            file["optimizer_weights/SGD/iterations:0"] = 102000
        for empty in ("input_1", "input_channel_swap", "pool1", "mbox_conf_softmax", "predictions"):
            root.create_group(empty)
        for name, value in state.items():
            part, *place, kind = name.split(".")
            layer = {"conv4_3_norm": part, "body": place and place[0]}.get(part)
            if part in ("loc", "conf"):
                layer = f"{KERAS_HEADS[place[0]]}_mbox_{part}"
            if part == "conv4_3_norm":
                array = "conv4_3_norm_gamma:0"
            elif old_names:
                array = f"{layer}_{'W' if kind == 'weight' else 'b'}:0"
            else:
                array = "kernel:0" if kind == "weight" else "bias:0"
            if value.ndim == 4:
                value = value.permute(2, 3, 1, 0)
            if layer == "conv1_1" and kind == "weight":
                value = value[:, :, [2, 1, 0]]
            # one number all over: HDF5 keeps it as the number to fill with
            fill = value.flatten()[0].item() if value.numel() > 100_000 else None
            made = root.create_dataset(
                f"{layer}/{layer}/{array}", value.shape, "float32", chunks=True, fillvalue=fill
            )
            if fill is None:
                made[...] = value.numpy()


VGG = tuple(VGG_NAMES)[:13]  # conv1_1 ... conv5_3
KERAS_3 = dict(zip(VGG, ["conv2d", *(f"conv2d_{i}" for i in range(1, 13))], strict=True)) | {
    "fc6": "dense",
    "fc7": "dense_1",
}


def write_keras_vgg16(path: Path, state: Named, layout: str) -> None:
    """The layers of a VGG16 in our state as Keras's programs save them: HWIO, conv1_1 for BGR.

    "ssd_keras": conv1_1 ... as its converter from Caffe writes them, and Keras 2; "keras 1" and "keras 2": the layout
    of the files that come with Keras; "keras 3": `save_weights` of Keras 3.15, whose layers are counted by their kind
    and lie beside layers without weights. Each as in a file that the program wrote, or as programs that read the
    file name its arrays.
    """
    with h5py.File(path, "w") as file:
        for layer in dict.fromkeys(name.split(".")[1] for name in state):
            kernel, bias = (state[f"body.{layer}.0.{kind}"] for kind in ("weight", "bias"))
            kernel = kernel.permute(2, 3, 1, 0) if kernel.ndim == 4 else kernel.T
            kernel = kernel[:, :, [2, 1, 0]] if layer == "conv1_1" else kernel
            block = {"fc6": "fc1", "fc7": "fc2"}.get(layer) or f"block{layer[4]}_conv{layer[-1]}"
            kernel_name, bias_name = {
                "ssd_keras": (f"{layer}/{layer}/kernel:0", f"{layer}/{layer}/bias:0"),
                "keras 1": (f"{block}/{block}_W_1:0", f"{block}/{block}_b_1:0"),
                "keras 2": (f"{block}/{block}/kernel:0", f"{block}/{block}/bias:0"),
                "keras 3": (f"layers/{KERAS_3[layer]}/vars/0", f"layers/{KERAS_3[layer]}/vars/1"),
            }[layout]
            # one number all over: HDF5 keeps it as the number to fill with
            fill = kernel.flatten()[0].item() if kernel.untyped_storage().nbytes() < kernel.numel() else None
            made = file.create_dataset(kernel_name, kernel.shape, "float32", chunks=True, fillvalue=fill)
            if fill is None:
                made[...] = kernel.numpy()
            file[bias_name] = bias.numpy()
        for empty in ("input_layer/vars", "max_pooling2d/vars", "max_pooling2d_1/vars"):
            file.create_group(f"layers/{empty}" if layout == "keras 3" else empty.partition("/")[0])


def in_safetensors(path: Path, state: Named) -> Path:
    """The state in that format, by hand: the header's length, the header in JSON, the numbers."""
    header, numbers = {"__metadata__": {"format": "pt"}}, b""
    for name, value in state.items():
        held = value.numpy().tobytes()
        kind = {torch.float32: "F32", torch.float16: "F16"}[value.dtype]
        places = [len(numbers), len(numbers) + len(held)]
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": places}
        numbers += held
    head = json.dumps(header).encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + numbers)
    return path


def shapes(num_classes: int = 21, width: float = 1) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        state = SSD300(num_classes, width=width).state_dict()
    return {name: tuple(value.shape) for name, value in state.items()}


def marked_state(num_classes: int = 21) -> Named:
    """A full-size state: small tensors hold the pattern, large ones a number of their own."""
    sizes = shapes(num_classes)
    small = {name: shape for name, shape in sizes.items() if np.prod(shape) <= 100_000}
    state = oracles.pattern_state(small)
    for i, (name, shape) in enumerate(sizes.items(), start=1):
        if name not in small:
            state[name] = torch.tensor(i / 64).expand(shape)
    return {name: state[name] for name in sizes}


def state_that_finds(label: int | None, num_classes: int = 21) -> Named:
    """A full-size state that ignores the picture: background everywhere, but for the lying box of conv9_2 (ratio
    2), which says `label` with logit 6 and asks for half of the anchor's width. Background has logit 5, all other
    classes 0."""
    state = {name: torch.zeros(1).expand(shape) for name, shape in shapes(num_classes).items()}
    for i, layer in enumerate(oracles.LAYERS):
        boxes = (4, 6, 6, 6, 4, 4)[i]
        logits = torch.zeros(boxes, num_classes)
        logits[:, 0] = 5
        offsets = torch.zeros(boxes, 4)
        if layer == oracles.LAYERS[-1] and label is not None:
            logits[2, label] = 6
            offsets[2, 2] = np.log(0.5) / 0.2
        state[f"conf.{layer}.bias"], state[f"loc.{layer}.bias"] = logits.flatten(), offsets.flatten()
    return state


def write(path: Path, program: str, state: Named) -> None:
    """The state as that program would have saved it."""
    if program.startswith("ssd_keras"):
        write_keras(path, state, full_model=program.endswith("model"))
    else:
        named = as_torchvision(state) if program == "torchvision" else renamed_by_hand(state, program)
        torch.save({"model": named, "iteration": 120000} if program == "lufficc" else named, path)
