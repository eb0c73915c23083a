"""What an edit has removed or added: numbers, links and code words of pages, before and after.

    python data_scripts/compare_prose.py REVISION PAGE [PAGE ...]

For each page (a chapter's source or a Markdown file) it compares the prose of the revision with that of the working
tree and lists every number, link and `code word` that only one of them has, with its sentence. 0.5 and .5
are the same number, and so are 52,404 and 52404. An edit may drop a repetition; what is listed as lost has to be a
decision. Exit status 1 if a page lost something.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

LINK = re.compile(r"\]\((https?://[^)\s]+|[\w./-]+\.(?:md|ipynb)(?:#[\w-]+)?)\)")
CODE = re.compile(r"`([^`\n]+)`")
NUMBER = re.compile(r"(?<![\w.])(\d[\d,]*\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)(?![\w])")
KINDS = {"number": NUMBER, "link": LINK, "code": CODE}


def prose(text: str, is_source: bool) -> str:
    """The text that a reader sees: a chapter's Markdown cells, or a whole Markdown file."""
    if not is_source:
        return text
    cells = re.split(r"^# %%", text, flags=re.M)
    shown = [cell for cell in cells if cell.lstrip().startswith("[markdown]")]
    return "\n".join(re.sub(r"^# ?", "", cell.partition("\n")[2], flags=re.M) for cell in shown)


def found(text: str) -> dict[str, Counter[str]]:
    """kind -> how often each number (as digits that compare), link and code word stands in the text."""
    plain = LINK.sub("]", CODE.sub(" ", text))
    numbers = Counter(f"{float(n.replace(',', '').rstrip('.')):g}" for n in NUMBER.findall(plain))
    return {"number": numbers, "link": Counter(LINK.findall(text)), "code": Counter(CODE.findall(text))}


def sentence_of(thing: str, kind: str, text: str) -> str:
    """A line or two around the first place where it stands."""
    for line in re.split(r"(?<=[.:!?])\s+|\n(?=[-|#])", text):
        if thing in found(line)[kind]:
            return " ".join(line.split())[:160]
    return ""


def compare(before: str, after: str) -> list[str]:
    """Lines `lost number 12: sentence` and `added ...`."""
    lines, old, new = [], found(before), found(after)
    for kind in KINDS:
        for word, mine, theirs, text in (("lost", old, new, before), ("added", new, old, after)):
            for thing in sorted(mine[kind].keys() - theirs[kind].keys()):
                lines.append(f"{word} {kind} {thing}: {sentence_of(thing, kind, text)}")
    return lines


def main() -> int:
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    revision, lost = sys.argv[1], False
    for page in sys.argv[2:]:
        shown = subprocess.run(["git", "show", f"{revision}:./{page}"], capture_output=True, text=True)
        if shown.returncode:
            sys.exit(f"{page}: {shown.stderr.strip()}; wanted a page that revision {revision} has")
        texts = [prose(text, page.endswith(".py")) for text in (shown.stdout, Path(page).read_text("utf-8"))]
        lines = compare(*texts)
        print(f"== {page}: {len(texts[0].split()):,} words before, {len(texts[1].split()):,} after")
        print("\n".join(lines))
        lost |= any(line.startswith("lost") for line in lines)
    return int(lost)


if __name__ == "__main__":
    sys.exit(main())
