"""Raw data sets, the tiny corpus that stands in for them, and the steps that curate them."""
