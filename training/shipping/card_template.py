"""The prose of a model card; its numbers are filled in from the run and its report."""

from __future__ import annotations

from typing import Final

CARD_TEMPLATE: Final = """\
# Model card: Circumplex `$preset`

Valence and arousal of one person, for every frame of a clip, from face and voice. **It learnt from
drawn faces and synthesised voices; it knows nothing of real people.** It is there so that the
default installation gives numbers that can be checked.

`python -m training ship` wrote this card; every figure is from `report.json` or the run itself.

## What it is

The network of [arXiv 2403.12425](https://arxiv.org/abs/2403.12425) in the small sizes of the preset
`$preset`: an IResNet with LA-SE for aligned faces, a VGGish for log-mel patches, and six folds,
each a TCN for either modality, a Transformer encoder and a head. The mean of the folds is the
estimate, their calibrated spread its standard deviation.

| | parameters |
|---|---|
$networks

float32 in safetensors, $bytes bytes beside this card. Every size is in `config.json`, `preset`.
This folder is a run without its scratch. From the project's folder:

    python -m training export --run $folder
    python -m training evaluate --run $folder --data DIR --split test

## What it learnt from

$world
Of $recordings recordings $training taught fold 0 and the backbones, $validation validated them,
$calibration were kept back from all learning. Who is in which fold: `config.json`, `plan`.

| part | epochs | best | CCC then, on its own validation |
|---|---|---|---|
$parts

Seed $seed. Learning took $hours hours, the epochs of all parts added up; folds may have learnt side
by side. Machine: $machine.

## How good it is

On the test set of that world: $scored frames of $subjects people that nothing had learnt from, been
chosen by or been calibrated on, all recordings one after the other. CCC:

| | valence | arousal | mean |
|---|---|---|---|
$figures

The 90 % interval holds $coverage. It was calibrated on $calibrated.
[What each number means](../../docs/decisions/0006-who-has-seen-whom.md). None of them can be
compared with a figure on Aff-Wild2.

$ablations

## What it is for, and what not

For trying the service, for checking that an installation computes what it should, and as a
yardstick for changes to the code.

**Not for real people.** A real face gets numbers too, and they mean nothing: base nothing on them.
Inferring emotions at work or in education is forbidden in the European Union (AI Act,
Art. 5(1)(f)), with these weights or with others.

## Limits and bias

- One programme draws the world. It has one way of smiling and one of raising the voice, with
  individual gains; people have many, and these differ between persons, cultures, ages and
  conditions. Nothing here measures how any group of real people fares.
- Skin, hair, age, spectacles and voices vary by dice, not as they do among people.
- One face, seen mostly from the front; one voice; no music, nobody else.
- The interval holds on average over such people, not for each of them.

## Licence

Apache-2.0, like the code. No recording of a person and no public weights went into it.

## Make it again

    make weights

goes through [the recipe](../../training/recipe.py): synthesise, train, ablations, other seeds,
evaluate, ship. The same machine, software and number of processes give the same bits; others round
differently.

## Files

| SHA-256 | file |
|---|---|
$files
"""
