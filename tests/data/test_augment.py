"""`augment`: the distribution of the draws, what becomes of boxes, and the pixels of the one warp."""

import random
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

import slow_oracles_data as slow
from ssdlib.data import augment
from ssdlib.data.augment import Draw, draw, uniforms, warp

MEAN = torch.tensor(slow.MEAN)[:, None, None]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw_many(
    count: int, seed: int, size=(500, 375), objects=(), steps=augment.STEPS, rule: str = "caffe"
) -> Draw:
    """`count` draws for the same photograph; `objects` are boxes in px, all of class 1."""
    boxes = torch.tensor(objects, dtype=torch.float32).reshape(1, -1, 4).expand(count, -1, -1)
    labels = torch.ones(count, len(objects), dtype=torch.int64)
    chance = uniforms(count, seeded(seed), rule)
    return draw(torch.tensor([size]).expand(count, 2), boxes, labels, chance, steps, rule)


def from_uniform(values: torch.Tensor, low: float, high: float) -> bool:
    """Kolmogorov-Smirnov: could these numbers be uniform? Says no to about one honest sample in 10,000."""
    ordered = (values.double().sort().values - low) / (high - low)
    if not (bool((ordered >= 0).all()) and bool((ordered <= 1).all())):
        return False
    n = len(ordered)
    steps = torch.arange(n + 1).double() / n
    distance = max(float((steps[1:] - ordered).max()), float((ordered - steps[:-1]).max()))
    return distance < 2.2 / n**0.5


def distance(first, second) -> float:
    """Kolmogorov-Smirnov distance of two samples, in units of what chance explains (2.2: 1 in 10,000)."""
    first, second = np.sort(first), np.sort(second)
    everything = np.concatenate([first, second])
    shares = [np.searchsorted(one, everything, side="right") / len(one) for one in (first, second)]
    return np.abs(shares[0] - shares[1]).max() / (1 / len(first) + 1 / len(second)) ** 0.5


def share_is(found: torch.Tensor, wanted: float) -> bool:
    """Is the share of True what it should be, up to 4.5 standard deviations?"""
    return abs(float(found.double().mean()) - wanted) < 4.5 * (wanted * (1 - wanted) / len(found)) ** 0.5


# --- Distribution of the draws --------------------------------------------------------------------------


def test_colours_are_drawn_with_their_own_coins_from_their_ranges():
    d = draw_many(20000, seed=1, steps=("distort",))
    on = torch.stack(
        [d.brightness != 0, d.contrast != 1, d.saturation != 1, d.hue != 0, d.contrast_last], dim=1
    )
    for coin in on.T:
        assert share_is(coin, 0.5)
    outcomes = (on.long() * torch.tensor([16, 8, 4, 2, 1])).sum(dim=1).bincount(minlength=32)
    chi2 = float(((outcomes - 625.0) ** 2 / 625).sum())
    assert chi2 < 70  # 31 degrees of freedom, 1 in 10,000: the five coins are independent
    assert from_uniform(d.brightness[on[:, 0]], -32, 32)
    assert from_uniform(d.contrast[on[:, 1]], 0.5, 1.5)
    assert from_uniform(d.saturation[on[:, 2]], 0.5, 1.5)
    assert from_uniform(d.hue[on[:, 3]], -36, 36)


def test_every_other_photograph_is_expanded_up_to_four_times_and_lies_wholly_inside():
    width, height = 500, 375
    window = draw_many(20000, seed=2, size=(width, height), steps=("expand",)).window
    assert torch.equal(window, window.round())  # whole pixels, as in the original
    across, down = window[:, 2] - window[:, 0], window[:, 3] - window[:, 1]
    assert bool(((window[:, :2] <= 0) & (window[:, 2:] >= torch.tensor([width, height]))).all())
    assert share_is(across > width, 0.5 * (1 - 1 / 3 / width))  # a ratio below 1 + 1/500 rounds to 1
    grown = across > width
    assert from_uniform((across[grown] + 0.5) / width, 1, 4)
    assert bool(((across / width - down / height).abs() < 1 / width + 1 / height).all())  # one ratio for both
    roomy = across > 2 * width
    for room, start in ((across - width, window[:, 0]), (down - height, window[:, 1])):
        assert from_uniform(((0.5 - start) / (room + 0.5))[roomy], 0, 1)


def test_photographs_are_mirrored_every_other_time_whatever_else_happens():
    d = draw_many(20000, seed=3, objects=[(100, 100, 200, 200)])
    assert share_is(d.flip, 0.5)
    for other in (d.brightness != 0, d.window[:, 0] < 0, d.patch == 0, d.contrast_last):
        assert abs(float(d.flip[other].double().mean()) - 0.5) < 4.5 * 0.5 / int(other.sum()) ** 0.5


