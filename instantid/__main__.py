"""`python -m instantid`."""

from .cli import main

main()
