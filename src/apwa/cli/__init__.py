"""The command line: thin. It reads flags and settings, calls ``apwa.runs`` and prints.

stdout carries data or the final path only; words and progress go to stderr. Modules here import
what is heavy inside their functions, so that ``apwa --help`` is there at once.
"""

from apwa.cli.app import main

__all__ = ["main"]
