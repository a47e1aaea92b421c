"""The parts that all endpoints under ``/v1`` share; docs/api.md shows how to write an endpoint."""
