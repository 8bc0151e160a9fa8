"""Groups that are rare, missing or tied to the class."""
