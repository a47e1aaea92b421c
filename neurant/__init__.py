"""NeurAnt: chatbots that answer from a company's own documents, with a human at hand."""
