"""Tests of chapter 13's machinery: blocks, their exchange, trials, the search for a wrong one, the run, the board."""

import ast
import dataclasses
import importlib
import json
import re
import shutil
import sys
from pathlib import Path

import jupytext
import pytest
import torch
from hands import arrows, press

import ssdlib
from course.capstone import (
    bisection,
    blocks,
    check,
    figures,
    mine,
    reference,
    run,
    swap_board,
    swapping,
    trial,
    wrong,
)
from course.kit import my_ssd, opening, places
from course.kit.building_block import BuildingBlock
from course.kit.checking import RIGHT, WRONG
from ssdlib import anchors, box_ops, coding, detect, evaluate, loss, matching, model
from ssdlib.training import engine

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "chapters"))
SOLUTIONS = mine.reference()


def functions_in(text: str) -> dict[str, str]:
    """The functions of a text, written in one way."""
    return {
        node.name: ast.unparse(node) for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)
    }


def chapters_solutions() -> dict[str, str]:
    from build import solution_of

    found = {}
    for source in sorted((ROOT / "chapters/source").glob("[0-9]*.py")):
        for cell in jupytext.read(source).cells:
            if "exercise" in cell.metadata.get("tags", ()):
                found |= functions_in(solution_of(cell.source))
    return found


def building_blocks() -> dict[str, BuildingBlock]:
    checks = [
        importlib.import_module(f"course.{path.parent.name}.check")
        for path in (ROOT / "course").glob("*/check.py")
    ]
    found = [
        value for module in checks for value in vars(module).values() if isinstance(value, BuildingBlock)
    ]
    assert len({block.name for block in found}) == len(found)
    return {block.name: block for block in found}


# ---- the blocks


def test_the_reference_is_what_the_chapters_show_as_solutions():
    written, shown = functions_in(Path(reference.__file__).read_text()), chapters_solutions()
    assert written == {name: shown[name] for name in written}
    assert set(written) == set(building_blocks())


def test_every_function_that_a_block_needs_is_kept_by_an_exercise_of_its_chapter():
    kept = building_blocks()
    for block in blocks.BLOCKS:
        chapters = {kept[name].title.split(".")[0].zfill(2) for name in block.needs}
        assert block.chapter in chapters, block.name


def test_every_kept_exercise_says_in_its_chapter_where_chapter_13_uses_it():
    text = {path.stem[:2]: path.read_text() for path in (ROOT / "chapters/source").glob("[0-9]*.py")}
    for exercise in building_blocks().values():
        number = exercise.title.split(" ")[0]
        part = text[number.split(".")[0].zfill(2)].split(f"# ### {number} ")[1].split("\n# ### ")[0]
        assert "chapter 13" in part.lower().replace("\n# ", " ") or number.startswith("13"), number


def test_the_library_does_not_know_the_capstone():
    for path in Path(ssdlib.__file__).parent.rglob("*.py"):
        assert not re.search(r"capstone|my_ssd|building.block", path.read_text()), path


# ---- the exchange

PLACES = [
    (box_ops, "iou"),
    (matching, "iou"),
    (anchors, "default_boxes"),
    (engine, "default_boxes"),
    (matching, "match"),
    (coding, "encode"),
    (loss, "multibox_loss"),
    (engine, "multibox_loss"),
    (engine, "hard_negatives"),
    (model, "_per_anchor"),
    (model.L2Norm, "forward"),
    (engine, "learning_rate"),
    (engine, "build"),
    (detect, "nms"),
    (evaluate, "judge"),
]


def test_all_names_lead_to_the_learners_functions_inside_and_to_the_librarys_again_after_an_error():
    before = [getattr(*place) for place in PLACES]
    with pytest.raises(ZeroDivisionError), swapping.swapped(SOLUTIONS) as names:
        assert names == blocks.NAMES
        assert all(getattr(*place) is not old for place, old in zip(PLACES, before, strict=True))
        raise ZeroDivisionError
    assert all(getattr(*place) is old for place, old in zip(PLACES, before, strict=True))


