"""Whether a recorded text is what a program wrote in the place of an answer, when the call for it had failed.

No list of marks is complete, so there are shapes. A text is a failed call's

* that consists of an error's word in brackets, signs or capitals: ``$ERROR$``, ``[error]``, ``API_ERROR_OUTPUT``;
* that such a word begins, with a colon: ``**ERROR**: API request failed``;
* that begins ``Error:`` or ``SomeError:``, or is a JSON object with an ``error``, and tells of a request: a status
  code, a rate limit, a connection, a server;
* that tells of a request in a line and stands in the place of many answers alike.

An answer about errors is none of them. Where it is known what was asked, and that speaks of no such thing, more is
clear (`failed_reply`): a line in which a server or a request is what failed, or that asks to try again.
"""

from __future__ import annotations

import json
import re

__all__ = ["MANY", "failed_call", "failed_reply", "like", "speaks_of_calls", "tells_of_a_call"]

MANY = 3
"""Different prompts to which one text that tells of a request is no answer any more."""

_LONGEST = 400  # characters of a program's message
_WORD = r"(?:error|errors|err|fail|failed|failure|exception|timeout|timed[ _-]?out|no[ _-](?:answer|response|output))"
_NAME = rf"(?:[a-z0-9]+[ _-]){{0,3}}{_WORD}(?:[ _-][a-z0-9]+){{0,3}}"
_SIGNS = r"[\s$*\[\]<>#_!(){}\"'`~=|/\\.:;@%^&⚠️❌-]"
_MARK = re.compile(rf"({_SIGNS}*)({_NAME})({_SIGNS}*)", re.IGNORECASE)
_MARKED_START = re.compile(
    rf"(?:[$\[<{{#|@%-]+\s*(?i:{_NAME})\s*[$\]>}}#|@%-]+|[*_`(~]*(?:[A-Z0-9]+_)*ERROR(?:_[A-Z0-9]+)*[*_`)~]*)\s*(?::|-\s|\Z)"
)
_BRACKETED = re.compile(rf"[$\[<{{#|@%-]+\s*({_NAME})\s*[$\]>}}#|@%-]+", re.IGNORECASE)
_TOLD = re.compile(
    r"\s*[\[(<*]*\s*(?:(?:an?\s+)?(?:\w+\s+){0,2}(?:error|exception|failure)\s*(?:[:(\[-]|code|occurred|\Z)"
    r"|[\w.]*(?:Error|Exception|Timeout)\s*[:(]|traceback\b|failed to\b)",
    re.IGNORECASE,
)
_CALL = re.compile(
    r"\b(?:[45]\d\d\b.{0,40}(?:error|too many|request|gateway|unavailable|forbidden|unauthori[sz]ed|timeout|server"
    r"|limit)|(?:status|error|http)(?:[ _]?code)?[ :=]*[45]\d\d\b|rate.?limit|too many requests|quota|bad gateway"
    r"|gateway time-?out|service unavailable|temporarily unavailable|internal server error"
    r"|server (?:error|disconnected)|overloaded"
    r"|error\b.{0,30}\b(?:try again|retry)|returned an error"
    r"|max(?:imum)? retries|connection (?:error|refused|reset|aborted|timed out|closed|failed)"
    r"|(?:read |request )?timed out|timeout|(?:api|request|call|generation|inference) (?:\w+ )?(?:failed|error|failure)"
    r"|failed to (?:generate|get|fetch|call|connect|reach|parse)|(?:invalid|incorrect|missing) api key|authentication"
    r"|unauthori[sz]ed|no (?:response|answer|output) (?:from|was|received|generated|available)|out of memory"
    r"|context.?length|insufficient.?(?:quota|funds|balance)|content.?filter|upstream)",
    re.IGNORECASE,
)
_HEAD = re.compile(
    r"[\W_]{0,4}(?:(?:(?:we|i)\W?(?:a?re|a?m)\s+)?(?:sorry|oops|apologies)\W{1,3}(?:but\s+)?)?(?:"
    r"(?:(?:the|your|this|an?)\s+)?(?:\w+\s+){0,2}(?:request|call|generation|inference|completion|connection|prediction)"
    r"\s+(?:has\s+|was\s+|could\s+not\s+|is\s+)?(?:been\s+)?"
    r"(?:time|fail|error|refus|reset|abort|reject|clos|block|be\b)"
    r"|error\s+(?:\d{3}\b|\w+ing|in|from|with|while|when|during)\b|(?:http\W{0,2})?(?:status\W{0,2})?(?:code\W{0,2})?[45]\d\d\b"
    r"|(?:(?:the|our|this|that)\s+)?(?:\w+\s+){0,2}(?:server|servers|service|system|bot|model|backend|engine|upstream|api|gateway)"
    r"\s+(?:\S+\s+)?"
    r"(?:is|are|was|were|has|had|returned|did|could|cannot|can't|timed|error|failed)\b"
    r"|no (?:healthy|available)\b"
    r"|this model's maximum context|you (?:have )?exceeded your|(?:invalid|incorrect|missing) api key"
    r"|<(?:!doctype )?html\b"
    r"|internal server error|bad gateway|service unavailable|gateway time-?out|too many requests|rate.?limit\w*"
    r"|(?:cuda|gpu)?\s*out of memory|something went wrong|an?\s+(?:\w+\s+){0,2}error\s+(?:has\s+)?occurred)",
    re.IGNORECASE,
)
"""How a line begins in which what failed is a request, or who should have answered it."""
_PLEA = re.compile(
    r"\b(?:(?:re)?try\s+(?:again|later|your\s+(?:request|call))|retry\b|contact\s+(?:support|us|the\s+admin\w*)"
    r"|support\s+team|went wrong|error\s+(?:has\s+)?occurred|currently\s+(?:loading|overloaded|unavailable|busy|down))",
    re.IGNORECASE,
)
"""What a program asks of whoever called it."""
_ABOUT = re.compile(
    r"\b(?:error|fail|exception|server|service|maintenance|offline|customer"
    r"|translat|übersetz|traduc|traduis|tradui|翻译|rephras|rewrite|paraphras|summar|proofread|e-?mail|sentence|repeat"
    r"|api\b|https?\b|status|timeout|time.?out|retry|try again|outage|apolog"
    r"|log\b|logs\b|quota|rate.?limit|gateway|backend|connection|connect\b|debug|bug\b|[45]\d\d\b)",
    re.IGNORECASE,
)
"""Of what a question speaks whose answer may be such words: errors and servers, and texts that are given to work on."""
_ERROR_KEYS = {"error", "code", "message", "status", "detail", "details", "type", "request_id"}


