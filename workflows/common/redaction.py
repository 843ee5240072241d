"""Keep secrets out of logs, errors and outputs: the values that the settings mark, and credentials in any address.

Importing `workflows.common` installs it for all log records and tracebacks of the process.
"""

import base64
import json
import logging
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote, urlsplit

MASK = "***"
# Shorter values ("none", "ollama") are no secrets, and are parts of words.
MIN_CHARACTERS = 8
# Longest first, so that no secret leaves the rest of one that contains it.
_marked: list[str] = []

_PARAMETER = re.compile(
    r"([?&;#](?i:(?:(?:x|amz|goog|api|app|access|account|auth|client|id|oauth|refresh|security|session|subscription)[_-]?)*"
    r"(?:h?apikey|appid|auth|authorization|code|credential|jwt|key|pass|passwd|password|pwd|secret|sig|signature|token))"
    r"=)([^\s&;#\"'<>\\]+)"
)
_USERINFO = re.compile(
    # With a password; a user alone, where it is no bucket or container of a storage; a password with unescaped / ? #.
    r"//(?:[^\s/?#@:\"'<>\\]*:[^\s/?#\"'<>\\]*"
    r"|(?:(?<=http://)|(?<=https://))[^\s/?#\"'<>\\]+"
    r"|[^\s/?#@:\[\"'<>\\]*:(?!\d*(?:[\s/?#\"'<>\\]|$))[^\s\"'<>\\]{1,256})@"
)
# Mage's endpoints accept tokens in the path, too. These segments are not tokens.
_TOKEN = re.compile(
    r"(/api/runs/|/pipeline_runs/)(?!(?:health|openapi\.json|schema|\[token\]|\.{3}|\d+)(?:[\s/?&'\"<>]|$))"
    r"[^\s/?&'\"<>{\\]+"
)


def redact(text: str) -> str:
    """Return the text with each marked value, each credential in an address and each token of a trigger as `***`."""
    for secret in _marked:
        text = text.replace(secret, MASK)
    if "//" in text and "@" in text:
        text = _USERINFO.sub(f"//{MASK}@", text)
    if "=" in text:
        text = _PARAMETER.sub(rf"\1{MASK}", text)
    if "runs/" in text:
        text = _TOKEN.sub(rf"\1{MASK}", text)
    return text


def redacted(value: Any) -> Any:
    """Return a value with its texts redacted: text, dicts, lists, tuples, and texts in tables of pandas."""
    if isinstance(value, str):
        return redact(value)
    if type(value) is dict:
        return {redacted(key): redacted(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(redacted, value))
    return _redacted_table(value) if hasattr(value, "isetitem") else value


def mark(secrets: Iterable[str]) -> None:
    """Have these values removed from now on, also percent-encoded or decoded, and as JSON and `repr` write them."""
    forms = {form for secret in secrets for form in _forms(secret) if len(form) >= MIN_CHARACTERS}
    _marked[:] = sorted(forms.union(_marked), key=len, reverse=True)


def secrets_of_address(address: str) -> Iterator[str]:
    """Yield the password, the secret query values, and a user that looks like a key."""
    yield from (match[2] for match in _PARAMETER.finditer(address))
    try:
        parts = urlsplit(address)
    except ValueError:
        return
    userinfo = parts.netloc.rpartition("@")[0]
    user, has_password, password = userinfo.partition(":")
    yield password
    if any(map(str.isdigit, user)) or (not has_password and parts.scheme in ("http", "https")):
        yield user
    # As the header of basic authentication holds them.
    yield base64.b64encode(unquote(userinfo).encode()).decode()


def install() -> None:
    """Redact what this process logs, and all tracebacks with their causes, whoever handles or prints them."""
    logging.setLogRecordFactory(_Record)
    traceback.TracebackException.format_exception_only = _redacted_lines  # type: ignore[assignment,method-assign]
    # The hooks of the interpreter do not use the module `traceback`.
    sys.excepthook = traceback.print_exception
    threading.excepthook = lambda args: traceback.print_exception(args.exc_type, args.exc_value, args.exc_traceback)
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        show = shell._showtraceback
        shell._showtraceback = lambda kind, error, lines: show(kind, redact(str(error)), list(map(redact, lines)))


class _Record(logging.LogRecord):
    """A record that holds no secret, so that none is left for a handler that formats it itself, or fails to."""

    def __init__(self, *args: Any, **options: Any):
        super().__init__(*args, **options)
        try:
            message = self.getMessage()
            if (safe := redact(message)) != message:
                self.msg, self.args = safe, ()
        except Exception:
            # The arguments do not fit the message, which the handler will say with both.
            self.msg, self.args = redact(str(self.msg)), (redact(repr(self.args)),)


_lines = traceback.TracebackException.format_exception_only


def _redacted_lines(self: traceback.TracebackException, **options: Any) -> Iterator[str]:
    return map(redact, _lines(self, **options))


def _redacted_table(table: Any) -> Any:
    safe = table.copy(deep=False)
    for position, dtype in enumerate(table.dtypes):
        if dtype.kind in "OU":
            column = table.iloc[:, position]
            # Most tables hold no secret, and one long text is searched much faster than many short ones.
            if (text := _whole_text(column)) != redact(text):
                safe.isetitem(position, type(column)(list(map(redacted, column)), column.index, dtype=dtype))
    return safe


def _whole_text(column: Any) -> str:
    if str(column.dtype) in ("string[pyarrow]", "large_string[pyarrow]"):
        # Arrow holds the texts of a column one behind the other; an object for each cell would take seconds.
        chunks = column.array.__arrow_array__().chunks
        return b"".join(chunk.buffers()[2] or b"" for chunk in chunks).decode(errors="replace")
    return "\n".join(map(str, column))


def _forms(secret: str) -> set[str]:
    plain = unquote(secret)
    forms = {secret, plain, quote(plain, safe="")}
    return forms | {json.dumps(form)[1:-1] for form in forms} | {repr(form)[1:-1] for form in forms}