LAYOUTS = {  # in fractions of the picture
    "one small object": [(0.62, 0.10, 0.70, 0.24)],
    "one large object": [(0.05, 0.10, 0.90, 0.95)],
    "one object over everything": [(0.0, 0.0, 1.0, 1.0)],  # all seven succeed nearly always
    "two objects, half as large": [(0.0, 0.2, 0.5, 0.7), (0.55, 0.4, 0.95, 1.0)],
    "three objects": [(0.1 * k, 0.15 * k, 0.1 * k + 0.3, 0.15 * k + 0.25) for k in range(3)],
}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_samplers_are_chosen_and_patches_lie_as_in_a_slow_simulation_of_the_original(layout):
    width, height = 500, 375
    dice = random.Random(4)
    objects = LAYOUTS[layout]
    simulated = [slow.sample_patch(dice, objects) for _ in range(2500)]
    in_px = [(x1 * width, y1 * height, x2 * width, y2 * height) for x1, y1, x2, y2 in objects]
    d = draw_many(8000, seed=5, size=(width, height), objects=in_px, steps=("crop",))

    wanted = np.bincount([number for number, _ in simulated], minlength=7) / 2500
    found = np.bincount(d.patch.numpy(), minlength=7) / 8000
    pooled = np.clip((wanted * 2500 + found * 8000) / 10500, 1e-3, None)
    assert (np.abs(found - wanted) < 4.5 * np.sqrt(pooled * (1 - pooled) * (1 / 2500 + 1 / 8000))).all()
    assert 1 / 7 - 0.02 < found[0] < 1 / 2 + 0.02

    fractions = d.window.numpy() / np.array([width, height, width, height])
    patches = np.array([patch for _, patch in simulated])
    for measure in (
        lambda p: p[:, 0],
        lambda p: p[:, 1],
        lambda p: p[:, 2] - p[:, 0],
        lambda p: p[:, 3] - p[:, 1],
        lambda p: (p[:, 2] - p[:, 0]) / (p[:, 3] - p[:, 1]),
    ):
        assert distance(measure(fractions).round(5), measure(patches).round(5)) < 2.2


@pytest.mark.parametrize("steps", [("crop",), ("expand", "crop")])
def test_every_patch_keeps_the_bounds_of_its_sampler(steps):
    width, height = 500, 375
    objects = [(20, 30, 220, 300), (260, 50, 330, 90), (0, 0, 500, 375)]
    d = draw_many(3000, seed=6, size=(width, height), objects=objects, steps=steps)
    planes = draw_many(3000, seed=6, size=(width, height), objects=objects, steps=steps[:-1]).window
    assert set(d.patch.tolist()) == set(range(7))
    for window, plane, number in zip(d.window.tolist(), planes.tolist(), d.patch.tolist(), strict=True):
        if number == 0:
            assert window == plane
            continue
        overlap = max(slow.iou(window, thing) for thing in objects)
        assert overlap >= slow.MIN_IOUS[number - 1] - 1e-5
        across = (window[2] - window[0]) / (plane[2] - plane[0])
        down = (window[3] - window[1]) / (plane[3] - plane[1])
        assert 0.3 - 1e-5 <= (across * down) ** 0.5 <= 1 + 1e-5
        assert 0.5 - 1e-4 <= across / down <= 2 + 1e-4
        assert window[0] >= plane[0] - 1e-3 and window[1] >= plane[1] - 1e-3
        assert window[2] <= plane[2] + 1e-3 and window[3] <= plane[3] + 1e-3


def test_each_sampler_has_fifty_trials_and_takes_the_fiftieth_if_no_other_works():
    """Caffe's max_trials. One object, the lower right quarter: 49 trials miss it, the 50th takes the photograph."""
    chance = torch.zeros(
        1, 9 + 4 + (6 * 50 * 4 + 1) + 1
    )  # colours, expansion, six samplers and a choice, mirror
    for sampler in range(6):
        chance[0, 13 + 4 * (50 * sampler + 49)] = (
            1.0  # the scale; all other patches are 0.3 wide, at the origin
        )
    box, label = torch.tensor([[[50.0, 50.0, 100.0, 100.0]]]), torch.ones(1, 1, dtype=torch.int64)
    found = []
    for choice in (
        0.0,
        0.5,
        0.9,
    ):  # of the whole, the sampler of 0.1 and that of none, whose first trial will do
        chance[0, 13 + 6 * 50 * 4] = choice
        d = draw(torch.tensor([[100, 100]]), box, label, chance, ("crop",))
        found.append((d.patch.tolist(), d.window.round().tolist()))
    whole, corner = [[0.0, 0.0, 100.0, 100.0]], [[0.0, 0.0, 21.0, 42.0]]  # 0.3 √0.5 wide, 0.3 / √0.5 high
    assert found == [([0], whole), ([1], whole), ([6], corner)]


