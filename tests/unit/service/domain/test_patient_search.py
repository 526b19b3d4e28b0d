import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.patient import Patient
from service.domain.patient_search import (
    LONGEST_WORD,
    MOST_TERMS,
    MatchKind,
    terms_of,
    words_of,
)


def is_found(patient: Patient, text: str) -> bool:
    """Search as the ledger does: each term is the beginning of a word."""
    words = {word for _, word in words_of(patient)}
    terms = terms_of(text)
    return bool(terms) and all(
        any(word.startswith(tuple(spellings)) for word in words) for spellings in terms
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Müller^Hans", "mull"),
        ("Müller^Hans", "MUELLER"),
        ("Mueller^Hans", "müller"),
        ("Muller^Hans", "Müll"),
        ("Müller^Hans Peter", "peter mü"),
        ("Müller^Hans", "müller^hans"),
        ("Weiß^Ida", "weiss"),
        ("Weiss^Ida", "weiß"),
        ("Ødegård^Åse", "odegard"),
        ("Ødegård^Åse", "ødegaard aa"),
        ("Wałęsa^Łukasz", "walesa luk"),
        ("O'Brien^Una", "obrien"),
        ("O'Brien^Una", "o'brien"),
        ("Smith-Jones^Al", "jones"),
        ("Smith-Jones^Al", "smith-j"),
        ("Smith-Jones^Al", "smith jones"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "山"),
        ("Yamada^Tarou=山田^太郎=やまだ^たろう", "太郎 yam"),
        ("Hong^Gildong=洪^吉洞=홍^길동", "길"),
        ("ﾔﾏﾀﾞ^ﾀﾛｳ", "ヤマダ"),
        ("שרון^דבורה", "דבו"),
        ("قباني^لنزار", "قبا"),
        (
            "Çavuşoğlu^I\N{LATIN SMALL LETTER S WITH CEDILLA}\N{LATIN SMALL LETTER DOTLESS I}k",
            "cavusoglu isik",
        ),
        ("Иванов^Иван", "ИВАН"),
    ],
)
def test_any_component_is_found_by_its_beginning(name: str, text: str) -> None:
    assert is_found(Patient(patient_name=name), text)


@pytest.mark.parametrize("text", ["uller", "ans", "müller ida", "%", "_", "*", "müll%r", "-", "🙂"])
def test_what_is_not_the_beginning_of_a_word_finds_nothing(text: str) -> None:
    assert not is_found(Patient(patient_name="Müller^Hans"), text)


def test_numbers_are_found_without_their_punctuation() -> None:
    patient = Patient(patient_id="AB-12/34 5", accession_number="2026.0001")
    for text in ("ab12", "AB-12/34", "5", "20260", "2026.00"):
        assert is_found(patient, text)
    assert {kind for kind, _ in words_of(patient)} == {MatchKind.PATIENT_ID, MatchKind.ACCESSION}


def test_a_blank_patient_has_no_words() -> None:
    assert words_of(Patient()) == set()
    assert words_of(Patient(patient_name="^^^^=-")) == set()


@given(st.text(max_size=3000))
def test_every_text_has_bounded_terms_and_words(text: str) -> None:
    terms = terms_of(text)
    assert len(terms) <= MOST_TERMS
    words = [word for _, word in words_of(Patient(patient_name=text[:324]))]
    for each in (*words, *(spelling for term in terms for spelling in term)):
        assert 0 < len(each) <= LONGEST_WORD
        assert each.isalnum()


@given(st.text(min_size=1, max_size=40))
def test_a_name_is_found_by_itself(name: str) -> None:
    patient = Patient(patient_name=name)
    assert is_found(patient, name) is bool(words_of(patient)) or len(name.split()) > MOST_TERMS
