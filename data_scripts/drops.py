"""Train with the learning rate dropped early, late, never: recordings for chapter 08.

    python data_scripts/drops.py --out runs/drops

All schedules share one trunk, the mini recipe at a constant learning rate. Each branches at its first drop, with the
weights, the momentum and the batches of that step, so that only the learning rate differs. The cosine has its own
start.
Every schedule is one file NAME.jsonl: a head line (settings, commit, date, device, versions), a line a step
[step, localisation, confidence], validation losses every 100 steps, mAP at the end. Complete files are skipped, so
the command can be stopped and repeated. Nothing is edited afterwards.
"""

import argparse
import dataclasses
import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from record_run import ROOT, facts_now
from restarts import short
from tqdm import tqdm

from ssdlib.data import voc
from ssdlib.data.store import Jpegs, open_store
from ssdlib.training import engine, inference
from ssdlib.training.runs import RECIPES

STEPS, SEED, VALIDATE_EVERY, VALIDATION_SCENES = 2500, 0, 100, 96

# first drop, second drop; the last two are the paper's 80k and 100k of 120k, and ssd_keras's 56k and 76k of 102k
DROPS = {
    "never": (),
    "at_500": (500,),
    "at_1000": (1000,),
    "at_1500": (1500,),
    "at_2000": (2000,),
    "paper": (1667, 2083),
    "seed": (1373, 1863),
}


def constant_until(*drops: int) -> Callable[[int], float]:
    """The recipe's learning rate after its warm-up, a tenth of it after each drop."""
    config = dataclasses.replace(RECIPES["mini"], drops=drops)
    return lambda step: engine.learning_rate(config, step)


def cosine(step: int) -> float:
    """The recipe's warm-up, then half a cosine down to 0."""
    config = dataclasses.replace(RECIPES["mini"], drops=())
    done = max(0.0, (step - config.warmup) / (STEPS - config.warmup))
    return engine.learning_rate(config, step) * 0.5 * (1 + math.cos(math.pi * done))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=ROOT / "data/mini/VOCdevkit")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--schedules", nargs="+", choices=[*DROPS, "cosine"], default=[*DROPS, "cosine"])
    options = parser.parse_args()
    config = dataclasses.replace(RECIPES["mini"], steps=STEPS, drops=(), seed=options.seed)
    facts = facts_now("data_scripts/drops.py")
    facts["precision"] = inference.precision_on(torch.device("cpu"), config.precision)
    examples = voc.read_sets(options.data, config.train_sets)
    store = options.data.parent / f"{options.data.name}.store" / "+".join(config.train_sets)
    test = voc.read_sets(options.data, config.test_sets)
    data = (examples, open_store(store, examples)), (test, Jpegs(test))
    options.out.mkdir(parents=True, exist_ok=True)

    # the trunk first: it leaves a checkpoint at every first drop
    for name in tqdm(options.schedules, unit="schedule"):
        drops = DROPS.get(name, ())
        settings = {
            "schedule": name,
            "drops": drops,
            "seed": options.seed,
            "config": dataclasses.asdict(config),
        }
        begin = drops[0] if drops else 0
        rate = cosine if name == "cosine" else constant_until(*drops)
        run(options.out, name, config, rate, begin, settings | facts, data)


def run(
    out: Path, name: str, config: object, rate: Callable[[int], float], begin: int, head: dict, data: tuple
) -> None:
    """One schedule from step `begin` to the end, into NAME.jsonl."""
    path = out / f"{name}.jsonl"
    if path.exists():
        return
    train, test = data
    model, optimizer, anchors = engine.build(config, torch.device("cpu"))
    if begin:
        state = torch.load(out / f"trunk-{begin}.pt", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    maker = engine.batch_maker(config, train, torch.device("cpu"))
    leave = {drops[0] for drops in DROPS.values() if drops} if name == "never" else set()
    few = test[0][:VALIDATION_SCENES], Jpegs(test[0][:VALIDATION_SCENES])
    part = path.with_suffix(".part")
    with part.open("w") as file:
        print(json.dumps(head | {"begin": begin}), file=file)
        for step in tqdm(range(begin, config.steps), desc=name, leave=False):
            if step in leave:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state, out / f"trunk-{step}.pt")
            losses = engine.update(model, optimizer, maker(step), anchors, rate(step), config)
            row = [step, short(losses.localisation), short(losses.confidence)]
            print(json.dumps(row, separators=(",", ":")), file=file, flush=True)
            if (step + 1) % VALIDATE_EVERY == 0 or step + 1 == begin + 10:
                found = inference.validation_loss(model, few, anchors, config)
                line = {"step": step + 1, "rate": rate(step)} | {k: short(v) for k, v in found.items()}
                print(json.dumps(line), file=file, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            table = inference.evaluate_on(model, test, anchors, config, Path(folder))
        print(json.dumps({"step": config.steps, "map": short(table.mean)}), file=file)
    os.replace(part, path)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
