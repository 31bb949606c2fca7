"""Translation of curated samples, English to Chinese: ask a model, check, judge, review."""
