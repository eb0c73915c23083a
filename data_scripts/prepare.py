"""Decode VOC 07+12 once, so that training never waits for a JPEG: 11.5 GB beside the devkit.

    python data_scripts/prepare.py [DEVKIT]

Makes the stores of the paper's recipe where `python -m ssdlib train` looks for them: 8.9 GB to train on, 2.6 GB to
test on. You can stop it at any time, and the same command resumes. `train` would make them, too, but a GPU would wait
then.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ssdlib.data import store, voc
from ssdlib.training.runs import RECIPES


def prepare(devkit: Path) -> list[Path]:
    """Build what is missing. -> the store folders. Raises VOCError or StoreError."""
    recipe = RECIPES["paper"]
    wanted = {
        store.beside(devkit) / "+".join(sets): voc.read_sets(devkit, sets, tqdm)
        for sets in (recipe.train_sets, recipe.test_sets)
    }
    store.require_space(wanted)  # for both, before the first one takes hours
    for folder, examples in wanted.items():
        store.open_store(folder, examples, tqdm)
    return list(wanted)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. -> 0 all there, 1 something is wrong (one sentence says what), 130 interrupted."""
    parser = argparse.ArgumentParser(description="Decode VOC 07+12 once, for training.")
    parser.add_argument(
        "devkit", type=Path, nargs="?", default=Path("data/VOCdevkit"), help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        for folder in prepare(options.devkit):
            print(f"{folder}: {(folder / store.PIXELS).stat().st_size / 1e9:.1f} GB")
    except (voc.VOCError, store.StoreError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
