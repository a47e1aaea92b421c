"""What a person changes of their own account: profile, password, sessions, second step."""
