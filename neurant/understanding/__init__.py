"""Understanding a turn of an end user: its class, its questions, and what it refers to."""
