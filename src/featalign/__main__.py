"""``python -m featalign``."""

from featalign.cli import main

main()
