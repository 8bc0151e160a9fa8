"""Shared maths by subject: statistics, neighbours, spectrum, transport."""
