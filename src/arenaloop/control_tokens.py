"""Texts that spell control tokens: what chat templates and tokenizers put around turns, and what reads like it.

Most servers take a control token for what it stands for wherever it is spelt, in a contestant's answer, too: what
follows is then read as an instruction, or as the judge's own words. No list of tokens is complete, so what counts is
the shape. A short word in brackets of any look (angle, square with capitals, triangles, with bars or without) is
broken, unless it is plainly something else: an element of HTML, SVG or MathML, or one that the text opens and closes; a
type in its generics, a header of C, an index, a link, a placeholder (``<url>``, ``[FILE]``), a level of a log. Between
quotation marks of any writing only the words of turns and tokens are broken.

Breaking costs a blank (``< file_name>``), a flag costs an answer its good name, so fewer are flagged (`unmistakable`):
the tokens of the known families (`FAMILIES`), words within bars, and words that speak of turns, tools or thinking.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

__all__ = ["FAMILIES", "broken", "control_tokens", "unmistakable", "without"]

FAMILIES: dict[str, tuple[str, ...]] = {
    "ChatML (Qwen, Yi, SmolLM)": ("<|im_start|>", "<|im_end|>", "<|im_sep|>", "<|endoftext|>"),
    "Llama 2": ("<s>", "</s>", "[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
    "Llama 3, 4": ("<|begin_of_text|>", "<|start_header_id|>", "<|eot_id|>", "<|eom_id|>", "<|python_tag|>", "<|eot|>"),
    "Mistral": ("[SYSTEM_PROMPT]", "[AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[TOOL_CONTENT]", "[ARGS]",
                "[CALL_ID]", "[THINK]", "[/THINK]", "[IMG]", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
                "[SUFFIX]"),
    "Gemma": ("<bos>", "<eos>", "<pad>", "<unk>", "<start_of_turn>", "<end_of_turn>", "<|turn>", "<turn|>",
              "<start_of_image>", "<unused0>"),
    "DeepSeek": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>",
                 "<｜tool▁calls▁begin｜>"),
    "gpt-oss (harmony)": ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>"),
    "Phi, Zephyr": ("<|system|>", "<|user|>", "<|assistant|>"),
    "Command R": ("<BOS_TOKEN>", "<EOS_TOKEN>", "<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>",
                  "<|CHATBOT_TOKEN|>"),
    "EXAONE": ("[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]", "[BOS]"),
    "GLM": ("[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|observation|>"),
    "InternLM": ("<eoa>", "<eoh>", "<eosys>", "<TOKENS_UNUSED_1>"),
    "Nemotron, T5": ("<extra_id_0>", "<extra_id_1>"),
    "Baichuan": ("<reserved_106>", "<reserved_107>"),
    "MiniMax": ("<beginning_of_sentence>", "<end_of_sentence>", "]~b]", "[e~[", "]~!b["),
    "Seed-OSS": ("<seed:bos>", "<seed:eos>", "<seed:think>", "</seed:think>", "<seed:tool_call>"),
    "Granite, Jamba": ("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>", "<|bom|>", "<|eom|>"),
    "TeleChat": ("<_user>", "<_bot>", "<_start>", "<_end>"),
    "LLaVA": ("<image>",),
    "BERT, RoBERTa": ("[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "<mask>"),
    "thinking": ("<think>", "</think>", "<thinking>", "</thinking>"),
    "tools (Hermes, Qwen, Granite)": ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>",
                                      "</tools>", "<function_calls>"),
}  # fmt: skip
"""Control tokens by family, as they stand in the tokenizers and chat templates that the models are published with
(``tokenizer_config.json``, ``special_tokens_map.json``, ``chat_template.jinja`` of each)."""

_AMBIGUOUS = {"<s>", "</s>", "<mask>", "<image>"}  # HTML and SVG know them, too

_WORDS = (
    "start|begin|beginning|end|stop|bos|eos|eot|eom|eod|eoa|eop|sop|turn|token|tokens|special|reserved|extra|unused|"
    "tool|tools|function|think|thinking|thought|reasoning|fim|header|inst|instruction|im|bot|call|calls|args|prompt|"
    "results|img|mask"
)
"""What the words of a control token speak of; a bracketed word with an underscore is one with any of these in it."""

_ALONE = (
    "bos|eos|eot|eom|eod|eoc|eou|eoa|eop|eoh|sot|sop|soh|sep|cls|unk|pad|fim|inst|endoftext|startoftext|endofturn|"
    "endofprompt|endofchunk|im_start|im_end"
)
"""Words that stand for nothing else."""

_NUMBERED = "unused|reserved|extra|special|token|control|dummy|placeholder|slot|sentinel|extra_id|reserved_token"

_ROLES = "system|assistant|human|chatbot|bot|robot|ai|gpt|usr|sys"

_SPOKEN = f"{_ROLES}|user|model|agent|human|{_ALONE}|{_WORDS}"
"""Words that are broken between quotation marks, too."""

_SPEAKERS = frozenset({
    "user", "users", "agent", "client", "model", "llm", "speaker", "turn",
    "prompt", "instruction", "instructions", "dialog", "query",
})  # fmt: skip
"""Names of turns that are honest names of elements, too: broken even where they are opened and closed, unless they
hold nothing but elements, as data do."""

_NO_DATA = _SPEAKERS | frozenset(_ROLES.split("|")) | frozenset(_ALONE.split("|")) | frozenset(_WORDS.split("|"))

_HTML = """
    a abbr acronym address applet area article aside audio b base basefont bdi bdo bgsound big blink
    blockquote body br button canvas caption center cite code col colgroup command content data datalist dd
    del details dfn dialog dir div dl dt element em embed fieldset figcaption figure font footer form frame
    frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html i iframe image img input ins isindex kbd keygen
    label legend li link listing main map mark marquee menu menuitem meta meter multicol nav nextid nobr
    noembed noframes noscript object ol optgroup option output p param picture plaintext portal pre progress
    q rb rbc rp rt rtc ruby samp script search section select shadow slot small source spacer span strike
    strong style sub summary sup svg table tbody td template textarea tfoot th thead time title tr track tt u
    ul var video wbr xmp
