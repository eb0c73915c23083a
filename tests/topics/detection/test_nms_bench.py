"""Chapter 10 without a browser: who suppresses whom, what is left after each stage, the bench, wrong answers."""

import pytest
import torch
import torchvision

from course.detection import check, stages
from course.detection.nms_bench import ACROSS, ALL, NmsBench
from course.detection.stages import FIVE, HANDS
from course.kit import checking, pictures
from ssdlib import box_ops
from ssdlib.data import voc
from ssdlib.records import LABELS

pytestmark = pytest.mark.slow


def random_boxes(count, seed):
    source = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=source, dtype=torch.float64) * 60
    size = 2 + torch.rand(count, 2, generator=source, dtype=torch.float64) * 60
    scores = torch.rand(count, generator=source, dtype=torch.float64)
    return torch.cat([corner, corner + size], dim=1), scores, torch.randint(1, 4, (count,), generator=source)


def by_loops(boxes, scores, max_iou, labels):
    """One after the other from the best down: -1, or the first kept box that is too close."""
    fate, kept = [None] * len(scores), []
    for i in sorted(range(len(scores)), key=lambda i: -float(scores[i])):
        rivals = [j for j in kept if labels[i] == labels[j] and box_ops.iou(boxes[i], boxes[j]) > max_iou]
        fate[i] = rivals[0] if rivals else -1
        if not rivals:
            kept.append(i)
    return fate


# ---- verdicts


@pytest.mark.parametrize("count", [0, 1, 2, 30, 80])
@pytest.mark.parametrize("max_iou", [0.0, 0.3, 0.45, 1.0])
def test_every_box_is_told_the_first_kept_box_that_loops_find_for_it(count, max_iou):
    boxes, scores, labels = random_boxes(count, seed=count)
    assert stages.verdicts(boxes, scores, max_iou, labels).tolist() == by_loops(
        boxes, scores, max_iou, labels
    )
    alone = stages.verdicts(boxes, scores, max_iou)
    assert alone.tolist() == by_loops(boxes, scores, max_iou, torch.zeros(count))


@pytest.mark.parametrize("seed", range(5))
def test_those_without_a_suppressor_are_those_that_torchvision_keeps(seed):
    boxes, scores, labels = random_boxes(200, seed)
    kept = (stages.verdicts(boxes, scores, 0.45) == stages.STAYS).nonzero()[:, 0]
    assert kept.tolist() == torchvision.ops.nms(boxes, scores, 0.45).sort().values.tolist()
    kept = (stages.verdicts(boxes, scores, 0.45, labels) == stages.STAYS).nonzero()[:, 0]
    assert kept.tolist() == torchvision.ops.batched_nms(boxes, scores, labels, 0.45).sort().values.tolist()


def test_the_five_boxes_of_the_page_end_as_the_pencil_says():
    """Shifted by s px, boxes 160 px high have IoU (160 - s) / (160 + s)."""
    corners = torch.tensor([box for _, _, box in FIVE])
    labels = torch.tensor([LABELS[name] for name, _, _ in FIVE])
    table = box_ops.iou(corners[:, None], corners)
    assert [round(float(v), 2) for v in table[0, 1:]] == [0.6, 0.33, 0.83, 0.14]
    assert [round(float(table[i, j]), 2) for i, j in ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4))] == [
        *(0.6, 0.73, 0.33, 0.42, 0.6),
    ]
    scores = torch.tensor([score for _, score, _ in FIVE])
    assert stages.verdicts(corners, scores, 0.45, labels).tolist() == [-1, 0, -1, -1, 2]


# ---- the recorded network


@pytest.fixture(scope="module")
def seen():
    return stages.recorded()


def test_the_stages_one_by_one_give_what_the_library_detects(seen):
    found = seen.detect()
    for i in range(0, 200, 10):
        ours = stages.rank_image(seen.of(i), seen.anchors).detections(seen.sizes[i])
        assert torch.equal(ours.labels, found[i].labels)
        torch.testing.assert_close(ours.boxes, found[i].boxes)
        torch.testing.assert_close(ours.scores, found[i].scores)


