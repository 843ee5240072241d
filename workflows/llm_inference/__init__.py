"""A decision framework, and whether the author of a bio would have survived."""
