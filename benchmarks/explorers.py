"""How long from a move of the pointer to the new picture: the matcher over all 8,732 anchors, in a real browser.

    python benchmarks/explorers.py

Each move is sent alone; the time runs from the browser's pointermove event to the moment when the board's words,
which arrive with the new picture, have changed. The peer is matplotlib drawing the same boxes to a PNG, in the same
run and on the same machine: what an explorer made of pictures would need at least.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browsing
from course.matcher import VIEW, Matcher

MOVES = 200
CLOCK = """() => {
    const canvas = document.querySelector('.course-board canvas');
    const words = document.querySelector('.course-board-status');
    window.taken = [];
    let start = null;
    canvas.addEventListener('pointermove', () => { start = performance.now(); }, true);
    new MutationObserver(() => {
        if (start !== null) window.taken.push(performance.now() - start);
        start = null;
    }).observe(words, {childList: true, characterData: true, subtree: true});
}"""


def in_the_browser() -> list[float]:
    """Milliseconds from pointer to picture, one for each move that changed something."""
    with (
        tempfile.TemporaryDirectory() as home,
        browsing.chromium_page() as page,
        browsing.jupyterlab(Path(home)) as address,
    ):
        reader = browsing.Reader(address, page)
        reader.open("03_matching")
        reader.run_cells("import torch", "pictures.scene(", "matcher.Matcher(")
        reader.ask("setattr(explorer.preset, 'value', 'two objects, far apart')")
        frame = reader.board().bounding_box()
        scale = frame["width"] / (VIEW[2] - VIEW[0])
        page.wait_for_timeout(2000)
        page.evaluate(CLOCK)
        page.mouse.move(frame["x"] + (75 - VIEW[0]) * scale, frame["y"] + (120 - VIEW[1]) * scale)
        page.mouse.down()
        for move in range(MOVES):
            x, y = 60 + 0.7 * move, 110 + (move * 37) % 90
            page.mouse.move(frame["x"] + (x - VIEW[0]) * scale, frame["y"] + (y - VIEW[1]) * scale)
            page.wait_for_timeout(60)
        page.mouse.up()
        return page.evaluate("window.taken")


def in_python() -> tuple[list[float], list[float]]:
    """Milliseconds of the matcher's own work, and of matplotlib drawing what it shows."""
    matplotlib.use("Agg")
    explorer = Matcher()
    work, peer = [], []
    for move in range(MOVES):
        start = time.perf_counter()
        explorer.board.boxes = [[30.0 + 0.7 * move, 60, 120 + 0.7 * move, 180], [150, 40, 290, 270]]
        work.append(1000 * (time.perf_counter() - start))
        if move % 10 == 0:
            start = time.perf_counter()
            explorer._repr_mimebundle_()
            peer.append(1000 * (time.perf_counter() - start))
    return work, peer


def line(name: str, taken: list[float], unit: float) -> None:
    ordered = sorted(taken)
    median, most = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    print(f"{name:<44}{median:8.1f}{most:8.1f}{len(taken):7}{median / unit:9.2f}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    work, peer = in_python()
    browser = in_the_browser()
    unit = statistics.median(peer)
    print(f"{'ms':<44}{'median':>8}{'95 %':>8}{'n':>7}{'ratio':>9}")
    line("matplotlib draws the same (peer)", peer, unit)
    line("matcher, Python alone", work, unit)
    line("matcher, pointer to new picture in Lab", browser, unit)
