"""The commands: `python -m ssdlib doctor | look | train | ...` (see `options`), and `torchrun -m ssdlib train`."""

import argparse
import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ssdlib import anchors, evaluate, files
from ssdlib.cli.doctor import FULL, examine
from ssdlib.cli.options import parser
from ssdlib.cli.show import FOUND, VideoError, draw_run, show
from ssdlib.data import own, store, survey, voc
from ssdlib.data.formats import FormatError
from ssdlib.data.results import oddities, read_results, refused_sets, result_name
from ssdlib.files import CheckpointError
from ssdlib.interop import weights
from ssdlib.interop.onnx import ExportError, export
from ssdlib.interop.published import load_detector, starting_weights
from ssdlib.records import Example
from ssdlib.training import distributed, engine, estimate, inference, memory, threads
from ssdlib.training.memory import OutOfMemory
from ssdlib.training.recipes import scaled
from ssdlib.training.runs import (
    CHECKPOINT,
    RECIPES,
    Diverged,
    RunConfig,
    RunError,
    refuse_fewer_steps,
    refuse_folder,
    refuse_long_names,
)

EXPECTED = (
    voc.VOCError,
    FormatError,
    VideoError,
    ExportError,
    store.StoreError,
    own.TooManyBad,
    evaluate.ResultError,
    weights.WeightsError,
    CheckpointError,
    RunError,
    Diverged,
    OutOfMemory,
    OSError,
)


WORTH_AN_ESTIMATE = 200  # steps; a shorter run isn't worth an estimate


# evaluated unless --sets names others; a run's own sets don't count
SETS = {"test": ["2007-test"], "own": ["test"]}


LESS = {  # what takes less memory
    "train": "take a smaller --batch-size or --width",
    "detect": "name fewer or smaller images, or compute on another --device",
    "evaluate": "compute on another --device",
}

