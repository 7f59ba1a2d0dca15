"""Linear heads: valence and arousal of an estimator's own features, fitted to rated recordings."""
