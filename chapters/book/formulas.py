"""Formulas of the reading edition: LaTeX becomes MathML when the site is built, so that no script has to be fetched.

JupyterLab and Notebook 7 typeset the same LaTeX with their own MathJax. Docutils translates it here; the colours of
terms, `\\textcolor{#0072B2}{...}`, which it doesn't know, are carried past it as marks.
"""

import re
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

COLOURED = re.compile(r"\\textcolor\{#([0-9A-Fa-f]{6})\}\{")
BEGIN, END = re.compile(r"<mtext>colour:([0-9A-Fa-f]{6})</mtext>"), "<mtext>colour:end</mtext>"


def mathml(latex: str, block: bool) -> str:
    """The MathML of a formula. Raises ValueError, with the formula in it, if it isn't understood."""
    try:
        found = tex2mathml(_marked(latex), as_block=block)
    except Exception as error:
        raise ValueError(f"the formula {latex.strip()!r} isn't understood: {error}") from error
    found = BEGIN.sub(r'<mrow style="color: #\1">', found)
    found = found.replace(
        "<mtable", '<mtable displaystyle="true"'
    )  # fractions in full size, as MathJax sets them
    return found.replace(END, "</mrow>")


def _marked(latex: str) -> str:
    r"""LaTeX in which each `\textcolor{#...}{term}` is `{mark term mark}`."""
    while found := COLOURED.search(latex):
        end = _closing(latex, found.end())
        term = latex[found.end() : end]
        marked = rf"{{\text{{colour:{found[1]}}}{term}\text{{colour:end}}}}"
        latex = latex[: found.start()] + marked + latex[end + 1 :]
    return latex


def _closing(latex: str, start: int) -> int:
    """Where the brace closes that was opened before `start`."""
    depth = 1
    for at in range(start, len(latex)):
        if latex[at] in "{}" and latex[at - 1] != "\\":
            depth += 1 if latex[at] == "{" else -1
            if depth == 0:
                return at
    raise ValueError(f"a brace isn't closed in {latex!r}")


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    frame = 'class="math" tabindex="0" style="overflow-x:auto;font-size:115%;padding:0.4em 0"'  # scrolls where narrow
    translator.body.append(f"<div {frame}>{mathml(node.astext(), block=True)}</div>")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this: "mathml" becomes the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True}
