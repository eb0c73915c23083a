"""Chapter 06: draws and windows against loops written from the rules, the player, and answers as learners type."""

import random

import pytest
import torch

from course.augmentation import check, figures, single_draws
from course.augmentation.augmentation_player import AS_DRAWN, Player
from course.kit.checking import RIGHT, WRONG
from ssdlib.data import augment, batches, voc
from ssdlib.records import Example

BOUNDS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)


def example_of(objects, size=(500, 375)) -> Example:
    boxes = torch.tensor(objects, dtype=torch.float32).reshape(-1, 4)
    count = len(boxes)
    return Example("x", None, size, boxes, torch.full((count,), 7), torch.zeros(count, dtype=torch.bool))


THREE = example_of([[60, 40, 330, 320], [350, 200, 420, 290], [10, 330, 60, 370]])


@pytest.fixture(scope="module")
def player():
    pixels = torch.randint(
        0, 255, (375, 500, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    return Player(THREE, pixels)


def rules_by_hand(window, objects, plane):
    """What the samplers and the crop say, with nothing but numbers and loops (specification 7.1, items 3 and 4)."""
    x1, y1, x2, y2 = window
    kept, moved, overlaps = [], [], []
    for a, b, c, d in objects:
        kept.append(x1 <= (a + c) / 2 <= x2 and y1 <= (b + d) / 2 <= y2)
        across, down = 300 / (x2 - x1), 300 / (y2 - y1)
        ends = ((a - x1) * across, (b - y1) * down, (c - x1) * across, (d - y1) * down)
        moved.append([min(max(end, 0), 300) for end in ends])
        shared = max(0, min(c, x2) - max(a, x1)) * max(0, min(d, y2) - max(b, y1))
        overlaps.append(shared / ((c - a) * (d - b) + (x2 - x1) * (y2 - y1) - shared))
    share_x, share_y = (x2 - x1) / (plane[2] - plane[0]), (y2 - y1) / (plane[3] - plane[1])
    fits = 0.3 <= (share_x * share_y) ** 0.5 <= 1 and 0.5 <= share_x / share_y <= 2
    fits = fits and x1 >= plane[0] and y1 >= plane[1] and x2 <= plane[2] and y2 <= plane[3]
    taken = []
    for number, bound in enumerate(BOUNDS, 1):
        if fits and any(overlap >= bound for overlap in overlaps):
            taken.append(number)
    return kept, moved, overlaps, tuple(taken)


def test_a_window_is_judged_as_by_loops_written_from_the_specification():
    dice = random.Random(3)
    plane, objects = [-200.0, -150.0, 800.0, 600.0], THREE.boxes.tolist()
    for _ in range(400):
        x1, y1 = dice.uniform(-260, 400), dice.uniform(-200, 300)
        window = [x1, y1, x1 + dice.uniform(40, 900), y1 + dice.uniform(40, 700)]
        found = single_draws.judge(torch.tensor(window), THREE.boxes, torch.tensor(plane))
        kept, moved, overlaps, taken = rules_by_hand(window, objects, plane)
        assert found.kept.tolist() == kept
        assert torch.allclose(found.moved, torch.tensor(moved, dtype=torch.float32), atol=1e-2)
        assert torch.allclose(found.overlap, torch.tensor(overlaps), atol=1e-4)
        assert found.accepted == taken


def test_the_hand_example_of_the_chapter():
    two = torch.tensor([[120.0, 90, 240, 210], [270, 200, 350, 260]])
    found = single_draws.judge(torch.tensor([100.0, 60, 300, 260]), two, torch.tensor([0.0, 0, 400, 300]))
    assert found.kept.tolist() == [True, False]
    assert found.moved[0].tolist() == [30, 45, 210, 225]
    assert found.visible.tolist() == [1, 0.375]


def test_the_whole_padded_photograph_is_no_crop_and_no_sampler_accepts_a_narrow_strip():
    plane = torch.tensor([0.0, 0, 500, 375])
    assert 0 in single_draws.judge(plane, THREE.boxes, plane).accepted
    assert single_draws.judge(torch.tensor([0.0, 0, 500, 100]), THREE.boxes, plane).accepted == ()
    assert single_draws.judge(torch.tensor([0.0, 0, 100, 75]), THREE.boxes, plane).accepted == ()  # scale 0.2


def test_without_objects_only_no_crop_is_found_and_nothing_is_accepted():
    nothing = example_of([])
    one = single_draws.single_draw(nothing, seed=2)
    assert one.found == (0,) and one.drawn.boxes.shape == (1, 0, 4)
    window = torch.tensor([50.0, 50, 400, 300])
    assert single_draws.judge(window, nothing.boxes, torch.tensor([0.0, 0, 500, 375])).accepted == ()


def test_a_shot_is_the_library_s_draw_for_that_random_seed():
    for seed in range(20):
        chance = augment.uniforms(1, batches.generator(seed))
        wanted = augment.draw(torch.tensor([THREE.size]), THREE.boxes[None], THREE.labels[None], chance)
        found = single_draws.single_draw(THREE, seed).drawn
        assert torch.equal(found.window, wanted.window) and torch.equal(found.boxes, wanted.boxes)
        assert torch.equal(found.patch, wanted.patch) and torch.equal(found.hue, wanted.hue)


@pytest.mark.slow
def test_every_candidate_it_says_was_found_can_be_forced_and_keeps_its_sampler_s_bound():
    seen = set()
    for seed in range(60):
        one = single_draws.single_draw(THREE, seed)
        assert {0, 6} <= set(one.found) and int(one.drawn.patch[0]) in one.found
        assert single_draws.successes(THREE, [seed])[0].nonzero()[:, 0].tolist() == list(one.found)
        for number in range(7):
            forced = single_draws.single_draw(THREE, seed, sampler=number)
            assert int(forced.drawn.patch[0]) == (number if number in one.found else int(one.drawn.patch[0]))
            assert torch.equal(forced.plane, one.plane) and torch.equal(forced.drawn.hue, one.drawn.hue)
            if number in one.found:
                assert (
                    number in single_draws.judge(forced.drawn.window[0], THREE.boxes, forced.plane).accepted
                )
                seen.add(number)
    assert seen >= {0, 1, 2, 3, 4, 6}


def test_kept_objects_and_their_boxes_are_those_of_the_library_also_mirrored(player):
    for seed in range(30):
        player.seed.value = seed
        moved, names = player.on_canvas()
        assert torch.allclose(moved, player.shot.drawn.boxes[0], atol=0.05)
        assert [int(name.split()[0]) + 1 for name in names] == player.shot.drawn.labels[0].tolist()


def test_the_share_in_view_is_that_of_counted_pixels():
    pixels = torch.zeros(100, 100)
    pixels[20:60, 10:50] = 1
    window = torch.tensor([30.0, 5, 90, 45])
    visible, kept = single_draws.in_view(torch.tensor([[10.0, 20, 50, 60]]), window)
    assert visible.item() == pytest.approx(float(pixels[5:45, 30:90].sum() / pixels.sum()))
    assert kept.tolist() == [True]  # its centre (30, 40) lies on the border


# ---- the explorer


def test_the_state_says_what_is_seen_and_is_in_the_repr(player):
    player.sampler.value, player.seed.value = AS_DRAWN, 3
    assert repr(player) == f"Player({player.state()})" and "random seed 3" in repr(player)
    assert "['distort', 'expand', 'crop', 'flip']" in repr(player)


def test_dragging_the_window_is_judged_live_and_the_next_draw_takes_it_back(player):
    player.sampler.value, player.seed.value = AS_DRAWN, 0
    for box in player.steps:
        box.value = box.description == "crop"
    player.board.boxes = [[55.0, 35.0, 335.0, 325.0]]
    assert player.by_hand and "by hand" in player.board.status and "1 of 3" in player.board.status
    # IoU 270 · 280 / (280 · 290) = 0.93, scale 0.66, aspect 0.72: good for all of them
    assert player.found.accepted == (1, 2, 3, 4, 5, 6)
    player.board.boxes = [[-20.0, 35.0, 260.0, 325.0]]
    assert "no sampler, it leaves the padded photograph" in player.numbers.value
    player.next.click()
    assert player.seed.value == 1 and not player.by_hand
    for box in player.steps:
        box.value = True


def test_steps_are_switched_off_one_by_one_and_leave_the_others_alone(player):
    player.sampler.value, player.seed.value = AS_DRAWN, 29
    before = player.shot
    flip = player.steps[3]
    flip.value = False
    assert torch.equal(before.drawn.window, player.shot.drawn.window) and not player.shot.drawn.flip.item()
    for box in player.steps:
        box.value = False
    assert player.sampler.disabled and player.board.boxes == [[0, 0, 500, 375]]
    assert torch.equal(player.found.moved, THREE.boxes * torch.tensor([0.6, 0.8, 0.6, 0.8]))
    for box in player.steps:
        box.value = True


def test_a_sampler_that_found_nothing_is_said_to_have_found_nothing(player):
    seed = next(seed for seed in range(50) if 5 not in single_draws.single_draw(THREE, seed).found)
    player.sampler.value, player.seed.value = 5, seed
    assert "found no crop in 50 trials" in player.board.status
    player.sampler.value = AS_DRAWN
    assert "found no crop" not in player.board.status


def test_the_list_of_samplers_begins_with_the_one_that_was_chosen(player):
    assert player.sampler.label == "as chosen" and len(player.sampler.options) == 8


def test_it_has_a_still_picture_and_works_without_objects():
    empty = Player(example_of([]), torch.zeros(375, 500, 3, dtype=torch.uint8), seed=5)
    assert "0 of 0" in empty.board.status
    data, _ = empty._repr_mimebundle_()
    assert len(data["image/png"]) > 1000 and data["text/plain"] == repr(empty)


# ---- figures and facts


def test_the_image_of_the_samplers_has_three_objects_and_the_figure_a_column_for_each_sampler():
    example = single_draws.mixed()
    assert len(example.labels) == 3
    figure = figures.candidates(example, voc.read_photograph(example.path), count=40)
    assert [ax.get_title().rstrip("*").split(":")[0] for ax in figure.axes[:7]] == list(single_draws.SAMPLERS)


def test_colours_alone_are_the_library_s_and_move_no_pixel():
    photograph = torch.randint(
        0, 200, (300, 300, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1)
    )
    assert torch.equal(single_draws.coloured(photograph), photograph)
    assert torch.equal(single_draws.coloured(photograph, brightness=32), photograph + 32)


def test_a_lone_object_has_the_share_of_both_sides_that_was_asked_for():
    example = single_draws.alone(0.3)
    assert torch.allclose(example.boxes, torch.tensor([[25, 18.75, 175, 131.25]]))


def test_where_no_three_objects_are_apart_the_least_overlapping_are_taken(monkeypatch):
    close = example_of([[0, 0, 300, 300], [250, 0, 400, 90], [410, 0, 450, 90]])
    closer = example_of([[0, 0, 300, 300], [200, 0, 400, 90], [410, 0, 450, 90]])
    small = example_of([[0, 0, 30, 30], [100, 0, 130, 30], [200, 0, 230, 30]])
    upright = example_of([[0, 0, 300, 300], [310, 0, 340, 90], [345, 0, 370, 90]], size=(375, 500))
    monkeypatch.setattr(single_draws.pictures, "test_set", lambda: [small, upright, closer, close])
    assert single_draws.mixed() is close
    apart = example_of([[0, 0, 300, 300], [310, 0, 400, 90], [410, 0, 450, 90]])
    again = example_of([[0, 0, 300, 290], [310, 0, 400, 90], [410, 0, 450, 90]])
    monkeypatch.setattr(single_draws.pictures, "test_set", lambda: [closer, apart, again, close])
    assert single_draws.mixed() is apart
    monkeypatch.setattr(single_draws.pictures, "test_set", lambda: [small])
    with pytest.raises(LookupError, match="no wide test image"):
        single_draws.mixed()


def test_a_devkit_with_2007_alone_is_enough_for_the_training_pictures(tmp_path, monkeypatch):
    (tmp_path / "VOC2007").symlink_to(single_draws.pictures.mini_voc() / "VOC2007")
    monkeypatch.setenv("COURSE_VOC", str(tmp_path))
    found = single_draws.training(10_000)
    assert found and {e.path.parents[1].name for e in found} == {"VOC2007"}
    assert len(single_draws.training(3)) == 3


def test_facts_count_every_object_once_and_zoom_out_makes_more_of_them_small():
    assert single_draws.genuine_below(1e9) == pytest.approx(1)
    assert single_draws.genuine_below(30, 4) == pytest.approx(single_draws.genuine_below(120, 1))
    assert (
        single_draws.genuine_below(30) < single_draws.genuine_below(30, 2) < single_draws.genuine_below(30, 4)
    )


# ---- answers as learners type them


def test_a_crop_that_forgets_to_scale_is_told_so():
    def move(objects, window):
        out = objects.clone()
        out[:, 0::2] -= window[0]
        out[:, 1::2] -= window[1]
        return out.clamp(0, 300)

    verdict = check.move(move)
    assert verdict.state == WRONG and "shifted but not scaled" in verdict.message and verdict.figure


def test_a_crop_in_shares_of_the_window_and_one_with_a_single_factor_are_told_so():
    def shares(objects, window):
        return (objects - window[:2].repeat(2)) / (window[2:] - window[:2]).repeat(2)

    def one_factor(objects, window):
        return ((objects - window[:2].repeat(2)) * 300 / (window[2] - window[0])).clamp(0, 300)

    assert check.move(shares).message.startswith("these are shares of the crop")
    assert check.move(one_factor).message.startswith("you scale x and y by the same factor")


def test_a_crop_with_numpy_habits_and_loops_is_right():
    def move(objects, window):
        x1, y1, x2, y2 = window
        rows = []
        for a, b, c, d in objects:
            xs = [(v - x1) * 300 / (x2 - x1) for v in (a, c)]
            ys = [(v - y1) * 300 / (y2 - y1) for v in (b, d)]
            rows.append([min(max(v, 0), 300) for v in (xs[0], ys[0], xs[1], ys[1])])
        return torch.tensor(rows)

    assert check.move(move).state == RIGHT


def test_a_crop_that_changes_its_arguments_is_told_so():
    def move(objects, window):
        objects -= window[:2].repeat(2)
        return objects

    assert "changed what it was given" in check.move(move).message


def test_keeping_by_overlap_or_as_a_whole_is_named():
    def overlapping(objects, window):
        return [
            bool(a < window[2] and c > window[0] and b < window[3] and d > window[1])
            for a, b, c, d in objects
        ]

    def inside(objects, window):
        return (objects[:, :2] >= window[:2]).all(1) & (objects[:, 2:] <= window[2:]).all(1)

    assert check.keep(overlapping).message.startswith("you keep every object that overlaps the crop")
    assert check.keep(inside).message.startswith("you keep only objects that lie in the crop as a whole")


def test_whoever_keeps_everything_is_asked_whether_boxes_were_clipped_first():
    everything = lambda objects, window: [True] * len(objects)  # noqa: E731
    first, second = check.keep(everything).message, check.keep(everything).message
    assert first.startswith("every object stays") and "compute the centres before" in second


def test_a_zoom_out_with_the_wrong_sign_is_told_where_the_larger_area_begins():
    def zoom_out(width, height, ratio, left, top):
        return torch.tensor([left, top, left + ratio * width, top + ratio * height])

    verdict = check.zoom_out(zoom_out)
    assert verdict.message.startswith("the sign is wrong") and verdict.figure


def test_a_sampler_that_wants_all_objects_is_told_that_one_is_enough():
    def accepts(patch, objects, bound):
        return all(check.box_ops.iou(box, patch) >= bound for box in objects)

    assert check.accepts(accepts).message.startswith("you ask that all objects reach")
    guarded = check.accepts(lambda *given: len(given[1]) > 0 and accepts(*given))
    assert guarded.message.startswith("you ask that all objects reach")


def test_a_sum_of_overlaps_and_shares_of_patch_or_object_are_not_taken_for_an_iou():
    def shared(patch, objects):
        sides = torch.minimum(objects[:, 2:], patch[2:]) - torch.maximum(objects[:, :2], patch[:2])
        return sides.clamp(min=0).prod(1)

    iou = check.box_ops.iou
    answers = {
        "you added the IoUs up": lambda p, o, b: iou(o, p).sum() >= b,
        "you asked how much of the crop": lambda p, o, b: bool((shared(p, o) / 10_000 >= b).any()),
        "you asked how much of the object": lambda p, o, b: bool(
            (shared(p, o) / check.box_ops.area(o) >= b).any()
        ),
        "you averaged the IoUs": lambda p, o, b: len(o) > 0 and bool(iou(o, p).mean() >= b),
        "you accept a crop of an image without objects": lambda p, o, b: (
            not len(o) or bool((iou(o, p) >= b).any())
        ),
    }
    for start, answer in answers.items():
        verdict = check.accepts(answer)
        assert verdict.state == WRONG and verdict.message.startswith(start)
    assert check.accepts(lambda p, o, b: len(o) > 0 and iou(o, p).max() >= b).state == RIGHT


def test_a_maximum_over_no_objects_is_a_sentence_not_a_traceback():
    def accepts(patch, objects, bound):
        return check.box_ops.iou(objects, patch).max() >= bound

    message = check.accepts(accepts).message
    assert "an image without objects" in message and "objects, patch).max()" in message


def test_numbers_are_judged_by_what_was_forgotten():
    assert check.untouched(0.0357).state == RIGHT
    assert "aren't all the candidates" in check.untouched(1 / 24).message
    assert "how often no crop" in check.untouched(1 / 7).message
    assert "tossed a coin for *no crop*" in check.untouched(1 / 8).message


def test_the_key_n_draws_anew_and_shift_n_goes_back(player):
    seed = player.seed.value
    player.board.steps += 1
    assert player.seed.value == seed + 1
    player.board.steps -= 1
    assert player.seed.value == seed