def test_a_photograph_without_objects_is_only_ever_shown_whole():
    for slots in (0, 3):  # no slot at all, or slots that are empty
        boxes, labels = torch.zeros(500, slots, 4), torch.zeros(500, slots, dtype=torch.int64)
        sizes = torch.tensor([[500, 375]]).expand(500, 2)
        d = draw(sizes, boxes, labels, uniforms(500, seeded(7)))
        assert int(d.patch.abs().sum()) == 0
        assert bool(((d.window[:, :2] <= 0) & (d.window[:, 2:] >= sizes)).all())
        assert d.boxes.shape == (500, 0, 4) and d.labels.shape == (500, 0)


def test_empty_slots_are_never_what_a_patch_is_chosen_for():
    """The slots hold zeros: a box at the upper left corner that has no area and must attract nothing."""
    objects = torch.tensor([[[400.0, 300, 440, 340], [0, 0, 0, 0]]]).expand(2000, -1, -1)
    labels = torch.tensor([[3, 0]]).expand(2000, -1)
    sizes = torch.tensor([[500, 375]]).expand(2000, 2)
    chance = uniforms(2000, seeded(8))
    padded = draw(sizes, objects, labels, chance, ("crop",))
    alone = draw(sizes, objects[:, :1], labels[:, :1], chance, ("crop",))
    assert torch.equal(padded.window, alone.window) and torch.equal(padded.patch, alone.patch)
    assert torch.equal(padded.boxes, alone.boxes)


# --- Steps ----------------------------------------------------------------------------------------------


def test_without_steps_a_photograph_is_only_resized():
    boxes = torch.tensor([[[50.0, 75, 250, 375], [0, 0, 0, 0]], [[10, 20, 30, 40], [0, 0, 100, 50]]])
    d = draw(torch.tensor([[500, 375], [100, 50]]), boxes, torch.tensor([[1, 0], [2, 3]]), steps=())
    assert d.window.tolist() == [[0, 0, 500, 375], [0, 0, 100, 50]]
    assert not d.flip.any() and not d.contrast_last.any() and not d.patch.any()
    for amount, nothing in ((d.brightness, 0), (d.contrast, 1), (d.saturation, 1), (d.hue, 0)):
        assert amount.tolist() == [nothing, nothing]
    wanted = [[[30, 60, 150, 300], [0, 0, 0, 0]], [[30, 120, 90, 240], [0, 0, 300, 300]]]
    torch.testing.assert_close(d.boxes, torch.tensor(wanted, dtype=torch.float32))
    assert d.labels.tolist() == [[1, 0], [2, 3]]


@pytest.mark.parametrize("left_out", augment.STEPS)
def test_leaving_a_step_out_leaves_the_others_as_they_were(left_out):
    objects = [(20, 30, 220, 300), (260, 50, 330, 90)]
    every = draw_many(200, seed=9, objects=objects)
    some = draw_many(200, seed=9, objects=objects, steps=[s for s in augment.STEPS if s != left_out])
    same_colours = all(
        torch.equal(getattr(every, name), getattr(some, name))
        for name in ("brightness", "contrast", "saturation", "hue", "contrast_last")
    )
    assert same_colours == (left_out != "distort")
    assert torch.equal(every.flip, some.flip) == (left_out != "flip")
    assert torch.equal(every.window, some.window) == (left_out not in ("expand", "crop"))
    assert bool((some.window[:, 0] < -1).any()) == (left_out != "expand")
    assert bool((some.patch > 0).any()) == (left_out != "crop")


def test_an_unknown_step_is_refused_with_the_ones_there_are():
    with pytest.raises(ValueError, match="'rotate'; wanted some of distort, expand, crop, flip"):
        draw_many(2, seed=1, steps=("flip", "rotate"))


def test_steps_without_chance_are_refused():
    with pytest.raises(ValueError, match="steps without random numbers"):
        draw(torch.tensor([[500, 375]]), torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64))


def test_chance_is_the_generators_and_between_zero_and_one():
    chance = uniforms(64, seeded(1))
    assert torch.equal(chance, uniforms(64, seeded(1)))
    assert not torch.equal(chance, uniforms(64, seeded(2)))
    assert from_uniform(chance.flatten(), 0, 1) and float(chance.max()) < 1
    assert len(chance.unique()) > 0.99 * chance.numel()  # no number is used twice


