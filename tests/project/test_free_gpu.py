"""Tests of docs/free_gpu.md: its commands are understood, and those that need no GPU and no internet do run."""

import dataclasses
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from ssdlib.__main__ import _config, main
from ssdlib.cli import doctor
from ssdlib.cli.options import parser
from ssdlib.training.runs import RECIPES

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"^```(?:python)?\n(.*?)^```$", (ROOT / "docs/free_gpu.md").read_text("utf-8"), re.M | re.S
)
LINES = [line for block in BLOCKS for line in block.splitlines() if line]
OURS = [line for line in LINES if re.match(r"(python|torchrun .*) -m ssdlib", line)]
SCRIPTS = [line for line in LINES if line.startswith("python data_scripts/")]


def options_of(line):
    return parser().parse_args(shlex.split(re.sub(r"^.*?-m ssdlib ", "", line)))


@pytest.mark.parametrize("line", OURS)
def test_the_command_line_understands_what_is_to_be_typed(line):
    options = options_of(line)
    if options.command == "train":
        config = _config(options)
        assert config.precision == "float16", "or a T4 computes in float32"
        changed = dataclasses.replace(config, precision="auto", val_every=RECIPES[options.recipe].val_every)
        assert changed == RECIPES[options.recipe], "nothing else is changed"


def test_a_run_goes_on_with_the_settings_that_it_began_with():
    """All full trainings of one service have one configuration and one folder, and may resume."""
    runs = {}
    for options in map(options_of, OURS):
        if options.command == "train" and options.recipe == "paper" and not options.estimate:
            assert options.resume
            runs.setdefault(options.out, set()).add(_config(options))
    assert len(runs) == 2 and all(len(configs) == 1 for configs in runs.values())


def test_there_is_no_line_that_no_test_knows():
    known = (
        "git clone <",
        "pip install ",
        "cp -r /kaggle/input/",
        "python -m course.dashboard ",
        'python -c "',
    )
    colab = ("from google.colab import drive", 'drive.mount("/content/drive")')
    assert not [
        line for line in LINES if line not in (*OURS, *SCRIPTS, *colab) and not line.startswith(known)
    ]
    assert len(OURS) > 8 and len(SCRIPTS) > 5


def test_weights_are_got_as_doctor_says():
    lines = [
        line.replace("'/kaggle/temp/vgg16.pth'", f"'{doctor.VGG16}'") for line in LINES if "vgg16(" in line
    ]
    assert lines == [doctor.GET_VGG16] * 2


@pytest.mark.parametrize("line", SCRIPTS)
def test_the_scripts_understand_their_words(line, monkeypatch, capsys):
    """Each says what is wrong with the words before it does anything, so a word that it can't know is added."""
    script, *words = shlex.split(line)[1:]
    monkeypatch.setattr(sys, "argv", [script, *words, "--no-such-word"])
    monkeypatch.syspath_prepend(ROOT / "data_scripts")
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.rstrip().endswith("unrecognized arguments: --no-such-word")


def test_packages_to_install_are_those_that_the_project_asks_for():
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    for line in LINES:
        for wanted in re.findall(r'"([^"]+)"', line) if line.startswith("pip install") else []:
            assert f'"{wanted}"' in project, wanted


@pytest.mark.slow
def test_the_first_look_runs_on_a_cpu(mini, tmp_path, capsys):
    """`doctor` and two steps of the training run, on a CPU, with few scenes and a fraction of the width. Without a
    GPU the words of the page end in one sentence. (`test_mini_voc` paints all scenes.)"""
    first = next(block for block in BLOCKS if "make_mini_voc" in block)
    pip, paint, look, train = first.splitlines()
    data = tmp_path / "VOCdevkit"  # a copy, because a store is written beside it
    shutil.copytree(mini, data)

    def words(line, *more):
        line = line.replace("data/mini/VOCdevkit", str(data)).replace("runs/mini", str(tmp_path / "run"))
        python, m, ssdlib, *typed = shlex.split(line)
        assert (python, m, ssdlib) == ("python", "-m", "ssdlib")
        return main([*typed, *more]), *capsys.readouterr()

    refused, _, told = words(look)
    if refused:
        assert told.startswith("RunError: device cuda: ") and told.count("\n") == 1
    assert words(look.replace("cuda", "cpu"))[0] == 0
    tiny = "--width 0.0625 --steps 2 --drops --batch-size 2 --val-every 0 --device cpu"
    trained, said, told = words(train, *shlex.split(tiny))
    assert trained == 0 and "float16" in said, told
