"""Train with a famous mistake in one block, and with none: the recordings of the detective exercises in chapter 13.

    python data_scripts/detectives.py runs/detectives chapters/recordings/capstone

`right` is the mini recipe, shortened to 800 steps as in the course's tests; `not_mirrored` is stopped at 200 of them,
`not_permuted` at 120, `argmax` at 60. `spike` and `one_maximum` are 40 steps without batch norm and warm-up, at the
learning rate of the paper, from a random seed whose loss climbs to hundreds in its second step (chapter 07, arm
"pixels"). The other blocks are the reference solutions. What is finished is skipped.
"""

import argparse
import dataclasses
from pathlib import Path

from record_run import record

from course.capstone import mine
from course.capstone.swapping import swapped
from course.capstone.wrong import CULPRITS
from course.kit import pictures
from course.training.job import SHORT
from ssdlib.data import store, voc
from ssdlib.training import engine, recipes, runs

MINI = recipes.RECIPES["mini"]
SHORTER = dataclasses.replace(MINI, **SHORT)
SPIKE = dataclasses.replace(
    MINI,
    batch_norm=False,
    learning_rate=1e-3,
    warmup=0,
    steps=150,
    drops=(),
    val_every=0,
    log_every=1,
    precision="float32",
    seed=5,
)
RUNS = {  # settings, and the step at which the run is stopped
    "spike": (SPIKE, 40),
    "one_maximum": (SPIKE, 40),
    "not_mirrored": (SHORTER, 200),
    "not_permuted": (SHORTER, 120),
    "argmax": (SHORTER, 60),
    "right": (SHORTER, SHORTER.steps),
}


def main(work: Path, out: Path, only: list[str]) -> None:
    devkit = pictures.mini_voc()
    train, test = (voc.read_sets(devkit, sets) for sets in (MINI.train_sets, MINI.test_sets))
    data = [
        (examples, store.open_store(store.beside(devkit) / name, examples))
        for examples, name in ((train, "+".join(MINI.train_sets)), (test, "+".join(MINI.test_sets)))
    ]
    for name in only or RUNS:
        if (out / name / "recording.json").exists():
            continue
        wrong = dict(CULPRITS[name].replaces) if name in CULPRITS else {}
        note = (
            f"reference solutions in all blocks, {next(iter(wrong))} replaced"
            if wrong
            else "reference solutions"
        )
        with swapped(mine.reference() | wrong):
            try:
                config, last = RUNS[name]
                engine.train(config, *data, work / name, resume=True, stop_after=last)
            except runs.Diverged as error:
                note = f"{note}; {str(error).partition(': ')[2]}"
        print(name, record(work / name, out / name, log_only=True, note=note)["seconds"], flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="where the runs are")
    parser.add_argument("out", type=Path, help="where the recordings are put")
    parser.add_argument("--only", nargs="*", default=[], choices=RUNS)
    options = parser.parse_args()
    main(options.work, options.out, options.only)
