"""Tests of the way to the next page: what a page holds, what it gives back, and where it leads."""

import os
import subprocess
import sys

import pytest

from course.kit import leave

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def test_outside_a_kernel_there_is_no_button():
    assert leave.kernel_id() == "" and leave.Leave().kernel == ""


@LINUX
def test_what_a_page_holds_is_what_the_system_counts():
    held = leave.resident()
    counted = subprocess.run(
        ["grep", "VmRSS", f"/proc/{os.getpid()}/status"], capture_output=True, text=True
    ).stdout.split()[1]
    assert held == pytest.approx(1024 * int(counted), rel=0.05)


def test_short_memory_is_said_and_plenty_is_not(monkeypatch):
    monkeypatch.setattr(leave, "resident", lambda: 1_130_000_000)
    monkeypatch.setattr(leave, "available", lambda: 9e9)
    assert leave.said() == "This page holds 1.1 GB of memory."
    monkeypatch.setattr(leave, "available", lambda: 0.8e9)
    assert leave.said().endswith("Memory is short: 0.8 GB are left, less than the next page may need.")
    monkeypatch.setattr(leave, "resident", lambda: 0)
    monkeypatch.setattr(leave, "available", lambda: None)
    assert leave.said() == ""


@LINUX
@pytest.mark.slow
def test_memory_that_was_freed_is_given_back_whatever_the_allocator_was_told_to_keep():
    """256 MB in small blocks, freed: with the thresholds of a training they stay; `give_back` returns nearly all."""
    code = (
        "from course.kit import leave\n"
        "blocks = [bytearray(b'x' * 100_000) for _ in range(2560)]\n"
        "del blocks\n"
        "before = leave.resident()\n"
        "leave.give_back()\n"
        "print(before - leave.resident())"
    )
    kept = {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "4000000000"}
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | kept, capture_output=True, text=True)
    if "libc.so.6" not in open("/proc/self/maps").read():
        pytest.skip("another C library than glibc")
    assert int(done.stdout) > 200e6, done.stderr
