"""A run: the folder that keeps its settings, its log and its weights.

The folder holds `config.json`, `log.jsonl` (see `runlog`), `checkpoint.pt`, `best.pt` with the weights of the least
validation loss so far, and `results/` with the devkit files of the last evaluation. Whatever a kill interrupts, the
folder is a run that can be resumed.

One training at a time in a run folder: the lock of the operating system on the file `lock` is released when the
process that held it ends, for whatever reason, and `lock.by` says which process that is. A crash may leave both
files, which does no harm.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ssdlib import files
from ssdlib.data.results import refused_names, refused_sets
from ssdlib.model import SSD300
from ssdlib.training import distributed
from ssdlib.training.recipes import MAY_CHANGE as MAY_CHANGE
from ssdlib.training.recipes import (
    RECIPES as RECIPES,
)  # for those who import a run
from ssdlib.training.recipes import RunConfig, RunError

CHECKPOINT, BEST, CONFIG, RESULTS = "checkpoint.pt", "best.pt", "config.json", "results"
LOCK, HOLDER = "lock", "lock.by"  # there while a process trains, see `held`
# what a process killed while it wrote one of a run's files leaves, see `files.write_whole`
LEFT = re.compile(
    rf"({'|'.join(map(re.escape, (CHECKPOINT, BEST, CONFIG, HOLDER)))}|log(\.old-\d+)?\.jsonl)\.part-\d+"
)


class Diverged(RuntimeError):
    """The loss isn't finite any more. The checkpoint before it is kept."""


@dataclass(frozen=True)
class Progress:
    """How far a run has come."""

    step: int = 0  # updates done
    seconds: float = 0.0  # spent, over all sessions
    seen: Sequence[Sequence[float]] = ()  # losses of the steps since the last line of the log, see `runlog`
    data: str = ""  # fingerprint of what is trained on; "" in checkpoints of earlier versions
    replaced: tuple[int, ...] | None = None  # the drops until now, where this resumption asks for others


def refuse_folder(out: Path, resume: bool = True) -> None:
    """Raise RunError if `out` can't hold a run, or holds one that isn't to be resumed. `open_run` asks it too, but
    reading photographs takes long: who reads them first should ask before."""
    if out.exists() and not out.is_dir():
        raise RunError(f"{out}: a file; wanted a folder for the run")
    there = {path.name for path in out.iterdir()} if out.exists() else set()
    # files that another process of the same run is writing belong to the run
    names = {name for name in there - {LOCK, HOLDER} if not LEFT.fullmatch(name)}
    if names and not names & {CONFIG, CHECKPOINT}:
        raise RunError(f"{out}: holds files that aren't a run; name another folder")
    if CHECKPOINT in there and not resume:
        state = files.load_checkpoint(out / CHECKPOINT)
        with _of_this_version(out / CHECKPOINT):
            raise RunError(f"{out}: holds a run at step {state['step']}; resume it, or name another folder")


def refuse_long_names(config: RunConfig) -> None:
    """Raise RunError if a file that the run is going to write can't be named after its image sets. The store of their
    photographs has a longer name while it is built."""
    for field, sets in (("train_sets", config.train_sets), ("test_sets", config.test_sets)):
        trouble = refused_names(sets, [f"{'+'.join(sets)}.part-0123456789ab"])
        if trouble := trouble or (field == "test_sets" and refused_sets(sets, config.classes)):
            raise RunError(f"{field} has {trouble}")


def refuse_fewer_steps(out: Path, config: RunConfig, done: int) -> None:
    """Raise RunError if the run in `out` has done more steps than are asked for."""
    if config.steps < done:
        raise RunError(f"{out}: its run is at step {done}, asked for are {config.steps}; ask for more")


def open_run(
    out: Path,
    config: RunConfig,
    model: SSD300,
    optimizer: torch.optim.Optimizer,
    resume: bool,
    data: str = "",
    scaler: torch.amp.GradScaler | None = None,
) -> Progress:
    """Make the folder, or resume the run in it.

    Model, optimiser and scaler are set to the state of the run; `data` is a fingerprint of what is trained on. Raises
    RunError if a run is there that isn't to be resumed or had other settings or images, or if the folder holds
    something else.
    """
    out = Path(out)
    refuse_folder(out, resume)
    refuse_long_names(config)
    progress = Progress(data=data)
    if (out / CHECKPOINT).exists():
        state = files.load_checkpoint(out / CHECKPOINT)
        with _of_this_version(out / CHECKPOINT):
            old = config_from(state["config"])
            _refuse_other_config(out, old, config, state["step"])
            if data and state.get("data", "") not in ("", data):
                raise RunError(f"{out}: its run saw other images or boxes; name its data, or another folder")
            if not state["optimizer"]:
                raise RunError(
                    f"{out}: a recording, kept without the optimiser's state, so it can't be resumed; train in "
                    "another folder"
                )
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            for group in optimizer.param_groups:  # the ways of this session, not of the one before
                group["fused"] = optimizer.defaults["fused"]
            if scaler is not None and scaler.is_enabled():
                scaler.load_state_dict(state["scaler"])
            replaced = old.drops if old.drops != config.drops else None
            progress = Progress(state["step"], state["seconds"], state["seen"], data, replaced)
        refuse_fewer_steps(out, config, progress.step)
    if distributed.is_first():
        out.mkdir(parents=True, exist_ok=True)
        for left in out.iterdir():  # no other process writes here now
            if LEFT.fullmatch(left.name):
                left.unlink()
        settings = json.dumps(dataclasses.asdict(config), indent=1) + "\n"
        files.write_whole(out / CONFIG, settings.encode())
    distributed.wait()
    return progress


