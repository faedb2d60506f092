"""Durations and sizes: read exactly, or refused with a sentence."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ksim_models.quantities import parse_duration_us, parse_size, show_given


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [("250ms", 250_000), ("1.5s", 1_500_000), ("7us", 7), ("2min", 120_000_000), ("1h", 3_600_000_000), ("1d", 86_400_000_000), ("0s", 0)]
    + [("0.001ms", 1), (" 5 ms ", 5_000), ("250", 250_000), ("1_000ms", 1_000_000), ("+5s", 5_000_000)],
)
def test_a_duration_is_read_exactly(text: str, microseconds: int) -> None:
    assert parse_duration_us(text) == microseconds


def test_a_bare_integer_is_milliseconds_or_bytes() -> None:
    assert (parse_duration_us(5), parse_size(5)) == (5_000, 5)


@pytest.mark.parametrize(
    ("text", "size"), [("16KiB", 16_384), ("16kB", 16_000), ("1.5MB", 1_500_000), ("1MiB", 1_048_576), ("2GiB", 2_147_483_648), ("1GB", 10**9), ("9B", 9)]
)
def test_a_size_is_read_exactly(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-1s", "1.5", "0.5us", "1e3s", "5 S", "5MS", "ms", "", "1s2", "s5", True, None, 1.5, -1, [], "9" * 50, 10**30, "1.5.5s"]
)
def test_what_is_no_duration_is_refused_with_a_sentence(text: object) -> None:
    with pytest.raises(ValueError) as refused:
        parse_duration_us(text)

    assert len(str(refused.value)) > 20


@pytest.mark.parametrize("text", ["16kib", "16K", "0.3B", "-1KiB", "1ms", 2.0, "nanB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@given(st.integers(0, 10**6), st.sampled_from([("us", 1), ("ms", 1_000), ("s", 1_000_000), ("min", 60_000_000)]))
def test_a_duration_is_its_number_times_its_unit(count: int, unit: tuple[str, int]) -> None:
    assert parse_duration_us(f"{count}{unit[0]}") == count * unit[1]


@pytest.mark.parametrize(
    ("given_value", "shown"),
    [(True, "true"), ("a", '"a"'), (1.5, "1.5"), ("a\nb", '"a?b"'), ("x" * 100, '"' + "x" * 79 + "...")],
)
def test_a_value_is_shown_on_one_short_line(given_value: object, shown: str) -> None:
    assert show_given(given_value) == shown


def test_an_integer_too_long_to_print_is_shown_in_words() -> None:
    assert show_given(10**5_000) == "an endless integer"


@given(st.one_of(st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.from_regex(r"-?[0-9.]{1,30}[a-zA-Z]{0,3}", fullmatch=True)))
def test_a_quantity_is_a_whole_number_or_a_mistake_and_nothing_else(given_value: object) -> None:
    for parse in (parse_duration_us, parse_size):
        try:
            parsed = parse(given_value)
        except ValueError:
            continue
        assert parsed >= 0
