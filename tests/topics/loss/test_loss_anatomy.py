"""Tests of the loss explorer: its terms against plain loops, its state, and what wrong answers are told."""

import pytest
import torch
import torch.nn.functional as F
from hands import arrows, press
from hypothesis import given
from hypothesis import strategies as st

import oracles
from course.kit import checking
from course.loss import check, figures, loss_anatomy
from course.loss.loss_anatomy import EQUAL, TRAINED, UNTRAINED, LossAnatomy, loss_terms
from ssdlib import coding, loss
from ssdlib.records import Predictions, Targets


def problem(seed: int, positives: list[int], anchors: int = 14, classes: int = 4):
    """Random predictions, and targets with so many positives in each image."""
    random = torch.Generator().manual_seed(seed)
    shape = len(positives), anchors
    labels = torch.zeros(shape, dtype=torch.int64)
    for b, count in enumerate(positives):
        where = torch.randperm(anchors, generator=random)[:count]
        labels[b, where] = torch.randint(1, classes, (count,), generator=random)
    said, wanted = (2 * torch.randn(*shape, 4, generator=random) for _ in range(2))
    logits = 3 * torch.randn(*shape, classes, generator=random)
    return Predictions(said, logits), Targets(wanted, labels, torch.where(labels > 0, 0, -1))


counts = st.lists(st.integers(0, 6), min_size=1, max_size=3)
ways = st.sampled_from(["image", "batch"])


@given(st.integers(0, 10**6), counts, ways, st.sampled_from([0, 1, 2.5, 3, 10]))
def test_the_terms_sum_to_the_loss_of_plain_loops_and_of_the_library(seed, positives, mining, ratio):
    predictions, targets = problem(seed, positives)
    if mining == "batch":
        ratio = int(ratio)  # how a fraction is rounded in a batch isn't settled by any source
    found = loss_terms(predictions, targets, ratio, mining)
    slow = oracles.multibox_loss(
        predictions.offsets, predictions.logits, targets.offsets, targets.labels, mining, ratio
    )
    assert found.multibox == pytest.approx(float(slow[0] + slow[1]), rel=1e-5)
    library = loss.multibox_loss(predictions, targets, mining, ratio)
    assert found.multibox == pytest.approx(float(library.multibox), rel=1e-5)
    assert (int(found.positive.sum()), int(found.chosen.sum())) == (slow[2], slow[3])
    assert sum(found.sums(b)[1] for b in range(len(positives))) == pytest.approx(found.sums()[1])


@given(st.integers(0, 10**6), counts, ways)
def test_the_chosen_are_those_of_the_library_and_the_first_by_rank(seed, positives, mining):
    predictions, targets = problem(seed, positives)
    found = loss_terms(predictions, targets, 3, mining)
    assert torch.equal(found.chosen, loss.hard_negatives(predictions.logits, found.positive, mining, 3))
    ranks = found.rank.reshape(1, -1) if mining == "batch" else found.rank
    for line in ranks.tolist():
        assert sorted(line) == list(range(len(line)))
    left_out = ~found.chosen & ~found.positive
    for b in range(len(positives)):
        mine, others = found.class_loss[b][found.chosen[b]], found.class_loss[b][left_out[b]]
        assert not len(mine) or not len(others) or mine.min() >= others.max()


def test_a_batch_without_objects_has_no_terms():
    found = loss_terms(*problem(0, [0, 0]))
    assert found.sums() == (0, 0, 0) and found.multibox == 0 and found.n == 1


def test_a_loss_by_hand():
    logits = torch.tensor([[[2.0, 1, 0], [0, 0, 0], [2, 1, 0]]])
    offsets = torch.tensor([[[1.6, 0.75, -0.588, 0.473], [9.0] * 4, [9.0] * 4]])
    wanted = torch.tensor([[[2, 0.75, 0.912, -0.527], [0.0] * 4, [0.0] * 4]])
    targets = Targets(wanted, torch.tensor([[1, 0, 0]]), torch.tensor([[0, -1, -1]]))
    found = loss_terms(Predictions(offsets, logits), targets, ratio=1)
    assert [round(x, 2) for x in found.smooth_l1[0, 0].tolist()] == [0.08, 0, 1, 0.5]
    assert found.sums() == pytest.approx((1.58, 1.4076, 1.0986), abs=1e-3)
    assert found.rank[0].tolist() == [2, 0, 1] and found.chosen[0].tolist() == [False, True, False]


# ---- the explorer


@pytest.fixture(scope="module")
def scenes():
    return loss_anatomy.some_scenes()


@pytest.fixture()
def explorer(scenes):
    return LossAnatomy(scenes)


