"""The doors: `python -m ssdlib doctor | train | detect | evaluate`, and `torchrun -m ssdlib train`."""

import argparse
import dataclasses
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from tqdm import tqdm

from ssdlib import anchors, distributed, engine, evaluate, inference, plots, store, voc, weights
from ssdlib.checkpoint import CheckpointError
from ssdlib.doctor import examine
from ssdlib.options import parser
from ssdlib.published import load_detector
from ssdlib.records import Detections, Example
from ssdlib.runlog import read_log
from ssdlib.runs import RECIPES, Diverged, RunConfig, RunError, load_run

EXPECTED = (
    voc.VOCError,
    store.StoreError,
    evaluate.ResultError,
    weights.WeightsError,
    CheckpointError,
    RunError,
    Diverged,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. -> 0 done, 1 something isn't as it has to be (one sentence said what), 2 wrong usage."""
    options = parser().parse_args(arguments)
    commands = {"doctor": doctor, "train": train, "detect": detect, "evaluate": evaluate_}
    try:
        commands[options.command](options)
        distributed.stop()
    except EXPECTED as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; a run goes on from its last checkpoint with --resume", file=sys.stderr)
        return 130
    return 0


def doctor(options: argparse.Namespace) -> None:
    """Say what is here, and for everything missing the command that gets it."""
    facts = examine()
    if options.json:
        print(json.dumps(facts, indent=1))
        return
    missing = facts.pop("missing")
    for folder, sets in facts.pop("data").items():
        facts[folder] = sets
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items()) or "no image lists"
        print(f"{name:<20} {value}")
    for what, command in missing.items():
        print(f"missing: {what}\n    {command}")


def train(options: argparse.Namespace) -> None:
    """Train a run, then print the table and say where everything was written."""
    config = _config(options)
    started = time.monotonic()
    out = Path(options.out)
    device = distributed.start()
    initial = _vgg16(options.init) if options.init else None
    train_data = _data(options.data, config.train_sets, config, options.store, out)
    test_data = _data(options.data, config.test_sets, config, options.store, out)
    _say(f"{len(train_data[0])} photographs to train on, {len(test_data[0])} to test on; writing to {out}")
    precision = inference.precision_on(device, config.precision)
    _say(f"width {config.width:g}, {config.steps} steps of {config.batch_size} images, {precision}")
    if config.width == 1 and initial is None and not config.batch_norm:
        _say(
            "starting from random weights: the paper starts from VGG16's (--init), and its rate is made for them"
        )
    bar = tqdm if distributed.is_first() else None
    table = engine.train(config, train_data, test_data, out, options.resume, initial, bar, options.stop_after)
    if table is None:
        _say(f"stopped after step {options.stop_after} as asked; --resume goes on")
    elif distributed.is_first():
        print(f"\nAP in percent on {' + '.join(config.test_sets)} after {config.steps} steps\n{table}\n")
        for path in draw_run(out, table, test_data):
            print(f"wrote {path}")
        print(f"devkit files in {out / 'results'}; took {time.monotonic() - started:.0f} s")


