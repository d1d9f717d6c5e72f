"""What the command line does, one command per file: each takes parsed arguments and returns what to print and the exit status."""
