"""The web process: our ASGI application under uvicorn."""

from __future__ import annotations

import errno
import signal
import socket
from types import FrameType

from neurant.core import stopping
from neurant.core.errors import SetupError
from neurant.core.settings import Settings

_BACKLOG = 2048
_DRAIN_SECONDS = 5
_LAST_SECONDS = 12.0  # from the first signal to the end of the process, even if something hangs
_TAKEN = (errno.EADDRINUSE,)
_CLOSED = (errno.EACCES, errno.EPERM)


def open_listener(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen yet. Raises SetupError for an unusable address.

    The socket is bound before anything else starts, so that a port in use causes a one-line error
    instead of a traceback.
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
    """Serve until SIGTERM, SIGINT or SIGHUP; running requests get five seconds to finish.

    ``inherited``: file descriptor of a socket that the parent process keeps open, so that
    connections wait during a restart of the web process instead of being refused.
    """
    if inherited is None:
        listener = open_listener(settings.host, settings.port)
    else:
        listener = socket.socket(fileno=inherited)
    import uvicorn  # imported here, because a taken address is reported without it

    from neurant.core.db.pool import require_url
    from neurant.core.logs import configure_logging
    from neurant.runtime.startup import ready_to_start

    url = require_url(settings.app_database_url, "NEURANT_APP_DATABASE_URL")
    configure_logging(settings, "web")
    settings = ready_to_start(settings, url)
    from neurant.runtime.app import create_app
    from neurant.runtime.front import end_unread_connections, make_config

    end_unread_connections(listener)
    config = make_config(
        create_app(settings),
        settings,
        loop="uvloop",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = uvicorn.Server(config)
    note = server.handle_exit

    def ask(number: int, frame: FrameType | None) -> None:
        stopping.end_at_the_latest(_LAST_SECONDS)
        note(number, frame)

    # uvicorn installs the method of this name as the handler of SIGINT and SIGTERM.
    setattr(server, "handle_exit", ask)  # noqa: B010 - mypy forbids assigning to a method
    if signal.SIGHUP in stopping.stop_numbers():
        signal.signal(signal.SIGHUP, ask)
    server.run(sockets=[listener])
