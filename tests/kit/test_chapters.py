"""Tests of the chapters as files: built from their sources, run once from top to bottom, links alive, cells short."""

import ast
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "chapters").glob("*.ipynb"))
CHAPTERS = [path for path in PAGES if path.stem != "contents"]
sys.path.insert(0, str(ROOT / "chapters"))

each = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def code_of(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def prose_of(book):
    return "\n\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def test_every_source_has_its_notebook_and_the_other_way_round():
    assert [p.stem for p in PAGES] == sorted(p.stem for p in (ROOT / "chapters/source").glob("*.py"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_the_notebook_is_what_its_source_says(path):
    from build import read_source

    source = read_source(path.parent / "source" / f"{path.stem}.py")
    book = nbformat.read(path, as_version=4)
    assert [(c.cell_type, c.source) for c in book.cells] == [(c.cell_type, c.source) for c in source.cells]


@each
def test_it_was_run_once_from_top_to_bottom_without_an_error(path):
    cells = code_of(nbformat.read(path, as_version=4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [out for cell in cells for out in cell.outputs if out.output_type == "error"]
    assert not [out for cell in cells for out in cell.outputs if out.get("name") == "stderr"]


@each
def test_it_runs_in_any_folder_and_shows_no_plumbing_of_tests(path):
    """A learner's page lies in another folder than the recordings, and what only tests need isn't the learner's."""
    code = "\n".join(cell.source for cell in code_of(nbformat.read(path, as_version=4)))
    for words in ('"recordings/', "Path.cwd()", "cd ..", "COURSE_"):
        assert words not in code


@each
def test_cells_are_short(path):
    lengths = [len(cell.source.splitlines()) for cell in code_of(nbformat.read(path, as_version=4))]
    assert statistics.median(lengths) <= 5 and max(lengths) <= 25


@each
def test_it_has_one_title_and_no_heading_skips_a_level(path):
    prose = re.sub(r"```.*?```", "", prose_of(nbformat.read(path, as_version=4)), flags=re.S)
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose, re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


@each
def test_links_to_files_lead_somewhere_and_pictures_have_words(path):
    prose = prose_of(nbformat.read(path, as_version=4))
    for mark, text, target in re.findall(r"(!?)\[([^\]]*)\]\(([^)]+)\)", prose):
        assert not (mark and not text), f"{target} is a picture without words"
        assert not (mark and target.startswith("http")), f"{target} is a picture from elsewhere"
        if not target.startswith("http"):
            assert (path.parent / target.split("#")[0]).exists(), f"{target} isn't there"


@each
def test_every_picture_among_its_outputs_is_described_in_words(path):
    for number, cell in enumerate(code_of(nbformat.read(path, as_version=4)), 1):
        for out in cell.outputs:
            for kind in {"image/png", "image/jpeg"} & set(out.get("data", {})):
                words = out.metadata.get(kind, {}).get("alt", "")
                assert len(words) >= 20, f"cell {number} shows a picture without words"


@each
def test_nothing_in_it_says_where_it_was_run_or_comes_from_elsewhere(path):
    for cell in nbformat.read(path, as_version=4).cells:
        text = cell.source + "".join(
            str(out.get("text", ""))
            + "".join(str(v) for k, v in out.get("data", {}).items() if "image" not in k)
            for out in cell.get("outputs", ())
        )
        assert not re.search(r"0x[0-9a-f]{6,}|/(tmp|home|root|work)/|[A-Z]:\\\\Users|site-packages", text), (
            text[:200]
        )
        assert not re.search(r"<(img|script|iframe|link)[^>]+(src|href)=.http", text), (
            "something from elsewhere"
        )


@each
def test_it_leads_back_forward_to_the_contents_and_to_the_glossary(path):
    cells = nbformat.read(path, as_version=4).cells
    at = CHAPTERS.index(path)
    wanted = {"contents.ipynb", "glossary.md"} | {p.name for p in CHAPTERS[max(0, at - 1) : at + 2]} - {
        path.name
    }
    for cell in (cells[0], cells[-1]):
        assert wanted <= set(re.findall(r"\]\(([^)#]+)", cell.source))


@each
def test_it_takes_no_name_of_the_library_for_something_else(path):
    """No cell defines what a module it imports has, or puts something else into a module's name."""
    cells = [
        c for c in code_of(nbformat.read(path, as_version=4)) if "exercise" not in c.metadata.get("tags", ())
    ]
    trees = [ast.parse(re.sub(r"^\s*[!%].*$", "pass", cell.source, flags=re.M)) for cell in cells]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    modules = {
        alias.asname or alias.name: ROOT / node.module.replace(".", "/") / f"{alias.name}.py"
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] in ("ssdlib", "course")
        for alias in node.names
        if (ROOT / node.module.replace(".", "/") / f"{alias.name}.py").exists()
    }
    assert modules
    public = {
        node.name
        for module in modules.values()
        for node in ast.parse(module.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    assigned = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assert not assigned & set(modules) and not defined & public


def test_every_term_of_the_glossary_is_found_in_the_chapter_it_names():
    rows = re.findall(
        r"^\| \*\*(.+?)\*\* \|.*\[(\d\d)\]\((\S+?)\) \|$", (ROOT / "chapters/glossary.md").read_text(), re.M
    )
    assert len(rows) > 40
    terms = [term.lower() for term, _, _ in rows]
    assert terms == sorted(terms) and len(set(terms)) == len(terms)
    for term, number, target in rows:
        assert target.startswith(number)
        prose = prose_of(nbformat.read(ROOT / "chapters" / target, as_version=4)).lower().replace("\n", " ")
        assert term.lower().split(" (")[0] in prose, f"{term} isn't in {target}"


@each
def test_it_says_how_long_it_takes_what_it_needs_and_what_one_will_be_able_to_do(path):
    prose = prose_of(nbformat.read(path, as_version=4)).lower()
    for promise in ("in one sentence", "| time |", "| hardware |", "you will be able to", "## recap"):
        assert promise in prose


@each
def test_it_is_small_enough_for_a_repository(path):
    assert path.stat().st_size < 1_500_000


def test_the_readme_lists_every_chapter():
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\(chapters/(\w+)\.ipynb\)", readme)) == {path.stem for path in CHAPTERS}


@each
def test_the_readme_and_the_chapter_agree_on_the_minutes(path):
    readme = (ROOT / "README.md").read_text()
    [minutes] = re.findall(rf"\({re.escape(f'chapters/{path.name}')}\) \| (\d+) \|", readme)
    [time] = re.findall(r"^\| time \| (.+) \|$", prose_of(nbformat.read(path, as_version=4)), re.M)
    assert f"{minutes} minutes" in time or path.name.startswith(
        "09"
    )  # 09: the run takes more than the reading


def recorded_facts(folder):
    """What a recording says of itself: in recording.json, or in the first line of each of its files."""
    if whole := sorted(folder.rglob("recording.json")):
        return [json.loads(path.read_text()) for path in whole]
    return [json.loads(path.read_text().split("\n", 1)[0]) for path in sorted(folder.rglob("*.jsonl"))]


@pytest.mark.parametrize("folder", sorted((ROOT / "chapters/recordings").glob("*/")), ids=lambda f: f.name)
def test_a_recording_states_device_date_commit_versions_and_seed(folder):
    found = recorded_facts(folder)
    assert found
    for facts in found:
        assert facts["device"] and re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"])
        assert facts["versions"]["torch"] and isinstance(facts["config"]["seed"], int)
        assert re.fullmatch(r"[0-9a-f]{40}", facts["commit"])


def test_the_recordings_are_small_enough_for_a_repository():
    sizes = [path.stat().st_size for path in (ROOT / "chapters/recordings").rglob("*") if path.is_file()]
    assert (
        sum(sizes) < 11_500_000
    )  # weights, result files of 1,000 photographs, logs of the experiments: about a third each


HEAVY = set("nbformat torchvision scipy pandas onnx av torch._dynamo".split())


@pytest.mark.slow
def test_the_imports_of_chapters_bring_nothing_heavy_that_they_can_do_without():
    """nbformat's schema alone took 1.7 of the 5 seconds of a chapter's first cell."""
    wanted = [node for path in CHAPTERS for node in ast.parse(code_of(nbformat.read(path, 4))[0].source).body]
    code = [ast.unparse(node) for node in wanted if isinstance(node, ast.Import | ast.ImportFrom)]
    code = "\n".join([*dict.fromkeys(code), "import sys", "print('loaded', *sys.modules)"])
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(said.stdout.rpartition("loaded ")[2].split())
    assert {"ssdlib.anchors", "course.kit.pictures"} <= loaded
    assert HEAVY & loaded == set()
