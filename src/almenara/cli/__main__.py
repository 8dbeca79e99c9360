"""`python -m almenara.cli`: the program `almenara` where its script is not on the path."""

from almenara.cli import main

main()
