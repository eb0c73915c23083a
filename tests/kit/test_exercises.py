"""Tests of the exercises: each solution passes, each stub is met kindly, each known mistake gets its own sentence."""

import ast
import base64
import importlib
import inspect
import io
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from exercise_cells import ROOT, SOURCES, cells_of, is_exercise
from PIL import Image

from course.kit import checking, inline, self_test
from course.kit.building_block import BuildingBlock
from course.kit.checking import Case, Either, Exercise
from course.training.check import Reasoned

CHECKS = sorted(path.parent.name for path in (ROOT / "course").glob("*/check.py"))
EXERCISES = {
    f"{topic}.{name}": value
    for topic in CHECKS
    for name, value in vars(importlib.import_module(f"course.{topic}.check")).items()
    if isinstance(value, Exercise)
}
TESTS = sorted(path.parent.name for path in (ROOT / "course").glob("*/questions.toml"))

each = pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)


def topic_of(source: Path) -> str:
    """The topic whose checks a chapter calls."""
    [topic] = re.findall(
        r"^from course\.(\w+) import [^)\n]*?\bcheck\b|^from course\.(\w+) import \([^)]*?\bcheck\b",
        source.read_text(),
        re.M,
    )
    return "".join(topic)


def verdicts(source: Path, change):
    """Run a chapter's imports, then each exercise as `change` makes it and the check below it."""
    cells = cells_of(source)
    names = {}
    exec(cells[0].source, names)
    found = []
    for cell, check in zip(cells, cells[1:], strict=False):
        if is_exercise(cell):
            exec(change(cell.source), names)
            *before, last = check.source.rstrip().splitlines()
            exec("\n".join(before), names)
            found.append(eval(last, names))
    return found


with_exercises = pytest.mark.parametrize(
    "source", [s for s in SOURCES if any(map(is_exercise, cells_of(s)))], ids=lambda s: s.stem
)


@with_exercises
def test_every_solution_passes_its_check(source):
    from build import solution_of

    wrong = [v for v in verdicts(source, solution_of) if v.state != checking.RIGHT]
    assert not wrong


@with_exercises
def test_every_stub_is_told_kindly_what_to_do_and_stops_nobody(source):
    from build import stub_of

    found = verdicts(source, stub_of)
    assert {v.state for v in found} == {checking.TODO}
    assert all(v.figure is None and "Error" not in v.message for v in found)


@with_exercises
def test_a_chapter_has_four_to_eight_exercises_the_first_three_each_with_level_minutes_hint_and_solution(
    source,
):
    text = source.read_text()
    headings = re.findall(r"^# ### (\d+\.\d+) .+ · .+ · \d+ minutes$", text, re.M)
    count = sum(map(is_exercise, cells_of(source)))
    assert (3 if source.stem.startswith("00") else 4) <= count <= 8 and len(headings) == count == text.count(
        "<!-- solution -->"
    )
    assert headings == [f"{int(source.stem[:2])}.{i + 1}" for i in range(count)]
    for part in re.split(r"^# ### \d+\.\d+ ", text, flags=re.M)[1:]:
        assert "<summary>Hint" in part.split("<!-- solution -->")[0]


@with_exercises
def test_the_chapter_and_its_checks_have_the_same_exercises(source):
    calls = set(re.findall(r"^check\.(\w+)\(", source.read_text(), re.M))
    assert calls >= {name.split(".")[1] for name in EXERCISES if name.startswith(topic_of(source) + ".")}


@each
def test_no_answer_is_not_yet(exercise):
    assert exercise(None).state == exercise(...).state == checking.TODO


@each
def test_every_known_mistake_gets_its_own_sentence(exercise):
    assert exercise.mistakes or isinstance(exercise, Reasoned)  # those have a test of their own
    for says, gives in exercise.mistakes.items():
        first, mark, more = (part.strip() for part in says.partition(checking.MORE))
        for answer in checking.ways(gives):
            exercise.wrong = 0  # nothing has been tried yet
            verdict = exercise(answer)
            assert verdict.state == checking.WRONG
            assert verdict.message.startswith(first) and (not mark or more not in verdict.message)
            assert more in exercise(answer).message


