"""Images that do not belong here, or should not be here."""
