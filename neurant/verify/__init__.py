"""The verification, on any live database, that companies are isolated from each other."""
