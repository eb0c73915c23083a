"""A run: its settings, and the folder that keeps it.

The folder holds `config.json`, `log.jsonl` (see `runlog`), `checkpoint.pt`, `best.pt` with the weights of the least
validation loss so far, and `results/` with the devkit files of the last evaluation. Whatever a kill interrupts, the
folder is a run that can be resumed.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch

from ssdlib import checkpoint, distributed
from ssdlib.augment import STEPS
from ssdlib.loss import MININGS
from ssdlib.model import SSD300
from ssdlib.voc import CLASSES

CHECKPOINT, BEST, CONFIG, RESULTS = "checkpoint.pt", "best.pt", "config.json", "results"
LOCK = "lock"  # there while somebody trains, see `lock`
MAY_CHANGE = ("steps", "microbatch", "log_every", "val_every", "map_every", "checkpoint_every")  # on resuming
CHOICES = {"mining": MININGS, "precision": ("auto", "float32", "bfloat16")}


class RunError(ValueError):
    """A run folder can't be used as asked. The message says why and what to do."""


class Diverged(RuntimeError):
    """The loss isn't a number any more. The checkpoint before it is kept."""


def _refuse_names(classes: Sequence[str]) -> None:
    """Names of classes become names of files, and two that differ in case alone are nearly always a slip."""
    seen: dict[str, str] = {}
    for name in classes:
        if name != name.strip() or not name.isprintable() or set(name) & set("/\\:") or not name:
            raise RunError(f"classes has {name!r}; wanted a name without / \\ : and spaces around it")
        if name.casefold() == "background":
            raise RunError("classes has 'background'; it is class 0 always, wanted the objects' names only")
        if name.casefold() in seen:
            raise RunError(f"classes has {seen[name.casefold()]!r} and {name!r}; wanted each name once")
        seen[name.casefold()] = name


@dataclass(frozen=True)
class RunConfig:
    """Every choice of a run; the defaults are those of the paper and the released Caffe code."""

    train_sets: tuple[str, ...] = ("2007-trainval", "2012-trainval")  # trained on, one after the other
    test_sets: tuple[str, ...] = ("2007-test",)  # for validation loss and mAP, never trained on
    classes: tuple[str, ...] = CLASSES[1:]  # names of labels 1, 2, ...; 0 is background
    difficult: bool = True  # train on difficult objects too
    augment: tuple[str, ...] = STEPS  # steps of the augmentation: distort expand crop flip
    width: float = 1.0  # channels of the network, relative to VGG16's
    batch_norm: bool = False  # normalise after every convolution of the body
    strided_stem: bool = False  # one stride-2 convolution for conv1_1, conv1_2 and pool1
    steps: int = 120_000  # updates of the weights
    batch_size: int = 32  # images an update, over all processes together
    microbatch: int = 0  # images computed at a time; fewer than batch_size saves memory; 0 = all
    learning_rate: float = 1e-3  # of kernels
    bias_rate: float = 2.0  # rate of the biases, as a multiple of that
    drops: tuple[int, ...] = (80_000, 100_000)  # steps after which the rate falls to a tenth
    warmup: int = 0  # steps over which the rate rises to its value
    momentum: float = 0.9  # of SGD
    weight_decay: float = 5e-4  # on kernels, not on biases and batch norm
    decay_scale: bool = True  # on the L2Norm scale too
    mining: str = "image"  # hard negatives ranked within each image, or within the batch
    precision: str = "auto"  # float32, bfloat16, or auto: bfloat16 where the device has units for it
    seed: int = 0  # of the weights, the order of the photographs and the augmentation
    log_every: int = 10  # steps that a line of the log averages over
    val_every: int = 1000  # steps between validation losses; 0 = never
    map_every: int = 20_000  # steps between evaluations besides the one at the end; 0 = none
    checkpoint_every: int = 1000  # steps between checkpoints besides the one at the end

    def __post_init__(self) -> None:
        """Refuse what can't be trained, before anything is read or decoded."""
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise RunError(f"{name} is {getattr(self, name)!r}; it has to be one of {', '.join(known)}")
        for name in (
            "train_sets",
            "test_sets",
            "classes",
            "width",
            "steps",
            "batch_size",
            "log_every",
            "checkpoint_every",
        ):
            value = getattr(self, name)
            if not (value if isinstance(value, tuple) else value > 0):
                raise RunError(f"{name} is {value!r}; it needs at least one, or a positive number")
        _refuse_names(self.classes)
        unknown = set(self.augment) - set(STEPS)
        if unknown:
            raise RunError(f"augment has {min(unknown)!r}; wanted some of {', '.join(STEPS)}")
        if self.microbatch < 0:
            raise RunError(f"microbatch is {self.microbatch}; it has to be 0 or more")
        last_part = self.batch_size % (self.microbatch or self.batch_size)
        if self.batch_norm and 1 in (self.batch_size, self.microbatch, last_part):
            raise RunError(
                f"a part of the batch is 1 image (batch_size {self.batch_size}, microbatch {self.microbatch}); "
                "batch norm needs two to compare"
            )