def first_degrees(exercise) -> list[str]:
    """What is said of each known mistake at the first wrong try."""
    return [says.partition(checking.MORE)[0].strip() for says in exercise.mistakes]


def right_code(name: str) -> str:
    """The exercise's solution in its chapter, and the function that its check calls right."""
    from build import solution_of

    topic, _, exercise = name.partition(".")
    [source] = [s for s in SOURCES if f"check.{exercise}(" in s.read_text() and topic_of(s) == topic]
    cells = cells_of(source)
    code = [
        solution_of(cell.source)
        for cell, check in zip(cells, cells[1:], strict=False)
        if is_exercise(cell) and re.search(rf"^check\.{exercise}\(", check.source, re.M)
    ]
    right = EXERCISES[name].right
    if inspect.isfunction(right) and right.__name__ != "<lambda>":
        code.append(textwrap.dedent(inspect.getsource(right)))
    return "\n".join(code)


def bare(code: str) -> str:
    """Code, or a sentence with code in it, without spaces, without back ticks and with one sign for "times"."""
    return re.sub(r"[\s`]", "", code).replace("·", "*")


def expressions(code: str) -> set[str]:
    """Calculations, comparisons, calls and items in some code, calls also without what they are called on."""
    kinds = ast.Attribute | ast.BinOp | ast.BoolOp | ast.Call | ast.Compare | ast.Subscript
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, kinds):
            found.add(ast.unparse(node))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.add(ast.unparse(node).removeprefix(ast.unparse(node.func.value) + "."))
    return {bare(text) for text in found if len(bare(text)) >= 6}


@pytest.mark.parametrize("name", [name for name, exercise in EXERCISES.items() if callable(exercise.right)])
def test_the_first_wrong_try_is_told_no_line_of_the_answer(name):
    answer = expressions(right_code(name))
    assert answer
    told = {
        first: [text for text in answer if text in bare(first)] for first in first_degrees(EXERCISES[name])
    }
    assert not {first: found for first, found in told.items() if found}


