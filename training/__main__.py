"""Entry point of `python -m training`; `synthesise` runs without importing torch."""

import sys

if sys.argv[1:2] == ["synthesise"]:
    from training.synthetic.command import app
else:
    from training.cli import app

app()
