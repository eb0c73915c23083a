"""Kill -9 at random moments: what is left can be gone on with, and comes to the same as if nothing had happened.

    python tests/faults.py [--kills 100] [--seed 0] [--only KIND]
    python tests/faults.py --memory 2000       growth of memory over so many steps

Each kind of work runs in a process of its own, is killed at a random moment of the time that it takes undisturbed,
begun again, killed again, and at last left alone. After every kill what is on disk has to be sound; in the end it has
to be what an undisturbed process made. Prints how often was killed, what was done twice and what was lost.
"""

import argparse
import dataclasses
import hashlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import corpus
from ssdlib import files as ssdlib_files
from ssdlib.data import augment, store
from ssdlib.training import engine, runlog, runs

KILLS_A_ROUND = 4  # before the work is left alone
STEPS = 12
SETTINGS = dataclasses.replace(corpus.TINY, steps=STEPS, augment=augment.STEPS, drops=(8,))
SAVES = 150  # of a checkpoint of 400 kB
PAUSE = 0.004  # s between photographs and between files of an archive, or a moment in between is never met


# --- The work, each a function that can be begun again ----------------------------------------------------


def train(home: Path, out: Path) -> None:
    torch.set_num_threads(1)
    examples = corpus.World(home).examples()
    data = examples, store.Jpegs(examples)
    engine.train(SETTINGS, data, data, out, resume=True)


def trained(out: Path) -> str:
    """The weights, the optimiser's state, the log but for its seconds, and the devkit's files."""
    state = ssdlib_files.load_checkpoint(out / runs.CHECKPOINT)
    tensors = [
        *state["model"].values(),
        *(s["momentum_buffer"] for s in state["optimizer"]["state"].values()),
    ]
    log = [sorted(row.items()) for row in runlog.read_log(out) if row.pop("seconds") >= 0]
    files = {path.name: path.read_bytes() for path in sorted((out / runs.RESULTS).iterdir())}
    litter = sorted(path.name for path in out.iterdir() if "part" in path.name)
    return _digest(state["step"], log, files, litter, *(tensor.numpy().tobytes() for tensor in tensors))


def trained_soundly(out: Path) -> int:
    return (
        ssdlib_files.load_checkpoint(out / runs.CHECKPOINT)["step"] if (out / runs.CHECKPOINT).exists() else 0
    )


