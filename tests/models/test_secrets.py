"""Keys are sent and shown nowhere."""

from __future__ import annotations

import asyncio
import codecs
import json
from base64 import b32encode, b64encode, urlsafe_b64encode
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from misbehaving_server import KEY, Clock, Stub, ask, http, request, said

from arenaloop.errors import ConfigError, EndpointDownError
from arenaloop.models.openai_api import OpenAIModel
from arenaloop.models.secrets import Redactor, read_headers, read_key, without_secrets


@pytest.mark.parametrize(
    "fault",
    [
        http(401, {"error": {"message": f"Incorrect API key provided: {KEY}."}}),
        http(400, ("x" * 190 + KEY).encode()),
        http(500, f"Authorization: Bearer {KEY}\n".encode()),
        http(200, {"error": KEY}),
        http(500, f"Authorization: {KEY}\n".encode()),
        http(403, {"error": {"message": "request was", "headers": {"authorization": f"Bearer {KEY}"}}}),
        http(401, {"error": {"message": "Basic " + b64encode(f":{KEY}".encode()).decode()}}),
        http(401, {"error": {"message": "got " + urlsafe_b64encode(f"Bearer {KEY}".encode()).decode()}}),
        http(401, {"error": {"message": f"key ending in {KEY[-10:]}, beginning with {KEY[:14]}"}}),
        http(401, {"error": {"message": f"reversed {KEY[::-1]}, hex {KEY.encode().hex()}, upper {KEY.upper()}"}}),
        http(503, f"<p>{quote(KEY)}</p>".encode()),
        b"HTTP/1.1 " + KEY.encode() + b"\r\n\r\n",
        http(418, {"error": {"message": "another's: sk-0987654321abc, Bearer abc.def"}}),
    ],
)
def test_the_key_is_sent_and_shown_nowhere(monkeypatch, fault):
    monkeypatch.setenv("THE_KEY", f" {KEY}\n")

    async def main():
        async with Stub(*[fault] * 20, said()) as stub:
            clock = Clock()
            model = OpenAIModel("m", "x", stub.url, key_env="THE_KEY", retries=0, sleep=clock.sleep)
            shown = []
            for _ in range(20):
                try:
                    shown.append(repr(await model.complete(request())))
                except EndpointDownError as error:
                    shown.append(repr(error))
            shown += [repr(model), str(model), model.fingerprint, repr(vars(model))]
            await model.aclose()
            return stub, " ".join(shown)

    stub, shown = asyncio.run(main())
    assert f"Authorization: Bearer {KEY}\r\n" in stub.heads[0]
    assert "EndpointDownError" in shown
    for part in (KEY, KEY[:12], "sk-0987654321abc", "abc.def"):
        assert part not in shown


ODD = "7f3A/+x9Qq==;w0%Zt&b\\u12~long"