def failed_call(text: str) -> bool:
    """Whether a text alone is a failed call's, whatever stands in the rows beside it."""
    said = text.strip()
    if len(said) > _LONGEST:
        return False
    if (mark := _MARK.fullmatch(said)) is not None:
        signs, name = mark[1].strip() + mark[3].strip(" .!"), mark[2]
        return bool(signs) or (name.isupper() and (len(name) > 3)) or "_" in name
    if "\n" not in said and _MARKED_START.match(said):
        return True
    if (begun := _BRACKETED.match(said)) is not None and len(said) <= 120:
        return begun[1].isupper() or _CALL.search(said) is not None
    if said.startswith("{"):
        return _json_error(said)
    return _TOLD.match(said) is not None and _CALL.search(said) is not None


def failed_reply(text: str) -> bool:
    """Whether a text is a failed call's if it answers a question that does not speak of such (`speaks_of_calls`)."""
    said = text.strip()
    if len(said) > _LONGEST or said.count("\n") >= 3:
        return False
    pleads, calls = _PLEA.search(said) is not None, _CALL.search(said) is not None
    return (pleads or calls) and _HEAD.match(said) is not None


def speaks_of_calls(asked: str) -> bool:
    """Whether a question may be answered by words on servers, requests and errors."""
    return _ABOUT.search(asked) is not None


def tells_of_a_call(text: str) -> bool:
    """Whether a text would be a failed call's if many prompts had it for an answer."""
    said = text.strip()
    return len(said) <= _LONGEST and said.count("\n") < 3 and (_MARK.fullmatch(said) or _CALL.search(said)) is not None


def like(text: str) -> str:
    """A text without what differs from call to call: numbers, ids, times."""
    return re.sub(r"\w*\d[\w-]*", "#", text.strip().casefold())


def _json_error(said: str) -> bool:
    try:
        found = json.loads(said)
    except (ValueError, RecursionError):
        return False
    told = isinstance(found, dict) and bool(found.get("error"))
    return told and (found.keys() <= _ERROR_KEYS or _CALL.search(said) is not None)
