import pytest

from mage_server.run_api import redaction


class TestRedaction:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("401 POST /api/runs/abc (::1) 1ms", "401 POST /api/runs/[token] (::1) 1ms"),
            ("uri='/api/runs/abc', x", "uri='/api/runs/[token]', x"),
            ("/api/runs/abc?x=1", "/api/runs/[token]?x=1"),
            ("/api/pipeline_schedules/3/pipeline_runs/abc", "/api/pipeline_schedules/3/pipeline_runs/[token]"),
            ("/api/runs/schema/a/b", "/api/runs/schema/a/b"),
            ("/x?token=abc&y=1", "/x?token=[token]&y=1"),
            ("/api/pipelines", "/api/pipelines"),
        ],
    )
    def test_redact(self, text: str, expected: str):
        assert redaction.redact(text) == expected
