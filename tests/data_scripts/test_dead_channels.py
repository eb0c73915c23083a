"""A channel is dead if its ReLU lets nothing through in any image."""

import sys
from pathlib import Path

import torch

from ssdlib.model import SSD300

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
from dead_channels import dead_channels


def test_channels_whose_bias_is_far_below_zero_are_counted_and_no_others():
    torch.manual_seed(0)
    network = SSD300(width=1 / 16, strided_stem=True)
    with torch.no_grad():
        network.body["conv4_3"][0].bias[[1, 5]] = -1e6
    images = 50 * torch.randn(2, 3, 300, 300)
    found = dead_channels(network, images)
    assert found["conv4_3"].shape == network.body["conv4_3"][0].bias.shape
    assert found["conv4_3"][[1, 5]].all() and not found["conv1_1"].all()
    with torch.no_grad():
        network.body["conv4_3"][0].bias[:] = 1e6
    assert not dead_channels(network, images)["conv4_3"].any()
