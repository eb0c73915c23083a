"""Tests for `records`: nothing in them can be changed, and a threshold keeps what reaches it."""

import dataclasses

import pytest
import torch

from ssdlib.records import Detections, Losses


def some(*scores):
    n = len(scores)
    return Detections(torch.arange(4.0 * n).view(n, 4), torch.tensor(scores), torch.arange(1, n + 1))


def test_a_threshold_keeps_what_reaches_it_in_order():
    found = some(0.9, 0.5, 0.49, 0.1).above(0.5)
    assert (len(found), found.labels.tolist()) == (2, [1, 2])
    assert found.boxes.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_nothing_found_stays_nothing():
    assert len(some().above(0.5)) == 0


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        some(0.5).scores = torch.zeros(1)


def test_the_multibox_loss_is_the_sum_of_its_parts():
    count = torch.tensor(1)
    assert Losses(torch.tensor(1.25), torch.tensor(2.5), count, count).multibox == 3.75
