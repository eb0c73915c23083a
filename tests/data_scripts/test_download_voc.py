"""`download_voc`: made-up archives from a server on this machine that drops, lies, breaks, or isn't there at all."""

import dataclasses
import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from archives import NAMES, Server, entry, tar

SCRIPTS = Path(__file__).parents[2] / "data_scripts"
sys.path.insert(0, str(SCRIPTS))
import download_voc as script  # noqa: E402
import fetching  # noqa: E402
from download_voc import DownloadError, download_voc  # noqa: E402
from fetching import Archive  # noqa: E402


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, bytes]]:
    """archive -> path -> bytes, 300 kB each, noise."""
    random = np.random.default_rng(3)
    return {
        name: {
            f"VOCdevkit/{folder}/{part}/{name}.{i}": random.bytes(15_000)
            for part in ("Annotations", "JPEGImages")
            for i in range(10)
        }
        for name, folder in NAMES.items()
    }


@pytest.fixture(scope="module")
def packed(files) -> dict[str, bytes]:
    return {name: tar(members) for name, members in files.items()}


@pytest.fixture(scope="module")
def table(packed) -> tuple[Archive, ...]:
    return tuple(entry(name, packed[name], folder) for name, folder in NAMES.items())


@pytest.fixture
def server(packed, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0)
    monkeypatch.setattr(fetching, "TIMEOUT", 10)
    monkeypatch.setenv("no_proxy", "*")
    server = Server(dict(packed))
    yield server
    server.http.shutdown()
    server.http.server_close()


@pytest.fixture
def out(tmp_path) -> Path:
    return tmp_path / "data" / "VOCdevkit"


def unpacked(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out.parent)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def everything(files) -> dict[str, bytes]:
    return {path: content for members in files.values() for path, content in members.items()}


def beside(out: Path) -> list[str]:
    return sorted(path.name for path in out.parent.iterdir())


# --- The table ------------------------------------------------------------------------------------------


def test_the_table_is_the_three_archives_with_the_sums_that_torchvision_knows():
    from torchvision.datasets import voc

    known = {
        voc.DATASET_YEAR_DICT[year]["filename"]: voc.DATASET_YEAR_DICT[year]["md5"]
        for year in ("2007", "2007-test", "2012")
    }
    assert {a.name: a.md5 for a in script.ARCHIVES} == known
    assert [a.num_bytes for a in script.ARCHIVES] == [460_032_000, 451_020_800, 1_999_639_040]
    assert all(a.num_bytes % 512 == 0 for a in script.ARCHIVES)  # tar counts in blocks
    assert [a.folder for a in script.ARCHIVES] == ["VOC2007", "VOC2007", "VOC2012"]


def test_the_first_mirror_is_the_address_that_torchvision_uses_or_used():
    year_2012 = script.MIRRORS[0].format(year="voc2012", name="VOCtrainval_11-May-2012.tar")
    assert year_2012 == "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar"


# --- What a server may do -------------------------------------------------------------------------------


def test_archives_become_one_devkit_and_nothing_is_downloaded_twice(server, out, table, files):
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files)
    assert beside(out) == sorted(["VOCdevkit", *NAMES])
    assert server.asked == [("good", name, 0) for name in NAMES]
    download_voc(out, table, server.mirrors("good"))
    shutil.rmtree(out / "VOC2007")
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files) and len(server.asked) == 3


def test_a_dropped_connection_is_taken_up_at_the_byte_where_it_ended(server, out, table, files):
    download_voc(out, table, server.mirrors("drops"))
    assert unpacked(out) == everything(files)
    starts = [start for _, name, start in server.asked if name == "test.tar"]
    assert starts == [0, 100_000, 200_000, 300_000]