def test_a_scene_says_the_same_to_the_last_bit_asked_alone_or_with_all_others(seen):
    alone = stages.Recorded(seen.examples, seen.network, seen.anchors)
    for i in (21, 199, 0):
        assert torch.equal(alone.of(i).logits[0], seen.predictions.logits[i])
        assert torch.equal(alone.of(i).offsets[0], seen.predictions.offsets[i])
        assert torch.equal(seen.of(i).logits[0], seen.predictions.logits[i])
        with torch.no_grad():  # the network itself, on this scene
            said = seen.network(pictures.scene(seen.examples[i]).image)
        torch.testing.assert_close(alone.of(i).logits, said.logits, rtol=1e-3, atol=1e-3)
    assert len(seen.predictions.logits) == len(seen.examples) == 200


def test_who_asks_about_one_scene_does_not_wait_for_two_hundred(seen):
    looked = []

    def network(images):
        looked.append(len(images))
        return seen.network(images)

    few = stages.Recorded(seen.examples, network, seen.anchors)
    for i in (21, 22, 21):
        few.of(i)
    assert looked == [stages.AT_A_TIME]
    assert few.predictions.logits.shape[0] == sum(looked) == 200


def test_limits_reach_every_stage(seen):
    limits = dict(score=0.05, top_k=3, nms_iou=0.3, keep=5)
    for i in (5, 21, 31):
        ours = stages.rank_image(seen.of(i), seen.anchors, **limits).detections(seen.sizes[i])
        theirs = stages.detect.detect(seen.of(i), seen.anchors, [seen.sizes[i]], **limits)[0]
        assert torch.equal(ours.labels, theirs.labels) and len(ours) <= 5
        torch.testing.assert_close(ours.boxes, theirs.boxes)


def test_the_funnel_counts_what_loops_count(seen):
    counts = list(stages.funnel(seen.of(21), seen.anchors, top_k=20, keep=30).values())
    probabilities = seen.of(21).logits[0].softmax(dim=-1)
    per_class = [int((probabilities[:, c] > 0.01).sum()) for c in range(1, 21)]
    assert counts[:4] == [8732 * 25, 8732 * 20, sum(per_class), sum(min(n, 20) for n in per_class)]
    assert counts[3] >= counts[4] >= counts[5] == 30 >= counts[6]


def test_an_image_without_any_score_gives_an_empty_ranking():
    nothing = torch.zeros(5, 21)
    ranking = stages.rank(nothing, torch.zeros(5, 4))
    assert len(ranking.scores) == len(ranking.kept) == ranking.above == 0
    assert len(ranking.detections((500, 375))) == 0


def test_the_map_of_the_recording_is_the_recorded_one(seen):
    rows = (stages.pictures.ROOT / "chapters/recordings/mini/ap.csv").read_text().splitlines()
    recorded = 100 * float(rows[-1].split(",")[1])
    assert abs(seen.mean_ap(seen.detect()) - recorded) < 0.5  # the recording was computed in bfloat16


# ---- the bench


@pytest.fixture
def bench(seen):
    return NmsBench()


def test_the_bench_shows_the_numbers_of_the_funnel_and_follows_its_sliders(bench, seen):
    counts = list(stages.funnel(seen.of(21), seen.anchors).values())
    assert f"{counts[3]} candidates, {counts[5]} stay" in repr(bench)
    bench.score.value, bench.nms_iou.value, bench.keep.value = 0.1, 0.8, 5
    counts = list(stages.funnel(seen.of(21), seen.anchors, score=0.1, nms_iou=0.8, keep=5).values())
    assert f"{counts[3]} candidates, {counts[5]} stay" in repr(bench)
    assert "score 0.1, top-k 400, NMS 0.80 within each class, keep 5" in repr(bench)


