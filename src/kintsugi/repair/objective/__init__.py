"""Objectives that repair: a loss that cares for the worst group, and its like."""
