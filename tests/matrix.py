"""Run the tests with the oldest versions this project says it supports, and with the newest: `make test-matrix`.

    python tests/matrix.py [--only oldest|newest] [--oldest PYTHON] [--newest PYTHON] [-- pytest's own words]

Each set of versions gets an environment of its own in build/, which stays for the next time. "Oldest" is read from
the lower bounds in pyproject.toml, so that nobody has to keep two lists; each has the Python that is named, by
default the one that runs this. Browser tests are left out: they drive a JupyterLab, which `make test` does. An
environment with PyTorch's ordinary package takes 7 GB of disk.
"""

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHOWN = ("torch", "torchvision", "numpy", "pillow", "matplotlib", "jupyterlab", "ipywidgets", "anywidget")


def lower_bounds(requirements: Sequence[str]) -> list[str]:
    """ "numpy>=1.26" -> "numpy==1.26.*": the oldest release that the words allow, with its bug fixes."""
    bounds = []
    for line in requirements:
        name, least = re.match(r"([\w.-]+)\s*>=\s*([\d.]+)", line).groups()
        bounds.append(f"{name}=={least}.*")
    return bounds


def environment(name: str, python: str) -> Path:
    """The interpreter of build/matrix-`name`, made and filled if it isn't there, or is of another Python."""
    place = ROOT / "build" / f"matrix-{name}"
    inside = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ready = place / "ready"
    asked = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout
    if ready.exists() and ready.read_text() == asked:
        return inside
    subprocess.run([python, "-m", "venv", "--clear", str(place)], check=True)
    words = ["--quiet", "--disable-pip-version-check", "--editable", f"{ROOT}[test]"]
    if name == "oldest":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        (place / "bounds.txt").write_text("\n".join(lower_bounds(project["dependencies"])) + "\n")
        words += ["--constraint", str(place / "bounds.txt")]
    print(f"{name}: installing into {place}, some minutes", flush=True)
    subprocess.run([str(inside), "-m", "pip", "install", *words], check=True)
    ready.write_text(asked)
    return inside


def versions(python: Path) -> str:
    """What is installed there, in one line."""
    code = "import sys, importlib.metadata as m; print('Python', sys.version.split()[0], end='')\n"
    code += f"for name in {SHOWN!r}: print(',', name, m.version(name), end='')"
    return subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True).stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. -> 0 if the tests pass everywhere."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--only", choices=("oldest", "newest"))
    for name in ("oldest", "newest"):
        words.add_argument(f"--{name}", metavar="PYTHON", default=sys.executable, help="default: this one")
    words.add_argument("pytest", nargs="*", help="after --: instead of -n 2 and the marks")
    options = words.parse_args(arguments)
    chosen = options.pytest or ["-n", "2", "--dist", "loadfile", "-m", "not browser"]
    failed = []
    for name in (options.only,) if options.only else ("oldest", "newest"):
        python = environment(name, getattr(options, name))
        print(f"{name}: {versions(python)}", flush=True)
        quiet = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        done = subprocess.run([str(python), "-m", "pytest", *chosen, "tests"], cwd=ROOT, env=quiet)
        failed += [name] * bool(done.returncode)
    print("failed with the versions: " + ", ".join(failed) if failed else "passed with all versions")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
