"""What is taken out of texts, what is left, and that no text takes long."""

import re
import time
from datetime import date
from ipaddress import AddressValueError, IPv6Address
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
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
        ("卡号4111.1111.1111.1111。", "卡号[card]。"),
        ("3782·822463·10005, 6222 02 1234567890128", "[card], [card]"),
        ("5555.4111.1111.1111.1111 and 4111.1111.1111.1111.7", "5555.[card] and [card].7"),
        ("2021.2022.2023.2030", "2021.2022.2023.2030"),
        ("1.234.567.890.123.452", "1.234.567.890.123.452"),
        ("身份证 110101 19900307 7758，谢谢", "身份证 [id]，谢谢"),
        ("1101 0119 9003 0777 58", "[id]"),
        ("12 34 110101 1990-03-07 7758", "12 34 [id]"),
        ("110101 19900101 1101 0119 9003 0777 58", "110101 19900101 [id]"),
        ("110101 19901307 7758", "110101 19901307 7758"),
        ("手机138.0013.8000或138 - 0013 - 8000", "手机[phone]或[phone]"),
        ("＋８６　１３８　００１３　８０００", "[phone]"),
        ("(+86) 138\u200b0013\u200b8000", "[phone]"),
        ("+44/20/7946/0958, 415/555-2671", "[phone], [phone]"),
        ("٠١٢ ١٣٨٠٠١٣٨٠٠٠", "012 [phone]"),
        ("150.2000.300 and 2026/11/26 12:00", "150.2000.300 and 2026/11/26 12:00"),
        ("ann﹫example。com，抄送ann@公司。谢谢", "[email]，抄送ann@公司。谢谢"),
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


