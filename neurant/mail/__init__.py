"""Mail: queued in the transaction that asks for it, rendered and sent by the worker."""
