"""Chapter 12 when a learner stops its two trainings: what follows shows what was recorded, and says so."""

import dataclasses
import json
import re
from pathlib import Path
from types import SimpleNamespace

import jupytext
import pytest
from IPython.core.interactiveshell import InteractiveShell

from course.kit import places
from course.own_images import example_datasets
from ssdlib.training import engine

[SOURCE] = (Path(__file__).parents[3] / "chapters/source").glob("12_*.py")
PRINTED = {  # cells by their beginning -> a line that they print as they come with the page
    "print(": "starting from other classes is better by 40 points or more: True",
    "work = ": "files: ['0000_walk.mp4', 'detections.json']",
    "apart = ": "boxes within 0.01 px: True   scores within a ten-thousandth: True",
    "detector, test = ": "the same detections in at least 39 of 40 images: True",
    "backwards = ": "some detections: True    names that are still right: 0",
}


def press_the_button(*arguments, **named):
    raise KeyboardInterrupt


@pytest.fixture
def cells():
    """The cells that build on the trainings, from the settings of these on, after the imports and the dataset."""
    code = [cell.source for cell in jupytext.read(SOURCE).cells if cell.cell_type == "code"]
    begin, end = (
        next(i for i, cell in enumerate(code) if cell.startswith(word)) for word in ("STEPS", "try:")
    )
    exercises = ("check.", "def ", "channels", "source(")
    return [*code[:2], *(cell for cell in code[begin:end] if not cell.startswith(exercises))]


@pytest.mark.slow
def test_when_both_trainings_are_stopped_the_cells_below_go_on_with_what_was_recorded_and_say_so(
    cells, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("COURSE_RUNS", str(tmp_path))
    monkeypatch.setattr(engine, "update_or_advise", press_the_button)
    shell, said = InteractiveShell(), {}
    for cell in cells:
        capsys.readouterr()
        went_well = shell.run_cell(cell).success
        said[cell] = capsys.readouterr().out
        assert went_well, f"{cell}\n{said[cell]}"

    def of(begin):
        return next(words for cell, words in said.items() if cell.startswith(begin))

    stopped = "Interrupted at step 0, nothing was saved yet: run the cell again, and it begins anew."
    for word in ("with interruptible", "from_nothing"):
        assert stopped in of(word)
    for name in ("from_mini", "from_random"):
        assert f"shows the recorded table, recordings/tuned/{name} (" in of("tuned")
    recorded = places.recording("tuned", "from_mini", "ap.csv").read_text("utf-8")
    elephant = 100 * float(re.search("elephant,(.*)", recorded)[1])
    assert "random seed 0" in of("tuned") and f"{elephant:.1f}" in of("tuned")
    assert "recorded network of the mini VOC" in of("network, settings")
    for begin, line in PRINTED.items():
        assert any(line in words for cell, words in said.items() if cell.startswith(begin)), begin


def test_what_is_recorded_are_the_trainings_of_the_page(cells):
    animals = "butterfly crab elephant octopus penguin turtle".split()
    names = {"example_datasets": example_datasets, "found": SimpleNamespace(classes=tuple(animals))}
    for begin in ("STEPS", "from_nothing"):  # without what reads weights, and what trains
        cell = next(cell for cell in cells if cell.startswith(begin))
        exec(re.split("^(?:state|with)", cell, flags=re.M)[0], names)
    for recorded, config in (("from_mini", names["config"]), ("from_random", names["from_nothing"])):
        kept = json.loads(places.recording("tuned", recorded, "recording.json").read_text("utf-8"))["config"]
        on_page = json.loads(json.dumps(dataclasses.asdict(config)))  # lists for tuples, as in the file
        assert kept["classes"] == animals and {name: on_page[name] for name in kept} == kept