def test_a_block_that_is_not_solved_is_a_sentence_and_changes_nothing():
    before = matching.match
    with pytest.raises(LookupError, match="greedy isn't in my_ssd.py; chapter 03"):
        with swapping.swapped({k: v for k, v in SOLUTIONS.items() if k != "greedy"}, ["IoU", "matching"]):
            pass
    assert matching.match is before


def test_without_a_function_no_block_is_solved_and_half_of_them_are_where_half_is_there():
    assert blocks.solved({}) == ()
    half = {name: SOLUTIONS[name] for name in ("iou", "greedy", "both", "encode")}
    assert blocks.solved(half) == ("IoU", "encoding")


@pytest.mark.parametrize("precise", [True, False], ids=["vmap", "a loop"])
def test_an_encode_of_one_box_becomes_one_of_many_also_where_vmap_cannot(precise):
    def encode(box, anchor):
        offsets = SOLUTIONS["encode"](box, anchor)
        return offsets if precise else torch.tensor([float(v) for v in offsets])

    boxes, near = torch.tensor([[[10.0, 20, 50, 60]], [[0, 0, 9, 300]]]), anchors.default_boxes()[:5]
    wanted = coding.encode(boxes, near)
    with swapping.swapped({"encode": encode}, ["encoding"]):
        found = coding.encode(boxes, near)
        nothing = coding.encode(torch.zeros(0, 4), torch.zeros(0, 4))
    assert torch.allclose(found, wanted, atol=1e-5) and nothing.shape == (0, 4)


# ---- trials and the search


@pytest.mark.slow
@pytest.mark.parametrize("name", blocks.NAMES)
def test_the_solutions_pass_the_harder_cases(name):
    assert trial.try_block(SOLUTIONS, name, step_seconds=1e9).wrong == ""


PASSED_BY_SOMEBODY = {
    "matching": {"greedy": wrong.argmax_greedy},
    "loss": {"multibox": wrong.one_maximum},
    "boxes of a crop": {"mirrored": wrong.not_mirrored},
    "head outputs": {"per_anchor": wrong.not_permuted},
    "IoU": {"iou": lambda a, b: SOLUTIONS["iou"](a, b).clamp(max=0.9)},
    "hard negatives": {"hard_negatives": lambda x, p, ratio: SOLUTIONS["hard_negatives"](-x, p, ratio)},
    "learning rate": {"rate": lambda step, base, drops: base * 0.1 ** sum(step > drop for drop in drops)},
    "update step": {"sgd_step": lambda w, g, v, rate, m, d: SOLUTIONS["sgd_step"](w, g, v, rate, m, 0.0)},
    "suppression": {"class_by_class": lambda p, s, labels, m: SOLUTIONS["suppress"](p, s, m)},
    "average precision": {"eleven_points": lambda r, p: SOLUTIONS["eleven_points"](r, p) * 11 / 10},
}


@pytest.mark.parametrize("name", PASSED_BY_SOMEBODY)
def test_a_wrong_block_is_told_by_its_trial(name):
    found = trial.try_block(SOLUTIONS | PASSED_BY_SOMEBODY[name], name, step_seconds=1e9)
    assert found.wrong.startswith("random case") and found.says().startswith("✗")


def test_a_function_that_stops_is_told_with_its_error():
    found = trial.try_block({"iou": lambda a, b: a / "b"}, "IoU", step_seconds=1.0)
    assert "stops with TypeError" in found.wrong


@pytest.mark.parametrize(
    "yours, share, says",
    [
        (0.9, 3.1, "too slow: 90.0 times the library's time, so a run takes 4.1 times as long; chapter 03"),
        (0.02, 0.1, "✓"),
    ],
)
def test_a_slow_block_is_told_with_its_factor_and_the_chapter_that_shows_how(yours, share, says):
    assert says in trial.Tried("matching", "", yours, 0.01, share).says()


def cross_entropy_of_rows(logits):
    return torch.logsumexp(logits, dim=1) - logits[:, 0]


