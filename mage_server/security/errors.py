"""Errors of Mage's API as callers see them: no trace, no path of this machine, and an HTTP status."""

import json
import re
from collections.abc import Mapping
from typing import Any

MAX_MESSAGE_CHARACTERS = 500
HIDDEN_REASON = "The request failed; the server's log has the reason"
# An absolute path of at least two parts. Not the path of a URL, nor one of this server.
_PATH = re.compile(r"(?<![\w:/.])/(?!api/)(?:[\w.@+-]+/)+[\w.@+-]*")
_TRACE = re.compile(r"Traceback \(most recent call last\)|^\s*File \".*\", line \d+", re.MULTILINE)
# What browsers add by themselves to the requests of Mage's pages; see Referrer-Policy in guard.py.
BROWSER_HEADERS = ("Origin", "Referer", "Sec-Fetch-Site")


def without_paths(text: str) -> str:
    """Return a text in which absolute paths are cut to their last part."""
    return _PATH.sub(lambda match: match[0].rstrip("/").rpartition("/")[2], text)


def clean_text(text: Any) -> str:
    """Return the message of an error: the last line of a trace, short, without paths."""
    message = str(text).strip()
    if _TRACE.search(message):
        message = message.splitlines()[-1]
    return without_paths(message)[:MAX_MESSAGE_CHARACTERS]


def clean_error(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error of Mage in the form that its UI reads, without traces."""
    message = clean_text(error.get("message") or error.get("exception") or HIDDEN_REASON)
    cleaned = {name: error[name] for name in ("code", "type") if error.get(name) is not None}
    errors = error.get("errors")
    kept = [clean_text(line) for line in errors if line not in (None, "None")] if isinstance(errors, list) else []
    is_trace = any(_TRACE.search(str(line)) for line in errors) if isinstance(errors, list) else False
    # The UI's pages of users and of Git read `exception` where there is one.
    return {**cleaned, "errors": [] if is_trace else kept, "message": message, "exception": message}


def status_of(exception: BaseException | None) -> int:
    """Return the HTTP status of an exception that a handler of Mage raised."""
    code = getattr(exception, "code", None)
    if isinstance(code, int) and 400 <= code < 600:
        return code
    if type(exception).__name__ == "UnauthenticatedRequestException":
        return 401
    return 400 if isinstance(exception, json.JSONDecodeError) else 500


def is_from_browser(headers: Mapping[str, str]) -> bool:
    """Whether a request may come from Mage's UI, which reads errors out of answers with status 200."""
    return any(name in headers for name in BROWSER_HEADERS)
