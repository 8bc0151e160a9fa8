"""Controlled sets made of real images, with cracks whose place is known."""