def save_run(
    out: Path,
    progress: Progress,
    config: RunConfig,
    model: SSD300,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler | None = None,
) -> None:
    """Write the checkpoint, unless a weight or a running mean isn't finite any more: then the older one is kept."""
    broken = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if broken:
        raise Diverged(
            f"step {progress.step}: a weight isn't finite, though the loss before it was: {broken[0]}; {kept(out)}"
        )
    if distributed.is_first():
        state = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
            "config": dataclasses.asdict(config),
        }
        files.save_checkpoint(Path(out) / CHECKPOINT, state | dataclasses.asdict(progress))
    distributed.wait()


def save_best(out: Path, step: int, config: RunConfig, model: SSD300) -> None:
    """Keep the weights as `best.pt`: enough to detect with, but not to resume from."""
    if distributed.is_first():
        values = {"model": model.state_dict(), "optimizer": {}, "config": dataclasses.asdict(config)}
        files.save_checkpoint(Path(out) / BEST, values | dataclasses.asdict(Progress(step)))


def load_run(path: Path, device: torch.device | str = "cpu") -> tuple[SSD300, RunConfig, int]:
    """Network in eval mode, settings and step of a run folder or of a checkpoint file."""
    path = Path(path)
    return run_in(files.load_checkpoint(path / CHECKPOINT if path.is_dir() else path), path, device)


def run_in(
    state: dict[str, Any], path: Path, device: torch.device | str = "cpu"
) -> tuple[SSD300, RunConfig, int]:
    """`load_run` for a checkpoint that has been read already, from `path`."""
    with _of_this_version(path):
        config = config_from(state["config"])
        model, step = network_of(config), state["step"]
        model.load_state_dict(state["model"])
    return model.to(device, memory_format=torch.channels_last).eval(), config, step


def network_of(config: RunConfig) -> SSD300:
    """The network that these settings describe, with random weights."""
    kind = config.width, config.batch_norm, config.strided_stem, config.new_layers
    return SSD300(len(config.classes) + 1, *kind)


def config_from(values: dict[str, Any]) -> RunConfig:
    """A RunConfig from what a checkpoint or `config.json` holds, where tuples may have become lists."""
    return RunConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def kept(out: Path) -> str:
    """Half a sentence about what is left of a run that diverged."""
    path = Path(out) / CHECKPOINT
    return f"the checkpoint before it is kept in {path}" if path.exists() else "no checkpoint was written yet"


@contextlib.contextmanager
def _of_this_version(path: Path) -> Iterator[None]:
    """Raise RunError where a checkpoint lacks what one of ours holds."""
    try:
        yield
    except RunError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"{path}: a checkpoint of another version ({type(error).__name__}); wanted one of this version"
        ) from error


def _refuse_other_config(out: Path, old: RunConfig, new: RunConfig, step: int) -> None:
    """Raise RunError if the `step` updates that are done would have been others with the new settings."""
    taken, asked = ([drop for drop in sorted(config.drops) if drop < step] for config in (old, new))
    if taken != asked:
        raise RunError(
            f"{out}: its run is at step {step} with drops {old.drops}, asked for are {new.drops}; "
            f"only drops from step {step} on can be changed. Keep the earlier ones, or name another folder"
        )
    for field in fields(RunConfig):
        was, now = getattr(old, field.name), getattr(new, field.name)
        if was != now and field.name not in MAY_CHANGE:
            raise RunError(f"{out}: its run has {field.name} {was}, asked for is {now}; name another folder")


def alone(train: Callable) -> Callable:
    """For `engine.train`: its second call for the same folder `out` is refused while the first works."""

    @functools.wraps(train)
    def guarded(
        config: RunConfig, train_data: Any, test_data: Any, out: Path, *rest: Any, **named: Any
    ) -> Any:
        distributed.start()  # first, because it decides which process is the first
        with held(Path(out)) if distributed.is_first() else contextlib.nullcontext():
            return train(config, train_data, test_data, out, *rest, **named)

    return guarded


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the lock of the folder, which is made if it isn't there. Raises RunError if another process holds it.

    In the end the files go, and so does a folder that was made here and stayed empty.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{out}: {_holder(out)} trains there; wait for it, stop it, or name another folder"
        ) from None
    try:
        files.write_whole(out / HOLDER, f"process {os.getpid()}\n".encode())
        yield
    finally:
        for path in (
            out / HOLDER,
            out / LOCK,
        ):  # while it is held; afterwards they could be the next process's
            with contextlib.suppress(OSError):  # Windows doesn't remove open files
                path.unlink()
        lock.release()
        if made:
            with contextlib.suppress(OSError):
                out.rmdir()


def _holder(out: Path) -> str:
    with contextlib.suppress(OSError):
        return (out / HOLDER).read_text("utf-8").strip() or "another process"
    return "another process"
