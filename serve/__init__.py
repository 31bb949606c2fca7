"""The Serve application's entry points; `serve` the command line tool is Ray's."""
