"""The way to the next page that gives this page's memory back: every open page keeps a kernel, and 0.5 GB or more."""

import os
from pathlib import Path

import anywidget
import traitlets

from course.kit import places
from ssdlib.training import memory

SHORT = 2e9  # bytes left for the next page


class Leave(anywidget.AnyWidget):
    """A button: shut this kernel down and go on. It asks Jupyter's server from the page, as Jupyter's menu does, and
    then follows the page's link to the next chapter."""

    _esm = """
    async function shutDown(id) {
      const config = JSON.parse(document.getElementById("jupyter-config-data").textContent);
      const xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/);
      const headers = xsrf ? { "X-XSRFToken": xsrf[1] } : {};
      const ask = async (way, method) => {
        const answer = await fetch(config.baseUrl + way, { method, headers });
        if (!answer.ok) throw new Error(answer.statusText);
        return answer;
      };
      const sessions = await (await ask("api/sessions", "GET")).json();
      const mine = sessions.find((session) => session.kernel && session.kernel.id === id);
      await ask(mine ? `api/sessions/${mine.id}` : `api/kernels/${id}`, "DELETE");
      return { base: config.baseUrl, path: mine ? mine.path : "" };
    }
    function goOn(link, pages, { base, path }) {
      if (link) return link.click();
      const next = pages.find((name) => name > path.replace(/^.*[/]/, ""));
      if (!next || !path) return;
      const where = location.pathname.includes("/notebooks/") ? "notebooks" : "lab/tree";
      location.assign(`${base}${where}/${path.replace(/[^/]*$/, "")}${next}`);
    }
    function render({ model, el }) {
      const id = model.get("kernel");
      if (!id) return;
      const button = document.createElement("button");
      button.className = "lm-Widget jupyter-widgets jupyter-button widget-button course-leave";
      button.style.width = "auto";
      button.textContent = "Shut down this kernel and go on";
      const said = document.createElement("span");
      said.style.marginLeft = "8px";
      said.setAttribute("role", "status");
      said.textContent = model.get("words");
      model.on("change:words", () => (said.textContent = model.get("words")));
      button.addEventListener("click", async () => {
        button.disabled = true;
        const page = el.closest(".jp-Notebook");
        const links = page ? [...page.querySelectorAll(".jp-RenderedMarkdown a")] : [];
        const link = links.filter((a) => a.textContent.trim().endsWith("→")).pop();
        try {
          goOn(link, model.get("pages"), await shutDown(id));
        } catch (error) {
          said.textContent = "That didn't work here; the menu Kernel, Shut Down Kernel does the same.";
          button.disabled = false;
        }
      });
      el.append(button, said);
    }
    export default { render };
    """

    kernel = traitlets.Unicode("").tag(sync=True)  # its id; without one there is no button
    pages = traitlets.List(traitlets.Unicode()).tag(sync=True)  # files of all chapters, in their order
    words = traitlets.Unicode("").tag(sync=True)

    def __init__(self):
        give_back()
        pages = sorted(path.name for path in places.CHAPTERS.glob("[0-9][0-9]_*.ipynb"))
        super().__init__(kernel=kernel_id(), pages=pages, words=said())

    def __repr__(self) -> str:
        return "Leave()"


def kernel_id() -> str:
    """The id by which Jupyter's server knows this kernel; "" where this isn't one."""
    try:
        from ipykernel.connect import get_connection_file

        return Path(get_connection_file()).stem.removeprefix("kernel-")
    except (ImportError, RuntimeError):
        return ""


def said() -> str:
    """What this page holds, where the system says it, and that memory is short, where it is."""
    held, left = resident(), available()
    words = f"This page holds {held / 1e9:.1f} GB of memory." if held else ""
    if left is not None and left < SHORT:
        words += f" Memory is short: {left / 1e9:.1f} GB are left, less than the next page may need."
    return words


def give_back() -> None:
    """Return freed memory to the system, where that is Linux with glibc. Its allocator keeps blocks for the next
    tensors; a page that has been read has no next ones."""
    memory.free()


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system doesn't say (Linux does)."""
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def available() -> int | None:
    """Bytes of memory that programs can still have; None where the system doesn't say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, StopIteration):
        return None
