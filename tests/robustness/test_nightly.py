"""A thousand random cases for each module that must be exact, against the slow programs that follow the rules.

`pytest -m nightly tests/robustness/test_nightly.py` takes two minutes. Left out otherwise: the files named after the
modules test them with fewer cases. The cases are the same in every run, and a failure says the number of its case.
"""

import math
import random

import numpy as np
import pytest
import torch

import oracles
import slow_oracles_data as slow
from ssdlib import evaluate
from ssdlib.anchors import default_boxes
from ssdlib.data.results import read_results, write_results
from ssdlib.detect import detect, nms
from ssdlib.loss import multibox_loss
from ssdlib.matching import match
from ssdlib.records import Example, Predictions, Targets

pytestmark = pytest.mark.nightly
CASES = 1000


def cases():
    """(name of the case, its own chance), a thousand times."""
    for number in range(CASES):
        yield f"case {number}", random.Random(number)


def whole_box(chance: random.Random, low: int, high: int, most: int) -> tuple[int, ...]:
    """Whole px, a corner in low..high, sides of 1..most."""
    x, y = chance.randint(low, high), chance.randint(low, high)
    return x, y, x + chance.randint(1, most), y + chance.randint(1, most)


# --- Matching -------------------------------------------------------------------------------------------


def test_matching_on_squared_paper_is_that_of_plain_loops():
    """0 to 40 objects in each of up to three images. Whole px up to 16 make equal overlaps, which then are equal to
    the last bit in both programs; objects stand there twice, lie outside, are a single px, or fill the paper."""
    objects_seen, tied, doubled, outside = 0, 0, 0, 0
    for name, chance in cases():
        anchors = [whole_box(chance, 0, 11, 5) for _ in range(chance.randint(1, 60))]
        anchors += [anchors[0]] * chance.randint(0, 2)
        images = []
        for _ in range(chance.randint(1, 3)):
            kinds = chance.choices("box dot twin far all anchor".split(), (4, 1, 1, 1, 0.3, 1), k=40)
            there: list[tuple] = []
            for kind in kinds[: chance.choice((0, 1, 2, 5, 12, 25, 40))]:
                there.append(
                    {
                        "box": whole_box(chance, 0, 11, 5),
                        "dot": whole_box(chance, 0, 15, 1),
                        "twin": chance.choice(there or [(0, 0, 4, 4)]),
                        "far": whole_box(chance, 20, 25, 4),
                        "all": (0, 0, 16, 16),
                        "anchor": chance.choice(anchors),
                    }[kind]
                )
            images.append(there)
        slots = max(map(len, images)) + chance.randint(0, 2)
        places = [sorted(chance.sample(range(slots), len(there))) for there in images]
        boxes = torch.tensor([0.0, 0, 16, 16]).repeat(len(images), slots, 1)
        labels = torch.zeros(len(images), slots, dtype=torch.int64)
        for b, (there, where) in enumerate(zip(images, places, strict=True)):
            for slot, box in zip(where, there, strict=True):
                boxes[b, slot], labels[b, slot] = torch.tensor(box).float(), chance.randint(1, 20)
        threshold = chance.choice((0.5, 0.5, 0.25, 0.75, 1.0))
        matched = match(boxes, labels, torch.tensor(anchors).float(), threshold)
        for b, there in enumerate(images):
            wanted = oracles.greedy_match(there, anchors, threshold)
            assert matched[b].tolist() == [places[b][i] if i >= 0 else -1 for i in wanted], name
            table = [oracles.iou(anchor, box) for anchor in anchors for box in there]
            objects_seen += len(there)
            tied += len(table) - len(set(table)) - table.count(0) > 0
            doubled += len(there) - len(set(there))
            outside += sum(box[0] >= 20 for box in there)
    assert min(objects_seen, tied, doubled, outside) > CASES  # or the cases aren't what they are said to be