@given(
    key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6, max_size=60),
    before=st.binary(max_size=7),
    after=st.binary(max_size=7),
)
@example(key=ODD, before=b"Bearer ", after=b"\n")
def test_no_form_of_a_key_gets_through(key, before, after):
    redact = Redactor(None, "", key)
    wrapped = before + key.encode() + after
    forms = [key, key[::-1], quote(key, safe=""), json.dumps(key)[1:-1], key.encode().hex(), key.encode().hex().upper()]
    for form in forms:
        assert form not in redact.line(f"You sent {form}, which is wrong")
    for encode in (b64encode, urlsafe_b64encode):
        form = encode(wrapped).decode()
        skipped = -(-len(before) * 8 // 6)
        core = form[skipped : (len(before) + len(key)) * 8 // 6]
        assert core not in redact.line(f"You sent {form}, which is wrong")
    assert key not in repr(redact) + repr(vars(redact)).replace(repr(redact._known), "")


def test_the_rest_of_a_text_stays():
    line = Redactor(KEY, "api-version=1").line
    assert line(f"key {KEY}\nis \x1b[2J wrong\t(see docs)") == "key [key] is [2J wrong (see docs)"
    assert line("Incorrect API key provided: sk-ab****wxyz.") == "Incorrect API key provided: [key]"
    assert line("Incorrect key 9f8e********a1b2, or not") == "Incorrect key [key], or not"
    assert line('{"Authorization": "Token abc", "model": "m"}') == '{"[key] abc", "model": "m"}'
    assert line("This model's maximum context length is 4096") == "This model's maximum context length is 4096"
    assert line("GET http://h/v1?api-version=1 **bold**") == "GET http://h/v1?[key] **bold**"
    assert line("x" * 300) == "x" * 199 + "…"
    assert line("x" * 190 + " " + KEY) == "x" * 190 + " [key]"
    assert line("x" * 5000 + KEY) == "x" * 199 + "…"
    assert Redactor("x").line("a fox, x, said") == "a fox, [key], said"


def test_a_key_is_read_from_the_environment_alone(monkeypatch):
    assert read_key(None) is None
    monkeypatch.setenv("THE_KEY", " \n")
    with pytest.raises(ConfigError, match="THE_KEY is not set"):
        read_key("THE_KEY")
    monkeypatch.setenv("THE_KEY", f" {KEY}\n")
    assert read_key("THE_KEY") == KEY


async def ask_often(model):
    for _ in range(20):
        await model.complete(request())


def test_no_exception_carries_the_key(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)

    async def main():
        async with Stub(http(401, {"error": {"message": KEY}})) as stub:
            pass
        async with Stub(http(401, {"error": {"message": KEY}})) as live:
            for url in (stub.url, live.url):
                model = OpenAIModel("m", "x", url, key_env="THE_KEY", retries=0)
                with pytest.raises(EndpointDownError) as caught:
                    await ask_often(model)
                error: BaseException | None = caught.value
                seen: list[str] = []
                while error is not None:
                    seen += [repr(error), str(error), repr(vars(error))]
                    error = error.__cause__ or error.__context__
                assert KEY not in " ".join(seen)
                assert KEY not in repr(model._endpoint) + repr(vars(model))
                await model.aclose()

    asyncio.run(main())


def test_a_key_that_is_echoed_in_an_answer_is_taken_out(monkeypatch):
    monkeypatch.setenv("THE_KEY", KEY)
    completion, _, _ = ask(said(f"You are {KEY}!", reasoning=KEY), key_env="THE_KEY")
    assert (completion.text, completion.reasoning) == ("You are [key]!", "[key]")
    monkeypatch.setenv("THE_KEY", "none")
    assert ask(said("none of them"), key_env="THE_KEY")[0].text == "none of them"


DISGUISES = {
    "spaced": " ".join(KEY),
    "dashed": "-".join(KEY),
    "zero width": "\u200b".join(KEY),
    "full width": "".join(chr(ord(c) + 0xFEE0) for c in KEY),
    "upper": KEY.upper(),
    "middle": KEY[8:22],
    "two lines": KEY[:12] + "\n" + KEY[12:],
    "entities": "".join(f"&#{ord(c)};" for c in KEY),
    "escapes": "".join(f"\\u{ord(c):04x}" for c in KEY),
    "hex": " ".join(f"{ord(c):02x}" for c in KEY),
    "hex with 0x": "".join(f"0x{ord(c):02x}," for c in KEY),
    "percent": "".join(f"%{ord(c):02X}" for c in KEY),
    "percent twice": KEY.replace("-", "%252D"),
    "base32": b32encode(KEY.encode()).decode(),
    "base64 on two lines": b64encode(KEY.encode()).decode()[:14] + "\n" + b64encode(KEY.encode()).decode()[14:],
    "rot13": codecs.encode(KEY, "rot13"),
}


@pytest.mark.parametrize("text", DISGUISES.values(), ids=DISGUISES)
def test_a_key_in_disguise_is_taken_out(text):
    line = Redactor(KEY).line(f"bad key: {text} !")
    assert line.startswith(("bad key: [key]", "bad [key] "))  # the word before may go on as the key does
    assert len(line.replace("[key]", "")) < 20


def test_passwords_and_keys_in_urls_are_taken_out(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://user:pr0xyPassw0rd@127.0.0.1:9")
    for text in (
        "url='http://user:pr0xyPassw0rd@127.0.0.1:9'",
        "the proxy user:pr0xyPassw0rd@127.0.0.1 refuses",
        "Proxy-Authorization dXNlcjpwcjB4eVBhc3N3MHJk",
    ):
        assert "pr0xy" not in without_secrets(text)
        assert "dXNlcjpw" not in without_secrets(text)
    line = Redactor().line
    assert line("GET https://a:b@h/x?q=1") == "GET https://[key]@h/x?q=1"
    for name in ("key", "api_key", "sig", "access_token", "X-Amz-Signature", "client_secret", "subscription-key"):
        assert line(f"GET http://h/x?a=1&{name}=s3cr3t&b=2") == f"GET http://h/x?a=1&{name}=[key]&b=2"
    assert line("see http://h/v1?api-version=2024-10-21") == "see http://h/v1?api-version=2024-10-21"
    assert line("mail a@b.c about max_tokens=5") == "mail a@b.c about max_tokens=5"


@pytest.mark.parametrize("name", ["Host", "content-type", "a b", ""])
def test_a_header_that_is_not_the_users_is_refused(monkeypatch, name):
    monkeypatch.setenv("THE_KEY", KEY)
    with pytest.raises(ConfigError, match="no header that can be set"):
        read_headers([(name, "THE_KEY")])


def test_a_headers_value_is_named_by_its_variable(monkeypatch):
    monkeypatch.setenv("THE_KEY", f" {KEY}\n")
    assert read_headers([("api-key", "THE_KEY")]) == {"api-key": KEY}
    with pytest.raises(ConfigError, match="NO_SUCH is not set; it is to hold the value of api-key"):
        read_headers([("api-key", "NO_SUCH")])
    monkeypatch.setenv("THE_KEY", "a\nb")
    with pytest.raises(ConfigError, match="holds what no header may"):
        read_headers([("api-key", "THE_KEY")])


def test_an_escaped_key_in_an_answer_is_taken_out(monkeypatch):
    for key in (KEY, "abcd/efgh/ijkl/mnop", "sk-123456789abc"):
        monkeypatch.setenv("THE_KEY", key)
        escaped = "".join(f"\\u{ord(c):04x}" for c in key)
        body = '{"choices": [{"finish_reason": "stop", "message": {"content": "it is ' + escaped + '"}}]}'
        assert ask(http(200, body.encode()), key_env="THE_KEY")[0].text == "it is [key]"
