"""A training step on a GPU asks it for no answer, because the host would have to wait, and starts few operations.

There needn't be a GPU for that. PyTorch's fake tensors know their device and shape and have no content, so whatever
has to look at a content (`if x.any()`, `int(x)`, `nonzero`, indexing by a mask) raises an error.
"""

from dataclasses import replace

import inputs
import operations
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ssdlib import detect, loss, matching
from ssdlib.anchors import default_boxes
from ssdlib.data.ahead import TOGETHER
from ssdlib.model import SSD300
from ssdlib.records import Predictions, Targets

GPU = torch.device("cuda")


@pytest.fixture
def fake():
    with FakeTensorMode() as mode:
        yield mode


def heads(device=GPU) -> Predictions:
    offsets = torch.rand(4, 8732, 4, device=device, requires_grad=True)
    logits = torch.rand(4, 8732, 21, device=device, requires_grad=True)
    return Predictions(offsets, logits)


def targets(device=GPU) -> Targets:
    labels = torch.ones(4, 8732, dtype=torch.int64, device=device)
    return Targets(torch.rand(4, 8732, 4, device=device), labels, labels)


@pytest.mark.parametrize("mining", loss.MININGS)
def test_from_targets_to_the_loss_the_gpu_is_asked_nothing(fake, mining):
    said = heads()
    losses = loss.multibox_loss(said, targets(), mining)
    assert losses.multibox.device.type == losses.negatives.device.type == "cuda"
    if torch.cuda.is_available():  # the engine of gradients wants a real one
        losses.multibox.backward()


def test_asking_is_noticed(fake):
    labels = torch.ones(4, 8732, device=GPU)
    with pytest.raises(Exception, match=r"aten\.(_local_scalar_dense|nonzero)"):
        int(labels.sum())
    with pytest.raises(Exception, match=r"aten\.nonzero"):
        labels[labels > 0]


def test_a_copy_that_the_host_waits_for_is_noticed(fake):
    with operations.Operations() as counted:
        torch.rand(3).to(GPU, non_blocking=True)
        assert not counted.waits.total()
        torch.rand(3).to(GPU)
        torch.rand(3, device=GPU).cpu()
    assert counted.waits.total() == 2 and counted.started["aten.rand.default"] == 3


@pytest.mark.slow
def test_a_batch_of_32_is_made_with_120_operations_at_most_and_without_a_wait(mini):
    """Photographs of several sizes, with a crowd among them, and all steps of the augmentation. The crop of ssd_keras
    tries one round after the other."""
    examples = inputs.painted(mini, most=40)
    crowd = examples[3]
    examples[3] = replace(crowd, boxes=crowd.boxes[:1].repeat(30, 1), labels=crowd.labels[:1].repeat(30))
    for rule, most in (("caffe", 120), ("ssd_keras", 200)):
        counted = operations.making(examples, 32, rule)
        assert 0 < counted.started.total() * 32 / TOGETHER <= most
        assert not counted.waits.total()
        assert (
            counted.started["numpy"] >= 2 * TOGETHER // 32
        )  # the order of the images, and their augmentation


def test_an_update_takes_seven_operations_and_two_if_sgd_is_fused():
    assert 0 < operations.updating() <= 7 and 0 < operations.updating(fused=True) <= 2


def test_forward_loss_and_backward_take_350_operations_at_most():
    counted = operations.learning(width=1 / 16)
    assert counted["forward"] > 35 and counted["backward"] > 35  # 35 convolutions
    assert sum(counted.values()) <= 350


def test_forward_and_loss_ask_the_gpu_nothing(fake):
    with torch.device(GPU):
        network = SSD300(width=1 / 16)
        images = torch.rand(4, 3, 300, 300)
    with operations.Operations() as counted:  # PyTorch has no autocast for a GPU that isn't there
        losses = loss.multibox_loss(network(images), targets())
    assert losses.multibox.device.type == "cuda" and not counted.waits.total()


def test_detection_waits_for_the_gpu_once(fake):
    anchors = default_boxes().to(GPU)
    with operations.Operations() as counted, torch.no_grad():
        boxes, probabilities = detect.decoded(heads(), anchors)
    assert counted.waits.total() == 1
    assert boxes.device.type == probabilities.device.type == "cpu"
    assert (boxes.shape, probabilities.shape) == ((4, 8732, 4), (4, 8732, 21))


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
        goal = matching.make_targets(boxes, labels, default_boxes())
        goal = Targets(*(x.as_subclass(kind) for x in vars(goal).values()))
        losses = loss.multibox_loss(Predictions(offsets, logits), goal)
        losses.multibox.backward()
        answers.append((losses, offsets.grad, logits.grad))
    (ours, *grads), (theirs, *their_grads) = answers
    assert int(ours.positives) == int(theirs.positives) > 50 and int(ours.negatives) == int(theirs.negatives)
    for one, other in zip((ours.multibox, *grads), (theirs.multibox, *their_grads), strict=True):
        torch.testing.assert_close(one, other.as_subclass(torch.Tensor))