def save(home: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    path = out / "checkpoint.pt"
    for number in range(saved_soundly(out), SAVES):
        ssdlib_files.save_checkpoint(
            path, {"step": number + 1, "weights": torch.full((100_000,), float(number + 1))}
        )


def saved(out: Path) -> str:
    return _digest(saved_soundly(out))


def saved_soundly(out: Path) -> int:
    path = out / "checkpoint.pt"
    if not path.exists():
        return 0
    state = ssdlib_files.load_checkpoint(path)
    assert (state["weights"] == state["step"]).all(), "half of one checkpoint and half of another"
    return state["step"]


def build(home: Path, out: Path) -> None:
    def slowly(items, **_):
        for item in items:
            time.sleep(PAUSE)
            yield item

    store.KEPT_EVERY = 3
    store.open_store(out, many(home), slowly)


def many(home: Path) -> list:
    """Three photographs, each thirty times."""
    return corpus.World(home).examples() * 30


def built(out: Path) -> str:
    left = sorted(path.name for path in out.parent.glob(f"{out.name}*"))
    return _digest(left == [out.name], *((out / name).read_bytes() for name in (store.PIXELS, store.INDEX)))


def built_soundly(out: Path) -> int:
    if out.exists():
        return 90
    parts = [part.stat().st_size for part in out.parent.glob(f"{out.name}.part-*/{store.PIXELS}")]
    return max(parts, default=0) // 3600


def download(home: Path, out: Path) -> None:
    import download_voc
    import fetching

    fetching.PAUSE, fetching.BLOCK = 0, 1 << 12
    extract = download_voc.tarfile.TarFile.extract

    def slowly(*arguments, **options):
        time.sleep(PAUSE)
        extract(*arguments, **options)

    download_voc.tarfile.TarFile.extract = slowly
    rows = [line.split() for line in (home / "archives.txt").read_text().splitlines()]
    table = [fetching.Archive(name, int(size), md5, folder) for name, size, md5, folder in rows]
    download_voc.download_voc(out / "VOCdevkit", table, [(home / "mirror.txt").read_text()])


def downloaded(out: Path) -> str:
    names = sorted(path.name for path in out.iterdir())
    files = {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    return _digest(names, files)


def downloaded_soundly(out: Path) -> int:
    for folder in (out / "VOCdevkit").glob("VOC*"):
        found = sum(path.is_file() for path in folder.rglob("*"))
        assert found == {"VOC2007": 40, "VOC2012": 20}[folder.name], f"{folder} isn't complete"
    return sum(path.stat().st_size for path in out.glob("*.tar*"))


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of work."""

    work: Callable[[Path, Path], None]  # (what is there, where to) -> can be called again
    made: Callable[[Path], str]  # sum of all that has to be the same in the end
    sound: Callable[[Path], int]  # how far it has come; raises if what is there is broken
    unit: str


KINDS = {
    "training": Kind(train, trained, trained_soundly, "steps"),
    "checkpointing": Kind(save, saved, saved_soundly, "checkpoints"),
    "store building": Kind(build, built, built_soundly, "photographs"),
    "download and extraction": Kind(download, downloaded, downloaded_soundly, "bytes"),
}


@dataclasses.dataclass
class Tally:
    """What came of it."""

    kills: int = 0  # that met a living process
    rounds: int = 0
    in_between: int = 0  # of the kills, how many left something half done
    lost: list[str] = dataclasses.field(default_factory=list)


def torture(kind: Kind, kills: int, home: Path, chance: random.Random) -> Tally:
    """Kill until `kills` have met a living process. `home` is a world of `corpus` and, for downloads, a server."""
    processes = multiprocessing.get_context("forkserver")  # imports PyTorch once, not for every process
    processes.set_forkserver_preload(
        ["ssdlib.training.engine", "ssdlib.interop.published", "ssdlib.data.own"]
    )
    tally, place = Tally(), Path(tempfile.mkdtemp(dir=home))

    def run(out: Path, seconds: float | None) -> int:
        """Exit code of the work, killed after so many seconds."""
        worker = processes.Process(target=_quietly, args=(kind.work, home, out))
        worker.start()
        worker.join(seconds)
        if worker.is_alive():
            worker.kill()
        worker.join()
        return worker.exitcode

    (place / "first").mkdir()  # starts the server of processes; its time isn't that of the work
    run(place / "first" / "x", None)
    (place / "undisturbed").mkdir()
    started = time.monotonic()
    assert run(place / "undisturbed" / "x", None) == 0, "the work doesn't even end undisturbed"
    whole = time.monotonic() - started
    wanted, end = kind.made(place / "undisturbed" / "x"), kind.sound(place / "undisturbed" / "x")
    while tally.kills < kills:
        out = place / str(tally.rounds) / "x"
        out.parent.mkdir()
        tally.rounds += 1
        before = 0
        for _ in range(KILLS_A_ROUND):
            code = run(out, chance.uniform(0, whole))
            if code == 0:
                break
            if code != -signal.SIGKILL:
                tally.lost.append(f"round {tally.rounds}: begun again, it ended with {code}")
            tally.kills += 1
            now = kind.sound(out)
            tally.in_between += 0 < now < end
            if now < before:
                tally.lost.append(f"round {tally.rounds}: {before - now} {kind.unit} that had been done")
            before = now
        if run(out, None) != 0 or kind.made(out) != wanted:
            tally.lost.append(f"round {tally.rounds}: the result is another one")
    return tally


def world(home: Path) -> Path:
    """What the kinds of work need, in a folder."""
    return corpus.make(home / "world").home


class Downloads:
    """A server on this machine with three archives, for a world."""

    def __init__(self, home: Path):
        import archives as made

        os.environ["no_proxy"] = "*"
        noise = random.Random(3)
        packed = {
            name: made.tar(
                {f"VOCdevkit/{folder}/JPEGImages/{name}.{i}": noise.randbytes(9000) for i in range(20)}
            )
            for name, folder in made.NAMES.items()
        }
        self.server = made.Server(packed)
        rows = [made.entry(name, content, made.NAMES[name]) for name, content in packed.items()]
        text = "".join(f"{a.name} {a.num_bytes} {a.md5} {a.folder}\n" for a in rows)
        (home / "archives.txt").write_text(text)
        (home / "mirror.txt").write_text(self.server.mirror("slow"))


def growth(home: Path, steps: int, warm: int = 200) -> float:
    """MB by which the memory of this process grows from step `warm` to `steps` of a tiny training."""
    examples = corpus.World(home).examples()
    data, rss = (examples, store.Jpegs(examples)), {}
    config = dataclasses.replace(
        SETTINGS, steps=steps, drops=(), log_every=10, val_every=50, checkpoint_every=100, learning_rate=1e-9
    )

    class Bar:
        """Stands where a progress bar would."""

        def __init__(self, **_):
            self.step = 0

        def update(self):
            self.step += 1
            if self.step in (min(warm, steps // 2), steps):
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                rss[self.step] = pages * os.sysconf("SC_PAGE_SIZE") / 1e6

        def set_postfix_str(self, *_, **__):
            pass

        def close(self):
            pass

    with tempfile.TemporaryDirectory(dir=home) as out:
        engine.train(config, data, data, Path(out) / "run", bar=Bar)
    first, last = rss.values()
    return last - first


def _quietly(work: Callable[[Path, Path], None], home: Path, out: Path) -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    work(home, out)


def _digest(*things: object) -> str:
    return hashlib.sha256(repr(things).encode()).hexdigest()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. -> 0 if nothing was lost."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--kills", type=int, default=100, help="in all (default: %(default)s)")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--only", choices=KINDS)
    words.add_argument("--memory", type=int, metavar="STEPS")
    options = words.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        home = world(Path(folder))
        if options.memory:
            torch.set_num_threads(1)
            grown = growth(home, options.memory)
            print(
                f"{grown:.1f} MB more after {options.memory} steps than after {min(200, options.memory // 2)}"
            )
            return int(grown > 50)
        Downloads(home)
        chosen = [options.only] if options.only else list(KINDS)
        lost = 0
        for number, name in enumerate(chosen):
            each = -(-options.kills // len(chosen))
            tally = torture(KINDS[name], each, home, random.Random(options.seed + number))
            print(
                f"{name}: {tally.kills} kills in {tally.rounds} rounds, {tally.in_between} with something half done; "
                f"lost: {'; '.join(tally.lost) or 'nothing'}",
                flush=True,
            )
            lost += len(tally.lost)
    return int(lost > 0)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    import faults  # so that the work has the same name here and in the processes that do it

    sys.exit(faults.main())
