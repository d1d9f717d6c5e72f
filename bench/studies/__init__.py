"""Studies: commands that answer one question about quality, with a committed JSON each. Not part of `python -m bench`."""
"""Studies: questions about methods that a command answers, with the answer as a file."""
