"""Entry point of `python -m service`: the command `circumplex`."""

from service.cli.main import app

app()
