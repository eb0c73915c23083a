"""What several test files share: where the reference files are, and one network with known weights."""

import gc
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

import hypothesis
import pytest
import torch
from filelock import FileLock

import browsing
import oracles
from ssdlib.model import SSD300
from ssdlib.records import Predictions

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))  # for test_benchmarks

# No test reads or writes what a learner keeps, whatever the environment says
os.environ["COURSE_HOME"] = str(Path(tempfile.gettempdir()) / f"course_home_of_tests_{os.getpid()}")

# Nor does one choose its threads by the clock (see `threads`), or runs wouldn't be bit-for-bit the same
os.environ.setdefault("OMP_NUM_THREADS", str(torch.get_num_threads()))


def pytest_collection_finish() -> None:
    """Don't look for garbage among the modules and tests that are there: each training looks for it at its end, and
    would take 0.4 s for that."""
    gc.collect()
    gc.freeze()


BROWSER = "tests/browser/"
# What takes longest begins first, lest one process train while the others have nothing left to do
LONGEST = ("chapters/09", BROWSER, "chapters/00", "chapters/12", "chapters/10", "chapters/05")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Of `-n` processes one has all the tests that drive a browser: they share a JupyterLab, and wait more than they
    compute. Any other file goes to whichever process is free."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class OneBrowser(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return BROWSER if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)

    return OneBrowser(config, log)


hypothesis.settings.register_profile("quick", deadline=None, max_examples=30, derandomize=True)
hypothesis.settings.load_profile("quick")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests at length run only where `-m` speaks of them; a default for `-m` would be lost beside any other."""

    def late(item: pytest.Item) -> int:
        starts = (place for place, start in enumerate(LONGEST) if item.nodeid.startswith(start))
        return next(starts, len(LONGEST))

    items.sort(key=late)  # the others stay in their order
    if "nightly" in config.getoption("markexpr"):
        return
    left_out = [item for item in items if item.get_closest_marker("nightly")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference files beside the project, which is not part of it."""
    folder = Path(__file__).parents[2] / "shared"
    if not (folder / "reference").is_dir():
        pytest.skip(f"the reference files are not here; this test reads them from {folder.name}/reference")
    return folder


@pytest.fixture(scope="session")
def pattern_network() -> SSD300:
    """The full network with the weights of `oracles.pattern_state`. Not to be changed by a test."""
    model = SSD300().eval().requires_grad_(False)
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    model.load_state_dict(oracles.pattern_state(shapes))
    return model


@pytest.fixture(scope="session")
def pattern_output(pattern_network) -> Predictions:
    """What it says about `oracles.pattern_images`."""
    with torch.no_grad():
        return pattern_network(oracles.pattern_images())


@pytest.fixture(scope="session")
def genuine(shared, tmp_path_factory) -> Path:
    """A VOCdevkit folder with the genuine annotations and image lists of VOC2007 and 2012, no photographs."""
    folder = tmp_path_factory.mktemp("genuine")
    with tarfile.open(shared / "reference" / "voc0712_annotations.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="session")
def mini(tmp_path_factory) -> Path:
    """A VOCdevkit folder of 24 scenes: VOC2007 trainval 10, test 8, VOC2012 trainval 6."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "data_scripts"))
    from make_mini_voc import make_mini_voc

    out = tmp_path_factory.mktemp("mini") / "VOCdevkit"
    make_mini_voc(out, seed=5, trainval_2007=10, test_2007=8, trainval_2012=6, jobs=1)
    return out


@pytest.fixture(scope="session")
def reader(tmp_path_factory):
    """Someone at a browser with JupyterLab, for tests marked `browser`."""
    home = tmp_path_factory.mktemp("lab")
    with browsing.chromium_page() as page, browsing.jupyterlab(home) as address:
        yield browsing.Reader(address, page, home=home)


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core, as the package of a Python wrapper brings it."""
    found = find_spec("axe_playwright_python")
    if found is None:
        pytest.skip("axe-core isn't installed; pip install axe-playwright-python brings it")
    return (Path(__file__).parents[1] / found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The reading edition, made from the notebooks as they are; once, also for several processes of pytest."""
    folder = tmp_path_factory.getbasetemp()
    folder = folder.parent if os.environ.get("PYTEST_XDIST_WORKER") else folder
    out, program = folder / "site", Path(__file__).parents[1] / "chapters/book/book.py"
    with FileLock(folder / "site.lock"):
        if not out.is_dir():
            begun = folder / "site_begun"
            done = subprocess.run(
                [sys.executable, program, begun], capture_output=True, text=True, timeout=500
            )
            assert done.returncode == 0, done.stderr
            assert "WARNING" not in done.stderr, done.stderr
            begun.rename(out)
    return out