SAME = "trained on and judged; such an AP says nothing about other images"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. -> 0 done, 1 refused or failed (one sentence says why), 2 wrong usage."""
    for stream in (sys.stdout, sys.stderr):  # what they can't show, as names of files, is no reason to end
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    commands = {"doctor": doctor, "look": look, "train": train}
    commands |= {"detect": detect, "evaluate": evaluate_, "export": export_}
    try:
        distributed.use(options.device or "")
        with threads.fixed(getattr(options, "threads", None)):
            commands[options.command](options)
        distributed.stop()
    except EXPECTED as error:
        _complain(f"{type(error).__name__}: {error}")
        return 1
    except NotImplementedError as error:
        if (lacking := distributed.lacking(error)) is None:
            raise
        _complain(lacking)
        return 1
    except (RuntimeError, MemoryError) as error:  # not only in a training step, which knows what would fit
        if not memory.ran_out(error):
            raise
        _complain(
            f"OutOfMemory: {options.command} needs more memory than there is; close other programs that use it, or "
            f"{LESS.get(options.command, 'take a machine with more')}"
        )
        return 1
    except KeyboardInterrupt:
        way_on = "; --resume continues a run from its last checkpoint" if options.command == "train" else ""
        _complain(f"stopped{way_on}")
        return 130
    return 0


def doctor(options: argparse.Namespace) -> None:
    """Print what works, what this machine has, and for everything missing the command that gets it."""
    facts = examine(distributed.start())
    if options.json:
        print(json.dumps(facts, indent=1))
        return
    missing = facts.pop("missing")
    needed = {what: command for what, command in missing.items() if FULL not in what}
    if needed:
        print(f"not ready yet: {', '.join(needed)}")
        for command in needed.values():
            print(f"    {command}")
    else:
        more = (
            "; only the full training on VOC 07+12 needs more (below)"
            if missing
            else ", the full training too"
        )
        print(f"ready for every chapter{more}")
    print()
    for folder, sets in facts.pop("data").items():
        facts[folder] = sets
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{key} {item}" for key, item in value.items()) or "no image lists"
        print(f"{name:<20} {value}")
    for what, command in missing.items():
        if what not in needed:
            print(f"missing: {what}\n    {command}")


def look(options: argparse.Namespace) -> None:
    """Print what a folder holds, what would be left out, and which of its boxes the anchors cover."""
    if not own.is_devkit(options.data):
        found = own.read_folder(options.data, options.classes, options.format, progress)
        print(f"{options.data}: {found}\n")
        examples = list(found.examples)
        if bad := own.undecodable(found, progress):
            print(f"{bad}\n")
        print(survey.advice(examples))
        found.require_trainable()
        return
    classes = tuple(options.classes or voc.CLASSES[1:])
    print(survey.advice(voc.read_sets(Path(options.data), options.sets or SETS["test"], progress, classes)))


def train(options: argparse.Namespace) -> None:
    """Train a run, then print the table and where everything was written."""
    started = time.monotonic()
    device = distributed.start()  # first, because only one of several processes reports
    found = _own(options, options.classes)
    if found:
        found.require_trainable()
        bad = own.bad_of(found)
        if options.skip_bad is None:
            own.within(bad, len(found.examples) + len(bad), own.OWN_SHARE)
    config = _config(options, found)
    out = Path(options.out)
    if both := sorted(set(config.train_sets) & set(config.test_sets)):
        _say(f"{' and '.join(both)}: {SAME}")
    begun, done = _refuse_early(out, config, options.resume or options.estimate)
    initial, source = None, "random weights"
    if options.init and not begun:
        initial, source = starting_weights(options.init, config)
    if begun:
        _say(f"{out}: holds a run already" + (f", so {options.init} isn't read" if options.init else ""))
    else:
        engine.refuse_random_frozen(config, initial)
        _say(f"starting from {source}")
    train_data = _data(options, config.train_sets, config, found)
    test_data = _data(options, config.test_sets, config, found)
    evaluate.refuse_repeated(test_data[0])
    if shared := {e.path for e in train_data[0]} & {e.path for e in test_data[0]} if not both else ():
        _say(f"{len(shared)} of the photographs, first {min(shared)}: {SAME}")  # 2007-val is in 2007-trainval
    _say(f"{len(train_data[0])} photographs to train on, {len(test_data[0])} to test on; writing to {out}")
    precision = inference.precision_on(device, config.precision)
    _say(f"width {config.width:g}, {config.steps} steps of {config.batch_size} images, {precision}")
    if behind := [drop for drop in config.drops if drop >= config.steps]:
        when = " and ".join(map(str, behind))
        _say(f"the learning rate won't drop at {when}: the run ends before; --drops sets other steps")
    if config.width == 1 and initial is None and not begun and not config.batch_norm:
        _say(
            "the paper starts from VGG16's weights (--init), and its learning rate is too high for random ones"
        )
    if options.estimate or (config.steps >= WORTH_AN_ESTIMATE and not begun):
        _estimate(config, train_data, test_data, initial, done)
    if options.estimate:
        return
    bar = tqdm if distributed.is_first() else None
    table = engine.train(config, train_data, test_data, out, options.resume, initial, bar, options.stop_after)
    if table is None:
        _say(f"stopped after step {options.stop_after} as asked; --resume continues")
    elif distributed.is_first():
        print(f"\nAP in percent on {' + '.join(config.test_sets)} after {config.steps} steps\n{table}\n")
        for path in draw_run(out, table, test_data):
            print(f"wrote {path}")
        print(f"devkit files in {out / 'results'}; took {time.monotonic() - started:.0f} s")


def _refuse_early(out: Path, config: RunConfig, goes_on: bool) -> tuple[bool, int]:
    """Whether a run is in the folder, and its step. Raises RunError for what training would refuse, but only after
    all photographs have been decoded."""
    refuse_folder(out, goes_on)
    refuse_long_names(config)
    if not (out / CHECKPOINT).exists():
        return False, 0
    done = files.load_checkpoint(out / CHECKPOINT).get("step", 0)
    refuse_fewer_steps(out, config, done)
    return True, done


def _estimate(
    config: RunConfig,
    train_data: inference.Data,
    test_data: inference.Data,
    initial: dict[str, Tensor] | None,
    done: int = 0,
) -> None:
    """Print how long the run, or what is left of it, will take."""
    if distributed.processes() > 1:
        _say(
            "no estimate, because one of several processes can't take their steps; run train --estimate "
            "in one process"
        )
        return
    pace = estimate.measure(config, train_data, test_data, initial)
    print(estimate.report(config, pace, train_data, test_data, done), flush=True)


def _own(options: argparse.Namespace, classes: Sequence[str] | None = None) -> own.Found | None:
    """Read a folder that isn't a VOCdevkit and print its report; None for a VOCdevkit."""
    if not own.is_own(Path(options.data)):
        return None
    found = own.read_folder(Path(options.data), classes, options.format, progress)
    _say(f"{options.data}: {found}\n")
    return found


