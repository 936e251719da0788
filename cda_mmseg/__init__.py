"""Unsupervised domain adaptation for MMSegmentation 1.x."""
