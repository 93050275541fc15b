"""A judge that behaves like a language model: it reads the judge prompt, writes an explanation and a line of scores.

Asked for one of five labels, a JSON object or the label of a seat instead, it gives that: the words after the material
say which, and the request's schema and log-probabilities.

It sees the gold utility of both answers through noise and through two biases that real judges have: it favours the
first seat and the longer answer. What it may know stands in the judge prompt, found there by the delimiters:

* the last user message holds a line ``Marker: TAG``, TAG being a hexadecimal code; the first such line counts;
* each later line ``=== TAG LABEL ===`` opens a segment that runs to the next such line. The labels are
  ``history system|user|assistant``, ``user prompt``, then for the first seat ``answer 1`` (and ``follow-up``,
  ``answer 1`` for every later turn), the same with ``answer 2`` for the second, and ``end``.

A prompt with parts ``pair 1 user prompt``, ``pair 1 answer 1``, ``pair 1 answer 2``, ``pair 2 user prompt`` and so on
is answered with the better answer of each pair. One with one ``answer`` (for every turn) is answered with a score from
0 to 5, and one that besides holds two parts ``judgement A`` and ``judgement B`` with the better of them. One with a
``user prompt`` and no answer is answered with its difficulty from 0 to 10, or with a category.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from hashlib import blake2b
from struct import unpack

from arenaloop.errors import ConfigError
from arenaloop.judges.answer_lines import CATEGORIES
from arenaloop.judges.parsers import parser_for
from arenaloop.sandbox.gold import utility
from arenaloop.types import Completion, Outcome, Request

__all__ = [
    "SandboxJudge",
    "SimulatedHuman",
    "read_answer_prompt",
    "read_judge_prompt",
    "read_pairs_prompt",
    "text_statistic",
]

_REASON = "I looked at what was asked and how closely each answer keeps to it."
_LONE_REASON = "I looked at what was asked and how closely it keeps to that."

_RUBRIC = 5.0 / 8.0
"""What a point of a pair's scores is on the scale from 0 to 5, where an answer of utility u is worth 5 u."""

_PAIR = re.compile(r"pair \d+ (?:user prompt|answer [12])")
_MARKER = re.compile(r"^Marker: ([0-9a-fA-F]+)[ \t]*$", re.MULTILINE)


def _segments(text: str) -> Iterator[tuple[str, str]]:
    """(label, words) of what stands between the delimiters."""
    marker = _MARKER.search(text)
    if marker is None:
        return
    for piece in text[marker.end() :].split(f"\n=== {marker[1]} ")[1:]:
        # an empty segment may have no line of its own between the headers
        label, header_ended, body = piece.partition(" ===\n")
        if not header_ended:
            label = piece.rstrip().removesuffix(" ===")
        if label == "end":
            return
        yield label, body


def read_judge_prompt(text: str) -> tuple[list[str], list[str], list[str]] | None:
    """Find user turns, first seat's answers and second seat's answers in a judge prompt; None where they are not.

    Returns:
        Three lists of one length, one entry per user turn.
    """
    turns: list[str] = []
    first: list[str] = []
    second: list[str] = []
    for label, body in _segments(text):
        if label == "answer 1":
            first.append(body)
        elif label == "answer 2":
            second.append(body)
        elif label == "user prompt" or (label == "follow-up" and not second and len(turns) == len(first)):
            turns.append(body)
    if not turns or len(first) != len(turns) or len(second) != len(turns):
        return None
    return turns, first, second


def read_answer_prompt(text: str) -> tuple[list[str], list[str], list[str]] | None:
    """Find user turns, the answer to each, and judgements (none or two) in a judge prompt; None where they are not."""
    parts = list(_segments(text))
    turns = [body for label, body in parts if label in ("user prompt", "follow-up")]
    answers = [body for label, body in parts if label == "answer"]
    judgements = [body for label, body in parts if label in ("judgement A", "judgement B")]
    if not turns or len(answers) != len(turns) or len(judgements) not in (0, 2):
        return None
    return turns, answers, judgements


