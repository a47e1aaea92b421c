"""Other systems that a bot asks."""