def test_the_scenes_have_3_1_4_and_no_objects_and_the_networks_take_no_random_numbers(scenes):
    assert [len(scene.boxes) for scene in scenes] == [3, 1, 4, 0]
    before = torch.random.get_rng_state()
    first, second = (loss_anatomy.predict(scenes, UNTRAINED).logits for _ in range(2))
    assert torch.equal(first, second) and torch.equal(before, torch.random.get_rng_state())


def test_without_an_opinion_each_positive_costs_four_times_ln_21(scenes):
    targets = loss_anatomy.targets_of(scenes)
    parts = loss.multibox_loss(loss_anatomy.predict(scenes, EQUAL), targets)
    assert float(parts.confidence) == pytest.approx(12.17809, abs=1e-4)
    random = loss.multibox_loss(loss_anatomy.predict(scenes, UNTRAINED), targets)
    trained = loss.multibox_loss(loss_anatomy.predict(scenes, TRAINED), targets)
    assert random.confidence > parts.confidence > trained.confidence


@pytest.mark.parametrize("mining", ["image", "batch"])
@pytest.mark.parametrize("network", [TRAINED, UNTRAINED, EQUAL])
def test_what_it_shows_is_the_loss_of_the_library(explorer, network, mining):
    explorer.network.value, explorer.mining.value, explorer.ratio.value = network, mining, 4
    wanted = loss.multibox_loss(explorer.predicted[network], explorer.targets, mining, 4)
    assert f"loss {float(wanted.multibox):.4f}" in repr(explorer)
    assert f"{network}, ratio 4 per {mining}" in repr(explorer)


def test_the_ratio_decides_how_many_negatives_are_drawn(explorer):
    positives = int(explorer.result.positive[0].sum())
    for ratio in (0, 1, 3, 10):
        explorer.ratio.value = ratio
        [red] = [found for found in explorer.board.scene["layers"] if found["dash"] == [4, 3]]
        dots = explorer.board.scene["layers"][2]
        assert len(red["boxes"]) // 4 + len(dots["points"]) // 2 == ratio * positives
        assert f"this image: {positives} positives, {ratio * positives} negatives" in explorer.summary()


def test_the_terms_go_through_positives_and_then_negatives_by_rank(explorer):
    count = explorer.count
    explorer.term.value = count - 1
    assert explorer.board.status.startswith(f"positive {count} of {count}:")
    explorer.term.value = count + 1
    assert explorer.board.status.startswith("negative, rank 2: p(background)")
    assert explorer.board.status.endswith(", chosen")
    explorer.ratio.value = 0
    assert explorer.board.status.endswith(", left out")


def test_an_arrow_key_is_a_step_and_stays_within_the_terms(explorer):
    arrows(explorer.board, 1)
    arrows(explorer.board, 0, 2)
    assert explorer.term.value == 3
    arrows(explorer.board, -21)
    assert explorer.term.value == 0
    arrows(explorer.board, 3000)
    assert explorer.term.value == explorer.term.max


def test_a_click_takes_the_anchor_under_it_or_the_bar(explorer):
    anchor = explorer.anchors[explorer.terms[5]]
    press(explorer.board, float(anchor[0]), float(anchor[1] + anchor[3]) / 2)
    near = explorer.anchors[explorer.terms[explorer.term.value]]
    assert (near[[0, 2]] - anchor[0]).abs().min() < 1 or (near[1] - anchor[1]).abs() < 1
    bars = explorer._bars()[0]
    for place in (4, explorer.count + 7):
        press(explorer.board, float(bars[place, 0]) + 0.1, float(bars[place, 3]) - 1)
        assert explorer.term.value == place


def test_a_scene_without_objects_has_negatives_per_batch_at_most(explorer):
    explorer.picture.value = 3
    assert "this image: 0 positives, 0 negatives" in explorer.summary()
    press(explorer.board, 100.0, 100.0)  # nothing to choose; nothing breaks
    explorer.mining.value, explorer.ratio.value = "batch", 10
    assert explorer.result.chosen[3].any()


def test_the_bars_stand_for_the_terms(explorer):
    lower, upper = explorer._bars()
    heights = torch.stack([lower[:, 3] - lower[:, 1], upper[:, 3] - upper[:, 1]])
    terms = explorer.result.class_loss[0, explorer.terms], explorer.result.smooth_l1[0, explorer.terms].sum(1)
    wanted = torch.stack(terms)
    assert torch.allclose(heights / heights.max(), wanted / wanted.max(), atol=1e-4)
    assert lower[:, 2].max() <= loss_anatomy.RIGHT + 1e-3


