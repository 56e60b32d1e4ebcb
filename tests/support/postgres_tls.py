"""TLS in front of a Postgres that has none, as a sidecar gives it: certificates on both sides, nothing in the clear.

It answers libpq's request for TLS (PostgreSQL documentation, "SSL Session Encryption"), and passes on what is inside.
"""

import socket
import ssl
import struct
import threading
from contextlib import suppress
from pathlib import Path

from tests.support.secured_kafka import Authority

_REQUEST = struct.pack("!ii", 8, 80877103)


class TlsFront:
    """Listens on 127.0.0.1 until `stop`. With `clients` it lets in only who has a certificate of that authority."""

    def __init__(self, server: tuple[str, int], authority: Authority, *, clients: bool = True, host: str = "x") -> None:
        self._server = server
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate, key = authority.issue(host)
        self._context.load_cert_chain(certificate, key)
        if clients:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(authority.file)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        """Take nobody in any more."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            if plain.recv(8, socket.MSG_WAITALL) != _REQUEST:
                return  # in the clear: not here
            plain.sendall(b"S")
            with (
                self._context.wrap_socket(plain, server_side=True) as outside,
                socket.create_connection(self._server) as inside,
            ):
                back = threading.Thread(target=_pass, args=(inside, outside), daemon=True)
                back.start()
                _pass(outside, inside)
                back.join(5)


def _pass(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65_536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def private(path: Path) -> str:
    """Return the path of a key that only its owner may read, as libpq asks for."""
    path.chmod(0o600)
    return str(path)
