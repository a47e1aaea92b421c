"""A forgotten password: a mailed link, once."""
