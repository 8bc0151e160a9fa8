"""Planted cues a model must not lean on."""
