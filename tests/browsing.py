"""A JupyterLab and a page in a headless Chromium, and what a reader does there: open, run, drag, press keys, read."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest

from course.kit import working_copy

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--no-first-run", "--disable-sync", "--disable-component-update"),
)
FOLDERS = (
    *("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"),
    *("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR"),
)


@contextmanager
def jupyterlab(home: Path, program: str = "jupyterlab"):
    """A server on loopback over a copy of the chapters, with settings of its own. -> its address.

    `program`: "jupyterlab", or "notebook" for Notebook 7."""
    if not (ROOT / "data/mini/VOCdevkit").exists():
        pytest.skip("the mini VOC isn't there; `make mini` paints it")
    shutil.copytree(ROOT / "chapters", home / "chapters")
    (home / "data").symlink_to(ROOT / "data")
    settings = home / "jupyterlab_settings_dir/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with served(home, program) as address:
        yield address


@contextmanager
def served(home: Path, program: str = "jupyterlab", as_made: bool = False):
    """A server over a folder, which may hold what an earlier one left there. -> its address. `as_made`: with the
    settings and the layout of `make lab`."""
    env = os.environ | {name: str(home / name.lower()) for name in FOLDERS}
    env["COURSE_RUNS"] = str(
        home / "runs"
    )  # runs begun here stay here; the chapters' own are trained meanwhile
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    shown = {"jupyterlab": "LabApp", "notebook": "JupyterNotebookApp"}[program]
    command = [sys.executable, "-m", program, "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [f"--port={port}", "--IdentityProvider.token=", f"--{shown}.expose_app_in_browser=True"]
    command += ["--ServerApp.kernel_websocket_connection_class=course.kit.prompt_server.PromptConnection"]
    if as_made:
        working_copy.lay_out(home)
        env["JUPYTER_CONFIG_PATH"] = str(working_copy.LAB)
        command += [f"--LabApp.workspaces_dir={home / '.lab'}", "--custom-css"]
        style = {"static_custom_path": [str(working_copy.LAB / "custom")]}
        command.append(f"--ServerApp.tornado_settings={style}")
    log = open(home / "log.txt", "a")
    server = subprocess.Popen(
        [*command, f"--ServerApp.root_dir={home}"], env=env, cwd=home, stdout=log, stderr=log
    )
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api", timeout=2)
                break
            except OSError:
                assert server.poll() is None, (home / "log.txt").read_text()
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(30)


_started: list = []  # Playwright and how many pages use it


@contextmanager
def _playwright():
    """Playwright, started once however many fixtures have a page open: it refuses to start beside itself."""
    from playwright.sync_api import sync_playwright

    if not _started:
        _started[:] = [sync_playwright().start(), 0]
    _started[1] += 1
    try:
        yield _started[0]
    finally:
        _started[1] -= 1
        if not _started[1]:
            _started[0].stop()
            _started.clear()


@contextmanager
def chromium_page():
    """A page of a headless Chromium; skips with a sentence where there is none."""
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        pytest.skip("no Chromium here; on Debian `apt-get install chromium` brings one")
    with _playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        yield browser.new_page(viewport={"width": 1400, "height": 1000})
        browser.close()


class Reader:
    """Someone in front of a chapter in JupyterLab."""

    def __init__(
        self, address: str, page, folder: str = "lab/tree", pages: str = "chapters", home: Path | None = None
    ):
        self.address, self.page, self.folder, self.pages, self.home = address, page, folder, pages, home

    def open(self, chapter: str, afresh: bool = True) -> None:
        """Open chapters/<chapter>.ipynb, or that of other `pages`, and wait for its kernel; `afresh` forgets
        JupyterLab's layout."""
        address = f"{self.address}/{self.folder}/{self.pages}/{chapter}.ipynb"
        self.page.goto(address + ("?reset" if afresh else ""))
        self.page.wait_for_selector(".jp-Notebook h1", timeout=60_000)
        self._until_idle()

    def turn_to(self, chapter: str) -> None:
        """Open a page beside the one that is open, whose kernel ends, without loading JupyterLab anew, which takes
        four times as long; where it isn't there yet, as `open` does."""
        path = f"{self.pages}/{chapter}.ipynb"
        if not self.page.url.startswith(self.address):
            return self.open(chapter)
        self.page.evaluate(
            """async (path) => {
                const {shell, commands} = window.jupyterapp;
                for (const open of [...shell.widgets('main')]) {
                    await open.sessionContext?.shutdown();
                    open.dispose();
                }
                await commands.execute('docmanager:open', {path});
            }""",
            path,
        )
        self.page.wait_for_function(
            "path => window.jupyterapp.shell.currentWidget?.context?.path === path", arg=path, timeout=60_000
        )
        self.page.wait_for_selector(".jp-Notebook h1", timeout=60_000)
        self._until_idle()

    def run_cells(self, *words: str, timeout: float = 120) -> None:
        """Clear all outputs, then run, from the top, the code cells that contain one of `words`."""
        self.page.evaluate(
            """async (words) => {
                const panel = window.jupyterapp.shell.currentWidget;
                const run = window.jupyterapp.commands;
                await run.execute('notebook:clear-all-cell-outputs');
                panel.content.deselectAll();
                panel.content.widgets.forEach((cell, i) => {
                    if (cell.model.type !== 'code') return;
                    if (!words.some(word => cell.model.sharedModel.source.includes(word))) return;
                    panel.content.activeCellIndex = i;
                    run.execute('notebook:run-cell');
                });
            }""",
            list(words),
        )
        self.page.wait_for_timeout(300)
        self.page.wait_for_function(
            "() => ![...document.querySelectorAll('.jp-InputPrompt')].some(e => e.innerText.includes('*'))",
            timeout=timeout * 1000,
        )
        self._until_idle(timeout)

    def save(self) -> None:
        """Save the page."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.context.save()")

    def new_kernel(self) -> None:
        """Shut the page's kernel down; the next opening starts another one."""
        self.page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    def _until_idle(self, timeout: float = 60) -> None:
        self.page.wait_for_function(
            "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
            timeout=timeout * 1000,
        )

    def theme(self, name: str) -> None:
        """Change the colours of JupyterLab: "Light" or "Dark"."""
        self.page.evaluate(
            "theme => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
            f"JupyterLab {name}",
        )
        wanted = "name => document.body.dataset.jpThemeName === name"
        self.page.wait_for_function(wanted, arg=f"JupyterLab {name}")
        self.page.wait_for_timeout(500)  # until its style sheet is there, too

    # ---- explorers

    def board(self, nth: int = 0):
        """The nth board on the page, scrolled into view."""
        found = self.page.locator(".course-board canvas").nth(nth)
        found.wait_for(timeout=60_000)
        found.scroll_into_view_if_needed()
        return found

    def status(self, nth: int = 0) -> str:
        """What the board says, the text a screen reader reads."""
        return self.page.locator(".course-board-status").nth(nth).inner_text()

    def until_status(self, words: str, nth: int = 0) -> str:
        """Wait until the board says `words`."""
        self.page.wait_for_function(
            "([words, nth]) => document.querySelectorAll('.course-board-status')[nth]?.innerText.includes(words)",
            arg=[words, nth],
            timeout=15_000,
        )
        return self.status(nth)

    def drag(
        self, start: tuple, end: tuple, view: tuple, nth: int = 0, steps: int = 12, stall: float = 0
    ) -> None:
        """Press at `start`, move to `end`, let go: px of the image; `view` is the board's. `stall`: s of
        rest before the last bit of the way."""
        canvas = self.board(nth)
        frame = canvas.bounding_box()
        k = frame["width"] / (view[2] - view[0])
        (x0, y0), (x1, y1) = (
            (frame["x"] + (x - view[0]) * k, frame["y"] + (y - view[1]) * k) for x, y in (start, end)
        )
        mouse = self.page.mouse
        mouse.move(x0, y0)
        mouse.down()
        if stall:
            mouse.move(x1 - 0.02 * (x1 - x0), y1, steps=steps)
            self.page.wait_for_timeout(1000 * stall)
        mouse.move(x1, y1, steps=steps)
        mouse.up()

    def press(self, *keys: str, nth: int = 0) -> None:
        """Focus the board and press keys."""
        self.board(nth).focus()
        for key in keys:
            self.page.keyboard.press(key)

    def ask(self, code: str, timeout: float = 30) -> str:
        """Run an expression in the chapter's kernel and return its text: the state as Python sees it."""
        return self.page.evaluate(
            """async ([code, timeout]) => {
                const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
                let text = '';
                const future = kernel.requestExecute({code, store_history: false});
                future.onIOPub = (message) => {
                    const content = message.content;
                    text += content.text || content.data?.['text/plain'] || content.evalue || '';
                };
                const late = new Promise((_, no) => setTimeout(no, 1000 * timeout, `no answer to ${code}`));
                await Promise.race([future.done, late]);
                return text;
            }""",
            [f"print({code})", timeout],
        ).strip()

    def errors(self) -> int:
        """How many outputs are an error or a warning."""
        return self.page.locator(
            ".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'],"
            ".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']"
        ).count()


