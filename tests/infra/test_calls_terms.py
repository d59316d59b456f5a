"""How a text is folded, so that whoever types a word finds it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.calls.terms import folded

LETTERS = st.text(
    alphabet=st.one_of(
        st.sampled_from("iIİı\u0307ßẞŉΐǰΣςσﬁＡ０é\u0301中"),
        st.characters(min_codepoint=0x20, max_codepoint=0x24F),
    ),
    max_size=12,
)


@pytest.mark.parametrize(
    ("text", "term"),
    [
        ("İSTANBUL", "istanbul"),
        ("I\u0307stanbul i\u0307zmir", "istanbul izmir"),
        ("KAPI kapısı", "kapı"),
        ("kapı", "KAPI"),
        ("DİYARBAKIR", "diyarbakır"),
        ("STRASSE", "straße"),
        ("Ϊ\u0301", "ΐ"),
        ("ＡＢＣ", "abc"),
        ("a\0b", "A\ufffdB"),
        ("ç\0", "ç\ufffd"),
    ],
)
def test_a_word_is_found_in_either_case(text: str, term: str) -> None:
    assert folded(term) in folded(text)


@given(LETTERS)
def test_case_does_not_matter_and_folding_twice_changes_nothing(text: str) -> None:
    once = folded(text)
    assert folded(once) == once
    # Case is a matter of characters as they are written; combinations that nobody types are not.
    text = unicodedata.normalize("NFC", text)
    if "\u0307" not in text and "\u0301" not in text:
        assert folded(text.upper()) == once == folded(text.lower())
