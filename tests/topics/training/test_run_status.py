"""Where a run stands, read from hand-written logs (whole, half, replaced, rotten) and from recorded ones."""

import dataclasses
import json
import math
import os
import time

import numpy as np
import pytest

from course.instability import starts
from course.training import log_follower, report, run_status
from course.training.log_follower import Follower
from run_logs import CONFIG, checked, folder, judged, line, upto
from ssdlib.training.runs import RunError

# ---- reading while the file grows


def test_lines_are_read_as_they_come_and_a_half_one_waits(tmp_path):
    out = folder(tmp_path / "run", line(10))
    found = Follower(out)
    assert found.poll() and len(found) == 1 and not found.poll()
    with open(out / "log.jsonl", "a") as file:
        file.write(line(20)[:30])
        file.flush()
        found.poll()
        assert len(found) == 1 and not found.unreadable
        file.write(line(20)[30:])
        file.flush()
        found.poll()
        assert len(found) == 2  # whole as it stands, though its end of line is still to come
        file.write("\n" + line(30) + "\n")
    assert found.poll() and found["step"].tolist() == [10, 20, 30] and not found.unreadable


def test_an_unchanged_log_is_not_taken_apart_again_and_a_grown_one_is_whole(tmp_path, monkeypatch):
    out = folder(tmp_path / "run", *upto(400))
    found, parsed = Follower(out), []
    monkeypatch.setattr(
        log_follower, "_row", lambda text, old=log_follower._row: parsed.append(text) or old(text)
    )
    found.poll()
    parsed.clear()
    assert not found.poll() and len(parsed) <= 1  # at most what stands behind the last line's end
    with open(out / "log.jsonl", "a") as file:
        file.write(line(410) + "\n")
    assert found.poll() and len(found) == 41 and found.step == 410
    assert found["step"].tolist() == list(range(10, 411, 10))


@pytest.mark.parametrize("way", ["renamed over it", "written into it"])
@pytest.mark.parametrize("longer", [False, True])
def test_another_log_under_the_old_name_is_read_from_its_beginning(tmp_path, way, longer):
    out = folder(tmp_path / "run", *upto(100, loss=3.0))
    found = Follower(out)
    found.poll()
    text = "".join(one + "\n" for one in upto(150 if longer else 50, loss=2.0))
    if way == "renamed over it":
        (out / "log.jsonl.part").write_text(text)
        os.replace(out / "log.jsonl.part", out / "log.jsonl")
    else:
        (out / "log.jsonl").write_text(text)
    assert found.poll()
    assert len(found) == (15 if longer else 5) and set(found["multibox"]) == {2.0}


def test_a_copy_of_the_same_lines_is_no_news(tmp_path):
    out = folder(tmp_path / "run", *upto(100))
    found = Follower(out)
    found.poll()
    (out / "again").write_text((out / "log.jsonl").read_text())
    os.replace(out / "again", out / "log.jsonl")
    found.poll()
    assert found.news is None and len(found) == 10
    with open(out / "log.jsonl", "a") as file:
        file.write(line(110) + "\n")
    found.poll()
    assert found.news is not None


def test_a_log_that_is_taken_away_leaves_an_empty_run(tmp_path):
    out = folder(tmp_path / "run", *upto(50))
    found = Follower(out)
    found.poll()
    (out / "log.jsonl").unlink()
    assert found.poll() and len(found) == 0 and run_status.view(found).phase == run_status.WAITING


def test_garbage_is_left_out_counted_and_named(tmp_path):
    rubbish = ["{", "[]", "null", '"step"', '{"step": "ten", "multibox": 1}', "\x00\x00", "{" * 5000, ""]
    out = folder(tmp_path / "run", line(10), *rubbish, line(20))
    with open(out / "log.jsonl", "ab") as file:
        file.write(b"\xff\xfe\n" + b'{"step": 1' + b"0" * 400 + b"}\n" + line(30).encode() + b"\n")
    now = run_status.read_status(out)
    assert now.step == 30 and now.watch.startswith("all numbers finite")
    [problem] = now.problems
    assert "log.jsonl: 9 lines aren't JSON with a step (line 2)" in problem


