"""The language model layer: prompt files, a client with limits, and answers grounded in computed facts."""
