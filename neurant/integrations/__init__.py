"""Integrations: external systems that a bot may query."""
