"""``python -m featalign.cli``: the command line, as torchrun starts it."""

from featalign.cli import main

main()
