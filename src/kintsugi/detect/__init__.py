"""Scores for images never seen."""
