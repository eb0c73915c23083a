"""Tests in a real browser: JupyterLab opens chapter 00, and its cells run and show what they should."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--no-first-run",
    "--disable-sync",
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab on loopback over a copy of the chapters, with settings of its own. -> its address."""
    home = tmp_path_factory.mktemp("lab")
    if not (ROOT / "data/mini/VOCdevkit").exists():
        pytest.skip("the mini VOC isn't there; `make mini` paints it")
    shutil.copytree(ROOT / "chapters", home / "chapters")
    (home / "data").symlink_to(ROOT / "data")
    folders = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
    folders += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
    env = os.environ | {name: str(home / name.lower()) for name in folders}
    settings = home / "jupyterlab_settings_dir/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
    ]
    command += [
        "--IdentityProvider.token=",
        "--LabApp.expose_app_in_browser=True",
        f"--ServerApp.root_dir={home}",
    ]
    log = open(home / "log.txt", "w")
    server = subprocess.Popen(command, env=env, cwd=home, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(120):
        try:
            urllib.request.urlopen(f"{address}/api", timeout=2)
            break
        except OSError:
            assert server.poll() is None, (home / "log.txt").read_text()
            time.sleep(0.5)
    yield address
    server.terminate()
    server.wait(30)


@pytest.fixture(scope="module")
def page(lab):
    """A page of a headless Chromium."""
    path = next((found for found in map(shutil.which, BROWSERS) if found), None)
    if path is None:
        pytest.skip("no Chromium here; on Debian `apt-get install chromium` brings one")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=QUIET)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        yield page
        browser.close()


def test_chapter_00_opens_and_its_first_cells_run(lab, page):
    page.goto(f"{lab}/lab/tree/chapters/00_start_here.ipynb?reset")
    page.wait_for_selector("h1:has-text('Start here')", timeout=60_000)
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'",
        timeout=60_000,
    )
    page.evaluate("""() => {
        const panel = window.jupyterapp.shell.currentWidget;
        window.jupyterapp.commands.execute('notebook:clear-all-cell-outputs');
        panel.content.activeCellIndex = panel.content.widgets.findIndex(
            cell => cell.model.sharedModel.source.includes('plots.examples(')) + 1;
        window.jupyterapp.commands.execute('notebook:run-all-above');
    }""")
    page.wait_for_selector("text=800 scenes to learn from, 200 to be tested on", timeout=120_000)
    page.wait_for_selector(".jp-OutputArea img", timeout=60_000)
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
