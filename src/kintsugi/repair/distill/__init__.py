"""Distillation: a student that learns from teachers."""
