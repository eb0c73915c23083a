"""The readers of annotations and of result files under atheris, which keeps the files that reach new lines of them.

    pip install atheris
    python tests/atheris_readers.py [--seconds 60] [--seed 1] [--keep FOLDER]

Each file is an answer that holds together, or is refused with the error that its reader has for that; anything else
ends the run with the file's name. `test_fuzz.py` asks the same of more readers without looking at their lines, and is
what `make test` runs: atheris has no package for every Python. `--keep` keeps the files for the next time.
"""

import argparse
import contextlib
import importlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line. Doesn't come back: the fuzzer ends the process, with 0 if it found nothing."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--seconds", type=int, default=60, help="(default: %(default)s)")
    words.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    words.add_argument("--keep", type=Path, metavar="FOLDER")
    options = words.parse_args(arguments)
    try:
        import atheris
    except ModuleNotFoundError:
        sys.exit("atheris is not installed: pip install atheris")
    import numpy as np

    import corpus

    names = ("ssdlib.data.voc", "ssdlib.evaluate")  # what is watched; corpus imported them unwatched
    for name in names:
        del sys.modules[name]
    with atheris.instrument_imports(include=list(names)):
        voc, evaluate = map(importlib.import_module, names)

    place = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    annotation, results = place / "x.xml", place / "comp4_det_test_dog.txt"
    seeds = options.keep or place / "seeds"
    seeds.mkdir(parents=True, exist_ok=True)
    box = corpus.annotation(corpus.corners("1", "1", "40", "30"), name="dog")
    for number, text in enumerate((corpus.annotation(), box, corpus.LINES, "000001 .5 1 1 9 9\n")):
        (seeds / f"seed-{number}").write_bytes(bytes([number >= 2]) + text.encode())

    def an_annotation(content: bytes) -> None:
        annotation.write_bytes(content)
        with contextlib.suppress(voc.VOCError):
            example = voc.read_example(annotation, place / "x.jpg", "x")
            width, height = example.size
            x1, y1, x2, y2 = example.boxes.double().T
            assert width > 0 and height > 0
            assert len(example.boxes) == len(example.labels) == len(example.difficult)
            assert bool(((0 <= x1) & (x1 <= x2) & (x2 <= max(width, 2**24)) & (0 <= y1) & (y1 <= y2)).all())
            assert bool(((example.labels >= 1) & (example.labels <= 20)).all())

    def a_result_file(content: bytes) -> None:
        results.write_bytes(content)
        with contextlib.suppress(evaluate.ResultError):
            found = evaluate.read_results(place, "test", ["dog"])["dog"]
            assert np.isfinite(found.scores).all() and np.isfinite(found.boxes).all()
            assert len(found.image_ids) == len(found.scores) == len(found.boxes)
            assert found.boxes.shape[1:] == (4,)

    def one(data: bytes) -> None:
        (a_result_file if data[:1] and data[0] % 2 else an_annotation)(data[1:])

    bounds = [f"-max_total_time={options.seconds}", f"-seed={options.seed}", "-max_len=4096", "-timeout=20"]
    atheris.Setup(
        [sys.argv[0], *bounds, "-print_final_stats=1", f"-artifact_prefix={seeds}/", str(seeds)], one
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
