"""Train the narrow network with one rule changed, from several random seeds: the runs behind docs/experiments.md.

    python data_scripts/experiments.py --work runs/experiments
    python data_scripts/experiments.py --work runs/experiments --share 0 2      this process does every second run

An arm is the recipe `mini` with one change; `docs/experiments.md` says which question it belongs to; that page was
written first. Every run is a folder ARM/SEED of --work, and what a chapter may show of it goes into --out: settings,
log, AP by class, AP by size, and `recording.json`. Repeat the command to continue: finished runs are skipped, a
stopped one resumes. A run that diverges keeps its log and counts. One thread a process, bfloat16. Drops of the
learning rate have their own script (drops.py), and so have starts without batch norm (restarts.py).
"""

import argparse
import dataclasses
import functools
import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from dead_channels import SCENES, dead_channels
from record_run import ROOT, record
from torch import Tensor
from tqdm import tqdm

from course.capstone.blocks import overlaps
from course.evaluation import ap_by_size, judging
from course.kit import pictures
from ssdlib import files, loss, matching
from ssdlib.data import voc
from ssdlib.data.store import Jpegs, open_store
from ssdlib.model import BODY, SSD300
from ssdlib.records import Losses, Predictions, Targets
from ssdlib.training import engine
from ssdlib.training.runs import CHECKPOINT, RECIPES, Diverged, RunConfig, config_from

OUT = ROOT / "chapters/recordings/experiments"
RECORDING = "recording.json"
CHANGED = "changed"  # in a checkpoint: what was changed in it
Patch = tuple[object, str, Callable[..., Any]]  # module, name in it, what stands there during the run


def argmax_match(
    boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = matching.THRESHOLD
) -> Tensor:
    """`matching.match` with the common shortcut for step one: each object takes its best anchor, and if two have the
    same one, it is assigned to the later object."""
    matched = threshold_match(boxes, labels, anchors, threshold)
    if labels.shape[1] == 0:
        return matched
    best, wanted = overlaps(boxes, labels, anchors).max(dim=2)  # (B, R)
    image = torch.arange(len(labels))
    for slot in range(labels.shape[1]):
        touches = best[:, slot] > 0
        matched[image[touches], wanted[touches, slot]] = slot
    return matched


def threshold_match(
    boxes: Tensor, labels: Tensor, anchors: Tensor, threshold: float = matching.THRESHOLD
) -> Tensor:
    """`matching.match` without step one: an object that overlaps no anchor by the threshold gets none."""
    if labels.shape[1] == 0:
        return labels.new_full((len(labels), len(anchors)), -1)
    best, matched = overlaps(boxes, labels, anchors).max(dim=1)
    return matched.where(best >= threshold, -1)


def focal_loss(
    predictions: Predictions,
    targets: Targets,
    mining: str = "none",
    num_matched: Tensor | None = None,
    negative: Tensor | None = None,
    gamma: float = 2.0,
    alpha: float = 0.25,
) -> Losses:
    """The multibox loss with focal loss (Lin et al., arXiv 1708.02002) over all anchors."""
    positive = targets.labels > 0
    count = positive.sum()
    n = (count if num_matched is None else num_matched).clamp(min=1)
    offsets = F.smooth_l1_loss(
        predictions.offsets[positive].float(), targets.offsets[positive], reduction="sum"
    )
    log_p = F.log_softmax(predictions.logits.float(), dim=-1).gather(2, targets.labels[..., None])[..., 0]
    weight = torch.where(positive, alpha, 1 - alpha) * (1 - log_p.exp()) ** gamma
    return Losses(offsets / n, -(weight * log_p).sum() / n, count, (~positive).sum())


def with_prior(build: Callable[..., tuple]) -> Callable[..., tuple]:
    """`engine.build`, but the network begins with p(background) = 0.99, as focal loss wants it."""

    def built(*arguments: Any, **more: Any) -> tuple:
        model, optimizer, anchors = build(*arguments, **more)
        with torch.no_grad():
            for head in model.conf.values():
                head.bias[:: model.num_classes] = float(
                    torch.tensor(0.99 / 0.01 * (model.num_classes - 1)).log()
                )
        return model, optimizer, anchors

    return built


