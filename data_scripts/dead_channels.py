"""Count the dead channels of trained networks: after their ReLU they are 0 everywhere, in every image.

    python data_scripts/dead_channels.py RUNS OUT

RUNS holds folders ARM/SEED with a `checkpoint.pt`, as `data_scripts/experiments.py` leaves them in its `--work`. OUT
gets `dead.json`: for every run and layer the dead channels and all channels, and device, date, commit, versions.
The images are the first 24 test scenes of the mini VOC. A minute on one thread.
"""

import argparse
import json
from pathlib import Path

import torch
from record_run import facts_now
from torch import Tensor, nn

from course.kit import pictures
from course.training import run_pictures
from ssdlib.training.runs import CHECKPOINT

SCENES = 24
ARMS = ("recipe", "plateau", "nearly_broken", "revived", "head_anew", "layer_anew", "later")


@torch.no_grad()
def dead_channels(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """(B, 3, 300, 300) images -> for each layer with a ReLU: (channels,) whether one is 0 everywhere."""
    loudest: dict[str, Tensor] = {}
    handles = [
        module.register_forward_hook(
            lambda _, __, out, name=name: loudest.__setitem__(name, out.amax(dim=(0, 2, 3)))
        )
        for name, module in network.named_modules()
        if isinstance(module, nn.ReLU)
    ]
    network.eval()(images)
    for handle in handles:
        handle.remove()
    return {name.split(".")[1]: most <= 0 for name, most in loudest.items()}


def main(runs: Path, out: Path) -> None:
    images = torch.cat([pictures.scene(example).image for example in pictures.mini_test_set()[:SCENES]])
    found = {}
    for arm in ARMS:
        for path in sorted((runs / arm).glob(f"[01]/{CHECKPOINT}")):
            network, _, step = run_pictures.network(path)
            layers = {k: [int(dead.sum()), len(dead)] for k, dead in dead_channels(network, images).items()}
            found[f"{arm}/{path.parent.name}"] = {"step": step, "layers": layers}
    out.mkdir(parents=True, exist_ok=True)
    told = facts_now() | {"scenes": SCENES, "runs": found}
    (out / "dead.json").write_text(json.dumps(told, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    main(options.runs, options.out)