def read_pairs_prompt(text: str) -> list[tuple[str, str, str]]:
    """Find what each of several pairs answers, and its two answers, in a judge prompt; none where they are not."""
    bodies = [body for label, body in _segments(text) if _PAIR.fullmatch(label)]
    return [(bodies[at], bodies[at + 1], bodies[at + 2]) for at in range(0, len(bodies) - len(bodies) % 3, 3)]


def _uniforms(*parts: object) -> list[float]:
    """Four numbers in (0, 1), fixed by `parts`."""
    digest = blake2b(repr(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return [(word + 0.5) / 4294967296 for word in reversed(unpack(">4I", digest))]


def _normals(*parts: object) -> tuple[float, float, float]:
    """Two independent standard normal numbers (Box and Muller 1958) and a uniform one, fixed by `parts`."""
    u, v, w, _ = _uniforms(*parts)
    radius = math.sqrt(-2.0 * math.log(u))
    return radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v), w


def text_statistic(prompt: str, answer: str, seed: int = 0) -> float:
    """A fixed stand-in for quality in [0, 1], for prompts outside the world: 0 for empty text.

    It grows with length (to about a page), with the share of different words and with the words shared with the prompt,
    and holds a part that depends on the text alone, as taste does.
    """
    words = answer.lower().split()
    if not words:
        return 0.0
    different = set(words)
    length = min(1.0, math.log1p(len(words)) / math.log1p(400))
    variety = len(different) / len(words)
    asked = set(prompt.lower().split())
    touched = len(different & asked) / len(asked) if asked else 0.0
    taste = _uniforms("taste", seed, prompt, answer)[0]
    return 0.45 * length + 0.15 * variety + 0.15 * min(1.0, touched) + 0.25 * taste


class SandboxJudge:
    """Call it with a request that holds a judge prompt; it returns the text of a verdict.

    The score of an answer of utility u is ``1.5 + 8 u``, plus what the judge thinks of the text whoever asks (half the
    noise), plus noise of this call, plus the biases, rounded to halves and kept within 1 to 10. Equal answers get equal
    scores, except that one time in five the seat shows. All randomness is fixed by the seed, the texts and the sample
    index, so neither order nor concurrency changes a verdict. By default the seats of about one pair in seven of
    different answers disagree, as with real judges, while the mean of both seats seldom names the wrong winner.

    A lone answer gets the same points, without a seat and longer or shorter than its prompt, as a whole number from 0
    to 5; asked at a temperature, the noise of the call differs with the request's seed as well. Of two judgements that
    one is better whose score is nearer to what the utility is worth, seen through the same noise and biases.

    Args:
        noise: standard deviation of one call's noise, in points.
        seat_bias: points by which the first seat is favoured.
        length_bias: points by which an answer is favoured over an empty one for its length; in between in proportion to
            the difference of lengths over their sum.
        phrase: a text that it loves: whatever holds it is favoured by `phrase_bias` points.
        unparsed_rate: share of verdicts whose last line is no line of scores.
        seed: which judge it is; two seeds err differently.

    Raises:
        ConfigError: a negative noise, or a rate outside [0, 1].
    """

    def __init__(
        self,
        noise: float = 1.5,
        seat_bias: float = 0.6,
        length_bias: float = 0.6,
        *,
        unparsed_rate: float = 0.0,
        seed: int = 0,
        phrase: str = "",
        phrase_bias: float = 0.0,
    ) -> None:
        if noise < 0:
            raise ConfigError(f"the judge's noise must not be negative, got {noise}")
        if not 0 <= unparsed_rate <= 1:
            raise ConfigError(f"unparsed_rate must lie in [0, 1], got {unparsed_rate}")
        self.noise = noise
        self.seat_bias = seat_bias
        self.length_bias = length_bias
        self.unparsed_rate = unparsed_rate
        self.phrase = phrase
        self.phrase_bias = phrase_bias
        self.seed = seed

    def __call__(self, request: Request) -> str:
        """Judge what stands in the last user message of the request: a pair, one answer, or two judgements."""
        asked = request.messages[-1]["content"]
        read = read_judge_prompt(asked)
        if read is None:
            if (alone := read_answer_prompt(asked)) is not None:
                turns, answers, judgements = alone
                return self._winner(request, *alone) if judgements else self._score(request, turns, answers)
            if pairs := read_pairs_prompt(asked):
                return self._choices(request, pairs)
            if turns := [body for label, body in _segments(asked) if label in ("user prompt", "follow-up")]:
                return self._of_prompt(request, turns)
            return "I cannot find two answers in this text, so there is nothing to compare."
        turns, first, second = read
        score_1, score_2, unparsed = self._scores(turns, first, second, request.sample)
        better = (
            "Both answers are equally good"
            if score_1 == score_2
            else f"Answer {1 if score_1 > score_2 else 2} is {'far ' if abs(score_1 - score_2) > 3 else ''}better"
        )
        if unparsed < self.unparsed_rate:
            return f"{better}, but I would rather not put numbers on it."
        return _worded(request, asked, score_1, score_2, f"{better}: {_REASON}")

    def complete(self, request: Request) -> str | Completion:
        """The same judge, with the log-probabilities of the labels where the request asks for them."""
        text = self(request)
        asked = request.messages[-1]["content"]
        read = read_judge_prompt(asked)
        if read is None and request.top_logprobs and (alone := read_answer_prompt(asked)) is not None:
            return self._expected(request, text, alone[0], alone[1])
        if not request.top_logprobs or read is None or text.rsplit("\n", 1)[-1] not in _seat_labels(asked):
            return text
        score_1, score_2, _ = self._scores(*read, request.sample)
        lead = (score_1 - score_2) / 2  # a lead of two points is odds of e to 1
        one, two = _seat_labels(asked)
        labels = {one: -math.log1p(math.exp(-lead)), two: -math.log1p(math.exp(lead))}
        before = tuple({word: 0.0} for word in text.split()[:-1])
        return Completion(text, finish_reason="stop", usd=0.0, logprobs=(*before, labels))

    def _scores(self, turns: list[str], first: list[str], second: list[str], sample: int) -> tuple[float, float, float]:
        call_1, call_2, uniform = _normals(self.seed, turns, first, second, sample)
        points_1 = self._points(turns, first)
        points_2 = self._points(turns, second)
        if first == second:
            shown = self.seat_bias if uniform < 0.2 else 0.0
            points_1 += self.noise * call_1
            return _halves(points_1 + shown), _halves(points_1), uniform
        lean = self.seat_bias + self._lean(first, second)
        points_1 += self.noise * call_1 + 0.5 * lean
        points_2 += self.noise * call_2 - 0.5 * lean
        return _halves(points_1), _halves(points_2), uniform

    def _choices(self, request: Request, pairs: list[tuple[str, str, str]]) -> str:
        """The better answer of each pair, by the scores that it would have alone; equal ones go to the first seat."""
        scores = [self._scores([prompt], [one], [two], request.sample) for prompt, one, two in pairs]
        if scores[0][2] < self.unparsed_rate:
            return "All of them have their merits, and I would rather not choose."
        chosen = [1 if one >= two else 2 for one, two, _ in scores]
        if request.schema is not None:
            return json.dumps({"explanation": _REASON, "choices": chosen})
        return f"{_REASON}\n\nChoices: {' '.join(map(str, chosen))}"

    def _score(self, request: Request, turns: list[str], answers: list[str]) -> str:
        drawn = request.seed if request.sampling.temperature else 0
        call, _, unparsed = _normals("rubric", self.seed, turns, answers, request.sample, drawn)
        points = self._points(turns, answers) + self.noise * call + 0.5 * self._lean(answers, turns)
        score = min(5, max(0, round(_RUBRIC * (points - 1.5))))
        if request.top_logprobs and "Explain" not in request.messages[-1]["content"].rpartition(" end ===\n")[2]:
            return str(score)
        if unparsed < self.unparsed_rate:
            return "The answer has its merits, but I would rather not put a number on them."
        return _named(request, f"The answer earns {score} of 5 points: {_LONE_REASON}", "score", score)

    def _of_prompt(self, request: Request, turns: list[str]) -> str:
        """How difficult a prompt is, by a statistic of its text and some noise; or a category, fixed by its text."""
        call, _, unparsed = _normals("prompt", self.seed, turns, request.sample)
        if unparsed < self.unparsed_rate:
            return "Somebody asks for something, and I would rather not say more."
        if "Category:" in request.messages[-1]["content"].rpartition(" end ===\n")[2]:
            drawn = _uniforms("category", self.seed, turns)[0]
            return f"It is about something.\n\nCategory: {CATEGORIES[int(drawn * len(CATEGORIES))]}"
        worth = sum(text_statistic("", turn, self.seed) for turn in turns) / len(turns)
        score = min(10.0, max(0.0, round(20.0 * worth + self.noise * call) / 2.0))
        return _named(request, "I looked at how much it asks for.", "score", score)

    def _expected(self, request: Request, text: str, turns: list[str], answers: list[str]) -> str | Completion:
        """A score with the log-probabilities of all of them: the further from its view, the less likely."""
        found = re.search(r"(\d)\s*\Z", text)
        if found is None:
            return text
        points = self._points(turns, answers) + 0.5 * self._lean(answers, turns)
        view, width = _RUBRIC * (points - 1.5), max(0.25, _RUBRIC * self.noise)
        weights = [-(((score - view) / width) ** 2) / 2 for score in range(6)]
        total = math.log(math.fsum(math.exp(weight - max(weights)) for weight in weights)) + max(weights)
        before = tuple({word: 0.0} for word in text[: found.start()].split())
        labels = {str(score): weight - total for score, weight in enumerate(weights)}
        return Completion(text, finish_reason="stop", usd=0.0, logprobs=(*before, labels))

    def _winner(self, request: Request, turns: list[str], answers: list[str], judgements: list[str]) -> str:
        call, _, unparsed = _normals("meta", self.seed, turns, answers, judgements, request.sample)
        worth = _RUBRIC * (self._worth(turns, answers) - 1.5)
        far_a, far_b = (5.0 if score is None else abs(score - worth) for score in map(_score_of, judgements))
        lean = self._lean(judgements[:1], judgements[1:])
        lead = far_b - far_a + _RUBRIC * (self.noise * call + self.seat_bias + lean)
        winner = "A" if lead > 0 else "B"
        if unparsed < self.unparsed_rate:
            return "Both judgements have their merits, and I would rather not choose."
        return _named(request, f"Judgement {winner} is nearer to what the answer earns.", "winner", winner)

    def _lean(self, texts: list[str], others: list[str]) -> float:
        """Points by which the longer of two is favoured."""
        length, other = sum(map(len, texts)), sum(map(len, others))
        return self.length_bias * (length - other) / max(1, length + other)

    def _points(self, turns: list[str], answers: list[str]) -> float:
        """What this judge thinks of a response before the noise of a call."""
        opinion = _normals("opinion", self.seed, turns, answers)[0]
        charm = self.phrase_bias if self.phrase and any(self.phrase in answer for answer in answers) else 0.0
        return self._worth(turns, answers) + 0.5 * self.noise * opinion + charm

    def _worth(self, turns: list[str], answers: list[str]) -> float:
        """Points that a response's utility is worth; outside the world a statistic of its text stands for that."""
        total = 0.0
        for prompt, answer in zip(turns, answers, strict=True):
            gold = utility(prompt, answer)
            total += text_statistic(prompt, answer, self.seed) if gold is None else gold
        return 1.5 + 8.0 * total / len(turns)


def _score_of(judgement: str) -> float | None:
    """The score that a judgement's text gives, as a line or as JSON."""
    said = Completion(judgement)
    score: float | None = parser_for("score").read(said)
    return parser_for("score", "json").read(said) if score is None else score


def _named(request: Request, said: str, what: str, value: float | str) -> str:
    """A score or a winner, as a line or as JSON."""
    if request.schema is not None:
        return json.dumps({"explanation": said, what: value})
    return f"{said}\n\n{what.capitalize()}: {value}"


def _worded(request: Request, asked: str, score_1: float, score_2: float, said: str) -> str:
    """A verdict in the form that is asked for after the material (see `judges/templates`)."""
    gap = score_1 - score_2
    label = "A=B" if gap == 0 else ("A>>B" if gap > 3 else "A>B") if gap > 0 else "B>>A" if gap < -3 else "B>A"
    seat = _seat_labels(asked)[gap < 0]
    closing = asked.rpartition(" end ===\n")[2]
    if request.schema is not None:
        known = {"explanation": said, "score_1": score_1, "score_2": score_2}
        fields = request.schema["properties"]
        known["label"] = label if label in fields.get("label", {}).get("enum", ()) else seat
        return json.dumps({name: known[name] for name in fields})
    if request.top_logprobs:
        return f"{said}\n{seat}" if "Explain" in closing else seat
    if " m or M" in closing:
        return seat
    if "[[C]]" in closing:
        return f"{said}\n\n[[{'A' if gap > 0 else 'B' if gap < 0 else 'C'}]]"
    if "double brackets" in closing or "[[" in closing:
        return f"{said}\n\n[[{label}]]"
    scores = f"Scores: {score_1:g} {score_2:g}"
    return f"{scores}\n\n{said}" if "first line" in closing else f"{said}\n\n{scores}"


def _seat_labels(asked: str) -> tuple[str, str]:
    """What the seats are called where one of them is to be named."""
    return ("m", "M") if " m or M" in asked.rpartition(" end ===\n")[2] else ("1", "2")


def _halves(points: float) -> float:
    return min(10.0, max(1.0, round(2.0 * points) / 2.0))


class SimulatedHuman:
    """A human annotator who prefers the answer of higher utility, mostly.

    The first answer is preferred with probability ``1 / (1 + exp(-(u_a - u_b) / noise))`` (Bradley-Terry on utilities);
    without noise the higher utility always wins. There is no tie between different answers: someone has to choose.

    Args:
        seed: which annotator it is.
        noise: how far utilities must differ to be told apart, in units of utility; 0 for never wrong.
    """

    def __init__(self, seed: int = 0, noise: float = 0.15) -> None:
        if noise < 0:
            raise ConfigError(f"the annotator's noise must not be negative, got {noise}")
        self.seed = seed
        self.noise = noise

    def __call__(self, prompt: str, text_a: str, text_b: str) -> Outcome:
        """Which of two answers to a prompt the annotator prefers; which is named first does not matter."""
        if text_a == text_b:
            return Outcome.TIE
        if text_a > text_b:  # one draw for a pair, whatever its order
            return self(prompt, text_b, text_a).swap()
        gold_a, gold_b = utility(prompt, text_a), utility(prompt, text_b)
        if gold_a is None or gold_b is None:
            gold_a, gold_b = text_statistic(prompt, text_a), text_statistic(prompt, text_b)
        coin = _uniforms("human", self.seed, prompt, text_a, text_b)[0]
        if self.noise == 0 or gold_a == gold_b:
            return Outcome.from_scores(gold_a, gold_b) if gold_a != gold_b else (Outcome.A if coin < 0.5 else Outcome.B)
        chance = 0.5 * (1.0 + math.tanh((gold_a - gold_b) / (2.0 * self.noise)))
        return Outcome.A if coin < chance else Outcome.B
