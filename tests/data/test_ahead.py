"""`ahead` and `packed`: a batch in one piece is the batch of one photograph after the other."""

import threading

import pytest
import torch
import torch.nn.functional as F
from small_data import make_examples, striped

from ssdlib.anchors import default_boxes
from ssdlib.data import ahead, packed
from ssdlib.data.batches import BatchMaker
from ssdlib.data.store import BadPhotograph

ANCHORS = default_boxes()
EXAMPLES, PHOTOGRAPHS = make_examples()


def maker_of(examples, photographs, size: int = 2, **more) -> BatchMaker:
    return BatchMaker(examples, photographs, batch_size=size, seed=5, anchors=ANCHORS, **more)


def noise(height: int, width: int) -> torch.Tensor:
    chance = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=chance)


# --- One resampling for all -----------------------------------------------------------------------------


def test_packed_photographs_are_resampled_as_grid_sample_does_one_by_one():
    """Inside, across an edge, far outside, mirrored, enlarged and shrunk; photographs of one pixel too."""
    photographs = [noise(*size) for size in ((40, 60), (333, 500), (1, 1), (1, 7), (90, 1))]
    chance = torch.Generator().manual_seed(1)
    where = torch.stack([torch.linspace(-1.7, 1.4, 30), torch.linspace(1.0, -1.0, 30)]).repeat(5, 1, 1)
    where[1] = torch.rand(2, 30, generator=chance) * 2 - 1
    sizes = torch.tensor([[p.shape[1], p.shape[0]] for p in photographs])
    pixels, first = packed.pack(photographs)
    found = packed.resample(torch.cat(pixels), first, packed.reading(sizes, where))
    assert found.shape == (5, 3, 30, 30) and found.is_contiguous(memory_format=torch.channels_last)
    for photograph, (x, y), one in zip(photographs, where, found, strict=True):
        grid = torch.stack([x.expand(30, -1), y[:, None].expand(-1, 30)], dim=-1)[None]
        image = photograph.permute(2, 0, 1)[None].float()
        wanted = F.grid_sample(image, grid, "bilinear", padding_mode="border", align_corners=False)[0]
        torch.testing.assert_close(one, wanted, atol=0.01, rtol=0)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_what_is_sent_arrives_as_it_was(count):
    """Whole numbers, floats, bools and none at all, in one buffer: each has its type, shape and place."""
    tensors = [
        torch.arange(3, dtype=torch.uint8),
        torch.zeros(2, 0, 4),
        torch.tensor([True, False, True]),
        torch.arange(6).view(2, 3) - 2**40,
        torch.rand(5, generator=torch.Generator().manual_seed(0)),
    ]
    photographs = [noise(2, 3), noise(5, 1), noise(1, 1)][:count]
    pixels, first = packed.pack(photographs) if count else ([], None)
    if not count:
        pixels = [torch.zeros(0, 3, dtype=torch.uint8)]
    there, together = packed.send(tensors, "cpu", pixels)
    for one, other in zip(there, tensors, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    assert torch.equal(together, torch.cat([p.reshape(-1, 3) for p in photographs]) if count else pixels[0])
    if count == 3:
        assert first.tolist() == [0, 6, 11]


# --- The batches ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["caffe", "ssd_keras"])
@pytest.mark.parametrize(("first", "last"), [(0, 4), (5, 6), (6, 15), (3, 3), (4, 2)])
def test_batches_made_ahead_are_those_of_the_steps_in_order(first, last, rule):
    maker = maker_of(*striped(), size=4, rule=rule)
    made = list(ahead.ahead(maker, first, last))
    assert len(made) == max(0, last - first)
    for step, batch in zip(range(first, last), made, strict=False):
        wanted = maker(step)
        slots = wanted.labels.shape[1]
        assert torch.equal(batch.boxes[:, :slots], wanted.boxes)
        assert torch.equal(batch.labels[:, :slots], wanted.labels) and not batch.labels[:, slots:].any()
        for name, values in vars(wanted.targets).items():
            assert torch.equal(getattr(batch.targets, name), values)
        # a red whose hue is 0 up to rounding may fall on either side of 0, where Caffe's rule jumps
        far = ((batch.images - wanted.images).abs() > 0.01).any(dim=1)
        assert int(far.sum()) <= 30 and batch.images.shape == (4, 3, 300, 300)


@pytest.mark.parametrize("processes", [1, 2])
def test_a_share_of_a_batch_made_ahead_is_that_share(processes):
    for rank in range(processes):
        maker = maker_of(*striped(), size=4, share=(rank, processes), steps=("expand", "crop", "flip"))
        [made] = ahead.ahead(maker, 3, 4)
        torch.testing.assert_close(made.images, maker(3).images, atol=0.01, rtol=0)
        assert torch.equal(made.targets.matched, maker(3).targets.matched)


def test_images_without_objects_are_background_there_too():
    [made] = ahead.ahead(maker_of(EXAMPLES[::4], PHOTOGRAPHS[::4], 3), 0, 1)
    assert made.labels.shape == (3, 0) and made.boxes.shape == (3, 0, 4)
    assert not made.targets.labels.any() and (made.targets.matched == -1).all()


def test_two_batches_are_made_ahead_in_another_thread_and_no_more(monkeypatch):
    made, threads, real = [], set(), ahead.rendered

    def watched(maker, plan):
        made.append(plan)
        threads.add(threading.current_thread())
        return real(maker, plan)

    monkeypatch.setattr(ahead, "rendered", watched)
    batches = ahead.ahead(maker_of(EXAMPLES, PHOTOGRAPHS, 1, steps=()), 0, 9)
    for step in range(3):
        next(batches)
        assert step + 1 <= len(made) <= step + 3
    batches.close()
    assert threading.current_thread() not in threads and len(made) <= 5


def test_an_error_in_a_batch_made_ahead_reaches_whoever_waits_for_it():
    with pytest.raises(AttributeError):
        list(ahead.ahead(maker_of(EXAMPLES, [*PHOTOGRAPHS[:-1], None], 11, steps=()), 0, 2))


def test_a_photograph_of_another_size_than_its_example_states_is_refused():
    """Its rows would be read from the wrong place in memory."""
    other = [*PHOTOGRAPHS[:-1], noise(5, 4)]
    with pytest.raises(BadPhotograph, match="000010.jpg: 4x5 px; its annotation says 50x50"):
        list(ahead.ahead(maker_of(EXAMPLES, other, 11, steps=()), 0, 1))
