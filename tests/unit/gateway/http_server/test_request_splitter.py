"""Cutting received bytes at the ends of requests."""

from __future__ import annotations

import pytest

from service.gateway.http_server.request_splitter import RequestSplitter

HEADS = [b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(4)]
SIZED = b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n"
BODY = b"a\r\n\r\nb\r\n\r\n\r\n"[:12]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
def test_no_piece_extends_beyond_the_end_of_a_request(size: int) -> None:
    splitter = RequestSplitter()
    sent = b"".join(HEADS)
    pieces: list[bytes] = []

    for start in range(0, len(sent), size):
        splitter.append(sent[start : start + size])
        while splitter:
            pieces.append(splitter.take(None))

    assert b"".join(pieces) == sent
    ends = [sum(map(len, pieces[: count + 1])) for count in range(len(pieces))]
    assert {sum(map(len, HEADS[: count + 1])) for count in range(len(HEADS))} <= {*ends}


def test_a_body_of_known_length_is_one_piece_and_what_follows_is_another() -> None:
    splitter = RequestSplitter()
    splitter.append(SIZED + BODY + HEADS[0])

    assert splitter.take(None) == SIZED
    assert splitter.take(len(BODY)) == BODY
    assert splitter.take(None) == HEADS[0]
    assert not splitter


def test_a_body_that_is_incomplete_is_what_there_is() -> None:
    splitter = RequestSplitter()
    splitter.append(b"abc")

    assert splitter.take(10) == b"abc"
