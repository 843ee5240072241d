import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from workflows.llm.client import Completion, Message


class ScriptedModel:
    """Answers with the given texts, one a call, and keeps what it was asked."""

    def __init__(self, *answers: str | Mapping[str, Any]):
        self.answers = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
        self.asked: list[list[Message]] = []
        self.temperatures: list[float] = []
        self.max_tokens: list[int] = []

    @property
    def identity(self) -> str:
        return "scripted"

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        self.asked.append(list(messages))
        self.temperatures.append(temperature)
        self.max_tokens.append(max_tokens)
        text = self.answers[len(self.asked) - 1]
        return Completion(text=text, model="scripted", input_tokens=8, output_tokens=2, seconds=0.5)


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedModel]:
    return ScriptedModel
