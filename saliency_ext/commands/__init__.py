"""Commands of the command line, one per file: from parsed arguments to the text to print and the exit status."""
