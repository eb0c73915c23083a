"""Keys for widgets: an invisible widget that keeps a notebook's shortcuts from sliders, menus, radio buttons.

Without it an arrow key pressed in a radio button selects the next cell of the notebook.
"""

import anywidget


class Keys(anywidget.AnyWidget):
    """Put one into a box of widgets: keys pressed in that box stay there. Tab, Escape and combinations with Ctrl or
    Command go on to JupyterLab or Notebook 7."""

    _esm = """
    const SUPPRESS = "data-lm-suppress-shortcuts"; // Jupyter looks for it on what has the focus
    const stays = (event) =>
      !(event.ctrlKey || event.metaKey || ["Tab", "Escape"].includes(event.key)) &&
      !(event.shiftKey && event.key === "Enter");
    function render({ el }) {
      let box = null;
      let timer = null;
      // Notebook 7 hears a key before the widget does; so whatever has the focus is marked before both
      const mark = (event) => {
        if (box.contains(event.target)) event.target.toggleAttribute(SUPPRESS, stays(event));
      };
      const keep = (event) => {
        if (stays(event)) event.stopPropagation();
      };
      const attach = () => {
        box = el.isConnected && el.closest(".jp-OutputArea-output, .output_area, .widget-vbox");
        if (!box) return void (timer = setTimeout(attach, 50));
        window.addEventListener("keydown", mark, true);
        box.addEventListener("keydown", keep);
      };
      el.style.display = "none";
      attach();
      return () => {
        clearTimeout(timer);
        window.removeEventListener("keydown", mark, true);
        if (box) box.removeEventListener("keydown", keep);
      };
    }
    export default { render };
    """

    def __repr__(self) -> str:
        return "Keys()"