def test_the_draw_of_a_share_is_the_share_of_the_draw():
    random_boxes = torch.rand(12, 4, 2, generator=seeded(10)) * 200
    boxes = torch.cat([random_boxes, random_boxes + 60], dim=-1)
    labels = torch.randint(0, 3, (12, 4), generator=seeded(11))
    sizes = torch.tensor([[500, 375], [333, 500], [260, 270]]).repeat(4, 1)
    chance = uniforms(12, seeded(12))
    whole = draw(sizes, boxes, labels, chance)
    for start, end in ((0, 4), (4, 8), (8, 12), (5, 6)):
        part = draw(sizes[start:end], boxes[start:end], labels[start:end], chance[start:end])
        for name in (
            "window",
            "flip",
            "brightness",
            "contrast",
            "saturation",
            "hue",
            "contrast_last",
            "patch",
        ):
            assert torch.equal(getattr(part, name), getattr(whole, name)[start:end]), name
        slots = part.labels.shape[1]  # as many as the share needs
        assert torch.equal(part.boxes, whole.boxes[start:end, :slots])
        assert torch.equal(part.labels, whole.labels[start:end, :slots])
        assert not whole.labels[start:end, slots:].any()


# --- ssd_keras's rule -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_whole_pixel_patches_are_chosen_and_lie_as_in_a_slow_simulation_of_ssd_keras():
    for layout in ("one small object", "two objects, half as large", "one object over everything"):
        width, height = 500, 375
        dice = random.Random(4)
        sides = (width, height, width, height)
        objects = [
            tuple(round(x * side) for x, side in zip(one, sides, strict=True)) for one in LAYOUTS[layout]
        ]
        simulated = [slow.sample_patch_in_rounds(dice, (width, height), objects) for _ in range(2000)]
        d = draw_many(6000, seed=5, objects=objects, steps=("crop",), rule="ssd_keras")

        wanted = np.bincount([number for number, _ in simulated], minlength=7) / 2000
        found = np.bincount(d.patch.numpy(), minlength=7) / 6000
        pooled = np.clip((wanted * 2000 + found * 6000) / 8000, 1e-3, None)
        assert (np.abs(found - wanted) < 4.5 * np.sqrt(pooled * (1 - pooled) * (1 / 2000 + 1 / 6000))).all()

        windows, patches = d.window.double().numpy(), np.array([patch for _, patch in simulated])
        for measure in (
            lambda p: p[:, 0],
            lambda p: p[:, 1],
            lambda p: p[:, 2] - p[:, 0],
            lambda p: p[:, 3] - p[:, 1],
            lambda p: ((p[:, 2] - p[:, 0]) / (p[:, 3] - p[:, 1])).round(5),
        ):
            assert distance(measure(windows), measure(patches)) < 2.2


@pytest.mark.parametrize("steps", [("crop",), ("expand", "crop")])
def test_every_whole_pixel_patch_keeps_its_bound_and_touches_an_object(steps):
    objects = [(20, 30, 220, 300), (260, 50, 330, 90)]
    d = draw_many(3000, seed=6, objects=objects, steps=steps, rule="ssd_keras")
    planes = draw_many(3000, seed=6, objects=objects, steps=steps[:-1], rule="ssd_keras").window
    assert set(d.patch.tolist()) == set(range(7))
    for window, plane, number in zip(d.window.tolist(), planes.tolist(), d.patch.tolist(), strict=True):
        if number == 0:
            assert window == plane
            continue
        overlap, bound = max(slow.iou(window, thing) for thing in objects), slow.MIN_IOUS[number - 1]
        assert overlap > (bound - 1e-6 if bound else 0)  # without a bound it has to touch one, at least
        assert window == [round(edge) for edge in window]
        across, down = window[2] - window[0], window[3] - window[1]
        room = plane[2] - plane[0], plane[3] - plane[1]
        assert int(0.3 * room[0]) <= across <= room[0] and int(0.3 * room[1]) <= down <= room[1]
        assert 0.5 <= across / down <= 2
        assert plane[0] <= window[0] and plane[1] <= window[1]
        assert window[2] <= plane[2] and window[3] <= plane[3]


@pytest.mark.slow
def test_by_the_rule_of_ssd_keras_the_photograph_may_lie_at_every_edge_of_its_plane():
    plane = draw_many(60000, seed=2, size=(4, 3), steps=("expand",), rule="ssd_keras").window
    assert bool(((plane[:, :2] <= 0) & (plane[:, 2:] >= torch.tensor([4, 3]))).all())
    double = plane[plane[:, 2] - plane[:, 0] == 8]
    shares = (-double[:, 0]).long().bincount(minlength=5).double() / len(double)
    assert len(shares) == 5 and float((shares - 0.2).abs().max()) < 4.5 * (0.16 / len(double)) ** 0.5


