"""Mail: queued in the transaction that requests it, rendered and sent by the worker."""
