"""Reserves a port before a compilation, so that a taken port is reported at once."""

import socket

from netzoo.errors import UserError


def bind(host: str, port: int) -> socket.socket:
    """Reserve a port, without accepting connections yet; port 0 takes a free one.

    Raises:
      UserError: The address is not one of this machine, or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            *(host, port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            opened.bind(address)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        raise UserError(
            f"cannot open port {port} of {host}: {error.strerror}; choose another with --port, "
            "or 0 for a free one"
        ) from None
    return opened


def url_of(opened: socket.socket) -> str:
    """Return the address of a bound socket as a URL."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
