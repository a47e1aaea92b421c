"""Daily statistics, computed by the worker from messages, conversations and takeovers."""
