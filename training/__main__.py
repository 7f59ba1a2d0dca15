"""`python -m training export --preset mini`; the synthetic world does not wait for torch."""

import sys

if sys.argv[1:2] == ["synthesise"]:
    from training.synthetic.command import app
else:
    from training.cli import app

app()
