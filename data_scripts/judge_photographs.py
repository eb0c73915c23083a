"""Evaluate a trained run once on photographs, and keep the numbers that the chapters show.

    python data_scripts/judge_photographs.py RUN OUT --data VOCdevkit [--sets 2007-test] --what "a sentence"

RUN is a run's folder, OUT a folder of chapters/recordings. Into OUT go `results.zip` (the devkit's files; scores
have four digits and corners one decimal, and what is judged is what the files hold), `judged.json` (AP by class, the
numbers of chapter 10 varied alone, kinds of errors, AP by size, and where all of this comes from) and
`free_photographs.json` (what the network finds in scikit-image's photographs). No photograph and no annotation is
written. Refuses a tree with uncommitted changes in course or ssdlib.
"""

import argparse
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from price_rules import judged, write
from record_run import facts_now

from course.detection import stages
from course.evaluation import judging
from course.kit import free_photographs
from ssdlib import evaluate, records
from ssdlib.anchors import default_boxes
from ssdlib.data import results, voc
from ssdlib.evaluate import Results
from ssdlib.training import runs

TRIED = {
    "score": (0.01, 0.05, 0.1, 0.3, 0.5),
    "top_k": (1, 5, 20, 400),
    "nms_iou": (0.1, 0.3, 0.45, 0.6, 0.8, 1.0),
    "keep": (1, 5, 20, 200),
}  # as in chapter 10, which varies them on the painted scenes
SHOWN = 0.05  # least score in the photographs' file; a page shows fewer detections


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["2007-test"])
    parser.add_argument(
        "--what", required=True, help="what these detections are, for the pages that show them"
    )
    options = parser.parse_args()
    now = facts_now("course", "data_scripts/judge_photographs.py")
    model, settings, step = runs.load_run(options.run)
    if step != settings.steps:
        raise SystemExit(f"{options.run}: at step {step} of {settings.steps}; wanted a finished run")
    examples = voc.read_sets(options.data, options.sets)
    seen = stages.Recorded(examples, model.eval(), default_boxes())
    found = evaluate.collect([example.image_id for example in examples], seen.detect())
    found = {name: rounded(r) for name, r in found.items()}
    subject = judging.Subject(options.what, found, examples)
    options.out.mkdir(parents=True, exist_ok=True)
    zip_results(options.out / "results.zip", results.result_name(options.sets), found)
    facts = dict(
        detections=options.what,
        count=subject.count,
        images=len(examples),
        step=step,
        **now,
        precision="float32",
        seed=f"{settings.seed} of the run; nothing here is drawn by chance",
        worth={name: {str(value): worth(seen, name, value) for value in TRIED[name]} for name in TRIED},
        boxes={str(score): counts(seen.detect(score=score)) for score in TRIED["score"]},
        **judged(subject),
    )
    write(options.out / "judged.json", facts)
    said = on_free_photographs(model) if free_photographs.installed() else None
    if said is not None:
        (options.out / "free_photographs.json").write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    mean = evaluate.evaluate(found, examples).mean
    print(f"{len(examples):,} photographs, {subject.count:,} detections, mAP {mean:.4f}")


def rounded(r: Results) -> Results:
    """Four significant digits of the scores and one decimal of the corners: a third of the size."""
    scores = [float(f"{score:.4g}") for score in r.scores.tolist()]
    return Results(r.image_ids, np.array(scores), r.boxes.round(1))


def worth(seen: stages.Recorded, name: str, value: float) -> float:
    """mAP in percent with one of detection's four numbers changed."""
    return round(seen.mean_ap(seen.detect(**{name: value})), 4)


def counts(detections: list[records.Detections]) -> dict[str, float]:
    """Boxes an image, and images without one."""
    return {
        "boxes": round(sum(map(len, detections)) / len(detections), 2),
        "empty": sum(len(one) == 0 for one in detections),
    }


def zip_results(path: Path, set_name: str, found: dict[str, Results]) -> None:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        results.write_results(Path(folder), set_name, found)
        for file in sorted(Path(folder).iterdir()):
            lines = [short(line) for line in file.read_text("utf-8").splitlines()]
            packed.writestr(zipfile.ZipInfo(file.name), "".join(lines), zipfile.ZIP_DEFLATED)


def short(line: str) -> str:
    """A line of a result file without trailing zeros."""
    image, score, *corners = line.split()
    return " ".join([image, score, *(f"{float(corner):.1f}" for corner in corners)]) + "\n"


def on_free_photographs(model: torch.nn.Module) -> dict[str, list[dict[str, Any]]]:
    """photograph -> what is found in it with a score above SHOWN, best first."""
    examples = [free_photographs.example(name) for name in free_photographs.PHOTOGRAPHS]
    said = stages.Recorded(examples, model, default_boxes()).detect()
    return {
        example.image_id: [
            {"class": records.CLASSES[label], "score": round(score, 4), "box": [round(x, 1) for x in box]}
            for box, score, label in zip(d.boxes.tolist(), d.scores.tolist(), d.labels.tolist(), strict=True)
            if score > SHOWN
        ]
        for example, d in zip(examples, said, strict=True)
    }


if __name__ == "__main__":
    main()
