# Copyright: (c) 2026, the flagship.coreos contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""TLS in front of the API: TCP sockets are served to clients with a certificate, and to nobody else.

waitress has no TLS, so connections are decrypted here and go on to a unix socket that only this user can reach.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from flagship.settings import FleetSettings, SettingsError

T = TypeVar("T")

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
LINGER_TIMEOUT = 2.0
_CHUNK = 65536


def split_sockets(sockets: Sequence[socket.socket]) -> tuple[list[socket.socket], list[socket.socket]]:
    """The sockets of this machine only, and those that the network may reach."""
    local = [sock for sock in sockets if sock.family == socket.AF_UNIX]
    return local, [sock for sock in sockets if sock.family != socket.AF_UNIX]


def server_context(fleet: FleetSettings) -> ssl.SSLContext:
    """TLS as the `api_` settings say, a client certificate required; raises SettingsError."""
    if not fleet.api_cert:
        raise SettingsError(
            "a TCP socket was passed but the API has no certificate: set fleet api_cert, api_key and api_client_ca, "
            "or remove the socket unit that listens on TCP."
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(fleet.api_cert, fleet.api_key)
    except OSError as error:
        raise SettingsError(
            f"fleet api_cert {fleet.api_cert} with api_key {fleet.api_key} cannot be used: {error}."
        ) from None
    try:
        context.load_verify_locations(cafile=fleet.api_client_ca)
    except OSError as error:
        raise SettingsError(f"fleet api_client_ca {fleet.api_client_ca} cannot be used: {error}.") from None
    return context


def common_name(certificate: Mapping[str, Any] | None) -> str:
    """Who a certificate, as ssl.SSLSocket.getpeercert describes it, is for; "" where it does not say."""
    subject = (certificate or {}).get("subject", ())
    return next((value for part in subject for name, value in part if name == "commonName"), "")


def refusal(name: str, names: Sequence[str]) -> bytes:
    """The answer to a client whose certificate is good, but for somebody else than `names`; b"" to one of them."""
    if not names or name in names:
        return b""
    message = f"the certificate of {name or 'nobody'} does not open the fleet API: show that of {' or '.join(names)}"
    body = json.dumps({"error": {"code": 403, "message": message}}).encode()
    head = ("HTTP/1.1 403 Forbidden", "Content-Type: application/json", f"Content-Length: {len(body)}")
    return "\r\n".join((*head, "Connection: close", "", "")).encode() + body


class TlsListener:
    """Accepts TLS on *sockets* in a thread of its own, and connects each client to `inner`, for a server to serve.

    Raises SettingsError as server_context.
    """

    def __init__(self, fleet: FleetSettings, sockets: Sequence[socket.socket]) -> None:
        self._fleet = fleet
        self._context = server_context(fleet)
        self._sockets = sockets
        self._path = Path(fleet.units_directory).parent / "api.sock"
        self.inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # A process that was killed has left it.
        self._path.unlink(missing_ok=True)
        self.inner.bind(str(self._path))
        # Whoever connects needs no certificate, so nobody else may; before it listens nobody can.
        self._path.chmod(0o600)
        self.inner.listen()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="tls", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and all connections; `inner` is left to its server."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(5.0)
        self._path.unlink(missing_ok=True)

    def renew(self) -> None:
        """Show new clients what the certificate's files hold now; raises SettingsError and changes nothing."""
        server_context(self._fleet)
        self._context.load_cert_chain(self._fleet.api_cert, self._fleet.api_key)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        servers = [await asyncio.start_server(self._admit, sock=sock) for sock in self._sockets]
        await self._stop.wait()
        for server in servers:
            server.close()
        relays = asyncio.all_tasks() - {asyncio.current_task()}
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = Encrypted(self._context, reader, writer)
        try:
            certificate = await asyncio.wait_for(client.handshake(), HANDSHAKE_TIMEOUT)
            answer = refusal(common_name(certificate), self._fleet.api_client_names)
            if answer:
                await asyncio.wait_for(client.read(_CHUNK), HANDSHAKE_TIMEOUT)
                client.write(answer)
                await client.drain()
                await client.linger()
            else:
                await self._relay(client)
        except (OSError, EOFError, asyncio.TimeoutError) as error:
            log.info("%s is not let to the API: %s.", client.name, _reason(error))
            await client.linger()
        finally:
            client.close()

    async def _relay(self, client: Encrypted) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._path))
        except OSError as error:
            log.warning("A client of the API was turned away: %s", error)
            return
        ways = {asyncio.ensure_future(way) for way in (_copy(client, inner_writer), _copy(inner_reader, client))}
        try:
            # The server closes connections that are idle or answered, which ends both ways.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            inner_writer.close()


class Encrypted:
    """A client's connection, read and written in clear.

    asyncio's own TLS ends a connection without the alert that tells the client what is wrong with its certificate.
    """

    def __init__(self, context: ssl.SSLContext, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._sent, server_side=True)
        self.name = str((writer.get_extra_info("peername") or ("a client",))[0])

    async def handshake(self) -> Mapping[str, Any] | None:
        """The client's certificate; raises ssl.SSLError for one that will not do, after the client was told."""
        await self._drive(self._tls.do_handshake)
        return self._tls.getpeercert()

    async def read(self, size: int) -> bytes:
        """Some bytes, none at the end; raises OSError."""
        try:
            return await self._drive(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def write(self, data: bytes) -> None:
        self._tls.write(data)
        self._writer.write(self._sent.read())

    async def drain(self) -> None:
        await self._writer.drain()

    async def linger(self) -> None:
        """Take what the client still sends, for a connection that ends before all is read loses what was written."""
        with suppress(OSError, asyncio.TimeoutError):
            self._writer.write_eof()
            await asyncio.wait_for(self._reader.read(), LINGER_TIMEOUT)

    def close(self) -> None:
        with suppress(OSError):
            # Sends the client the end of TLS, and does not wait for its.
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._writer.write(self._sent.read())
            self._writer.close()

    async def _drive(self, step: Callable[[], T]) -> T:
        """The result of a *step* of TLS, once all is there that it wants to read; what it says is sent in any case."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                self._writer.write(self._sent.read())
                await self._writer.drain()
                data = await self._reader.read(_CHUNK)
                self._received.write(data) if data else self._received.write_eof()
            finally:
                self._writer.write(self._sent.read())


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate does not do ({error.verify_message})"
    return getattr(error, "reason", None) or str(error) or "it said nothing"


async def _copy(reader: Encrypted | asyncio.StreamReader, writer: Encrypted | asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK):
            writer.write(chunk)
            await writer.drain()
    except OSError as error:
        log.debug("A connection to the API was lost: %s", error)
