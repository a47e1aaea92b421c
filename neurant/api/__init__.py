"""What every endpoint under ``/v1`` shares; docs/api.md tells how to write one."""
