"""Fetch one file of known length and MD5 sum from the first of several mirrors that has it.

What has arrived lies in NAME.part, and every request asks only for the rest; the file gets its name when its sum is
right. A server that ignores the range sends the whole file again; one that offers another length is refused.
"""

import hashlib
import http.client
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tqdm import tqdm

from ssdlib.files import named

TIMEOUT, PAUSE = 30, 1  # s: waiting for an answer, and before asking again after a lost connection
BLOCK = 1 << 16  # bytes


@dataclass(frozen=True)
class Archive:
    """A file of which length and sum are known, and the folder that it fills, alone or with others."""

    name: str
    num_bytes: int
    md5: str
    folder: str  # under VOCdevkit/


class MirrorError(Exception):
    """A mirror doesn't deliver a file. The message says what it did."""


class LostConnection(MirrorError):
    """A mirror began and broke off, so it is worth another request."""


def fetch(archive: Archive, place: Path, mirrors: Sequence[str]) -> Path:
    """Download the archive into `place` from the first mirror that has it; MirrorError says what all of them did."""
    tried = []
    for mirror in mirrors:
        url = mirror.format(name=archive.name, year=archive.folder.lower())
        try:
            fetch_from(url, archive, part_of(place, archive))
            return part_of(place, archive).replace(place / archive.name)
        except MirrorError as error:
            tried.append(f"{urlsplit(url).netloc} {error}")
            say(f"{archive.name}: {tried[-1]}")
    raise MirrorError(f"{archive.name}: no mirror delivered it ({'; '.join(tried)})")


def fetch_from(url: str, archive: Archive, part: Path) -> None:
    """Complete `part` from one mirror, asking again as long as that brings bytes. Raises MirrorError."""
    resumed = part.exists()
    best, lost = -1, None
    while (have := size_of(part)) < archive.num_bytes:
        if have <= best:
            raise lost
        best = have
        try:
            receive(url, archive, part)
        except LostConnection as error:
            lost = error
            time.sleep(PAUSE)
    if wrong := difference(part, archive):
        part.unlink()
        if not resumed:
            raise MirrorError(f"sent {wrong}")
        # Once more, from nothing: the wrong bytes may be older than this mirror's.
        fetch_from(url, archive, part)


def receive(url: str, archive: Archive, part: Path) -> None:
    """One request for the bytes that `part` lacks. They are written as they come."""
    have = size_of(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with _opened(request) as answer:
        start = first_byte(answer, have, archive.num_bytes)
        mode = "r+b" if start else "wb"
        with named(part), open(part, mode) as file, bar_of(archive.num_bytes, archive.name, start) as bar:
            file.seek(start)
            for block in _blocks(answer):
                if file.tell() + len(block) > archive.num_bytes:
                    raise MirrorError(f"sends more than {archive.num_bytes} bytes")
                file.write(block)
                bar.update(len(block))
            if file.tell() < archive.num_bytes:
                raise LostConnection(f"broke off after {file.tell()} of {archive.num_bytes} bytes")


def first_byte(answer: http.client.HTTPResponse, have: int, num_bytes: int) -> int:
    """Where the answer's bytes belong in the file: `have`, or 0 from a server without ranges.

    Raises MirrorError if its headers announce another part, or a file of another length.
    """
    length, span = answer.headers.get("Content-Length"), answer.headers.get("Content-Range")
    rest = rf"bytes {have}-{num_bytes - 1}/({num_bytes}|\*)"
    if answer.status == 206 and not re.fullmatch(rest, span or ""):
        raise MirrorError(f"offers {span}, wanted bytes {have}-{num_bytes - 1}/{num_bytes}")
    if answer.status not in (200, 206):
        raise MirrorError(f"answers {answer.status} {answer.reason}")
    start = have if answer.status == 206 else 0
    if length is not None and length.strip() != str(num_bytes - start):
        raise MirrorError(f"offers {length} bytes, wanted {num_bytes - start}")
    return start


def _opened(request: urllib.request.Request) -> http.client.HTTPResponse:
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        raise MirrorError(f"answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MirrorError(f"can't be reached ({getattr(error, 'reason', error)})") from error


def _blocks(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """Errors of reading are the mirror's, and errors of writing the disk's."""
    try:
        while block := answer.read(BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise LostConnection(f"broke off ({error!r})") from error


def difference(path: Path, archive: Archive) -> str | None:
    """How the file differs from what it should be, None if it doesn't."""
    if (found := path.stat().st_size) != archive.num_bytes:
        return f"{found} bytes, wanted {archive.num_bytes}"
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file, bar_of(archive.num_bytes, f"checking {archive.name}") as bar:
        while block := file.read(16 * BLOCK):
            digest.update(block)
            bar.update(len(block))
    return None if digest.hexdigest() == archive.md5 else f"MD5 {digest.hexdigest()}, wanted {archive.md5}"


def part_of(place: Path, archive: Archive) -> Path:
    return place / f"{archive.name}.part"


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def bar_of(num_bytes: int, words: str, initial: int = 0) -> tqdm:
    return tqdm(total=num_bytes, initial=initial, desc=words, unit="B", unit_scale=True)


def say(words: str) -> None:
    print(words, file=sys.stderr)
