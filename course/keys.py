"""Keys for widgets: an invisible widget that keeps JupyterLab's shortcuts away from sliders, menus and radio buttons.

Without it an arrow key pressed in a radio button selects the next cell of the notebook.
"""

import anywidget


class Keys(anywidget.AnyWidget):
    """Put one into a box of widgets: keys pressed in that box stay there. Tab, Escape and combinations with Ctrl or
    Command go on to JupyterLab."""

    _esm = """
    function render({ el }) {
      const keep = (event) => {
        if (event.ctrlKey || event.metaKey || ["Tab", "Escape"].includes(event.key)) return;
        if (event.shiftKey && event.key === "Enter") return;
        event.stopPropagation();
      };
      let box = null;
      let timer = null;
      const attach = () => {
        box = el.isConnected && el.closest(".jp-OutputArea-output, .output_area, .widget-vbox");
        if (box) box.addEventListener("keydown", keep);
        else timer = setTimeout(attach, 50);
      };
      el.style.display = "none";
      attach();
      return () => {
        clearTimeout(timer);
        if (box) box.removeEventListener("keydown", keep);
      };
    }
    export default { render };
    """

    def __repr__(self) -> str:
        return "Keys()"
