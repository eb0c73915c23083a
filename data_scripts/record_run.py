"""Keep a finished run as a recording that a chapter can show: `python data_scripts/record_run.py RUN OUT`.

Copies settings, log and table, the weights without the optimiser's state, and writes `recording.json`: device,
date, commit, versions and seed. Refuses a run that isn't finished, and a working tree with uncommitted changes
in ssdlib, whose commit would not be the code that ran. `--log-only` keeps no weights, and takes a run that was
stopped or that broke; `--note` says what the log doesn't.
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
from ssdlib.training.runlog import LOG
from ssdlib.training.runs import CHECKPOINT, CONFIG, load_run

ROOT = Path(__file__).parents[1]


def record(run: Path, out: Path, log_only: bool = False, note: str = "") -> dict:
    """Copy the run into `out` and return what `recording.json` says of it."""
    _, config, step = load_run(run)
    if step != config.steps and not log_only:
        raise SystemExit(f"{run}: at step {step} of {config.steps}; wanted a finished run")
    if changes := git("status", "--porcelain", "ssdlib"):
        raise SystemExit(f"ssdlib has uncommitted changes; commit them first:\n{changes}")
    if int(git("log", "-1", "--format=%ct")) > (run / CONFIG).stat().st_mtime:
        raise SystemExit(f"{run}: began before the latest commit, so it isn't the code that ran; train again")
    state = files.load_checkpoint(run / CHECKPOINT)
    facts = {
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else processor(),
        "date": datetime.date.fromtimestamp((run / CHECKPOINT).stat().st_mtime).isoformat(),
        "commit": git("rev-parse", "HEAD"),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "seconds": round(state["seconds"], 1),
        "config": dataclasses.asdict(config),
    }
    facts |= {"note": note} if note else {}
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, LOG) if log_only else (CONFIG, LOG, "ap.csv"):
        shutil.copyfile(run / name, out / name)
    if not log_only:
        state["optimizer"], state["seen"] = {}, ()
        files.save_checkpoint(
            out / CHECKPOINT, {key: value for key, value in state.items() if key != "format"}
        )
    (out / "recording.json").write_text(json.dumps(facts, indent=1) + "\n")
    return facts


def processor() -> str:
    count = torch.get_num_threads()
    threads = f"{count} thread" + "s" * (count != 1)
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return f"{platform.processor() or platform.machine()}, {threads}"
    names = [
        line.split(":")[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{names[0] if names else platform.machine()}, {threads}"


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--log-only", action="store_true", help="no weights; the run needn't be finished")
    parser.add_argument("--note", default="", help="what the log doesn't say, such as that it was killed")
    options = parser.parse_args()
    facts = record(options.run, options.out, options.log_only, options.note)
    print(f"recorded {options.run} of {facts['date']} at commit {facts['commit'][:10]} in {options.out}")
