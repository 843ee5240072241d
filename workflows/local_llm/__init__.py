"""The language model on this machine: its file and its server. Knows no AI block."""
