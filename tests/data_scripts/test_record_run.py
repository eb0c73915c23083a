"""Tests for `record_run`: what a recording says of a run, and which runs it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import record_run


@pytest.fixture
def code(tmp_path):
    """A checkout with one commit in ssdlib, made in 2001."""
    folder = tmp_path / "code"
    (folder / "ssdlib").mkdir(parents=True)
    (folder / "ssdlib/a.py").write_text("")
    when = {"GIT_COMMITTER_DATE": "1000000000 +0000", "GIT_AUTHOR_DATE": "1000000000 +0000"}
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=os.environ | when)
    return folder


@pytest.fixture
def broken(tmp_path):
    """A run that broke before its first checkpoint."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(json.dumps({"steps": 9, "seed": 4}))
    (run / "log.jsonl").write_text('{"step": 2, "diverged": true, "seconds": 7.5}\n')
    return run


def test_a_run_that_broke_before_its_first_checkpoint_is_kept_with_the_commit_that_ran(
    code, broken, tmp_path
):
    record_run.record(broken, tmp_path / "out", log_only=True, note="broke", code=code)
    facts = json.loads((tmp_path / "out/recording.json").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=code, capture_output=True, text=True
    ).stdout.strip()
    assert (facts["commit"], facts["seconds"], facts["note"], facts["config"]["seed"]) == (
        commit,
        7.5,
        "broke",
        4,
    )
    assert (tmp_path / "out/log.jsonl").read_bytes() == (broken / "log.jsonl").read_bytes()


def test_a_run_older_than_the_commit_and_a_changed_checkout_are_refused(code, broken, tmp_path):
    os.utime(broken / "config.json", (900_000_000, 900_000_000))
    with pytest.raises(SystemExit, match="isn't the code that ran"):
        record_run.record(broken, tmp_path / "out", log_only=True, code=code)
    (code / "ssdlib/a.py").write_text("changed")
    with pytest.raises(SystemExit, match="uncommitted changes"):
        record_run.record(broken, tmp_path / "out", log_only=True, code=code)
    assert not (tmp_path / "out").exists()
