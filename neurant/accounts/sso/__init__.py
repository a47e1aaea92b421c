"""Single sign-on: a company's people come in through its own OpenID Connect provider."""

import warnings

from authlib.deprecate import AuthlibDeprecationWarning

# It would rather have httpx's successor, and says so on every start; httpx is the client we have.
warnings.simplefilter("ignore", AuthlibDeprecationWarning)
