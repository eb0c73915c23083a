"""Train for so many seconds: on a GPU that is lent by the quarter of an hour, say.

    python data_scripts/timed_run.py OUT --data DEVKIT --sets 2007-fit --test-sets 2007-held200 --seconds 400

How many steps that makes nobody knows before, so the run goes in four parts. After the first thousand steps the pace
is known: the rest is laid out with the learning rate's drops at the paper's shares, 2/3 and 5/6 of all steps, and is
laid out anew after each drop. All of it is resuming with other drops, which `train` allows; the log tells of each. If
the loss diverges, the run begins again at half the learning rate, in OUT-halved.

`--faster-of` is a list of choices of `--faster`, each one word, its parts joined by +. Each trains for some steps
from the same start; the fastest is taken of those whose first losses are those of the plain step, to `TOLERANCE`.
`--halves` writes the weights in half precision in files of so many megabytes.
"""

import argparse
import json
import shutil
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import torch

from ssdlib.data import store, voc
from ssdlib.interop.published import starting_weights
from ssdlib.training import distributed, engine
from ssdlib.training.runlog import read_log
from ssdlib.training.runs import RECIPES, Diverged, RunConfig, config_from, load_run, network_of

SHARES = 2 / 3, 5 / 6  # of all steps, before the drops: 80,000 and 100,000 of 120,000
FIRST = 1000  # steps before the pace is measured; the warm-up is over
TRIED = 240  # steps of a trial of what --faster names
TOLERANCE = 0.05  # of the mean loss of a trial's first steps, which are the plain step's up to rounding


