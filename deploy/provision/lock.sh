#!/usr/bin/env bash
# Resolve pyproject.toml afresh in an empty environment;
# write the chosen versions to requirements/constraints.txt.
set -euo pipefail
python=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$python" -m venv "$scratch/venv"
pip="$scratch/venv/bin/pip --disable-pip-version-check"
# torch first and pinned: another package's open range must not choose it
$pip install --quiet "$(grep -o 'torch==[0-9.]*' pyproject.toml | head -n 1)"
$pip install --quiet -e '.[plot,embedded,training,development]' -e 'clients/python[live,media]'

{
  echo "# Every package of the full environment, pinned. Written by 'make lock'; do not edit."
  {
    $pip freeze --exclude-editable | sed -E 's/\+cpu$//; s/\+cu[0-9]+$//'
    grep -o 'setuptools==[0-9.]*' pyproject.toml | head -n 1
  } | sort --ignore-case
} > requirements/constraints.txt
"$scratch/venv/bin/python" deploy/provision/hashes.py requirements/constraints.txt
echo "Wrote requirements/constraints.txt ($(grep -c == requirements/constraints.txt) packages)."
