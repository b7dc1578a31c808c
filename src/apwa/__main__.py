"""``python -m apwa`` is the command line."""

from apwa.cli import main

main()
