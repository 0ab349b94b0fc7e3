"""Commands of the end of day and of statements."""
