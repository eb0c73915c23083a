"""The dashboard without a browser: a run that is waited for, grows, breaks, ends; its pictures; the terminal."""

import dataclasses
import json
import os
import shutil
import threading
import time

import matplotlib.pyplot as plt
import pytest
import torch
from hands import arrows, press
from matplotlib.figure import Figure

from course.training import dashboard, run_curves, run_pictures
from course.training.dashboard import TENTH, WHOLE, Dashboard
from run_logs import CONFIG, folder, judged, line, upto
from ssdlib.data import store, voc
from ssdlib.training import engine, inference, runs

RECORDED = dashboard.Path(__file__).parents[3] / "chapters/recordings/mini"


@pytest.fixture
def board():
    """Makes dashboards that don't look by themselves, and stops them."""
    made = []

    def make(place, **kwargs):
        made.append(Dashboard(place, every=kwargs.pop("every", 1000.0), **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.stop()


@pytest.fixture(scope="module")
def finished():
    one = Dashboard(RECORDED)
    yield one
    one.stop()


def drawn(one):
    layers = one.board.scene["layers"]
    return [text for each in layers for *_, text in each["texts"]]


def until(true, seconds=10.0):
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    assert true()


def test_it_waits_follows_and_stops_by_itself_when_the_run_is_finished(tmp_path, board):
    out = tmp_path / "run"
    one = board(out, every=0.02)
    assert one.state() == f"waiting for the folder {tmp_path.name}/run; whole run" and one.follow.value
    folder(out, *upto(100))
    until(lambda: "step 100 of 400" in repr(one))
    assert "25% done" in one.board.status and "40.0 images/s" in one.text.value
    with open(out / "log.jsonl", "a") as file:
        file.write("\n".join([*upto(400)[10:], judged(400, 0.25, 90, cat=0.25)]) + "\n")
    until(lambda: not one.follow.value)
    assert (
        repr(one) == "Dashboard(finished, step 400 of 400; ✓ fine; whole run)"
        and "cat 25.0" in one.table.value
    )
    one._thread.join(5)
    assert not one._thread.is_alive()


def test_stopping_and_closing_end_the_thread_and_the_button_starts_one(tmp_path, board):
    before = threading.active_count()
    one = board(tmp_path / "run", every=1000.0)
    folder(tmp_path / "run", *upto(100))
    one.stop()
    one._thread.join(5)
    assert threading.active_count() == before and "step 100 of 400" in repr(
        one
    )  # the last word is on the page
    one.follow.value = True
    assert threading.active_count() == before + 1
    one.close()
    one._thread.join(5)
    assert threading.active_count() == before


def test_divergence_is_marked_in_the_curves_and_said(tmp_path, board):
    broken = json.dumps({"step": 250, "rate": 0.03, "diverged": True, "seconds": 51.0})
    one = board(folder(tmp_path / "run", *upto(240), broken))
    assert (
        "NaN" in drawn(one) and "the loss was no number at step 250, learning rate 0.03" in one.board.status
    )
    assert "✗ alarm" in repr(one) and "✗" in one.text.value


def test_keys_read_along_the_lines_and_the_last_line_follows_the_run_again(tmp_path, board):
    out = folder(tmp_path / "run", *[line(s, 10 - s / 100) for s in range(10, 301, 10)])
    one = board(out)
    arrows(one.board, -1)  # left: one line
    assert one.board.status.startswith(
        "step 290: loss 7.1 (localisation 1.77, confidence 5.32), learning rate 0.03"
    )
    arrows(one.board, 0, 1)  # down: ten lines
    assert one.board.status.startswith("step 190: loss 8.1 ") and "step 190: loss 8.1" in repr(one)
    with open(out / "log.jsonl", "a") as file:
        file.write(line(310) + "\n")
    one.look()
    assert one.board.status.startswith("step 190:")  # a reader isn't torn away
    arrows(one.board, 0, -51)  # up, far beyond the end
    assert one.reading is None and "78% done" in one.board.status


def test_a_click_goes_to_the_line_that_is_nearest_in_either_view(tmp_path, board):
    one = board(folder(tmp_path / "run", *upto(300)))
    press(one.board, run_curves.WIDE / 2, 100.0)  # the middle of 400 steps
    assert one.board.status.startswith("step 200:")
    one.board.steps += 1  # the key n
    assert one.shown.value == TENTH and "last tenth" in repr(one)
    press(one.board, 0.0, 100.0)  # the left edge is now step 270
    assert one.board.status.startswith("step 270:")
    one.board.steps += 1
    assert one.shown.value == WHOLE


def test_a_log_that_shrinks_under_the_reader_does_no_harm(tmp_path, board):
    out = folder(tmp_path / "run", *upto(300))
    one = board(out)
    press(one.board, run_curves.WIDE * 0.7, 100.0)
    folder(out, *upto(50, 2.0))
    one.look()
    assert one.board.status.startswith("step 50: loss 2")
    (out / "log.jsonl").unlink()
    one.look()
    assert "waiting for its first line" in one.board.status and one.still()


def test_trouble_is_one_sentence_and_passes_with_its_cause(tmp_path, board):
    (tmp_path / "run").write_text("a file")
    one = board(tmp_path / "run")
    assert (
        one.board.status
        == f"RunError: {tmp_path / 'run'}: a file; wanted the folder of a run, which holds log.jsonl"
    )
    (tmp_path / "run").unlink()
    folder(tmp_path / "run", *upto(50))
    one.look()
    assert "step 50 of 400" in repr(one)


def test_markup_in_a_name_stays_text(tmp_path, board):
    one = board(
        folder(tmp_path / "<b>run", *upto(400), judged(400, 0.5, 90, **{"<i>cat": 0.5}), '{"step": "<u>"}')
    )
    assert (
        "<i>" not in one.table.value and "<b>run" not in one.text.value and "&lt;b&gt;run" in one.text.value
    )


# ---- detections


def test_a_finished_run_shows_what_its_network_finds_in_words_too(finished):
    assert repr(finished) == "Dashboard(finished, step 2,500 of 2,500; ✓ fine; whole run)"
    assert not finished.follow.value and "69.2" in drawn(finished) and "sofa 89.9" in finished.table.value
    model, config, step = runs.load_run(RECORDED)
    photographs = [voc.read_photograph(e.path) for e in finished.seen.examples]
    found = [one.above(0.5) for one in inference.detect_in(model, photographs, config)]
    names = [[f"{voc.CLASSES[k]} " for k in one.labels.tolist()] for one in found]
    assert finished.seen.step == step and len(names) == run_pictures.COUNT and any(names)
    for own, seen in zip(names, finished.seen.words().split(";"), strict=True):
        assert all(name in seen for name in own) and (own or "nothing" in seen)
    assert f'alt="{finished.seen.words()}"' in finished.pictures.value
    assert len(finished.still().axes) == 3 + run_pictures.COUNT


def test_a_network_that_is_sure_of_nothing_yet_shows_its_best_guess_of_each_picture(tmp_path):
    config = runs.RECIPES["mini"]
    model, optimizer, _ = engine.build(config, torch.device("cpu"))
    for name, parameter in model.named_parameters():
        if name.startswith("conf."):
            torch.nn.init.zeros_(parameter)  # the same score for every class
    runs.save_run(tmp_path, runs.Progress(200), config, model, optimizer)
    seen = run_pictures.look(tmp_path)
    photographs = [voc.read_photograph(e.path) for e in seen.examples]
    best = [max(one.scores.tolist()) for one in inference.detect_in(model.eval(), photographs, config)]
    assert not any(map(len, seen.found)) and max(best) < 0.5
    assert [guess.scores.tolist() for guess in seen.guesses] == [[pytest.approx(score)] for score in best]
    assert seen.words().count("nothing, best guess") == run_pictures.COUNT
    figure = Figure()
    run_pictures.draw_below(seen, figure)
    assert [sum(patch.get_linestyle() == ":" for patch in ax.patches) for ax in figure.axes] == [1] * 4
    assert "best guess" in seen.legend()
    assert "best guess" not in run_pictures.look(RECORDED, seen.examples[:1]).legend()


def test_looking_draws_no_chance_and_leaves_no_figure_open():
    before, figures = torch.random.get_rng_state(), plt.get_fignums()
    seen = run_pictures.look(RECORDED)
    run_pictures.as_html(seen)
    assert torch.equal(before, torch.random.get_rng_state()) and plt.get_fignums() == figures


def test_pictures_are_made_anew_only_for_another_checkpoint_and_not_too_often(tmp_path, board, monkeypatch):
    out, calls = folder(tmp_path / "run", *upto(50)), []
    monkeypatch.setattr(run_pictures, "look", lambda *a, look=run_pictures.look: calls.append(a) or look(*a))
    one = board(out, images=[])
    assert not calls  # no checkpoint yet
    shutil.copy(RECORDED / "checkpoint.pt", out)
    one.look()
    one.look()
    assert len(calls) == 1 and one.seen.step == 2500
    os.utime(out / "checkpoint.pt", (1, 1))  # another one, but too soon
    one.look()
    assert len(calls) == 1
    one._rest -= dashboard.REST
    one.look()
    assert len(calls) == 2


def test_the_full_network_waits_for_the_button(tmp_path, board, monkeypatch):
    out, calls = folder(tmp_path / "run", *upto(50), config=dataclasses.replace(CONFIG, width=1.0)), []
    one = board(out, images=[])
    one.detect.click()
    assert "no checkpoint.pt in" in one.pictures.value
    shutil.copy(RECORDED / "checkpoint.pt", out)
    monkeypatch.setattr(run_pictures, "look", lambda *a, look=run_pictures.look: calls.append(a) or look(*a))
    one.look()
    assert not calls
    one.detect.click()
    one._detection.join(30)
    assert len(calls) == 1 and one.seen.step == 2500


def test_the_curves_follow_and_keys_are_heard_while_images_are_looked_at(tmp_path, board, monkeypatch):
    out = folder(tmp_path / "run", *upto(50), config=dataclasses.replace(CONFIG, width=1.0))
    one = board(out, images=[])
    shutil.copy(RECORDED / "checkpoint.pt", out)
    at_it, on, calls = threading.Event(), threading.Event(), []

    def look(*_):
        calls.append(at_it.set())
        assert on.wait(30)
        raise ValueError("enough")

    monkeypatch.setattr(run_pictures, "look", look)
    click = {"method": "custom", "content": {"event": "click"}}
    one.detect.comm.handle_msg({"content": {"data": click}, "buffers": []})
    assert at_it.wait(10) and "step 50 of 400" in repr(one)
    with open(out / "log.jsonl", "a") as log:
        log.write(line(60, 5.0) + "\n")
    one.look()  # as the thread does
    key = {"method": "update", "state": {"arrows": [-1, 0]}}
    one.board.comm.handle_msg({"content": {"data": key}, "buffers": []})
    assert "step 50: " in one.board.status and not on.is_set()
    on.set()
    one._detection.join(30)
    assert len(calls) == 1 and "no detections: ValueError: enough" in one.pictures.value


@pytest.mark.parametrize("content", [b"", b"rubbish", None])
def test_a_checkpoint_that_is_none_is_said_and_the_curves_stay(tmp_path, board, content):
    out = folder(tmp_path / "run", *upto(50))
    if content is None:
        torch.save({"format": 1, "model": {}, "config": {"steps": 5}}, out / "checkpoint.pt")
    else:
        (out / "checkpoint.pt").write_bytes(content)
    one = board(out)
    assert one.pictures.value.startswith("no detections: ") and "checkpoint.pt" in one.pictures.value
    assert "step 50 of 400" in repr(one)


@pytest.mark.slow
def test_a_dashboard_beside_a_training_changes_no_bit_of_it(tmp_path, board, mini, monkeypatch):
    monkeypatch.setattr(dashboard, "REST", 0.0)
    examples = voc.read_sets(mini, ["2007-test"])[:2]
    data = examples, store.Jpegs(examples)
    small = dict(steps=4, batch_size=2, val_every=0, log_every=1, checkpoint_every=1)
    config = dataclasses.replace(runs.RECIPES["mini"], **small)
    engine.train(config, data, data, tmp_path / "alone")
    one = board(tmp_path / "watched", every=0.1, images=examples[:1])
    engine.train(config, data, data, tmp_path / "watched")
    until(lambda: not one.follow.value)
    alone, watched = (runs.load_run(tmp_path / name)[0].state_dict() for name in ("alone", "watched"))
    assert one.seen is not None and all(alone[name].equal(watched[name]) for name in alone)


# ---- in a terminal


def test_the_terminal_prints_the_same_figures_once_into_a_pipe(capsys):
    assert dashboard.main([str(RECORDED)]) == 0
    out = capsys.readouterr().out
    assert "finished, step 2,500 of 2,500" in out and "sofa 89.9" in out and "\033" not in out


def test_the_terminal_refuses_a_file_in_a_sentence_and_waits_for_a_folder(capsys, tmp_path):
    assert dashboard.main([str(RECORDED / "log.jsonl")]) == 1
    assert "a file; wanted the folder of a run" in capsys.readouterr().err
    assert dashboard.main([str(tmp_path / "later"), "--once"]) == 0
    assert "waiting for the folder" in capsys.readouterr().out


def test_a_terminal_is_redrawn_until_the_run_is_finished(capsys, tmp_path, monkeypatch):
    out, naps = folder(tmp_path / "run", *upto(100)), []

    def nap(seconds):
        naps.append(seconds)
        folder(out, *upto(400), judged(400, 0.5, 90, cat=0.5))

    monkeypatch.setattr(dashboard.time, "sleep", nap)
    monkeypatch.setattr(dashboard.sys.stdout, "isatty", lambda: True, raising=False)
    assert dashboard.main([str(out), "--every", "7"]) == 0
    printed = capsys.readouterr().out
    assert naps == [7.0] and printed.count("\033[H\033[J") == 2 and "finished, step 400" in printed