def test_only_what_is_decided_is_drawn_and_what_comes_later_is_counted_in_words(bench):
    def drawn() -> int:
        return sum(len(layer["boxes"]) // 4 for layer in bench.board.scene["layers"][:3])

    count = len(bench.ranking.scores)
    assert drawn() == 2 and f"{count - 2} candidates still to come" in bench.summary()
    bench.play.value += 3
    assert bench.place.value == 4 and drawn() == 5
    bench.upto.value = False
    assert drawn() == count and "no candidate left to come" in bench.summary()


def test_playing_ends_at_the_last_candidate_and_begins_again(bench):
    bench.score.value = 0.9
    last = len(bench.ranking.scores) - 1
    bench.play.playing = True
    bench.play.value += last
    assert bench.place.value == last and not bench.play.playing
    bench.play.value += 1
    assert bench.place.value == 0


def test_the_n_key_goes_down_the_ranking_up_again_and_round(bench):
    assert bench.place.value == 1 and not bench.board.boxes
    bench.board.steps += 3
    assert bench.place.value == 4 and "candidate 4" in bench.board.status
    bench.board.steps -= 1
    assert bench.place.value == 3 and "candidate 3" in bench.board.status
    bench.board.steps -= 4
    assert bench.place.value == bench.place.max == len(bench.visible) - 1
    bench.board.steps += 1
    assert bench.place.value == 0


def test_by_hand_the_slider_and_the_box_in_hand_go_together(bench):
    bench.case.value = list(HANDS)[0]
    bench.place.value = 2
    assert bench.board.active == 2 and "candidate 2" in bench.board.status
    bench.shown.value = "cat"
    bench.board.active = 4
    assert bench.shown.value == ALL and bench.place.value == 4 and "suppressed by 2" in bench.board.status


def test_a_box_by_hand_that_is_no_candidate_says_why(bench):
    bench.case.value, bench.score.value = list(HANDS)[0], 0.7
    bench.board.active = 3
    assert bench.board.status == "cat 0.60: no candidate, its score isn't above 0.7"
    bench.score.value, bench.top_k.value = 0.01, 2
    bench.board.active = 4
    assert bench.board.status == "dog 0.50: no candidate, it isn't among the top-k of its class"


def test_boxes_without_area_or_far_away_do_not_stop_the_bench(bench):
    bench.case.value = list(HANDS)[0]
    bench.board.boxes = [
        [10.0, 10, 10, 10],
        [10.0, 10, 12, 12],
        [-900.0, -900, -890, -890],
        *bench.board.boxes[3:],
    ]
    for slider in (bench.score, bench.top_k, bench.keep):
        for value in slider.options:
            slider.value = value
            assert bench.board.status and bench.still()
        slider.value = slider.options[0]
    bench.nms_iou.value = 1
    assert bench.board.status


def test_a_suppressed_candidate_names_the_one_that_overlaps_it_too_much(bench):
    at = int((bench.ranking.suppressor >= 0).nonzero()[3])
    bench.place.value = at
    by = int(bench.ranking.suppressor[at])
    iou = float(box_ops.iou(bench.ranking.boxes[at], bench.ranking.boxes[by]))
    assert iou > 0.45 and f"suppressed by {by}" in bench.board.status and f"{iou:.2f}" in bench.board.status


def test_showing_one_class_counts_only_its_candidates(bench):
    bench.shown.value = "train"
    assert {int(label) for label in bench.ranking.labels[bench.visible]} == {LABELS["train"]}
    assert bench.place.max == len(bench.visible) - 1


def test_a_click_takes_the_candidate_with_the_nearest_edge(bench):
    bench.score.value = 0.5
    x1, y1, _, y2 = bench.ranking.boxes[bench.visible[2]].tolist()
    bench.board.pointer = [x1 + 0.01, (y1 + y2) / 2]
    taken = bench.ranking.boxes[bench.chosen()]
    assert abs(float(taken[0]) - x1) < 1


def test_over_all_classes_a_horse_goes_that_stays_within_its_class(bench):
    bench.case.value, bench.score.value = 31, 0.5
    names = {voc.CLASSES[label] for label in bench.ranking.labels[bench.ranking.kept].tolist()}
    assert "horse" in names
    bench.scope.value = ACROSS
    assert {voc.CLASSES[i] for i in bench.ranking.labels[bench.ranking.kept].tolist()} < names


def test_dragging_b_away_frees_it_and_raising_the_threshold_frees_all(bench):
    bench.case.value = "by hand: the five of the page"
    assert [n.split(": ")[1] for n in bench.board.box_names] == [
        *("stays", "out, by A", "stays", "stays", "out, by C"),
    ]
    moved = [list(box) for box in bench.board.boxes]
    moved[1] = [230.0, 50.0, 330.0, 210.0]
    bench.board.boxes = moved
    assert bench.board.box_names[1] == "B dog 0.8: stays"
    bench.nms_iou.value = 0.6  # an overlap of exactly 0.6 suppresses nothing
    assert "5 candidates, 5 stay" in repr(bench)


def test_every_case_can_be_shown_and_nothing_found_is_said(bench):
    for _, case in bench.case.options:
        bench.case.value = case
        assert repr(bench).startswith("NmsBench(") and bench.still() and bench.shown.value == ALL
    bench.case.value, bench.score.value = list(HANDS)[0], 0.9
    assert "no candidate" in bench.board.status and "0 candidates, 0 stay" in repr(bench)
    assert all("no candidate" in name for name in bench.board.box_names)


# ---- wrong answers as learners type them


def test_each_wrong_answer_gets_its_own_sentence():
    def no_variances(offsets, anchors):
        a = box_ops.to_cxcywh(anchors)
        xy = a[:, :2] + offsets[:, :2] * a[:, 2:]
        wh = a[:, 2:] * torch.exp(offsets[:, 2:])
        return torch.cat([xy - wh / 2, xy + wh / 2], 1)

    def centres(offsets, anchors):
        a = box_ops.to_cxcywh(anchors)
        xy = a[:, :2] + 0.1 * offsets[:, :2] * a[:, 2:]
        return torch.cat([xy, a[:, 2:] * torch.exp(0.2 * offsets[:, 2:])], 1)

    def argmax_only(probabilities, score):
        found = []
        for label in range(1, probabilities.shape[1]):
            for anchor, row in enumerate(probabilities):
                if row.argmax() == label and row[label] > score:
                    found.append([label, anchor])
        return torch.tensor(found).reshape(-1, 2)

    def all_together(scores, labels, k):
        return scores.topk(min(k, len(scores))).indices.sort().values

    def pairwise(places, scores, max_iou):
        order = scores.argsort(descending=True)
        keep = []
        for n, i in enumerate(order.tolist()):
            if not any(box_ops.iou(places[i], places[j]) > max_iou for j in order[:n].tolist()):
                keep.append(i)
        return torch.tensor(keep, dtype=torch.int64)

    def as_they_come(places, scores, max_iou):
        keep = []
        for i in range(len(places)):
            if all(box_ops.iou(places[i], places[j]) <= max_iou for j in keep):
                keep.append(i)
        return torch.tensor(keep, dtype=torch.int64)

    def at_least(places, scores, max_iou):
        keep = []
        for i in scores.argsort(descending=True).tolist():
            if not any(box_ops.iou(places[i], places[j]) >= max_iou for j in keep):
                keep.append(i)
        return torch.tensor(keep, dtype=torch.int64)

    def classes_ignored(places, scores, labels, max_iou):
        return torchvision.ops.nms(places, scores, max_iou)

    def swapped(places, size):
        return places.clamp(0, 300) / 300 * torch.tensor([size[1], size[0]] * 2)

    suppress = torchvision.ops.nms

    def late_clamp(places, size):
        return (places / 300 * torch.tensor([size[0], size[1]] * 2)).clamp(0, 300)

    for exercise, answer, words in (
        (check.decode, no_variances, "variances are missing"),
        (check.decode, centres, "corners were asked for"),
        (check.candidates, argmax_only, "best class only, background included"),
        (check.candidates, lambda p, s: (p.T > s).nonzero(), "background is in your list"),
        (check.top_k, all_together, "all classes together"),
        (check.suppress, pairwise, "a suppressed box has suppressed another one"),
        (check.suppress, as_they_come, "as they came"),
        (check.suppress, at_least, "has to exceed"),
        (
            check.suppress,
            lambda b, s, m: torch.isin(torch.arange(len(b)), suppress(b, s, m)),
            "says for each box",
        ),
        (
            check.class_by_class,
            lambda *a: sorted(torchvision.ops.batched_nms(*a).tolist()),
            "in the order they came",
        ),
        (check.class_by_class, classes_ignored, "different classes suppressed each other"),
        (check.to_photograph, swapped, "swapped"),
        (check.to_photograph, late_clamp, "border of the input"),
        (check.most, 21 * 400, "you count background"),
        (check.most, 200, "before it"),
    ):
        verdict = exercise(answer)
        assert verdict.state == checking.WRONG and words in verdict.message, verdict
