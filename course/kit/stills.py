"""A widget and what stands in its place where no kernel is: on the second day, in a preview, in print.

Jupyter saves both in the notebook, but draws a widget wherever it finds one: where its kernel is gone, "Error
displaying widget: model not found" covers the picture that came in the same output. So widget and still are separate
outputs, and a style sheet that is saved between them shows one of the two. (JupyterLab and Notebook 7; elsewhere both
are shown.)
"""

from typing import Any

from IPython.display import publish_display_data

WIDGET = "application/vnd.jupyter.widget-view+json"
LIVE = "course-live"  # class of a widget on the page that has a kernel

# An output is a .jp-OutputArea-child. Where a widget has no model, Jupyter writes words, and no element, into what
# would hold it: that is hidden, also where it was a progress bar.
STYLE = (
    "<style>"
    ".jp-OutputArea-output.jupyter-widgets:not(:has(*)),"
    f".jp-OutputArea-child:has(.{LIVE}) + .jp-OutputArea-child:has(.course-stand-in),"
    f".jp-OutputArea-child:has(.{LIVE}) + .jp-OutputArea-child:has(.course-stand-in-picture) + .jp-OutputArea-child"
    "{display:none}</style>"
)
CAPTION = "Still picture: it moves once you have run the cells up to here."


def show(data: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Display a mime bundle in which a widget comes with a picture or a page: the widget, then its stand-in."""
    data = dict(data)
    if WIDGET in data:
        publish_display_data({WIDGET: data.pop(WIDGET)})
    if "image/png" in data:
        publish_display_data(
            {"text/html": f"{STYLE}<p class='course-stand-in course-stand-in-picture'><i>{CAPTION}</i></p>"}
        )
    elif "text/html" in data:
        data["text/html"] = f"{STYLE}<div class='course-stand-in'>{data['text/html']}</div>"
    publish_display_data(data, metadata)
