"""The two marks our sentences carry, `code` and *stress*, as HTML or taken off: checks and self-tests show them."""

import html
import re

_CODE = re.compile(r"(`[^`\n]+`)")
_STRESS = re.compile(r"(?<![\w*])\*(?! )([^*\n]+?)(?<! )\*(?![\w*])")


def marked(text: str) -> str:
    """A sentence as HTML: everything in it escaped, what stands in backticks as code (a * within it stays a *)."""
    return "".join(
        f"<code>{html.escape(part[1:-1])}</code>"
        if part.startswith("`") and len(part) > 1
        # quotes are left alone, as a reader wants them; nothing of this goes into an attribute
        else _STRESS.sub(r"<em>\1</em>", html.escape(part, quote=False))
        for part in _CODE.split(text)
    )


def plain(text: str) -> str:
    """A sentence without its marks, for where no HTML goes: a radio button, a text alternative."""
    return "".join(
        part[1:-1] if part.startswith("`") and len(part) > 1 else _STRESS.sub(r"\1", part)
        for part in _CODE.split(text)
    )
