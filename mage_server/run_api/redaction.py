"""Remove tokens in URLs from the logs. Mage's own endpoints accept tokens in the path, too."""

import logging
import re

_TOKENS = re.compile(r"(/api/runs/|/pipeline_runs/|[?&](?:token|api_key|oauth_token)=)[^\s/?&'\"<>]+")
# Path segments after `/api/runs/` that are not tokens.
_NOT_TOKENS = ("health", "openapi.json", "schema", "[token]", "...")


def redact(text: str) -> str:
    """Return the text with each token in a URL replaced by `[token]`."""
    return _TOKENS.sub(lambda m: m[0] if m[0][len(m[1]) :] in _NOT_TOKENS else f"{m[1]}[token]", text)


class TokenFilter(logging.Filter):
    """Removes tokens from log records."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message and return True, so that every record is logged."""
        message = record.getMessage()
        if "/api/runs/" in message or "/pipeline_runs/" in message or "=" in message:
            redacted = redact(message)
            if redacted != message:
                record.msg, record.args = redacted, ()
        return True


def install() -> None:
    """Add the filter to the loggers and handlers that log requests."""
    token_filter = TokenFilter()
    for name in ("tornado.access", "tornado.application", "tornado.general", "asyncio"):
        logging.getLogger(name).addFilter(token_filter)
    for handler in logging.getLogger().handlers:
        handler.addFilter(token_filter)