@pytest.mark.parametrize(
    "name", [name for name, exercise in EXERCISES.items() if isinstance(exercise.right, int | float)]
)
def test_the_first_wrong_try_is_not_told_the_number(name):
    right = EXERCISES[name].right
    for first in first_degrees(EXERCISES[name]):
        numbers = [float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*(?:\.\d+)?", first)]
        numbers += [float(a) / float(b) for a, b in re.findall(r"(\d+) ?/ ?(\d+)", first) if float(b)]
        assert not [n for n in numbers if abs(n - right) <= 2e-3 * abs(right)], first


@each
def test_strange_answers_get_a_sentence_and_no_traceback(exercise):
    def stops(*arguments):
        return 1 / 0

    for strange in ("text", [], object(), float("nan"), stops, lambda *a: "text", lambda: None, {}):
        verdict = exercise(strange)
        assert verdict.state == checking.WRONG and verdict.message and "\n" not in verdict.message
        assert verdict._repr_html_()


# ---- the engine itself, on a small exercise with answers of our own

DOUBLE = Exercise(
    "double",
    lambda x: [2 * v for v in x],
    cases=[Case("one", ([1.0],)), Case("two", ([1.0, 3.0],))],
    mistakes={"you squared": lambda x: [v * v for v in x]},
    draw=lambda ax, case, found, wanted: ax.plot(found),
)


def test_a_wrong_answer_is_told_the_first_case_it_fails_on_with_both_numbers():
    verdict = DOUBLE(lambda x: [2 * v if v < 2 else 0.0 for v in x])
    assert (verdict.state, verdict.figure is not None) == (checking.WRONG, True)
    assert "two: at [1] yours is 0, wanted 6" in verdict.message


def test_the_figure_of_a_wrong_answer_has_two_pixels_for_each_one_of_the_page():
    page = DOUBLE(lambda x: [2 * v if v < 2 else 0.0 for v in x])._repr_html_()
    shown, data = re.search(r"width='(\d+)' src='data:image/png;base64,([^']+)'", page).groups()
    assert Image.open(io.BytesIO(base64.b64decode(data))).width == 2 * int(shown)


def test_a_known_mistake_is_named_only_if_all_cases_show_it():
    assert DOUBLE(lambda x: [v * v for v in x]).message.startswith("you squared")
    assert "squared" not in DOUBLE(lambda x: [v * v + 1 for v in x]).message


STEPWISE = Exercise(
    "halve",
    lambda x: x / 2,
    cases=[Case("four", (4.0,)), Case("nothing", (0.0,))],
    mistakes={"you doubled||: divide by 2": lambda x: 2 * x},
)


def test_what_gives_the_answer_away_is_told_at_the_second_wrong_try():
    wrong = lambda x: 2 * x  # noqa: E731
    first, second = STEPWISE(wrong).message, STEPWISE(wrong).message
    assert first == "you doubled (four: yours is 8, wanted 2). Run this check again for more."
    assert second == "you doubled: divide by 2 (four: yours is 8, wanted 2)"
    assert STEPWISE(lambda x: x / 2).state == checking.RIGHT
    assert STEPWISE(wrong).message == first  # begun anew


def test_an_error_at_an_edge_does_not_hide_what_is_wrong_in_the_ordinary_case():
    def answer(x):
        return 3 * x if x else 1 / x

    assert STEPWISE(answer).message.startswith("four: yours is 12, wanted 2")
    assert "ZeroDivisionError" in STEPWISE(lambda x: x / 2 if x else 1 / x).message


@pytest.fixture
def page(monkeypatch):
    """A page whose cells are watched, as in a notebook."""
    from IPython.core.interactiveshell import InteractiveShell

    from course.kit import stopped_cells

    shell = InteractiveShell()
    monkeypatch.setattr(stopped_cells, "WATCHED", stopped_cells.StoppedCells(shell))
    shell.user_ns["check"] = STEPWISE
    return lambda code: shell.run_cell(code, store_history=True).result


@pytest.mark.parametrize(
    "broken",
    [
        "def half(x):\n    return x /",
        "def half(x):\n  return x\n return 2",
        "oops\ndef half(x):\n    return 1",
    ],
)
def test_after_a_cell_that_stopped_the_old_function_is_not_judged(page, broken, capsys):
    assert page("check(half)") is None  # NameError: nothing there yet
    page("def half(x):\n    return x / 2")
    assert page("check(half)").state == checking.RIGHT
    page(broken)
    verdict = page("check(half)")
    assert verdict.state == checking.TODO and "`half` hasn't run since you changed it" in verdict.message
    assert (
        "SyntaxError" in verdict.message
        or "IndentationError" in verdict.message
        or "NameError" in verdict.message
    )
    page("other = 3")
    assert page("check(half)").state == checking.TODO
    page("def half(x):\n    return 2 * x")
    assert page("check(half)").state == checking.WRONG


def test_a_cell_that_stopped_after_its_function_leaves_that_to_be_judged(page, capsys):
    page("def half(x):\n    return x / 2\nhalf('text')")
    assert page("check(half)").state == checking.RIGHT


def test_a_stopped_cell_holds_for_the_value_it_would_have_given(page, capsys):
    page("value = 3.0")
    page("value = [3.0,")
    assert "hasn't run" in page("check(value)").message
    page("value = 4.0")
    assert page("check(value)").state == checking.WRONG


def test_a_wrong_answer_that_calls_an_earlier_one_is_sent_back_to_it():
    first = BuildingBlock("1.1 half", lambda x: x / 2, cases=[Case("four", (4.0,))], name="half")
    second = Exercise("1.2 quarter", lambda x: x / 4, cases=[Case("four", (4.0,))], uses=first)
    half = lambda x: x / 3  # noqa: E731
    twice = lambda x: half(half(x))  # noqa: E731
    says = "It uses your answer to 1.1 half, which wasn't right when checked; begin there."
    assert says not in second(twice).message  # nobody knows
    assert first(half).state == checking.WRONG
    found = second(twice).message
    assert found.startswith("four: ") and found.endswith(f"wanted 1. {says}")
    assert second(lambda x: [half(y) for y in (x,)]).message.endswith(says)
    for other in (lambda x: x / 9, lambda x: None if x else 1, 5):  # these don't call it
        assert says not in second(other).message
    assert second(lambda x: [half(x), None][1] if x > 4 else half(x) and ()).message.endswith(f". {says}")
    assert second(lambda x: x / 4).state == checking.RIGHT
    assert second(None).message == checking.FILL_IN
    assert first(lambda x: x / 2).state == checking.RIGHT
    assert says not in second(twice).message


@pytest.mark.parametrize(
    "exercise, answer, says",
    [
        ("anchors.place", lambda i: (0, 14, 21, i), "anchor 2,215: `shape`: yours is 2215, wanted 3"),
        ("anchors.place", lambda i: (0, 14, 21), "anchor 2,215: yours has shape (3,), wanted (4,)"),
        (
            "evaluation.curve",
            lambda s, n: ([0.25, 0.25, 0.5], [1.0, 0.5]),
            "`precision`: yours has shape (2,)",
        ),
        (
            "capstone.sgd_step",
            lambda w, g, v, *_: (w, v),
            "without decay: `w`: at [0] yours is 1, wanted 0.98",
        ),
        (
            "capstone.sgd_step",
            lambda w, g, v, *_: torch.stack((w, v)),
            "without decay: `w`: at [0] yours is 1",
        ),
        ("anchors.place", lambda i: (0, None, 21, 3), "anchor 2,215: `row`: yours is None, wanted 14"),
        (
            "anchors.place",
            lambda i: np.array(tuple(EXERCISES["anchors.place"].right(i)), dtype=object),
            "its parts are right, but write them as numbers",
        ),
        (
            "welcome.modules",
            np.array(["voc", "matching", "loss", "detect", "evaluate"]),
            "its parts are right; write them in a list",
        ),
        ("matching.same_size", [5, 5, 5, 1, 1, 2], "yours is [5, 5, 5, 1, 1, 2]; 1 of 6 isn't right"),
        ("capstone.sgd_step", lambda *_: torch.tensor(1.0), "yours has shape (), wanted (2, 3)"),
        ("matching.same_size", [5, 5, 5, 1, 1], "yours has shape (5,), wanted (6,)"),
        ("welcome.modules", ["voc", "loss", "loss", "detect", "box_ops"], "; 2 of 5 aren't right"),
    ],
)
def test_the_parts_of_an_answer_have_names_and_of_a_list_one_hears_how_many_are_wrong(exercise, answer, says):
    assert says in EXERCISES[exercise](answer).message


@with_exercises
def test_an_exercise_whose_solution_calls_an_earlier_one_names_it(source):
    made, topic = {}, topic_of(source)
    for cell in filter(is_exercise, cells_of(source)):
        tree = ast.parse(cell.source)
        called = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)} & set(made)
        for name in [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]:
            made[name] = EXERCISES.get(f"{topic}.{name}")
            if called and made[name]:
                assert [made[name].uses] == [made[one] for one in called], name


