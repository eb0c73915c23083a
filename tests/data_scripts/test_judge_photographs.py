"""Tests for `judge_photographs`: what is kept of a network's detections, judged from the files alone."""

import json
import sys
import zipfile
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data_scripts"))
import judge_photographs

from course.kit import pictures, places
from ssdlib import evaluate
from ssdlib.data import results, voc


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The recorded mini network, judged on the test scenes of VOC2007's list."""
    out, patch = tmp_path_factory.mktemp("kept"), pytest.MonkeyPatch()
    patch.setattr(judge_photographs, "facts_now", lambda *more: {})
    patch.setattr(judge_photographs, "TRIED", {"score": (0.01, 0.5), "keep": (1,)})
    patch.setattr(
        sys,
        "argv",
        ["", str(places.recording("mini")), str(out), "--data", str(pictures.mini_voc()), "--what", "scenes"],
    )
    judge_photographs.main()
    patch.undo()
    return out


@pytest.mark.slow
def test_the_files_that_are_kept_give_the_ap_that_is_written_beside_them(kept, tmp_path):
    with zipfile.ZipFile(kept / "results.zip") as packed:
        packed.extractall(tmp_path)
    examples = voc.read_sets(pictures.mini_voc(), ["2007-test"])
    table = evaluate.evaluate(results.read_results(tmp_path, "test"), examples)
    facts = json.loads((kept / "judged.json").read_text())
    for name, ap in facts["prices"]["the devkit's rule"].items():
        assert table.ap[name] == pytest.approx(ap, abs=1e-12)
    assert facts["worth"]["score"]["0.01"] == pytest.approx(100 * table.mean, abs=0.3)  # not rounded
    assert facts["worth"]["score"]["0.5"] < facts["worth"]["score"]["0.01"]


@pytest.mark.slow
def test_the_boxes_kept_of_the_free_photographs_lie_in_them_best_first(kept):
    file = kept / "free_photographs.json"
    if not file.exists():
        pytest.skip("scikit-image isn't installed")
    for name, found in json.loads(file.read_text()).items():
        width, height = judge_photographs.free_photographs.PHOTOGRAPHS[name].size
        scores = [one["score"] for one in found]
        assert scores == sorted(scores, reverse=True)
        assert all(
            0 <= x <= width and 0 <= y <= height for one in found for x, y in [one["box"][:2], one["box"][2:]]
        )
