"""How long until there is something to see: importing the library, opening a chapter up to its first figure.

    python benchmarks/opening.py

Each import runs in a new process, after one that isn't counted (it fills the disk's cache). A chapter is opened as
JupyterLab would: a new kernel, then its cells from the top; the clock stops when the first figure arrives. Beside it
stands the CPU time of the kernel's process until then, which other programs hardly affect. Most of it is importing
torch; no figure comes before that.
"""

import math
import os
import queue
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import timing
from jupyter_client.manager import start_new_kernel

IMPORTS = ("ssdlib.box_ops, ssdlib.anchors", "course.kit.pictures")
LIMIT = 30.0  # s; a chapter that takes longer says why (09 trains before it shows a curve)
SHOWN = 3  # chapters that take longest
GOAL_IMPORT, GOAL_FIGURE = "under 2.5 s, torch the most", "under 4 s"


def import_seconds(modules: str) -> float:
    """Seconds of a new Python that imports them, from start to exit."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True, cwd=timing.ROOT)
    return time.perf_counter() - begun


def first_figure(notebook: Path) -> tuple[float, float, float] | None:
    """Seconds until a new kernel answers and until a figure arrives, and the kernel's CPU time for it. None if no
    figure comes, infinite if it takes longer than LIMIT."""
    cells = [c.source for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]
    environment = os.environ | {
        "COURSE_VOC": str(timing.MINI),
        "COURSE_RUNS": str(timing.ROOT / "runs/tested"),
    }
    begun = time.perf_counter()
    manager, client = start_new_kernel(
        kernel_name="python3", cwd=str(notebook.parent), env=environment, stderr=subprocess.DEVNULL
    )
    try:
        there = time.perf_counter() - begun
        for source in cells:
            request = client.execute(source)
            while True:
                try:
                    message = client.get_iopub_msg(timeout=max(0.1, LIMIT - (time.perf_counter() - begun)))
                except queue.Empty:
                    return there, math.inf, math.nan
                if message["parent_header"].get("msg_id") != request:
                    continue
                kind, content = message["msg_type"], message["content"]
                if kind in ("display_data", "execute_result") and "image/png" in content["data"]:
                    return there, time.perf_counter() - begun, worked(manager.provisioner.pid)
                if kind == "error":
                    raise SystemExit(f"{notebook.name}: {content['ename']}: {content['evalue']}")
                if kind == "status" and content["execution_state"] == "idle":
                    break
        return None
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def worked(process: int) -> float:
    """CPU seconds of a process so far; NaN where the system doesn't tell."""
    try:
        times = Path(f"/proc/{process}/stat").read_text("utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return math.nan
    return (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    given = timing.arguments(__doc__, 1)
    rows = []
    for modules in IMPORTS[: 1 if given.quick else None]:
        import_seconds(modules)
        pairs = [(import_seconds(modules), import_seconds("torch")) for _ in range(given.rounds + 1)]
        goal = GOAL_IMPORT if modules == IMPORTS[0] else ""
        rows.append(timing.Row(f"import {modules} (peer: torch)", *zip(*pairs, strict=True), goal=goal))
    timing.say(timing.table("Importing, a new process", rows))

    chapters = sorted((timing.ROOT / "chapters").glob("*.ipynb"))[: 1 if given.quick else None]
    found = {}
    for chapter in chapters:
        taken = [first_figure(chapter) for _ in range(given.rounds)]
        if None not in taken:
            found[chapter.stem] = [statistics.median(times) for times in zip(*taken, strict=True)]
    slowest = sorted(found, key=lambda name: -found[name][1])[:SHOWN]
    middle = [statistics.median(times) for times in zip(*found.values(), strict=True)]
    rows = [(f"median of {len(found)}", middle), *((f"slowest: {name}", found[name]) for name in slowest)]
    lines = [[name, *(_seconds(time) for time in times), GOAL_FIGURE] for name, times in rows]
    names = ["chapter", "kernel answers", "first figure", "kernel's CPU time", "goal"]
    timing.say(timing.grid("Opening a chapter, a new kernel", names, lines))


def _seconds(time: float) -> str:
    return f"over {LIMIT:.0f} s" if time == math.inf else f"{time:.1f} s"


if __name__ == "__main__":
    main()
