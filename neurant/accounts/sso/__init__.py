"""Single sign-on: the people of a company sign in with its own OpenID Connect provider."""

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

# Authlib warns at every start that it prefers the successor of httpx; the product uses httpx.
warnings.simplefilter("ignore", AuthlibDeprecationWarning)
