"""Doctor Sun on Ray: the library behind the jobs in `jobs/`, the endpoint in `serve/`."""
