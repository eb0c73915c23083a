"""Largest curvature of the loss along some starts of `restarts.py`: a recording for chapter 07.

    python data_scripts/curvature.py --out runs/curvature

Every start is one file ARM-SEED.jsonl: a head line (settings, commit, date, device, versions), then a line for each
step looked at: the largest curvature of the loss of that step's batch in the direction in which it is largest, the
learning rate of the step and the loss. Complete files are skipped, so the command can be stopped and repeated.
Nothing is edited afterwards.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

import torch
from record_run import facts_now
from restarts import ARMS, config_of, short
from tqdm import tqdm

from course.instability import curvature, watched_start
from ssdlib.loss import multibox_loss
from ssdlib.training.runs import RunConfig

STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200, 250)
ROUNDS = 12  # of power iteration: 5 and 20 rounds differ by five percent at step 0


def along(config: RunConfig, title: str) -> list[dict]:
    """Train as `restarts.start` does and measure the curvature before some of the steps. Ends when the loss isn't
    finite."""
    training, rows = watched_start.Beginning(config), []
    for step in tqdm(range(max(STEPS) + 1), desc=title, leave=False):
        batch, targets = training.batch(step)
        training.optimizer.zero_grad(set_to_none=True)
        loss = multibox_loss(training.model(batch.images), targets).multibox
        if not loss.isfinite():
            return rows
        rate = training.set_rate(step)
        if step in STEPS:
            value, parts = curvature.of_network(training.model, batch, targets, training.factors, ROUNDS)
            most = max(parts, key=parts.get)
            row = {"step": step, "rate": rate, "loss": short(loss), "curvature": short(value)}
            rows.append(row | {"most": most, "share": short(parts[most])})
        training.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        training.optimizer.step()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--arms", nargs="+", choices=("paper", "safe", "edge", "beyond"), default=["paper", "edge"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    facts = facts_now("course", "data_scripts")
    options.out.mkdir(parents=True, exist_ok=True)
    todo = [(name, seed) for seed in range(options.seeds) for name in options.arms]
    for name, seed in tqdm(todo, unit="start"):
        path = options.out / f"{name}-{seed}.jsonl"
        if path.exists():
            continue
        config = config_of(ARMS[name], seed, 8)
        head = {"arm": name, "seed": seed, "rounds": ROUNDS, "config": dataclasses.asdict(config)}
        lines = [head | facts, *along(config, f"{name} {seed}")]
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        os.replace(part, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
