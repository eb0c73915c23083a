"""Detectors that other programs trained, translated to our anchors and VOC's classes.

A file of weights doesn't say which anchors it was trained with, nor what its classes are called. Both follow
from the program that wrote it, which the names of the tensors reveal (see `weights`):

    program              anchors                                        classes
    ssd_keras            ours: nothing is clipped                       VOC's 21
    amdegroot, lufficc   centre and size clipped to the input           VOC's 21
    torchvision          size clipped, scales 7, 15, 33 ... percent     VOC's 21, or COCO's 91

Sources: ssd_keras models/keras_ssd300.py; amdegroot layers/functions/prior_box.py and lufficc
ssd/modeling/anchors/prior_box.py; torchvision models/detection/ssd.py (`ssd300_vgg16` has those scales whatever
the number of classes) and anchor_utils.py. With 21 classes the order is taken to be VOC's alphabetical one,
background first; torchvision's 91 are listed by torchvision itself, and a class of VOC is the one that means the same
there. Any other number is refused: its order would be a guess. Thresholds and suppression are ours (`detect`) for
all; torchvision would also keep a box from growing beyond 62 times its anchor.

Weights to start from may come from another network, perhaps with other classes.

The body and the localisation heads don't depend on the classes, so they are taken whole. Of a classification head the
rows of the background, and of classes whose names both have, are taken; the rows of new classes stay random. Shapes
have to agree, so the new network needs the width and the kind of the old one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ssdlib import coding
from ssdlib.anchors import SSD300_ANCHORS, AnchorSpec, default_boxes
from ssdlib.files import checked
from ssdlib.interop.weights import (
    SOURCES,
    WeightsError,
    contents,
    from_keras,
    from_state,
    from_vgg16,
    is_hdf5,
    num_classes_of,
    refuse_broken,
    state_in,
)
from ssdlib.model import SSD300
from ssdlib.records import CLASSES, Predictions
from ssdlib.training.runs import RunConfig, RunError, load_run, network_of, run_in

# 7, 15, 33, 51, 69, 87, 105 percent of the input: torchvision's, chosen for the smaller objects of COCO
COCO_ANCHORS = AnchorSpec(first_percent=7, percent_range=(15, 90))

# COCO's names of the same things; VOC's other fourteen classes have the same names in both
COCO_NAMES = {
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}

# the description of a VGG16, by the origin of its convolutions
CAFFES = "taken for Caffe's (inputs 0..255 minus the mean)"
TORCHVISIONS = "its inputs' mean and deviation folded into conv1_1, fc6 and fc7 thinned out"

RANDOM = "; fc6 and fc7 are random, scaled to outputs of unit deviation"

SEVENTH_HEADS = ("loc.6.weight", "box_head.predictor.reg_headers.6.weight")  # which SSD512 has


@dataclass(frozen=True)
class Published:
    """A whole SSD300 as another program saved it, and what its file doesn't state."""

    state: dict[str, Tensor]  # of our network with as many classes
    classes: tuple[str, ...]  # the C names in the order of the logits, background first
    spec: AnchorSpec  # of the anchors it was trained with
    clip_anchors: str  # what was done to those that cross the border, see `anchors.default_boxes`
    source: str  # the program that saved it
    taken_off: str = ""  # what was around the weights, see `weights.state_in`

    def __str__(self) -> str:
        classes = (
            "VOC's" if self.classes == CLASSES else f"{len(self.classes)}, of which VOC's are looked for"
        )
        scales = ", ".join(map(str, self.spec.percents))
        return (
            f"SSD300 by {self.source}; classes: {classes}; "
            f"anchors: {scales} percent, clipped: {self.clip_anchors}{_in_brackets(self.taken_off)}"
        )


@dataclass(frozen=True)
class Backbone:
    """A VGG16, to start training from."""

    state: dict[str, Tensor]  # of our layers conv1_1 ... conv5_3, or to fc7
    note: str  # which inputs it is taken to expect, and how it was adapted
    taken_off: str = ""

    def __str__(self) -> str:
        last = "fc7" if "body.fc6.0.weight" in self.state else "conv5_3"
        return f"conv1_1 ... {last} of a VGG16{_in_brackets(self.taken_off)}, {self.note}"


class Run(NamedTuple):
    """A run of this library, or a checkpoint of one."""

    model: SSD300  # in eval mode, on the CPU
    config: RunConfig
    step: int