def test_a_connection_that_falls_silent_is_given_up_and_taken_up_again(
    server, out, table, files, monkeypatch
):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    download_voc(out, table[2:], server.mirrors("stalls"))
    assert unpacked(out) == files["trainval12.tar"]
    starts = [start for *_, start in server.asked]
    assert starts[0] == 0 and starts == sorted(starts) and len(starts) >= 4


@pytest.mark.parametrize("behaviour", ["good", "no-length"])
def test_what_is_there_already_is_not_asked_for_again(server, out, table, files, packed, behaviour):
    out.parent.mkdir()
    (out.parent / "test.tar.part").write_bytes(packed["test.tar"][:123_456])
    (out.parent / "trainval12.tar.part").write_bytes(packed["trainval12.tar"])
    download_voc(out, table, server.mirrors(behaviour))
    assert unpacked(out) == everything(files)
    assert server.asked == [(behaviour, "trainval.tar", 0), (behaviour, "test.tar", 123_456)]


def test_a_server_that_ignores_ranges_sends_the_file_anew_and_nothing_is_appended(
    server, out, table, files, packed
):
    out.parent.mkdir()
    (out.parent / "test.tar.part").write_bytes(packed["test.tar"][:123_456])
    download_voc(out, table, server.mirrors("no-ranges"))
    assert unpacked(out) == everything(files)
    assert ("no-ranges", "test.tar", 123_456) in server.asked


def test_a_server_that_ignores_ranges_and_always_drops_is_left_after_its_second_try(
    server, out, table, files
):
    download_voc(out, table, server.mirrors("no-ranges-drops", "good"))
    assert unpacked(out) == everything(files)
    about_one = [(behaviour, start) for behaviour, name, start in server.asked if name == "test.tar"]
    assert about_one == [("no-ranges-drops", 0), ("no-ranges-drops", 100_000), ("good", 100_000)]


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("long", r"offers \d+ bytes, wanted \d+"),
        ("short", r"offers \d+ bytes, wanted \d+"),
        ("no-length-long", r"sends more than \d+ bytes"),
        ("wrong", r"sent MD5 \w{32}, wanted \w{32}"),
        ("404", "answers 404 Not Found"),
        ("500", "answers 500 Internal Server Error"),
    ],
)
def test_a_server_that_lies_or_fails_is_named_and_the_next_is_tried(
    server, out, table, files, capsys, behaviour, said
):
    download_voc(out, table, server.mirrors(behaviour, "good"))
    assert unpacked(out) == everything(files)
    assert re.search(rf"test\.tar: 127\.0\.0\.1:{server.port} {said}", capsys.readouterr().err)
    assert beside(out) == sorted(["VOCdevkit", *NAMES])


@pytest.mark.parametrize("behaviour", ["shifted", "another-total", "long", "short"])
def test_a_range_that_is_not_the_one_asked_for_is_not_believed(server, out, table, files, packed, behaviour):
    out.parent.mkdir()
    for name in NAMES:
        (out.parent / f"{name}.part").write_bytes(packed[name][:50_000])
    download_voc(out, table, server.mirrors(behaviour, "good"))
    assert unpacked(out) == everything(files)
    assert [start for b, _, start in server.asked if b == "good"] == [50_000] * 3  # what was right was kept


def test_wrong_bytes_of_an_earlier_mirror_are_not_laid_at_the_next_ones_door(server, out, table, files):
    out.parent.mkdir()
    for name in NAMES:
        (out.parent / f"{name}.part").write_bytes(bytes(50_000))
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files)
    assert [start for *_, start in server.asked] == [50_000, 0] * 3


def test_a_part_longer_than_the_archive_is_thrown_away(server, out, table, files, packed):
    out.parent.mkdir()
    (out.parent / "test.tar.part").write_bytes(packed["test.tar"] + b"more")
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files)


