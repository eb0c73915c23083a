"""What teaches the detector: a package for each topic, and `kit`, which they share.

In a notebook, importing it asks for figures with two pixels for each one of the page: letters stay sharp on today's
screens. They are compressed less than usual, which takes 0.1 s less for each figure and a fifth more bytes.
"""

import sys


def _sharp_figures() -> None:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return
    backends = [shell.config.InlineBackend]  # for a backend that is yet to be made
    if "matplotlib_inline.backend_inline" in sys.modules:
        backends.append(sys.modules["matplotlib_inline.config"].InlineBackend.instance(parent=shell))
    for backend in backends:
        backend.figure_formats = {"retina"}
        backend.print_figure_kwargs = {"bbox_inches": "tight", "pil_kwargs": {"compress_level": 1}}


_sharp_figures()
