"""Benches of the kernels; `python -m bench` runs them, README.md states the rules."""