def rate_times(factor: float, until: int) -> Callable[[RunConfig, int], float]:
    """The recipe's learning rate, but `factor` times it during the first `until` steps."""
    plain = engine.learning_rate
    return lambda config, step: plain(config, step) * (factor if step < until else 1.0)


def negatives(ratio: float) -> tuple[Patch, ...]:
    return ((engine, "multibox_loss", functools.partial(loss.multibox_loss, negative_ratio=ratio)),)


@torch.no_grad()
def revive(network: SSD300, optimizer: torch.optim.Optimizer, first: dict, images: Tensor) -> dict[str, int]:
    """The batch norm of every dead channel of the body begins anew, with scale 1, shift 0 and no momentum. Dead are
    those that are 0 everywhere in `images`. -> how many there were, by layer."""
    revived = {}
    for layer, dead in dead_channels(network, images).items():
        if layer not in BODY or not dead.any():
            continue
        norm = network.body[layer][1]
        for parameter, value in ((norm.weight, 1.0), (norm.bias, 0.0)):
            parameter[dead] = value
            optimizer.state[parameter]["momentum_buffer"][dead] = 0.0
        revived[layer] = int(dead.sum())
    return revived


def begin_anew(*parts: str) -> Callable[..., dict[str, int]]:
    """A change of a run: parts of the network take their `first` numbers again, without momentum. -> how many numbers
    each has."""

    @torch.no_grad()
    def begin(
        network: SSD300, optimizer: torch.optim.Optimizer, first: dict, images: Tensor
    ) -> dict[str, int]:
        for name, value in network.state_dict().items():  # these share their memory with the network
            if name.startswith(parts):
                value.copy_(first[name])
        for name, parameter in network.named_parameters():
            if name.startswith(parts):
                optimizer.state[parameter]["momentum_buffer"].zero_()
        return {
            part: sum(p.numel() for name, p in network.named_parameters() if name.startswith(part))
            for part in parts
        }

    return begin


def change_run(path: Path, change: Callable[..., dict[str, int]], images: Tensor) -> dict[str, int]:
    """Change the network in a checkpoint, which is marked, so that it happens once. -> what `change` tells."""
    state = files.load_checkpoint(path)
    network, optimizer, _ = engine.build(config_from(state["config"]), torch.device("cpu"))
    first = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    told = change(network, optimizer, first, images)
    state |= {"model": network.state_dict(), "optimizer": optimizer.state_dict(), CHANGED: told}
    files.save_checkpoint(path, state)
    return told


@dataclass(frozen=True)
class Arm:
    """The recipe with one of its parts replaced, from these random seeds."""

    seeds: tuple[int, ...]
    patches: tuple[Patch, ...] = ()
    change: Callable[..., dict[str, int]] | None = None  # what `change_run` does to it, once, after
    after: int = 300  # steps
    later: int = 0  # steps by which the drops and the end come later than the recipe's


FEW = (0, 1, 2)
AROUND = ("conv4_3_norm.", "loc.conv4_3.", "conf.conv4_3.")  # what reads conv4_3 alone
NEARLY_BROKEN = ((engine, "learning_rate", rate_times(3.0, 100)),)
ARMS = {
    "recipe": Arm(tuple(range(10))),
    "argmax": Arm((), ((matching, "match", argmax_match),)),  # on these scenes the recipe itself, to the bit
    "threshold": Arm(FEW, ((matching, "match", threshold_match),)),
    "negatives_1": Arm(FEW, negatives(1)),
    "negatives_10": Arm(FEW, negatives(10)),
    "negatives_all": Arm(FEW, negatives(1e6)),
    "focal": Arm(FEW, ((engine, "multibox_loss", focal_loss), (engine, "build", with_prior(engine.build)))),
    "plateau": Arm((0, 1), ((engine, "learning_rate", rate_times(0.1, 300)),)),
    "nearly_broken": Arm((0, 1), NEARLY_BROKEN),
    "revived": Arm((0, 1), NEARLY_BROKEN, revive),
    "later": Arm((0, 1), NEARLY_BROKEN, later=2500),
    "head_anew": Arm((0, 1), NEARLY_BROKEN, begin_anew("conf.conv4_3.")),
    "layer_anew": Arm((0, 1), NEARLY_BROKEN, begin_anew("body.conv4_3.", *AROUND)),
}


