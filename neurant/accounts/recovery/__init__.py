"""Recovery of a forgotten password by a mailed link that works once."""
