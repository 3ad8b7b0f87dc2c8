"""Server-sent events as bytes: lines in, payloads out. https://html.spec.whatwg.org/multipage/server-sent-events.html

Only `data` matters to us: comments, names and ids of events are dropped. Memory is bounded by the longest line allowed.
"""

_BOM = b"\xef\xbb\xbf"


class SseDecoder:
    """Takes the stream in pieces of any size. Once `is_overlong`, it takes nothing more."""

    def __init__(self, line_max_bytes: int) -> None:
        self.is_overlong = False
        self._line_max_bytes = line_max_bytes
        self._partial: list[bytes] = []  # the beginning of a line whose end has not come yet
        self._partial_bytes = 0
        self._data: list[bytes] = []  # the `data` lines of the event under way
        self._data_bytes = 0
        self._is_first_line = True
        self._ended_in_cr = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """The payloads that `chunk` completes, in order."""
        if b"\r" in chunk or self._ended_in_cr:
            chunk = self._with_plain_newlines(chunk)
        lines = chunk.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            lines[0] = b"".join((*self._partial, lines[0]))
            self._partial.clear()
            self._partial_bytes = 0
        payloads: list[bytes] = []
        for line in lines:
            self._take(line, payloads)
        if rest:
            self._partial.append(rest)
            self._partial_bytes += len(rest)
            self.is_overlong |= self._partial_bytes > self._line_max_bytes
        return payloads

    def end(self) -> list[bytes]:
        """What is left when the stream ends: an event without its empty line, even a line without its end."""
        return self.feed(b"\n\n")

    def _take(self, line: bytes, payloads: list[bytes]) -> None:
        if self._is_first_line:
            line, self._is_first_line = line.removeprefix(_BOM), False
        self.is_overlong |= len(line) > self._line_max_bytes
        if self.is_overlong:
            return
        if not line:
            if self._data:
                payloads.append(b"\n".join(self._data))
                self._data.clear()
                self._data_bytes = 0
        elif line.startswith(b"data:"):
            self._data.append(line[5:])
            self._data_bytes += len(line)
            self.is_overlong = self._data_bytes > self._line_max_bytes
        elif line.startswith(b"{"):
            # Not an event at all, but how some gateways put an error into a stream.
            payloads.append(line)

    def _with_plain_newlines(self, chunk: bytes) -> bytes:
        if self._ended_in_cr:
            chunk = chunk.removeprefix(b"\n")
        self._ended_in_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