def married(table: np.ndarray, threshold: float) -> tuple[list[int], float]:
    """The two steps on a table (anchors, objects) of overlaps -> object of each anchor; by how little the closest
    decision was taken."""
    left, matched, close = table.copy(), np.full(len(table), -1), 1.0
    while left.size and left.max() > 1e-6:
        k, r = np.unravel_index(left.argmax(), left.shape)
        best = left[k, r]
        left[k, r] = 0
        close = min(close, best - left.max())
        matched[k] = r
        left[k], left[:, r] = 0, 0
    if table.shape[1]:
        close = min(close, np.abs(table - threshold).min())
    for k in np.flatnonzero(matched == -1):
        if table.shape[1] and table[k].max() >= threshold:
            matched[k] = table[k].argmax()
            close = min(close, 1.0 if table.shape[1] == 1 else np.diff(np.sort(table[k])[-2:])[0])
    return matched.tolist(), close


def test_matching_on_the_8732_anchors_is_that_of_a_plain_program():
    """0 to 40 objects of 30 px and more, some beyond the border. Where two overlaps are closer than float32 can tell
    from each other (as of a small object inside of many anchors), either answer is right: such a case isn't asked."""
    anchors, ours = np.array(oracles.caffe_anchors()), default_boxes()
    areas = (anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1])
    asked, objects_seen, number = 0, 0, 0
    while asked < CASES:
        chance, number = np.random.default_rng(number), number + 1
        count = chance.choice((0, 1, 2, 3, 6, 12, 25, 40))
        low = chance.uniform(-30, 250, (count, 2))
        boxes = np.concatenate([low, low + chance.uniform(30, 200, (count, 2))], 1).astype(np.float32)
        doubles = boxes.astype(np.float64)
        sides = np.minimum(anchors[:, None, 2:], doubles[:, 2:]) - np.maximum(
            anchors[:, None, :2], doubles[:, :2]
        )
        common = sides.clip(0).prod(axis=2)
        sizes = (doubles[:, 2] - doubles[:, 0]) * (doubles[:, 3] - doubles[:, 1])
        wanted, close = married(common / (areas[:, None] + sizes - common), 0.5)
        if close < 2e-6:
            continue
        asked, objects_seen = asked + 1, objects_seen + int(count)
        found = match(torch.from_numpy(boxes)[None], torch.ones(1, count, dtype=torch.int64), ours)
        assert found[0].tolist() == wanted, f"case {number - 1}"
    print(f"{number} cases drawn, {asked} asked, {objects_seen} objects")
    assert objects_seen > CASES


# --- Loss -----------------------------------------------------------------------------------------------


def test_loss_counts_and_gradients_are_those_of_plain_loops():
    """Both minings; images without positives, full of them, with more wanted than there are; equal logits."""
    for name, chance in cases():
        random_ = torch.Generator().manual_seed(chance.randint(0, 10**9))
        images, anchors, classes = chance.randint(1, 3), chance.randint(1, 12), chance.randint(2, 6)
        mining, ratio = chance.choice(("image", "batch")), chance.choice((3, 3, 1, 2.5))
        offsets = torch.randn(images, anchors, 4, generator=random_) * 2
        logits = torch.randn(images, anchors, classes, generator=random_) * chance.choice((0.5, 2, 30))
        equal = chance.random() < 0.3  # all of them: which ones are mined doesn't matter, how many does
        if equal:
            logits[:] = logits[:1, :1]
        labels = torch.randint(1, classes, (images, anchors), generator=random_)
        labels *= torch.rand(images, anchors, generator=random_) < chance.choice((0, 0.1, 0.3, 1))
        wanted = torch.randn(images, anchors, 4, generator=random_)
        targets = Targets(wanted, labels, torch.where(labels > 0, 0, -1))
        ours = [tensor.clone().requires_grad_() for tensor in (offsets, logits)]
        theirs = [tensor.double().requires_grad_() for tensor in (offsets, logits)]
        losses = multibox_loss(Predictions(*ours), targets, mining, ratio)
        place, confidence, positives, negatives = oracles.multibox_loss(
            *theirs, wanted, labels, mining, ratio
        )
        assert (int(losses.positives), int(losses.negatives)) == (positives, negatives), name
        assert losses.localisation.item() == pytest.approx(place.item(), rel=1e-5, abs=1e-6), name
        assert losses.confidence.item() == pytest.approx(confidence.item(), rel=1e-5, abs=1e-5), name
        losses.multibox.backward()
        if (total := place + confidence).requires_grad:
            total.backward()
        for got, right in zip(ours, theirs, strict=True):
            right, found = torch.zeros_like(got) if right.grad is None else right.grad.float(), got.grad
            if equal:
                right, found = (x.sum(dim=1 if mining == "image" else (0, 1)) for x in (right, found))
            torch.testing.assert_close(found, right, rtol=1e-4, atol=2e-6, msg=name)


