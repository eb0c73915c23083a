"""What teaches the detector: a package for each topic, and `kit`, which they share.

In a notebook, importing it asks for figures with two pixels for each one of the page: letters stay sharp on today's
screens.
"""

import sys


def _sharp_figures() -> None:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and hasattr(shell, "kernel"):
        shell.config.InlineBackend.figure_formats = {"retina"}  # for a backend that is yet to be made
        if "matplotlib_inline.backend_inline" in sys.modules:
            backend = sys.modules["matplotlib_inline.config"].InlineBackend.instance(parent=shell)
            backend.figure_formats = {"retina"}


_sharp_figures()
