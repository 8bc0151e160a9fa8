"""Shared maths by subject."""
