"""The secrets of a state folder: generated on the first start, readable only by the user."""

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from workflows.common.files import write_text_atomically


@dataclass(frozen=True)
class Secrets:
    """The password of Mage's owner and the key that signs login tokens; `repr` hides both."""

    owner_password: str
    jwt_secret: str

    def __repr__(self) -> str:
        return "Secrets(...)"


def load_or_create(state_dir: Path) -> Secrets:
    """Return the secrets of a state folder; generate and store them if there are none."""
    path = state_dir / "secrets.json"
    if path.exists():
        return Secrets(**json.loads(path.read_text(encoding="utf-8")))
    made = Secrets(owner_password=secrets.token_urlsafe(12), jwt_secret=secrets.token_urlsafe(32))
    write_text_atomically(path, json.dumps(asdict(made), indent=2) + "\n")
    return made