def test_without_a_network_one_sentence_says_what_was_tried_and_the_table_what_to_bring(
    server, out, table, monkeypatch, capsys
):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    nobody = f"http://127.0.0.1:{port}/{{name}}"
    monkeypatch.setattr(script, "ARCHIVES", table)
    monkeypatch.setattr(script, "MIRRORS", (nobody, server.mirror("404")))
    assert script.main(["--out", str(out)]) == 1
    error = capsys.readouterr().err
    for words in (
        "trainval.tar: no mirror delivered it",
        f"127.0.0.1:{port} can't be reached",
        "answers 404",
    ):
        assert words in error
    assert "--from DIR" in error and "Traceback" not in error
    for a in table:
        assert a.name in error and a.md5 in error
    assert not out.exists()


def test_a_full_disk_is_noticed_before_anything_is_fetched(server, out, table, packed, monkeypatch):
    usage = namedtuple("usage", "total used free")
    out.parent.mkdir()
    (out.parent / "test.tar.part").write_bytes(packed["test.tar"][:100_000])
    both = len(packed["trainval.tar"]) + len(packed["test.tar"])
    needed = both - 100_000 + 1.1 * both
    monkeypatch.setattr(script.shutil, "disk_usage", lambda path: usage(0, 0, int(needed) - 1))
    with pytest.raises(DownloadError, match=r"VOC2007 needs .* GB, the disk has .* GB free"):
        download_voc(out, table, server.mirrors("good"))
    assert server.asked == [] and beside(out) == ["test.tar.part"]
    monkeypatch.setattr(script.shutil, "disk_usage", lambda path: usage(0, 0, int(needed) + 1))
    download_voc(out, table[:2], server.mirrors("good"))


# --- Archives that are here already ---------------------------------------------------------------------


def test_archives_in_a_folder_are_used_without_a_server_and_stay(out, table, files, packed, tmp_path):
    source = tmp_path / "stick"
    source.mkdir()
    for name, content in packed.items():
        (source / name).write_bytes(content)
    download_voc(out, table, [], source)
    assert unpacked(out) == everything(files)
    assert {path.name: path.read_bytes() for path in source.iterdir()} == packed
    assert beside(out) == ["VOCdevkit"]


def test_one_year_alone_asks_for_the_archives_of_that_year(server, out, table, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "ARCHIVES", table)
    monkeypatch.setattr(script, "MIRRORS", server.mirrors("good"))
    assert script.main(["--out", str(out), "--only", "VOC2007"]) == 0
    assert {path.name for path in out.iterdir()} == {"VOC2007"}
    assert {name for _, name, _ in server.asked} == {a.name for a in table if a.folder == "VOC2007"}
    assert len(server.asked) < len(table)


def test_an_archive_that_the_folder_lacks_is_downloaded(server, out, table, files, packed, tmp_path):
    (tmp_path / "test.tar").write_bytes(packed["test.tar"])
    download_voc(out, table, server.mirrors("good"), tmp_path)
    assert unpacked(out) == everything(files)
    assert [name for _, name, _ in server.asked] == ["trainval.tar", "trainval12.tar"]


@pytest.mark.parametrize("damage", ["cut", "one bit"])
def test_a_wrong_archive_in_the_folder_is_refused_and_not_touched(out, table, packed, tmp_path, damage):
    whole = packed["trainval.tar"]
    bad = whole[:-512] if damage == "cut" else whole[:5000] + bytes([whole[5000] ^ 4]) + whole[5001:]
    (tmp_path / "trainval.tar").write_bytes(bad)
    found = f"{len(bad)} bytes" if damage == "cut" else f"MD5 {hashlib.md5(bad).hexdigest()}"
    with pytest.raises(DownloadError) as error:
        download_voc(out, table, [], tmp_path)
    assert str(error.value).startswith(f"{tmp_path / 'trainval.tar'}: {found}, wanted ")
    assert (tmp_path / "trainval.tar").read_bytes() == bad and not out.exists()


