"""What stands between a request and the engine: every check names the limit, never the input."""
