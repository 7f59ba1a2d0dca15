"""Text form of API keys: parsing, checksum and digest."""

from __future__ import annotations

import re
import zlib

from service.auth.api_key import ALPHABET, Token, new_token, parse_api_key


def test_token_round_trips_and_its_repr_shows_only_the_id() -> None:
    token = new_token()
    assert re.fullmatch(r"cpx_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}", token.text)
    assert parse_api_key(token.text) == token
    assert token.text.split("_")[1] == token.key_id
    assert token.text.split("_")[2] not in repr(token)


def test_checksum_is_crc_32_in_base_62() -> None:
    text = new_token().text
    number = 0
    for letter in text[-6:]:
        number = 62 * number + ALPHABET.index(letter)
    assert number == zlib.crc32(text[:-6].encode())


def test_checksum_detects_every_single_character_error() -> None:
    text = new_token().text
    for position in range(len(text)):
        other = "0" if text[position] != "0" else "1"
        assert parse_api_key(text[:position] + other + text[position + 1 :]) is None
    for wrong in ("", text[:-1], text + "0", f" {text}", f"{text}\n", text.upper()):
        assert parse_api_key(wrong) is None


def test_no_two_tokens_share_an_id_a_secret_or_a_digest() -> None:
    tokens = [new_token() for _ in range(200)]
    for parts in (
        {token.key_id for token in tokens},
        {token.text[17:] for token in tokens},
        {token.digest for token in tokens},
    ):
        assert len(parts) == len(tokens)


def test_digest_is_sha_256_of_the_whole_token() -> None:
    token = Token(key_id="x", text="abc")
    assert token.digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
