"""Largest curvature of the loss along some starts of `restarts.py`: a recording for chapter 07.

    python data_scripts/curvature.py --out runs/curvature

Every start is one file ARM-SEED.jsonl: a head line (settings, commit, date, device, versions), then a line for each
step looked at: the largest curvature of the loss of that step's batch in the direction of steepest bending, the rate
of the step and the loss. Complete files are skipped, so the command can be stopped and given again. Nothing is
edited afterwards.
"""

import argparse
import dataclasses
import json
import os
from pathlib import Path

import torch
from restarts import ARMS, PIXEL_DEVIATION, ROOT, config_of, data_of, facts_now, short
from tqdm import tqdm

from course import curvature
from ssdlib import engine
from ssdlib.loss import multibox_loss
from ssdlib.matching import make_targets

STEPS = (0, 1, 2, 3, 5, 8, 12, 20, 30, 40, 50, 60, 80, 100, 120, 140, 160, 180, 200, 250)
ROUNDS = 12  # of power iteration: 5 and 20 rounds differ by five percent at step 0


def along(name: str, seed: int, data: tuple) -> list[dict]:
    """Train as `restarts.start` does and look at the curvature before some of the steps. Ends where the loss does."""
    arm = ARMS[name]
    config = config_of(arm, seed, 8)
    model, optimizer, anchors = engine.build(config, torch.device("cpu"))
    with torch.no_grad():
        next(iter(model.body.values()))[0].weight.mul_(PIXEL_DEVIATION)
    maker = engine.batch_maker(config, data, torch.device("cpu"))
    factor = {id(p): g["rate_factor"] for g in optimizer.param_groups for p in g["params"]}
    factors = [factor[id(p)] for p in model.parameters()]
    rows = []
    for step in tqdm(range(max(STEPS) + 1), desc=f"{name} {seed}", leave=False):
        batch = maker(step)
        images = (batch.images / PIXEL_DEVIATION).contiguous(memory_format=torch.channels_last)
        batch = dataclasses.replace(batch, images=images)
        targets = make_targets(batch.boxes, batch.labels, anchors)
        optimizer.zero_grad(set_to_none=True)
        loss = multibox_loss(model(batch.images), targets).multibox
        if not loss.isfinite():
            return rows
        rate = engine.learning_rate(config, step)
        if step in STEPS:
            value, parts = curvature.of_network(model, batch, targets, factors, ROUNDS)
            most = max(parts, key=parts.get)
            row = {"step": step, "rate": rate, "loss": short(loss), "curvature": short(value)}
            rows.append(row | {"most": most, "share": short(parts[most])})
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = rate * group["rate_factor"]
        optimizer.step()
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT / "data/mini/VOCdevkit")
    parser.add_argument(
        "--arms", nargs="+", choices=("paper", "safe", "edge", "beyond"), default=["paper", "edge"]
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    facts = facts_now("course/curvature.py", "data_scripts/curvature.py")
    data, _ = data_of(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    todo = [(name, seed) for seed in range(options.seeds) for name in options.arms]
    for name, seed in tqdm(todo, unit="start"):
        path = options.out / f"{name}-{seed}.jsonl"
        if path.exists():
            continue
        head = {
            "arm": name,
            "seed": seed,
            "rounds": ROUNDS,
            "config": dataclasses.asdict(config_of(ARMS[name], seed, 8)),
        }
        lines = [head | facts, *along(name, seed, data)]
        part = path.with_suffix(".part")
        part.write_text("".join(json.dumps(line) + "\n" for line in lines))
        os.replace(part, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
