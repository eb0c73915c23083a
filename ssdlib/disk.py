"""What is written: whole or not at all, and with its name where the disk is full."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of the operating system that say no file say this one: a full disk is noticed by a write, which knows
    no name."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """First beside `path`, as NAME.part-PROCESS, then renamed over it: whatever happens, the old file is there or the
    new one. Raises OSError with the file's name."""
    part = path.with_name(f"{path.name}.part-{os.getpid()}")
    try:
        with named(path), open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # or the name could reach the disk before the bytes do
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
