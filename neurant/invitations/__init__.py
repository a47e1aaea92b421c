"""Invitations, by which people join a company's team."""
