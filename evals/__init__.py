"""How well a language model does in the AI blocks."""
