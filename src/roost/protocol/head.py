"""Heads of HTTP/1.x messages: strict for clients, tolerant of engines only where it cannot hurt.

One regular expression proves the whole form of a head (tokens, no bare LF, no NUL, no folded line, no blank
before a colon), a second takes it apart; what is not exactly right is refused, never repaired, because a
proxy and an engine that read one head differently is how requests get smuggled.
Pure. Called by `proxy/session.py` and `proxy/relay.py`; fuzzed against httptools in tests/property.
"""

import re

from roost.protocol.headers import CONNECTION_OPTIONS, Special, special_kind

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = rb"((?:" + _TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+)"
_REQUEST = re.compile(rb"(" + _TOKEN + rb") ([\x21\x22\x24-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS)
_RESPONSE = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELDS)
_FIELD = re.compile(rb"(([^:\r]++):[ \t]*+([^\r]*+))\r\n")
_LENGTH_LINE = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,15})\r\n")
_BARE_LF = re.compile(rb"(?<!\r)\n")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?].*)?", re.IGNORECASE)
MAX_LENGTH_DIGITS = 15  # a petabyte: more digits can only be an attack on somebody's integer


class BadHead(Exception):
    """A head that must be refused and its connection closed. `status` is 400, 431, 501 or 505."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class RequestHead:
    """A client's head, taken apart. `forward` are the lines that may go on to the engine as they came."""

    __slots__ = (
        "api_key",
        "chunked",
        "close",
        "content_type",
        "dropped",
        "expect_continue",
        "fields",
        "forward",
        "host",
        "keep_alive",
        "length",
        "method",
        "minor",
        "next_models",
        "origin",
        "read_timeout",
        "request_id",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = 0
        self.forward: list[bytes] = []
        self.host: bytes | None = None
        self.length: int | None = None
        self.chunked = False
        self.close = False
        self.keep_alive = False
        self.dropped: tuple[bytes, ...] = ()
        self.upgrade: bytes | None = None
        self.expect_continue = False
        self.api_key: bytes | None = None
        self.content_type = b""
        self.origin: bytes | None = None
        self.request_id: bytes | None = None
        self.read_timeout: bytes | None = None
        self.next_models = b""

    @property
    def persistent(self) -> bool:
        """Whether the client lets the connection live on (RFC 9112 §9.3)."""
        return not self.close and (self.minor == 1 or self.keep_alive)


def parse_request_head(data: bytes, max_fields: int) -> RequestHead:
    """The head in `data` (request line to the last field's CRLF, without the empty line). Raises BadHead."""
    match = _REQUEST.fullmatch(data)
    if match is None:
        raise _diagnose(data)
    method, target, minor, block = match.groups()
    head = RequestHead(method, target, 1 if minor == b"1" else 0)
    fields = _FIELD.findall(block)
    if len(fields) > max_fields:
        raise BadHead(f"{len(fields)} header fields; at most {max_fields} are taken", 431)
    head.fields = len(fields)
    forward = head.forward
    for line, name, value in fields:
        kind = special_kind(name.lower())
        if kind is None:
            forward.append(line)
        else:
            _note(head, kind, line, value)
    _check(head)
    return head


def _note(head: RequestHead, kind: Special, line: bytes, value: bytes) -> None:  # one branch per special field
    if kind is Special.CONTENT_TYPE:
        head.content_type = value.rstrip()
        head.forward.append(line)
    elif kind is Special.LENGTH:  # framing fields are taken to the letter, not even trailing blanks are forgiven
        if head.length is not None:
            raise BadHead("Content-Length stands twice")
        head.length = content_length(value)
    elif kind is Special.HOST:
        if head.host is not None:
            raise BadHead("Host stands twice")
        head.host = value.rstrip()
    elif kind is Special.CODING:
        if head.chunked or value.lower() != b"chunked":
            raise BadHead("the only Transfer-Encoding taken is exactly 'chunked', once", 501)
        head.chunked = True
    elif kind is Special.CONNECTION:
        _connection(head, value)
    elif kind is Special.KEY:
        head.api_key = head.api_key or _key(value.rstrip())
    elif kind is Special.EXPECT:
        if value.rstrip().lower() != b"100-continue":
            raise BadHead("the only expectation taken is 100-continue", 417)
        head.expect_continue = True
    elif kind is Special.UPGRADE:
        head.upgrade = value.rstrip()
    elif kind is Special.ORIGIN:
        head.origin = value.rstrip()
    elif kind is Special.REQUEST_ID:
        head.request_id = value.rstrip()
    elif kind is Special.READ_TIMEOUT:
        head.read_timeout = value.rstrip()
        head.forward.append(line)
    elif kind is Special.NEXT:
        head.next_models += b"," + value


def _connection(head: RequestHead, value: bytes) -> None:
    options = [option.strip().lower() for option in value.split(b",")]
    head.close = head.close or b"close" in options
    head.keep_alive = head.keep_alive or b"keep-alive" in options
    named = tuple(option for option in options if option and option not in CONNECTION_OPTIONS)
    if named:
        head.dropped += named


def _key(value: bytes) -> bytes | None:
    scheme, _, rest = value.partition(b" ")
    if scheme.lower() == b"bearer":
        return rest.strip() or None
    if scheme.lower() == b"basic":
        return _basic_password(rest.strip())
    return value or None


def _basic_password(encoded: bytes) -> bytes | None:
    import binascii

    try:
        _, _, password = binascii.a2b_base64(encoded, strict_mode=True).partition(b":")
    except binascii.Error:
        return None
    return password or None


def _check(head: RequestHead) -> None:
    if head.chunked:
        if head.length is not None:
            raise BadHead("both Content-Length and Transfer-Encoding")
        if head.minor == 0:
            raise BadHead("Transfer-Encoding in HTTP/1.0")
    if head.host is None and head.minor == 1:
        raise BadHead("no Host field")
    if head.upgrade is not None and (head.minor == 0 or head.upgrade.lower() != b"websocket"):
        head.upgrade = None  # a tunnel of h2c would carry requests past all that is checked here
    if head.dropped:
        names = tuple(name + b":" for name in head.dropped)
        head.forward = [line for line in head.forward if not line.lower().startswith(names)]
    if not head.target.startswith(b"/"):
        _absolute_form(head)


def _absolute_form(head: RequestHead) -> None:
    """`GET http://host/path`: servers must take it (RFC 9112 §3.2.2); its authority counts as the Host."""
    match = _ABSOLUTE.fullmatch(head.target)
    if match is None:
        if head.method == b"OPTIONS" and head.target == b"*":
            return
        raise BadHead("the request target must start with '/'")
    head.host = match.group(1)
    rest = match.group(2) or b"/"
    head.target = rest if rest.startswith(b"/") else b"/" + rest


def _diagnose(data: bytes) -> BadHead:
    """Why the form did not match, as far as a sentence helps."""
    line, _, rest = data.partition(b"\r\n")
    parts = line.split(b" ")
    if len(parts) == 3 and re.fullmatch(rb"HTTP/\d+(\.\d+)?", parts[2]) and not parts[2].startswith(b"HTTP/1."):
        return BadHead("only HTTP/1.0 and HTTP/1.1 are spoken here", 505)
    if b"#" in line:  # engines drop what follows it: the path they serve would not be the one looked at here
        return BadHead("a request target with a fragment ('#')")
    if _BARE_LF.search(data):
        return BadHead("a line that ends in LF without CR")
    if b"\r\n " in data or b"\r\n\t" in data:
        return BadHead("a folded header line")
    if re.search(rb"^[^:\r\n]*[ \t]:", rest, re.MULTILINE):
        return BadHead("a blank before the colon of a header field")
    return BadHead("a malformed request head")


def split_at_length(data: bytes, end: int) -> tuple[bytes, bytes, bytes] | None:
    """(before, digits, after) around the Content-Length of the head `data[:end]` (with its last field's CRLF).

    Two heads with the same `before` and `after` differ in nothing but that number, so that what was proven of one
    holds for the other: the next request of a kept connection need not be parsed anew. None if there is no such
    line in its usual spelling.
    """
    match = _LENGTH_LINE.search(data, 0, end)
    if match is None:
        return None
    start, stop = match.span(1)
    return data[:start], match[1], data[stop:end]


def has_bare_lf(data: bytes) -> bool:
    """True if a head that is still incomplete can never become a right one."""
    return _BARE_LF.search(data) is not None


def content_length(value: bytes) -> int:
    """The number of a Content-Length field. Raises BadHead for anything but plain digits."""
    if not value.isdigit() or len(value) > MAX_LENGTH_DIGITS:
        raise BadHead(f"Content-Length must be plain digits, at most {MAX_LENGTH_DIGITS}")
    return int(value)


class ResponseHead:
    """An engine's head. `lines` are the status line and the end-to-end fields, as they came."""

    __slots__ = (
        "chunked",
        "close",
        "event_stream",
        "has_request_id",
        "idle_timeout",
        "length",
        "lines",
        "minor",
        "status",
    )

    def __init__(self, minor: int, status: int) -> None:
        self.minor = minor
        self.status = status
        self.lines: list[bytes] = []
        self.length: int | None = None
        self.chunked = False
        self.close = minor == 0
        self.event_stream = False
        self.has_request_id = False
        self.idle_timeout: float | None = None


def parse_response_head(data: bytes) -> ResponseHead:
    """The head in `data` (status line to the last field's CRLF). Raises BadHead if it cannot be trusted."""
    match = _RESPONSE.fullmatch(data)
    if match is None:
        raise BadHead("a malformed response head", 502)
    head = ResponseHead(1 if match.group(1) == b"1" else 0, int(match.group(2)))
    lines = head.lines
    lines.append(data[: data.find(b"\r\n")])
    for line, name, value in _FIELD.findall(match.group(3)):
        kind = special_kind(name.lower())
        if kind is None or kind is Special.KEY:
            lines.append(line)
        else:
            _note_response(head, kind, line, value.rstrip(b" \t"))
    if head.chunked and head.length is not None:
        raise BadHead("a response with both Content-Length and Transfer-Encoding", 502)
    return head


def _note_response(head: ResponseHead, kind: Special, line: bytes, value: bytes) -> None:
    if kind is Special.CONTENT_TYPE:
        head.event_stream = value[:17].lower() == b"text/event-stream"
        head.lines.append(line)
    elif kind is Special.LENGTH:
        length = content_length(value)
        if head.length is not None and head.length != length:
            raise BadHead("a response with two different Content-Lengths", 502)
        head.length = length
    elif kind is Special.CODING:
        if value.lower() != b"chunked":
            raise BadHead(f"a response with Transfer-Encoding {value[:40]!r}", 502)
        head.chunked = True
    elif kind is Special.CONNECTION:
        options = value.lower()
        head.close = b"close" in options or (head.minor == 0 and b"keep-alive" not in options)
    elif kind is Special.KEEP_ALIVE:
        found = re.search(rb"timeout=(\d{1,6})", value)
        head.idle_timeout = float(found.group(1)) if found else None
    elif kind in (Special.REQUEST_ID, Special.HOST, Special.ORIGIN, Special.READ_TIMEOUT, Special.EXPECT, Special.NEXT):
        head.has_request_id = head.has_request_id or kind is Special.REQUEST_ID
        head.lines.append(line)
    elif kind is Special.UPGRADE and head.status == 101:
        head.lines.append(line)