def serious(page, axe: str, ours: str, without: str = "", off: list[str] = (), least: int = 4) -> list:
    """What axe finds in the parts of a page that `ours` selects."""
    page.evaluate(axe)
    passed, violations = page.evaluate(
        """async ([ours, without, off]) => {
            const all = (selector) => selector ? [...document.querySelectorAll(selector)] : [];
            const rules = Object.fromEntries(off.map(name => [name, {enabled: false}]));
            const where = {include: all(ours), exclude: all(without)};
            const said = await axe.run(where, {rules, resultTypes: ['violations']});
            const shown = (v) => [v.id, v.impact, v.help, v.nodes.slice(0, 3).map(n => n.html.slice(0, 150))];
            return [said.passes.length, said.violations.map(shown)];
        }""",
        [ours, without, list(off)],
    )
    assert passed >= least, "axe saw next to nothing"
    return [v for v in violations if v[1] in ("serious", "critical")]


def part_of(home: Path, name: str, words: tuple[str, ...]) -> str:
    """Beside a chapter a page with its title and those of its cells that hold one of `words`. -> its name."""
    page = nbformat.read(home / f"{name}.ipynb", 4)
    title, *cells = page.cells
    kept = [cell for cell in cells if cell.cell_type == "code" and any(word in cell.source for word in words)]
    for word in words:
        assert any(word in cell.source for cell in kept), f"no cell of {name} holds {word}"
    page.cells = [title, *kept]
    page.metadata.pop("widgets", None)
    nbformat.write(page, home / f"part_of_{name}.ipynb")
    return f"part_of_{name}"


def chapter_of(name: str, *cells: str, timeout: float = 120):
    """A fixture for a module's tests: the cells of the chapter that hold these words are open and have run, and the
    board is there. Its value is the `Reader`."""

    @pytest.fixture(scope="module")
    def chapter(reader: Reader) -> Reader:
        reader.turn_to(part_of(reader.home / reader.pages, name, cells))
        reader.run_cells(*cells, timeout=timeout)
        reader.board()
        return reader

    return chapter
