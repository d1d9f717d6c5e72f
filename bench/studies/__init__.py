"""Studies: commands that answer one question about quality each and write a JSON file; committed ones lie in `bench/results`.

Not part of `python -m bench`.
"""
