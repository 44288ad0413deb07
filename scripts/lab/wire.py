"""Kafka frames made by hand, right and wrong, over a plain socket: for what no client would send.

Old, inflexible versions only, because a person can check their bytes against the schemas."""

import socket
import struct
from dataclasses import dataclass, replace

import crc32c

PRODUCE, FETCH, LIST_OFFSETS, METADATA, API_VERSIONS = 0, 1, 2, 3, 18
DELETE_RECORDS = 21

NONE = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
MESSAGE_TOO_LARGE = 10
INVALID_TOPIC = 17
RECORD_LIST_TOO_LARGE = 18
INVALID_REQUIRED_ACKS = 21
INVALID_TIMESTAMP = 32
UNSUPPORTED_VERSION = 35
POLICY_VIOLATION = 44
OUT_OF_ORDER_SEQUENCE = 45
INVALID_PRODUCER_EPOCH = 47
FETCH_SESSION_ID_NOT_FOUND = 70
INVALID_FETCH_SESSION_EPOCH = 71
UNSUPPORTED_COMPRESSION_TYPE = 76
INVALID_RECORD = 87

ZSTD = 4
CONTROL = 0x20


class Closed(Exception):
    """The broker has closed the connection."""


def string(text: str | None) -> bytes:
    if text is None:
        return struct.pack(">h", -1)
    return struct.pack(">h", len(text)) + text.encode()


def array(items: list[bytes]) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)


def varint(value: int) -> bytes:
    """Zigzag, seven bits a byte, the lowest first."""
    left = (value << 1) ^ (value >> 63)
    out = bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    out.append(left)
    return bytes(out)


@dataclass(frozen=True)
class Produced:
    """One partition's answer to Produce."""

    error: int
    offset: int
    append_time: int
    log_start: int
    record_errors: tuple
    message: str | None


@dataclass(frozen=True)
class Batch:
    """A v2 record batch; every field can be made to lie."""

    values: tuple = (b"value",)
    key: bytes | None = None
    timestamp: int = 1_700_000_000_000
    max_timestamp: int | None = None
    attributes: int = 0
    magic: int = 2
    producer_id: int = -1
    producer_epoch: int = -1
    sequence: int = -1
    last_offset_delta: int | None = None
    count: int | None = None
    crc: int | None = None
    length_error: int = 0

    def but(self, **lies) -> "Batch":
        return replace(self, **lies)

    def encode(self) -> bytes:
        records = b"".join(map(self._record, range(len(self.values)), self.values))
        count = len(self.values) if self.count is None else self.count
        last = count - 1 if self.last_offset_delta is None else self.last_offset_delta
        latest = self.timestamp if self.max_timestamp is None else self.max_timestamp
        checked = struct.pack(">hiqqqhii", self.attributes, last, self.timestamp, latest,
                              self.producer_id, self.producer_epoch, self.sequence, count)
        checked += records
        crc = crc32c.crc32c(checked) if self.crc is None else self.crc
        rest = struct.pack(">ibI", 0, self.magic, crc) + checked
        return struct.pack(">qi", 0, len(rest) + self.length_error) + rest

    def _record(self, offset_delta: int, value: bytes) -> bytes:
        key = varint(-1) if self.key is None else varint(len(self.key)) + self.key
        body = b"\0" + varint(0) + varint(offset_delta) + key
        body += varint(len(value)) + value + varint(0)
        return varint(len(body)) + body


def frame(key: int, version: int, body: bytes, correlation=1) -> bytes:
    request = struct.pack(">hhi", key, version, correlation) + string("raw") + body
    return struct.pack(">i", len(request)) + request


def produce_body(topic: str, records: bytes | None, *, acks=-1, partition=0) -> bytes:
    length = struct.pack(">i", -1 if records is None else len(records))
    entry = struct.pack(">i", partition) + length + (records or b"")
    return string(None) + struct.pack(">hi", acks, 10_000) + array([string(topic) + array([entry])])


def fetch_body(topic: str, offset=0, *, partitions=(0,), max_wait_ms=100, min_bytes=1,
               max_bytes=1 << 20, session=None) -> bytes:
    """Version 4; with `session=(id, epoch)` version 7."""
    head = struct.pack(">iiiib", -1, max_wait_ms, min_bytes, max_bytes, 0)
    if session is None:
        entries = [struct.pack(">iqi", index, offset, max_bytes) for index in partitions]
        return head + array([string(topic) + array(entries)])
    entries = [struct.pack(">iqqi", index, offset, -1, max_bytes) for index in partitions]
    topics = [string(topic) + array(entries)] if entries else []
    return head + struct.pack(">ii", *session) + array(topics) + array([])


class Reader:
    """Takes a response apart from its front."""

    def __init__(self, data: bytes):
        self.data = data

    def take(self, layout: str):
        size = struct.calcsize(">" + layout)
        fields, self.data = struct.unpack(">" + layout, self.data[:size]), self.data[size:]
        return fields if len(fields) > 1 else fields[0]

    def nullable_string(self) -> str | None:
        length = self.take("h")
        return None if length < 0 else self.bytes(length).decode()

    def string(self) -> str:
        return self.bytes(self.take("h")).decode()

    def bytes(self, length: int) -> bytes:
        taken, self.data = self.data[:max(length, 0)], self.data[max(length, 0):]
        return taken


