"""Tests for the command line: `python -m ssdlib doctor | train | detect | evaluate`."""

import csv
import dataclasses
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

import foreign
from ssdlib import __main__ as entry
from ssdlib import evaluate
from ssdlib.__main__ import main
from ssdlib.data import augment, voc
from ssdlib.data.results import read_results
from ssdlib.records import CLASSES
from ssdlib.training import estimate, inference, runs
from ssdlib.training.runs import RunConfig, load_run

SMALL = "--width 0.0625 --batch-norm --strided-stem --batch-size 4 --augment flip --precision float32 --val-every 0"


@pytest.fixture(scope="module")
def run(mini, tmp_path_factory):
    """A run of four steps on the small mini VOC, made by the command."""
    out = tmp_path_factory.mktemp("runs") / "run"
    command = f"train --data {mini} --out {out} --steps 4 --drops 3 --checkpoint-every 2 {SMALL}"
    assert main(command.split()) == 0
    return out


def ap_in(path: Path) -> dict[str, float]:
    with open(path) as file:
        return {row["class"]: float(row["ap"]) for row in csv.DictReader(file)}


def test_doctor_states_the_numbers_of_the_full_network(capsys):
    assert main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["num_anchors"], facts["num_parameters"]) == (8732, 26_285_486)
    assert facts["versions"]["torch"] and facts["memory_gb"]["disk_free"] > 0


def test_doctor_begins_with_what_works(capsys, tmp_path, monkeypatch, mini):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "not ready yet: mini VOC"
    assert said[1] == "    python data_scripts/make_mini_voc.py"
    shutil.copytree(mini, tmp_path / "data/mini/VOCdevkit")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ready for every chapter; only the full training on VOC 07+12 needs more (below)"
    assert not any("make_mini_voc" in line for line in said)


def test_doctor_names_the_command_for_what_is_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "python data_scripts/make_mini_voc.py" in said and "python data_scripts/download_voc.py" in said


