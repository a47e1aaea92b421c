"""Figures of each day, counted by the worker from what happened."""
