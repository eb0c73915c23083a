"""Record the runs that chapter 13 shows: one of 2,500 steps with all solutions, and the detectives' cases.

    python data_scripts/record_capstone.py runs/capstone chapters/recordings/capstone --only whole

records the run of the mini recipe (2,500 steps) with the solutions of all sixteen building blocks in the library's
places, and its AP by the solutions' evaluation: chapter 13 shows it beside the library's own run as soon as
`chapters/recordings/capstone/whole` is there. By estimate it takes about eight minutes of a quiet core, one of them
for the evaluation, in which the solutions suppress boxes in a loop. A run that was stopped resumes from its last
checkpoint. Each recording keeps settings (with the random seed), log, device, date, commit and versions; commit
first, because a recording has to name the code that ran.

The cases: `right` is the mini recipe, shortened to 800 steps as in the course's tests; `not_mirrored` is stopped at
200 of them, `not_permuted` at 120, `argmax` at 60. `spike` and `one_maximum` are 40 steps without batch norm and
warm-up, at the learning rate of the paper, from a random seed whose loss climbs to hundreds in its second step
(chapter 07, arm "pixels"). Where a case has a mistake, one block has it and the others are the solutions. What is
recorded already is skipped; remove its folder to record it again.

    python data_scripts/record_capstone.py runs/capstone chapters/recordings/capstone --to-the-end \\
        --only not_permuted not_mirrored argmax

doesn't stop these three cases, so that their recordings hold an AP by class, which the chapter then shows in a table
beside that of `right`; by estimate about five minutes each. `one_maximum` has no AP, because its run diverges.

    python data_scripts/record_capstone.py runs/capstone chapters/recordings/capstone --opening

detects with the network of the run `whole` in the scene of chapter 00, with the solutions in the library's places,
and writes `whole/opening.json`, from which chapter 13 draws its first figure. It takes some seconds, needs the
checkpoint of that run, and refuses a run whose log isn't the recorded one.

`--steps 4` tries the way out in a few steps; with COURSE_SHORT=1 in the environment it is judged in a few scenes.
"""

import argparse
import dataclasses
import json
from pathlib import Path

from record_run import facts_now, git, record

from course.capstone import mine, run
from course.capstone.swapping import swapped
from course.capstone.wrong import CULPRITS
from course.kit import opening
from course.training.job import SHORT
from ssdlib.data import voc
from ssdlib.training import engine, inference, recipes, runs
from ssdlib.training.runlog import LOG

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
SCORE = 0.1  # of the detections that are kept of the scene of chapter 00
RUNS = {  # settings, and the step at which the run is stopped
    "spike": (SPIKE, 40),
    "one_maximum": (SPIKE, 40),
    "not_mirrored": (SHORTER, 200),
    "not_permuted": (SHORTER, 120),
    "argmax": (SHORTER, 60),
    "right": (SHORTER, SHORTER.steps),
    "whole": (MINI, MINI.steps),
}


def main(work: Path, out: Path, only: list[str], steps: int, to_the_end: bool) -> None:
    if changed := git("status", "--porcelain", "ssdlib", "course/capstone"):
        raise SystemExit(f"uncommitted changes; commit first, or the recording names other code:\n{changed}")
    data = run.mini_data()
    for name in only or RUNS:
        if (out / name / "recording.json").exists():
            print(f"{out / name} is there already: skipped")
            continue
        config, last = RUNS[name]
        if steps:
            config, last = few(config, steps), steps
        elif to_the_end:
            last = config.steps
        wrong = dict(CULPRITS[name].replaces) if name in CULPRITS else {}
        note = (
            f"reference solutions in all blocks, {next(iter(wrong))} replaced"
            if wrong
            else "reference solutions"
        )
        with swapped(mine.reference() | wrong):
            try:
                engine.train(config, *data, work / name, resume=True, stop_after=last)
            except runs.Diverged as error:
                note = f"{note}; {str(error).partition(': ')[2]}"
        facts = record(work / name, out / name, log_only=True, note=note)
        print(f"{out / name}: {facts['seconds']:.0f} s on {facts['device']}", flush=True)


def record_opening(work: Path, out: Path) -> None:
    """What the network of a recorded run detects in the scene of chapter 00 with the solutions: `opening.json`."""
    facts = facts_now("course/capstone")
    if (work / LOG).read_bytes() != (out / LOG).read_bytes():
        raise SystemExit(f"{work}: its log isn't the one in {out}; wanted the run that was recorded")
    with swapped(mine.reference()):
        network, config, step = runs.load_run(work)
        photograph = voc.read_photograph(opening.example().path)
        [found] = inference.detect_in(network, [photograph], config)
    best = found.above(SCORE)
    boxes = [[round(side, 2) for side in box] for box in best.boxes.tolist()]
    scores = [round(score, 4) for score in best.scores.tolist()]
    facts |= {"step": step, "labels": best.labels.tolist(), "scores": scores, "boxes": boxes}
    (out / "opening.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    print(f"{out / 'opening.json'}: {len(scores)} detections above {SCORE}")


def few(config: runs.RunConfig, steps: int) -> runs.RunConfig:
    """The same settings for a trial of a few steps."""
    drops = tuple(sorted({steps * 3 // 4, steps * 9 // 10} - {0, steps}))
    return dataclasses.replace(config, steps=steps, drops=drops, warmup=steps // 4, val_every=0, log_every=1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path, help="where the runs are")
    parser.add_argument("out", type=Path, help="where the recordings are put")
    parser.add_argument("--only", nargs="*", default=[], choices=RUNS)
    parser.add_argument("--to-the-end", action="store_true", help="stop no case before it has an AP")
    parser.add_argument("--steps", type=int, default=0, help="try it out with so many steps")
    parser.add_argument(
        "--opening", action="store_true", help="detect in the scene of chapter 00, no training"
    )
    options = parser.parse_args()
    if options.opening:
        record_opening(options.work / "whole", options.out / "whole")
    else:
        main(options.work, options.out, options.only, options.steps, options.to_the_end)