"""
"""The living standard's elements, and those that it calls obsolete."""
_SVG = """
    animate animatemotion animatetransform circle clippath cursor defs desc discard ellipse feblend
    fecolormatrix fecomponenttransfer fecomposite feconvolvematrix fediffuselighting fedisplacementmap
    fedistantlight fedropshadow feflood fefunca fefuncb fefuncg fefuncr fegaussianblur feimage femerge
    femergenode femorphology feoffset fepointlight fespecularlighting fespotlight fetile feturbulence filter
    foreignobject g hatch hatchpath line lineargradient marker mesh meshgradient meshpatch meshrow metadata
    mpath path pattern polygon polyline radialgradient rect set solidcolor stop switch symbol text textpath
    tref tspan use view
"""
"""SVG 2's."""
_MATHML = """
    annotation annotation-xml maction math menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded
    mphantom mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder
    munderover none semantics
"""
"""MathML Core's, and the presentation elements of MathML 3."""
_MARKUP = frozenset([*_HTML.split(), *_SVG.split(), *_MATHML.split()])

_BAR = "|｜¦ǀ∣❘│︱⎸⎹▏▕"
_LEFT, _RIGHT = "<＜﹤", ">＞﹥"
_PLAIN = (
    "（）⁽⁾₍₎﹙﹚“”‘’„‚‟‛〝〞〟「」『』｢｣﹁﹂﹃﹄［］＜＞༺༼༻༽᚛᚜"  # what writing has: quotation marks, round brackets
    "«»‹›《》〈〉"
)
_ODD_LEFT, _ODD_RIGHT = (
    ends + "".join(c for c in map(chr, range(0xA1, 0x10000)) if unicodedata.category(c) in kinds and c not in _PLAIN)
    for ends, kinds in (("◁◀", ("Ps", "Pi")), ("▷▶", ("Pe", "Pf")))
)
_QUOTE_LEFT, _QUOTE_RIGHT = "«‹《〈", "»›》〉"  # with which all writing quotes and names books
_UNSEEN = "\u00ad\u200b-\u200d\u2060\ufeff"
_MARKS = r"[^\w\s<>＜＞|｜\"'=,;+^\\%&]"
_WORD = (
    rf"(?:0[xX][0-9a-fA-F]{{1,4}}|(?={_MARKS}{{0,3}}[\d{_UNSEEN}]{{0,8}}(?:[^\W\d]|_))"
    rf"(?:[\w{_UNSEEN}]|{_MARKS}){{1,40}})"
)

