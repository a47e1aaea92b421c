"""One module for each measurement. Its function ``measure`` yields the figures."""
