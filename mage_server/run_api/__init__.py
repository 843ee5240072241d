"""The `/api/runs` endpoint: run one block and return its outputs."""
