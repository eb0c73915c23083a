"""Fine-tune on the zoo with more and less of the body frozen, and write down what that costs, for chapter 12.

    python data_scripts/freezing.py --out runs/freezing.jsonl

Chapter 12's own training: from the recorded network of the mini VOC, with several random seeds. The file has a head
line (settings, commit, date, device, versions), then one line for each training: the layer up to which the body was
frozen ("" = none), the random seed, mAP on the zoo's test part, seconds of CPU time that an update took (median), and
the multiplications and additions of one update. Trainings that are in the file are skipped, so the command can be
stopped and repeated. Nothing is edited afterwards.

It measures CPU time of one thread instead of wall-clock time, because other programs may run at the same time. The
ways to freeze take turns, so that anything that slows the machine down slows all of them.
"""

import argparse
import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
from record_run import facts_now
from restarts import short
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from course.own_images import example_datasets
from ssdlib.data import own
from ssdlib.training import engine, inference
from ssdlib.training.runs import RunConfig

STEPS, SEEDS, LAYERS = 80, 3, ("", "conv3_3", "conv5_3")
CPU = torch.device("cpu")


def trained(config: RunConfig, data: inference.Data, test: inference.Data) -> dict[str, float]:
    """One training from the mini network. -> mAP, seconds of CPU time of an update, operations of an update."""
    state, _ = example_datasets.started(config)
    engine.refuse_random_frozen(config, state)
    model, optimizer, anchors = engine.build(config, CPU, state)
    maker, seconds = engine.batch_maker(config, data, CPU), []
    for step in range(config.steps):
        batch, rate = maker(step), engine.learning_rate(config, step)
        counter = FlopCounterMode(display=False)
        begun = time.process_time()
        if step == 0:
            with counter:
                engine.update(model, optimizer, batch, anchors, rate, config)
            operations = counter.get_total_flops()
        else:
            engine.update(model, optimizer, batch, anchors, rate, config)
            seconds.append(time.process_time() - begun)
    with tempfile.TemporaryDirectory() as folder:
        table = inference.evaluate_on(model, test, anchors, config, Path(folder))
    return {"map": short(table.mean), "seconds": short(statistics.median(seconds)), "operations": operations}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--layers", nargs="+", default=list(LAYERS), help='"" is none')
    options = parser.parse_args()
    facts = facts_now("course", "data_scripts")
    folder = example_datasets.folder()
    found = own.read_folder(folder)
    config = example_datasets.recipe(found, options.steps, precision="float32")
    data, test = (example_datasets.data(found, folder, part) for part in ("train", "test"))
    head = {"config": dataclasses.asdict(config), **facts}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if not options.out.exists():
        options.out.write_text(json.dumps(head) + "\n", "utf-8")
    rows = [json.loads(line) for line in options.out.read_text("utf-8").splitlines()[1:]]
    done = {(row["freeze"], row["seed"]) for row in rows}
    todo = [(layer, seed) for seed in range(options.seeds) for layer in options.layers]
    for layer, seed in tqdm([one for one in todo if one not in done], unit="training"):
        row = trained(dataclasses.replace(config, freeze=layer, seed=seed), data, test)
        with options.out.open("a") as file:
            print(json.dumps({"freeze": layer, "seed": seed} | row), file=file)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