RECIPES = {
    "paper": RunConfig(),
    # the published run that the course retraces (ssd_keras). Its program adds 5e-4 w² to the loss, whose gradient is
    # that of a decay of 1e-3; it had room for 31 images only, `microbatch` makes room for 32
    "seed": RunConfig(
        steps=102_000,
        drops=(56_000, 76_000),
        bias_rate=1.0,
        weight_decay=1e-3,
        decay_scale=False,
        mining="batch",
    ),
    "mini": RunConfig(
        augment=("flip",),
        width=1 / 8,
        batch_norm=True,
        strided_stem=True,
        steps=2500,
        batch_size=8,
        learning_rate=0.03,
        drops=(1950, 2300),
        warmup=200,
        val_every=1250,
        map_every=0,
        checkpoint_every=200,
    ),
}


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    step: int = 0  # updates done
    seconds: float = 0.0  # spent, over all sessions
    seen: Sequence[Sequence[float]] = ()  # losses of the steps since the last line of the log, see `runlog`


def open_run(
    out: Path, config: RunConfig, model: SSD300, optimizer: torch.optim.Optimizer, resume: bool
) -> Progress:
    """Make the folder, or go on with the run in it.

    Model and optimiser are set to where the run stands. Raises RunError if a run is there that isn't to be
    resumed or had other settings, or if the folder holds something else.
    """
    out = Path(out)
    progress = Progress()
    if (out / CHECKPOINT).exists():
        state = checkpoint.load(out / CHECKPOINT)
        with _of_this_version(out / CHECKPOINT):
            if not resume:
                raise RunError(
                    f"{out}: holds a run at step {state['step']}; resume it, or name another folder"
                )
            _refuse_other_config(out, config_from(state["config"]), config)
            if not state["optimizer"]:
                raise RunError(
                    f"{out}: a recording, kept without what it takes to go on; train in another folder"
                )
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            progress = Progress(*(state[field.name] for field in fields(Progress)))
        if config.steps < progress.step:
            raise RunError(f"{out}: its run is at step {progress.step}, asked for are {config.steps}")
    elif out.exists() and {path.name for path in out.iterdir()} - {LOCK} and not (out / CONFIG).exists():
        raise RunError(f"{out}: holds files that aren't a run; name another folder")
    if distributed.is_first():
        out.mkdir(parents=True, exist_ok=True)
        for left in out.glob("*.pt.part-*"):  # by one killed while it wrote; nobody else writes here now
            left.unlink()
        (out / CONFIG).write_text(json.dumps(dataclasses.asdict(config), indent=1) + "\n")
    distributed.wait()
    return progress


def save_run(
    out: Path, progress: Progress, config: RunConfig, model: SSD300, optimizer: torch.optim.Optimizer
) -> None:
    """Write the checkpoint, unless a weight isn't finite any more: then the older one is worth more."""
    if not all(bool(p.isfinite().all()) for p in model.parameters()):
        raise Diverged(
            f"step {progress.step}: a weight isn't finite, though the loss before it was; {kept(out)}"
        )
    if distributed.is_first():
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "config": dataclasses.asdict(config),
        }
        checkpoint.save(Path(out) / CHECKPOINT, state | dataclasses.asdict(progress))
    distributed.wait()


def save_best(out: Path, step: int, config: RunConfig, model: SSD300) -> None:
    """Keep the weights as `best.pt`: enough to detect with, not to go on from."""
    if distributed.is_first():
        values = {"model": model.state_dict(), "optimizer": {}, "config": dataclasses.asdict(config)}
        checkpoint.save(Path(out) / BEST, values | dataclasses.asdict(Progress(step)))


def load_run(path: Path, device: torch.device | str = "cpu") -> tuple[SSD300, RunConfig, int]:
    """Network in eval mode, settings and step of a run folder or of a checkpoint file."""
    path = Path(path)
    state = checkpoint.load(path / CHECKPOINT if path.is_dir() else path)
    with _of_this_version(path):
        config = config_from(state["config"])
        model, step = network_of(config), state["step"]
        model.load_state_dict(state["model"])
    return model.to(device, memory_format=torch.channels_last).eval(), config, step


def network_of(config: RunConfig) -> SSD300:
    """The network that these settings describe, with random weights."""
    return SSD300(len(config.classes) + 1, config.width, config.batch_norm, config.strided_stem)


def config_from(values: dict[str, Any]) -> RunConfig:
    """A RunConfig from what a checkpoint or `config.json` holds, where tuples may have become lists."""
    return RunConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def kept(out: Path) -> str:
    """A half sentence on what is left of a run that broke."""
    path = Path(out) / CHECKPOINT
    return f"the checkpoint before it is kept in {path}" if path.exists() else "no checkpoint was written yet"


@contextlib.contextmanager
def _of_this_version(path: Path) -> Iterator[None]:
    """For reading a checkpoint that needn't hold what one of ours does."""
    try:
        yield
    except RunError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"{path}: a checkpoint of another version ({type(error).__name__}); wanted one of this"
        ) from error


def _refuse_other_config(out: Path, old: RunConfig, new: RunConfig) -> None:
    for field in fields(RunConfig):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now and field.name not in MAY_CHANGE:
            raise RunError(f"{out}: its run has {field.name} {was}, asked for is {now}; name another folder")