def test_rows_of_unknown_kinds_and_odd_values_do_no_harm(tmp_path):
    odd = [
        '{"step": 20, "val": 7, "map": null}',
        '{"step": 20, "map": "much", "ap": [1]}',
        '{"step": 20, "x": 1}',
    ]
    now = run_status.read_status(folder(tmp_path / "run", line(10), *odd, '{"step": 30, "multibox": 2}'))
    assert now.step == 30 and report.as_text(now) and report.as_html(now)
    assert math.isnan(now.validations[0].value) and math.isnan(now.evaluations[0].value)


def test_a_folder_that_is_a_file_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "log.jsonl").write_text(line(10))
    with pytest.raises(RunError, match="a file; wanted the folder of a run"):
        run_status.read_status(tmp_path / "log.jsonl")


@pytest.mark.parametrize(
    "text, words",
    [
        ("{", "not JSON, or half written"),
        ("[1]", "wanted a run's settings"),
        ('{"stepz": 1}', "stepz"),
        ('{"steps": "many"}', "wanted a run's settings"),
        ('{"map_every": "often"}', "map_every is 'often'"),
        ('{"drops": ["late"]}', "drops is ('late',)"),
        ('{"steps": 0}', "steps is 0"),
    ],
)
def test_settings_that_are_none_are_named_and_the_log_is_read_without_them(tmp_path, text, words):
    out = folder(tmp_path / "run", *upto(50), config=None)
    (out / "config.json").write_text(text)
    now = run_status.read_status(out)
    assert now.config is None and now.step == 50 and len(now.problems) == 1
    assert "config.json" in now.problems[0] and words in now.problems[0]


