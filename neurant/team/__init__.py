"""The people of a company: who they are, what they may do, and who owns it."""