class Translated(nn.Module):
    """Another program's network with the interface of ours: (B, 3, S, S) -> `Predictions` about our anchors and
    classes.

    The boxes are the same: if a is the network's own anchor and b ours in its place, the offset t from a is
    t · size(a) / size(b) + encode(a, b) from b in the centre, t + encode(a, b) in the size. So are the
    probabilities of VOC's classes: those that VOC lacks count as background, by adding up e to the logits.
    """

    def __init__(self, network: SSD300, own_anchors: Tensor, classes: tuple[str, ...]):
        super().__init__()
        self.network = network
        ours = default_boxes()
        ratio = (own_anchors[:, 2:] - own_anchors[:, :2]) / (ours[:, 2:] - ours[:, :2])
        self.register_buffer("factor", torch.cat([ratio, torch.ones_like(ratio)], dim=1))
        self.register_buffer("shift", coding.encode(own_anchors, ours))
        self.known = [_place(name, classes) for name in CLASSES[1:]]
        self.others = [i for i in range(len(classes)) if i not in self.known]

    def forward(self, images: Tensor) -> Predictions:
        said = self.network(images)
        logits = said.logits.float()
        background = logits[..., self.others].logsumexp(dim=-1, keepdim=True)
        return Predictions(
            said.offsets.float() * self.factor + self.shift,
            torch.cat([background, logits[..., self.known]], dim=-1),
        )


def load_detector(path: Path, device: torch.device | str = "cpu") -> tuple[nn.Module, RunConfig, str]:
    """Network in eval mode, settings and a description of any checkpoint: a run of ours, or another's SSD300.

    Its predictions are about `default_boxes()` and the classes of its settings, VOC's for others' files. Another
    program's network computes in float32, as it does there.
    """
    found = read_weights(path)
    if isinstance(found, Backbone):
        raise WeightsError(
            f"{path}: {found}, which detects nothing by itself; wanted an SSD300. To train one from it: train --init"
        )
    if isinstance(found, Run):
        model = found.model.to(device, memory_format=torch.channels_last)
        return model, found.config, f"a run of this library, step {found.step}"
    model = network(found).to(device, memory_format=torch.channels_last)
    return model, RunConfig(precision="float32"), str(found)


def read_weights(path: Path) -> Run | Published | Backbone:
    """What a folder or file of weights holds, recognised by its content, not by name or suffix.

    A run of this library; an SSD300 that ssd_keras (HDF5), torchvision, amdegroot or lufficc saved; or a VGG16. The
    file is read once. Raises WeightsError, CheckpointError or RunError in one sentence that names the file, what is
    wrong with it and what was wanted.
    """
    path = Path(path)
    if path.is_dir():
        return Run(*load_run(path))
    if not path.exists():
        raise WeightsError(f"{path}: not there; wanted a run's folder or a file of weights")
    if path.is_file() and is_hdf5(path):
        state, taken_off = from_keras(path), ""
        if "conf.conv4_3.bias" not in state:
            refuse_broken(state, path)
            return Backbone(state, f"{CAFFES}, BGR turned into RGB")
        source, clip = "ssd_keras", "none"
    else:
        whole = contents(path)
        theirs, taken_off = state_in(whole, path)
        if "conv4_3_norm.weight" in theirs:
            return Run(*run_in(_ours(whole, path), path))
        if not any(mark in theirs for mark, _ in SOURCES.values()):
            return _backbone(theirs, taken_off, path)
        state, source, clip = _by_pytorch(theirs, path)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    try:
        classes = _classes(source, num_classes_of(shapes))
    except WeightsError as error:
        raise WeightsError(f"{path}: {source}'s names, but {error}") from None
    state = {name: value.float() for name, value in state.items()}
    refuse_broken(state, path)
    spec = COCO_ANCHORS if source == "torchvision" else SSD300_ANCHORS
    return Published(state, classes, spec, clip, source, taken_off)


def network(published: Published) -> nn.Module:
    """Its network, translated if need be. In eval mode, on the CPU."""
    with torch.device("meta"):  # no random weights, because they would be replaced
        model = SSD300(len(published.classes))
    model.load_state_dict(published.state, assign=True)
    anchors = default_boxes(published.spec, published.clip_anchors)
    if published.classes == CLASSES and torch.equal(anchors, default_boxes()):
        return model.eval()
    return Translated(model, anchors, published.classes).eval()


def _ours(whole: Any, path: Path) -> dict[str, Any]:
    """A checkpoint of this library, from a file whose weights have the names of our network."""
    if not (isinstance(whole, dict) and "format" in whole):
        raise WeightsError(
            f"{path}: weights of this library's network without their settings (classes, width ...); "
            "wanted the run's folder, or a checkpoint.pt or best.pt in it"
        )
    return checked(whole, path)


def _backbone(theirs: Mapping[str, Tensor], taken_off: str, path: Path) -> Backbone:
    """A VGG16 from a file of PyTorch's that doesn't look like a whole SSD300."""
    try:
        state = from_vgg16(theirs)
    except WeightsError as error:
        known = f"an SSD300 by {', '.join(SOURCES)}, or a run of this library"
        raise WeightsError(f"{path}: {error}, {known}") from None
    refuse_broken(state, path)
    thinned = "classifier.0.weight" in theirs and "body.fc6.0.weight" in state
    return Backbone(state, TORCHVISIONS if thinned else CAFFES, taken_off)


