"""Tests for `checkpoint`: what is saved comes back, a crash leaves the old file, nothing foreign is executed."""

import os
import pickle

import pytest
import torch

from ssdlib import files


def test_what_was_saved_comes_back(tmp_path):
    state = {"weights": {"a": torch.arange(6.0).view(2, 3)}, "step": 7, "config": {"drops": (1, 2)}}
    files.save_checkpoint(tmp_path / "c.pt", state)
    loaded = files.load_checkpoint(tmp_path / "c.pt")
    assert torch.equal(loaded["weights"]["a"], torch.tensor([[0.0, 1, 2], [3, 4, 5]]))
    assert (loaded["step"], loaded["config"]) == (7, {"drops": (1, 2)})


def test_a_crash_while_writing_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    files.save_checkpoint(tmp_path / "c.pt", {"step": 1})

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        files.save_checkpoint(tmp_path / "c.pt", {"step": 2})
    assert files.load_checkpoint(tmp_path / "c.pt")["step"] == 1
    assert [p.name for p in tmp_path.iterdir()] == ["c.pt"]


class Malicious:
    def __reduce__(self):
        return os.system, ("echo executed > executed.txt",)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o))])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write({"format": 1, "model": Malicious()}, tmp_path / "evil.pt")
    with pytest.raises(files.CheckpointError, match=r"evil\.pt.*wanted a checkpoint"):
        files.load_checkpoint(tmp_path / "evil.pt")
    assert not (tmp_path / "executed.txt").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_cut_off_file_is_named(tmp_path, keep):
    files.save_checkpoint(tmp_path / "c.pt", {"weights": torch.zeros(1000)})
    whole = (tmp_path / "c.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[:keep])
    with pytest.raises(files.CheckpointError, match=r"cut\.pt"):
        files.load_checkpoint(tmp_path / "cut.pt")


def test_a_missing_file_and_a_file_of_another_kind_are_named(tmp_path):
    with pytest.raises(files.CheckpointError, match=r"none\.pt: not there"):
        files.load_checkpoint(tmp_path / "none.pt")
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(files.CheckpointError, match=r"other\.pt: not written by this library"):
        files.load_checkpoint(tmp_path / "other.pt")
