"""AP by VOC2007's rule, all detections in memory, beside the rule in plain numpy, detection after detection.

    python benchmarks/evaluation.py [--detections DIR --data DEVKIT --sets 2007-test]

Without those options both sides judge 52,404 detections drawn from a random seed for 4,952 images, as many as a real
run left. With them they judge result files of the development kit by the genuine annotations.
"""

from collections.abc import Sequence
from pathlib import Path

import inputs
import numpy as np
import timing

from ssdlib import evaluate
from ssdlib.data import voc
from ssdlib.data.results import read_results, result_name
from ssdlib.evaluate import ONE_BASED, Results
from ssdlib.records import CLASSES, Example


def objects_by_image(truth: Sequence[Example]) -> list[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """For each class: image id -> its boxes counted from 1, and which are difficult. The input of the peer."""
    found = [{} for _ in CLASSES]
    for example in truth:
        boxes, labels = example.boxes.double().numpy() + ONE_BASED, example.labels.numpy()
        for label in np.unique(labels):
            mine = labels == label
            found[label][example.image_id] = boxes[mine], example.difficult.numpy()[mine]
    return found


def plain(
    results: dict[str, Results], objects: list[dict[str, tuple[np.ndarray, np.ndarray]]]
) -> list[float]:
    """The rule in plain loops: AP of each class."""
    return [plain_class(results[name], objects[label]) for label, name in enumerate(CLASSES[1:], 1)]


def plain_class(results: Results, objects: dict[str, tuple[np.ndarray, np.ndarray]]) -> float:
    total = sum(int((~difficult).sum()) for _, difficult in objects.values())
    taken = {image: np.zeros(len(difficult), dtype=bool) for image, (_, difficult) in objects.items()}
    order = np.argsort(-results.scores, kind="stable")
    right, wrong = np.zeros(len(order)), np.zeros(len(order))
    for place, i in enumerate(order):
        image = results.image_ids[i]
        if image not in objects:
            wrong[place] = 1
            continue
        boxes, difficult = objects[image]
        low = np.maximum(boxes[:, :2], results.boxes[i, :2])
        high = np.minimum(boxes[:, 2:], results.boxes[i, 2:])
        shared = np.maximum(high - low + 1, 0).prod(axis=1)
        own = (results.boxes[i, 2:] - results.boxes[i, :2] + 1).prod()
        overlap = shared / ((boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1) + own - shared)
        best = overlap.argmax()
        if overlap[best] < 0.5:
            wrong[place] = 1
        elif not difficult[best]:
            right[place], wrong[place] = not taken[image][best], taken[image][best]
            taken[image][best] = True
    found, false = right.cumsum(), wrong.cumsum()
    recall = found / total
    with np.errstate(invalid="ignore"):
        precision = found / (found + false)
    points = [np.nan_to_num(precision[recall >= t]).max(initial=0) for t in np.arange(11) * 0.1]
    return float(np.mean(points))


def main() -> None:
    given = timing.arguments(
        __doc__,
        9,
        detections=dict(type=Path, help="a folder of comp4_det_<set>_<class>.txt"),
        data=dict(type=Path, help="the VOCdevkit they are judged by"),
        sets=dict(nargs="+", default=["2007-test"]),
        total=dict(type=int, default=52_404, help="detections drawn from a random seed"),
        threads=1,
    )
    if given.detections and given.data:
        results = read_results(given.detections, result_name(given.sets))
        truth, source = voc.read_sets(given.data, given.sets), "real"
    elif given.detections or given.data:
        raise SystemExit("--detections and --data belong together; name both or neither")
    else:
        images = 50 if given.quick else 4952
        results, truth = inputs.detections(500 if given.quick else given.total, images)
        source = "drawn from a random seed"
    objects = objects_by_image(truth)
    ours = list(evaluate.evaluate(results, truth).ap.values())
    difference = max(abs(a - b) for a, b in zip(ours, plain(results, objects), strict=True))
    timing.say(timing.agree("AP of each class", difference, 1e-12))
    times = timing.in_turn(
        lambda: evaluate.evaluate(results, truth), lambda: plain(results, objects), given.rounds
    )
    count = sum(len(r.scores) for r in results.values())
    what = f"20 classes, {count:,} detections ({source}), {len(truth):,} images"
    timing.say("Ours starts from examples, the peer from objects already sorted by image.\n")
    timing.say(
        timing.table("VOC07 evaluation, in memory, one thread", [timing.Row(what, *times, "at most 0.15 s")])
    )


if __name__ == "__main__":
    main()
