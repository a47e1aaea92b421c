"""Measurements of the figures that the project claims. ``bench/README.md`` describes each one."""