@given(seed=st.integers(0, 10**6))
def test_boxes_come_out_in_whole_pixels_as_one_by_one_by_the_rule_of_ssd_keras(seed):
    source = seeded(seed)
    corner = torch.randint(0, 400, (20, 6, 2), generator=source) * torch.tensor([1.0, 0.75])
    side = torch.randint(1, 150, (20, 6, 2), generator=source)
    boxes = torch.cat([corner.floor(), corner.floor() + side], dim=-1)
    boxes = boxes.minimum(torch.tensor([500.0, 375, 500, 375]))
    labels = torch.randint(0, 21, (20, 6), generator=source)
    boxes = boxes * (labels > 0)[..., None]
    sizes, chance = torch.tensor([[500, 375]]).expand(20, 2), uniforms(20, source, "ssd_keras")
    d = draw(sizes, boxes, labels, chance, rule="ssd_keras")
    for i in range(20):
        given_ = boxes[i].tolist(), labels[i].tolist(), d.window[i].tolist(), bool(d.flip[i])
        wanted = slow.move_boxes_to_whole_pixels(*given_, cropped=bool(d.patch[i] > 0))
        count = len(wanted)
        assert d.labels[i, :count].tolist() == [label for label, _ in wanted]
        assert d.boxes[i, :count].tolist() == [list(map(float, box)) for _, box in wanted]
        assert not d.labels[i, count:].any() and not d.boxes[i, count:].any()


def test_a_box_that_is_rounded_to_nothing_is_dropped_and_nothing_has_no_area():
    """0.6 px of the 300 x 300 input: from 0.3 to 0.9 it is a pixel wide, from 0.6 to 1.2 it is none."""
    boxes = torch.tensor([[[0.5, 10, 1.5, 60], [1.0, 10, 2.0, 60]]])
    sizes, chance = torch.tensor([[500, 500]]), torch.full_like(uniforms(1, seeded(0), "ssd_keras"), 0.9)
    d = draw(sizes, boxes, torch.tensor([[1, 2]]), chance, ("expand",), "ssd_keras")
    assert d.labels.tolist() == [[1]] and d.boxes.tolist() == [[[0, 6, 1, 36]]]


@pytest.mark.slow
def test_a_whole_pixel_patch_lies_at_every_place_of_its_plane_with_the_same_probability():
    d = draw_many(40000, seed=9, size=(10, 10), objects=[(0, 0, 10, 10)], steps=("crop",), rule="ssd_keras")
    half = d.window[(d.patch == 6) & (d.window[:, 2] - d.window[:, 0] == 5)]
    shares = half[:, 0].long().bincount(minlength=6).double() / len(half)
    assert len(shares) == 6 and float((shares - 1 / 6).abs().max()) < 4.5 * (5 / 36 / len(half)) ** 0.5


def test_only_a_patch_loses_the_boxes_at_its_last_pixel_and_cuts_them_off_there():
    """A photograph of 300 x 300 px with a box in its last column, and one up to its right edge."""
    boxes, labels = torch.tensor([[[299.0, 50, 300, 150], [100, 50, 300, 150]]]), torch.tensor([[1, 2]])
    window, flip = torch.tensor([[0.0, 0, 300, 300]]), torch.tensor([False])
    given_ = boxes, labels, window, flip
    moved, kept = augment._move_to_whole_pixels(*given_, cropped=torch.tensor([False]))
    assert kept.tolist() == [[1, 2]] and torch.equal(moved, boxes)
    moved, kept = augment._move_to_whole_pixels(*given_, cropped=torch.tensor([True]))
    assert kept.tolist() == [[2]] and moved.tolist() == [[[100, 50, 299, 150]]]


def test_a_picture_without_objects_is_shown_whole_by_the_rule_of_ssd_keras_too():
    for slots in (0, 2):
        boxes, labels = torch.zeros(50, slots, 4), torch.zeros(50, slots, dtype=torch.int64)
        chance = uniforms(50, seeded(7), "ssd_keras")
        d = draw(torch.tensor([[500, 375]]).expand(50, 2), boxes, labels, chance, rule="ssd_keras")
        assert not d.patch.any() and d.boxes.shape == (50, 0, 4)


def test_an_unknown_rule_is_refused_with_the_ones_there_are():
    nothing = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
    with pytest.raises(ValueError, match="rule 'keras'; wanted one of caffe, ssd_keras"):
        draw(torch.tensor([[500, 375]]), *nothing, rule="keras")


# --- Boxes ----------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10**6))
def test_boxes_are_kept_by_their_centre_cut_off_mirrored_and_moved_to_the_front(seed):
    source = seeded(seed)
    corner = torch.rand(20, 5, 2, generator=source) * torch.tensor([400.0, 300.0])
    boxes = torch.cat([corner, corner + 1 + torch.rand(20, 5, 2, generator=source) * 74], dim=-1)
    labels = torch.randint(0, 21, (20, 5), generator=source) * (torch.rand(20, 5, generator=source) < 0.7)
    boxes = boxes * (labels > 0)[..., None]
    d = draw(torch.tensor([[500, 375]]).expand(20, 2), boxes, labels, uniforms(20, source))
    most = 0
    for i in range(20):
        wanted = slow.move_boxes(boxes[i].tolist(), labels[i].tolist(), d.window[i].tolist(), bool(d.flip[i]))
        most = max(most, len(wanted))
        count = len(wanted)
        assert d.labels[i, :count].tolist() == [label for label, _ in wanted]
        torch.testing.assert_close(
            d.boxes[i, :count], torch.tensor([box for _, box in wanted]).reshape(-1, 4), atol=0.01, rtol=0
        )
        assert not d.labels[i, count:].any() and not d.boxes[i, count:].any()
    assert d.labels.shape[1] == most