# --- Detection ------------------------------------------------------------------------------------------


def test_suppression_keeps_what_a_plain_program_keeps():
    """Whole px, so that overlaps are equal to each other and to the threshold; few scores, so that they are equal."""
    for name, chance in cases():
        count, classes = chance.choice((0, 1, 2, 10, 40, 80)), chance.randint(1, 4)
        boxes = [whole_box(chance, 0, 12, 9) for _ in range(count)]
        levels = chance.choice((1, 3, 16, 1024))
        scores = [chance.randint(1, levels) / levels for _ in boxes]
        labels = [chance.randint(1, classes) for _ in boxes]
        threshold = chance.choice((0.0, 0.25, 0.45, 0.5, 1.0))
        kept = nms(
            torch.tensor(boxes).float().reshape(-1, 4),
            torch.tensor(scores),
            torch.tensor(labels, dtype=torch.int64),
            threshold,
        )
        wanted = []
        for label in range(1, classes + 1):
            mine = [i for i in range(count) if labels[i] == label]
            within = slow.suppress([boxes[i] for i in mine], [scores[i] for i in mine], threshold)
            wanted += [mine[i] for i in within]
        assert kept.tolist() == sorted(wanted, key=lambda i: (-scores[i], i)), name


def moved(anchor: tuple, t: list[float]) -> tuple[float, ...]:
    """The paper's formula for one box."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    x, y = (anchor[0] + anchor[2]) / 2 + 0.1 * t[0] * width, (anchor[1] + anchor[3]) / 2 + 0.1 * t[1] * height
    width, height = width * math.exp(0.2 * t[2]), height * math.exp(0.2 * t[3])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def test_detections_are_those_of_a_plain_program():
    """No anchors, no candidates, equal scores, boxes beyond the border, all limits changed."""
    found_at_all = 0
    for name, chance in cases():
        count, classes = chance.choice((0, 1, 5, 20, 50)), chance.randint(2, 5)
        anchors = [whole_box(chance, -20, 280, 90) for _ in range(count)]
        random_ = torch.Generator().manual_seed(chance.randint(0, 10**9))
        offsets = torch.randn(1, count, 4, generator=random_) * chance.choice((0, 1, 4))
        logits = torch.randn(1, count, classes, generator=random_) * 3
        if chance.random() < 0.5:
            logits = logits.round()  # equal scores
        numbers = {
            "score": chance.choice((0.01, 0.2, 0.99)),
            "top_k": chance.choice((400, 5, 1)),
            "keep": chance.choice((200, 7, 1)),
        }
        overlap, size = chance.choice((0.45, 0.3, 0.7)), (chance.randint(1, 900), chance.randint(1, 900))
        grid = torch.tensor(anchors).float().reshape(-1, 4)
        [found] = detect(Predictions(offsets, logits), grid, [size], nms_iou=overlap, **numbers)
        places = [moved(a, t) for a, t in zip(anchors, offsets[0].tolist(), strict=True)]
        probabilities = logits.softmax(dim=-1)[0].tolist() or [[0.0] * classes]
        wanted = slow.find(probabilities, places, size, max_iou=overlap, **numbers)
        assert found.labels.tolist() == [label for label, _, _ in wanted], name
        assert found.scores.tolist() == [score for _, score, _ in wanted], name
        boxes = torch.tensor([box for _, _, box in wanted]).reshape(-1, 4)
        torch.testing.assert_close(found.boxes, boxes, rtol=1e-5, atol=2e-3, msg=name)
        found_at_all += len(wanted)
    assert found_at_all > CASES


# --- Judging --------------------------------------------------------------------------------------------


def test_judging_is_that_of_a_plain_program_by_both_rules_and_through_the_files(tmp_path):
    """Up to ten images, some without objects; up to 60 detections of a class, or none; equal scores, second hits,
    objects that stand there twice, difficult ones, overlaps of exactly .5. Every second case goes through the
    development kit's files."""
    names, judged, halves, equals, hard_ones = ("dog", "cat", "cow"), 0, 0, 0, 0
    for number, (name, chance) in enumerate(cases()):
        ids = [f"{i:06d}" for i in range(chance.randint(1, 10))]
        there: list[tuple] = []  # image, box, difficult, class
        for image in ids:
            for _ in range(chance.choice((0, 0, 1, 2, 5))):
                box = whole_box(chance, 1, 12, 9)
                if there and there[-1][0] == image and chance.random() < 0.2:
                    box = there[-1][1]
                there.append((image, box, chance.random() < 0.25, chance.choice(names)))
        found: dict[str, list] = {one: [] for one in names}
        levels = chance.choice((1, 4, 64))
        for one in names:
            for _ in range(chance.choice((0, 1, 5, 20, 60))):
                box = whole_box(chance, 1, 12, 9)
                if there and chance.random() < 0.5:
                    image, near, *_ = chance.choice(there)
                    half = (near[2] - near[0] + 1) / 2  # of the object, in inclusive corners
                    box = (near[0], near[1], near[2] + chance.choice((0, 0, 0.5, 1, 2, -half)), near[3])
                else:
                    image = chance.choice(ids)
                found[one].append((image, chance.randint(0, levels) / levels, box))
        truth = [example(image, [row for row in there if row[0] == image], names) for image in ids]
        results = {
            one: evaluate.Results(
                [row[0] for row in rows],
                np.array([row[1] for row in rows], dtype=np.float64),
                np.array([row[2] for row in rows], dtype=np.float64).reshape(-1, 4),
            )
            for one, rows in found.items()
        }
        if number % 2:
            write_results(tmp_path, "test", results)
            results = read_results(tmp_path, "test", names)
        tables = {metric: evaluate.evaluate(results, truth, metric, names) for metric in evaluate.METRICS}
        for one in names:
            mine = [row[:3] for row in there if row[3] == one]
            said, total = slow.verdicts(found[one], mine)
            recall, precision = slow.curve(said, total)
            curve = tables["area"].curves[one]
            assert curve.objects == total, name
            np.testing.assert_allclose(curve.recall, recall, rtol=0, atol=1e-15, err_msg=name)
            np.testing.assert_allclose(curve.precision, precision, rtol=0, atol=1e-15, err_msg=name)
            for metric, rule in (("11point", slow.eleven_points), ("area", slow.area)):
                assert abs(tables[metric].ap[one] - rule(recall, precision)) < 1e-12, (name, metric)
            judged += len(said)
            equals += len(said) - len({score for _, score, _ in found[one]})
            halves += sum(
                slow.iou(row[2], box, 1.0) == 0.5
                for row in found[one]
                for image, box, _ in mine
                if image == row[0]
            )
            hard_ones += said.count(None)
    print(f"{judged} detections judged, {equals} of equal score, {hard_ones} on difficult, {halves} halves")
    assert min(judged, equals, hard_ones, halves) > CASES


def example(image_id: str, rows: list, names: tuple) -> Example:
    """The corners of the rows are inclusive and counted from 1."""
    boxes = torch.tensor([row[1] for row in rows], dtype=torch.float32).reshape(-1, 4)
    return Example(
        image_id=image_id,
        path=None,
        size=(30, 30),
        boxes=boxes - torch.tensor([1.0, 1.0, 0.0, 0.0]),
        labels=torch.tensor([1 + names.index(row[3]) for row in rows], dtype=torch.int64),
        difficult=torch.tensor([row[2] for row in rows], dtype=torch.bool),
    )
