"""Multibox loss: smooth L1 on the matched anchors, softmax on those and on the hardest negatives.

    loss = (confidence + localisation) / N,   N = number of matched anchors        (paper, equation 1)

Rules and their source, src/caffe/layers/multibox_loss_layer.cpp 145-253 and bbox_util.cpp 850-1030: three
negatives for each positive, per image, ranked by -log p(background); N is at least 1 and doesn't count
negatives. A batch without objects has no negatives either, so its loss and its gradients are 0.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssdlib.records import Losses, Predictions, Targets
from ssdlib.sparse import computed_where

NEGATIVE_RATIO = 3
MININGS = ("image", "batch")
IGNORED = -100  # the label of an anchor that doesn't take part


def multibox_loss(
    predictions: Predictions,
    targets: Targets,
    mining: str = "image",
    negative_ratio: float = NEGATIVE_RATIO,
    num_matched: Tensor | None = None,
    negative: Tensor | None = None,
) -> Losses:
    """Both parts of the loss of a batch, computed in float32 whatever the network computes in.

    `mining`: "image" ranks the negatives of each image by themselves (Caffe and the paper), "batch" ranks
    all together (ssd_keras). Where the batch is one share of a larger one, `num_matched` replaces N (the
    loss of a share has to be divided by the matches of the whole), and `negative` (B, K) bool says which negatives
    were mined from the whole.
    """
    positive = targets.labels > 0
    logits = predictions.logits.float()
    if negative is None:
        negative = hard_negatives(logits.detach(), positive, mining, negative_ratio)
    count = positive.sum()
    n = (count if num_matched is None else num_matched).clamp(min=1)

    there = computed_where(positive)
    offsets = predictions.offsets[there].float()
    localisation = F.smooth_l1_loss(offsets, targets.offsets[there], reduction="none")
    localisation = localisation.where(positive[there][..., None], 0.0).sum()
    used = positive | negative
    there = computed_where(used)
    labels = targets.labels.where(used, IGNORED)[there]
    confidence = F.cross_entropy(
        logits[there].flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum"
    )
    return Losses(localisation / n, confidence / n, count, negative.sum())


def hard_negatives(logits: Tensor, positive: Tensor, mining: str, ratio: float) -> Tensor:
    """Which background anchors the network finds hardest: (B, K, C), (B, K) bool -> (B, K) bool.

    In each image (or in the batch as a whole), as many as `ratio` times the positives, as far as there
    are any; those whose -log p(background) is largest.
    """
    if mining not in MININGS:
        raise ValueError(f"mining is {mining!r}; it has to be one of {', '.join(MININGS)}")
    background_loss = -F.log_softmax(logits, dim=-1)[..., 0]
    background_loss = background_loss.masked_fill(positive, -torch.inf)
    shape = positive.shape
    if mining == "batch":
        background_loss, positive = background_loss.reshape(1, -1), positive.reshape(1, -1)
    wanted = (ratio * positive.sum(dim=1, keepdim=True)).long()
    # the hardest come first in a list as long as the longest that is wanted; on a GPU, where reading that length
    # would be a synchronisation, all are listed
    everything = background_loss.shape[1]
    longest = everything if logits.is_cuda else min(everything, int(wanted.max()))
    hardest = background_loss.topk(longest, dim=1).indices
    rank = torch.arange(longest, device=logits.device).expand_as(hardest)
    chosen = torch.zeros_like(positive).scatter(1, hardest, rank < wanted)
    return (chosen & ~positive).reshape(shape)


def l2_penalty(model: nn.Module, strength: float = 5e-4) -> Tensor:
    """Σ strength · w² over the kernels of all convolutions: what Keras adds to the loss it reports.

    It isn't part of our loss, because the optimiser's weight decay does the same work. It makes a loss curve
    comparable with ssd_keras's, whose figures are multibox + l2. Mind the factor: the gradient of Keras' penalty is
    that of a weight decay of 2 · strength.
    """
    kernels = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d)]
    return strength * sum(k.detach().float().square().sum() for k in kernels)