@pytest.mark.slow
def test_two_hundred_thousand_lines_are_read_once_and_thinned_to_a_screen(tmp_path):
    from course.training import run_curves

    one = line(77, 2.0)
    out = folder(tmp_path / "run", *(one.replace("77", str(step)) for step in range(1, 200_001)))
    found = Follower(out)
    found.poll()
    drawn = run_curves.layers(found, run_curves.window(found, tenth=False), 100.0)
    assert len(found) == 200_000 and run_status.view(found).step == 200_000
    assert max(len(c) // 2 for one in drawn for c in one["curves"]) <= run_curves.BUCKETS


# ---- what it comes to


def test_before_anything_is_there_the_view_says_what_it_waits_for(tmp_path):
    said = report.sentence(run_status.read_status(tmp_path / "none"))
    assert said == f"waiting for the folder {tmp_path.name}/none"
    (tmp_path / "run").mkdir()
    assert report.sentence(run_status.read_status(tmp_path / "run")).endswith("log.jsonl")
    out = folder(tmp_path / "run")
    assert "a run of 400 steps; waiting for its first line, after 10" in report.sentence(
        run_status.read_status(out)
    )
    assert run_status.read_status(out).mood == run_status.FINE


def test_a_run_whose_lock_is_gone_is_interrupted_and_one_that_goes_on_runs_again(tmp_path):
    out = folder(tmp_path / "run", *upto(270))
    (out / "checkpoint.pt").touch()
    found = Follower(out)
    found.poll()
    assert run_status.view(found).phase == run_status.RUNNING  # a copy has no lock: that alone says nothing
    (out / "lock").write_text("process 1\n")
    found.poll()
    assert run_status.view(found).phase == run_status.RUNNING
    (out / "lock").unlink()
    assert found.poll()
    now = run_status.view(found)
    assert report.sentence(now) == "interrupted, step 270 of 400; ? look"
    assert now.watch == "no process trains there now; checkpoint.pt is kept, by the settings of step 200"
    (out / "lock").write_text("process 2\n")
    found.poll()
    assert run_status.view(found).phase == run_status.RUNNING
    with open(out / "log.jsonl", "a") as file:
        file.writelines(one + "\n" for one in [*upto(400)[27:], judged(400, 0.5, 90.0, cat=0.5)])
    (out / "lock").unlink()
    found.poll()
    assert run_status.view(found).phase == run_status.FINISHED


def test_speed_and_time_left_are_those_worked_out_by_hand(tmp_path):
    """Ten steps in 2 s: .2 s a step, 40 images/s. A validation took 4 s, an evaluation 6 s. From step 210 on: 190
    steps of .2 s, two validations (300, 400) and one evaluation (at the end): 38 + 8 + 6 s."""
    rows = [line(step, seconds=step / 5) for step in range(10, 101, 10)]
    rows += [checked(100, 3.0, 24.0)]
    rows += [line(step, seconds=step / 5 + 4) for step in range(110, 201, 10)]
    rows += [checked(200, 2.5, 48.0), judged(200, 0.5, 54.0, cat=0.5)]
    rows += [line(210, seconds=56.0)]
    now = run_status.read_status(folder(tmp_path / "run", *rows))
    assert now.pace == pytest.approx(0.2) and now.speed == pytest.approx(40)
    assert now.left == pytest.approx(52) and now.uncounted == 0 and now.spent == 56
    assert (now.next_drop, now.next(CONFIG.val_every), now.next(CONFIG.checkpoint_every)) == (90, 90, 190)
    assert [check.took for check in now.validations] == pytest.approx([4, 4])
    assert now.best(now.validations).step == 200 and now.phase == run_status.RUNNING


def test_what_no_time_is_known_of_is_left_out_and_said(tmp_path):
    now = run_status.read_status(folder(tmp_path / "run", *upto(50)))
    assert now.left == pytest.approx(350 * 0.2)
    assert now.uncounted == 4 + 2 and "and 6 checks" in report.as_text(now)  # val 100..400, mAP 200 and 400


def test_a_pause_of_the_machine_does_not_slow_the_estimate(tmp_path):
    rows = [line(s, seconds=s / 5 + (500 if s > 150 else 0)) for s in range(10, 301, 10)]
    assert run_status.read_status(folder(tmp_path / "run", *rows)).pace == pytest.approx(0.2)


def test_a_mean_of_lines_in_tenths_of_seconds_is_not_rounded_to_tenths(tmp_path):
    """27 ms a step: the log says 0.3, 0.5, 0.8, ... seconds."""
    rows = [line(s, seconds=round(0.027 * s, 1)) for s in range(10, 401, 10)]
    assert run_status.read_status(folder(tmp_path / "run", *rows)).pace == pytest.approx(0.027, rel=0.02)


def test_the_table_says_how_each_class_changed_since_the_evaluation_before(tmp_path):
    rows = [judged(200, 0.5, 1, cat=0.5, dog=0.5), judged(400, 0.6, 2, cat=0.75, dog=0.45, cow=0.1)]
    now = run_status.read_status(folder(tmp_path / "run", *upto(400), *rows))
    assert [row[:2] for row in now.table()] == [("cat", 0.75), ("dog", 0.45), ("cow", 0.1)]
    assert [row[2] for row in now.table()][:2] == pytest.approx([0.25, -0.05]) and math.isnan(
        now.table()[2][2]
    )
    cells = sum(report.table(now), [])
    assert cells == ["cat 75.0 (+25.0)", "dog 45.0 (-5.0)", "cow 10.0"]
    assert now.best(now.evaluations).step == 400 and now.phase == run_status.FINISHED


def test_an_evaluation_written_twice_is_not_a_change_of_zero(tmp_path):
    rows = [judged(200, 0.5, 1, cat=0.5), judged(400, 0.6, 2, cat=0.75), judged(400, 0.6, 3, cat=0.75)]
    assert run_status.read_status(folder(tmp_path / "run", *upto(400), *rows)).table()[0][2] == pytest.approx(
        0.25
    )


def test_a_log_alone_says_what_it_cannot_tell(tmp_path):
    now = run_status.read_status(folder(tmp_path / "run", *upto(100), config=None))
    assert (
        now.steps is None
        and math.isnan(now.left)
        and math.isnan(now.speed)
        and now.pace == pytest.approx(0.2)
    )
    assert "no config.json" in now.problems[0] and "running, step 100;" in report.as_text(now)


def test_all_steps_done_but_no_table_yet_is_evaluating(tmp_path):
    assert run_status.read_status(folder(tmp_path / "run", *upto(400))).phase == run_status.EVALUATING
    longer = dataclasses.replace(CONFIG, steps=800)  # a finished run that was extended goes on
    out = folder(tmp_path / "run", *upto(400), judged(400, 0.5, 90.0, cat=0.5), config=longer)
    assert run_status.read_status(out).phase == run_status.RUNNING


def test_no_news_is_told_from_a_long_evaluation_and_a_clock_ahead(tmp_path):
    out = folder(tmp_path / "run", *upto(100))
    log = out / "log.jsonl"

    def dated(ago):
        os.utime(log, (time.time() - ago,) * 2)
        return run_status.read_status(out)

    assert dated(50).phase == run_status.RUNNING  # less than a minute is always all right
    late = dated(300)
    assert late.phase == run_status.SILENT and late.mood == run_status.LOOK
    assert late.watch == "no news for 5 min, where a line came every 2 s: is it still running?"
    ahead = dated(-3600)
    assert ahead.age is None and ahead.phase == run_status.RUNNING
    slow = [line(100, seconds=20), judged(100, 0.5, 320, cat=0.5), line(110, seconds=322)]
    folder(tmp_path / "run", *slow)
    assert dated(300).phase == run_status.RUNNING  # an evaluation took as long before
    assert dated(1000).phase == run_status.SILENT


def test_two_runs_writing_to_one_log_are_noticed(tmp_path):
    now = run_status.read_status(folder(tmp_path / "run", line(100), line(10), line(110), line(20)))
    assert "the step falls 2 times; do two runs write to it?" in now.problems[0]


# ---- the watch


def test_divergence_names_step_rate_and_what_is_kept(tmp_path):
    broken = json.dumps({"step": 250, "rate": 0.03, "diverged": True, "seconds": 51.0})
    out = folder(tmp_path / "run", *upto(240), broken)
    now = run_status.read_status(out)
    assert (now.phase, now.mood) == (run_status.DIVERGED, run_status.ALARM)
    assert (
        now.watch
        == "the loss was no number at step 250, learning rate 0.03; there is no checkpoint.pt in this folder"
    )
    (out / "checkpoint.pt").write_bytes(b"")
    assert run_status.read_status(out).watch.endswith("checkpoint.pt is kept, by the settings of step 200")
    (out / "best.pt").write_bytes(b"")
    assert run_status.read_status(out).watch.endswith("of step 200; so is best.pt")
    folder(tmp_path / "run", *upto(240), broken, line(250))  # it went on after all
    assert run_status.read_status(out).mood == run_status.FINE


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "broken"])
def test_a_last_line_that_is_no_number_alarms(tmp_path, bad):
    now = run_status.read_status(folder(tmp_path / "run", *upto(100), line(110, confidence=bad)))
    assert now.mood == run_status.ALARM and "the confidence loss of step 110 is no number" in now.watch