_LISTED = "|".join(
    re.escape(token[1:])
    for tokens in FAMILIES.values()
    for token in sorted(tokens, key=len, reverse=True)
    if "|" not in token and "｜" not in token
)
_TOKEN = re.compile(
    rf"""[{_LEFT}\[［\]{_ODD_LEFT}{_QUOTE_LEFT}](?=(
        (?i:{_LISTED})
      | (?<=[{_LEFT}{_ODD_LEFT}{_QUOTE_LEFT}])/?[{_BAR}][^{_BAR}<>＜＞\n]{{1,200}}[{_BAR}]\s?
          [{_RIGHT}{_ODD_RIGHT}{_QUOTE_RIGHT}]                                # <|x|>
      | (?<=[{_LEFT}])[{_BAR}][\w:./▁-]{{1,60}}[{_RIGHT}] | (?<=[{_LEFT}])[\w:./▁-]{{1,60}}[{_BAR}][{_RIGHT}]
      | (?<=[\[［])[|｜]\s?[A-Za-z][\w:./ ▁-]{{0,60}}[|｜][\]］]              # [|x|]
      | (?<=[{_LEFT}])/?_?(?i:{_ROLES})[{_RIGHT}] | (?<=[{_LEFT}])/?_(?i:user|model)[{_RIGHT}]          # <system>
      | (?<=[◁◀⟨〈‹])/?_?(?i:{_ROLES}|user|{_ALONE})[▷▶⟩〉›]                 # ◁user▷
      | (?<=[{_LEFT}])/?(?i:{_ALONE})\s?/?[{_RIGHT}] | (?<=[\[［])/?(?i:{_ALONE})(?:_\w{{1,20}})?[\]］]   # <eod>
      | (?<=[{_LEFT}\[［])(?i:{_NUMBERED})[_-]?\d{{1,6}}[{_RIGHT}\]］]           # <unused94>
      | (?<=[{_LEFT}])/?(?:[A-Z0-9]{{1,20}}_){{1,3}}(?:SYS|SYSTEM|HUMAN|BOT|ASSISTANT|INST)[{_RIGHT}]  # <B_SYS>
      | (?<=[{_LEFT}])/?(?i:(?=[a-z0-9]{{1,20}}[_:▁])
          (?:[a-z0-9]{{1,20}}[_:▁]){{0,6}}(?:{_WORDS})(?:[_▁][a-z0-9]{{1,20}}){{0,6}})/?[{_RIGHT}]
      | (?<=[{_LEFT}])/?(?i:(?:{_WORDS})(?:[_▁][a-z0-9]{{1,20}}){{1,6}})/?[{_RIGHT}]   # <x_y> that speaks of turns, …
      | (?<=[{_LEFT}])(?:function|parameter|invoke)\s?=\s?[^<>\n]{{1,80}}[{_RIGHT}]     # <function=x>
      | (?<=[\[［])/?(?:[A-Z0-9]{{1,20}}_){{0,4}}(?i:{_WORDS})(?:_[A-Z0-9]{{1,20}}){{1,4}}[\]］]   # [X_Y], likewise
      | (?<=[\[［])/?(?:[A-Z0-9]{{1,20}}_){{1,4}}(?i:{_WORDS})[\]］]
      | (?<=[\[［])/[A-Z][A-Z_]{{2,30}}[\]］]                                # [/X]
      | (?<=[{_LEFT}])[{_LEFT}]/?[A-Z][A-Z_]{{1,30}}[{_RIGHT}]{{2}}           # <<X>>
      | (?P<angle>(?<=[{_LEFT}])/?{_WORD}(?:\s|\s+[\w:.-]{{1,30}}\s?=[^<>\n]{{1,100}}(?<![/?]))?)(?<!/)[{_RIGHT}]
      | (?P<square>(?<=[\[［])/?_?(?:[A-ZＡ-Ｚ][A-Z0-9_Ａ-Ｚ０-９]{{1,30}}|(?i:user|{_ROLES})
          |(?i:role|turn|speaker)\s?[=:]\s?\w{{1,20}}))[\]］]
      | (?P<quoted>(?<=[{_QUOTE_LEFT}])/?_?(?i:(?:[a-z0-9]{{1,20}}[_:▁]){{0,6}}(?:{_SPOKEN})
          (?:[_:▁][a-z0-9]{{1,20}}){{0,6}}))[{_QUOTE_RIGHT}]
      | (?P<odd>(?<=[{_ODD_LEFT}])/?[A-Za-z_][\w▁:-]{{1,40}})[{_ODD_RIGHT}]
    ))""",
    re.VERBOSE,
)
_FOREIGN = re.compile(rf"[＜﹤［{_QUOTE_LEFT}{re.escape(_ODD_LEFT)}]")
_ELEMENT = re.compile(r"<(/?)([\w:.-]{1,40})(?=[\s/>])")
_CHILD_BEHIND = re.compile(r"\s{0,40}<([A-Za-z][\w:.-]{0,40})(?:>|\s[^<>\n]{0,100}>)")
_CHILD_BEFORE = re.compile(r"</([A-Za-z][\w:.-]{0,40})>\s{0,40}\Z")
_INCLUDE = re.compile(r"(?:#\s*include|\bimport)\s*\Z")
_ADDRESS = re.compile(
    r"[\w.+-]+(?:://|@[\w-]+\.)|mailto:|(?:[\w+-]+/)*[\w+-]+\.(?:h|hh|hpp|hxx)$|www\.|[!?](?:$|[A-Za-z-])"
)
_TYPE = re.compile(
    r"[A-Z]\d?|[A-Z][A-Za-z0-9]*[a-z][A-Za-z0-9]*|\w+::\w+|\w+_t|[iuf]\d{1,3}|[iu]size|(?:unsigned|signed)?(?:int|long|short|char)|"
    r"float|double|bool|boolean|byte|void|str|string|wchar|auto|any|number|object|unknown|never|null|undefined|symbol|bigint|"
    r"dynamic|var|typename|class"
)
"""Types as they stand in generics: ``List<String>``, ``Vec<u8>``, ``vector<uint8_t>``."""
_CAPITALS = re.compile(r"[<＜]/?(?=[A-Z0-9]{0,30}(?:[A-Z]{2}|_))[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*[>＞]")
_PLACEHOLDER = re.compile(
    r"YOUR|MY|NEW|OLD|URL|URI|HTTPS?|IP|U?U?ID|NAME|FILE|PATH|DIR|FOLDER|KEY|HOST|PORT|DATE|TIME|DAY|MONTH|YEAR|EMAIL|"
    r"PASSWORD|PASS|SECRET|USER|NUMBER|NUM|COUNT|SIZE|VALUE|VAL|TYPE|TEXT|STRING|INT|ADDRESS|PHONE|CITY|BRANCH|VERSION|"
    r"YOURS?|API|REPO|REPOSITORY|PROJECT|LINK|SITE|DOMAIN|PAGE|QUERY|PATTERN|OPTIONS?|FLAGS?|FILES?|FILENAME|USERNAME|DIRECTORY|"
    r"COMMAND|CMD|SOURCE|DEST|DESTINATION|TITLE|COMPANY|COUNTRY|STREET|STATE|CODE|LEVEL|AMOUNT|PRICE|FIRST|LAST|"
    r"INFO|DEBUG|WARN|WARNING|ERROR|FATAL|TRACE|NOTICE|TODO|FIXME|NOTE|OK|FAIL|FAILED|SKIP|SKIPPED|"
    r"ENTER|RETURN|SPACE|TAB|CTRL|CONTROL|ALT|SHIFT|ESC|DEL|BACKSPACE|CR|LF|CRLF|NULL?|LEADER|UP|DOWN|LEFT|RIGHT|F\d+"
)


