"""Mage's own command line, with the libraries of the blocks loaded before it forks.

Run as `python -m stack.mage start …`.
"""

from mage_ai.cli.main import app

from workflows.preload import preload

if __name__ == "__main__":
    preload()
    app()