def test_doctor_recommends_caffes_convolutions_by_torchvisions_name_and_says_how_the_others_differ(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    [(what, command)] = [(what, command) for what, command in missing.items() if "VGG16" in what]
    [name] = re.findall(r"vgg16\(weights='(\w+)'\)", command)
    taken = torchvision.models.VGG16_Weights[name]
    assert "missing values in the `classifier`" in taken.meta["_docs"]  # only the convolutions are of use
    assert taken.transforms().std == [1 / 255] * 3  # their inputs are 0..255, as Caffe's
    assert "IMAGENET1K_V1 in its place" in what and "torchvision's own training" in what


@pytest.mark.parametrize("short", [None, "2007-test", "2012-trainval"])
def test_doctor_takes_voc_for_complete_only_if_every_list_has_its_number_of_images(
    capsys, tmp_path, monkeypatch, short
):
    monkeypatch.chdir(tmp_path)
    known = {"2007-trainval": 5011, "2012-trainval": 11540, "2007-test": 4952}
    for name, images in known.items():
        year, part = name.split("-")
        folder = tmp_path / f"data/VOCdevkit/VOC{year}/ImageSets/Main"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{part}.txt").write_text("000001\n" * (images - (name == short)))
    assert main(["doctor", "--json"]) == 0
    missing = json.loads(capsys.readouterr().out)["missing"]
    found = [(what, command) for what, command in missing.items() if what.startswith("genuine VOC")]
    if short is None:
        assert found == []
    else:
        [(what, command)] = found
        assert what.endswith(f": data/VOCdevkit lists {short} {known[short] - 1} of {known[short]}")
        assert command == "python data_scripts/download_voc.py"


def test_doctor_counts_the_images_of_each_set(capsys, tmp_path, monkeypatch, mini):
    shutil.copytree(mini, tmp_path / "data/mini/VOCdevkit")
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    sets = json.loads(capsys.readouterr().out)["data"]["data/mini/VOCdevkit"]
    assert (sets["2007-trainval"], sets["2007-test"], sets["2012-trainval"]) == (10, 8, 6)


def test_doctor_counts_a_list_in_whatever_encoding(capsys, tmp_path, monkeypatch):
    folder = tmp_path / "data/mini/VOCdevkit/VOC2007/ImageSets/Main"
    folder.mkdir(parents=True)
    (folder / "test.txt").write_bytes("grün\r\nblau\r\n".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["data"]["data/mini/VOCdevkit"] == {"2007-test": 2}


def test_train_leaves_table_figures_log_checkpoint_and_devkit_files(run):
    expected = "ap.csv config.json log.jsonl checkpoint.pt loss.png precision_recall.png detections.png"
    assert set(expected.split()) <= {path.name for path in run.iterdir()}
    assert len(list((run / "results").glob("comp4_det_test_*.txt"))) == 20
    assert list(ap_in(run / "ap.csv")) == [*voc.CLASSES[1:], "mean"]


def test_every_field_of_the_settings_is_a_flag_with_its_default_shown(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(RunConfig):
        assert "--" + field.name.replace("_", "-") in text
        shown = " ".join(map(str, field.default)) if isinstance(field.default, tuple) else str(field.default)
        assert f"default: {shown}" in text, field.name


def test_flags_reach_the_settings(run):
    config = json.loads((run / "config.json").read_text())
    assert (config["width"], config["steps"], config["drops"], config["augment"]) == (
        0.0625,
        4,
        [3],
        ["flip"],
    )
    assert (config["batch_norm"], config["difficult"]) == (True, True)


def test_evaluating_the_files_of_a_run_gives_the_table_of_the_run(run, mini, tmp_path, capsys):
    command = (
        f"evaluate --detections {run / 'results'} --data {mini} --sets 2007-test --csv {tmp_path / 'ap.csv'}"
    )
    assert main(command.split()) == 0
    # files hold six decimals; a class without an object among the eight scenes has no AP in either
    assert ap_in(tmp_path / "ap.csv") == pytest.approx(ap_in(run / "ap.csv"), abs=1e-3, nan_ok=True)
    assert "mAP (11point)" in capsys.readouterr().out


def test_evaluating_the_checkpoint_gives_the_table_of_the_run(run, mini, tmp_path, capsys):
    command = (
        f"evaluate --checkpoint {run} --data {mini} --csv {tmp_path / 'ap.csv'} --out {tmp_path / 'files'}"
    )
    assert main(command.split()) == 0
    assert ap_in(tmp_path / "ap.csv") == pytest.approx(ap_in(run / "ap.csv"), abs=1e-6, nan_ok=True)
    assert len(list((tmp_path / "files").iterdir())) == 20


def test_a_checkpoint_is_judged_in_the_precision_that_is_asked_for(run, mini, tmp_path, capsys):
    """The scores in the files against those of the network called without any cast."""
    written = {}
    for precision in ("float32", "bfloat16"):
        out = tmp_path / precision
        command = f"evaluate --checkpoint {run} --data {mini} --precision {precision} --out {out}"
        assert main(command.split()) == 0
        assert f"computes in {precision}" in capsys.readouterr().out
        lines = (out / "comp4_det_test_person.txt").read_text().splitlines()
        written[precision] = sorted(float(line.split()[1]) for line in lines)
    model, config, _ = load_run(run)
    best = []
    for example in voc.read_sets(mini, ["2007-test"]):
        sizes = torch.tensor([example.size])
        nothing = torch.zeros(1, 0, 4), torch.zeros(1, 0, dtype=torch.int64)
        image = augment.warp([voc.read_photograph(example.path)], augment.draw(sizes, *nothing, steps=()))
        with torch.inference_mode():
            best.append(float(model(image).logits[0].softmax(dim=-1)[:, CLASSES.index("person")].max()))
    assert written["float32"][-1] == pytest.approx(max(best), abs=2e-6)
    assert abs(written["bfloat16"][-1] - max(best)) > 1e-5


def test_a_precision_for_result_files_is_refused(run, mini, capsys):
    command = f"evaluate --detections {run / 'results'} --data {mini} --precision float32"
    assert main(command.split()) == 1
    assert "--precision is for --checkpoint" in capsys.readouterr().err


def test_area_and_a_list_of_ids_change_what_is_judged(run, mini, tmp_path, capsys):
    ids = voc.image_ids(mini, "2007-test")[:3]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    command = (
        f"evaluate --detections {run / 'results'} --data {mini} --ids {tmp_path / 'ids.txt'} --metric area"
    )
    assert main(command.split()) == 0
    assert "mAP (area)" in capsys.readouterr().out
    chosen = [e for e in voc.read_sets(mini, ["2007-test"]) if e.image_id in ids]
    files = tmp_path / "files"
    files.mkdir()
    for path in (run / "results").iterdir():  # the same by hand: only the lines of those three images
        lines = [line for line in path.read_text().splitlines() if line.split()[0] in ids]
        (files / path.name).write_text("\n".join(lines))
    by_hand = evaluate.evaluate(read_results(files, "test"), chosen, "area")
    assert main([*command.split(), "--csv", str(tmp_path / "ap.csv")]) == 0
    assert ap_in(tmp_path / "ap.csv") == pytest.approx(
        {**by_hand.ap, "mean": by_hand.mean}, abs=1e-12, nan_ok=True
    )
    capsys.readouterr()
    (tmp_path / "ids.txt").write_text("999999")
    assert main(command.split()) == 1
    assert "ids.txt: image 999999 isn't in the set" in capsys.readouterr().err


def test_detect_writes_a_picture_for_each_image_and_json_for_all(run, mini, tmp_path):
    images = sorted((mini / "VOC2007/JPEGImages").iterdir())[:2]
    command = [
        "detect",
        "--checkpoint",
        str(run),
        "--out",
        str(tmp_path),
        "--score",
        "0.02",
        *map(str, images),
    ]
    assert main(command) == 0
    found = json.loads((tmp_path / "detections.json").read_text())
    assert [one["image"] for one in found] == [str(image) for image in images]
    for one in found:
        assert (tmp_path / one["picture"]).stat().st_size > 1000
        for d in one["detections"]:
            assert d["class"] in voc.CLASSES[1:] and 0.02 <= d["score"] <= 1 and len(d["box"]) == 4


# What `foreign.state_that_finds` finds on the canvas, by hand. Anchor: the lying box of conv9_2, 264√2 x 264/√2 px
# around the centre; amdegroot and lufficc cut its width to 300, torchvision that of 261√2 x 261/√2; half the width.
FOUND = {  # class number in the file, number of classes, width, height
    "ssd_keras weights": (20, 21, 132 * math.sqrt(2), 264 / math.sqrt(2)),
    "amdegroot": (20, 21, 150, 264 / math.sqrt(2)),
    "lufficc": (20, 21, 150, 264 / math.sqrt(2)),
    "torchvision": (72, 91, 150, 261 / math.sqrt(2)),  # COCO's tv
}


def found_by_hand(kind: str, width: int, height: int) -> tuple[float, list[float]]:
    """Score and corners in px of a photograph."""
    _, classes, w, h = FOUND[kind]
    score = math.exp(6) / (math.exp(6) + math.exp(5) + classes - 2)
    box = [150 - w / 2, 150 - h / 2, 150 + w / 2, 150 + h / 2]
    return score, [x * side / 300 for x, side in zip(box, (width, height) * 2, strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FOUND)
def test_detect_takes_other_programs_files_with_their_anchors_and_classes(kind, mini, tmp_path, capsys):
    label, classes, _, _ = FOUND[kind]
    foreign.write(tmp_path / "published", kind, foreign.state_that_finds(label, classes))
    image = min((mini / "VOC2007/JPEGImages").iterdir())
    command = f"detect --checkpoint {tmp_path / 'published'} --out {tmp_path} {image}"
    assert main(command.split()) == 0
    assert f"published: SSD300 by {kind.split()[0]}; " in capsys.readouterr().out
    [[found]] = [one["detections"] for one in json.loads((tmp_path / "detections.json").read_text())]
    score, box = found_by_hand(kind, *Image.open(image).size)
    assert found["class"] == "tvmonitor"
    assert found["score"] == pytest.approx(score, abs=1e-5)
    assert found["box"] == pytest.approx(box, abs=0.01)


def test_image_sets_too_long_for_a_name_are_refused_before_anything_is_read(
    run, mini, tmp_path, capsys, monkeypatch
):
    def reads(*words, **named):
        raise AssertionError("photographs are read")

    shutil.copytree(mini, tmp_path / "VOCdevkit")
    lists = tmp_path / "VOCdevkit/VOC2007/ImageSets/Main"
    long = "x" * 230
    shutil.copy(lists / "test.txt", lists / f"{long}.txt")
    data = f"--data {tmp_path / 'VOCdevkit'}"
    monkeypatch.setattr(inference, "evaluate_on", reads)
    monkeypatch.setattr(entry, "_data", reads)
    assert main(f"evaluate --checkpoint {run} {data} --sets 2007-test 2007-{long}".split()) == 1
    said = "has '2007-test+2007-xxxxxxxxxxxxxxxxxxxxxxxxx'..., which makes the name of a file"
    assert f"RunError: --sets {said}" in capsys.readouterr().err
    command = f"train {data} --out {tmp_path / 'new'} {SMALL} --drops --test-sets 2007-test 2007-{long}"
    assert main(command.split()) == 1
    assert f"RunError: test_sets {said}" in capsys.readouterr().err and not (tmp_path / "new").exists()


def test_an_image_set_that_is_no_text_is_refused_as_any_other(mini, tmp_path, capsys):
    assert (
        main(["train", "--data", str(mini), "--out", str(tmp_path / "r"), "--train-sets", "2007-\udcff"]) == 1
    )
    assert "VOCError: image set '2007-\\udcff'" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ssd_keras model", "amdegroot"])
def test_evaluate_judges_other_programs_files(kind, mini, tmp_path, capsys):
    foreign.write(tmp_path / "ssd300", kind, foreign.state_that_finds(20))
    [example, *_] = voc.read_sets(mini, ["2007-test"])
    (tmp_path / "ids.txt").write_text(example.image_id)
    command = f"evaluate --checkpoint {tmp_path / 'ssd300'} --data {mini} --ids {tmp_path / 'ids.txt'}"
    assert main([*command.split(), "--out", str(tmp_path / "files")]) == 0
    assert f"ssd300: SSD300 by {kind.split()[0]}; classes: VOC's; " in capsys.readouterr().out
    files = {path.stem: path.read_text() for path in (tmp_path / "files").iterdir()}
    image_id, *numbers = files.pop("comp4_det_test_tvmonitor").split()  # one line
    score, (x1, y1, x2, y2) = found_by_hand(kind.replace("model", "weights"), *example.size)
    assert image_id == example.image_id and len(files) == 19 and not any(files.values())
    # the devkit's pixels are counted from 1
    assert [float(n) for n in numbers] == pytest.approx([score, x1 + 1, y1 + 1, x2, y2], abs=1e-3)


def test_a_checkpoint_of_a_run_is_known_as_such_under_any_name(run, mini, tmp_path, capsys):
    shutil.copy(run / "checkpoint.pt", tmp_path / "VGG_VOC0712.h5")
    image = min((mini / "VOC2007/JPEGImages").iterdir())
    for checkpoint in (run, tmp_path / "VGG_VOC0712.h5"):
        assert main(["detect", "--checkpoint", str(checkpoint), "--out", str(tmp_path), str(image)]) == 0
        assert f"{checkpoint}: a run of this library, step 4" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_stopped_and_resumed_through_the_door_is_the_run(run, mini, tmp_path):
    command = f"train --data {mini} --out {tmp_path / 'r'} --steps 4 --drops 3 --checkpoint-every 2 {SMALL}"
    assert main([*command.split(), "--stop-after", "2"]) == 0
    assert main([*command.split(), "--resume"]) == 0
    assert (tmp_path / "r/ap.csv").read_text() == (run / "ap.csv").read_text()


@pytest.mark.parametrize(
    "command, sentence",
    [
        (
            "train --data nowhere --out {out}",
            "VOCError: nowhere/VOC2007/ImageSets/Main/trainval.txt: not there",
        ),
        ("train --data {mini} --train-sets 2009-x --out {out}", "VOC2009/ImageSets/Main/x.txt: not there"),
        ("train --data {mini} --train-sets 07 --out {out}", "image set '07': wanted a year and a list"),
        ("train --data {mini} --out {run}", "holds a run at step 4"),
        ("train --data {mini} --out {out} --init nothing.pth", "nothing.pth: not there"),
        ("train --data {mini} --out {out} --init {run}/checkpoint.pt", "checkpoint.pt"),
        ("train --data {mini} --out {out} --mining none", "RunError: mining is 'none'"),
        ("train --data {mini} --out {mini}/mini_voc.json", "mini_voc.json"),
        (
            "detect --checkpoint {mini}/mini_voc.json --out {out} a.jpg",
            "mini_voc.json: broken, or no file of tensors",
        ),
        (
            "evaluate --checkpoint {mini}/VOC2007/JPEGImages/000001.jpg --data {mini}",
            "000001.jpg: a JPEG image; wanted",
        ),
        (
            "detect --checkpoint nowhere --out {out} a.jpg",
            "WeightsError: nowhere: not there; wanted a run's folder or a file",
        ),
        ("detect --checkpoint {run} --out {out} nothing.jpg", "nothing.jpg"),
        (
            "evaluate --detections nowhere --data {mini}",
            "ResultError: nowhere: no such folder; wanted a folder",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(command, sentence, run, mini, tmp_path, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(command.format(mini=mini, run=run, out=tmp_path / "out").split()) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence in error and "Traceback" not in error
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_that_goes_on_reads_no_weights_to_start_from(run, mini, tmp_path, capsys):
    """They are in its checkpoint; the same command begins a run and goes on with it, perhaps without that file."""
    shutil.copytree(run, tmp_path / "run")
    command = (
        f"train --data {mini} --out {tmp_path / 'run'} --init gone.pth --resume --steps 4 --drops 3 {SMALL}"
    )
    assert main(command.split()) == 0
    said = capsys.readouterr().out
    assert f"{tmp_path / 'run'}: holds a run already, so gone.pth isn't read" in said
    assert "starting from" not in said


@pytest.mark.parametrize(
    "flags, says",
    [
        ("--steps 14400", "won't drop at 80000 and 100000: the run ends before"),
        ("--steps 100000 --drops 80000 100000", "won't drop at 100000: the run ends before"),
        ("--steps 14400 --drops 9600 12000", None),
    ],
)
def test_a_drop_behind_the_end_is_told_before_the_training(flags, says, mini, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(estimate, "measure", lambda *_: None)
    monkeypatch.setattr(estimate, "report", lambda *_: "")
    assert main(f"train --data {mini} --out {tmp_path / 'run'} --estimate {SMALL} {flags}".split()) == 0
    said = capsys.readouterr().out
    assert says in said if says else "won't drop" not in said


@pytest.mark.slow
@pytest.mark.parametrize("skip", [[], ["--skip-bad", "0.5"]])
def test_sets_that_share_images_count_each_once(run, mini, tmp_path, capsys, skip):
    tables = []
    for sets in ("2007-trainval", "2007-val 2007-trainval"):
        csv_file = tmp_path / f"{len(tables)}.csv"
        words = (
            f"evaluate --checkpoint {run} --data {mini} --csv {csv_file} --out {tmp_path / 'f'} --sets {sets}"
        )
        assert main([*words.split(), *skip]) == 0
        tables.append(ap_in(csv_file))
    assert tables[0] == pytest.approx(tables[1], abs=1e-9, nan_ok=True)


def test_other_images_of_the_same_ids_are_refused_before_anything_is_detected(run, mini, tmp_path, capsys):
    shutil.copytree(mini, tmp_path / "both")
    shutil.copytree(mini / "VOC2007", tmp_path / "both/VOC2012", dirs_exist_ok=True)
    words = f"evaluate --checkpoint {run} --data {tmp_path / 'both'} --sets 2007-trainval 2012-trainval"
    assert main(words.split()) == 1
    assert "wanted each id once among the images that are judged" in capsys.readouterr().err


def test_freezing_random_weights_is_refused_before_data_are_read(tmp_path, capsys):
    (tmp_path / "VOC2007").mkdir()
    command = f"train --data {tmp_path} --out {tmp_path / 'run'} --freeze conv3_3 --train-sets 2007-trainval"
    assert main(command.split()) == 1
    assert "freeze is 'conv3_3', but it starts from random weights" in capsys.readouterr().err
    assert main([*command.split()[:-4], "--freeze", "conv3_9"]) == 1
    assert (
        "freeze is 'conv3_9'; wanted a layer of the network's body: conv1_1, conv1_2"
        in capsys.readouterr().err
    )


@pytest.mark.slow
def test_the_module_runs_as_a_command_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ssdlib", "doctor"], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode == 0 and "8732" in done.stdout, done.stderr


@pytest.mark.parametrize(
    "command", ["train --out x --data nowhere", "evaluate --detections x --data nowhere"]
)
@pytest.mark.parametrize("share", ["7", "nan", "-1", "20%"])
def test_a_share_outside_0_to_1_is_wrong_usage_and_a_good_one_is_shown(command, share, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), f"--skip-bad={share}"])
    assert stop.value.code == 2
    assert f"'{share}'; wanted a number from 0 to 1, such as 0.2 for 20 %" in capsys.readouterr().err


@pytest.mark.parametrize("good", [0, 1])
def test_detect_fails_if_none_of_the_files_could_be_read(good, run, mini, tmp_path, capsys):
    images = [str(path) for path in sorted((mini / "VOC2007/JPEGImages").iterdir())[:good]]
    command = f"detect --json-only --checkpoint {run} --out {tmp_path} nope1.jpg nope2.jpg"
    assert main([*command.split(), *images]) == (0 if good else 1)
    said = capsys.readouterr()
    assert "not read: nope1.jpg" in said.out and "not read: nope2.jpg" in said.out
    assert ("none of 2 files could be read" in said.err) == (not good) == ("detections with" not in said.out)
    assert len(json.loads((tmp_path / "detections.json").read_text())) == 2 + good


def test_an_error_stands_on_its_own_line_behind_an_open_bar(monkeypatch, capsys):
    def fails(options):
        options.bar = entry.progress(range(2), desc="training")  # held, as by a traceback
        raise runs.Diverged("the loss isn't finite")

    monkeypatch.setattr(entry, "train", fails)
    assert main(["train", "--out", "x"]) == 1
    said = capsys.readouterr().err
    assert "training:   0%" in said
    assert said.endswith("\nDiverged: the loss isn't finite\n")


@pytest.mark.parametrize(
    "there, flags, sentence",
    [
        ("notes.txt", "", "holds files that aren't a run; name another folder"),
        ("checkpoint.pt", "", "holds a run at step 4; resume it, or name another folder"),
        ("checkpoint.pt", "--resume --steps 1", "its run is at step 4, asked for are 1; ask for more"),
        (
            "checkpoint.pt",
            "--resume --estimate --steps 1",
            "its run is at step 4, asked for are 1; ask for more",
        ),
    ],
)
def test_a_folder_that_training_would_refuse_is_refused_before_photographs_are_read(
    there, flags, sentence, run, mini, tmp_path, capsys, monkeypatch
):
    def decodes(*words):
        raise AssertionError("photographs are read")

    monkeypatch.setattr(entry, "_data", decodes)
    (tmp_path / "run").mkdir()
    shutil.copy(run / "checkpoint.pt", tmp_path / "run" / there)
    assert main(f"train --data {mini} --out {tmp_path / 'run'} {SMALL} --drops {flags}".split()) == 1
    assert capsys.readouterr().err == f"RunError: {tmp_path / 'run'}: {sentence}\n"


@pytest.mark.parametrize(
    "test_sets, says",
    [
        ("2007-trainval", "2007-trainval: trained on and judged"),
        (
            "2007-val",
            "3 of the photographs, first {mini}/VOC2007/JPEGImages/{first}.jpg: trained on and judged",
        ),
        ("2007-test", None),
    ],
)
def test_photographs_that_are_trained_on_and_judged_are_told_whatever_their_sets_are_called(
    test_sets, says, mini, tmp_path, capsys, monkeypatch
):
    shutil.copytree(mini, tmp_path / "mini")
    ids = sorted(voc.image_ids(mini, "2007-trainval"))[:3]
    (tmp_path / "mini/VOC2007/ImageSets/Main/val.txt").write_text("\n".join(ids))
    monkeypatch.setattr(estimate, "measure", lambda *_: None)
    monkeypatch.setattr(estimate, "report", lambda *_: "")
    command = f"train --data {tmp_path / 'mini'} --out {tmp_path / 'run'} --estimate {SMALL}"
    command += f" --train-sets 2007-trainval --test-sets {test_sets}"
    assert main(command.split()) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "judged" in line]
    assert len(told) == (says is not None)
    assert all(line.startswith(says.format(mini=tmp_path / "mini", first=ids[0])) for line in told)


def test_the_files_of_a_checkpoint_go_beside_it_also_where_it_is_called_by_dots(
    run, mini, tmp_path, monkeypatch
):
    shutil.copytree(run, tmp_path / "r")
    (tmp_path / "ids.txt").write_text(voc.image_ids(mini, "2007-test")[0])
    for place, called in (("r", "."), ("r/results", ".."), (".", "r/")):
        monkeypatch.chdir(tmp_path / place)
        more = ["--data", str(mini.resolve()), "--ids", str(tmp_path / "ids.txt")]
        assert main(["evaluate", "--checkpoint", called, *more]) == 0
        assert len(list((tmp_path / "r.evaluated").iterdir())) == 20
        shutil.rmtree(tmp_path / "r.evaluated")
    assert {path.name for path in tmp_path.iterdir()} == {"r", "ids.txt"}


@pytest.mark.parametrize(
    "command, way_out",
    [
        ("train --out x", "take a smaller --batch-size or --width"),
        ("detect --checkpoint x --out x a.jpg", "compute on another --device"),
        ("export --checkpoint x --out x", "take a machine with more"),
    ],
)
@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        torch.OutOfMemoryError("CUDA"),
    ],
)
def test_memory_that_runs_out_anywhere_is_said_in_one_sentence(command, way_out, error, monkeypatch, capsys):
    def fails(options):
        raise error

    name = command.split()[0]
    monkeypatch.setattr(entry, {"export": "export_"}.get(name, name), fails)
    assert main(command.split()) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"OutOfMemory: {name} needs more memory than there is") and said.count("\n") == 1
    assert way_out in said


def test_an_error_that_is_no_lack_of_memory_keeps_its_traceback(monkeypatch):
    def fails(options):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(entry, "train", fails)
    with pytest.raises(RuntimeError, match="shapes differ"):
        main(["train", "--out", "x"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such name")
def test_a_name_that_is_not_utf_8_is_detected_in_and_shown_with_escapes(run, mini, tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in (b"gr\xfcn.jpg", b"torn\xff.jpg"):
        path = os.path.join(os.fsencode(tmp_path / "in"), name)
        shutil.copy(min((mini / "VOC2007/JPEGImages").iterdir()), os.fsdecode(path))
    Path(os.fsdecode(path)).write_bytes(b"no image")
    stdout, stderr = (
        io.TextIOWrapper(io.BytesIO(), "ascii") for _ in range(2)
    )  # as of a terminal with LANG=C
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    out = tmp_path / "größe"
    code = main(["detect", "--checkpoint", str(run), "--out", str(out), str(tmp_path / "in")])
    stdout.flush()
    said = stdout.buffer.getvalue().decode("ascii")
    assert code == 0 and "gr\\xf6\\xdfe" in said and "torn\\udcff.jpg" in said
    good, _ = json.loads((out / "detections.json").read_text())
    assert good["picture"] == "0000_grn.png" and (out / good["picture"]).is_file()


def test_a_wrong_word_is_explained_and_gives_2(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["trian"])
    assert stop.value.code == 2
    assert Path("ssdlib").name in capsys.readouterr().err
