"""Claims about safety: nothing that came in a file or was typed is run, and nothing reaches the network by itself."""

import ast
import importlib
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for folder in ("ssdlib", "course", "data_scripts", "benchmarks", "chapters", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
SHIPPED = [path for path in SOURCES if "tests" not in path.parts]

RUN_CODE = {"eval", "exec", "compile", "__import__", "input", "yaml.load", "yaml.unsafe_load"}


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Every call in a file, by the dotted name that is called."""
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def named(call: ast.Call, keyword: str) -> str | None:
    return next((ast.unparse(k.value) for k in call.keywords if k.arg == keyword), None)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_files_of_tensors_are_loaded_as_tensors_alone_and_no_shell_takes_words_apart(path):
    for name, call in calls(path):
        where = f"{path.name}, line {call.lineno}: {name}"
        if name == "torch.load":
            assert named(call, "weights_only") == "True", where
        if name.startswith("subprocess.") or name in ("run", "Popen"):
            assert named(call, "shell") is None, where
        assert name not in ("os.system", "os.popen"), where


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_code_is_run_that_came_from_a_file_but_the_learners_own(path):
    for name, call in calls(path):
        if path.name == "my_ssd.py" and name in ("exec", "compile"):
            continue  # functions that the learner wrote, in the learner's folder; a notebook's cells are run as well
        where = f"{path.name}, line {call.lineno}: {name}"
        if name.startswith("archive.extract"):
            assert named(call, "filter") == "'data'", where
        assert name not in RUN_CODE and not name.startswith(("pickle.", "dill.", "marshal.")), where
        assert name != "np.load" or named(call, "allow_pickle") in (None, "False"), where


def test_an_explorer_takes_numbers_and_choices_but_no_text():
    """There is no widget in the course into which words could be typed."""
    for path in (ROOT / "course").rglob("*.py"):
        for name, call in calls(path):
            word = name.rpartition(".")[2]
            assert word not in ("Text", "Textarea", "Combobox", "Password", "FileUpload"), (
                path.name,
                call.lineno,
            )
    for path in (ROOT / "course").rglob("*.js"):
        text = path.read_text()
        assert not re.search(r"\beval\(|new Function|document\.write|insertAdjacentHTML", text), path.name
        assert not re.search(r"https?://(?!www\.w3\.org/)", text), path.name


WITHOUT_A_NETWORK = """
    import importlib, socket, sys

    def refuse(*address, **_):
        raise AssertionError(f"something asked for the network: {address}")

    real = socket.socket.connect
    def connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            refuse(address)
        return real(self, address)

    socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo = connect, refuse, refuse
    for name in sys.argv[1:]:
        importlib.import_module(name)
    print("imported", len(sys.argv) - 1)
"""


@pytest.mark.slow
def test_importing_everything_asks_nobody_on_the_network():
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in SHIPPED]
    modules = [name for name in modules if name.startswith(("ssdlib.", "course."))]
    assert len(modules) > 100
    modules = [name for name in modules if not name.endswith(("__init__", "__main__"))]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WITHOUT_A_NETWORK), *modules],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=300,
    )
    assert done.stdout.split() == ["imported", str(len(modules))], done.stderr[-2000:]


def test_only_the_script_that_downloads_voc_opens_addresses():
    """Everywhere else there is no call that could."""
    opening = re.compile(
        r"urlopen|urlretrieve|requests\.|httpx|download_url|load_state_dict_from_url|hub\.load"
    )
    found = {path.name for path in SHIPPED if opening.search(path.read_text())}
    assert found <= {"fetching.py"}


def test_chapters_show_nothing_from_another_server():
    for path in (ROOT / "chapters").glob("*.ipynb"):
        for cell in json.loads(path.read_text())["cells"]:
            html = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            for output in cell.get("outputs", []):
                html += "".join(output.get("data", {}).get("text/html", []))
            assert not re.search(
                r"<(?:img|script|iframe|link)[^>]+(?:src|href)=.?https?:|!\[[^\]]*\]\(https?:", html
            ), path


def test_a_download_is_opened_only_after_its_sum_was_found_right():
    """The one call that opens an archive gets paths from those two functions that compare sums."""
    text = (ROOT / "data_scripts/download_voc.py").read_text()
    tree = ast.parse(text)
    functions = {node.name: ast.unparse(node) for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert [name for name, body in functions.items() if "tarfile.open" in body] == ["unpack"]
    assert "found[a] or fetch(a, place, mirrors)" in functions["download_voc"]
    assert "difference(" in functions["found_on_disk"]


def test_the_lab_listens_on_this_machine_alone_and_asks_for_a_token():
    """`make lab` says nothing about address and token, and what the server does by itself is safe."""
    [command] = re.findall(r"^lab:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert "jupyter lab" in command
    assert not re.search(
        r"--ip|--ServerApp\.ip|token|password|allow.remote|disable_check_xsrf", command, re.I
    )
    server = importlib.import_module("jupyter_server.serverapp").ServerApp()
    assert server.ip in ("localhost", "127.0.0.1") and not server.allow_remote_access
    identity = importlib.import_module("jupyter_server.auth.identity").IdentityProvider(parent=server)
    assert len(identity.token) >= 32
    prompt = (ROOT / "course/kit/prompt_server.py").read_text()
    assert not re.search(r"token|check_origin|xsrf|allow", prompt)
