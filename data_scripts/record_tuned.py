"""Record the two trainings of chapter 12, one from the mini VOC's weights and one from random ones.

    python data_scripts/record_tuned.py OUT

The page shows these tables to a learner who has interrupted one of the two trainings. OUT gets a folder for each,
`from_mini` and `from_random`, with `ap.csv`, the AP of each class and their mean, and `recording.json`: device, date,
commit, versions, and all settings, among them the random seed. Weights aren't kept. Each training takes half a minute
on two cores.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

from record_run import facts_now
from tqdm import tqdm

from course.own_images import example_datasets
from ssdlib.data import own
from ssdlib.training import engine

STEPS, RATE_FROM_RANDOM = 80, 0.03  # as in the chapter


def main(out: Path) -> None:
    facts = facts_now("course/own_images", "data_scripts/make_zoo.py")
    folder = example_datasets.folder()
    found = own.read_folder(folder)
    data = [example_datasets.data(found, folder, part) for part in ("train", "test")]
    tuned = example_datasets.recipe(found, STEPS)
    random = example_datasets.recipe(found, STEPS, learning_rate=RATE_FROM_RANDOM)
    starts = {"from_mini": (tuned, example_datasets.started(tuned)[0]), "from_random": (random, None)}
    for name, (config, weights) in starts.items():
        with tempfile.TemporaryDirectory() as run:
            table = engine.train(config, *data, Path(run), weights=weights, bar=tqdm)
        (out / name).mkdir(parents=True, exist_ok=True)
        table.write_csv(out / name / "ap.csv")
        told = json.dumps(facts | {"config": dataclasses.asdict(config)}, indent=1)
        (out / name / "recording.json").write_text(told + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    main(parser.parse_args().out)
