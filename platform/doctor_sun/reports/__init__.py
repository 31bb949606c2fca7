"""HTML pages and plots that several parts share."""
