"""float16 with its gradient scaler beside bfloat16: short runs of the mini recipe, and their mAP as a recording.

    python data_scripts/float16.py --out chapters/recordings/float16.jsonl --random-seeds 0 1 2

A head line (settings, commit, date, device, versions), then a line for each run. Few CPUs compute float16's
convolutions themselves, and on others a step takes twenty times as long as in bfloat16. So they are computed here as
a GPU's tensor cores would do: float16 in, products summed in float32, the result rounded to float16. Everything else
is as in any run in float16, the scaler included.
"""

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from record_run import facts_now
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from course.training.job import SHORT
from ssdlib.data import store, voc
from ssdlib.training import engine, runs
from ssdlib.training.runlog import read_log

MINI = Path("data/mini/VOCdevkit")
CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


class SummedInFloat32(TorchDispatchMode):
    """Convolutions of float16, forward and backward, with products summed in float32."""

    def __torch_dispatch__(
        self, operator: Any, types: Any, given: tuple = (), named: dict | None = None
    ) -> Any:
        half = any(isinstance(one, torch.Tensor) and one.dtype == torch.float16 for one in given)
        if operator not in CONVOLUTIONS or not half:
            return operator(*given, **(named or {}))
        wide = [one.float() if isinstance(one, torch.Tensor) else one for one in given]
        results = operator(*wide, **(named or {}))
        if isinstance(results, torch.Tensor):
            return results.half()
        return tuple(one if one is None else one.half() for one in results)


def trained(precision: str, seed: int) -> dict[str, Any]:
    """A short run from random weights. -> its mAP, its last loss and how many steps were skipped."""
    config = dataclasses.replace(
        runs.RECIPES["mini"], **SHORT | {"precision": precision, "seed": seed, "val_every": 0}
    )
    sets = [(voc.read_sets(MINI, names), names) for names in (config.train_sets, config.test_sets)]
    data = [(found, store.open_store(store.beside(MINI) / "+".join(names), found)) for found, names in sets]
    with tempfile.TemporaryDirectory() as folder, SummedInFloat32():
        table = engine.train(config, *data, Path(folder) / "run", bar=tqdm)
        log = read_log(Path(folder) / "run")
    loss = [row["multibox"] for row in log if "multibox" in row][-1]
    skipped = sum("skipped" in row for row in log)
    return {"precision": precision, "seed": seed, "map": table.mean, "loss": loss, "skipped": skipped}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--random-seeds", type=int, nargs="+", default=[0, 1, 2], help="of bfloat16's runs")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = dataclasses.asdict(dataclasses.replace(runs.RECIPES["mini"], **SHORT))
    lines = [{"config": config, **facts_now("ssdlib", "data_scripts")}]
    for precision, seed in [
        ("float16", options.random_seeds[0]),
        *(("bfloat16", s) for s in options.random_seeds),
    ]:
        lines.append(trained(precision, seed))
        options.out.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


if __name__ == "__main__":
    main()
