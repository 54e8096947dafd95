"""One module a system out there."""