def test_a_wrong_archive_beside_the_devkit_is_set_aside(server, out, table, files, capsys):
    out.parent.mkdir()
    (out.parent / "test.tar").write_bytes(b"<html>")
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files)
    assert (out.parent / "test.tar.wrong").read_bytes() == b"<html>"
    assert "test.tar: 6 bytes, wanted" in capsys.readouterr().err


def test_a_folder_that_is_there_already_is_left_as_it_is(server, out, table, capsys):
    (out / "VOC2007").mkdir(parents=True)
    (out / "VOC2007" / "mine").write_text("mine")
    download_voc(out, table, server.mirrors("good"))
    assert [path.name for path in (out / "VOC2007").iterdir()] == ["mine"]
    assert [name for _, name, _ in server.asked] == ["trainval12.tar"]
    assert "VOC2007 is there already" in capsys.readouterr().err


def test_a_devkit_that_is_a_link_is_filled_where_it_leads(server, out, table, files, tmp_path):
    (tmp_path / "large disk").mkdir()
    out.parent.mkdir()
    out.symlink_to(tmp_path / "large disk" / "VOC")
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(tmp_path / "large disk" / "VOC").keys() == {
        path.replace("VOCdevkit", "VOC", 1) for path in everything(files)
    }
    assert beside(out) == ["VOCdevkit"]


def test_a_source_that_is_no_folder_is_named(out, tmp_path, capsys):
    assert script.main(["--out", str(out), "--from", str(tmp_path / "nowhere")]) == 1
    assert f"{tmp_path / 'nowhere'}: not a folder" in capsys.readouterr().err


# --- Archives that mean harm ----------------------------------------------------------------------------


def special(kind: bytes, name: str, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


EVIL = {
    "out by dots": special(tarfile.REGTYPE, "../evil"),
    "out by dots further down": special(tarfile.REGTYPE, "VOCdevkit/VOC2007/../../../evil"),
    "no longer under VOCdevkit, by dots": special(tarfile.REGTYPE, "VOCdevkit/VOC2007/../../evil"),
    "absolute": special(tarfile.REGTYPE, "{tmp}/evil"),
    "beside the devkit": special(tarfile.REGTYPE, "elsewhere/evil"),
    "link out": special(tarfile.SYMTYPE, "VOCdevkit/VOC2007/evil", "{tmp}"),
    "link within": special(tarfile.SYMTYPE, "VOCdevkit/VOC2007/evil", "00"),
    "hard link": special(tarfile.LNKTYPE, "VOCdevkit/VOC2007/evil", "VOCdevkit/VOC2007/00"),
    "device": special(tarfile.CHRTYPE, "VOCdevkit/VOC2007/evil"),
    "pipe": special(tarfile.FIFOTYPE, "VOCdevkit/VOC2007/evil"),
}


@pytest.mark.parametrize("kind", EVIL)
def test_an_archive_that_means_harm_leaves_nothing_anywhere(out, tmp_path, kind):
    member = EVIL[kind].replace(
        name=EVIL[kind].name.format(tmp=tmp_path), linkname=EVIL[kind].linkname.format(tmp=tmp_path)
    )
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(special(tarfile.REGTYPE, "VOCdevkit/VOC2007/00"))
        archive.addfile(member)
    with pytest.raises(DownloadError) as error:
        download_voc(out, [entry("evil.tar", path.read_bytes())], [], tmp_path)
    assert str(path) in str(error.value) and repr(member.name) in str(error.value)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["data", "evil.tar"]


def test_an_archive_without_the_folder_that_is_due_is_refused(out, tmp_path):
    path = tmp_path / "other.tar"
    path.write_bytes(tar({"VOCdevkit/VOC2008/a": b"a"}))
    with pytest.raises(DownloadError, match=r"other\.tar: no VOCdevkit/VOC2007 in it"):
        download_voc(out, [entry("other.tar", path.read_bytes())], [], tmp_path)
    assert not out.exists()


@pytest.mark.parametrize("content", [b"no archive at all " * 99, b""])
def test_what_is_no_archive_is_refused_by_name(out, tmp_path, content):
    path = tmp_path / "odd.tar"
    path.write_bytes(content)
    with pytest.raises(DownloadError, match=r"odd\.tar"):
        download_voc(out, [entry("odd.tar", content)], [], tmp_path)
    assert not out.exists() and beside(out) == []


# --- Killed ---------------------------------------------------------------------------------------------

COMMAND = """
import signal, sys, tarfile, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would this
sys.path.insert(0, {scripts!r})
import download_voc, fetching
fetching.PAUSE = 0
download_voc.ARCHIVES = tuple(fetching.Archive(*row) for row in {table!r})
download_voc.MIRRORS = {mirrors!r}
extract = tarfile.TarFile.extract
def slowly(*arguments, **options):
    time.sleep(0.01)
    extract(*arguments, **options)
tarfile.TarFile.extract = slowly
sys.exit(download_voc.main(["--out", {out!r}]))
"""


def command(table, mirrors, out: Path) -> subprocess.Popen:
    rows = [dataclasses.astuple(a) for a in table]
    code = COMMAND.format(scripts=str(SCRIPTS), table=rows, mirrors=mirrors, out=str(out))
    environment = os.environ | {"no_proxy": "*"}
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)


