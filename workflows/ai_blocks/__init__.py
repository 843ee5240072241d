"""AI blocks: from a prompt file to a checked answer of a language model. Knows no domain."""