def _config(options: argparse.Namespace, found: own.Found | None = None) -> RunConfig:
    """The recipe, scaled if asked; then the fields given as flags, and those that your own folder determines."""
    given = {f.name: getattr(options, f.name) for f in dataclasses.fields(RunConfig)}
    if found:
        brought = {"classes": found.classes, "train_sets": ("train",), "test_sets": ("test",)}
        given |= {k: v for k, v in brought.items() if given[k] is None}
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None}
    recipe = RECIPES[options.recipe]
    if options.scale_to is not None:
        recipe = scaled(recipe, options.scale_to)
    return dataclasses.replace(recipe, **given)


def _data(
    options: argparse.Namespace, sets: Sequence[str], config: RunConfig, found: own.Found | None
) -> inference.Data:
    source = (Path(options.data), sets, config.classes, found)
    place = Path(options.store) if options.store else _beside(Path(options.data), Path(options.out))
    with _naming_skip_bad():
        examples, words = own.read_usable(*source, options.skip_bad, progress)
        if words:
            _say(words)
        if distributed.is_first():
            photographs = store.open_store(place / "+".join(sets), examples, progress)
            if photographs.news:
                _say(photographs.news)
    distributed.wait()
    if not distributed.is_first():
        photographs = store.Store(place / "+".join(sets), examples)
    return examples, photographs


@contextlib.contextmanager
def _naming_skip_bad() -> Iterator[None]:
    """Add to the error about a bad image how to go on without it."""
    try:
        yield
    except (voc.PhotographError, store.BadPhotograph) as error:
        raise type(error)(
            f"{error}; --skip-bad 0.2 leaves such images out, a fifth of all at most"
        ) from error


def _beside(devkit: Path, out: Path) -> Path:
    """Where stores go unless --store says otherwise: beside the devkit, or beside the run if that place is
    read-only."""
    place = store.beside(devkit)
    return place if os.access(place.parent, os.W_OK) else out.with_name(f"{out.name}.store")


def detect(options: argparse.Namespace) -> None:
    """Detect in images, folders and videos; write what was found, and images with the boxes drawn."""
    model, config, kind = load_detector(options.checkpoint, distributed.start())
    _say(f"{options.checkpoint}: {kind}")
    out = Path(options.out)
    found = show(model, config, options.images, out, options.score, not options.json_only, progress)
    pictures = [one["detections"] for one in found if "detections" in one]
    frames = [frame["detections"] for one in found if "frames" in one for frame in one["frames"]]
    total = sum(map(len, pictures + frames))
    where = f"{len(pictures)} images" + (f" and {len(frames)} frames" if frames else "")
    if pictures or frames:
        print(f"{total} detections with a score of {options.score} or more in {where}: {out}")
    for one in found:
        if "note" in one:
            _say(f"{one['image']}: {one['note']}")
        if "error" in one and "file" not in one:
            _say(f"not read: {one['error']}")
    if others := [one["file"] for one in found if "file" in one]:
        _say(f"neither image nor video: {len(others)} files, first {others[0]}")
    if not (pictures or frames):
        raise FormatError(f"{out / FOUND}: none of {len(found)} files could be read; wanted images or videos")