def luhn(digits: str) -> bool:
    doubled = (int(one) * 2 for one in digits[-2::-2])
    once = (int(one) for one in digits[-1::-2])
    return (sum(once) + sum(one // 10 + one % 10 for one in doubled)) % 10 == 0


def without_cards(text: str) -> str:
    """Take the longest card that begins first, again and again: what `redacted` must come to."""
    at, left = 0, ""
    while at < len(text):
        begins = text[at].isdigit() and not text[at - 1 : at].isdigit()
        found = 0
        for end in range(at + 13, len(text) + 1) if begins else ():
            part, after = text[at:end], text[end : end + 1]
            digits = re.sub("[ -]", "", part)
            whole = part[-1].isdigit() and not after.isdigit() and digits.isdigit()
            apart = re.search("[ -]{2}", part) is None
            if whole and apart and 13 <= len(digits) <= 19 and luhn(digits):
                found = end
        left += "[card]" if found else text[at]
        at = found or at + 1
    return left


@settings(max_examples=300)
@given(st.text(alphabet="000011112345678944 -", min_size=13, max_size=60))
@example("4111 1111 1111 1111 4111111111111111-0")
@example("00000000000000000000 0000000000000 0")
def test_cards_are_what_a_slow_look_finds(text: str) -> None:
    # Commas are in no phone, so that nothing else is found.
    text = "12345 " * 2 + text
    assume(re.search("[0-9]{4}[ -]{2,3}[0-9]{4,6}[ -]{2,3}[0-9]{3}", text) is None)
    found = redacted(text)
    if "[phone]" not in found and "[id]" not in found:
        assert found == without_cards(text)


GAPS = st.text(alphabet=" \u00a0\u3000\u2009-\u2010\u2013\u2212－._·・/\u200b\u00ad", max_size=3)
AROUND = st.sampled_from([("", ""), ("卡号：", "，谢谢"), ("is ", ", and"), ("(", ")"), ("“", "”")])
DIGITS = {
    script: str.maketrans("0123456789", "".join(chr(zero + n) for n in range(10)))
    for script, zero in (("plain", 0x30), ("full", 0xFF10), ("arabic", 0x660), ("bold", 0x1D7CE))
}
SCRIPTS = st.sampled_from(sorted(DIGITS))


def numbers(count: int) -> st.SearchStrategy[str]:
    return st.text(alphabet="0123456789", min_size=count, max_size=count)


def written(parts: list[str], gap: str, around: tuple[str, str], script: str) -> str:
    return gap.join(parts).translate(DIGITS[script]).join(around)


@given(st.sampled_from("3456"), numbers(14), GAPS, AROUND, SCRIPTS)
def test_a_card_is_one_whatever_stands_between_its_groups(
    first: str, rest: str, gap: str, around: tuple[str, str], script: str
) -> None:
    (last,) = (n for n in "0123456789" if luhn(first + rest + n))
    for end in (last, str((int(last) + 1) % 10)):
        digits = first + rest + end
        parts = [digits[at : at + 4] for at in range(0, 16, 4)]
        left = redacted(written(parts, gap, around, script))
        assert (left == "[card]".join(around)) == (end == last)


@given(
    st.sampled_from(["110101", "440305", "659001"]),
    st.dates(date(1900, 1, 1), date(2099, 12, 31)),
    numbers(3),
    st.sampled_from([(6, 14), (6, 10, 14), (6, 10, 12, 14), (3, 6, 10, 14), (4, 8, 12, 16), ()]),
    GAPS.filter(lambda gap: len(gap) < 3),
    AROUND,
    SCRIPTS,
)
def test_an_id_is_one_however_it_is_grouped(
    place: str,
    born: date,
    rest: str,
    cuts: tuple[int, ...],
    gap: str,
    around: tuple[str, str],
    script: str,
) -> None:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    digits = f"{place}{born:%Y%m%d}{rest}"
    total = sum(int(one) * weight for one, weight in zip(digits, weights, strict=True))
    for last in "0123456789X":
        whole = digits + last
        parts = [whole[a:b] for a, b in pairwise((0, *cuts, 18))]
        left = redacted(written(parts, gap, around, script))
        assert (left == "[id]".join(around)) == (last == "10X98765432"[total % 11])


@given(
    st.sampled_from(["13", "15", "18", "19"]),
    numbers(9),
    st.sampled_from(["", "+86", "86", "(+86)"]),
    GAPS,
    AROUND,
    SCRIPTS,
)
def test_a_mobile_phone_is_one_whatever_stands_between_its_groups(
    first: str, rest: str, country: str, gap: str, around: tuple[str, str], script: str
) -> None:
    digits = first + rest
    parts = [one for one in (country, digits[:3], digits[3:7], digits[7:]) if one]
    left = redacted(written(parts, gap, around, script))
    # Eleven digits and a country's two may be those of a card.
    assume(not country or "[card]" not in left)
    assert left == "[phone]".join(around)


@given(
    st.from_regex(r"[a-z][a-z0-9._+-]{0,20}[a-z0-9]@[a-z]{1,9}\.[a-z]{2,5}", fullmatch=True), AROUND
)
def test_a_mail_is_one_in_full_width_too(mail: str, around: tuple[str, str]) -> None:
    wide = "".join(chr(ord(one) + 0xFEE0) for one in mail)
    for one in (mail, wide, mail.replace("@", "＠"), mail.replace("@", "﹫")):
        assert redacted(one.join(around)) == "[email]".join(around)


GROUPS = st.lists(st.sampled_from(["0", "1f", "ABC", "ffff", "12345", ""]), max_size=8)


@given(
    GROUPS, GROUPS, st.sampled_from(["", "", ":1.2.3.4", "255.0.0.255", ":1.2.3.256", ":1.02.3.4"])
)
@example(["1", "2", "3", "4", "5", "6", "7"], [], "")
@example(["1", "2", "3", "4", "5", "6", "7"], ["8"], "")
@example([], ["ffff"], ":1.02.3.4")
@example([], ["ffff"], ":1.2.3.4")
@example(["1", "2", "3", "4", "5"], ["6"], ":1.2.3.4")
def test_an_address_is_one_where_the_standard_library_knows_it(
    before: list[str], after: list[str], last: str
) -> None:
    text = f"{':'.join(before)}::{':'.join(after)}{last}"
    assume(3 <= len(text.rpartition(".")[0] or text) <= 45)
    try:
        known = bool(IPv6Address(text))
    except AddressValueError:
        known = False
    assert (redacted(text) == "[ip]") == known


@pytest.mark.parametrize(
    "part",
    [
        *(
            "1",
            "1 ",
            "1-",
            "0-0",
            "12-34 ",
            "000 ",
            "4111 ",
            "4111111111111111 x",
            "::1 ",
            "1.",
            "1.1.1.",
            ":",
            "a:",
            "::",
            "+1",
            "(1",
            "+1 (",
            "0",
            "00",
        ),
        *("4111.", "4111.1111.1111.1111 ", "4111. ", "4444.333333.", "1101 1990 0101 ", "1101."),
        *("110101 19900101 ", "11010119900101", "138 ... ", "13800138", "+1/2/", "00/", "1\u200b"),
        *("٣", "a。", "a@a。a", "1\u3000"),
        *("a", "a@", "@a.", "a.", "a@a.", "a@a-", "eyJ", "eyJaaaaa.", "-----BEGIN A KEY-----"),
        *("ghp_a", "slw_a_", "slw_", "sk-", "AKIA", "xoxb-1", "_", "１", "＠", "中@中."),
    ],
)
def test_no_text_takes_longer_than_its_length_allows(part: str) -> None:
    """A quarter of a mebibyte of what recognisers could choke on; a gateway waits meanwhile."""
    # What comes first wakes every recogniser.
    text = "@ :: 1.2.3.4 1234567 -----BEGIN " + part * (2**18 // len(part))
    started = time.thread_time()
    redacted(text)
    assert time.thread_time() - started < 0.5
