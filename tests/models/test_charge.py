"""What replies cost: honest ones of the known servers to the cent and without a note, odd ones at their dearest."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arenaloop.models.batch_lines import read_result
from arenaloop.models.bill import read_bill
from arenaloop.models.charge import note_charge, read_charge, read_failed_charge
from arenaloop.models.notices import Notices
from arenaloop.models.openai_wire import Price, Reader, read_replies, read_reply

PRICE = Price(10.0, 100.0, cached=1.0)


def table(read: float, written: int, cached: int = 0) -> float:
    return (10.0 * (read - cached) + cached + 100.0 * written) / 1e6


HONEST: dict[str, tuple[dict[str, Any], float]] = {
    "OpenAI": (
        {"prompt_tokens": 1900, "completion_tokens": 210, "total_tokens": 2110,
         "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
         "completion_tokens_details": {"reasoning_tokens": 192, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                       "rejected_prediction_tokens": 0}}, table(1900, 210, 1024)),
    "OpenAI, predicted": (
        {"prompt_tokens": 40, "completion_tokens": 60, "total_tokens": 100,
         "completion_tokens_details": {"accepted_prediction_tokens": 50, "rejected_prediction_tokens": 10}},
        table(40, 60)),
    "OpenAI, Responses": (
        {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 80}, "output_tokens": 20,
         "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 120}, table(100, 20, 80)),
    "Anthropic": (  # its docs: the whole prompt is input, created and read; writing costs a quarter more
        {"input_tokens": 4, "cache_creation_input_tokens": 5000, "cache_read_input_tokens": 4000, "output_tokens": 8,
         "cache_creation": {"ephemeral_5m_input_tokens": 5000, "ephemeral_1h_input_tokens": 0},
         "service_tier": "standard", "server_tool_use": {"web_search_requests": 0}}, table(9004 + 1250, 8, 4000)),
    "Anthropic, for an hour": (
        {"input_tokens": 4, "cache_creation_input_tokens": 5000, "output_tokens": 8,
         "cache_creation": {"ephemeral_5m_input_tokens": 1000, "ephemeral_1h_input_tokens": 4000}},
        table(5004 + 250 + 4000, 8)),
    "Anthropic, compacting": (  # its docs: the top level leaves the compaction out, the rounds are what is billed
        {"input_tokens": 23000, "output_tokens": 1000,
         "iterations": [{"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
                        {"type": "message", "input_tokens": 23000, "output_tokens": 1000}]}, table(203000, 4500)),
    "Anthropic, in one round": (
        {"input_tokens": 50, "output_tokens": 100,
         "iterations": [{"type": "message", "input_tokens": 50, "output_tokens": 100}]}, table(50, 100)),
    "LiteLLM": (  # whose prompt holds Anthropic's caches
        {"prompt_tokens": 9004, "completion_tokens": 8, "total_tokens": 9012,
         "prompt_tokens_details": {"cached_tokens": 4000, "text_tokens": None}, "completion_tokens_details": None,
         "cache_creation_input_tokens": 5000, "cache_read_input_tokens": 4000}, table(9004 + 1250, 8, 4000)),
    "Gemini": ({"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 918}, table(10, 908)),
    "Gemini, its own names": (
        {"promptTokenCount": 10, "candidatesTokenCount": 8, "thoughtsTokenCount": 900, "totalTokenCount": 918,
         "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 10}], "cachedContentTokenCount": 4},
        table(10, 908, 4)),
    "vLLM": (
        {"prompt_tokens": 10, "total_tokens": 18, "completion_tokens": 8, "prompt_tokens_details": None}, table(10, 8)),
    "SGLang": (
        {"prompt_tokens": 10, "total_tokens": 60, "completion_tokens": 50, "prompt_tokens_details": None,
         "reasoning_tokens": 40}, table(10, 50)),
    "Ollama": (
        {"prompt_eval_count": 26, "eval_count": 259, "eval_duration": 4709213000, "total_duration": 10706818083},
        table(26, 259)),
    "OpenRouter": (
        {"prompt_tokens": 194, "completion_tokens": 20, "total_tokens": 214, "cost": 0.00394, "is_byok": False,
         "cost_details": {"upstream_inference_cost": None, "upstream_inference_prompt_cost": 0.00194,
                          "upstream_inference_completions_cost": 0.002},
         "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0, "audio_tokens": 0, "video_tokens": 0},
         "completion_tokens_details": {"reasoning_tokens": 15, "image_tokens": 0}}, table(194, 20)),
    "DeepSeek": (
        {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "prompt_cache_hit_tokens": 64,
         "prompt_cache_miss_tokens": 36, "prompt_tokens_details": {"cached_tokens": 64},
         "completion_tokens_details": {"reasoning_tokens": 40}}, table(100, 50, 64)),
    "Groq": (
        {"queue_time": 0.03, "prompt_tokens": 45, "prompt_time": 0.001, "completion_tokens": 300,
         "completion_time": 0.5, "total_tokens": 345, "total_time": 0.55}, table(45, 300)),
    "Together": (
        {"prompt_tokens": 45, "completion_tokens": 30, "total_tokens": 75, "cached_tokens": 0}, table(45, 30)),
    "Moonshot": (
        {"prompt_tokens": 45, "completion_tokens": 30, "total_tokens": 75, "cached_tokens": 40}, table(45, 30, 40)),
    "xAI": (
        {"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135, "num_sources_used": 0,
         "prompt_tokens_details": {"text_tokens": 32, "audio_tokens": 0, "image_tokens": 0, "cached_tokens": 6},
         "completion_tokens_details": {"reasoning_tokens": 94, "audio_tokens": 0, "accepted_prediction_tokens": 0,
                                       "rejected_prediction_tokens": 0},
         "cost_in_usd_ticks": 105_660_000}, table(32, 103, 6)),
    "SambaNova": (
        {"completion_tokens": 30, "completion_tokens_after_first_per_sec": 400.0, "completion_tokens_per_sec": 380,
         "end_time": 1e9, "is_last_response": True, "prompt_tokens": 40, "time_to_first_token": 0.04,
         "total_latency": 0.1, "total_tokens": 70, "total_tokens_per_sec": 900}, table(40, 30)),
    "Bedrock": (
        {"inputTokens": 30, "outputTokens": 28, "totalTokens": 58, "cacheReadInputTokens": 0,
         "cacheWriteInputTokens": 0}, table(30, 28)),
    "Qwen": (
        {"prompt_tokens": 3019, "completion_tokens": 104, "total_tokens": 3123,
         "prompt_tokens_details": {"cached_tokens": 2048, "cache_creation": {"ephemeral_5m_input_tokens": 0},
                                   "cache_creation_input_tokens": 0, "cache_type": "ephemeral"}},
        table(3019, 104, 2048)),
    "one-api": (
        {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "input_tokens": 0, "output_tokens": 0,
         "prompt_tokens_details": {"cached_tokens": 0, "text_tokens": 0}, "input_tokens_details": None}, table(10, 5)),
    "Cohere": (
        {"billed_units": {"input_tokens": 67, "output_tokens": 20}, "tokens": {"input_tokens": 1061,
                                                                               "output_tokens": 22}}, table(1061, 22)),
    "AI SDK": (
        {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120, "reasoningTokens": 10, "cachedInputTokens": 80},
        table(100, 20, 80)),
}  # fmt: skip


def reply(usage: Any, **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "The first is better."}
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage, **more}


@pytest.mark.parametrize("name", HONEST)
def test_honest_replies_cost_what_they_cost_and_nothing_is_said(name: str) -> None:
    usage, usd = HONEST[name]
    reader = Reader(PRICE)
    found = read_reply(json.dumps(reply(usage)).encode(), reader=reader)
    assert found.usd == pytest.approx(usd, rel=1e-9)
    assert reader.notices.lines() == []


SMALL = {"prompt_tokens": 540, "completion_tokens": 8, "total_tokens": 548}


@pytest.mark.parametrize(
    ("usage", "usd", "says"),
    [
        # parts that cannot be inside the whole, though the total says so
        (SMALL | {"completion_tokens_details": {"reasoning_tokens": 900}}, table(540, 908), ""),
        (SMALL | {"reasoning_tokens": "900"}, table(540, 908), ""),
        (SMALL | {"total_tokens": 0, "thoughts_token_count": 900}, table(540, 908), ""),
        (SMALL | {"total_tokens": None, "thoughtsTokenCount": 5}, table(540, 13), ""),
        (SMALL | {"completion_tokens_details": {"rejected_prediction_tokens": 792}}, table(540, 800), ""),
        (SMALL | {"completion_tokens_details": {"reasoning_tokens": 6, "rejected_prediction_tokens": 6}},
         table(540, 20), ""),
        (SMALL | {"prompt_tokens_details": {"cached_tokens": 4000}}, table(4540, 8, 4000), ""),
        ({"prompt_tokens": 4, "completion_tokens": 8, "total_tokens": 12, "cache_creation_input_tokens": 5000,
          "cache_read_input_tokens": 4000}, table(9004 + 1250, 8, 4000), ""),
        ({"output_tokens": 8, "cache_read_input_tokens": 4000}, table(4000, 8, 4000), ""),
        (SMALL | {"steps": [{"output_tokens": 350}, {"output_tokens": 358}]}, table(540, 716), "steps.output_tokens"),
        ([SMALL], table(540, 8), ""),
        ([SMALL, SMALL], table(1080, 16), ""),  # two rounds
        ({"prompt_kilotokens": 0.54, "completion_kilotokens": 0.008}, None, "prompt_kilotokens: 1"),
        # counts that nobody knows
        (SMALL | {"deliberation_tokens": 500}, table(540, 508), "deliberation_tokens: 500"),
        (SMALL | {"hidden": {"outputTokenCount": 500}}, table(540, 508), "hidden.outputTokenCount: 500"),
        (SMALL | {"tool_prompt_overhead_tokens": 5000}, table(5540, 8), ""),
        (SMALL | {"charged_tokens": 548, "raw_output_tokens": 8}, table(540, 8), ""),
        # other spellings of numbers, and what is none
        ({"prompt_tokens": "1,540", "completion_tokens": "4e2"}, table(1540, 400), ""),
        ({"prompt_tokens": 540.5, "completion_tokens": -0.0, "total_tokens": 940.5}, table(541, 400), ""),
        (SMALL | {"reasoning_tokens": -3}, table(540, 8), "reasoning_tokens: -3"),
        (SMALL | {"reasoning_tokens": True}, table(540, 8), "reasoning_tokens: True"),
        (SMALL | {"reasoning_tokens": 1e300}, table(540, 8), "reasoning_tokens: 1e+300"),
        (SMALL | {"reasoning_tokens": float("nan")}, table(540, 8), "reasoning_tokens: nan"),
        (SMALL | {"reasoning_tokens": None, "audio_tokens": 0}, table(540, 8), ""),
        ({"prompt_tokens": -7, "completion_tokens": 8}, None, "prompt_tokens: -7"),
        # the server's own bill
        (SMALL | {"cost": 0.0908}, 0.0908, "billed higher by the server than by the price table ($0.0908 in"),
        (SMALL | {"cost": "0.0908"}, 0.0908, "billed higher"),
        (SMALL | {"cost": 0.001}, table(540, 8), "billed lower"),
        (SMALL | {"cost": "0,0908"}, 0.0908, "billed higher"),
        (SMALL | {"cost": "0,090"}, 0.09, "billed higher"),
        (SMALL | {"cost": 0}, table(540, 8), "billed lower"),
        (SMALL | {"cost": table(540, 8) * 1.001}, table(540, 8) * 1.001, ""),
        (SMALL | {"cost": -1}, table(540, 8), "usage.cost: -1"),
        (SMALL | {"cost": 1e300}, table(540, 8), "usage.cost: 1e+300"),
        (SMALL | {"cost": None, "cost_estimated": True}, table(540, 8), ""),
        (SMALL | {"cost": 0.9, "currency": "CNY"}, table(540, 8), "usage.cost: 0.9 cny"),
    ],
)  # fmt: skip
def test_odd_replies_cost_the_dearest_that_no_figure_contradicts(usage: Any, usd: float | None, says: str) -> None:
    reader = Reader(PRICE)
    found = read_reply(json.dumps(reply(usage)).encode(), reader=reader)
    assert found.usd == (None if usd is None else pytest.approx(usd, rel=1e-9))
    assert says in " ".join(reader.notices.lines())
    assert bool(says) == bool(reader.notices.lines())


@pytest.mark.parametrize(
    ("body", "headers", "usd"),
    [
        ({"usage": {"cost": 0.005, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.1}}}, {}, 0.105),
        ({"usage": {"cost": 0.1, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.1}}}, {}, 0.1),
        ({"usage": {"cost": {"input_tokens_cost": 0.01, "output_tokens_cost": 0.05, "total_cost": 0.5}}}, {}, 0.5),
        ({"usage": {"cost": {"input_tokens_cost": 0.01, "output_tokens_cost": 0.05}}}, {}, 0.06),
        ({"usage": {"cost_in_usd_ticks": 37_756_000}}, {}, 0.0037756),
        ({"usage": {"estimated_cost": 2.5e-05}}, {}, 2.5e-05),
        ({"total_cost": "$0.03"}, {}, 0.03),
        ({"billing": {"totalCostUsd": 0.03, "costPerToken": 4}}, {}, 0.03),
        ({"usage": {"cost_cents": 3}}, {}, 0.03),
        ({"billing": {"amount": 0.02, "unit": "usd"}}, {}, 0.02),
        ({"x_gateway": {"amount": "0.02", "currency": "USD"}}, {}, 0.02),
        ({"billing": {"total": 0.02}}, {}, 0.02),
        ({"x_gateway": {"total": 3}}, {}, None),
        ({"billing": {"amount": 2, "unit": "tokens"}, "usage": {"total_cost": 2.5}}, {}, 2.5),
        ({"choices": [{"message": {"provider_metadata": {"gateway": {"cost": "0.06", "marketCost": "1"}}}}]}, {}, 0.06),
        ({"choices": [{"message": {"content": "cost: 4", "cost": "a word"}}]}, {}, None),
        ({}, {"x-litellm-response-cost": "3.4e-05", "x-litellm-response-cost-original": "1"}, 3.4e-05),
        ({}, {"X-Request-Charge": "0.02"}, 0.02),
        ({}, {"x-litellm-key-spend": "12.5", "x-ratelimit-limit-tokens": "4000"}, None),
        ({"usage": {"credits_used": 3}}, {}, None),
    ],
)
def test_a_bill_is_found_wherever_it_stands(body: Any, headers: dict[str, str], usd: float | None) -> None:
    assert read_bill(body, headers).usd == (None if usd is None else pytest.approx(usd))


def test_a_bill_is_what_a_reply_costs_where_there_is_no_price() -> None:
    assert read_charge(reply(SMALL | {"cost": 0.02}), {}, None).usd == 0.02
    assert read_charge(reply(SMALL), {}, None).usd is None


@pytest.mark.parametrize(
    ("body", "usd"),
    [
        ({"error": {"message": "postprocessing failed"}, "usage": SMALL}, table(540, 8)),
        ({"error": {"message": "failed", "usage": SMALL}}, table(540, 8)),
        ([{"error": {"code": 500}, "usageMetadata": {"promptTokenCount": 540, "candidatesTokenCount": 8}}],
         table(540, 8)),
        ({"error": {"message": "failed"}, "cost": 0.03}, 0.03),
        ({"error": {"message": "the prompt has 540 tokens, which costs too much"}}, None),
        ({"error": {"message": "overloaded"}, "usage": {"prompt_tokens": 0, "completion_tokens": 0}}, None),
        ("<html>", None),
    ],
)  # fmt: skip
def test_a_failure_is_charged_where_its_body_says_so(body: Any, usd: float | None) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    charge = read_failed_charge(raw, {}, PRICE)
    assert (None if charge is None else charge.usd) == (None if usd is None else pytest.approx(usd))


def test_a_total_alone_may_be_of_the_answer() -> None:
    assert read_charge(reply({"total_tokens": 900}), {}, PRICE).usage[:2] == (None, 900)


def test_an_answer_with_more_words_than_tokens_is_not_counted() -> None:
    said = reply({"prompt_tokens": 40, "completion_tokens": 1, "total_tokens": 41})
    said["choices"][0]["message"]["content"] = "some words " * 100
    reader = Reader(PRICE)
    assert read_reply(json.dumps(said).encode(), reader=reader).tokens_out is None
    assert "1 tokens of at least 200" in reader.notices.lines()[0]


MORE = ("foo_tokens", "total_cost", "currency", "tokens")
names = st.sampled_from([*sorted({name for usage, _ in HONEST.values() for name in usage}), *MORE])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.integers(0, 5000),
    lambda inner: st.dictionaries(names, inner, max_size=5) | st.lists(inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(names, values, max_size=8))
def test_whatever_a_usage_holds_it_is_read_and_nothing_of_it_makes_a_call_cheaper(usage: dict[str, Any]) -> None:
    charge = read_charge(reply(usage), {}, PRICE)
    note_charge(Notices(), charge)
    assert charge.usd is None or 0 <= charge.usd < 1e8
    told = {name: usage.get(name) for name in ("prompt_tokens", "completion_tokens")}
    counts = [n for n in told.values() if isinstance(n, int) and not isinstance(n, bool) and 0 <= n <= 10**9]
    if len(counts) == 2:
        assert charge.usage.tokens_in is not None
        assert charge.usage.tokens_out is not None
        assert charge.usage.tokens_in >= counts[0]
        assert charge.usage.tokens_out >= counts[1]


def batch_line(status: int, usage: Any) -> bytes:
    body = reply(usage) if status == 200 else {"error": {"message": "failed"}, "usage": usage}
    return json.dumps({"custom_id": "k", "response": {"status_code": status, "body": body}, "error": None}).encode()


@pytest.mark.parametrize(
    ("status", "usage", "usd"),
    [
        (200, SMALL, table(540, 8) / 2),
        (200, SMALL | {"cost": 0.05}, 0.05),  # the bill is for what was asked in a batch already
        (200, SMALL | {"cost": 0.9 * table(540, 8) / 2}, table(540, 8) / 2),
        (500, SMALL, table(540, 8) / 2),
        (500, {}, 0.0),
    ],
)
def test_results_of_batches_cost_their_share_or_what_the_server_bills(status: int, usage: Any, usd: float) -> None:
    assert read_result(batch_line(status, usage), Reader(PRICE))[1].usd == pytest.approx(usd)


def test_a_short_answer_with_twice_as_many_words_as_tokens_is_not_counted() -> None:
    def read(text: str, tokens: int) -> int | None:
        said = reply({"prompt_tokens": 40, "completion_tokens": tokens, "total_tokens": 40 + tokens})
        said["choices"][0]["message"]["content"] = text
        return read_reply(json.dumps(said).encode(), reader=Reader(PRICE)).tokens_out

    assert read("It is the capital of the whole country.", 1) is None
    assert read("Yes, it is.", 3) == 3
    assert read("New York City it is", 4) == 4


def test_rounds_and_the_whole_are_never_both_charged() -> None:
    """Of either count whichever is more, wherever a server tells it, and each round's caches as its own."""
    rounds = [{"input_tokens": 100, "output_tokens": 10, "cache_read_input_tokens": 900}] * 2
    for read, written, most in ((500, 90, (2000, 90, 1800)), (5000, 9, (5000, 20, 0))):
        usage = {"prompt_tokens": read, "completion_tokens": written, "turns": rounds}
        assert read_charge(reply(usage), {}, PRICE).usage[:3] == most


