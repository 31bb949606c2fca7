"""The tiny preset's corpus: packaged and rendered data sets with planted faults, in minutes."""