def test_it_has_a_still_picture_with_its_numbers(explorer):
    figure = explorer.still()
    assert explorer.summary()[-1] in figure.axes[1].texts[0].get_text()


def test_a_drawn_scene_ends_at_its_border_draws_a_dozen_negatives_and_counts_all(scenes):
    found = loss_terms(loss_anatomy.predict(scenes[:1]), loss_anatomy.targets_of(scenes[:1]))
    [ax] = figures.draw_negatives(scenes[0], found.positive[0], {"all": found.chosen[0]}).axes
    assert (ax.get_xlim(), ax.get_ylim()) == ((0, 300), (300, 0))
    dashed = [patch for patch in ax.patches if patch.get_linestyle() == "--"]
    assert 6 <= len(dashed) <= 12 and len(ax.lines[0].get_xdata()) == int(found.chosen[0].sum())
    assert f"{len(dashed)} of {int(found.chosen[0].sum())} negatives" in ax.get_title()


def test_the_hardest_negatives_are_boxes_within_the_image_and_all_others_dots(explorer):
    explorer.ratio.value = 7
    dots, few, faded, mine = explorer.board.scene["layers"][2:6]
    count = int(explorer.result.chosen[0].sum())
    assert len(few["boxes"]) == 4 * 12 and len(dots["points"]) == 2 * (count - 12)
    assert (len(faded["boxes"]) + len(mine["boxes"])) // 4 == explorer.count
    drawn = [value for part in (few, faded, mine) for value in part["boxes"]]
    assert 0 <= min(drawn) and max(drawn) <= 300


# ---- answers as a learner would type them


def says(exercise, answer, words):
    """The words are somewhere in what a check says of a wrong answer, which it says in full at the second try."""
    exercise(answer)
    verdict = exercise(answer)
    assert verdict.state == checking.WRONG and words in verdict.message, verdict.message


def test_offsets_with_common_mistakes_are_told_which():
    def centre(box):
        return (box[:2] + box[2:]) / 2, box[2:] - box[:2]

    def forgot_log(box, anchor):
        (c, s), (pc, ps) = centre(box), centre(anchor)
        return torch.cat([(c - pc) / ps / 0.1, s / ps / 0.2])

    def swapped(box, anchor):
        (c, s), (pc, ps) = centre(box), centre(anchor)
        return torch.cat([(c - pc) / s / 0.1, torch.log(s / ps) / 0.2])

    def by_numbers(box, anchor):
        tx = (box[0] - anchor[0]) / anchor[2] / 0.1
        ty = (box[1] - anchor[1]) / anchor[3] / 0.1
        tw = torch.log(box[2] / anchor[2]) / 0.2
        th = torch.log(box[3] / anchor[3]) / 0.2
        return torch.stack([tx, ty, tw, th])

    def multiplied(box, anchor):
        return coding.encode(box, anchor) * torch.tensor([0.01, 0.01, 0.04, 0.04])

    says(check.encode, forgot_log, "want a logarithm")
    says(check.encode, swapped, "of the object")
    says(check.encode, by_numbers, "these are corners")
    says(check.encode, multiplied, "you multiplied")

    def in_px(box, anchor):
        (c, s), (pc, ps) = centre(box), centre(anchor)
        return torch.cat([(c - pc) / 0.1, torch.log(s / ps) / 0.2])

    def by_difference(box, anchor):
        (c, s), (pc, ps) = centre(box), centre(anchor)
        return torch.cat([(c - pc) / ps / 0.1, (s - ps) / ps / 0.2])

    says(check.encode, in_px, "still in px")
    says(check.encode, by_difference, "growth is the logarithm of the ratio")
    assert check.encode(forgot_log).figure is not None


def test_smooth_l1_with_common_mistakes_is_told_which():
    says(check.smooth_l1, lambda e: torch.where(abs(e) < 1, 0.5 * e**2, abs(e)), "a jump at 1")
    says(check.smooth_l1, lambda e: torch.where(e < 1, 0.5 * e**2, e - 0.5), "compare |d| with 1")
    says(check.smooth_l1, lambda e: torch.where(abs(e) < 1, 0.5 * e**2, abs(e) - 0.5).mean(), "a mean")
    says(
        check.smooth_l1,
        lambda e: torch.where(abs(e) < 0.5, 0.5 * e**2, abs(e) - 0.5),
        "the two parts meet at 1",
    )


