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

from ssdlib import anchors, distributed, engine, evaluate, plots, store, voc, weights
from ssdlib.checkpoint import CheckpointError
from ssdlib.doctor import MINI, examine
from ssdlib.records import Detections, Example
from ssdlib.runlog import read_log
from ssdlib.runs import RECIPES, RESULTS, Diverged, RunConfig, RunError, load_run

EXPECTED = (
    voc.VOCError,
    store.StoreError,
    evaluate.ResultError,
    weights.WeightsError,
    CheckpointError,
    RunError,
    Diverged,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. -> 0 done, 1 something isn't as it has to be (one sentence said what), 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except EXPECTED as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; a run goes on from its last checkpoint with --resume", file=sys.stderr)
        return 130
    finally:
        distributed.stop()
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
    distributed.start()
    initial = _vgg16(options.init) if options.init else None
    train_data = _data(options.data, config.train_sets, options.store, out)
    test_data = _data(options.data, config.test_sets, options.store, out)
    _say(f"{len(train_data[0])} photographs to train on, {len(test_data[0])} to test on; writing to {out}")
    bar = tqdm if distributed.is_first() else None
    table = engine.train(config, train_data, test_data, out, options.resume, initial, bar, options.stop_after)
    if table is None:
        _say(f"stopped after step {options.stop_after} as asked; --resume goes on")
    elif distributed.is_first():
        print(f"\nAP in percent on {' + '.join(config.test_sets)} after {config.steps} steps\n{table}\n")
        for path in draw_run(out, table, test_data):
            print(f"wrote {path}")
        print(f"devkit files in {out / 'results'}; took {time.monotonic() - started:.0f} s")


def draw_run(out: Path, table: evaluate.Table, data: engine.Data, count: int = 12) -> list[Path]:
    """Loss curve, precision-recall curves, table and a sheet of detections beside the truth, as files."""
    model, config, _ = load_run(out)
    chosen = range(0, len(data[0]), max(1, len(data[0]) // count))[:count]
    few = [data[0][i] for i in chosen], [data[1][i] for i in chosen]
    found = engine.detect_all(model, few, anchors.default_boxes(), config)
    table.write_csv(out / "ap.csv")
    return [
        out / "ap.csv",
        plots.save(plots.loss_curve(read_log(out)), out / "loss.png"),
        plots.save(plots.precision_recall(table), out / "precision_recall.png"),
        plots.save(plots.detections(*few, found), out / "detections.png"),
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


def _data(devkit: str, sets: Sequence[str], folder: str | None, out: Path) -> engine.Data:
    examples = voc.read_sets(Path(devkit), sets, tqdm)
    place = Path(folder) if folder else _beside(Path(devkit), out)
    if distributed.is_first():
        photographs = store.open_store(place / "+".join(sets), examples, tqdm)
    distributed.wait()
    if not distributed.is_first():
        photographs = store.Store(place / "+".join(sets), examples)
    return examples, photographs


def _beside(devkit: Path, out: Path) -> Path:
    """Where stores go unless told: beside the devkit, or beside the run if that place is read-only."""
    parent = devkit.resolve().parent
    return (
        parent / f"{devkit.name}.store" if os.access(parent, os.W_OK) else out.with_name(f"{out.name}.store")
    )


def detect(options: argparse.Namespace) -> None:
    """Detect in pictures: one PNG with boxes for each, and all detections in detections.json."""
    model, config, _ = load_run(options.checkpoint)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    everything = []
    for path in tqdm(options.images, desc="detecting", unit="image", disable=len(options.images) < 2):
        photograph = voc.read_photograph(Path(path))
        [found] = engine.detect_in(model, [photograph], config)
        found = found.above(options.score)
        picture = (
            out / f"{len(everything):04d}_{Path(path).stem}.png"
        )  # numbered: two folders may share names
        plots.save(plots.picture(photograph, found), picture)
        everything.append({"image": str(path), "picture": picture.name, "detections": _rows(found)})
    (out / "detections.json").write_text(json.dumps(everything, indent=1) + "\n")
    total = sum(len(one["detections"]) for one in everything)
    print(f"{total} detections with a score of {options.score} or more in {len(everything)} pictures: {out}")


def evaluate_(options: argparse.Namespace) -> None:
    """Print the table of AP of devkit result files, or of a checkpoint on a data set."""
    examples = voc.read_sets(Path(options.data), options.sets, tqdm)
    if options.ids:
        examples = _only(examples, Path(options.ids))
    name = evaluate.result_name(options.sets)
    if options.checkpoint:
        model, config, _ = load_run(options.checkpoint, distributed.start())
        data = (examples, store.Jpegs(examples))
        found = engine.detect_all(model, data, anchors.default_boxes().to(distributed.start()), config)
        results = evaluate.collect([e.image_id for e in examples], found)
        folder = Path(options.out or Path(options.checkpoint) / RESULTS)
        evaluate.write_results(folder, name, results)
        print(f"wrote the devkit's files to {folder}")
    else:
        results = evaluate.read_results(Path(options.detections), name)
    table = evaluate.evaluate(results, examples, options.metric)
    print(table)
    if options.csv:
        table.write_csv(options.csv)


# ---- the words on the command line -----------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ssdlib", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")

    command = commands.add_parser("doctor", help=doctor.__doc__)
    command.set_defaults(run=doctor)
    command.add_argument("--json", action="store_true", help="the same as JSON")

    command = commands.add_parser("train", help=train.__doc__)
    command.set_defaults(run=train)
    command.add_argument("--data", default=str(MINI), help="VOCdevkit folder (default: %(default)s)")
    command.add_argument("--out", required=True, metavar="RUN", help="folder of the run")
    command.add_argument(
        "--recipe", choices=RECIPES, default="paper", help="where the defaults below come from"
    )
    command.add_argument("--resume", action="store_true", help="go on with the run that is in RUN, if any")
    command.add_argument(
        "--init",
        metavar="FILE",
        help="VGG16 weights to start from (.pth); default: random, for which the rate of the paper is too high",
    )
    command.add_argument("--store", metavar="DIR", help="decoded photographs (default: beside the data)")
    command.add_argument("--stop-after", type=int, metavar="STEP", help="end this session there")
    _add_config(command.add_argument_group("settings of the run, with those of the recipe paper as default"))

    command = commands.add_parser("detect", help=detect.__doc__)
    command.set_defaults(run=detect)
    command.add_argument("--checkpoint", required=True, metavar="RUN", help="run folder or checkpoint file")
    command.add_argument("--out", required=True, metavar="DIR", help="where pictures and detections.json go")
    command.add_argument("--score", type=float, default=0.5, help="least score shown (default: %(default)s)")
    command.add_argument("images", nargs="+", metavar="IMAGE")

    command = commands.add_parser("evaluate", help=evaluate_.__doc__)
    command.set_defaults(run=evaluate_)
    source = command.add_mutually_exclusive_group(required=True)
    source.add_argument("--detections", metavar="DIR", help="folder of comp4_det_<set>_<class>.txt files")
    source.add_argument("--checkpoint", metavar="RUN", help="run folder or checkpoint file to detect with")
    command.add_argument("--data", default=str(MINI), help="VOCdevkit folder (default: %(default)s)")
    command.add_argument("--sets", nargs="+", default=["2007-test"], help="default: 2007-test")
    command.add_argument("--ids", metavar="FILE", help="judge only the images listed there, one id a line")
    command.add_argument("--metric", choices=evaluate.METRICS, default="11point", help="default: %(default)s")
    command.add_argument("--csv", metavar="FILE", help="write class,ap rows there")
    command.add_argument("--out", metavar="DIR", help="with --checkpoint: where the devkit's files go")
    return parser


def _add_config(group: argparse._ArgumentGroup) -> None:
    """A flag for every field of RunConfig."""
    for field in dataclasses.fields(RunConfig):
        flag = "--" + field.name.replace("_", "-")
        shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else field.default
        kwargs: dict = {"default": None, "dest": field.name, "help": f"default: {shown}"}
        if isinstance(field.default, bool):
            kwargs["action"] = argparse.BooleanOptionalAction
        elif isinstance(field.default, tuple):
            kwargs |= {"nargs": "*", "type": type(field.default[0])}
        else:
            kwargs["type"] = type(field.default)
        group.add_argument(flag, **kwargs)


def _only(examples: list[Example], path: Path) -> list[Example]:
    """The examples whose ids the file lists."""
    try:
        ids = set(path.read_text().split())
    except OSError as error:
        raise voc.VOCError(f"{path}: {error.strerror}; wanted one image id a line") from None
    unknown = ids - {e.image_id for e in examples}
    if unknown:
        raise voc.VOCError(f"{path}: image {min(unknown)} isn't in the set; {len(unknown)} ids like it")
    return [e for e in examples if e.image_id in ids]


def _rows(found: Detections) -> list[dict]:
    columns = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
    return [
        {"class": voc.CLASSES[label], "score": round(score, 6), "box": [round(x, 2) for x in box]}
        for label, score, box in columns
    ]


def _say(text: str) -> None:
    if distributed.is_first():
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
