"""Retention: archiving of old conversations and erasure of personal data."""
