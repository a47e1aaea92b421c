"""Changes of a person's own account: profile, password, sessions, second step."""
