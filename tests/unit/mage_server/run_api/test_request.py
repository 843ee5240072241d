import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mage_server.run_api.http_errors import ApiError
from mage_server.run_api.request import MAX_DEPTH, RunRequest, parse_body
from workflows.common.parsing import has_nul

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def is_allowed(variables: dict) -> bool:
    return "remote_blocks" not in variables and not has_nul(variables)


def status_of(body: bytes) -> int:
    try:
        parse_body(body)
    except ApiError as error:
        return error.status
    return 200


class TestParseBody:
    @given(st.binary(max_size=200))
    def test_any_bytes_are_a_request_or_refused(self, body: bytes):
        assert status_of(body) in (200, 400, 422)

    @given(JSON)
    def test_any_json_is_a_request_or_refused(self, payload):
        for body in (payload, {"run": payload}):
            assert status_of(json.dumps(body).encode()) in (200, 400, 422)

    @given(st.dictionaries(st.text(), JSON, max_size=5).filter(is_allowed))
    def test_variables_arrive_as_they_were_sent(self, variables: dict):
        run = {"pipeline_uuid": "p", "block_uuid": "b", "variables": variables}
        parsed = parse_body(json.dumps({"run": run}, ensure_ascii=False).encode())
        assert parsed == RunRequest("p", "b", variables, True, True, False, False)

    @pytest.mark.parametrize("value", ["\0", ["a\0b"], {"a": {"\0": 1}}])
    def test_nul_is_refused_and_named(self, value: object):
        run = {"pipeline_uuid": "p", "block_uuid": "b", "variables": {"fine": 1, "x": value}}
        with pytest.raises(ApiError) as caught:
            parse_body(json.dumps({"run": run}).encode())
        assert caught.value.status == 422
        assert caught.value.fields == {"variables.x": "contains the character NUL"}

    def test_defaults_are_not_shared(self):
        body = b'{"run": {"pipeline_uuid": "p", "block_uuid": "b"}}'
        parse_body(body).variables["x"] = 1
        assert parse_body(body).variables == {}

    @pytest.mark.parametrize(("depth", "is_fine"), [(MAX_DEPTH - 4, True), (MAX_DEPTH, False), (900, False)])
    def test_depth(self, depth: int, is_fine: bool):
        nested = "[" * depth + "]" * depth
        body = f'{{"run": {{"pipeline_uuid": "p", "block_uuid": "b", "variables": {{"x": {nested}}}}}}}'.encode()
        if is_fine:
            parse_body(body)
        else:
            with pytest.raises(ApiError, match="nested"):
                parse_body(body)
