"""The tests, imported from the one root ``tests`` (the project's folder is on the path)."""
