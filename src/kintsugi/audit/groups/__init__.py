"""Groups that miss, differ in size, or fare worse."""
