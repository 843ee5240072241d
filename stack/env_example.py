"""Write `.env.example` from the settings, so that it lists every variable with its default.

Run as `python -m stack.env_example`.
"""

from pathlib import Path

from workflows.common.settings import REPO_PATH, Settings

OUTPUT = REPO_PATH / ".env.example"
HEADER = """\
# Every variable, with its default. Copy this file to .env and uncomment what you change; what the shell
# that calls make has set comes first. An empty value counts as not set.
"""
# Read by Mage itself; `make up` sets them as below unless the shell or .env says otherwise.
MAGE_VARIABLES = {
    "REQUIRE_USER_AUTHENTICATION": ("1", "Whether the UI asks for the owner's password."),
    "REQUIRE_USER_PERMISSIONS": ("", "1: rights by role, for more than one user."),
    "DISABLE_TERMINAL": ("1", "Whether the UI's terminal is off."),
    "HIDE_API_TRIGGER_TOKEN": ("1", "Whether the tokens of API triggers stay out of the UI and of the files."),
    "MAGE_SLACK_WEBHOOK_URL": ("", "Where failed runs are reported."),
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
