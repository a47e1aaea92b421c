"""What becomes of old conversations, and of those who want to be forgotten."""
