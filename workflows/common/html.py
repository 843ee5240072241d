"""HTML that Mage's UI may render."""

import re
from html import escape

STYLE = "width: 100%; height: 80vh; border: 0"
# No script runs in it, whatever the page is, and escaped text cannot leave its attribute.
SANDBOXED_FRAME = re.compile(
    rf'<div><iframe sandbox title="[^"<>]*" srcdoc="[^"<>]*" style="{re.escape(STYLE)}"></iframe></div>'
)


def sandboxed_frame(page: str, title: str) -> str:
    """Return a page in a frame of its own, in which no script runs and whose styles do not leave it."""
    return f'<div><iframe sandbox title="{escape(title)}" srcdoc="{escape(page)}" style="{STYLE}"></iframe></div>'