def export_(options: argparse.Namespace) -> None:
    """Write a network as ONNX, and check that the file answers as the network does."""
    model, config, kind = load_detector(options.checkpoint)
    _say(f"{options.checkpoint}: {kind}")
    boxes, scores = export(model, config.classes, Path(options.out))
    print(f"{options.out}: answers as the network does, to {boxes:.1e} px and {scores:.1e} of a score")


def evaluate_(options: argparse.Namespace) -> None:
    """Print the table of AP of devkit result files, or of a checkpoint on a dataset."""
    sets = options.sets or SETS["own" if own.is_own(Path(options.data)) else "test"]
    if options.precision and not options.checkpoint:
        raise RunError("--precision is for --checkpoint; the detections in result files are computed already")
    if options.checkpoint:
        device = distributed.start()
        model, config, kind = load_detector(options.checkpoint, device)
        config = dataclasses.replace(config, precision=options.precision or config.precision)
        _say(f"{options.checkpoint}: {kind}; computes in {inference.precision_on(device, config.precision)}")
    wanted = config.classes if options.checkpoint else options.classes
    found = _own(options, wanted)
    classes = tuple(wanted or (found.classes if found else voc.CLASSES[1:]))
    with _naming_skip_bad():
        everything, words = own.read_usable(
            Path(options.data), sets, classes, found, options.skip_bad, progress
        )
    if words:
        _say(words)
    examples = _only(everything, Path(options.ids)) if options.ids else everything
    evaluate.refuse_repeated(examples)  # before the detection, which takes long
    if options.checkpoint:
        if trouble := refused_sets(sets, classes):
            raise RunError(f"{'--sets' if options.sets else 'the default of --sets'} has {trouble}")
        data, grid = (examples, store.Jpegs(examples)), anchors.default_boxes().to(device)
        folder = Path(options.out) if options.out else _evaluated(Path(options.checkpoint))
        with _naming_skip_bad():
            table = inference.evaluate_on(model, data, grid, config, folder, sets, options.metric)
        _say(f"wrote the development kit's files to {folder}")
    else:
        results = read_results(Path(options.detections), result_name(sets), classes)
        for words in oddities(results):
            _say(words)
        if options.ids:  # an image outside the set is a mistake, one outside the list is left out
            evaluate.evaluate(results, everything, classes=classes)
            results = evaluate.only(results, {e.image_id for e in examples})
        table = evaluate.evaluate(results, examples, options.metric, classes)
    _say(str(table))
    if options.csv and distributed.is_first():
        table.write_csv(options.csv)


def _evaluated(checkpoint: Path) -> Path:
    """Where the development kit's files go unless --out says otherwise: beside the checkpoint or run."""
    named = checkpoint if checkpoint.name.strip(".") else checkpoint.resolve()  # "." and ".." are no names
    return named.with_name(f"{named.name}.evaluated")


def _only(examples: list[Example], path: Path) -> list[Example]:
    """The examples whose ids the file lists."""
    ids = set(voc.read_ids(path))
    unknown = ids - {e.image_id for e in examples}
    if unknown:
        raise voc.VOCError(f"{path}: image {min(unknown)} isn't in the set; {len(unknown)} ids like it")
    return [e for e in examples if e.image_id in ids]


def progress(things: Iterable, disable: bool = False, **words: Any) -> tqdm:
    """tqdm, drawn by the first of several processes alone."""
    return tqdm(things, disable=disable or not distributed.is_first(), **words)


def _say(text: str) -> None:
    if distributed.is_first():
        print(text, flush=True)


def _complain(text: str) -> None:
    """Print to stderr, on a line of its own: an open bar would have no line's end yet."""
    for bar in list(getattr(tqdm, "_instances", ())):  # of tqdm itself, which offers no list of them
        bar.close()
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
