"""A class list other than VOC's goes through the whole library: settings, network, annotations, AP, pictures."""

import dataclasses
import json

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from ssdlib import evaluate, plots
from ssdlib.__main__ import main
from ssdlib.data import voc
from ssdlib.data.results import read_results, write_results
from ssdlib.records import Detections, Example
from ssdlib.training import engine, inference, runs

FRUIT = ("apple", "banana")
TINY = runs.RunConfig(
    train_sets=("2007-trainval",),
    classes=FRUIT,
    width=1 / 16,
    batch_norm=True,
    strided_stem=True,
    steps=2,
    batch_size=2,
    drops=(),
    precision="float32",
    val_every=0,
    map_every=0,
)
TINY_FLAGS = (
    "--width 0.0625 --batch-norm --strided-stem --batch-size 2 --steps 2 --precision float32 --val-every 0"
)


def example(image_id="a", boxes=((10, 20, 60, 80),), labels=(2,)) -> Example:
    return Example(
        *(image_id, None, (100, 100)),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.zeros(len(labels), dtype=torch.bool),
    )


def test_the_heads_have_as_many_outputs_as_classes_and_background():
    model, *_ = engine.build(TINY, torch.device("cpu"))
    assert model.num_classes == 3
    # the second map has six boxes a cell: six times three scores
    assert model.conf["fc7"].out_channels == 18 and model.loc["fc7"].out_channels == 24


def test_a_run_of_other_classes_is_trained_kept_loaded_and_judged_by_its_own_names(tmp_path):
    photographs = [torch.full((100, 100, 3), shade, dtype=torch.uint8) for shade in (80, 160, 240)]
    data = [example("a"), example("b", labels=(1,)), example("c", (), ())], photographs
    table = engine.train(TINY, data, data, tmp_path / "run")
    assert tuple(table.ap) == FRUIT
    assert sorted(f.name for f in (tmp_path / "run/results").iterdir()) == [
        "comp4_det_test_apple.txt",
        "comp4_det_test_banana.txt",
    ]
    model, config, step = runs.load_run(tmp_path / "run")
    assert (config.classes, model.num_classes, step) == (FRUIT, 3, 2)
    found = inference.detect_in(model, photographs, config)
    assert set(torch.cat([f.labels for f in found]).tolist()) <= {1, 2}
    with pytest.raises(runs.RunError, match="its run has classes"):
        engine.train(
            dataclasses.replace(TINY, classes=FRUIT[::-1]), data, data, tmp_path / "run", resume=True
        )


def test_a_checkpoint_without_a_class_list_is_one_of_vocs_classes():
    old = dataclasses.asdict(TINY)
    del old["classes"]
    assert runs.config_from(old).classes == voc.CLASSES[1:]


@pytest.mark.parametrize(
    "names, sentence",
    [
        ((), "classes is"),
        (("apple", "background"), "'background'; it is class 0"),
        (("apple", "apple"), "'apple' and 'apple'; wanted each name once"),
        (("Apple", "apple"), "'Apple' and 'apple'; wanted each name once"),
        (("a/b",), "'a/b'; wanted a name without /"),
        (("..\\b",), "wanted a name without /"),
        (("apple ",), "'apple '; wanted a name"),
        (("",), "''; wanted a name"),
        (("a\nb",), "wanted a name"),
    ],
)
def test_names_that_would_make_trouble_are_refused_at_once(names, sentence):
    with pytest.raises(runs.RunError, match=sentence):
        runs.RunConfig(classes=names)


def test_annotations_are_read_with_the_given_names_and_others_are_refused(tmp_path):
    text = (
        "<annotation><size><width>100</width><height>100</height></size><object><name>banana</name><bndbox>"
        "<xmin>11</xmin><ymin>21</ymin><xmax>60</xmax><ymax>80</ymax></bndbox></object></annotation>"
    )
    (tmp_path / "a.xml").write_text(text)
    assert voc.read_example(tmp_path / "a.xml", None, "a", FRUIT).labels.tolist() == [2]
    with pytest.raises(voc.VOCError, match="class 'banana'; wanted one of apple, cherry"):
        voc.read_example(tmp_path / "a.xml", None, "a", ("apple", "cherry"))
    with pytest.raises(voc.VOCError, match="class 'banana'; wanted one of aeroplane"):
        voc.read_example(tmp_path / "a.xml", None, "a")


def test_ap_is_reported_under_the_given_names_in_the_given_order(tmp_path):
    found = Detections(
        torch.tensor([[10.0, 20, 60, 80], [0, 0, 5, 5]]), torch.tensor([0.9, 0.8]), torch.tensor([2, 1])
    )
    results = evaluate.collect(["a"], [found], FRUIT)
    write_results(tmp_path, "test", results)
    for held in (results, read_results(tmp_path, "test", FRUIT)):
        table = evaluate.evaluate(held, [example()], classes=FRUIT)
        # the banana is found; of apples there is none, so that no AP can be stated
        assert list(table.ap) == ["apple", "banana"] and table.ap["banana"] == pytest.approx(1)
        assert table.absent == ("apple",) and table.mean == table.ap["banana"]
    stray = {name: evaluate.Results(["z"], np.ones(1), np.ones((1, 4))) for name in FRUIT}
    with pytest.raises(evaluate.ResultError, match="apple: image 'z'"):
        evaluate.evaluate(stray, [example()], classes=FRUIT)


def test_a_long_name_does_not_break_the_table():
    nothing = evaluate.Results([], np.zeros(0), np.zeros((0, 4)))
    names = ("a", "a name that is longer than most", "b", "c", "d")
    there = [example(boxes=[(10, 20, 60, 80)] * 5, labels=(1, 2, 3, 4, 5))]
    lines = str(evaluate.evaluate(dict.fromkeys(names, nothing), there, classes=names)).split("\n")
    assert [line.count("0.0") for line in lines[:-1]] == [3, 2]
    assert lines[0].index("0.0") == lines[1].index("0.0")


def test_pictures_carry_the_given_names():
    found = Detections(torch.tensor([[10.0, 20, 60, 80]]), torch.tensor([0.9]), torch.tensor([2]))
    photograph = torch.zeros(100, 100, 3, dtype=torch.uint8)
    drawn = [
        plots.picture(photograph, found, FRUIT),
        plots.detections([example()], [photograph], [found], classes=FRUIT),
        plots.examples([example()], [photograph], classes=FRUIT),
    ]
    captions = [[text.get_text() for text in figure.axes[0].texts] for figure in drawn]
    plt.close("all")
    assert captions == [["banana 0.90"], ["banana 0.90"], ["banana"]]


@pytest.mark.slow
def test_the_command_line_trains_and_detects_a_choice_of_classes(mini, tmp_path, capsys):
    """The mini VOC holds twenty classes: with a list of two, its annotations are refused by name."""
    flags = f"--data {mini} --out {tmp_path / 'run'} {TINY_FLAGS}".split()
    assert main(["train", *flags, "--classes", "dog", "cat"]) == 1
    assert "wanted one of dog, cat" in capsys.readouterr().err
    names = list(voc.CLASSES[:0:-1])  # backwards
    assert main(["train", *flags, "--classes", *names]) == 0
    assert json.loads((tmp_path / "run/config.json").read_text())["classes"] == names
