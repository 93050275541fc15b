"""A failed call's words are told by their shape from answers that are about errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.failed_answer import failed_call, like, tells_of_a_call


@pytest.mark.parametrize(
    "text",
    [
        "$ERROR$ ",
        "**ERROR**: API request failed",
        "[ERROR]",
        "$error$",
        "ERROR",
        "Error: 429 Too many requests",
        "API_ERROR_OUTPUT",
        "<error>",
        "#ERROR!",
        "{error}",
        "[FAILED]",
        "<failed/>",
        "[Timeout]",
        "[NO RESPONSE]",
        "<|error|>",
        "[API Error] rate limit exceeded",
        "ERROR: something",
        "openai.error.RateLimitError: You exceeded your current quota",
        "Error code: 429 - {'error': {'message': 'x'}}",
        '{"error": {"message": "Rate limit reached", "code": 429}}',
        "Request Error: connection refused",
        "❌ Error",
        "!!ERROR!!",
        "Exception: HTTPSConnectionPool: Max retries exceeded",
        "requests.exceptions.ReadTimeout: timed out",
        "An error occurred: 503 Service Unavailable",
        "Traceback (most recent call last): ... openai.RateLimitError: Rate limit",
        "__FAILED__",
        "ERROR_OUTPUT",
        "GENERATION_FAILED",
        "[ERROR: timeout]",
        "<ERROR> 500 </ERROR>",
        "$ERROR$: x",
        '{"error": "boom"}',
    ],
)
def test_what_programs_write_in_the_place_of_an_answer(text: str) -> None:
    assert failed_call(text)


@pytest.mark.parametrize(
    "text",
    [
        "The error is in line 3.",
        "Error",
        "error",
        "Error: in Python, this is printed when a name is not known.",
        "SyntaxError: invalid syntax",
        "An error is a mistake.",
        "No.",
        "Timeout",
        "Failure is the mother of success.",
        "To err is human",
        "failed",
        "HTTP 429 means Too Many Requests.",
        "The mark is $ERROR$",
        "TypeError: unsupported operand",
        "I tried to make an API call, but it failed since you gave no key; here is code",
        "`Error` is the base class",
        "Exception handling in Java uses try/catch.",
        '{"a": 1}',
        "Exception",
        "**Error handling** is about catching exceptions.",
        "**Failure**: the state of not meeting an objective.",
        "ERROR bars show the spread.",
        "* error: unknown word",
        "Errors: 3",
        "- Error: 1",
        "[Error handling](http://x)",
        "<error>Missing field</error> is what the schema gives",
        "A",
        '{"error": "boom", "fixed": "the loop ends at n"}',
        "N/A",
        "42",
        "ERR",
        "Error 404 means that the page was not found.",
        "OK",
        "[ERROR]" + " of which much can be said" * 20,
    ],
)
def test_answers_about_errors(text: str) -> None:
    assert not failed_call(text)


def test_texts_that_differ_in_numbers_are_alike() -> None:
    one, other = "Rate limit: retry in 20s (req-a1)", "rate limit: retry in 7s (req-b2)"
    assert like(one) == like(other)
    assert tells_of_a_call(one)
    assert not tells_of_a_call("The Danube flows through ten countries.")


@given(st.text())
def test_any_text_is_looked_at(text: str) -> None:
    assert failed_call(text) in (True, False)
    assert tells_of_a_call(text) in (True, False)
