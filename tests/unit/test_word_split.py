"""Words: what an English reader expects, and never a character lost, in any script."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.features.word_split import split_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("I don't know, it's U.S. law.", "I do n't know , it 's U.S. law ."),
        ("“We’ll see” — they’ve DON'T", "“ We ’ll see ” — they ’ve DO N'T"),
        ("$1,000.50 (3.14km) 50%", "$ 1,000.50 ( 3.14km ) 50 %"),
        ("well-known... really?!", "well - known ... really ? !"),
        ("a_b x@y.org </s>", "a_b x @ y . org < / s >"),
        ("日本語のテキスト", "日 本 語 の テキスト"),
        ("cafe\u0301 e\u0301te\u0301 हिन्दी שלום", "cafe\u0301 e\u0301te\u0301 हिन्दी שלום"),
        ("soft\u00adhyphen می\u200cخواهم", "soft\u00adhyphen می\u200cخواهم"),
        ("hi👩🏽‍🚀🏳️‍🌈!", "hi 👩🏽‍🚀 🏳️‍🌈 !"),
        ("🇩🇪🇫🇷 1️⃣ ❤️a", "🇩🇪 🇫🇷 1️⃣ ❤️ a"),
        ("", ""),
        (" \t\n\u3000\u00a0", ""),
        ("a  b\u2028c", "a b c"),
    ],
)
def test_words_are_those_that_a_reader_sees(text: str, words: str) -> None:
    assert [text[begin:end] for begin, end in split_words(text)] == words.split()


@given(text=st.one_of(st.text(max_size=40), st.text("ab'’nt .,1e\u0301\u200d👩🚀🏽\ud800の\n", max_size=30)))
@settings(max_examples=500, deadline=None)
def test_words_and_the_blanks_between_them_are_the_text(text: str) -> None:
    place = 0
    for begin, end in split_words(text):
        assert place <= begin < end
        assert text[place:begin].strip() == ""
        assert not any(letter.isspace() for letter in text[begin:end])
        place = end
    assert text[place:].strip() == ""