def test_the_background_loss_with_common_mistakes_is_told_which():
    says(check.background_loss, lambda z: -torch.log(torch.softmax(z, 0)[:, 0]), "over the anchors")
    says(check.background_loss, lambda z: torch.log_softmax(z, 1)[:, 0], "minus sign")
    says(check.background_loss, lambda z: torch.log(torch.exp(z).sum(1)) - z[:, 0], "exp(100)")

    says(check.background_loss, lambda z: -torch.softmax(z, 1)[:, 0].log(), "p(background) became 0")

    def global_max(z):
        top = z.max()
        return torch.log(torch.exp(z - top).sum(1)) + top - z[:, 0]

    says(check.background_loss, global_max, "one maximum for all rows")
    assert (
        check.background_loss(lambda z: F.cross_entropy(z, z.argmax(1) * 0, reduction="none")).state
        == "right"
    )


def test_mining_with_common_mistakes_is_told_which():
    def with_loops(losses, positive, ratio):
        chosen = torch.zeros_like(positive)
        for b in range(len(losses)):
            order = losses[b].argsort(descending=True)
            for k in order[: ratio * int(positive[b].sum())]:
                chosen[b, k] = not positive[b, k]
        return chosen

    def order_for_rank(losses, positive, ratio):
        order = losses.masked_fill(positive, -1).argsort(dim=1, descending=True)
        return (order < ratio * positive.sum(dim=1, keepdim=True)) & ~positive

    def batch(losses, positive, ratio):
        left = losses.clone()
        left[positive] = -1
        chosen = torch.zeros_like(positive).flatten()
        count = min(ratio * int(positive.sum()), int((~positive).sum()))
        chosen[left.flatten().argsort(descending=True)[:count]] = True
        return chosen.reshape(positive.shape)

    def in_place(losses, positive, ratio):
        losses[positive] = 0
        return losses > 1

    says(check.mining, with_loops, "positives were ranked too")
    says(check.mining, order_for_rank, "the order isn't the rank")
    says(check.mining, batch, "ranked together")
    says(check.mining, in_place, "work on a copy")

    def one_too_many(losses, positive, ratio):
        rank = losses.masked_fill(positive, -1).argsort(dim=1, descending=True).argsort(dim=1)
        return (rank <= ratio * positive.sum(dim=1, keepdim=True)) & ~positive

    says(check.mining, one_too_many, "one negative too many")
    says(check.mining, lambda losses, positive, ratio: positive.nonzero()[:, 1], "shape")
    assert check.mining(batch).figure is not None


def test_the_whole_loss_with_common_mistakes_is_told_which():
    def learner(offsets, logits, wanted, labels, negative, n=None, reduction="sum"):
        positive = labels > 0
        used = positive | negative
        box = F.smooth_l1_loss(offsets[positive], wanted[positive], reduction=reduction)
        return (box + F.cross_entropy(logits[used], labels[used], reduction=reduction)) / n(positive, used)

    def by(n, **words):
        return lambda *given: learner(*given, n=n, **words)

    says(check.multibox, by(lambda p, u: p.sum()), "0 / 0 is NaN")
    says(check.multibox, by(lambda p, u: u.sum().clamp(min=1)), "counts the negatives too")
    says(check.multibox, by(lambda p, u: 1, reduction="mean"), "you added two means")

    def plain_l1(offsets, logits, wanted, labels, negative):
        positive = labels > 0
        used = positive | negative
        box = (offsets - wanted)[positive].abs().sum()
        classes = F.cross_entropy(logits[used], labels[used], reduction="sum")
        return (box + classes) / max(1, int(positive.sum()))

    says(check.multibox, plain_l1, "that is plain L1")
    assert check.multibox(by(lambda p, u: max(1, int(p.sum())))).state == checking.RIGHT


def test_the_first_loss_with_common_mistakes_is_told_which():
    says(check.start, 3.04, "that is one anchor")
    says(check.start, 9.1336, "the positive itself")
    assert check.start(12.18).state == checking.RIGHT


# ---- what the chapter shows


@given(st.integers(0, 10**6), counts)
def test_the_loops_of_the_chapter_choose_what_the_library_chooses(seed, positives):
    predictions, targets = problem(seed, positives)
    found = loss_terms(predictions, targets)
    assert check.library_agrees(found.class_loss.clamp(min=0.01), found.positive)


def test_one_maximum_for_all_is_harmless_until_a_logit_stands_104_above_the_rest():
    predictions, targets = problem(1, [3], anchors=60)
    positive = targets.labels > 0
    right = loss.hard_negatives(predictions.logits, positive, "image", 3)
    assert torch.equal(check.mined_with_one_maximum(predictions.logits, positive), right)
    predictions.logits[0, int((~positive[0]).nonzero()[-1]), 1] += 150
    right = loss.hard_negatives(predictions.logits, positive, "image", 3)
    wrong = check.mined_with_one_maximum(predictions.logits, positive)
    assert int((right & wrong).sum()) < 5 and (wrong & positive).any()
