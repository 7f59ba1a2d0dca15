"""`python -m service` is `circumplex`."""

from service.cli.main.main import app

app()
