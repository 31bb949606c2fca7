"""Serving: the Serve application around vLLM, starting and waiting for it, asking it."""
