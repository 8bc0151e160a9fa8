"""Samplers that repair: who is seen how often."""
