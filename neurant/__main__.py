"""``python -m neurant``: how the supervisor starts its children, whatever the PATH."""

from neurant.cli.main import main

main()
