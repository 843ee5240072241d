import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mage_server.run_api.http_errors import ApiError
from mage_server.run_api.trigger_tokens import (
    Trigger,
    TriggerCache,
    authenticate,
    authorize,
    bearer_token,
    token_digest,
)


class TestTokens:
    TRIGGERS = (
        Trigger(1, "a", True, token_digest("one")),
        Trigger(2, "a", False, token_digest("two")),
        Trigger(3, "b", True, token_digest("three")),
    )

    @given(st.text())
    def test_only_the_very_token_matches(self, token: str):
        if token in ("one", "two", "three"):
            assert len(authenticate(self.TRIGGERS, token)) == 1
        else:
            with pytest.raises(ApiError) as caught:
                authenticate(self.TRIGGERS, token)
            assert caught.value.status == 401

    def test_every_token_is_compared(self, monkeypatch: pytest.MonkeyPatch):
        compared = []
        monkeypatch.setattr(
            "mage_server.run_api.trigger_tokens.hmac.compare_digest", lambda a, b: compared.append((a, b)) or a == b
        )
        authenticate(self.TRIGGERS, "one")
        assert [each[0] for each in compared] == [trigger.digest for trigger in self.TRIGGERS]

    @pytest.mark.parametrize(("token", "pipeline"), [("two", "a"), ("one", "b"), ("three", "a")])
    def test_403(self, token: str, pipeline: str):
        with pytest.raises(ApiError) as caught:
            authorize(authenticate(self.TRIGGERS, token), pipeline)
        assert caught.value.status == 403

    @pytest.mark.parametrize(
        ("header", "token"),
        [("Bearer a", "a"), ("bearer  a ", "a"), ("Basic a", None), ("a", None), ("", None), (None, None)],
    )
    def test_bearer_token(self, header: str | None, token: str | None):
        assert bearer_token(header) == token

    def test_the_table_is_read_once_for_many_and_again_when_old(self):
        reads = []

        async def scenario() -> None:
            table = TriggerCache(lambda: reads.append(1) or self.TRIGGERS, ttl_seconds=0.2)
            await asyncio.gather(*(table.get() for _ in range(20)))
            assert len(reads) == 1
            await asyncio.sleep(0.25)
            await table.get()
            assert len(reads) == 2

        asyncio.run(scenario())
