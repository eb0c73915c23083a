"""Weights to start from that another network has learned, perhaps about other classes.

The body and the localisation heads know nothing of classes: they are taken whole. Of a classification head the rows
of the background, and of classes that both know by name, are taken; the rows of new classes stay random. Taken is
only what has the shape that is wanted, so the new network must have the width and the kind of the old one.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ssdlib import published, weights
from ssdlib.anchors import SSD300 as SPEC
from ssdlib.anchors import default_boxes
from ssdlib.runs import RunConfig, RunError, network_of

RANDOM = "; fc6 and fc7 are random, scaled to outputs of unit deviation"


def starting_weights(path: Path, config: RunConfig) -> tuple[dict[str, Tensor], str]:
    """A state for a run with these settings, and a sentence on what was taken from where.

    `path` is a run of this library or its checkpoint, an SSD300 that `published` reads, or a VGG16. Raises
    WeightsError, RunError or CheckpointError in one sentence if it is none of these or doesn't fit.
    """
    found = published.read(path)
    if isinstance(found, published.Run):
        weights.refuse_broken(found.model.state_dict(), path)
        return _from(found.model.state_dict(), found.config.classes, config, f"{path}, step {found.step}")
    if isinstance(found, published.Backbone):
        rest = "" if "body.fc6.0.weight" in found.state else RANDOM
        return found.state, f"{path}: {found}{rest}"
    state = found.state
    if not torch.equal(default_boxes(found.spec, found.clip_anchors), default_boxes()):
        # offsets from other anchors: what they learned about positions would be wrong here
        state = {name: value for name, value in state.items() if not name.startswith(("loc.", "conf."))}
    taken_off = f" ({found.taken_off})" if found.taken_off else ""
    return _from(state, found.classes[1:], config, f"{path}, {found.source}{taken_off}")


def take(
    state: dict[str, Tensor], old: Sequence[str], new: Sequence[str], fresh: dict[str, Tensor]
) -> dict[str, Tensor]:
    """`state` of a network with the classes `old` -> a part of the state of one with the classes `new`.

    `fresh` is that network's own random state; rows of classes that `old` lacks come from it.
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
        boxes = SPEC.boxes_per_cell[SPEC.sources.index(name.split(".")[1])]
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
