"""`python -m service` is `circumplex`."""

from service.cli.main import app

app()
