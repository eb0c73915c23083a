"""Changes of behaviour that a test has to notice: a constant, a comparison, a line, one at a time.

    python tests/mutants.py [--only matching] [--jobs 2]

Each mutant is made in a copy of the project. There the fast tests of its module run until one fails: then the
mutant is dead. One that survives, or whose text isn't in the module any more, is named, and the program ends with 1.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# what the tests import anyway: a mutant's process begins as a copy of this one and finds it there
import h5py  # noqa: F401
import hypothesis  # noqa: F401
import matplotlib.pyplot  # noqa: F401
import pytest
import torch
import torchvision  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
CHANGED = ("ssdlib", "course", "tests")  # copied; the rest of the project is linked to
FAST = "not slow and not browser and not nightly"
PATIENCE = 300  # seconds after which a mutant that hangs counts as noticed


@dataclass(frozen=True)
class Mutant:
    """In one module, one text replaced by another; the tests are those of the module unless they are named."""

    module: str
    old: str
    new: str
    tests: str = ""

    def __str__(self) -> str:
        return f"{self.module}: {self.old.strip()} -> {self.new.strip() or 'nothing'}"


MUTANTS = [
    Mutant(*words)
    for words in (
        # boxes, anchors, coding
        ("anchors", "(20, 90)", "(20, 95)"),
        ("anchors", "+ 0.5", "+ 0.4"),
        ("coding", "(0.1, 0.1, 0.2, 0.2)", "(0.1, 0.1, 0.1, 0.1)"),
        # matching
        ("matching", "THRESHOLD = 0.5", "THRESHOLD = 0.45"),
        ("matching", "TOUCHES = 1e-6", "TOUCHES = 1e-5"),
        ("matching", "max(map(images.count, set(images)), default=1)", "1"),
        (
            "matching",
            "order = anchor.argsort(stable=True)",
            "order = anchor.argsort(stable=True, descending=True)",
        ),
        ("matching", "table >= threshold", "table > threshold"),
        ("matching", "& (table > 0)", "& (table >= 0)"),
        ("matching", "(images[object_], anchor) not in taken", "(0, anchor) not in taken"),
        ("matching", "(labels > 0).nonzero", "(labels >= 0).nonzero"),
        # loss
        ("loss", "NEGATIVE_RATIO = 3", "NEGATIVE_RATIO = 2"),
        ("loss", ".clamp(min=1)", ".clamp(min=2)"),
        ("loss", "(chosen & ~positive)", "chosen"),
        ("loss", "rank < wanted", "rank <= wanted"),
        ("loss", 'if mining == "batch":', 'if mining == "image":'),
        ("loss", "strength: float = 5e-4", "strength: float = 2.5e-4"),
        # the network
        ("model", "padding=6, dilation=6", "padding=5, dilation=5"),
        ("model", "ceil_mode=True", "ceil_mode=False"),
        ("model", "+ 1e-10", "+ 1e-2"),
        ("model", "20.0 * sqrt(width)", "20.0"),
        ("model", "(6 if layer in PRETRAINED else 3)", "(3 if layer in PRETRAINED else 3)"),
        # detection, average precision
        (
            "detect",
            "SCORE, TOP_K, NMS_IOU, KEEP = 0.01, 400, 0.45, 200",
            "SCORE, TOP_K, NMS_IOU, KEEP = 0.01, 400, 0.45, 100",
        ),
        ("detect", "by_class > score", "by_class >= score"),
        ("detect", "> max_iou).triu(1)", ">= max_iou).triu(1)"),
        ("detect", "[rank < top_k]", "[rank <= top_k]"),
        ("detect", "few *= 2", "break"),
        ("evaluate", "HIT = 0.5", "HIT = 0.51"),
        ("evaluate", "hit = best >= HIT", "hit = best > HIT"),
        ("evaluate", "extent=1.0", "extent=0.0"),
        ("evaluate", "np.arange(11) * 0.1", "np.arange(11) / 10"),
        ("evaluate", 'kind="stable"', 'kind="quicksort"'),
        ("results", "{s:.9g}", "{s:.4g}", "evaluate"),
        ("results", "NAME = 255", "NAME = 256", "voc"),
        ("show", '& {"detections", "frames", "error"}', "& set(row)", "handing_on"),
        # photographs on their way to a batch
        ("voc", "corners[0] - 1, corners[1] - 1", "corners[0], corners[1]"),
        ("voc", '== "1")', '!= "0")'),
        ("store", "{' upright' * example.upright}", ""),
        ("store", "if (width, height) != example.size:", "if False:"),
        ("batches", "int(state[0]) << 32 | int(state[1])", "int(state[0])"),
        ("batches", "ORDER, AUGMENTATION = 0, 1", "ORDER, AUGMENTATION = 0, 0"),
        ("augment", "TRIALS = 50", "TRIALS = 40"),
        ("augment", "LARGEST_EXPANSION = 4.0", "LARGEST_EXPANSION = 3.0"),
        ("augment", "MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0)", "MIN_IOUS = (0.1, 0.3, 0.5, 0.7, 0.8, 0.0)"),
        ("augment", "overlap >= bound", "overlap > bound"),
        ("augment", "align_corners=False", "align_corners=True"),
        ("augment", "sector + degrees / 60).clamp(min=0)", "sector + degrees / 60)"),
        ("split", "TEST_SHARE = 0.2", "TEST_SHARE = 0.3", "folders"),
        ("own", "TURNED = (5, 6, 7, 8)", "TURNED = (5, 6, 7)"),
        ("formats", 'y + height), entry.get("iscrowd") == 1', "y + height), False", "own"),
        ("files", "os.fsync(file.fileno())", "pass"),
        # a run
        ("packed", "(low + 1).minimum(sizes - 1)", "(low + 1)", "ahead"),
        ("packed", "(where + 1) * sizes - 1)", "(where + 1) * sizes)", "ahead"),
        ("packed", "-tensors[i].element_size()", "tensors[i].element_size()", "ahead"),
        ("ahead", "(width, height) != tuple(example.size)", "False"),
        ("faster", "self.rate.fill_(rate)", "pass"),
        ("faster", "return _cloned(self.losses)", "return self.losses"),
        ("engine", "0.1 ** sum(step >= drop", "0.1 ** sum(step > drop"),
        ("engine", "(step + 1) / config.warmup", "step / config.warmup"),
        ("engine", "torch.manual_seed(config.seed)", "torch.manual_seed(0)"),
        ("engine", "and done < config.steps:", ":"),
        ("engine", "config.bias_rate)", "1.0)"),
        ("engine", 'if val["multibox"] < best:', "if True:"),
        ("inference", "[without_difficult(e) for e in examples]", "examples", "engine"),
        ("inference", "model.train(was_training)", "pass", "engine"),
        ("recipes", "drops=(56_000, 76_000)", "drops=(56_000, 80_000)", "engine"),
        ("recipes", "min(500, steps // 10)", "min(500, steps // 5)"),
        ("recipes", 'MAY_CHANGE = (\n    "steps",', 'MAY_CHANGE = (\n    "seed",\n    "steps",', "engine"),
        ("runs", "if drop < step", "if drop <= step", "engine"),
        ("runlog", "if step % self.every == 0:", "if step % self.every == 1:", "engine"),
        ("runlog", "LEAST_SCALE = 1.0", "LEAST_SCALE = 0.0", "scaling"),
        ("runs", 'scaler.load_state_dict(state["scaler"])', "pass", "scaling"),
        ("scaling", "FIRST = 2.0**16", "FIRST = 2.0**15"),
        ("threads", "CLEAR = 0.9", "CLEAR = 0.99"),
        ("threads", "SLOW = 2.0", "SLOW = 4.0"),
        ("threads", "took[1:] or took) for took in", "took) for took in"),
        ("threads", "took[1:] or took) for n, took", "took) for n, took"),
        ("memory", '"can\'t allocate memory"', '"nothing"'),
        ("memory", "if _keeping == 1:", "if _keeping == 2:"),
        ("distributed", '(number or kind == "mps")', "number", "devices"),
        ("files", 'or state.get("format") != FORMAT', ""),
        ("distributed", "dist.is_initialized() else 0", "dist.is_initialized() else 1"),
        ("published", "rows_old, rows_new = [0], [0]", "rows_old, rows_new = [], []", "handing_on"),
        ("published", "fresh[name].clone()", "fresh[name].mul(1.0001)", "handing_on"),
        ("weights", "[::4, :, ::3, ::3]", "[1::4, :, ::3, ::3]"),
    )
]


def copy_of_project(folder: Path) -> Path:
    """The project as the tests need it, in which a module may be changed."""
    for path in ROOT.iterdir():
        if path.name in CHANGED:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name[0] != ".":
            (folder / path.name).symlink_to(path)
    return folder


def the_only(folder: Path, name: str) -> Path:
    """The file of this name below the folder."""
    [path] = folder.rglob(name)
    return path


def tests_of(mutant: Mutant, project: Path) -> Path:
    name = f"test_{mutant.tests or mutant.module}.py"
    [path] = (path for path in (project / "tests").rglob(name) if path.parent.name != "browser")
    return path


def begin(mutant: Mutant, project: Path) -> int:
    """Change the module in the project's copy and run the tests there, in a process of its own. -> its id."""
    module = the_only(project / "ssdlib", f"{mutant.module}.py")
    module.write_text(module.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
    if child := os.fork():
        return child
    os.chdir(project)
    sys.path[:] = [str(project), *(p for p in sys.path if p not in ("", str(ROOT), str(ROOT / "tests")))]
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.dont_write_bytecode = True
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", FAST, str(tests_of(mutant, project))]))


def put_back(mutant: Mutant, project: Path) -> None:
    module = the_only(project / "ssdlib", f"{mutant.module}.py")
    shutil.copyfile(ROOT / module.relative_to(project), module)


def outlived(mutants: Sequence[Mutant], jobs: int = 1) -> list[str]:
    """The mutants that no test noticed, or that are none any more, each with why."""
    found, todo = [], list(mutants)[::-1]
    with tempfile.TemporaryDirectory() as place:
        free = [copy_of_project(Path(tempfile.mkdtemp(dir=place))) for _ in range(jobs)]
        busy: dict[int, tuple[Mutant, Path, float]] = {}
        while todo or busy:
            while todo and free:
                mutant = todo.pop()
                times = the_only(ROOT / "ssdlib", f"{mutant.module}.py").read_text("utf-8").count(mutant.old)
                if times != 1 or mutant.old == mutant.new:
                    found.append(f"{mutant}: the text is there {times} times, wanted once")
                    continue
                project = free.pop()
                busy[begin(mutant, project)] = (mutant, project, time.monotonic())
            if not busy:
                continue
            done, status = os.waitpid(-1, os.WNOHANG)
            if not done:
                for child, (_, _, since) in busy.items():
                    if time.monotonic() - since > PATIENCE:
                        os.kill(child, signal.SIGKILL)
                time.sleep(0.05)
                continue
            mutant, project, since = busy.pop(done)
            code = os.waitstatus_to_exitcode(status)
            took = f"{time.monotonic() - since:4.0f} s"
            said = (
                "dead" if code in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED, -9) else "ALIVE"
            )
            print(f"{said:<5} {took}  {mutant}", flush=True)
            if said == "ALIVE":
                found.append(f"{mutant}: pytest ended with {code}")
            put_back(mutant, project)
            free.append(project)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="the mutants of this module")
    parser.add_argument("--jobs", type=int, default=1, help="how many at a time")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    begun = time.monotonic()
    chosen = [mutant for mutant in MUTANTS if options.only in (None, mutant.module)]
    found = outlived(chosen, options.jobs)
    print(f"{len(chosen)} mutants, {len(found)} alive, {time.monotonic() - begun:.0f} s")
    print("\n".join(found))
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
