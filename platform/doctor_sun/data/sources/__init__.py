"""The data sets of the tiny corpus, one a file."""