class Connection:
    """One socket; requests may be sent ahead of their answers."""

    def __init__(self, endpoint: tuple[str, int], timeout_s=10):
        self.socket = socket.create_connection(endpoint, timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, key: int, version: int, body: bytes) -> int:
        self.correlation += 1
        self.socket.sendall(frame(key, version, body, self.correlation))
        return self.correlation

    def receive(self) -> tuple[int, Reader]:
        """The next answer: its correlation id and its body."""
        answer = self._exactly(struct.unpack(">i", self._exactly(4))[0])
        return struct.unpack(">i", answer[:4])[0], Reader(answer[4:])

    def call(self, key: int, version: int, body: bytes) -> Reader:
        sent = self.send(key, version, body)
        correlation, answer = self.receive()
        assert correlation == sent, f"answer to {correlation}, asked {sent}"
        return answer

    def _exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            try:
                chunk = self.socket.recv(length - len(data))
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise Closed(f"after {len(data)} of {length} bytes")
            data += chunk
        return data

    def is_closed_by_peer(self) -> bool:
        """Waits for the broker to close; what it still says is dropped."""
        try:
            while self.socket.recv(65_536):
                pass
            return True
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def api_versions(self) -> dict[int, tuple[int, int]]:
        answer = self.call(API_VERSIONS, 0, b"")
        error, count = answer.take("hi")
        assert error == NONE
        return {key: (low, high) for key, low, high in (answer.take("hhh") for _ in range(count))}

    def produce(self, topic: str, records: bytes | None, **how) -> tuple[int, int]:
        """Error and base offset."""
        return read_produced(self.call(PRODUCE, 3, produce_body(topic, records, **how)))

    def produced(self, topic: str, records: bytes | None, **how) -> Produced:
        """All that version 8 says."""
        answer = self.call(PRODUCE, 8, produce_body(topic, records, **how))
        answer.take("i")
        answer.string()
        _count, _partition, *said = answer.take("iihqqq")
        record_errors = tuple((answer.take("i"), answer.nullable_string())
                              for _ in range(answer.take("i")))
        return Produced(*said, record_errors, answer.nullable_string())

    def fetch(self, topic: str, offset=0, **how) -> list[tuple[int, int, bytes]]:
        """Error, high watermark and records of each partition."""
        return read_fetched(self.call(FETCH, 4, fetch_body(topic, offset, **how)))

    def fetch_session(self, topic: str, session, **how) -> tuple[int, int, list]:
        """Top-level error, session id, and the partitions as `fetch` gives them."""
        answer = self.call(FETCH, 7, fetch_body(topic, session=session, **how))
        _throttle, error, session_id = answer.take("ihi")
        return error, session_id, read_topics(answer, "hqqq")

    def offset_at(self, topic: str, timestamp: int) -> tuple[int, int, int]:
        """Error, timestamp and offset."""
        body = string(topic) + array([struct.pack(">iq", 0, timestamp)])
        answer = self.call(LIST_OFFSETS, 1, struct.pack(">i", -1) + array([body]))
        answer.take("i")
        answer.string()
        _count, _partition, error, found, offset = answer.take("iihqq")
        return error, found, offset

    def offset_and_epoch(self, topic: str, timestamp: int) -> tuple[int, int, int]:
        """Error, offset and its leader epoch."""
        body = string(topic) + array([struct.pack(">iiq", 0, -1, timestamp)])
        answer = self.call(LIST_OFFSETS, 4, struct.pack(">ib", -1, 0) + array([body]))
        answer.take("ii")
        answer.string()
        _count, _partition, error, _time, offset, epoch = answer.take("iihqqi")
        return error, offset, epoch

    def delete_records(self, topic: str, *before: tuple[int, int]) -> list[tuple[int, int, int]]:
        """Partition, low watermark and error of each; `before` are partitions and offsets."""
        body = string(topic) + array([struct.pack(">iq", *one) for one in before])
        answer = self.call(DELETE_RECORDS, 1, array([body]) + struct.pack(">i", 10_000))
        answer.take("ii")
        answer.string()
        return [answer.take("iqh") for _ in range(answer.take("i"))]

    def fetch_extent(self, topic: str, offset: int) -> tuple[int, int, int, bytes]:
        """Error, high watermark, log start offset and records."""
        head = struct.pack(">iiiib", -1, 0, 1, 1 << 20, 0)
        entry = struct.pack(">iqqi", 0, offset, -1, 1 << 20)
        answer = self.call(FETCH, 5, head + array([string(topic) + array([entry])]))
        answer.take("ii")
        answer.string()
        answer.take("ii")
        error, high_watermark, _stable, log_start = answer.take("hqqq")
        for _ in range(max(answer.take("i"), 0)):
            answer.take("qq")
        return error, high_watermark, log_start, answer.bytes(answer.take("i"))

    def wait_for_topic(self, topic: str) -> int:
        """Asks Metadata (which may create the topic); its error."""
        answer = self.call(METADATA, 1, array([string(topic)]))
        for _ in range(answer.take("i")):
            answer.take("i")
            answer.string()
            answer.take("i")
            answer.bytes(answer.take("h"))
        answer.take("ii")
        return answer.take("h")


def read_produced(answer: Reader) -> tuple[int, int]:
    answer.take("i")
    answer.string()
    _count, _partition, error, offset, _time = answer.take("iihqq")
    return error, offset


def read_fetched(answer: Reader) -> list[tuple[int, int, bytes]]:
    answer.take("i")
    return read_topics(answer, "hqq")


def read_topics(answer: Reader, layout: str) -> list[tuple[int, int, bytes]]:
    partitions = []
    for _ in range(answer.take("i")):
        answer.string()
        for _ in range(answer.take("i")):
            answer.take("i")
            error, high_watermark, *_ = answer.take(layout)
            for _ in range(max(answer.take("i"), 0)):
                answer.take("qq")
            partitions.append((error, high_watermark, answer.bytes(answer.take("i"))))
    return partitions
