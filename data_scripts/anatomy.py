"""Watch every layer of a start that diverges, step by step: a recording for chapter 07.

    python data_scripts/anatomy.py chapters/recordings/restarts/beyond/0.jsonl --out chapters/recordings/anatomy

The start is repeated from its head line. One file ARM-SEED.jsonl: a head line (settings, commit, date, device,
versions), then a line a step: losses, length of the gradient, and for each convolution its largest
output, the length of its kernel, and the length of its step relative to that. Nothing is edited afterwards.
"""

import argparse
import dataclasses
import json
from pathlib import Path

import torch
from record_run import facts_now
from restarts import short

from course.instability import starts, watched_start


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("start", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    facts = facts_now("course", "data_scripts")
    start = starts.read_start(options.start)
    lines = [start.head | facts]
    for step in watched_start.again(start).steps(len(start) + 1):
        line = dataclasses.asdict(step)
        line["layers"] = {n: {k: short(v) for k, v in layer.items()} for n, layer in line["layers"].items()}
        lines.append({k: short(v) if isinstance(v, float) else v for k, v in line.items()})
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{start.arm}-{start.seed}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    print(f"{path}: {len(lines) - 1} steps, the last {'finite' if step.finite else 'not finite'}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
