"""Record how detections develop: train the mini recipe and detect in five scenes every 50 steps.

    python data_scripts/record_growth.py RUN OUT

RUN is the run's folder; after an interruption the same command resumes in it. OUT gets `growth.json` (some 100 kB):
for each of these steps the detections in each scene, the outputs for the anchor of each object, and mAP on the first
test scenes; and `recording.json` with device, date, commit, versions, random seed. On one thread it takes some twenty
minutes.
"""

import argparse
import dataclasses
import json
import time
from pathlib import Path

import torch
from record_run import facts_now
from torch import Tensor

from course.kit import opening, pictures
from course.matching.matcher import match_with
from course.training import run_pictures
from ssdlib import coding, evaluate
from ssdlib.anchors import default_boxes
from ssdlib.data import voc
from ssdlib.data.store import Jpegs, Store
from ssdlib.detect import detect
from ssdlib.records import Example
from ssdlib.training import engine, inference
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import CHECKPOINT, RECIPES, RunConfig

EVERY = 50  # steps between two records
SCORE, MOST = 0.1, 12  # detections that are kept: the best ones of a scene
JUDGED = 50  # test scenes on which mAP is measured
OBJECTS = (3, 1, 4)  # of the scenes that are watched, as in chapter 04; the last is chapter 07's


def watched() -> list[Example]:
    """The scene of chapter 00, and four of the mini VOC's test set by their places in it."""
    scenes = pictures.mini_test_set()
    plain = [e for e in scenes if not e.difficult.any()]
    chosen = [min((e for e in plain if len(e.labels) == count), key=pictures._crowding) for count in OBJECTS]
    return [opening.example(), *chosen, scenes[30]]


def look(model: torch.nn.Module, config: RunConfig, scenes: list, own: list[Tensor]) -> list[dict]:
    """For each scene its best detections (label, score, corners in px of the 300 x 300 input) and, for the anchor
    that step one of matching gives each object, p(its class) and its decoded box."""
    looks, anchors = [], default_boxes()
    for scene, mine in zip(scenes, own, strict=True):
        with torch.inference_mode(), inference.autocast(torch.device("cpu"), config.precision):
            said = model(scene.image.contiguous(memory_format=torch.channels_last))
        said = dataclasses.replace(said, offsets=said.offsets.float(), logits=said.logits.float())
        [found] = detect(said, anchors, [(300, 300)])
        best = found.scores.argsort(descending=True, stable=True)[:MOST]
        best = best[found.scores[best] >= SCORE]
        p = said.logits[0, mine].softmax(dim=-1)[torch.arange(len(mine)), scene.labels]
        boxes = coding.decode(said.offsets[0], anchors)[mine]
        looks.append(
            {
                "found": [
                    [int(found.labels[i]), round(float(found.scores[i]), 2), *_short(found.boxes[i])]
                    for i in best
                ],
                "own": [[round(float(v), 4), *_short(box)] for v, box in zip(p, boxes, strict=True)],
            }
        )
    return looks


def _short(box: Tensor) -> list[int]:
    return [round(v) for v in box.tolist()]


def main(run: Path, out: Path) -> None:
    config, now, began = RECIPES["mini"], facts_now(), time.time()
    train_set = voc.read_sets(pictures.mini_voc(), config.train_sets)
    test_set = voc.read_sets(pictures.mini_voc(), config.test_sets)
    judged = test_set[:JUDGED]
    scenes = [pictures.scene(example) for example in watched()]
    own = [match_with(scene.boxes, default_boxes()).own for scene in scenes]
    out.mkdir(parents=True, exist_ok=True)
    path = out / "growth.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"looks": []}
    kept |= {"scenes": [s.example.image_id for s in scenes], "own": [o.tolist() for o in own]}

    def keep(step: int, model: torch.nn.Module) -> None:
        found = inference.detect_all(model, (judged, Jpegs(judged)), default_boxes(), config)
        table = evaluate.evaluate(
            evaluate.collect([e.image_id for e in judged], found, config.classes), judged
        )
        value = evaluate.number_or_null(table.mean)
        kept["looks"] = [one for one in kept["looks"] if one["step"] < step]
        kept["looks"].append(
            {"step": step, "map": value and round(value, 4), "scenes": look(model, config, scenes, own)}
        )
        rows = read_log(run) if step else []
        kept["losses"] = [
            [row["step"], round(row["localisation"], 3), round(row["confidence"], 3)]
            for row in rows
            if "positives" in row
        ]
        path.write_text(json.dumps(kept, separators=(",", ":")) + "\n", "utf-8")
        taken = {"seconds": round(time.time() - began), "judged": JUDGED}
        facts = now | taken | {"config": dataclasses.asdict(config)}
        (out / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
        print(f"step {step}: mAP {table.mean:.3f} on {JUDGED} scenes", flush=True)

    if not kept["looks"]:
        keep(0, engine.build(config, torch.device("cpu"))[0].eval())
    stored = pictures.mini_voc().with_name("VOCdevkit.store")
    data = [
        (examples, Store(stored / "+".join(sets), examples))
        for sets, examples in ((config.train_sets, train_set), (config.test_sets, test_set))
    ]
    for step in range(kept["looks"][-1]["step"] + EVERY, config.steps + 1, EVERY):
        there = run_pictures.network(run / CHECKPOINT)[2] if (run / CHECKPOINT).exists() else 0
        if there < step:
            engine.train(config, *data, run, resume=True, stop_after=step)
        keep(step, run_pictures.network(run / CHECKPOINT)[0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    main(options.run, options.out)
