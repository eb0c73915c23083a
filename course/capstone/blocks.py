"""The building blocks of SSD: the learner's functions that each is made of, and what of `ssdlib` it stands for.

The exercises ask for small functions on one image or one box; the library's take batches. What lies between them is
here: for each block a function that makes, of the learner's functions, replacements of the library's. `swapping` puts
them in place. The library knows nothing of it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from course.evaluation import devkit_rule
from ssdlib import anchors, box_ops, coding, detect, evaluate, loss, matching, model
from ssdlib.data import augment
from ssdlib.records import Losses, Predictions, Targets
from ssdlib.training import engine

Functions = Mapping[str, Callable]
Replacement = tuple[Any, str, Any]  # a module or class, the name of what it has, what takes its place


@dataclass(frozen=True)
class Block:
    """A part of the detector that a learner has written."""

    name: str
    chapter: str  # where its functions are written: "03"
    needs: tuple[str, ...]  # the functions in `my_ssd.py` that it is made of
    does: str  # what it does in a run, as a half sentence
    replacements: Callable[[Functions], list[Replacement]]
    faster: str  # where the fast way is shown

    def there(self, functions: Functions) -> bool:
        return all(name in functions for name in self.needs)

    def missing(self, functions: Functions) -> list[str]:
        return [name for name in self.needs if name not in functions]


def _iou(mine: Functions) -> list[Replacement]:
    def iou(first: Tensor, second: Tensor, extent: float = 0.0) -> Tensor:
        if extent:  # inclusive corners: the same boxes, ending one pixel later
            longer = torch.tensor([0.0, 0.0, extent, extent], dtype=first.dtype, device=first.device)
            first, second = first + longer, second + longer
        return mine["iou"](first, second)

    return [(box_ops, "iou", iou)]


def _corners(mine: Functions) -> list[Replacement]:
    return [(box_ops, "to_xyxy", mine["to_corners"])]


def _default_boxes(mine: Functions) -> list[Replacement]:
    def default_boxes(spec: anchors.AnchorSpec = anchors.SSD300_ANCHORS, clip: str = "none") -> Tensor:
        if clip != "none" or spec.canvas != anchors.SSD300_ANCHORS.canvas:
            return library(spec, clip)  # the exercises know Caffe's anchors on 300 px alone
        maps = len(spec.feature_maps)
        sides, cells = mine["sizes"](spec.first_percent, *spec.percent_range, maps), []
        for i in range(maps):
            centre = torch.as_tensor(
                mine["centres"](spec.feature_maps[i], spec.strides[i]), dtype=torch.float64
            )
            shape = torch.as_tensor(
                mine["shapes"](sides[i], sides[i + 1], spec.aspect_ratios[i]), dtype=torch.float64
            )
            grid = centre[:, None].expand(-1, len(shape), -1), shape.expand(len(centre), -1, -1)
            cells.append(torch.cat(grid, dim=-1).reshape(-1, 4))
        return box_ops.to_xyxy(torch.cat(cells)).float()

    def double(values: Any) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float64)

    library = anchors.default_boxes
    return [(anchors, "default_boxes", default_boxes)]


def overlaps(boxes: Tensor, labels: Tensor, grid: Tensor) -> Tensor:
    """IoU of the objects of a batch with every anchor: (B, R, 4), (B, R), (K, 4) -> (B, R, K); 0 in empty slots."""
    found = matching.overlaps(boxes.reshape(-1, 4), grid).reshape(*labels.shape, len(grid))
    return found.where((labels > 0)[..., None], 0.0)


def _matching(mine: Functions) -> list[Replacement]:
    def match(boxes: Tensor, labels: Tensor, grid: Tensor, threshold: float = matching.THRESHOLD) -> Tensor:
        if labels.shape[1] == 0:
            return labels.new_full((len(labels), len(grid)), -1)
        found = []
        for table in overlaps(boxes, labels, grid):
            own = torch.as_tensor(mine["greedy"](table))
            found.append(torch.as_tensor(mine["both"](table, own, threshold)))
        return torch.stack(found).to(labels.device)

    return [(matching, "match", match)]


def _encode(mine: Functions) -> list[Replacement]:
    def encode(boxes: Tensor, grid: Tensor) -> Tensor:
        boxes, grid = torch.broadcast_tensors(boxes, grid)
        flat = boxes.reshape(-1, 4), grid.reshape(-1, 4)
        if not len(flat[0]):
            return torch.zeros_like(boxes)
        return one_by_one(mine["encode"], *flat).reshape(boxes.shape)

    return [(coding, "encode", encode)]


def one_by_one(function: Callable, *rows: Tensor) -> Tensor:
    """A function of one row of each tensor, on all rows: at once where `torch.vmap` can, else in a loop."""
    try:
        return torch.vmap(function)(*rows)
    except Exception:  # it asks for a number, or writes in place: what vmap can't do is for the loop
        return torch.stack([torch.as_tensor(function(*row)) for row in zip(*rows, strict=True)])


def _hard_negatives(mine: Functions) -> list[Replacement]:
    def hard_negatives(logits: Tensor, positive: Tensor, mining: str, ratio: float) -> Tensor:
        shape = positive.shape  # on its page the function sees one image: a matrix with a row for each anchor
        losses = torch.as_tensor(mine["background_loss"](logits.reshape(-1, logits.shape[-1]))).reshape(shape)
        if mining == "batch":
            losses, positive = losses.reshape(1, -1), positive.reshape(1, -1)
        return torch.as_tensor(mine["hard_negatives"](losses, positive, ratio)).reshape(shape)

    return [(loss, "hard_negatives", hard_negatives)]


def _loss(mine: Functions) -> list[Replacement]:
    def multibox_loss(
        predictions: Predictions,
        targets: Targets,
        mining: str = "image",
        negative_ratio: float = loss.NEGATIVE_RATIO,
        num_matched: Tensor | None = None,
        negative: Tensor | None = None,
    ) -> Losses:
        logits, positive = predictions.logits.float(), targets.labels > 0
        if negative is None:
            negative = loss.hard_negatives(logits.detach(), positive, mining, negative_ratio)
        count, offsets = positive.sum(), predictions.offsets.float()
        every = offsets, logits, targets.offsets, targets.labels, negative
        total = mine["multibox"](*(one.flatten(0, 1) for one in every))  # on its page it sees one image
        with torch.no_grad():  # the part of it that the log shows by itself
            error = offsets[positive] - targets.offsets[positive]
            part = mine["smooth_l1"](error).sum() / count.clamp(min=1)
        share = 1.0 if num_matched is None else count.clamp(min=1) / num_matched.clamp(min=1)
        return Losses(part * share, (total - part) * share, count, negative.sum())

    return [(loss, "multibox_loss", multibox_loss)]


def _per_anchor(mine: Functions) -> list[Replacement]:
    return [(model, "_per_anchor", mine["per_anchor"])]


def _l2norm(mine: Functions) -> list[Replacement]:
    def forward(self: model.L2Norm, x: Tensor) -> Tensor:
        return torch.as_tensor(mine["l2norm"](x.float(), self.weight)).to(x.dtype)

    return [(model.L2Norm, "forward", forward)]


def _crop(mine: Functions) -> list[Replacement]:
    def in_order(objects: Tensor, window: Tensor, flip: bool, keep, move, mirrored) -> Tensor:
        moved = move(objects[keep(objects, window)], window)
        return mirrored(moved, float(anchors.SSD300_ANCHORS.canvas)) if flip else moved

    def moved(boxes: Tensor, labels: Tensor, window: Tensor, flip: Tensor) -> tuple[Tensor, Tensor]:
        parts = tuple(mine[name] for name in ("keep", "move", "mirrored"))
        way, images = mine.get("into_input", in_order), []
        for box, label, view, turned in zip(boxes, labels, window, flip.tolist(), strict=True):
            box, label = box[label > 0], label[label > 0]
            stays = torch.as_tensor(mine["keep"](box, view), dtype=torch.bool)
            images.append((torch.as_tensor(way(box, view, turned, *parts)).reshape(-1, 4), label[stays]))
        most = max((len(label) for _, label in images), default=0)
        out = boxes.new_zeros(len(boxes), most, 4), labels.new_zeros(len(boxes), most)
        for i, (box, label) in enumerate(images):
            out[0][i, : len(box)], out[1][i, : len(label)] = box, label
        return out

    return [(augment, "_move", moved)]


def _learning_rate(mine: Functions) -> list[Replacement]:
    def learning_rate(config: engine.RunConfig, step: int) -> float:
        rate = mine["rate"](step, config.learning_rate, config.drops)
        return mine["warm_up"](step, rate, config.warmup)

    return [(engine, "learning_rate", learning_rate)]


def _update(mine: Functions) -> list[Replacement]:
    class Yours(torch.optim.SGD):
        """SGD that leaves the arithmetic to the learner; its state is what a checkpoint expects."""

        @torch.no_grad()
        def step(self) -> None:
            for group in self.param_groups:
                numbers = group["lr"], group["momentum"], group["weight_decay"]
                for p in (p for p in group["params"] if p.grad is not None):
                    before = self.state[p].get("momentum_buffer")
                    before = torch.zeros_like(p) if before is None else before
                    weights, after = mine["sgd_step"](p.detach(), p.grad, before, *numbers)
                    p.copy_(weights)
                    self.state[p]["momentum_buffer"] = after

    def build(*arguments: Any, **named: Any) -> tuple[model.SSD300, torch.optim.Optimizer, Tensor]:
        network, optimizer, grid = library(*arguments, **named)
        optimizer.__class__ = Yours
        return network, optimizer, grid

    library = engine.build
    return [(engine, "build", build)]


def _decode(mine: Functions) -> list[Replacement]:
    def decode(offsets: Tensor, grid: Tensor) -> Tensor:
        offsets, grid = torch.broadcast_tensors(offsets, grid)
        found = torch.as_tensor(mine["decode"](offsets.reshape(-1, 4), grid.reshape(-1, 4)))
        return found.reshape(offsets.shape)

    return [(coding, "decode", decode)]


def _candidates(mine: Functions) -> list[Replacement]:
    def best_per_class(
        probabilities: Tensor, score: float = detect.SCORE, top_k: int = detect.TOP_K
    ) -> Tensor:
        here = probabilities.cpu()
        pairs = torch.as_tensor(mine["candidates"](here, score), dtype=torch.int64).reshape(-1, 2)
        chosen = mine["top_k"](here[pairs[:, 1], pairs[:, 0]], pairs[:, 0], top_k)
        return pairs[torch.as_tensor(chosen, dtype=torch.int64)].to(probabilities.device)

    return [(detect, "best_per_class", best_per_class)]


def _nms(mine: Functions) -> list[Replacement]:
    def nms(boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float = detect.NMS_IOU) -> Tensor:
        if not len(scores):
            return torch.zeros(0, dtype=torch.int64)
        kept = mine["class_by_class"](boxes.cpu(), scores.cpu(), labels.cpu(), max_iou)
        return torch.as_tensor(kept, dtype=torch.int64).to(boxes.device)

    return [(detect, "nms", nms)]


def _average_precision(mine: Functions) -> list[Replacement]:
    library = evaluate.average_precision

    def judge(
        results: evaluate.Results, objects: evaluate.Objects, label: int, classes: Any = None
    ) -> evaluate.Curve:
        of_class = objects.labels == label
        names = {number: image for image, number in objects.image_of.items()}
        there = zip(objects.images, objects.boxes.tolist(), objects.difficult.tolist(), strict=True)
        truth = [(names[image], box, hard) for image, box, hard in there_of(there, of_class)]
        found = list(zip(results.image_ids, results.scores.tolist(), results.boxes.tolist(), strict=True))
        total = sum(not hard for _, _, hard in truth)
        said = mine["verdicts"](found, truth)
        recall, precision = mine["curve"](said, total) if total else ([np.nan] * len(said), [0.0] * len(said))
        order = np.argsort(-results.scores, kind="stable")
        return evaluate.Curve(np.array(recall), np.array(precision), results.scores[order], total)

    def average_precision(recall: np.ndarray, precision: np.ndarray, metric: str = "11point") -> float:
        if metric != "11point":
            return library(recall, precision, metric)
        return float(mine["eleven_points"](recall.tolist(), np.nan_to_num(precision).tolist()))

    def there_of(rows: Iterable, which: np.ndarray) -> list:
        return [row for row, wanted in zip(rows, which, strict=True) if wanted]

    found = [(evaluate, "judge", judge), (evaluate, "average_precision", average_precision)]
    if "overlap" in mine:
        found.append((devkit_rule, "overlap", mine["overlap"]))
    return found


BLOCKS = (
    Block("box format", "01", ("to_corners",), "turns centre and size into corners", _corners, "01"),
    Block("IoU", "01", ("iou",), "compares objects with anchors, and boxes with each other", _iou, "01"),
    Block(
        "default boxes",
        "02",
        ("sizes", "shapes", "centres"),
        "lays out the 8,732 anchors",
        _default_boxes,
        "02",
    ),
    Block(
        "boxes of a crop",
        "06",
        ("keep", "move", "mirrored"),
        "takes the boxes along when an image is cropped and mirrored",
        _crop,
        "06",
    ),
    Block("matching", "03", ("step_two", "greedy", "both"), "assigns anchors to objects", _matching, "03"),
    Block("encoding", "04", ("encode",), "writes an object as offsets from its anchor", _encode, "04"),
    Block("head outputs", "05", ("per_anchor",), "lines the heads' channels up by anchor", _per_anchor, "05"),
    Block("L2Norm", "05", ("l2norm",), "scales conv4_3 before its head", _l2norm, "05"),
    Block(
        "hard negatives",
        "04",
        ("background_loss", "hard_negatives"),
        "chooses the background anchors that count",
        _hard_negatives,
        "04",
    ),
    Block("loss", "04", ("smooth_l1", "multibox"), "says how wrong the network is", _loss, "04"),
    Block("learning rate", "08", ("warm_up", "rate"), "says how large a step may be", _learning_rate, "08"),
    Block("update step", "13", ("sgd_step",), "moves the weights", _update, "13"),
    Block("decoding", "10", ("decode",), "turns offsets back into boxes", _decode, "10"),
    Block("candidates", "10", ("candidates", "top_k"), "drops the low scores", _candidates, "10"),
    Block(
        "suppression",
        "10",
        ("suppress", "class_by_class"),
        "keeps the best of overlapping boxes",
        _nms,
        "10",
    ),
    Block(
        "average precision",
        "11",
        ("verdicts", "curve", "eleven_points"),
        "judges what was found",
        _average_precision,
        "11",
    ),
)
NAMES = tuple(block.name for block in BLOCKS)
BY_NAME = {block.name: block for block in BLOCKS}


def solved(functions: Functions) -> tuple[str, ...]:
    """The names of the blocks whose functions are all there, in the order of the run."""
    return tuple(block.name for block in BLOCKS if block.there(functions))
