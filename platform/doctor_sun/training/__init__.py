"""Training: stage presets, batches, the DeepSpeed engine, the loop, and what it leaves behind."""