def control_tokens(text: str) -> list[str]:
    """What is broken in a text, each spelling once, in the order in which they come first."""
    return list(dict.fromkeys(found[0] + found[1] for found in _found(text)))


def unmistakable(tokens: list[str]) -> list[str]:
    """Those of a text's control tokens that are nothing else: placeholders have brackets, and HTML has an ``<s>``."""
    return [token for token in tokens if token.lower() not in _AMBIGUOUS and _is_certain(token)]


def broken(text: str) -> str:
    """`text` with its control tokens broken by a blank, ``< |im_end|>``: text to tokenizers and people alike."""
    parts, done = [], 0
    for found in _found(text):
        parts.append(text[done : found.end()])
        done = found.end()
    return " ".join([*parts, text[done:]]) if parts else text


def without(text: str, instead: str = "") -> str:
    """`text` with something else in the place of each of its `unmistakable` control tokens."""
    pieces, at = [], 0
    for found in _found(text):
        token = found[0] + found[1]
        if found.start() >= at and unmistakable([token]):  # else within the one before
            pieces += [text[at : found.start()], instead]
            at = found.start() + len(token)
    return "".join((*pieces, text[at:]))


def _is_certain(token: str) -> bool:
    found = _TOKEN.match(token)
    if found is None or _kind(found) is None:
        return found is not None
    words = token.strip("</>＜＞").split("_")
    return _CAPITALS.fullmatch(token) is not None and not any(_PLACEHOLDER.fullmatch(word) for word in words)


