"""`python -m compass.cli`."""

from compass.cli.app import main

main()
