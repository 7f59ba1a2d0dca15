"""Template of the model card; its numbers come from the run and its report."""

from __future__ import annotations

from typing import Final

CARD_TEMPLATE: Final = """\
# Model card: Circumplex `$preset`

Valence and arousal of one person, for every frame of a clip, from face and voice. **It was trained
on drawn faces and synthesised voices, not on real people.** Its purpose is that the default
installation gives numbers that can be checked.

This card is written by `python -m training ship`; every number is from `report.json` or the run.

## Model
The network of [arXiv 2403.12425](https://arxiv.org/abs/2403.12425) in the small sizes of the preset
`$preset`: an IResNet with LA-SE for aligned faces, a VGGish for log-mel patches, and six folds,
each a TCN for either modality, a Transformer encoder and a head. The mean of the folds is the
estimate. Its standard deviation follows from the folds' disagreement, the time since the face was
seen, the face's size and score, the time since a voice was heard, and the estimate
([how](../../docs/explanation/method.md#standard-deviation)).

| | parameters |
|---|---|
$networks

float32 in safetensors, $bytes bytes in this folder. All sizes are in `config.json`, key `preset`.
This folder is a run without checkpoints and caches. From the project's folder:

    python -m training export --run $folder
    python -m training evaluate --run $folder --data DIR --split test

## Training data

$world
Of $recordings recordings $training train fold 0 and the backbones, $validation validate them,
$calibration are held out from all training. `config.json` has the folds, under the key `plan`.

| part | epochs | best epoch | CCC on its validation data |
|---|---|---|---|
$parts

Seed $seed. Training took $hours hours, summed over all parts; folds may have been trained in
parallel. Machine: $machine.

## Evaluation

On the test set of the same world: $scored frames of $subjects actors that were used neither for
training, model selection nor calibration, all recordings concatenated. CCC:

| | valence | arousal | mean |
|---|---|---|---|
$figures

$people

The 90 % interval contains $coverage of the truth. It was calibrated on $calibrated.
$uncertainty

[Definition of each number](../../docs/decisions/0006-held-out-data.md). None of them is
comparable with results on Aff-Wild2.

$ablations

## Intended use

Trying the service, checking that an installation computes correctly, and measuring the effect of
changes to the code.

**Not for real people.** A real face gets numbers too, and they are meaningless: base no decision on
them. Inferring emotions at work or in education is forbidden in the European Union (AI Act,
Art. 5(1)(f)), with these weights or with others.

## Limits and bias

- The world is drawn by one program. It has one way of smiling and one of raising the voice, with
  individual gains; people have many, which differ between persons, cultures, ages and conditions.
  The accuracy for any group of real people has not been measured.
- Skin, hair, age, spectacles and voices vary at random, not as in a population.
- One face, mostly frontal; one voice; no music, no other people.
- The interval holds on average over such actors, not for each of them; nor does the accuracy.

## Licence

Apache-2.0, like the code. No recordings of people and no public weights were used.

## Reproduction

    make weights

runs [the recipe](../../training/recipe.py): synthesise, train, ablations, other seeds, evaluate,
ship. The same machine, software and number of processes give identical bits; others round
differently.

## Files

| SHA-256 | file |
|---|---|
$files
"""
