"""Companies: from an API to DuckDB."""
