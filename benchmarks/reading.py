"""How heavy the reading edition is, and how long until an explorer on one of its pages answers.

    python benchmarks/reading.py [--site build/book]

The site is built anew, unless there is one, and opened from disk, each page in a new context of a headless Chromium.
The time runs from the beginning of the navigation until the board has changed after an arrow key that is pressed as
soon as the explorer stands. It is measured again with the CPU slowed down to a quarter, as a phone might be. Beside
it stands the CPU time of the page's thread, which other programs hardly affect.
"""

import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import timing

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import browsing

GOAL_WEIGHT, GOAL_ANSWER = "25 MB in all", "2 s"
SLOWER = 4
# pressed when the page's own script has put the explorer there
PRESS = """document.addEventListener('DOMContentLoaded', () => setTimeout(() => {
    const canvas = document.querySelector('.course-board canvas');
    if (!canvas) return;
    const seen = () => JSON.stringify(course.shown[0].board);
    const before = seen();
    for (const key of ['ArrowRight', 'ArrowDown', 'n'])
        if (seen() === before) canvas.dispatchEvent(new KeyboardEvent('keydown', {key, cancelable: true}));
    window.answered = seen() === before ? Infinity : performance.now() / 1000;
}))"""


def weight(site: Path, page: Path) -> int:
    """Bytes of a page with all that it loads."""
    text = page.read_text(encoding="utf-8")
    loaded = set(re.findall(r"""<(?:img|script)[^>]+src="([^":?]+)""", text))
    loaded |= set(re.findall(r"""<link[^>]+rel="stylesheet"[^>]+href="([^":?]+)""", text))
    return page.stat().st_size + sum((site / name).stat().st_size for name in loaded)


def answer(browser, page: Path, slower: int) -> tuple[float, float]:
    """Seconds from the beginning of the navigation until an explorer has answered; CPU seconds of its thread."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    tab = context.new_page()
    tab.add_init_script(PRESS)
    inside = context.new_cdp_session(tab)
    inside.send("Emulation.setCPUThrottlingRate", {"rate": slower})
    inside.send("Performance.enable", {"timeDomain": "threadTicks"})
    before = _worked(inside)
    tab.goto(page.as_uri())
    tab.wait_for_function("window.answered !== undefined", timeout=60_000)
    taken, worked = float(tab.evaluate("window.answered")), _worked(inside) - before
    context.close()
    return taken, worked


def _worked(inside) -> float:
    """CPU time of a page's thread so far, s."""
    metrics = inside.send("Performance.getMetrics")["metrics"]
    return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")


def main() -> None:
    given = timing.arguments(__doc__, 3, site={"type": Path, "help": "a site that is built already"})
    with tempfile.TemporaryDirectory() as folder, browsing.chromium_page() as tab:
        site = (given.site or Path(folder) / "site").resolve()
        if given.site is None:
            program = timing.ROOT / "chapters/book/book.py"
            subprocess.run([sys.executable, program, site], check=True, capture_output=True)
        pages = [
            page for page in sorted(site.glob("[0-9]*.html")) if "course-explorer" in page.read_text("utf-8")
        ]
        found = {}
        for page in pages[: 1 if given.quick else None]:
            rounds = [
                [answer(tab.context.browser, page, s) for _ in range(given.rounds)] for s in (1, SLOWER)
            ]
            (taken, worked), (slow, _) = (zip(*pairs, strict=True) for pairs in rounds)
            found[page.stem] = [weight(site, page) / 1e6, *map(statistics.median, (taken, worked, slow))]
        whole = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    slowest = max(found, key=lambda name: found[name][1])
    middle = [statistics.median(values) for values in zip(*found.values(), strict=True)]
    lines = []
    for name, values in ((f"median of {len(found)} pages", middle), (f"slowest: {slowest}", found[slowest])):
        lines.append([name, f"{values[0]:.2f} MB", *(f"{value:.2f} s" for value in values[1:]), GOAL_ANSWER])
    lines.append(["all pages, with search", f"{whole / 1e6:.1f} MB", "", "", "", GOAL_WEIGHT])
    names = ["page", "weight", "answers after", "CPU time", f"{SLOWER} times slower", "goal"]
    timing.say(timing.grid("The reading edition, from disk", names, lines))


if __name__ == "__main__":
    main()
