"""Training against a transcription of Caffe's solver, across a drop of the learning rate, and what differs there."""

import pytest
import torch

from small_runs import painted
from ssdlib.data.batches import BatchMaker
from ssdlib.training import engine
from ssdlib.training.runs import RunConfig

pytestmark = pytest.mark.slow  # a proof of two passages of a chapter: five seconds

DROP, STEPS = 6, 14
CONFIG = RunConfig(
    width=1 / 16,
    steps=STEPS,
    batch_size=2,
    learning_rate=1e-4,
    drops=(DROP,),
    precision="float32",
    augment=(),
)


class CaffeSolver:
    """`SGDSolver` of src/caffe/solvers/sgd_solver.cpp for some blobs, in the order of its `ApplyUpdate`.

    `multipliers` are what a layer's two `param` blocks state: (lr_mult, decay_mult) of each blob. The history holds
    rate times gradient, whatever rate was in force when the gradient came.
    """

    def __init__(self, blobs, multipliers, base_lr, gamma, stepvalues, momentum, weight_decay):
        self.data = {name: value.detach().clone() for name, value in blobs.items()}
        self.history = {name: torch.zeros_like(value) for name, value in self.data.items()}
        self.multipliers, self.base_lr, self.gamma, self.stepvalues = multipliers, base_lr, gamma, stepvalues
        self.momentum, self.weight_decay, self.iter, self.current_step = momentum, weight_decay, 0, 0

    def learning_rate(self):
        """The policy "multistep"."""
        if self.current_step < len(self.stepvalues) and self.iter >= self.stepvalues[self.current_step]:
            self.current_step += 1
        return self.base_lr * self.gamma**self.current_step

    def apply_update(self, diffs):
        rate = self.learning_rate()
        for name, data in self.data.items():
            lr_mult, decay_mult = self.multipliers[name]
            diff = diffs[name] + self.weight_decay * decay_mult * data  # Regularize
            self.history[name] = (
                rate * lr_mult * diff + self.momentum * self.history[name]
            )  # ComputeUpdateValue
            self.data[name] = data - self.history[name]  # Update
        self.iter += 1


def trained(at_drop=None):
    """Train ours, and give Caffe's solver the same gradients -> for each step the weights after it, ours and Caffe's;
    the first are those before.

    Both get the gradients that ours has, or rounding would be multiplied by the network from step to step.
    `at_drop` may change our optimiser before the first step at the lower rate.
    """
    model, optimizer, anchors = engine.build(CONFIG, torch.device("cpu"))
    blobs = dict(model.named_parameters())
    # model_libs.py: weights 1 and 1, biases 2 and 0; the scale of conv4_3 has no param block, so 1 and 1
    multipliers = {name: (2, 0) if name.endswith("bias") else (1, 1) for name in blobs}
    caffe = CaffeSolver(blobs, multipliers, 1e-4, 0.1, (DROP,), 0.9, 5e-4)
    maker = BatchMaker(*painted(), batch_size=CONFIG.batch_size, seed=1, steps=())
    history = [({name: value.clone() for name, value in caffe.data.items()}, None)]
    for step in range(STEPS):
        if step == DROP and at_drop:
            at_drop(optimizer)
        engine.update(model, optimizer, maker(step), anchors, engine.learning_rate(CONFIG, step), CONFIG)
        caffe.apply_update({name: blob.grad for name, blob in blobs.items()})
        ours = {name: blob.detach().clone() for name, blob in blobs.items()}
        history.append((ours, {name: value.clone() for name, value in caffe.data.items()}))
    return history


def apart(history, step):
    """How far Caffe's weights are from ours after `step`, as a part of the way ours have come."""
    start, (ours, caffes) = history[0][0], history[step]
    distance = sum(float((ours[name] - caffes[name]).square().sum()) for name in ours)
    way = sum(float((ours[name] - start[name]).square().sum()) for name in ours)
    return (distance / way) ** 0.5


@pytest.fixture(scope="module")
def history():
    return trained()


def test_until_the_drop_every_step_is_caffes(history):
    assert max(apart(history, step) for step in range(1, DROP + 1)) < 1e-5


def test_after_the_drop_caffes_weights_move_on_by_the_momentum_at_the_old_rate(history):
    """PyTorch multiplies all of the momentum by the new rate, Caffe only what came after the drop. n steps later
    Caffe's weights are (0.9 + ... + 0.9^n) (old rate - new rate) v ahead, v the momentum before the drop: 8.1 times
    the last step at the old rate in the end."""
    (before, _), (last, _) = history[DROP - 1 : DROP + 1]
    for n in range(1, STEPS - DROP + 1):
        ours, caffes = history[DROP + n]
        factor = sum(0.9**i for i in range(1, n + 1)) * (1 - 0.1)
        error = way = 0.0
        for name in ours:
            ahead = caffes[name] - ours[name]
            expected = factor * (last[name] - before[name])  # the last step is -rate v, biases at theirs
            error += float((ahead - expected).square().sum())
            way += float(expected.square().sum())
        assert (error / way) ** 0.5 < 1e-3


def test_nothing_but_that_momentum_differs_after_the_drop(history):
    """Our momentum multiplied by old rate / new rate at the drop is Caffe's history, and so are all steps after."""

    def as_caffe(optimizer):
        for state in optimizer.state.values():
            state["momentum_buffer"] *= 10

    assert apart(history, STEPS) > 1e-3
    corrected = trained(as_caffe)
    assert max(apart(corrected, step) for step in range(1, STEPS + 1)) < 1e-5
