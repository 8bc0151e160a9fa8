"""How people look at data, and what may be concluded from it."""
