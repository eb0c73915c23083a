"""Tests of chapter 09's exercises: what they call right is what the library does, and what a disk does."""

import dataclasses
from itertools import permutations

import pytest
import torch

from course.kit import checking
from course.training import check
from ssdlib.data import batches
from ssdlib.loss import multibox_loss
from ssdlib.records import Predictions, Targets
from ssdlib.training import engine, runs

SMALL = dataclasses.replace(runs.RECIPES["paper"], width=1 / 64, steps=120_000)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run folder at step 50,000, and what its network and optimiser look like."""
    out = tmp_path_factory.mktemp("runs") / "killed"
    model, optimizer, _ = engine.build(SMALL, torch.device("cpu"))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    runs.open_run(out, SMALL, model, optimizer, resume=False)
    runs.save_run(out, runs.Progress(50_000), SMALL, model, optimizer)
    return out, model, optimizer


@pytest.mark.parametrize("row", range(6))
def test_the_library_goes_on_where_exercise_1_says_so_and_refuses_elsewhere(killed, row):
    out, model, optimizer = killed
    name, was, now = check.CHANGES[row]
    assert getattr(SMALL, name) == was
    changed = dataclasses.replace(SMALL, **{name: now})
    if check.ACCEPTED[row]:
        assert runs.open_run(out, changed, model, optimizer, resume=True).step == 50_000
    else:
        with pytest.raises(runs.RunError):
            runs.open_run(out, changed, model, optimizer, resume=True)
    runs.open_run(out, SMALL, model, optimizer, resume=True)  # its settings again, for the next row


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_the_shares_of_exercise_3_are_the_librarys_batch_whatever_the_number_of_processes(processes):
    orders = [batches.shuffled(10, epoch * 10, 10, seed=3) for epoch in range(4)]
    for step in range(8):
        shares = [check.my_images.right(step, rank, processes, 4, orders) for rank in range(processes)]
        assert sum(shares, []) == batches.shuffled(10, step * 4, 4, seed=3)


@pytest.mark.parametrize("matched", [(2, 3, 0, 1), (0, 0, 0, 0), (5, 0, 0, 0)])
def test_the_parts_of_exercise_4_add_up_to_the_gradient_of_the_real_loss(matched):
    chance = torch.Generator().manual_seed(0)
    weight = torch.randn(2, generator=chance, requires_grad=True)  # of offsets, of logits
    raw = torch.randn(4, 30, 25, generator=chance)
    labels = torch.zeros(4, 30, dtype=torch.int64)
    for image, count in enumerate(matched):
        labels[image, :count] = 7

    def gradient(which):
        predictions = Predictions(weight[0] * raw[which, :, :4], weight[1] * raw[which, :, 4:])
        goal = Targets(torch.zeros(len(labels[which]), 30, 4), labels[which], labels[which] - 1)
        loss = multibox_loss(predictions, goal).multibox
        return torch.autograd.grad(loss, weight)[0].tolist()

    parts = [(sum(matched[a:b]), gradient(slice(a, b))) for a, b in ((0, 1), (1, 3), (3, 4))]
    assert check.whole_gradient.right(parts) == pytest.approx(gradient(slice(None)), abs=1e-5)


def survives(word):
    """Whether a reader finds a whole checkpoint, whenever the power fails while these lines run, and the new one
    afterwards. What was written and not waited for is taken for lost; a name is there at once."""
    names, file = {"path": "old"}, None
    contents = {"old": "whole"}
    for letter in word:
        if letter in "EF":
            file = "part" if letter == "E" else "path"
            names[file] = file = f"new in {file}"
            contents[file] = "empty"
        elif letter in "BD" and file is None or letter == "A" and "part" not in names:
            return False
        elif letter == "B" and contents[file] == "empty":
            contents[file] = "on its way"
        elif letter == "D" and contents[file] == "on its way":
            contents[file] = "whole"
        elif letter == "A":
            names["path"] = names.pop("part")
        elif letter == "C":
            names.pop("path", None)
        if contents.get(names.get("path")) != "whole":
            return False
    return names["path"] != "old"


def test_of_all_orders_of_six_lines_only_that_of_exercise_5_survives_a_power_cut_at_any_instant():
    words = ["".join(letters) for n in range(1, 7) for letters in permutations("ABCDEF", n)]
    assert len(words) == 1956
    assert [word for word in words if survives(word)] == ["EBDA"]
    assert [word for word in words if not check._fault(word)] == ["EBDA"]


ROWS = (
    "more steps only add to the end; the 50,000 that are done stay what they are",
    "the run has done 50,000 steps already; it can't go back to 40,000",
    "another learning rate is another run; half of one and half of the other is neither",
    "microbatch says how many images are computed at a time; the update is that of all 32, as before",
    "with 16 images an update, all later batches are other ones: that is another run",
    "how often a run is saved changes nothing of what it learns",
    "the number of processes is no setting: the batch of step t is the same, only shared out",
)


@pytest.mark.parametrize("row", range(7))
def test_in_exercise_1_the_first_wrong_row_is_explained(row):
    """Right up to the row, and from there on all wrong: the sentence is about that row."""
    right = [True, False, False, True, False, True, True]
    assert check.may_change(right).state == checking.RIGHT
    answer = right[:row] + [not value for value in right[row:]]
    verdict = check.may_change(answer)
    assert (verdict.state, verdict.message) == (checking.WRONG, f"row {row + 1}: {ROWS[row]}")


@pytest.mark.parametrize(
    "answer, says",
    [
        ([True, False, True], "yours has 3 answers"),
        ([1, 2, 3, 4, 5, 6, 7], "only True and False were asked for"),
    ],
)
def test_in_exercise_1_what_is_no_list_of_seven_answers_is_told_so(answer, says):
    verdict = check.may_change(answer)
    assert verdict.state == checking.WRONG and verdict.message.startswith(says)


ORDERS = {
    "ABDEF FBD ABCDEF": "F empties the old checkpoint at once",
    "CEBDA EBCDA": "C deletes the old checkpoint before the new one has got its name",
    "EBDAC": "C after A deletes the new checkpoint",
    "EBDCA": "C deletes the old checkpoint before the new one has got its name",
    "BDA": "no file is opened to write into",
    "EDA": "nothing is ever written",
    "EBD": "the new checkpoint never gets its name",
    "EBA": "nothing waits for the disk",
    "BEDA DEBA DBEA": "B and D need an open file",
    "AEBD EABD": "A before B: a file without bytes gets the checkpoint's name",
    "EDBA": "D before B waits for bytes that aren't written yet",
    "EBAD": "A before D: the name may be on the disk before the bytes",
    "EBDAA": "each line is needed once at most",
    "XYZ": "the answer is a word of the letters A to F",
}


@pytest.mark.parametrize("word, says", [(w, says) for words, says in ORDERS.items() for w in words.split()])
def test_each_order_of_exercise_5_that_loses_something_is_told_what(word, says):
    verdict = check.saving(word)
    assert verdict.state == checking.WRONG and verdict.message.startswith(says)


def test_after_the_right_order_the_line_that_is_missing_is_kept_back_again():
    assert check.saving("EBDA").state == checking.RIGHT
    first, second = check.saving("EDA").message, check.saving("EDA").message
    assert "B is missing" not in first and "B is missing" in second
    assert check.saving("EBDA").state == checking.RIGHT and check.saving("EDA").message == first


@pytest.mark.parametrize(
    "typed", ["EBDA", "ebda", "E, B, D, A", "E B D A", ["E", "B", "D", "A"], ("e", "b", "d", "a")]
)
def test_the_order_may_be_typed_in_several_ways(typed):
    assert check.saving(typed).state == checking.RIGHT


def test_the_time_left_of_exercise_6_is_what_a_clock_says_at_the_end():
    """A run of 4,300 steps, .25 s each, a validation of 31 s each 700: the log is written as time goes by."""
    clock, rows = 0.0, []
    for step in range(1, 4301):
        clock += 0.25
        if step % 50 == 0:
            rows.append({"step": step, "multibox": 3.0, "seconds": clock})
        if step % 700 == 0:
            clock += 31
            rows.append({"step": step, "val": {"multibox": 4.0}, "seconds": clock})
    for cut in range(700, 4301, 50):
        so_far = [row for row in rows if row["step"] <= cut]
        assert check.time_left.right(so_far, 4300, 700) == pytest.approx(clock - so_far[-1]["seconds"])


# ---- wrong answers that nobody wrote down in the checks


def in_place(step, rank, processes, batch, orders):
    orders[0].extend(orders[1])
    return orders[0][step * batch + rank * batch // processes :][: batch // processes]


def strict_mean(parts):
    return [sum(column) / len(parts) for column in zip(*(g for _, g in parts), strict=True)]


def no_guard(parts):
    total = sum(n for n, _ in parts)
    return [sum(n * g[i] for n, g in parts) / total for i in range(len(parts[0][1]))]


def lone_row(rows, steps, val_every):
    return rows[-1]["seconds"] / len(rows) * (steps - rows[-1]["step"])


def no_guard_of_time(rows, steps, val_every):
    took = [b["seconds"] - a["seconds"] for a, b in zip(rows, rows[1:], strict=False) if "val" in b]
    step = rows[-1]["step"]
    to_come = steps // val_every - step // val_every
    pace = (rows[-1]["seconds"] - sum(took)) / step
    return pace * (steps - step) + to_come * sum(took) / len(took)


@pytest.mark.parametrize(
    "exercise, answer, says",
    [
        (check.may_change, [True] * 7, "row 2"),
        (check.may_change, [False] * 7, "row 1"),
        (check.may_change, [True, False, False, True, False, True], "yours has 6 answers"),
        (check.may_change, ["yes", "no", "no", "yes", "no", "yes", "yes"], "yours is ['yes'"),
        (check.may_change, True, "yours is a single value"),
        (check.may_change, ["steps", "microbatch"], "yours is ['steps'"),
        (check.fit, 27.01, "yours is 27.01"),
        (check.fit, 26.5, "yours is 26.5"),
        (check.fit, 1.0, "yours is 1.0"),
        (check.fit, [27], "yours has shape (1,)"),
        (check.my_images, in_place, "your function changed what it was given"),
        (check.my_images, lambda s, r, p, b, orders: orders[0][s * b : (s + 1) * b], "step 1, rank 1 of 2"),
        (
            check.my_images,
            lambda s, r, p, b, orders: set(check.my_images.right(s, r, p, b, orders)),
            "one process",
        ),
        (check.my_images, lambda s, r, p, b, orders: orders[s][r::p][: b // p], "step 1, rank 1 of 2"),
        (check.whole_gradient, strict_mean, "that is the mean of the parts: 10 matches count"),
        (
            check.whole_gradient,
            no_guard,
            "no object in the whole batch: your function stopped with ZeroDivisionError",
        ),
        (check.whole_gradient, lambda parts: check.whole_gradient.right(parts)[::-1], "two parts"),
        (check.whole_gradient, lambda parts: [-v for v in check.whole_gradient.right(parts)], "two parts"),
        (check.saving, "EBD A F", "F empties"),
        (check.saving, ["E", "B", None], "the answer is a word"),
        (check.saving, 4, "the answer is a word"),
        (check.time_left, lone_row, "half of 3,000 steps"),
        (
            check.time_left,
            no_guard_of_time,
            "no validation yet: your function stopped with ZeroDivisionError",
        ),
        (check.time_left, lambda rows, steps, val_every: 210.0, "step 1,900 of 3,000"),
        (check.time_left, lambda rows, steps, val_every: rows[-1]["seconds"], "half of 3,000 steps"),
    ],
)
def test_wrong_answers_nobody_foresaw_are_wrong_and_told_where(exercise, answer, says):
    verdict = exercise(answer)
    assert verdict.state == checking.WRONG and verdict.message.startswith(says)
