"""`python -m dizuo`: the same as the command `dizuo`."""

from dizuo.cli.main import main

main()
