"""The run that the learner's functions are trained in: its settings, its folder, its data."""

import dataclasses
import hashlib
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from course.kit import pictures, places
from course.training.job import SHORT
from ssdlib.data import store, voc
from ssdlib.training.inference import Data
from ssdlib.training.recipes import RECIPES, RunConfig

# The course's own tests train for as long as it takes to see that it goes on, and judge in a few scenes; a page that
# is nobody's trains a third as long as the mini recipe (SHORT)
TESTED, TESTED_SCENES = dict(steps=8, drops=(5, 7), warmup=2, val_every=0), 12


@dataclass(frozen=True)
class Job:
    """A training with some blocks of the learner's: which, by which settings, where to."""

    names: tuple[str, ...]
    config: RunConfig
    out: Path


def job(functions: Mapping[str, Callable], names: Sequence[str]) -> Job:
    """The mini recipe with the named blocks. Its folder is named after the functions: whoever changes one trains
    anew, and the earlier run stays."""
    config = RECIPES["mini"]
    if "COURSE_SHORT" in os.environ:
        config = dataclasses.replace(config, **TESTED)
    elif places.page_home() is None:
        config = dataclasses.replace(config, **SHORT)
    state = hashlib.sha256(repr((tuple(names), config.steps)).encode())
    for name in sorted(functions):
        state.update(_text(functions[name]).encode())
    return Job(tuple(names), config, places.runs_folder() / "my_ssd" / state.hexdigest()[:8])


def _text(function: Callable) -> str:
    try:
        return inspect.getsource(function)
    except OSError:
        return function.__code__.co_code.hex()


def mini_data() -> tuple[Data, Data]:
    """The mini VOC to train on and to be judged on, decoded once."""
    devkit, config = pictures.mini_voc(), RECIPES["mini"]

    def load(sets: Sequence[str]) -> Data:
        examples = voc.read_sets(devkit, sets)
        return examples, store.open_store(store.beside(devkit) / "+".join(sets), examples)

    train, test = load(config.train_sets), load(config.test_sets)
    if "COURSE_SHORT" in os.environ:
        few = test[0][:TESTED_SCENES]
        test = few, store.Jpegs(few)
    return train, test