def test_a_centre_on_the_border_is_inside_and_one_beyond_it_is_not():
    boxes = torch.tensor(
        [
            [90.0, 10, 110, 30],
            [-10, 10, 10, 30],
            [10, 30, 20, 70],
            [10, -5, 20, 5],
            [92, 10, 110, 30],
            [10, 31, 20, 71],
        ]
    )
    d = draw(torch.tensor([[100, 50]]), boxes[None], torch.tensor([[1, 2, 3, 4, 5, 6]]), steps=())
    assert d.labels.tolist() == [[1, 2, 3, 4]]
    wanted = [[270, 60, 300, 180], [0, 60, 30, 180], [30, 180, 60, 300], [30, 0, 60, 30]]
    torch.testing.assert_close(d.boxes[0], torch.tensor(wanted, dtype=torch.float32), atol=1e-4, rtol=0)


def painted(canvas: torch.Tensor) -> list[float]:
    """Where blue is bright on a canvas: xmin, ymin, xmax, ymax."""
    bright = canvas[2] + slow.MEAN[2] > 127.5
    rows, columns = bright.any(dim=1).nonzero()[:, 0], bright.any(dim=0).nonzero()[:, 0]
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@settings(max_examples=12)
@given(seed=st.integers(0, 10**6))
def test_boxes_follow_a_rectangle_that_is_painted_into_the_photograph(seed):
    dice = random.Random(seed)
    photographs, boxes, sizes = [], [], []
    for width, height in ((500, 375), (300, 300), (231, 350), (500, 120)):
        x1, y1 = dice.randint(3, width // 2), dice.randint(3, height // 2)
        x2, y2 = dice.randint(x1 + 30, width - 3), dice.randint(y1 + 30, height - 3)
        photograph = torch.zeros(height, width, 3, dtype=torch.uint8)
        photograph[y1:y2, x1:x2] = 255
        photographs.append(photograph)
        boxes.append([[float(x1), y1, x2, y2]])
        sizes.append([width, height])
    d = draw(
        torch.tensor(sizes),
        torch.tensor(boxes),
        torch.full((4, 1), 7),
        uniforms(4, seeded(seed)),
        ("expand", "crop", "flip"),
    )
    for canvas, places, labels in zip(warp(photographs, d), d.boxes, d.labels, strict=True):
        for box in places[labels > 0].tolist():
            seen = painted(canvas)
            assert max(abs(a - b) for a, b in zip(seen, box, strict=True)) <= 1.0, (seen, box)


def test_the_painted_rectangles_of_that_test_are_seen_whole_cut_off_mirrored_and_shrunk():
    """What the test before would be worth nothing without."""
    boxes = torch.tensor([[[60.0, 50, 260, 250]]]).expand(400, 1, 4)
    d = draw(
        torch.tensor([[500, 375]]).expand(400, 2),
        boxes,
        torch.full((400, 1), 7),
        uniforms(400, seeded(13)),
        ("expand", "crop", "flip"),
    )
    kept = d.labels[:, 0] > 0
    cut = kept & ((d.boxes[:, 0] == 0) | (d.boxes[:, 0] == 300)).any(dim=-1)
    small = kept & (d.boxes[:, 0, 2] - d.boxes[:, 0, 0] < 60)
    assert all(int(which.sum()) > 20 for which in (cut, kept & ~cut, ~kept, kept & d.flip, small))


# --- Pixels ---------------------------------------------------------------------------------------------


def plain(count: int, **changes) -> Draw:
    """A draw that shows a 300 x 300 photograph as it is, but for the changes."""
    one, zero = torch.ones(count), torch.zeros(count)
    nothing = Draw(
        window=torch.tensor([[0.0, 0, 300, 300]]).repeat(count, 1),
        flip=zero.bool(),
        brightness=zero,
        contrast=one,
        saturation=one,
        hue=zero,
        contrast_last=zero.bool(),
        patch=zero.long(),
        boxes=torch.zeros(count, 0, 4),
        labels=torch.zeros(count, 0, dtype=torch.int64),
    )
    return replace(nothing, **{name: torch.as_tensor(value) for name, value in changes.items()})


def noise(height: int, width: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=seeded(seed))


def smooth(height: int, width: int, seed: int) -> torch.Tensor:
    coarse = torch.rand(1, 3, 7, 7, generator=seeded(seed)) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic").clamp(0, 255)
    return fine[0].permute(1, 2, 0).to(torch.uint8)


def test_a_photograph_of_the_canvas_size_arrives_unchanged_less_the_mean():
    photographs = [noise(300, 300, seed) for seed in (1, 2)]
    canvas = warp(photographs, plain(2))
    assert canvas.shape == (2, 3, 300, 300) and canvas.dtype == torch.float32
    wanted = torch.stack([p.permute(2, 0, 1).float() - MEAN for p in photographs])
    torch.testing.assert_close(canvas, wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize("rule", augment.RULES)
@pytest.mark.parametrize("amount", [0, 1, 2, 3])
def test_colours_change_as_pixel_by_pixel_through_colorsys_in_both_orders(amount, rule):
    """All at once and each step alone, with amounts at and inside the ends of their ranges."""
    cases = [
        (32.0, 1.0, 1.0, 0.0, False),
        (-32.0, 1.0, 1.0, 0.0, False),
        (0.0, 1.5, 1.0, 0.0, False),
        (0.0, 0.5, 1.0, 0.0, True),
        (0.0, 1.0, 1.5, 0.0, False),
        (0.0, 1.0, 0.5, 0.0, True),
        (0.0, 1.0, 1.0, 36.0, False),
        (0.0, 1.0, 1.0, -36.0, True),
        (20.0, 1.4, 1.3, 25.0, False),
        (20.0, 1.4, 1.3, 25.0, True),
        (-25.0, 0.6, 1.5, -30.0, False),
        (-25.0, 1.5, 0.7, -30.0, True),
        (30.0, 1.5, 0.5, 0.0, False),
        (30.0, 1.5, 0.5, 0.0, True),
        (0.0, 1.45, 1.45, -13.0, False),
        (0.0, 1.45, 1.45, -13.0, True),
    ][amount::4]
    brightness, contrast, saturation, hue, last = zip(*cases, strict=True)
    photographs = [noise(300, 300, 20 + i) for i in range(len(cases))]
    for photograph in photographs:
        photograph[0, 0], photograph[0, 1], photograph[0, 2] = torch.tensor(
            [[0], [255], [128]], dtype=torch.uint8
        )
    drawn = plain(
        len(cases),
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        contrast_last=last,
    )
    canvas = warp(photographs, replace(drawn, rule=rule)) + MEAN
    read = warp(photographs, plain(len(cases))) + MEAN  # what bilinear reading made of the pixels
    rows = [0, 0, 0, *torch.randint(0, 300, (400,), generator=seeded(30)).tolist()]
    columns = [0, 1, 2, *torch.randint(0, 300, (400,), generator=seeded(31)).tolist()]
    for i, case in enumerate(cases):
        pixels = read[i][:, rows, columns].T.tolist()
        wanted = torch.tensor(
            [slow.change_colours(pixel, *case, keras=rule == "ssd_keras") for pixel in pixels]
        )
        torch.testing.assert_close(canvas[i][:, rows, columns].T, wanted, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"brightness": [30.0]}, (240, 100, 10), (255, 130, 40)),
        ({"brightness": [-30.0]}, (240, 100, 10), (210, 70, 0)),
        ({"contrast": [1.5]}, (200, 100, 10), (255, 150, 15)),  # about black, not about grey
        ({"contrast": [0.5]}, (200, 100, 10), (100, 50, 5)),
        ({"saturation": [0.5]}, (200, 100, 0), (200, 150, 100)),
        ({"saturation": [1.5]}, (200, 150, 100), (200, 125, 50)),
        ({"saturation": [1.5]}, (200, 100, 20), (200, 88.8889, 0)),  # S cannot exceed 1
        ({"saturation": [1.5]}, (77, 77, 77), (77, 77, 77)),
        ({"hue": [30.0]}, (255, 0, 0), (255, 127.5, 0)),
        ({"hue": [-30.0]}, (0, 0, 255), (0, 127.5, 255)),
        ({"hue": [-30.0]}, (255, 0, 0), (255, 0, 0)),  # below 0 degrees stays at 0
        ({"hue": [-30.0]}, (200, 60, 20), (200, 20, 20)),  # 13.3 degrees: to 0, not to 343.3
        ({"hue": [30.0]}, (255, 0, 63.75), (255, 63.75, 0)),  # 345 degrees: to 15
        ({"hue": [36.0]}, (77, 77, 77), (77, 77, 77)),
        ({"brightness": [32.0], "contrast": [0.5]}, (250, 0, 0), (127.5, 16, 16)),  # cut off before contrast
        ({"contrast": [1.5], "saturation": [0.5]}, (200, 40, 40), (255, 157.5, 157.5)),
        ({"contrast": [1.5], "saturation": [0.5], "contrast_last": [True]}, (200, 40, 40), (255, 180, 180)),
    ],
)
def test_colour_changes_by_hand(change, before, after):
    photograph = torch.tensor(before).round().to(torch.uint8).repeat(300, 300, 1)
    canvas = warp([photograph], plain(1, **change)) + MEAN
    tolerance = 0.02 if before == tuple(map(round, before)) else 1.1
    torch.testing.assert_close(canvas[0, :, 150, 150], torch.tensor(after).float(), atol=tolerance, rtol=0)
    assert float((canvas[0] - canvas[0, :, :1, :1]).abs().max()) < 0.02


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"contrast": [1.5]}, (200, 100, 10), (236.25, 86.25, 0)),  # about 127.5
        ({"contrast": [0.5]}, (200, 100, 10), (163.75, 113.75, 68.75)),
        ({"hue": [-30.0]}, (255, 0, 0), (255, 0, 127.5)),  # 0 degrees: to 330
        ({"hue": [-30.0]}, (0, 0, 255), (0, 127.5, 255)),
        ({"hue": [30.0]}, (255, 0, 0), (255, 127.5, 0)),
        (
            {"contrast": [1.5], "saturation": [0.5], "contrast_last": [True]},
            (200, 40, 40),
            (236.25, 116.25, 116.25),
        ),
    ],
)
def test_colour_changes_of_ssd_keras_by_hand(change, before, after):
    photograph = torch.tensor(before, dtype=torch.uint8).repeat(300, 300, 1)
    canvas = warp([photograph], replace(plain(1, **change), rule="ssd_keras")) + MEAN
    torch.testing.assert_close(canvas[0, :, 150, 150], torch.tensor(after).float(), atol=0.02, rtol=0)