@dataclass
class Clock:
    """When the training has to be over."""

    end: float

    def left(self) -> float:
        return self.end - time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", required=True)
    parser.add_argument("--test-sets", nargs="+", required=True)
    parser.add_argument("--init", type=Path)
    parser.add_argument("--seconds", type=float, required=True, help="until the last step, trials included")
    parser.add_argument("--recipe", default="paper", choices=list(RECIPES))
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--warmup", type=int, default=500)
    parser.add_argument("--first", type=int, default=FIRST, help=f"steps before the pace is known ({FIRST})")
    parser.add_argument("--tried", type=int, default=TRIED, help=f"steps of a trial ({TRIED})")
    parser.add_argument("--looks", type=int, default=6, help="evaluations on the way (6)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--faster-of", nargs="*", default=[], help="resident+graph+cast+benchmark, say")
    parser.add_argument("--halves", type=float, default=0.0, help="megabytes a file; 0 = not written")
    options = parser.parse_args()
    clock = Clock(time.monotonic() + options.seconds)
    device = distributed.start()
    train_data, test_data = (data(options.data, sets) for sets in (options.sets, options.test_sets))
    config = replace(
        RECIPES[options.recipe],
        train_sets=tuple(options.sets),
        test_sets=tuple(options.test_sets),
        batch_size=options.batch_size,
        warmup=options.warmup,
        seed=options.seed,
        val_every=0,
        map_every=0,
        log_every=max(1, min(50, options.first // 10)),
        checkpoint_every=10**6,
    )
    weights = starting_weights(options.init, config)[0] if options.init else None
    ways = [tuple(way.split("+")) for way in options.faster_of]
    sources = (options.data, options.sets, options.init) if device.type == "cuda" else None
    config = replace(
        config, faster=fastest(config, train_data, weights, options.out, ways, options.tried, sources)
    )
    say(f"device {device}, faster: {' '.join(config.faster) or 'plain'}, {clock.left():.0f} s left")
    out, again = options.out, False
    try:
        whole_run(config, train_data, test_data, weights, out, clock, options.first, options.looks)
    except Diverged as error:
        say(f"diverged: {error}")
        again = True
    if again:  # here, because an exception keeps what its frames hold in the GPU's memory
        out = out.with_name(f"{out.name}-halved")
        config = replace(config, learning_rate=config.learning_rate / 2)
        whole_run(config, train_data, test_data, weights, out, clock, options.first, options.looks)
    if options.halves:
        halves(out, options.halves)


def data(devkit: Path, sets: list[str]) -> tuple:
    examples = voc.read_sets(devkit, sets)
    return examples, store.open_store(store.beside(devkit) / "+".join(sets), examples)


def whole_run(
    config: RunConfig,
    train_data: tuple,
    test_data: tuple,
    weights: dict | None,
    out: Path,
    clock: Clock,
    first: int,
    looks: int,
) -> None:
    """All four parts of the run."""
    endless = replace(config, steps=10**7, drops=(10**7 - 2, 10**7 - 1), val_every=first, map_every=first)
    begun = time.monotonic()
    engine.train(endless, train_data, test_data, out, weights=weights, stop_after=first)
    pace = pace_of(out)
    beside = time.monotonic() - begun - first * pace  # seconds of a start and a look
    taken: tuple[int, ...] = ()
    done = first
    while True:
        others = beside * (looks * clock.left() / (clock.left() + done * pace) + len(SHARES) + 1 - len(taken))
        steps = done + max(20, int((clock.left() - others) / pace))
        drops = taken + tuple(
            max(done + 5 * n, round(s * steps)) for n, s in enumerate(SHARES[len(taken) :], 1)
        )
        every = max(10, round(steps / looks / 10) * 10)
        config = replace(
            config, steps=max(steps, drops[-1] + 5), drops=drops, val_every=every, map_every=every
        )
        stop = drops[len(taken)] if len(taken) < len(SHARES) else None
        say(
            f"step {done}: {1 / pace:.1f} steps/s, to {config.steps} with drops {drops}, {clock.left():.0f} s left"
        )
        table = engine.train(config, train_data, test_data, out, resume=True, stop_after=stop)
        if stop is None:
            say(f"{table}\nstep {config.steps}, {clock.left():.0f} s left")
            return
        taken, done = drops[: len(taken) + 1], stop


def pace_of(out: Path) -> float:
    """Seconds a step in the second half of a run's log."""
    rows = [row for row in read_log(out) if "multibox" in row]
    middle, last = rows[len(rows) // 2], rows[-1]
    return max(1e-4, (last["seconds"] - middle["seconds"]) / (last["step"] - middle["step"]))


def fastest(
    config: RunConfig,
    train_data: tuple,
    weights: dict | None,
    out: Path,
    ways: list[tuple[str, ...]],
    steps: int,
    sources: tuple | None = None,
) -> tuple[str, ...]:
    """The choice of `faster` with which steps are fastest, among those that compute what the plain step does.

    With `sources`, the devkit, its sets and the file of the weights, CUDA graphs are tried in a process of their own,
    because a recording that fails leaves one that can't use its GPU any more."""
    if not ways:
        return ()
    tried: dict[tuple[str, ...], tuple[float, float]] = {}
    for way in ((), *ways):
        folder = out.with_name(f"{out.name}-trial")
        shutil.rmtree(folder, ignore_errors=True)
        trial = replace(config, steps=10**7, drops=(), log_every=max(1, steps // 12), faster=way)
        try:
            if "graph" in way and sources is not None:
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                    pool.submit(trial_from, sources, trial, folder, steps).result()
            else:
                engine.train(trial, train_data, train_data, folder, weights=weights, stop_after=steps)
        except Exception as error:  # one choice may fail; the others still count
            say(f"{' '.join(way) or 'plain'}: {type(error).__name__}: {str(error)[:300]}")
            continue
        rows = [row for row in read_log(folder) if "multibox" in row]
        tried[way] = pace_of(folder), sum(row["multibox"] for row in rows[:3]) / 3
        say(
            f"{' '.join(way) or 'plain'}: {1 / tried[way][0]:.1f} steps/s, first losses {rows[0]['multibox']:.4f} "
            f"{rows[1]['multibox']:.4f} {rows[2]['multibox']:.4f}, last {rows[-1]['multibox']:.4f}"
        )
        shutil.rmtree(folder, ignore_errors=True)
    if () not in tried:
        raise SystemExit("the plain step doesn't work, so nothing says which losses are right")
    wanted = tried[()][1]
    right = {way: pace for way, (pace, loss) in tried.items() if abs(loss - wanted) <= TOLERANCE * wanted}
    return min(right, key=right.get)


def trial_from(sources: tuple, config: RunConfig, folder: Path, steps: int) -> None:
    """A trial that reads everything itself."""
    devkit, sets, init = sources
    examples = data(devkit, sets)
    weights = starting_weights(init, config)[0] if init else None
    engine.train(config, examples, examples, folder, weights=weights, stop_after=steps)


def halves(out: Path, megabytes: float) -> None:
    """The weights of a finished run in half precision, in parts: OUT/half-0.pt, OUT/half-1.pt ..."""
    model, config, step = load_run(out)
    flat = torch.cat([tensor.flatten().half() for tensor in model.state_dict().values()])
    if not flat.isfinite().all():
        say(f"{out}: a weight is too large for half precision, so all are written in bfloat16")
        flat = torch.cat([tensor.flatten().bfloat16() for tensor in model.state_dict().values()])
    size = int(megabytes * 1e6 / 2)
    for number, part in enumerate(flat.split(size)):
        torch.save(part.clone(), out / f"half-{number}.pt")
    (out / "halves.json").write_text(json.dumps({"step": step, "config": asdict(config)}) + "\n", "utf-8")


def joined(out: Path) -> dict[str, torch.Tensor]:
    """The state of the network from the files that `halves` wrote."""
    known = json.loads((out / "halves.json").read_text("utf-8"))
    paths = sorted(out.glob("half-*.pt"), key=lambda path: int(path.stem.partition("-")[2]))
    flat, state = torch.cat([torch.load(path, weights_only=True) for path in paths]), {}
    for name, tensor in network_of(config_from(known["config"])).state_dict().items():
        state[name], flat = flat[: tensor.numel()].view(tensor.shape).float(), flat[tensor.numel() :]
    return state


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    main()
