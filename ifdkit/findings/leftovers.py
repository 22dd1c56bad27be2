"""Leftovers of chat formats and prompt templates: special tokens, further turns, template markers.

A trainer adds these itself.  If they are in the text too, the model sees the end of a turn in the
middle of a response, or learns to write the user's next message.

Code is skipped, and so are texts about tokenizers, formats and prompts: they quote such tokens for
a reason.
"""

from __future__ import annotations

import re

from ifdkit.findings.checks import example_check
from ifdkit.findings.markup import without_code
from ifdkit.findings.texts import quote_at

_ABOUT_FORMATS = re.compile(
    r"tokeni[sz]|special tokens?\b|control tokens?\b|\btokens\b|chat ?ml\b|chat (?:template|format)"
    r"|\b(?:eos|bos|eot|sep|cls|pad|mask)\b|end[- ]of[- ](?:text|sequence|sentence|turn)"
    r"|\bprompt(?:s|ing)? (?:template|format)|\b(?:bert|gpt-?\d|llama|mistral|gemma|qwen)\b"
    r"|fine-?tun|\bvocab|\bdelimiters?\b|\bformat of\b",
    re.IGNORECASE,
)

# Special tokens

_SPECIAL_TOKEN = re.compile(
    # <|endoftext|>, <|im_end|>, <|eot_id|>, <|assistant|>; F# writes `x <| f |> g` with spaces.
    r"<\|/?[a-z][a-z0-9_ ]{0,38}[a-z0-9_]\|>"
    r"|<\uff5c[^<>\uff5c\n]{1,40}\uff5c>"  # DeepSeek: full-width bars
    r"|</?(?:start_of_turn|end_of_turn|bos|eos|pad|unk|eot|endoftext|extra_id_\d{1,3}|sop|eop)>"
    r"|\[/?INST\]|<</?SYS>>|\[(?:PAD|UNK|CLS|SEP|gMASK|BOS|EOS|TOOL_CALLS|AVAILABLE_TOOLS)\]"
    r"|\[/?(?:SYSTEM_PROMPT|TOOL_RESULTS|AVAILABLE_TOOLS)\]"
    r"|</s>(?=\s*(?:\Z|<s>|\[INST\]|(?i:user|human|assistant)\b))|\A\s*<s>(?!.{0,2000}</s>\s*\S)",
    re.IGNORECASE,
)
_STRUCK_OUT = re.compile(r"<s>[^<]{1,500}</s>", re.IGNORECASE)
"""HTML's struck-out text, whose closing tag is no end of a sequence."""


@example_check(
    "special_token",
    "leftover special tokens",
    "The text contains a special token of a chat format.",
)
def special_token(instruction: str, response: str) -> str | None:
    """The instruction or the response contains a special token of a known tokenizer."""
    for text in (instruction, response):
        if "<" not in text and "[" not in text:
            continue
        found = _SPECIAL_TOKEN.search(without_code(text))
        if found is None or _ABOUT_FORMATS.search(instruction):
            continue
        if found.group().lower() == "</s>" and _STRUCK_OUT.search(text):
            continue
        return quote_at(text, found.start())
    return None


# A conversation that goes on

_HEADED_TURN = re.compile(
    r"^[ \t]*#{2,4} ?(?:human|user|assistant|instruction|response|input|prompt)\b ?:",
    re.IGNORECASE | re.MULTILINE,
)
_USER_TURN = re.compile(r"(?<=\n)[ \t]*(?:\*\*)?(?:human|user)(?:\*\*)? ?:", re.IGNORECASE)
_ASSISTANT_TURN = re.compile(
    r"^[ \t]*(?:\*\*)?(?:assistant|ai|bot|chatbot|chatgpt|gpt|model|response)(?:\*\*)? ?:",
    re.IGNORECASE | re.MULTILINE,
)
_AFTER_BLANK_LINE = re.compile(r"\n[ \t]*\n[ \t]*\Z")
_CONVERSATION_WANTED = re.compile(
    r"\b(?:dialog(?:ue)?s?|conversations?|transcripts?|chats?|chat-?bots?|scripts?|interviews?"
    r"|role-?play|scenes?|screenplay|skit|plays?\b|assistants?|prompts?|templates?|examples? of"
    r"|few-?shot|log(?:s|in)?|continue|continuation)\b",
    re.IGNORECASE,
)


@example_check(
    "continued_conversation",
    "responses that go on with the user's next turn",
    "The response goes on with another turn of the conversation.",
)
def continued_conversation(instruction: str, response: str) -> str | None:
    """The response contains the label of a further turn, and nobody asked for a conversation."""
    if ":" not in response:
        return None
    text = without_code(response)
    found = _HEADED_TURN.search(text) or _labelled_turn(text)
    if found is None or _CONVERSATION_WANTED.search(instruction):
        return None
    return quote_at(response, found.start())


def _labelled_turn(text: str) -> re.Match[str] | None:
    """A line that begins with "User:", after a blank line or with an answer to it in the text."""
    for found in _USER_TURN.finditer(text):
        before = text[max(0, found.start() - 100) : found.start()]
        if _AFTER_BLANK_LINE.search(before) or _ASSISTANT_TURN.search(text, found.end()):
            return found
    return None


# Templates

_TEMPLATE = re.compile(
    r"^[ \t]*#{2,4} ?(?:response|instruction|assistant|human)\b ?:"
    r"|^below is an instruction that describes a task\b"
    r"|\bwrite a response that appropriately completes the request\b"
    r"|\ba chat between a curious (?:user|human) and an artificial intelligence assistant\b"
    r"|(?:^|\s)(?:assistant|ai) ?:\s*\Z",
    re.IGNORECASE | re.MULTILINE,
)
_ABOUT_TEMPLATES = re.compile(
    r"\bprompt (?:template|format)|\b(?:alpaca|vicuna) (?:template|format|prompt)", re.IGNORECASE
)


@example_check(
    "template_marker",
    "prompt templates inside instructions",
    "The instruction contains the words of a prompt template, such as “### Response:”.",
)
def template_marker(instruction: str, response: str) -> str | None:
    """The instruction contains what a template of the trainer adds around it."""
    del response
    found = _TEMPLATE.search(without_code(instruction)) if _may_be_template(instruction) else None
    if found is None or _ABOUT_TEMPLATES.search(instruction):
        return None
    return quote_at(instruction, found.start())


def _may_be_template(text: str) -> bool:
    """A cheap test that rules out nearly every text."""
    return "##" in text or text.rstrip().endswith(":") or "request" in text or "rtificial" in text