def draw_run(out: Path, table: evaluate.Table, data: inference.Data, count: int = 12) -> list[Path]:
    """Loss curve, precision-recall curves, table and a sheet of detections beside the truth, as files."""
    model, config, _ = load_run(out, distributed.start())
    chosen = range(0, len(data[0]), max(1, len(data[0]) // count))[:count]
    few = [data[0][i] for i in chosen], [data[1][i] for i in chosen]
    found = inference.detect_in(model, few[1], config)
    table.write_csv(out / "ap.csv")
    return [
        out / "ap.csv",
        plots.save(plots.loss_curve(read_log(out)), out / "loss.png"),
        plots.save(plots.precision_recall(table), out / "precision_recall.png"),
        plots.save(plots.detections(*few, found, classes=config.classes), out / "detections.png"),
    ]


def _config(options: argparse.Namespace) -> RunConfig:
    """The recipe with those fields replaced that were given as flags."""
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(RunConfig)}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    return dataclasses.replace(RECIPES[options.recipe], **given)


def _vgg16(path: str) -> dict[str, Tensor]:
    """State to start from; whatever is wrong with the file, its name is said."""
    state = weights.read_file(Path(path))
    try:
        return weights.from_vgg16(state)
    except weights.WeightsError as error:
        raise weights.WeightsError(f"{path}: {error}") from None


def _data(
    devkit: str, sets: Sequence[str], config: RunConfig, folder: str | None, out: Path
) -> inference.Data:
    examples = voc.read_sets(Path(devkit), sets, tqdm, config.classes)
    place = Path(folder) if folder else _beside(Path(devkit), out)
    if distributed.is_first():
        photographs = store.open_store(place / "+".join(sets), examples, tqdm)
    distributed.wait()
    if not distributed.is_first():
        photographs = store.Store(place / "+".join(sets), examples)
    return examples, photographs


def _beside(devkit: Path, out: Path) -> Path:
    """Where stores go unless told: beside the devkit, or beside the run if that place is read-only."""
    place = store.beside(devkit)
    return place if os.access(place.parent, os.W_OK) else out.with_name(f"{out.name}.store")


def detect(options: argparse.Namespace) -> None:
    """Detect in pictures: one PNG with boxes for each, and all detections in detections.json."""
    model, config, kind = load_detector(options.checkpoint, distributed.start())
    _say(f"{options.checkpoint}: {kind}")
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    everything = []
    for path in tqdm(options.images, desc="detecting", unit="image", disable=len(options.images) < 2):
        photograph = voc.read_photograph(Path(path), upright=True)
        [found] = inference.detect_in(model, [photograph], config)
        found = found.above(options.score)
        # numbered: two folders may hold pictures of one name
        picture = out / f"{len(everything):04d}_{Path(path).stem}.png"
        plots.save(plots.picture(photograph, found, config.classes), picture)
        everything.append(
            {"image": str(path), "picture": picture.name, "detections": _rows(found, config.classes)}
        )
    (out / "detections.json").write_text(json.dumps(everything, indent=1) + "\n")
    total = sum(len(one["detections"]) for one in everything)
    print(f"{total} detections with a score of {options.score} or more in {len(everything)} pictures: {out}")


def evaluate_(options: argparse.Namespace) -> None:
    """Print the table of AP of devkit result files, or of a checkpoint on a data set."""
    everything = voc.read_sets(Path(options.data), options.sets, tqdm)
    examples = _only(everything, Path(options.ids)) if options.ids else everything
    if options.checkpoint:
        device = distributed.start()
        model, config, kind = load_detector(options.checkpoint, device)
        _say(f"{options.checkpoint}: {kind}")
        data, grid = (examples, store.Jpegs(examples)), anchors.default_boxes().to(device)
        folder = Path(options.out or f"{str(options.checkpoint).rstrip('/')}.evaluated")
        table = inference.evaluate_on(model, data, grid, config, folder, options.sets, options.metric)
        _say(f"wrote the development kit's files to {folder}")
    else:
        results = evaluate.read_results(Path(options.detections), evaluate.result_name(options.sets))
        if options.ids:  # an image outside the set is a mistake, one outside the list is left out
            evaluate.evaluate(results, everything)
            results = evaluate.only(results, {e.image_id for e in examples})
        table = evaluate.evaluate(results, examples, options.metric)
    _say(str(table))
    if options.csv and distributed.is_first():
        table.write_csv(options.csv)


def _only(examples: list[Example], path: Path) -> list[Example]:
    """The examples whose ids the file lists."""
    try:
        ids = set(path.read_text().split())
    except OSError as error:
        raise voc.VOCError(f"{path}: {error.strerror}; wanted one image id a line") from None
    unknown = ids - {e.image_id for e in examples}
    if not ids:
        raise voc.VOCError(f"{path}: empty; wanted one image id a line")
    if unknown:
        raise voc.VOCError(f"{path}: image {min(unknown)} isn't in the set; {len(unknown)} ids like it")
    return [e for e in examples if e.image_id in ids]


def _rows(found: Detections, classes: Sequence[str]) -> list[dict]:
    columns = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"class": classes[label - 1], "score": round(score, 6), "box": [round(x, 2) for x in box]}
        for label, score, box in columns
    ]


def _say(text: str) -> None:
    if distributed.is_first():
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
