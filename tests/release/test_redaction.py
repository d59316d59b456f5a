"""What is taken out of texts, what is left, and that no text takes long."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from release.redaction import redacted

SECRET = "x" * 43


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Write to john.o'neil+x@mail.example.com.", "Write to [email]."),
        ("邮箱是john@example.com谢谢", "邮箱是[email]谢谢"),
        ("Ｊｏｅ＠ｅｘａｍｐｌｅ．ｃｏｍ", "[email]"),
        ("call +44 20 7946 0958 or (415) 555-2671 now", "call [phone] or [phone] now"),
        ("电话13800138000，或 138 0013 8000", "电话[phone]，或 [phone]"),
        ("+86-13800138000", "[phone]"),
        ("card 4111 1111 1111 1111, order 12", "card [card], order 12"),
        ("order 12 4111-1111-1111-1111 4", "order 12 [card] 4"),
        ("4111111111111112", "4111111111111112"),
        ("身份证11010519491231002X号", "身份证[id]号"),
        ("110105194912310021", "110105194912310021"),
        ("from 10.1.2.3 to fe80::1ff:fe23:4567:890a", "from [ip] to [ip]"),
        ("::ffff:192.168.1.1", "[ip]"),
        ("at 12:30:45, version 1.2.3, std::vector", "at 12:30:45, version 1.2.3, std::vector"),
        ("300.1.2.3", "300.1.2.3"),
        ("AKIAIOSFODNN7EXAMPLE", "[key]"),
        (f"ghp_{'a1' * 18} github_pat_{'b' * 30}", "[key] [key]"),
        (f"slw_ops-1_{SECRET}", "[key]"),
        ("Bearer eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "Bearer [key]"),
        (
            "a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b",
            "a [key] b",
        ),
        ("-----BEGIN PRIVATE KEY-----\ncut off", "[key]"),
        ("order-12345 cost 1,250.00 in 2026", "order-12345 cost 1,250.00 in 2026"),
        ("退款需要几天？", "退款需要几天？"),
    ],
)
def test_what_looks_like_a_persons_is_taken_out(text: str, left: str) -> None:
    assert redacted(text) == left


@given(st.text(alphabet="0123456789 -+().:@abfxE_eyJ中１＠", max_size=80))
@example("eyJ")
def test_any_text_can_be_redacted_and_gives_the_same_each_time(text: str) -> None:
    assert redacted(text) == redacted(text)


@pytest.mark.parametrize(
    "part",
    [
        *("1", "1 ", "1-", "4111 ", "1.", "1.1.1.", ":", "a:", "::", "+1", "(1", "+1 (", "0", "00"),
        *("a", "a@", "@a.", "a.", "a@a.", "a@a-", "eyJ", "eyJaaaaa.", "-----BEGIN A KEY-----"),
        *("ghp_a", "slw_a_", "slw_", "sk-", "AKIA", "xoxb-1", "_", "１", "＠", "中@中."),
    ],
)
def test_no_text_takes_longer_than_its_length_allows(part: str) -> None:
    """A quarter of a mebibyte of what recognisers could choke on: quadratic ones take minutes."""
    # What comes first wakes every recogniser.
    text = "@ :: 1.2.3.4 1234567 -----BEGIN " + part * (2**18 // len(part))
    started = time.perf_counter()
    redacted(text)
    assert time.perf_counter() - started < 10