def _by_pytorch(theirs: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], str, str]:
    """Our state, source and clip, from the names of one of `SOURCES`."""
    seventh = [name for name in SEVENTH_HEADS if name in theirs]
    if seventh:
        raise WeightsError(f"{path}: SSD512 (it has {seventh[0]}); wanted SSD300")
    try:
        state, clip = from_state(theirs)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from None
    return state, next(source for source, (mark, _) in SOURCES.items() if mark in theirs), clip


def _classes(source: str, num_classes: int) -> tuple[str, ...]:
    """The names of the classes; WeightsError where no rule says which they are."""
    if num_classes == len(CLASSES):
        return CLASSES
    if source != "torchvision":
        raise WeightsError(f"{num_classes} classes; wanted VOC's {len(CLASSES)}")
    from torchvision.models.detection import SSD300_VGG16_Weights  # here, because it takes a second to import

    return tuple(SSD300_VGG16_Weights.COCO_V1.meta["categories"])


def _in_brackets(words: str) -> str:
    return f" ({words})" if words else ""


def _place(name: str, classes: tuple[str, ...]) -> int:
    """Where a class of VOC stands among others."""
    return classes.index(name if name in classes else COCO_NAMES[name])


def starting_weights(path: Path, config: RunConfig) -> tuple[dict[str, Tensor], str]:
    """A state for a run with these settings, and a sentence on what was taken from where.

    `path` is a run of this library or its checkpoint, an SSD300 that `read_weights` knows, or a VGG16. Raises
    WeightsError, RunError or CheckpointError in one sentence if it is none of these or doesn't fit.
    """
    found = read_weights(path)
    if isinstance(found, Run):
        refuse_broken(found.model.state_dict(), path)
        return _from(found.model.state_dict(), found.config.classes, config, f"{path}, step {found.step}")
    if isinstance(found, Backbone):
        rest = "" if "body.fc6.0.weight" in found.state else RANDOM
        return found.state, f"{path}: {found}{rest}"
    state = found.state
    if not torch.equal(default_boxes(found.spec, found.clip_anchors), default_boxes()):
        # their offsets are from other anchors, so what they learned about positions would be wrong here
        state = {name: value for name, value in state.items() if not name.startswith(("loc.", "conf."))}
    taken_off = f" ({found.taken_off})" if found.taken_off else ""
    return _from(state, found.classes[1:], config, f"{path}, {found.source}{taken_off}")


def take(
    state: dict[str, Tensor], old: Sequence[str], new: Sequence[str], fresh: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`state` of a network with the classes `old` -> a part of the state of one with the classes `new`.

    `fresh` is that network's own random state; rows of classes that `old` lacks come from it. A classification head
    (b · (1 + len(old)), channels, 3, 3) of a map with b boxes a cell becomes (b · (1 + len(new)), channels, 3, 3),
    its bias alike: box after box, and in each box class after class, background first.
    """
    rows_old, rows_new = [0], [0]
    for row, name in enumerate(new, 1):
        if name in old:
            rows_old.append(list(old).index(name) + 1)
            rows_new.append(row)
    taken = {}
    for name, value in state.items():
        if not name.startswith("conf."):
            taken[name] = value
            continue
        boxes = SSD300_ANCHORS.boxes_per_cell[SSD300_ANCHORS.sources.index(name.split(".")[1])]
        head = fresh[name].clone().view(boxes, len(new) + 1, *fresh[name].shape[1:])
        head[:, rows_new] = value.view(boxes, len(old) + 1, *value.shape[1:])[:, rows_old]
        taken[name] = head.flatten(0, 1)
    return taken


def _from(
    state: dict[str, Tensor], old: Sequence[str], config: RunConfig, where: str
) -> tuple[dict[str, Tensor], str]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        fresh = network_of(config).state_dict()
    other = [
        name
        for name, value in state.items()
        if name not in fresh or (value.shape[1:] != fresh[name].shape[1:] and not name.endswith("bias"))
    ]
    if other or len(state["conv4_3_norm.weight"]) != len(fresh["conv4_3_norm.weight"]):
        raise RunError(
            f"{where}: another kind of network ({other[0] if other else 'conv4_3_norm.weight'} differs); wanted "
            f"width {config.width:g}, batch norm {config.batch_norm}, strided stem {config.strided_stem}"
        )
    shared = [name for name in config.classes if name in old]
    if len(shared) == len(config.classes) == len(old):
        heads = "all heads"
    elif any(name.startswith("conf.") for name in state):
        heads = f"localisation heads, background and {len(shared)} of {len(config.classes)} classes"
    else:
        heads = "no heads"
    return take(state, old, config.classes, fresh), f"{where}: body, {heads}"