def test_no_positives_a_rising_loss_and_no_opinion_ask_for_a_look(tmp_path):
    for rows, words in (
        ([*upto(100), line(110, positives=0.0)], "no anchor was positive in the line of step 110"),
        ([*upto(100, 2.0), *(line(s, 5.0) for s in range(110, 201, 10))], "is 2.5 times the lowest"),
        (upto(100, 16.0), "no opinion yet: confidence loss 12.0; all classes equally likely give 12.2"),
    ):
        now = run_status.read_status(folder(tmp_path / "run", *rows))
        assert now.mood == run_status.LOOK and words in now.watch, now.watch
    assert (
        run_status.read_status(folder(tmp_path / "run", *upto(100, 2.0), line(110, 15.0))).mood
        == run_status.FINE
    )


def test_risen_is_what_a_loop_over_all_windows_finds():
    losses = np.random.default_rng(0).uniform(1, 5, 60)
    means = [sum(losses[i : i + 10]) / 10 for i in range(51)]
    assert run_status.risen(losses) == pytest.approx(means[-1] / min(means))
    assert run_status.risen(losses[:10]) == 1 and run_status.risen(np.full(30, np.nan)) == 1


def recorded_warnings(lines_of):
    """Of chapter 07's starts: how many broke, in how many of them the rule had warned; the same of the others."""
    counts = {True: [0, 0], False: [0, 0]}
    for name in starts.ARMS:
        for start in starts.arm(name):
            losses = start.multibox.numpy()
            losses = losses[: len(losses) // lines_of * lines_of].reshape(-1, lines_of).mean(axis=1)
            warned = any(run_status.risen(losses[:n]) > run_status.RISEN for n in range(len(losses) + 1))
            counts[start.broke is not None][0] += 1
            counts[start.broke is not None][1] += warned
    return counts


def test_the_rule_of_a_rising_loss_sees_half_of_the_recorded_nans_coming_if_every_step_is_logged_else_none():
    assert recorded_warnings(1) == {True: [29, 16], False: [76, 1]}
    assert recorded_warnings(10) == {True: [29, 0], False: [76, 0]}