def test_an_exception_is_one_sentence_with_its_line():
    def answer(x):
        return x[5]

    message = DOUBLE(answer).message
    assert "IndexError" in message and "return x[5]" in message and "one:" in message


def test_changing_the_arguments_is_noticed_and_leaves_the_cases_alone():
    def answer(x):
        x.append(0.0)
        return x

    assert "changed what it was given" in DOUBLE(answer).message
    assert DOUBLE(lambda x: [2 * v for v in x]).state == checking.RIGHT


@pytest.mark.parametrize(
    "argument", [[1.0, 2.0], torch.ones(3), torch.tensor([True, False]), np.ones(3), [[1.0], [2.0]]], ids=repr
)
def test_changing_one_number_in_place_is_noticed_whatever_holds_it(argument):
    def answer(x):
        x[0] = x[0] * 0
        return 3

    identity = Exercise("x", lambda x: 3, [Case("a", (argument,))])
    if isinstance(argument[0], list):
        answer = lambda x: x[0].append(1.0)  # noqa: E731
    assert "changed what it was given" in identity(answer).message
    assert identity(lambda x: 3).state == checking.RIGHT


@pytest.mark.parametrize(
    "found, wanted, same",
    [
        ([torch.tensor([1.0, 2]), torch.tensor([3.0, 4])], torch.tensor([[1, 2], [3, 4]]), True),
        ([np.array([1.0, 2]), np.array([3.0, 4])], [[1, 2], [3, 4]], True),
        ((torch.zeros(2, 4), [1, 2]), (torch.zeros(2, 4), torch.tensor([1, 2])), True),
        ([torch.tensor(1), 2.5], [1, 2.5], True),
        (torch.tensor([1.0], requires_grad=True), [1], True),
        (range(3), [0, 1, 2], True),
        ([], torch.zeros(0, 4), True),
        ([], torch.zeros(1, 4), False),
        (torch.zeros(0), torch.zeros(0, 4), False),
        (299.99997, 300, True),  # float32
        (26_285_000, 26_285_486, False),
        (26_285_486.0, 26_285_486, True),
        (8731.9, 8732, False),
        (10**400, 3, False),
        ({1}, [1], False),
        (float("nan"), float("nan"), True),
        (float("inf"), float("inf"), True),
        (1.0, float("nan"), False),
        (1j, 1.0, False),
    ],
)
def test_agreement_looks_at_the_numbers_and_not_at_what_holds_them(found, wanted, same):
    assert checking.agree(found, wanted) is same