def where_on_the_photograph(low: float, high: float, mirrored: bool = False) -> torch.Tensor:
    """Where the centres of 300 canvas pixels lie, if the canvas shows what is between `low` and `high`."""
    centres = low + (torch.arange(300) + 0.5) * (high - low) / 300
    return centres.flip(0) if mirrored else centres


@settings(max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_one_warp_is_what_pasting_cutting_out_resizing_and_mirroring_give(seed):
    sizes = torch.tensor([[200, 150], [150, 200], [301, 299]])
    objects = torch.tensor([[[30.0, 30, 110, 120]]]).expand(3, 1, 4)
    d = draw(sizes, objects, torch.ones(3, 1).long(), uniforms(3, seeded(seed)), ("expand", "crop", "flip"))
    d = replace(d, window=d.window.round())  # the slow way can only cut between pixels
    photographs = [smooth(int(height), int(width), seed + i) for i, (width, height) in enumerate(sizes)]
    canvases = warp(photographs, d)
    for photograph, canvas, window, flip, (width, height) in zip(
        photographs, canvases, d.window.int().tolist(), d.flip.tolist(), sizes.tolist(), strict=True
    ):
        wanted = slow.expand_crop_resize_flip(photograph, window, flip)
        rows = where_on_the_photograph(window[1], window[3])
        columns = where_on_the_photograph(window[0], window[2], flip)
        assert not canvas[:, (rows < -1e-3) | (rows > height + 1e-3)].any()  # exactly the mean, which is 0
        assert not canvas[:, :, (columns < -1e-3) | (columns > width + 1e-3)].any()
        inside = [  # the photograph and the patch, half a pixel from their borders
            (place >= max(low, 0) + 0.5) & (place <= min(high, extent) - 0.5)
            for place, low, high, extent in (
                (rows, window[1], window[3], height),
                (columns, window[0], window[2], width),
            )
        ]
        both = inside[0][:, None] & inside[1]
        torch.testing.assert_close(canvas[:, both], wanted[:, both], atol=0.05, rtol=0)


def test_canvas_that_no_photograph_covers_is_exactly_zero_after_every_colour_change():
    drawn = plain(
        1,
        window=[[-300.0, -150, 600, 450]],
        brightness=[32.0],
        contrast=[1.5],
        saturation=[1.5],
        hue=[36.0],
    )
    canvas = warp([torch.full((300, 300, 3), 200, dtype=torch.uint8)], drawn)[0]
    covered = torch.zeros(300, 300, dtype=torch.bool)
    covered[75:225, 100:200] = True
    assert not canvas[:, ~covered].any()
    assert bool((canvas[:, covered] > 100).all())


def test_photographs_of_different_sizes_share_a_batch():
    photographs = [smooth(100, 150, 1), smooth(375, 500, 2), torch.full((1, 1, 3), 90, dtype=torch.uint8)]
    sizes = torch.tensor([[p.shape[1], p.shape[0]] for p in photographs])
    d = draw(sizes, torch.zeros(3, 0, 4), torch.zeros(3, 0, dtype=torch.int64), steps=())
    batch = warp(photographs, d)
    for i, photograph in enumerate(photographs):
        assert torch.equal(batch[i : i + 1], warp([photograph], plain(1, window=d.window[i : i + 1])))
    torch.testing.assert_close(batch[2], (90 - MEAN).expand(3, 300, 300), atol=1e-3, rtol=0)
