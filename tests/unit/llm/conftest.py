import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
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


def most_inside(enter: Callable[[], AbstractContextManager[None]], threads: int = 8, times: int = 20) -> int:
    """Let threads enter a context again and again, and return the largest number that was inside at once."""
    inside = most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal inside, most
        for _ in range(times):
            with enter():
                with lock:
                    inside += 1
                    most = max(most, inside)
                # Long enough for the others to come in, if nothing keeps them out.
                time.sleep(0.002)
                with lock:
                    inside -= 1

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return most


@pytest.fixture(name="most_inside", scope="session")
def _most_inside() -> Callable[..., int]:
    return most_inside


@pytest.fixture(scope="session")
def scripted() -> type[ScriptedModel]:
    return ScriptedModel
