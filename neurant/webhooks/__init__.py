"""Webhook endpoints: addresses of external systems that receive a company's events."""
