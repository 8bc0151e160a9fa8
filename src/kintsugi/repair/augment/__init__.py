"""Augmentations: changed training batches."""
