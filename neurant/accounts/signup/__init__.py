"""Sign-up: the login is created after the person has proven to own the mailbox."""