def jobs(arms: list[str]) -> list[tuple[str, int]]:
    """(arm, seed), low random seeds of all arms first, so that comparisons are complete as early as possible."""
    return sorted(((arm, seed) for arm in arms for seed in ARMS[arm].seeds), key=lambda job: job[1])


def run(arm: str, seed: int, work: Path, out: Path, devkit: Path, data: tuple, config: RunConfig) -> None:
    """Train one run until it ends or diverges, and keep its recording."""
    drops = tuple(drop + ARMS[arm].later for drop in config.drops)
    config = dataclasses.replace(config, seed=seed, drops=drops, steps=config.steps + ARMS[arm].later)
    note = f"arm {arm} of docs/experiments.md; one thread"
    with ExitStack() as rules:
        for module, name, other in ARMS[arm].patches:
            rules.enter_context(mock.patch.object(module, name, other))
        if ARMS[arm].change:
            note += f"; changed at step {ARMS[arm].after}: {_changed(ARMS[arm], work, data, config)}"
        try:
            table = engine.train(config, *data, work, resume=True)
        except Diverged as error:
            record(work, out, log_only=True, note=f"{note}; it broke: {error}")
            return
    subject = judging.from_files(work / "results", devkit, config.test_sets)
    out.mkdir(parents=True, exist_ok=True)
    table.write_csv(out / "ap.csv")
    sizes = ap_by_size.means(ap_by_size.by_size(subject))
    (out / "sizes.json").write_text(json.dumps(sizes) + "\n", "utf-8")
    record(work, out, log_only=True, note=note)  # last: the run counts as kept once this is there


def _changed(arm: Arm, work: Path, data: tuple, config: RunConfig) -> str:
    """Train until the change and make it, unless that has been done. -> what it was."""
    told = work.with_name(f"{work.name}.{CHANGED}.json")
    if not told.exists():
        engine.train(config, *data, work, resume=True, stop_after=arm.after)
        images = torch.cat([pictures.scene(example).image for example in data[0][0][:SCENES]])
        state = files.load_checkpoint(work / CHECKPOINT)
        assert state["step"] == arm.after, f"{work}: at step {state['step']}, wanted {arm.after}"
        found = state.get(CHANGED) or change_run(work / CHECKPOINT, arm.change, images)
        files.write_whole(told, (json.dumps(found) + "\n").encode())
    return ", ".join(f"{part} {n}" for part, n in json.loads(told.read_text("utf-8")).items())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--data", type=Path, default=ROOT / "data/mini/VOCdevkit")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--share", nargs=2, type=int, default=(0, 1), metavar=("N", "OF"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = dataclasses.replace(RECIPES["mini"], precision="bfloat16", log_every=25)
    train, test = (voc.read_sets(options.data, sets) for sets in (config.train_sets, config.test_sets))
    place = options.data.parent / f"{options.data.name}.store" / "+".join(config.train_sets)
    data = (train, open_store(place, train)), (test, Jpegs(test))
    number, processes = options.share
    for arm, seed in tqdm(jobs(options.arms)[number::processes], unit="run"):
        work, out = (folder / arm / str(seed) for folder in (options.work, options.out))
        if not (out / RECORDING).exists():
            run(arm, seed, work, out, options.data, data, config)


if __name__ == "__main__":
    main()
