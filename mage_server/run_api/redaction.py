"""Tokens in addresses, kept out of the logs: Mage's own endpoints take them in the path too."""

import logging
import re

_TOKENS = re.compile(r"(/api/runs/|/pipeline_runs/|[?&](?:token|api_key|oauth_token)=)[^\s/?&'\"<>]+")
# Which are names, not tokens.
_NAMES = ("health", "openapi.json", "schema", "[token]", "…")


def redact(text: str) -> str:
    """Return the text without the tokens in addresses."""
    return _TOKENS.sub(lambda m: m[0] if m[0][len(m[1]) :] in _NAMES else f"{m[1]}[token]", text)


class TokenFilter(logging.Filter):
    """Rewrites log records that hold a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, without tokens."""
        message = record.getMessage()
        if "/api/runs/" in message or "/pipeline_runs/" in message or "=" in message:
            redacted = redact(message)
            if redacted != message:
                record.msg, record.args = redacted, ()
        return True


def install() -> None:
    """Filter what the server logs of its requests."""
    token_filter = TokenFilter()
    for name in ("tornado.access", "tornado.application", "tornado.general", "asyncio"):
        logging.getLogger(name).addFilter(token_filter)
    for handler in logging.getLogger().handlers:
        handler.addFilter(token_filter)
