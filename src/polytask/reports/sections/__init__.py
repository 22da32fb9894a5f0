"""The sections of a page. Each is left out where a folder does not hold what it shows."""
