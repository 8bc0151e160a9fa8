"""Runs and findings as one self-contained page, JSON and Parquet."""
