"""Write `.env.example` from the settings, so that it lists every variable with its default.

Run as `python -m stack.env_example`.
"""

from pathlib import Path

from workflows.common.settings import REPO_PATH, Settings

OUTPUT = REPO_PATH / ".env.example"
HEADER = """\
# Every variable with its default. Copy this file to .env and uncomment what you change. Variables of the shell
# that runs make take precedence over .env. A running stack keeps the settings of its start: make stop, make up.
# An empty value counts as not set. Each can also be read from a file:
# OPENAI_API_KEY_FILE=/run/secrets/openai_api_key, where OPENAI_API_KEY itself is not set.
"""
# Read by Mage itself. `make up` sets these defaults unless the shell or .env sets another value.
MAGE_VARIABLES = {
    "REQUIRE_USER_AUTHENTICATION": ("1", "1: the UI asks for a password."),
    "REQUIRE_USER_PERMISSIONS": ("", "1: permissions by role, for more than one user."),
    "DISABLE_TERMINAL": ("1", "1: the UI has no terminal."),
    "HIDE_API_TRIGGER_TOKEN": ("1", "1: the UI and the files do not show the tokens of API triggers."),
    "MAGE_SLACK_WEBHOOK_URL": ("", "Slack webhook to which failed runs are reported."),
    "MAGE_PUBLIC_HOST": ("", "Address of the UI in these reports; by default localhost."),
}


def env_example() -> str:
    """Return the content of the file."""
    lines = [HEADER]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, Path):
            default = default.relative_to(REPO_PATH)
        lines.append(_entry(name.upper(), "" if default is None else str(default), field.description or ""))
    lines.append("# Read by Mage itself.\n")
    lines += [_entry(name, default, text) for name, (default, text) in MAGE_VARIABLES.items()]
    return "\n".join(lines)


def _entry(name: str, default: str, text: str) -> str:
    return (f"# {text}\n" if text else "") + f"# {name}={default}\n"


if __name__ == "__main__":
    OUTPUT.write_text(env_example(), encoding="utf-8")
