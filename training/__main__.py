"""`python -m training export --preset mini`."""

from training.cli import app

app()
