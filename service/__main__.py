"""`python -m service` is `circumplex`."""

from service.cli import app

app()