def test_whole_numbers_have_to_be_right_to_the_last_digit_of_a_float32():
    assert checking.agree(262_854.01, 262_854, 1e-4) and not checking.agree(262_855, 262_854)


def test_a_tolerance_below_the_usual_one_still_says_where():
    tight = Exercise("x", lambda: [1.0, 2.0], [Case("a", ())], tolerance=1e-6)
    assert "at [1] yours is 2.00001, wanted 2" in tight(lambda: [1.0, 2.00001]).message


@pytest.mark.parametrize(
    "right, answer, says",
    [
        (42, "42", "yours is a text because of the quotation marks"),
        (9.1, (9, 1), "a comma makes two numbers of it; write a point: 9.1"),
        (8432, (8, 432), "write it without: 8432"),
        ([120, 240], ["120", "240"], "write the numbers without them"),
        ([True, False], ["True", "False"], "write True and False without them"),
        ([1, 2, 3], True, "yours is a single value, True; 3 were asked for"),
        (
            lambda: {"w": 1, "v": 2},
            lambda: (1, 2),
            "yours is a tuple; a dictionary with 'w', 'v' was asked for",
        ),
        (lambda: {"w": 1, "v": 2}, lambda: {"w": 1, "v": 3}, "`v`: yours is 3, wanted 2"),
        (lambda: ["true", "false"], lambda: ["true", "true"], "at [1], counted from 0: yours is 'true'"),
        (lambda: [1, -1], lambda: [1, None], "at [1], counted from 0, yours is None, wanted -1"),
    ],
)
def test_an_answer_of_another_kind_is_told_what_kind_it_is(right, answer, says):
    assert says in Exercise("x", right, [Case("a", ())])(answer).message


def epsilon_outside_the_root(x, scale):
    return x / (x.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) * scale[:, None, None]


def plain_number(*given):
    return EXERCISES["loss.multibox"].right(*given).item()


@pytest.mark.parametrize(
    "exercise, answer, says",
    [
        ("network.l2norm", epsilon_outside_the_root, "the gradient is NaN at a cell of zeros"),
        ("loss.multibox", plain_number, "training needs its gradient"),
    ],
)
def test_what_is_trained_with_must_have_a_gradient(exercise, answer, says):
    verdict = EXERCISES[exercise]._judge(answer)
    assert verdict.state == checking.WRONG and says in verdict.message


