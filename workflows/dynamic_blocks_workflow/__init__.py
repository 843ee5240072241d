"""Fan-out: one item per thousand rows, a fun fact about each."""
