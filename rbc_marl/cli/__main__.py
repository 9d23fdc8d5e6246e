"""``python -m rbc_marl.cli`` is the command ``rbc-marl``."""

from rbc_marl.cli import main

main()