def test_a_sentence_of_pytorch_is_explained():
    def split(x):
        return 1 if x > 0 else 0

    exercise = Exercise("x", lambda x: x, [Case("a", (torch.ones(2),))])
    assert "want one value, and this is a tensor" in exercise(split).message


def test_an_error_of_pytorch_about_what_it_doesnt_implement_is_no_empty_answer():
    def inverted():
        return 1 - torch.ones(2, dtype=torch.bool)

    def unwritten():
        raise NotImplementedError

    exercise = Exercise("x", lambda: 1, [Case("a", ())])
    assert exercise(unwritten).state == checking.TODO
    assert (
        "stopped with NotImplementedError" in exercise(inverted).message
        or "RuntimeError" in exercise(inverted).message
    )
    assert exercise(inverted).state == checking.WRONG


@pytest.mark.parametrize(
    "answer, state, says",
    [
        ("Head_Outputs ", checking.RIGHT, ""),
        (["head outputs"], checking.RIGHT, ""),
        ("greedy", checking.WRONG, "`greedy` is a function; the name of its block"),
        ("augmentation", checking.WRONG, "no block is called 'augmentation'"),
    ],
)
def test_a_suspect_may_be_spelled_in_several_ways(answer, state, says):
    verdict = importlib.import_module("course.capstone.check").case_a(answer)
    assert verdict.state == state and says in verdict.message


def test_of_several_things_the_first_that_is_wrong_is_named():
    both = Exercise("x", lambda: (torch.zeros(2, 4), torch.ones(3)), [Case("a", ())])
    assert (
        "part 1, counted from 0: at [2] yours is 0, wanted 1"
        in both(lambda: (torch.zeros(2, 4), [1, 1, 0])).message
    )
    assert "length 1, wanted 2" in both(lambda: (torch.zeros(2, 4),)).message


def test_a_generator_is_told_to_become_a_list():
    assert "list(" in DOUBLE(lambda x: (2 * v for v in x)).message


def test_a_forgotten_return_is_not_taken_for_an_empty_cell():
    def answer(x):
        found = [2 * v for v in x]  # noqa: F841

    def stub(x):
        """What."""
        ...

    assert "`return` is missing" in DOUBLE(answer).message
    assert DOUBLE(stub).message == checking.FILL_IN and DOUBLE(stub).state == checking.TODO


def test_an_answer_that_one_had_to_stop_is_no_traceback():
    def answer(x):
        raise KeyboardInterrupt

    assert "until you stopped it" in DOUBLE(answer).message


def test_an_exception_inside_a_library_names_the_line_of_the_answer():
    def answer(x):
        return torch.einsum("ab->ba", torch.zeros(3))

    message = DOUBLE(answer).message
    assert "torch.einsum" in message and "\n" not in message

    def silent(x):
        raise ValueError

    assert DOUBLE(silent).message.endswith("`raise ValueError`")


def test_a_function_where_its_value_was_asked_for_is_told_so():
    several = Exercise("x", 3.0, mistakes={"no": Either((4.0, 5.0))})
    assert several(4.0).message == several(5.0).message == "no" != several(6.0).message
    assert "a value was asked for" in Exercise("x", 3.0, mistakes={"no": 4.0})(lambda: 3.0).message


def contrast(one: str, other: str) -> float:
    """Of two "#rrggbb" colours, by the definition of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def test_marks_can_be_read_on_a_dark_page_and_on_a_light_one():
    """White letters on a dark ground of their own, whatever the page's colour; no text has another colour."""
    for state, colour in checking.COLOURS.items():
        shown = checking.Verdict("x", state, "y")._repr_html_()
        assert contrast("#ffffff", colour) >= 4.5
        assert re.findall(r"[^-]color:(#\w+)", shown) == ["#fff"] and f"background:{colour}" in shown


