"""What a user may change where a server refuses everything: one remark for each kind of refusal."""

from __future__ import annotations

import re

__all__ = ["advice"]

_REMARKS = (
    (r"HTTP 401\b|invalid_api_key", "check the key: key_env names its variable"),
    (r"HTTP 402\b|insufficient_quota|exceeded your current quota", "check the account's quota"),
    (r"HTTP 429\b", "lower concurrency, or set rpm and tpm"),
    (r"HTTP 3\d\d\b", "write the URL that it leads to"),
    (r"HTTP 404\b|model_not_found", "check the model's id and the URL, which mostly ends in /v1"),
    (
        r"HTTP 413\b|max_(completion_)?tokens|context[ _-]?(length|size|window)|too (long|many tokens)|"
        r"reduce the length|inputs.{0,40}tokens",
        "lower sampling.max_tokens, or shorten what is asked",
    ),
    (r"HTTP 403\b", "check what the key may ask for, and what the server refuses to read"),
    (r"HTTP 4(00|22)\b", "check sampling, extra_body and drop_params"),
)


def advice(reason: str) -> str:
    """What to change, in parentheses after a blank; empty where nothing is known to help.

    Args:
        reason: of the failure, as it is recorded: ``HTTP 400: the server's words``.
    """
    for pattern, remark in _REMARKS:
        if re.search(pattern, reason, re.IGNORECASE):
            return f" ({remark})"
    return ""
