"""One training at a time in a run folder.

A lock of the operating system on a file in the folder: whoever holds it writes there, and it is gone with the process
that held it, however that ended. So a crash may leave the file `lock`, but nothing that stands in anybody's way.
"""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ssdlib import disk, distributed
from ssdlib.runs import LOCK, RunError

try:
    import fcntl
except ImportError:  # Windows
    import msvcrt


def alone(train: Callable) -> Callable:
    """For a function with an argument `out`: its second call for the same folder is refused while the first works."""

    @functools.wraps(train)
    def guarded(*arguments: Any, **named: Any) -> Any:
        out = inspect.signature(train).bind(*arguments, **named).arguments["out"]
        distributed.start()  # or nobody would know who is the first
        with held(Path(out)) if distributed.is_first() else contextlib.nullcontext():
            return train(*arguments, **named)

    return guarded


@contextlib.contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the lock of the folder, which is made if it isn't there. Raises RunError if somebody holds it.

    In the end the file goes, and so does a folder that was made here and stayed empty.
    """
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    file = _taken(out / LOCK)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes nothing that is open
            (out / LOCK).unlink()  # while it is held: afterwards it could be the next one's
        file.close()
        if made:
            with contextlib.suppress(OSError):
                out.rmdir()


def _taken(path: Path) -> BinaryIO:
    """The open file, locked; closing it gives the lock back."""
    while True:
        file = open(path, "a+b")
        if not _lock(file):
            file.seek(0)
            who = file.read().decode(errors="replace").strip() or "another process"
            file.close()
            raise RunError(f"{path.parent}: {who} trains there; wait for it, stop it, or name another folder")
        try:
            still_there = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except FileNotFoundError:
            still_there = False
        if still_there:  # else its holder removed it after we had opened it
            with disk.named(path):
                file.truncate(0)
                file.write(f"process {os.getpid()}\n".encode())
                file.flush()
            return file
        file.close()


def _lock(file: BinaryIO) -> bool:
    """Whether the lock could be had. Where the file system knows no locks, nobody can be refused."""
    try:
        if "fcntl" in globals():
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            file.seek(1 << 20)  # behind what is read by those who are refused
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True
