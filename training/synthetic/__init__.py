"""Synthetic world: drawn faces and synthesised voices with known valence and arousal; no torch."""
