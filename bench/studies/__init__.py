"""Studies: commands that answer one question about quality, with a committed JSON each. Not part of `python -m bench`."""
