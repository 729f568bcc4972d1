"""khulasa.cli: the command line. Parses, calls, prints."""
