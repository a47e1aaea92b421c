"""The web process: our ASGI application under uvicorn."""

from __future__ import annotations

import errno
import socket

from neurant.errors import SetupError
from neurant.settings import Settings

_BACKLOG = 2048
_DRAIN_SECONDS = 5
_TAKEN = (errno.EADDRINUSE,)
_CLOSED = (errno.EACCES, errno.EPERM)


def open_listener(host: str, port: int) -> socket.socket:
    """A bound socket, not listening yet. Raises SetupError naming what is wrong with the address.

    Bound before anything else starts, so that a port in use is one line and not a traceback.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (socket.gaierror, UnicodeError) as error:
        raise SetupError("setup.bad_host", host=host) from error
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno in _TAKEN:
            raise SetupError("setup.port_in_use", port=port, other=port + 1) from error
        if error.errno in _CLOSED:
            raise SetupError("setup.port_forbidden", port=port) from error
        raise SetupError("setup.bad_host", host=host) from error
    return listener


def serve(settings: Settings, inherited: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way get five seconds to finish.

    ``inherited`` is the number of a listening socket that our parent keeps open, so that
    connections wait for a new web process instead of being refused while the old one is gone.
    """
    if inherited is None:
        listener = open_listener(settings.host, settings.port)
    else:
        listener = socket.socket(fileno=inherited)
    import uvicorn  # not needed to find that the address is taken

    from neurant.database.pool import require_url
    from neurant.logs import configure_logging
    from neurant.startup import ready_to_start

    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    configure_logging(settings, "web")
    settings = ready_to_start(settings, url)
    from neurant.app import create_app  # large, and not needed to find that something is wrong
    from neurant.front import end_unread_connections, make_config

    end_unread_connections(listener)
    config = make_config(
        create_app(settings),
        settings,
        loop="uvloop",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listener])
