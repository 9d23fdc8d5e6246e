"""``python -m rbc_marl`` is the command ``rbc-marl``."""

from rbc_marl.cli import main

main()
