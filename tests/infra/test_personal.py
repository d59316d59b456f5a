"""What presidio finds, where it is installed: without a model, and without a network."""

import socket
import tempfile
from collections.abc import Iterator

import pytest

from infra.personal import LANGUAGES, Finder
from release.redaction import redacted

installed = pytest.importorskip("presidio_analyzer", reason="the extra presidio is not installed")


@pytest.fixture(scope="module")
def finder() -> Iterator[Finder]:
    """Nobody is asked for a model, nor for anything else, when it is made and when it looks."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as empty:
        # A list that somebody fetched before would hide that it is asked for.
        patch.setenv("TLDEXTRACT_CACHE", empty)

        def refuse(*_: object, **__: object) -> None:
            raise AssertionError("it asked the network")

        for name in ("getaddrinfo", "create_connection"):
            patch.setattr(socket, name, refuse)
        yield Finder()


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("wire it to DE89370400440532013000 today", "IBAN_CODE", "DE89370400440532013000"),
        ("pay 1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "CRYPTO", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"),
        ("My name is Ann Miller and I am late", "PERSON", "My name is Ann Miller"),
        ("他的护照号是E12345678，请登记", "PASSPORT", "E12345678"),
        ("车牌京A12345停在门口", "PLATE", "京A12345"),
        ("收件人：王小明，明天到", "PERSON", "收件人：王小明"),
        ("转到 DE89370400440532013000 谢谢", "IBAN_CODE", "DE89370400440532013000"),
    ],
)
def test_what_no_shape_of_redaction_knows_is_found(
    finder: Finder, text: str, kind: str, words: str
) -> None:
    assert redacted(text) == text
    found = [(one.kind, text[one.start : one.end]) for one in finder(text)]
    assert (kind, words) in found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "the weather is fine at 10:30 on 2026-11-26, see https://example.com/a",
        "明天的天气很好，气温二十度",
        redacted("mail ann@example.com or 13800138000, card 4111 1111 1111 1111"),
    ],
)
def test_what_tells_of_nobody_is_left_alone(finder: Finder, text: str) -> None:
    assert finder(text) == []


def test_a_domain_is_known_without_asking_for_a_list(finder: Finder) -> None:
    assert [one.kind for one in finder("to ann@example.co.uk")] == ["EMAIL_ADDRESS"]


def test_a_score_that_is_wanted_leaves_out_what_is_less_sure() -> None:
    assert Finder(0.9)("signed by Ann Miller") == []
    assert LANGUAGES == ("zh", "en")
