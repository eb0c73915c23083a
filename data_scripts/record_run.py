"""Keep a finished run as a recording that a chapter can show: `python data_scripts/record_run.py RUN OUT`.

Copies settings, log and table, the weights without the optimiser's state, and writes `recording.json`: device, date,
commit, versions and random seed. Refuses a run that isn't finished, and a working tree with uncommitted changes in
ssdlib, whose commit would not be the code that ran. `--log-only` keeps no weights, and accepts a run that is still
going, was stopped or diverged, also before its first checkpoint; `--code` names the checkout that ran, if it isn't
this one; `--note` adds what the log doesn't say.
"""

import argparse
import dataclasses
import datetime
import json
import platform
import shutil
import subprocess
from pathlib import Path

import torch

from ssdlib import files
from ssdlib.training.runlog import LOG, read_log
from ssdlib.training.runs import CHECKPOINT, CONFIG, config_from, load_run

ROOT = Path(__file__).parents[1]


def record(run: Path, out: Path, log_only: bool = False, note: str = "", code: Path = ROOT) -> dict:
    """Copy the run into `out` and return what `recording.json` says about it. `code` is the checkout that ran it."""
    config = config_from(json.loads((run / CONFIG).read_text("utf-8")))
    rows = read_log(run)
    if not log_only and load_run(run)[2] != config.steps:
        raise SystemExit(
            f"{run}: not at step {config.steps} yet; wanted a finished run; resume it, or pass --log-only"
        )
    if changes := git("status", "--porcelain", "ssdlib", code=code):
        raise SystemExit(f"ssdlib has uncommitted changes; commit them first:\n{changes}")
    if int(git("log", "-1", "--format=%ct", code=code)) > (run / CONFIG).stat().st_mtime:
        raise SystemExit(f"{run}: began before the latest commit, so it isn't the code that ran; train again")
    facts = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "date": datetime.date.fromtimestamp((run / LOG).stat().st_mtime).isoformat(),
        "commit": git("rev-parse", "HEAD", code=code),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": rows[-1]["seconds"] if rows else 0.0,
        "config": dataclasses.asdict(config),
    }
    facts |= {"note": note} if note else {}
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, LOG) if log_only else (CONFIG, LOG, "ap.csv"):
        shutil.copyfile(run / name, out / name)
    if not log_only:
        state = files.load_checkpoint(run / CHECKPOINT)
        state["optimizer"], state["seen"] = {}, ()
        files.save_checkpoint(
            out / CHECKPOINT, {key: value for key, value in state.items() if key != "format"}
        )
    (out / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    return facts


def facts_now(*more: str) -> dict:
    """Commit, date, device, versions; refuses if the code that is about to run isn't the commit's."""
    if changed := git("status", "--porcelain", "ssdlib", *more):
        raise SystemExit(f"uncommitted changes; a recording has to name the code that ran:\n{changed}")
    return {
        "commit": git("rev-parse", "HEAD"),  # of the code that is in memory, whatever is committed meanwhile
        "date": datetime.date.today().isoformat(),
        "device": processor(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def processor() -> str:
    count = torch.get_num_threads()
    threads = f"{count} thread" + "s" * (count != 1)
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.processor() or platform.machine()}, {threads}"
    names = [
        line.split(":")[1].strip()
        for line in info.read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {threads}"


def git(*arguments: str, code: Path = ROOT) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=code, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--log-only", action="store_true", help="no weights; the run needn't be finished")
    parser.add_argument("--note", default="", help="what the log doesn't say, such as that it was killed")
    parser.add_argument("--code", type=Path, default=ROOT, help="the checkout that ran, if it isn't this one")
    options = parser.parse_args()
    facts = record(options.run, options.out, options.log_only, options.note, options.code)
    print(f"recorded {options.run} of {facts['date']} at commit {facts['commit'][:10]} in {options.out}")
