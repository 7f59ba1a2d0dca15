"""Public pre-trained backbones, read into the networks of this project."""