def loss_in_a_loop(offsets, logits, wanted, labels, negative):
    """Plain loops and a class index of one dimension, as somebody writes it who sees one image."""
    used = (labels > 0) | negative
    confidence = torch.nn.functional.cross_entropy(logits, labels, reduction="none")[used].sum()
    rows = [SOLUTIONS["smooth_l1"](offsets[k] - wanted[k]).sum() for k in range(len(labels)) if labels[k] > 0]
    return (confidence + sum(rows)) / max(1, int((labels > 0).sum()))


@pytest.mark.parametrize(
    "block, name, answer",
    [("hard negatives", "background_loss", cross_entropy_of_rows), ("loss", "multibox", loss_in_a_loop)],
)
def test_an_answer_that_is_right_for_one_image_serves_a_batch(block, name, answer):
    """Its page gives a matrix with a row for each anchor, so it needn't be able to do more."""
    exercise = vars(importlib.import_module("course.loss.check"))[name]
    assert exercise._judge(answer).state == RIGHT
    assert trial.try_block(SOLUTIONS | {name: answer}, block, step_seconds=1e9).wrong == ""


@pytest.mark.slow
def test_the_search_says_that_all_solutions_are_the_librarys_detector_after_one_comparison():
    said = []
    assert bisection.search(SOLUTIONS, blocks.NAMES, said.append) == {}
    assert len(said) == 1 and said[0].startswith("✓ box format to average precision, 16 blocks, are yours")


@pytest.mark.slow
@pytest.mark.parametrize("name", wrong.CULPRITS)
def test_the_search_finds_each_famous_mistake_among_others(name):
    culprit, said = wrong.CULPRITS[name], []
    row = [block for block in blocks.NAMES if block != culprit.block][4:7]
    found = bisection.search(SOLUTIONS | dict(culprit.replaces), (*row, culprit.block), said.append)
    assert list(found) == [culprit.block] and len(said) == 5


def test_the_search_finds_two_wrong_blocks_at_once_and_one_that_stops():
    mistakes = {"to_corners": lambda boxes: boxes, "rate": lambda step, base, drops: [][0]}
    names = ("box format", "learning rate")
    found = bisection.search(SOLUTIONS | mistakes, names, lambda says: None)
    assert set(found) == set(names) and "IndexError" in found["learning rate"].says
    rows = dict(bisection.sentences(SOLUTIONS, ("box format", "IoU"), found))
    assert rows["box format"].startswith("look here") and "the same as the library's" in rows["IoU"]


# ---- whose functions, and the run


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A learner's folder that the page lies in."""
    (tmp_path / ".shipped").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_page_takes_the_learners_functions_none_where_nothing_is_solved_and_the_solutions_where_it_is_nobodys(
    home, tmp_path_factory, monkeypatch
):
    assert mine.functions() == {} and "lends every block" in mine.whose()
    (home / my_ssd.FILE).write_text("def iou(first, second):\n    return 7\n")
    assert mine.functions()["iou"](1, 2) == 7 and "beside this page" in mine.whose()
    monkeypatch.chdir(tmp_path_factory.mktemp("nobody"))
    assert mine.functions().keys() == SOLUTIONS.keys() and "no learner's folder" in mine.whose()


def test_the_inventory_counts_and_names_what_is_missing():
    text = repr(mine.inventory({"iou": SOLUTIONS["iou"], "greedy": SOLUTIONS["greedy"]}))
    assert "1 of 16 blocks are yours" in text and "missing: step_two, both" in text


def test_another_function_another_choice_or_another_length_is_another_run(monkeypatch, home):
    monkeypatch.delenv("COURSE_SHORT", raising=False)
    first = run.job(SOLUTIONS, ("IoU",))
    assert first.config.steps == 2500 and run.job(SOLUTIONS, ("IoU",)).out == first.out
    others = [run.job(SOLUTIONS, ("IoU", "loss")), run.job(SOLUTIONS | {"iou": wrong.not_mirrored}, ("IoU",))]
    monkeypatch.setenv("COURSE_SHORT", "1")
    others.append(run.job(SOLUTIONS, ("IoU",)))
    assert len({job.out for job in (first, *others)}) == 4 and others[-1].config.steps < 100


