"""A training step on a GPU never asks the GPU anything: the processor would have to wait for the answer.

There needn't be a GPU for that. PyTorch's fake tensors know their device and shape and have no content, so whatever
has to look at a content (`if x.any()`, `int(x)`, `nonzero`, indexing by a mask) raises an error.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ssdlib import loss, matching
from ssdlib.anchors import default_boxes
from ssdlib.data import augment
from ssdlib.records import Predictions

GPU = torch.device("cuda")


@pytest.fixture
def fake():
    with FakeTensorMode() as mode:
        yield mode


def heads(device=GPU) -> Predictions:
    offsets = torch.rand(4, 8732, 4, device=device, requires_grad=True)
    logits = torch.rand(4, 8732, 21, device=device, requires_grad=True)
    return Predictions(offsets, logits)


@pytest.mark.parametrize("objects", [0, 1, 7])
@pytest.mark.parametrize("mining", loss.MININGS)
def test_from_boxes_to_the_loss_the_gpu_is_asked_nothing(fake, objects, mining):
    boxes = torch.rand(4, objects, 4, device=GPU)
    labels = torch.ones(4, objects, dtype=torch.int64, device=GPU)
    targets = matching.make_targets(boxes, labels, torch.rand(8732, 4, device=GPU))
    said = heads()
    losses = loss.multibox_loss(said, targets, mining)
    assert losses.multibox.device.type == losses.negatives.device.type == "cuda"
    if torch.cuda.is_available():  # the engine of gradients wants a real one
        losses.multibox.backward()


def test_asking_is_noticed(fake):
    labels = torch.ones(4, 8732, device=GPU)
    with pytest.raises(Exception, match=r"aten\.(_local_scalar_dense|nonzero)"):
        int(labels.sum())
    with pytest.raises(Exception, match=r"aten\.nonzero"):
        labels[labels > 0]


def test_colours_of_a_batch_are_changed_without_asking_which(fake):
    augment._distort(torch.rand(4, 3, 300, 300, device=GPU), torch.rand(4, 5, device=GPU))


class Everywhere(torch.Tensor):
    """On a processor, but says it is on a GPU: the way of a GPU with its content."""

    is_cuda = True


def test_both_ways_say_the_same():
    """Images with objects that share an anchor, with none, and with labels that count as an empty slot."""
    chance = torch.Generator().manual_seed(3)
    corner, side = (
        torch.rand(6, 9, 2, generator=chance) * 200,
        20 + 80 * torch.rand(6, 9, 2, generator=chance),
    )
    boxes, labels = torch.cat([corner, corner + side], dim=-1), torch.randint(1, 21, (6, 9), generator=chance)
    boxes[1, 4], labels[2, 3:], labels[3] = boxes[1, 3], 0, 0
    said = Predictions(
        torch.randn(6, 8732, 4, generator=chance), 3 * torch.randn(6, 8732, 21, generator=chance)
    )
    answers = []
    for kind in (torch.Tensor, Everywhere):
        offsets, logits = (x.clone().as_subclass(kind).requires_grad_() for x in (said.offsets, said.logits))
        targets = matching.make_targets(boxes.as_subclass(kind), labels.as_subclass(kind), default_boxes())
        losses = loss.multibox_loss(Predictions(offsets, logits), targets)
        losses.multibox.backward()
        answers.append((targets, losses, offsets.grad, logits.grad))
    (plain, ours, *grads), (dense, theirs, *their_grads) = answers
    assert torch.equal(plain.matched, dense.matched) and torch.equal(plain.labels, dense.labels)
    torch.testing.assert_close(plain.offsets, dense.offsets.as_subclass(torch.Tensor))
    assert int(ours.positives) == int(theirs.positives) > 50 and int(ours.negatives) == int(theirs.negatives)
    for one, other in zip((ours.multibox, *grads), (theirs.multibox, *their_grads), strict=True):
        torch.testing.assert_close(one, other.as_subclass(torch.Tensor))
