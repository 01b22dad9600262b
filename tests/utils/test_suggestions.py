"""Looking up names that a user has typed."""

from __future__ import annotations

import pytest

from gan_lab.utils.suggestions import Typed, as_names, did_you_mean, index_of_name, similar_key

DIGITS = tuple("9876543210")


@pytest.mark.parametrize(("name", "index"), [("bird", 1), (2, 2), (0, 0)])
def test_an_entry_is_found_by_name_or_number(name: str | int, index: int) -> None:
    assert index_of_name(name, ["ant", "bird", "cat"], "key") == index


def test_a_number_that_is_a_name_counts_as_a_name() -> None:
    assert index_of_name(9, DIGITS, "key") == 0 and index_of_name("1", DIGITS, "key") == 8


@pytest.mark.parametrize(
    ("name", "suggestions"), [("brid", "bird"), ("zebra", "ant, bird, cat"), (3, "ant, bird, cat"), (-1, "ant, bird, cat")]
)
def test_an_unknown_name_is_refused_with_suggestions(name: str | int, suggestions: str) -> None:
    with pytest.raises(ValueError, match=rf"^key: there is no {name}; did you mean {suggestions}\? \(3 names in all\)$"):
        index_of_name(name, ["ant", "bird", "cat"], "key")


@pytest.mark.parametrize(
    ("typed", "index"), [("CAT", 0), (True, 1), (None, 2), (1.5, 3), ("TRUE", 1), ("Cafe\u0301", 4), ("Dog", 5), ("dog", 6)]
)
def test_case_and_the_type_that_the_command_line_reads_are_no_matter(typed: Typed, index: int) -> None:
    assert index_of_name(typed, ["cat", "true", "null", "1.5", "café", "Dog", "dog"], "key") == index


def test_one_name_or_several_are_given() -> None:
    assert [as_names(given, "key") for given in (None, "a", 7, True, ["a", None])] == [None, ["a"], [7], [True], ["a", None]]
    with pytest.raises(ValueError, match=r"^key=\[\['red'\]\]: \['red'\] is no name; a name with brackets .* in quotes"):
        as_names([["red"]], "key")


def test_a_name_that_may_be_several_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^key: DOG may be Dog or dog; write it in the same case$"):
        index_of_name("DOG", ["Dog", "dog"], "key")


def test_an_unknown_number_is_suggested_in_quotes_and_a_similar_name_in_any_case() -> None:
    with pytest.raises(ValueError, match=r"there is no 1000\.0; did you mean 1e3\? \(1 names in all; in quotes .*\)"):
        index_of_name(1e3, ["1e3"], "key")
    with pytest.raises(ValueError, match=r"there is no BRID; did you mean Bird\?"):
        index_of_name("BRID", ["ant", "Bird"], "key")
    with pytest.raises(ValueError, match=r"there is no dog2; did you mean DOG, Dog\?"):
        index_of_name("dog2", ["cat", "DOG", "Dog"], "key")
    with pytest.raises(ValueError, match=r"there is no x; did you mean two\\nlines\?"):
        index_of_name("x", ["two\nlines"], "key")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.widht", "model.width"),
        ("optimizer.learning_rate", "optimizer.lr"),
        ("width", "model.width"),
        ("depht", "model.depth"),
        ("unrelated", None),
    ],
)
def test_a_similar_key_is_found_by_its_name_or_its_last_part(key: str, expected: str | None) -> None:
    assert similar_key(key, ["model.width", "model.depth", "optimizer.lr"]) == expected


def test_the_most_similar_option_is_suggested() -> None:
    assert did_you_mean("dcgn", ["dcgan", "sngan"], "model has ") == "did you mean dcgan? model has dcgan, sngan"
    assert did_you_mean("xyz", ["dcgan", "sngan"]) == "known are dcgan, sngan"
