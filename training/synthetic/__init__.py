"""A drawn face and a synthesised voice whose valence and arousal are known; free of torch."""