def test_a_training_step_with_all_solutions_is_that_of_the_library_up_to_rounding(monkeypatch):
    config = dataclasses.replace(run.RECIPES["mini"], batch_size=2, precision="float32")
    batch = dataclasses.replace(bisection._fixed().batch)
    batch = type(batch)(batch.images[:2], batch.boxes[:2], batch.labels[:2])

    def after_a_step(names):
        with swapping.swapped(SOLUTIONS, names):
            network, optimizer, grid = engine.build(config, torch.device("cpu"))
            losses = engine.update(network, optimizer, batch, grid, 1e-3, config)
        return float(losses.multibox), torch.cat([p.detach().flatten() for p in network.parameters()])

    (loss_of_library, weights), (loss_of_mine, others) = after_a_step(()), after_a_step(blocks.NAMES)
    assert loss_of_mine == pytest.approx(loss_of_library, rel=1e-4)
    assert (weights - others).norm() < 1e-4 * weights.norm()


# ---- the exercises


def test_the_answers_of_the_cases_are_the_blocks_that_were_really_replaced_in_their_recordings():
    from course.capstone.figures import CASES

    for letter, name in CASES.items():
        exercise = getattr(check, f"case_{letter.lower()}")
        assert exercise(wrong.CULPRITS[name].block).state == RIGHT
        assert exercise("batch norm").state == WRONG


def test_an_overlap_without_the_one_more_and_one_with_it_in_the_areas_alone_are_named():
    from course.capstone.check import _iou

    assert "a pixel too small each way" in check.overlap(lambda a, b: _iou(a, b, 0, 0)).message
    assert "the intersection lacks it" in check.overlap(lambda a, b: _iou(a, b, 0, 1)).message


# ---- recordings


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """A copy of the recordings that a test may add to."""
    kept = places.CHAPTERS / "recordings"
    shutil.copytree(kept / "capstone", tmp_path / "recordings/capstone")
    (tmp_path / "recordings/mini").symlink_to(kept / "mini")
    shutil.rmtree(tmp_path / "recordings/capstone" / figures.WHOLE, ignore_errors=True)
    monkeypatch.setattr(places, "CHAPTERS", tmp_path)
    return tmp_path / "recordings/capstone"


def test_a_whole_run_is_shown_beside_the_librarys_where_it_is_recorded_and_else_its_script_is_named(
    recordings, monkeypatch
):
    drawn = []
    monkeypatch.setattr(figures, "display", drawn.append)
    assert "record_capstone.py" in figures.whole_run().data and not drawn
    shutil.copytree(recordings / "right", recordings / figures.WHOLE)
    shown = repr(figures.whole_run()).splitlines()
    log = [json.loads(line) for line in (recordings / "right/log.jsonl").read_text().splitlines()]
    ours, theirs = (shown[-2].split()[i] for i in (1, 2))
    assert shown[-2].startswith("mean") and ours == f"{100 * log[-1]['map']:.1f}" and theirs == "69.2"
    lines = [line.get_xydata().tolist() for line in drawn[0].axes[0].lines]
    assert lines[1] == [[row["step"], row["multibox"]] for row in log if "multibox" in row]


def test_the_first_figure_shows_what_was_recorded_of_the_run_with_all_solutions():
    figure = figures.blocks_to_detector()
    tiles, scene = figure.axes
    log = (places.recording("capstone", "whole") / "log.jsonl").read_text().splitlines()
    assert figure.get_suptitle().endswith(f"mAP {100 * json.loads(log[-1])['map']:.1f}")
    names = {text.get_text().replace("\n", " ") for text in tiles.texts}
    assert names >= {block.name for block in blocks.BLOCKS} and len(tiles.patches) == 16
    captions = [text.get_text().split() for text in scene.texts if text.get_text()]
    drawn = torch.tensor([patch.get_bbox().extents.tolist() for patch in scene.patches])
    assert sorted(name for name, _ in captions) == sorted(opening.NAMES)
    for (name, score), box in zip(captions, drawn, strict=True):  # each on the object of its class
        assert box_ops.iou(box, torch.tensor(opening.PLACES[name], dtype=torch.float32)) > 0.6
        assert float(score) >= 0.5


