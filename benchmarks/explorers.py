"""How long from a move of the pointer to the new picture: the matcher over all 8,732 anchors, in a real browser.

    python benchmarks/explorers.py

Each move is sent alone; the time runs from the browser's pointermove event to the moment when the board's words,
which arrive with the new picture, have changed. The peer is matplotlib drawing the same boxes to a PNG, in the same
run and on the same machine, which is the least that an explorer made of such pictures would need.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import matplotlib
import timing

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browsing
from course.matching.matcher import VIEW, Matcher

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


def cells(name: str, taken: list[float], peer: list[float]) -> list[str]:
    ordered = sorted(taken)
    median, most = statistics.median(ordered), ordered[int(0.95 * len(ordered))]
    times = statistics.median(peer) / median
    return [name, f"{median:.1f} ms", f"{most:.1f} ms", str(len(taken)), f"{times:.1f}x"]


def main() -> None:
    timing.arguments(__doc__, 1, threads=1)
    work, peer = in_python()
    rows = [
        cells("matplotlib draws the same (peer)", peer, peer),
        cells("matcher, Python alone", work, peer),
        cells("matcher, pointer to new picture in JupyterLab", in_the_browser(), peer),
    ]
    names = ["what", "median", "95 of 100 below", "moves", "ratio"]
    timing.say(timing.grid("An explorer, from a move of the pointer to the new picture", names, rows))


if __name__ == "__main__":
    main()
