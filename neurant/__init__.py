"""NeurAnt: chatbots that answer from a company's own documents, with a human at hand."""

__version__ = "0.1.0"  # the only place of the version: pyproject.toml reads it here
