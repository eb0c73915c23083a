"""All benchmarks of a CPU, one after the other: what `make bench` runs, in about ten minutes on two cores.

    python benchmarks/everything.py [--record benchmarks/README.md] [--quick]

`--record` puts their tables between the two marks of that page, under a line that says where and when. A benchmark
that fails, or finds a difference between the two sides, is named at the end, and nothing is recorded then.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import timing

SCRIPTS = (
    "operations",
    "network",
    "heads",
    "data_path",
    "evaluation",
    "opening",
    "growth",
    "roofline",
    "explorers",
    "reading",
)
# as training sets them (`memory.keeping`): blocks that the process keeps needn't be cleared again for every tensor;
# where memory is measured they would hide it
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
BEGIN, END = "<!-- measured -->", "<!-- end of measured -->"


def run(script: str, words: list[str]) -> tuple[str, int]:
    """What a benchmark prints, shown as it arrives, and its exit status."""
    command = [sys.executable, str(Path(__file__).with_name(f"{script}.py")), *words]
    environment = os.environ | {timing.SAID: "1"} | ({} if script == "growth" else ALLOCATOR)
    printed = []
    with subprocess.Popen(
        command, cwd=timing.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            printed.append(line)
    return "".join(printed), process.returncode


def tables(printed: str) -> str:
    """Of what a benchmark prints, the tables with their headings. The rest says what was compared before."""
    kept: list[str] = []
    for line in printed.splitlines():
        if line.startswith(("|", "**")):
            kept += ["", line, ""] if line.startswith("**") else [line]
    return "\n".join(kept).strip()


def record(page: Path, text: str) -> None:
    """Put the text between the marks of a page. Raises SystemExit if it hasn't both."""
    whole = page.read_text("utf-8")
    if BEGIN not in whole or END not in whole:
        raise SystemExit(f"{page}: without {BEGIN} and {END}; wanted a page with both")
    before, rest = whole.split(BEGIN, 1)
    page.write_text(f"{before}{BEGIN}\n\n{text.strip()}\n\n{END}{rest.split(END, 1)[1]}", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes, one round: only to see that all run"
    )
    parser.add_argument("--record", type=Path, help="a page to put the tables into")
    parser.add_argument("--only", nargs="+", default=SCRIPTS, choices=SCRIPTS)
    given = parser.parse_args()
    parts, broken, taken = [timing.head()], [], []
    timing.say(parts[0] + "\n")
    for script in given.only:
        words = ["--quick"] if given.quick and script != "explorers" else []
        begun = time.monotonic()
        text, status = run(script, words)
        taken.append(f"{script} {time.monotonic() - begun:.0f} s")
        parts.append(tables(text))
        broken += [script] if status else []
    timing.say(f"\ntime taken: {', '.join(taken)}")
    if broken:
        raise SystemExit(f"failed: {', '.join(broken)}; nothing is recorded")
    if given.record:
        record(given.record, "\n\n".join(parts))


if __name__ == "__main__":
    main()
