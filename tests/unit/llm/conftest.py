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

    def complete(
        self, messages: Sequence[Message], schema: Mapping[str, Any], max_tokens: int, temperature: float
    ) -> Completion:
        self.asked.append(list(messages))
        self.temperatures.append(temperature)
        return Completion(text=self.answers[len(self.asked) - 1], model="scripted", tokens=10, seconds=0.5)


@pytest.fixture
def scripted() -> type[ScriptedModel]:
    return ScriptedModel