def test_words_on_a_board_can_be_read_on_their_ground():
    from course.kit.board import ink_on
    from ssdlib import plots

    colours = {
        value for value in vars(plots).values() if isinstance(value, str) and re.fullmatch(r"#\w{6}", value)
    }
    assert len(colours) >= 8
    for colour in colours:
        assert contrast(colour, ink_on(colour)) >= 4.5


def test_the_verdict_escapes_what_an_answer_says():
    verdict = Exercise("x", 3.0, mistakes={"no": 4.0})("<script>")
    assert "<script>" not in verdict._repr_html_()


@pytest.mark.parametrize(
    ("text", "shown", "bare"),
    [
        ("count with `max(1, n)`", "count with <code>max(1, n)</code>", "count with max(1, n)"),
        ("8.1 is how much *more* it is", "8.1 is how much <em>more</em> it is", "8.1 is how much more it is"),
        (
            "in the line `a * b*c* d < 1`",
            "in the line <code>a * b*c* d &lt; 1</code>",
            "in the line a * b*c* d < 1",
        ),
        ("2 * 3 * 4 = 2*3*4, it's", "2 * 3 * 4 = 2*3*4, it's", "2 * 3 * 4 = 2*3*4, it's"),
        ("a lone ` and <b>*", "a lone ` and &lt;b&gt;*", "a lone ` and <b>*"),
        ("`<script>` and *<i>*", "<code>&lt;script&gt;</code> and <em>&lt;i&gt;</em>", "<script> and <i>"),
    ],
)
def test_code_and_stress_are_shown_as_such_and_all_else_as_it_is(text, shown, bare):
    assert inline.marked(text) == shown and inline.plain(text) == bare


@pytest.mark.slow
def test_no_verdict_and_no_self_test_shows_a_raw_mark():
    verdict = checking.Verdict("x", checking.RIGHT, "the order of `anchors.default_boxes`, *not* another")
    assert "<code>anchors.default_boxes</code>" in verdict._repr_html_() and "`" not in verdict._repr_html_()
    for topic in TESTS:
        test = self_test.SelfTest(topic)
        assert "`" not in test._as_page()
        assert not any("`" in label for choice in test.choices for label, _ in choice.options)


# ---- self-tests


@pytest.mark.parametrize("topic", TESTS)
def test_a_self_test_has_four_to_six_questions_with_one_right_option_and_words_for_each(topic):
    questions = self_test.read_questions(topic)
    assert 4 <= len(questions) <= 6
    for question in questions:
        assert 2 <= len(question.options) <= 5
        assert sum(option.right for option in question.options) == 1
        assert all(len(option.because) > 20 for option in question.options)
        assert len({option.text for option in question.options}) == len(question.options)
    first = [question.options[0].right for question in questions]
    assert not all(first), "the first option is always the right one"


@pytest.mark.parametrize("topic", TESTS)
def test_what_a_self_test_calls_right_is_what_the_library_says(topic):
    modules = "anchors box_ops coding detect evaluate loss matching model records data.augment training.runs"
    names = {name.split(".")[-1]: importlib.import_module(f"ssdlib.{name}") for name in modules.split()} | {
        "torch": torch
    }
    proved = [question for question in self_test.read_questions(topic) if question.proof]
    assert proved, "at least one question should be proved by the library"
    for question in proved:
        value = eval(question.proof, names)
        for option in question.options:
            same = option.value is not None and checking.agree(option.value, value)
            assert same == option.right, f"{question.ask} The library says {value}"


def test_the_widget_counts_right_answers_and_says_why():
    test = self_test.SelfTest("matching")
    assert "0 of 5" in repr(test)
    for question, choice, answer in zip(test.questions, test.choices, test.answers, strict=True):
        wrong = next(i for i, option in enumerate(question.options) if not option.right)
        choice.value = wrong
        assert "✗" in answer.value
        choice.value = next(i for i, option in enumerate(question.options) if option.right)
        assert "✓" in answer.value
    assert "5 of 5" in repr(test)