BESIDE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (SMALL | {"server_tool_use": {"web_search_requests": 3}}, {}, "web_search_requests: 3"),
    (SMALL | {"num_sources_used": 12}, {}, "num_sources_used: 12"),
    (SMALL | {"billed_units": {"search_units": 1}}, {}, "search_units: 1"),
    (SMALL | {"prompt_audio_seconds": 2.5}, {}, "prompt_audio_seconds: 2.5"),
    (SMALL | {"completion_tokens_details": {"audio_tokens": 5}}, {}, "audio_tokens: 5"),
    (SMALL | {"plugins": {"search": {"count": "1"}}}, {}, "count: 1"),
    (SMALL | {"images": [{"pages": 2}, {"pages": 3}]}, {}, "pages: 5"),
    (SMALL | {"never_heard_of": 7}, {}, "never_heard_of: 7"),
    (SMALL, {"service_tier": "priority"}, "priority: 1"),
    (SMALL | {"speed": "fast"}, {}, "fast: 1"),
]


@pytest.mark.parametrize(("usage", "more", "says"), BESIDE)
def test_what_costs_beside_tokens_is_priced_or_named(usage: dict[str, Any], more: dict[str, Any], says: str) -> None:
    name, _, number = says.partition(": ")
    reader = Reader(PRICE)
    found = read_replies(json.dumps(reply(usage, **more)).encode(), reader=reader).charge
    assert (found.unpriced, found.usd) == ((says,), pytest.approx(table(540, 8)))
    assert f"1 of 1 replies count what no price covers ({says})" in reader.notices.lines()[0]
    priced = replace(PRICE, units={name: 0.01})
    found = read_charge(reply(usage, **more), {}, priced)
    assert (found.unpriced, found.usd) == ((), pytest.approx(table(540, 8) + 0.01 * float(number)))
    assert read_charge(reply(usage | {"cost": 0.5}, **more), {}, PRICE).unpriced == ()  # it is in the bill
    assert read_charge(reply(usage, **more), {}, None).unpriced == ()  # nothing is told of its cost


HARMLESS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (SMALL | {"server_tool_use": {"web_search_requests": 0}, "prompt_audio_seconds": {}, "is_final": True}, {}),
    (SMALL | {"remaining_requests": 900, "request_latency": 0.4, "requests_per_second": 3, "created_at": 179}, {}),
    (SMALL | {"total_duration": 10**10, "queue_time": 0.1, "service_tier": "standard"}, {"service_tier": "default"}),
    (SMALL | {"promptTokensDetails": [{"modality": "TEXT", "tokenCount": 540}]}, {"service_tier": None}),
    (SMALL | {"request_id": "1234", "inference_geo": "not_available"}, {"service_tier": "on_demand"}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "more"), HARMLESS)
def test_what_costs_nothing_is_not_named(usage: dict[str, Any], more: dict[str, Any]) -> None:
    reader = Reader(PRICE)
    read = read_replies(json.dumps(reply(usage, **more)).encode(), reader=reader)
    assert read.charge.usd == pytest.approx(table(540, 8))
    assert read.charge.unpriced == ()
    assert reader.notices.lines() == []
