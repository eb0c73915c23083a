"""Settings of the reading edition (`make book`): Sphinx, notebooks as they are, nothing fetched from elsewhere."""

project = "SSD300, from the first box to the last point of AP"
copyright = "text CC BY 4.0, code MIT, glyphs OpenMoji CC BY-SA 4.0"
author = ""
extensions = ["myst_nb", "formulas"]
myst_enable_extensions = ["dollarmath"]
html_math_renderer = "mathml"  # the usual one would fetch a script
exclude_patterns = ["recordings"]
html_theme = "furo"
html_title = "SSD300"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_permalinks_icon = "#"
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "text/html", 0),
    ("html", "image/png", 10),
    ("html", "image/jpeg", 11),
    ("html", "text/plain", 90),
]
myst_heading_anchors = 3
# a cell may hold a shell line, which no lexer of Python knows
suppress_warnings = ["mystnb.unknown_mime_type", "myst.xref_missing", "misc.highlighting_failure"]
html_theme_options = {"source_view_link": ""}

# What is too wide for the page scrolls, also for those who have keys only: it can be reached with Tab.
SCROLLED = """
document.addEventListener("DOMContentLoaded", () => {
  const wide = () => document.querySelectorAll("article pre, article .table-wrapper").forEach((e) => {
    if (e.scrollWidth > e.clientWidth) e.tabIndex = 0;
    else e.removeAttribute("tabindex");
  });
  wide();
  window.addEventListener("resize", wide);
});
"""


# Where scripts run, an explorer stands in the place of its still picture; said before anything is drawn.
ALIVE = 'document.documentElement.classList.add("course-alive");'


def setup(app):
    app.add_js_file(None, body=SCROLLED)
    app.add_js_file(None, body=ALIVE)
    app.add_js_file("live.js", loading_method="defer")
    app.add_css_file("live.css")
