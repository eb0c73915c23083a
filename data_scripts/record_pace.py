"""How long a step of the paper's recipe takes on this machine, by images computed at a time: a recording for chapter
09.

    python data_scripts/record_pace.py --data data/mini/VOCdevkit --out chapters/recordings/pace/cpu.jsonl

A head line (settings, commit, date, device, versions), then a line for each microbatch: seconds and bytes as
`ssdlib.training.estimate` measures them, in a process of its own. The network has random weights, which take as
long as others.
"""

import argparse
import dataclasses
import json
import multiprocessing
from pathlib import Path

from record_run import facts_now
from tqdm import tqdm

from ssdlib.data import store, voc
from ssdlib.training import estimate, runs


def pace(data: Path, config: runs.RunConfig) -> dict:
    """One measurement, in the process that calls."""
    sets = (voc.read_sets(data, names) for names in (config.train_sets, config.test_sets))
    stored = [
        (e, store.open_store(store.beside(data) / "+".join(n), e))
        for n, e in zip((config.train_sets, config.test_sets), sets, strict=True)
    ]
    return {"microbatch": config.microbatch} | dataclasses.asdict(estimate.measure(config, *stored))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="VOCdevkit folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--microbatches", type=int, nargs="+", default=[4, 8, 16, 32])
    options = parser.parse_args()
    paper, lines = runs.RECIPES["paper"], []
    head = {"config": dataclasses.asdict(paper), **facts_now("ssdlib", "data_scripts")}
    for size in tqdm(options.microbatches, unit="size"):
        # a new process, because memory that an earlier measurement gave back wouldn't count as used again
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            lines.append(pool.apply(pace, (options.data, dataclasses.replace(paper, microbatch=size))))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text("".join(json.dumps(line) + "\n" for line in [head, *lines]), "utf-8")


if __name__ == "__main__":
    main()