def test_detections_are_recorded_of_the_run_whose_log_is_the_recorded_one_alone(tmp_path, monkeypatch):
    sys.path.insert(0, str(ROOT / "data_scripts"))
    import record_capstone

    monkeypatch.setattr(record_capstone, "facts_now", lambda *folders: {})
    shutil.copytree(places.recording("capstone", "whole"), tmp_path / "out")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.jsonl").write_text('{"step": 1}\n')
    with pytest.raises(SystemExit, match="wanted the run that was recorded"):
        record_capstone.record_opening(tmp_path / "run", tmp_path / "out")


def test_the_shortcut_changes_nothing_where_no_two_objects_want_the_same_anchor():
    """Case D, recorded to its end: every number is that of the run without the mistake."""
    logs = [
        [
            json.loads(line)
            for line in (places.recording("capstone", name) / "log.jsonl").read_text().splitlines()
        ]
        for name in ("argmax", "right")
    ]
    for rows in logs:
        for row in rows:
            row.pop("seconds", None)
    assert logs[0] == logs[1] and logs[0][-1]["step"] == 800 and logs[0][-1]["map"] > 0.3


def test_a_case_shows_ap_by_class_beside_the_right_runs_where_both_were_recorded(recordings, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "display", drawn.append)
    rows = [json.loads(line) for line in (recordings / "right/log.jsonl").read_text().splitlines()]
    (recordings / "argmax/log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:6]))
    stopped = figures.case_numbers("D")
    assert not drawn and "person" not in repr(stopped)
    rows[-1]["ap"]["person"] = 0.125
    (recordings / "argmax/log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shown = repr(figures.case_numbers("D"))
    assert re.search(r"^person +31\.3 +12\.5$", shown, re.M) and "matched anchors" in repr(drawn[0])


# ---- the board


def test_a_click_on_a_tile_swaps_its_block_and_one_between_two_tiles_nothing():
    board = swap_board.SwapBoard(blocks.NAMES)
    x1, y1, x2, y2 = swap_board.place(5)
    press(board.board, (x1 + x2) / 2, (y1 + y2) / 2)
    assert blocks.NAMES[5] not in board.names and repr(board) == "SwapBoard(yours: 15 of 16, at encoding)"
    press(board.board, x2 + 1, y2 + 1)
    assert len(board.names) == 15
    press(board.board, x1, y1)
    assert board.names == blocks.NAMES
    press(board.board, x1 + 1, y1)  # the button is still down
    assert board.names == blocks.NAMES


def test_keys_go_from_tile_to_tile_and_swap():
    board = swap_board.SwapBoard(blocks.NAMES)
    arrows(board.board, 1, 1)
    assert repr(board).endswith("at encoding)")  # one to the right, one down, four in a row
    board.board.steps += 1
    assert "encoding" not in board.names


def test_what_is_not_solved_stays_lent_and_what_is_wrong_or_slow_begins_as_lent():
    slow = trial.Tried("matching", "", 1.0, 0.01, 3.0)
    fault = {"IoU": bisection.Fault("assigned", "x")}
    board = swap_board.SwapBoard(("IoU", "matching", "loss"), [slow], fault)
    assert board.names == ("loss",)
    board.swap(blocks.NAMES.index("L2Norm"))
    assert board.names == ("loss",) and "not solved yet: chapter 05" in board.summary()[-1]
    board.swap(blocks.NAMES.index("matching"))
    assert board.length() == 4.0
    board.swap(blocks.NAMES.index("IoU"))
    assert "IoU; the first difference is in which anchors" in board.summary()[2]
    assert board.still().axes
