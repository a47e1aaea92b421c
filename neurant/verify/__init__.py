"""Proof, on any live database, that companies are kept apart."""
