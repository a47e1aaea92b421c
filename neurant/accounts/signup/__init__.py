"""Signing up: a mailbox is proven before the login is made."""
