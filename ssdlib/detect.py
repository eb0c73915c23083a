"""From predictions to detections: decode, apply the score threshold, suppress non-maximal boxes (paper, section 3.7).

Rules of src/caffe/layers/detection_output_layer.cpp 180-275: of each class take the 400 best scores
above 0.01, then suppress each box that overlaps a better one by more than 0.45. Over all classes together, the 200
best boxes are kept. They are clipped to the image only at the end.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ssdlib import box_ops, coding
from ssdlib.anchors import SSD300_ANCHORS
from ssdlib.records import Detections, Predictions

SCORE, TOP_K, NMS_IOU, KEEP = 0.01, 400, 0.45, 200


@torch.no_grad()
def detect(
    predictions: Predictions,
    anchors: Tensor,
    sizes: Sequence[tuple[int, int]],
    score: float = SCORE,
    top_k: int = TOP_K,
    nms_iou: float = NMS_IOU,
    keep: int = KEEP,
) -> list[Detections]:
    """One `Detections` on the CPU for each of the B images, boxes in px of its photograph.

    `anchors` (K, 4) px of the input, `sizes` B times (width, height) in px. The arguments after it are the
    four numbers above; scores have to exceed `score`, overlaps have to exceed `nms_iou`.
    """
    boxes, probabilities = decoded(predictions, anchors)
    found = []
    for image, (width, height) in enumerate(sizes):
        candidates = best_per_class(probabilities[image], score, top_k)
        labels, anchor = candidates.unbind(dim=1)
        scores, places = probabilities[image, anchor, labels], boxes[image, anchor]
        kept = best_kept(places, scores, labels, nms_iou, keep)
        placed = box_ops.clip(places[kept], SSD300_ANCHORS.canvas, SSD300_ANCHORS.canvas)
        placed = box_ops.scale(placed, width / SSD300_ANCHORS.canvas, height / SSD300_ANCHORS.canvas)
        found.append(Detections(placed, scores[kept], labels[kept]))
    return found


def decoded(predictions: Predictions, anchors: Tensor) -> tuple[Tensor, Tensor]:
    """(B, K, 4) corners in px of the input and (B, K, C) probabilities, on the CPU.

    From here on sizes depend on contents, so a GPU would be waited for again and again. It is waited for once, for
    both in one copy of 0.9 MB an image."""
    boxes = coding.decode(predictions.offsets.float(), anchors)
    probabilities = predictions.logits.float().softmax(dim=-1)
    if boxes.device.type == "cpu":
        return boxes, probabilities
    both = torch.cat([boxes, probabilities], dim=-1).cpu()
    return both[..., :4], both[..., 4:]


def best_per_class(probabilities: Tensor, score: float = SCORE, top_k: int = TOP_K) -> Tensor:
    """(K, C) probabilities of one image -> (n, 2) label and anchor of the candidates, at most `top_k` a class.

    Class by class, best first, the lower anchor first among equals; background (class 0) is no candidate.
    """
    by_class = probabilities.T[1:]
    label, anchor = (by_class > score).nonzero(as_tuple=True)  # class by class, anchors ascending
    order = by_class[label, anchor].argsort(descending=True, stable=True)
    order = order[label[order].argsort(stable=True)]
    label, anchor = label[order], anchor[order]
    first = torch.searchsorted(label, torch.arange(len(by_class), device=label.device))
    rank = torch.arange(len(label), device=label.device) - first[label]
    return torch.stack([label + 1, anchor], dim=1)[rank < top_k]


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float = NMS_IOU) -> Tensor:
    """Greedy non-maximum suppression within each class: (n, 4), (n,), (n,) -> indices kept, best score first.

    Greedy means, for each class (`exported.suppressed` is written like that):

        kept = []
        for box in boxes from the best down:
            if no box in kept overlaps it by more than max_iou:
                kept.append(box)

    Here all boxes are decided at once, in rounds, each from the decisions of the round before. The result is the
    same, because whether a box stays depends on better boxes alone: the best of a class stays from the first round
    on, and once the decisions about the t best are final, the one about the next is final after one more round. So
    after round t the t best are right, and once a round changes nothing, all are. Two or three rounds are usually
    enough.
    """
    order = scores.argsort(descending=True, stable=True)
    if len(order) == 0:
        return order
    counts = labels.unique(return_counts=True)[1].tolist()
    by_class = order[labels[order].argsort(stable=True)].split(counts)
    # a row for each class, best first; -1 fills up its end, where it threatens no box
    rows = pad_sequence(by_class, batch_first=True, padding_value=-1)
    # threatens[c, i, j]: i is better than j and too close
    threatens = (box_ops.iou(boxes[rows][:, :, None], boxes[rows][:, None]) > max_iou).triu(1)
    stays = torch.ones_like(rows, dtype=torch.bool)
    while True:
        now = ~(threatens & stays[:, :, None]).any(dim=1)
        if torch.equal(now, stays):
            break
        stays = now
    keep = torch.zeros(len(order), dtype=torch.bool, device=boxes.device)
    keep[rows[stays & (rows >= 0)]] = True
    return order[keep[order]]


def best_kept(
    boxes: Tensor, scores: Tensor, labels: Tensor, max_iou: float = NMS_IOU, keep: int = KEEP
) -> Tensor:
    """The first `keep` of the indices that `nms` returns: (n, 4), (n,), (n,) -> (at most `keep`,) int64.

    Whether a box stays depends on better ones alone, so the best few are decided by themselves first, and twice as
    many only where too few of those stay. Of thousands of candidates the last ones are seldom examined.
    """
    order = scores.argsort(descending=True, stable=True)
    few = 2 * keep
    while True:
        some = order[:few]
        kept = some[nms(boxes[some], scores[some], labels[some], max_iou)]
        if len(kept) >= keep or few >= len(order):
            return kept[:keep]
        few *= 2
