"""The process that renders untrusted templates. `sandbox` starts it as a script, and may kill it.

It imports the standard library and Jinja only, so that it starts in a tenth of a second.  Frames in
both directions are a length of eight bytes and that many bytes.  The first frame from the parent is
the setup, each further one a list of jobs, both as JSON.  The answers are one frame for each
template of the setup, then one for each job: a letter that tells its kind, and a text in UTF-8.
"""

from __future__ import annotations

import json
import signal
import struct
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any, BinaryIO

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

TEXT, CLOCK, REFUSED, FAILED, TOO_LONG, NO_MEMORY = b"T", b"C", b"R", b"E", b"L", b"M"
"""Kinds of an answer: a prompt; a prompt that contains the date; the template's own words on why it
refuses the conversation; an error; a prompt that is too long; no memory."""
LENGTH = struct.Struct("<Q")
MAX_MESSAGE = 1000
"""Characters of an error that are sent."""


class RefusedError(jinja2.TemplateError):
    """The template called `raise_exception`; the message is its own."""


class GenerationTag(Extension):
    """`{% generation %}…{% endgeneration %}`, which marks what the assistant wrote: the body."""

    tags = {"generation"}  # noqa: RUF012  declared so by Extension

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, in a scope of its own as in transformers."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


class PublicNamespace(Namespace):
    """Jinja's `namespace` without private attributes, which lead to Python's internals."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, *rest = args
        values = dict(*rest, **kwargs)
        for name in values:
            _check_public(name)
        Namespace.__init__(self, values)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_public(name)
        super().__setitem__(name, value)


def _check_public(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace has no private attribute {name!r}")


def _raise_exception(message: object = "") -> None:
    raise RefusedError(str(message))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON without HTML escapes, which Jinja's own filter adds."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


class Clock:
    """Today's date for templates: always the same, so that a prompt is the same tomorrow."""

    def __init__(self, date: str) -> None:
        self.now = datetime.fromisoformat(date)
        self.was_read = False

    def strftime_now(self, form: str) -> str:
        """The date in a format of strftime; the time is midnight."""
        self.was_read = True
        return self.now.strftime(form)


def make_environment(style: str, clock: Clock) -> ImmutableSandboxedEnvironment:
    """The Jinja environment for chat templates, as in transformers, or for a user's files."""
    # No escaping: the text is not HTML.
    options: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    if style != "chat":
        options = {"keep_trailing_newline": True, "undefined": jinja2.StrictUndefined}
    environment = ImmutableSandboxedEnvironment(
        autoescape=False, extensions=[GenerationTag, "jinja2.ext.loopcontrols"], **options
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(
        raise_exception=_raise_exception,
        strftime_now=lambda form: clock.strftime_now(form),  # not a method: no way to the clock
        namespace=PublicNamespace,
    )
    return environment


class PromptTooLongError(Exception):
    """The template writes more than it may."""


def render(template: jinja2.Template, variables: dict[str, Any], max_chars: int) -> str:
    """The prompt. Raises PromptTooLongError as soon as it has more than `max_chars` characters."""
    pieces, left = [], max_chars
    for piece in template.generate(variables):
        left -= len(piece)
        if left < 0:
            raise PromptTooLongError
        pieces.append(piece)
    return "".join(pieces)


def answer(work: Callable[[], str], clock: Clock) -> tuple[bytes, bytes]:
    """The kind and the text, in UTF-8, of the answer to a job."""
    clock.was_read = False
    try:
        text = work().encode()
    except RefusedError as error:
        return REFUSED, _message(error)
    except PromptTooLongError:
        return TOO_LONG, b""
    except MemoryError:
        return NO_MEMORY, b""
    except UnicodeEncodeError:
        return FAILED, b"the prompt is not valid Unicode"
    except jinja2.TemplateError as error:
        return FAILED, _message(error)
    except Exception as error:  # noqa: BLE001  a template can fail like any program
        return FAILED, type(error).__name__.encode() + b": " + _message(error)
    return CLOCK if clock.was_read else TEXT, text


def _message(error: Exception) -> bytes:
    return str(error)[:MAX_MESSAGE].encode("utf-8", "replace")


class Deadline:
    """Ends this process if the work in the block takes more seconds of CPU time.

    By a signal whose default action is to end the process, because no Python code runs inside a
    long operation such as `"x" * 10**12`.  CPU time, so that a busy machine changes no result.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds if hasattr(signal, "setitimer") else 0.0  # Windows has none

    def __enter__(self) -> None:
        if self._seconds:
            signal.setitimer(signal.ITIMER_PROF, self._seconds)

    def __exit__(self, *_: object) -> None:
        if self._seconds:
            signal.setitimer(signal.ITIMER_PROF, 0)


def limit_memory(n_bytes: int) -> None:
    """Bound the address space, and forbid writing files; Windows can do neither."""
    try:
        import resource
    except ImportError:
        return
    for limit, value in (
        (resource.RLIMIT_AS, n_bytes),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        try:
            resource.setrlimit(limit, (value, value))
        except (ValueError, OSError):  # macOS refuses some; the parent watches the memory too
            continue


def receive(stream: BinaryIO) -> Any:
    """The value of the next frame; None at the end of the stream."""
    head = stream.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return json.loads(stream.read(*LENGTH.unpack(head)).decode("utf-8", "surrogatepass"))


def send(stream: BinaryIO, kind: bytes, text: bytes) -> None:
    """Write one answer."""
    stream.write(LENGTH.pack(len(text) + 1) + kind)
    stream.write(text)
    stream.flush()


def main() -> None:
    """Compile the templates, then render jobs until the parent closes the stream."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    setup = receive(source)
    limit_memory(setup["memory_bytes"])
    clock, deadline = Clock(setup["date"]), Deadline(setup["cpu_s"])
    environment = make_environment(setup["style"], clock)
    compiled: dict[str, jinja2.Template] = {}

    def compile_one(name: str, text: str) -> str:
        # Compiling computes constants: `{{ 10**10**10 }}` takes no end here.
        compiled[name] = environment.from_string(text)
        return ""

    for name, text in setup["templates"].items():
        with deadline:
            found = answer(lambda: compile_one(name, text), clock)  # noqa: B023  called at once
        send(sink, *found)
    while (jobs := receive(source)) is not None:
        for name, variables, max_chars in jobs:
            with deadline:
                found = answer(
                    lambda: render(compiled[name], {**setup["variables"], **variables}, max_chars),  # noqa: B023
                    clock,
                )
            send(sink, *found)


if __name__ == "__main__":
    main()