def stop(process: subprocess.Popen, when, number: int) -> str:
    """Wait until `when` is true, send the signal. -> what it said."""
    limit = time.monotonic() + 30
    while not when():
        assert process.poll() is None and time.monotonic() < limit, process.stderr.read()
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate(timeout=30)[1]


@pytest.mark.slow
def test_a_download_killed_again_and_again_goes_on_where_it_was(server, out, table, files):
    part = out.parent / "trainval.tar.part"
    sizes = [0]
    for least in (50_000, 120_000, 200_000):
        process = command(table, server.mirrors("slow"), out)
        stop(process, lambda least=least: part.exists() and part.stat().st_size > least, signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL and beside(out) == ["trainval.tar.part"]
        sizes.append(part.stat().st_size)
    process = command(table, server.mirrors("good"), out)
    assert process.communicate(timeout=60)[0] is None and process.returncode == 0
    assert unpacked(out) == everything(files)
    assert [start for _, name, start in server.asked if name == "trainval.tar"] == sizes


@pytest.mark.slow
def test_an_unpacking_that_is_killed_leaves_no_folder_and_is_done_again_without_a_download(
    server, out, table, files
):
    unfinished = out.parent / ".VOCdevkit.VOC2007.unfinished"
    for number in (signal.SIGKILL, signal.SIGKILL):
        process = command(table, server.mirrors("good"), out)
        stop(process, lambda: len(list(unfinished.rglob("*.tar.*"))) > 5, number)
        assert process.returncode == -number and not out.exists()
    process = command(table, server.mirrors("good"), out)
    process.communicate(timeout=60)
    assert process.returncode == 0 and unpacked(out) == everything(files)
    assert beside(out) == sorted(["VOCdevkit", *NAMES])
    assert server.asked == [("good", name, 0) for name in NAMES]


def test_what_a_killed_unpacking_left_is_no_part_of_the_next(server, out, table, files):
    left = out.parent / ".VOCdevkit.VOC2007.unfinished" / "VOCdevkit" / "VOC2007" / "Annotations"
    left.mkdir(parents=True)
    (left / "half").write_text("half")
    download_voc(out, table, server.mirrors("good"))
    assert unpacked(out) == everything(files)


@pytest.mark.slow
def test_ctrl_c_is_answered_with_a_sentence_and_no_traceback(server, out, table):
    part = out.parent / "trainval.tar.part"
    process = command(table, server.mirrors("slow"), out)
    said = stop(process, lambda: part.exists() and part.stat().st_size > 20_000, signal.SIGINT)
    assert process.returncode == 130
    assert "the same command resumes" in said and "Traceback" not in said