def _is_placeholder(word: str) -> bool:
    """Whether something is what people write for others to fill in: each of its words is of those."""
    words = re.split(r"[_\-. ]", word.strip("/ ").upper())
    return all(map(_PLACEHOLDER.fullmatch, words)) and words != ["USER"]


def _kind(found: re.Match[str]) -> str | None:
    """By which loose shape something was found; None for a shape that is a token's alone."""
    return next((name for name in ("angle", "square", "odd", "quoted") if found[name] is not None), None)


def _found(text: str) -> Iterator[re.Match[str]]:
    """Where a control token begins, by its bracket."""
    if not ("<" in text or "[" in text or "]~" in text or (not text.isascii() and _FOREIGN.search(text))):
        return
    elements: tuple[set[str], set[str]] | None = None
    for found in _TOKEN.finditer(text):
        kind = _kind(found)
        if kind is None or kind in ("odd", "quoted"):
            yield found
        elif kind == "square":
            at = found.start()
            glued = at > 0 and (text[at - 1].isalnum() or text[at - 1] in "_)")  # an index
            linked = text[found.end(1) : found.end(1) + 1] == "("
            if not glued and not linked and not _is_placeholder(found["square"]):
                yield found
        elif found[0] != "<":
            yield found
        else:
            inner = found["angle"].strip("/ ")
            word = inner.split(None, 1)[0]
            if word.lower() in _MARKUP or _is_code(text, found.start(), word) or _is_placeholder(inner):
                continue
            if word[0] != "_" and (word.lower() not in _SPEAKERS or _holds_elements(text, found)):
                if elements is None:
                    elements = _elements(text)
                if word in elements[0] and word in elements[1]:
                    continue
            yield found


def _holds_elements(text: str, found: re.Match[str]) -> bool:
    """Whether what an element encloses begins, or at its end tag ends, with another one: no turn, but data."""
    if found["angle"].startswith("/"):
        beside = _CHILD_BEFORE.search(text, max(0, found.start() - 100), found.start())
    else:
        beside = _CHILD_BEHIND.match(text, found.end(1))
    return beside is not None and (name := beside[1].lower()) not in _MARKUP and name not in _NO_DATA


def _elements(text: str) -> tuple[set[str], set[str]]:
    """The names of what is opened like an element of XML in a text, and of what is closed."""
    opened: set[str] = set()
    closed: set[str] = set()
    for found in _ELEMENT.finditer(text):
        (closed if found[1] else opened).add(found[2])
    return opened, closed


def _is_code(text: str, at: int, word: str) -> bool:
    """Whether what stands in angle brackets is an address, a header, or a type behind the name of a generic one."""
    if _ADDRESS.match(word):
        return True
    before = text[max(0, at - 20) : at]
    if before[-1:].isalnum() or before[-1:] == "_" or before.endswith("::"):
        return not word[0].isalnum() or _TYPE.fullmatch(word) is not None
    return _INCLUDE.search(before) is not None
