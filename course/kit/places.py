"""Where things lie, whatever folder a page is run in: the project, its recordings, the learner's own folder."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
CHAPTERS = ROOT / "chapters"
ASIDE = "aside"  # there, too: pages and answers that gave way to others
SHIPPED = ".shipped"  # in a learner's folder: the pages as they came, to tell an answer from a later version


def recording(*parts: str) -> Path:
    """A file or folder of `chapters/recordings`: `recording("mini")`.

    Raises FileNotFoundError with the names that are there."""
    folder = CHAPTERS / "recordings"
    path = folder.joinpath(*parts)
    if not path.exists():
        there = ", ".join(sorted(found.name for found in path.parent.glob("*"))) or "nothing"
        raise FileNotFoundError(
            f"chapters/recordings has no {'/'.join(parts)}; beside it there are {there}. "
            "`git status` says whether a file was deleted"
        )
    return path


def learner_home() -> Path:
    """The folder in which `make lab` lays the learner's pages: what COURSE_HOME names, else `my_course`."""
    return Path(os.environ.get("COURSE_HOME") or ROOT / "my_course").expanduser().resolve()


def page_home() -> Path | None:
    """The learner's folder if the page that is running lies in it, else None: what is run elsewhere (a test, a
    build, the pages in `chapters`) neither reads nor writes what a learner has reached."""
    here = Path.cwd()
    return here if (here / SHIPPED).is_dir() else None


def runs_folder() -> Path:
    """Where pages keep their runs: the project's `runs`, or what COURSE_RUNS names, as the course's tests do."""
    return Path(os.environ.get("COURSE_RUNS") or ROOT / "runs").expanduser()
