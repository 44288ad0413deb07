"""One broker, spoken to in raw frames: sends trees of any shape, right or wrong, and returns what
comes back as a tree, or as the word for what came instead of one."""

import socket
import struct

from conformance import schema

CLOSED, SILENT = "closed", "silent"
CLIENT_ID = b"conformance"
API_VERSIONS = 18


class Peer:
    """A broker and one connection to it, opened anew whenever the broker has closed it."""

    def __init__(self, name: str, address: str, patience_s: float = 4.0):
        self.name = name
        host, port = address.rsplit(":", 1)
        self.endpoint = host, int(port)
        self.patience_s = patience_s
        self.socket = None
        self.correlation = 0

    def served(self) -> dict[int, tuple[int, int]]:
        """API keys and their versions, as the broker advertises them."""
        answer = self.ask("ApiVersions", 0, {})
        return {one["ApiKey"]: (one["MinVersion"], one["MaxVersion"])
                for one in answer["ApiKeys"]}

    def ask(self, api: str, version: int, tree: dict, extra_tag: bytes | None = None):
        request, _ = schema.named(api)
        return self.send(api, version, request.encode(tree, version, extra_tag))

    def send(self, api: str, version: int, body: bytes):
        """The answer as a tree, or what there is instead of one."""
        request, response = schema.named(api)
        flexible = version in request.flexible
        self.correlation += 1
        head = struct.pack(">hhih", request.key, version, self.correlation, len(CLIENT_ID))
        frame = head + CLIENT_ID + (b"\0" if flexible else b"") + body
        answer = self._exchange(struct.pack(">i", len(frame)) + frame)
        if isinstance(answer, str):
            return answer
        if struct.unpack(">i", answer[:4])[0] != self.correlation:
            self._hang_up()
            return "an answer to another request"
        body = answer[4:]
        if flexible and request.key != API_VERSIONS:
            body = body[1:]
        return decode(response, body, version)

    def _exchange(self, frame: bytes):
        if self.socket is None:
            self.socket = socket.create_connection(self.endpoint, self.patience_s)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.sendall(frame)
            size, = struct.unpack(">i", self._exactly(4))
            return self._exactly(size)
        except TimeoutError:
            self._hang_up()
            return SILENT
        except (ConnectionError, EOFError):
            self._hang_up()
            return CLOSED

    def _exactly(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            chunk = self.socket.recv(length - len(data))
            if not chunk:
                raise EOFError
            data += chunk
        return bytes(data)

    def _hang_up(self) -> None:
        self.socket.close()
        self.socket = None


def decode(response: schema.Schema, body: bytes, version: int):
    try:
        return response.decode(body, version)
    except schema.Malformed as malformed:
        # A broker that does not know an ApiVersions version answers in version 0.
        if response.key == API_VERSIONS and version > 0:
            return {"answered in version 0": decode(response, body, 0)}
        return f"unreadable: {malformed}"
