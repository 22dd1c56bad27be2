"""Invented addresses, numbers and keys, generated from a seed; none belongs to anybody.

Keys are put together from parts, so that no file of the repository contains what looks like one.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

Maker = Callable[[random.Random], str]

_NAMES = ["anna", "berta", "clara", "dora", "emil", "fritz", "gustav", "ida", "jonas", "nora"]
_FAMILIES = ["brandt", "dietz", "ebert", "franke", "gruber", "hahn", "kessler", "lorenz", "pohl"]
_AREAS = (206, 212, 305, 312, 415, 503, 617, 646, 718, 773)
_LETTERS = string.ascii_letters + string.digits
_CAPITALS = "ABCDEFGHJKLMNPQRSTUVWXYZ234567"
_HEX = "0123456789abcdef"


def _random(rng: random.Random, n: int, alphabet: str = _LETTERS) -> str:
    return "".join(rng.choices(alphabet, k=n))


def _address(rng: random.Random) -> str:
    return f"{rng.choice(_NAMES)}.{rng.choice(_FAMILIES)}{rng.randrange(40, 99)}"


def _digits(rng: random.Random, n: int) -> str:
    """Digits that do not look like a placeholder: no two neighbours are equal or consecutive."""
    made = [rng.randrange(2, 10)]
    while len(made) < n:
        made.append(rng.choice([d for d in range(10) if abs(d - made[-1]) > 1]))
    return "".join(map(str, made))


def _local(rng: random.Random) -> tuple[int, str, str]:
    """Area, exchange and line of a number in North America."""
    exchange = rng.choice([2, 3, 4, 6, 7, 8]) * 100 + rng.choice([24, 37, 42, 63, 76, 85])
    return rng.choice(_AREAS), str(exchange), _digits(rng, 4)


def _phone(pattern: str) -> Maker:
    return lambda rng: pattern.format(*_local(rng))


def luhn_digit(digits: str) -> str:
    """The digit that makes the Luhn sum divisible by ten."""
    doubled = [int(d) * (2 if at % 2 == 0 else 1) for at, d in enumerate(reversed(digits))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _card(rng: random.Random) -> str:
    digits = "4" + _digits(rng, 14)
    digits += luhn_digit(digits)
    return " ".join(digits[at : at + 4] for at in range(0, 16, 4))


def _iban(rng: random.Random) -> str:
    account = _digits(rng, 18)
    check = 98 - int(f"{account}131400") % 97  # D is 13, E is 14
    whole = f"DE{check:02}{account}"
    return " ".join(whole[at : at + 4] for at in range(0, len(whole), 4))


PERSONAL: dict[str, Maker] = {
    "e-mail at a provider": lambda rng: f"Write to {_address(rng)}@gmail.com for more.",
    "e-mail in capitals": lambda rng: f"MAIL: {_address(rng).upper()}@YAHOO.COM.",
    "e-mail at a firm": lambda rng: f"({_address(rng)}@mail.muehlbach-ofen.de)",
    "phone (ddd) ddd-dddd": _phone("Call ({}) {}-{} after six."),
    "phone ddd-ddd-dddd": _phone("Her number is {}-{}-{}."),
    "phone ddd.ddd.dddd": _phone("Her number is {}.{}.{}."),
    "phone with country code": lambda rng: f"Call +49 30 22{_digits(rng, 6)}.",
    "phone, spaces, after a word for it": _phone("Phone: {} {} {}."),
    "British phone after a word for it": lambda rng: (
        f"Tel. 020 7{_digits(rng, 3)} {_digits(rng, 4)}"
    ),
    "payment card": lambda rng: f"The card {_card(rng)} was charged.",
    "payment card without spaces": lambda rng: f"Card number {_card(rng).replace(' ', '')}.",
    "IBAN": lambda rng: f"Pay into {_iban(rng)} by May.",
    # Harder.
    "e-mail in words": lambda rng: f"Write to {rng.choice(_NAMES)} dot pohl at gmail dot com.",
    "phone of ten bare digits": _phone("Reach her on {}{}{} at night."),
}  # fmt: skip
"""What is planted → a sentence that contains it."""


def _jwt(rng: random.Random) -> str:
    parts = [{"alg": "HS256", "typ": "JWT"}, {"sub": _digits(rng, 9), "name": rng.choice(_NAMES)}]
    coded = [base64.urlsafe_b64encode(json.dumps(p).encode()).decode().rstrip("=") for p in parts]
    return ".".join([*coded, _random(rng, 43)])


def _private_key(rng: random.Random) -> str:
    body = "\n".join(_random(rng, 64) for _ in range(4))
    kind = "RSA PRIVATE" + " KEY"
    return f"-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n"


SECRETS: dict[str, Maker] = {
    "AWS key": lambda rng: "Use AK" + "IA" + _random(rng, 16, _CAPITALS) + ".",
    "GitHub token": lambda rng: f"Use gh{'p_'}{_random(rng, 36)} for it.",
    "GitHub fine-grained token": lambda rng: f"Use github{'_pat_'}{_random(rng, 60)}.",
    "OpenAI key": lambda rng: f"Use sk{'-'}{_random(rng, 48)}.",
    "OpenAI project key": lambda rng: f'client = OpenAI(api_key="sk{"-proj-"}{_random(rng, 60)}")',
    "Slack token": lambda rng: (
        f"Use xox{'b-'}{_digits(rng, 11)}-{_digits(rng, 11)}-{_random(rng, 24)}."
    ),
    "Google key": lambda rng: f"Use AI{'za'}{_random(rng, 35)}.",
    "JWT": lambda rng: f"Authorization: Bearer {_jwt(rng)}",
    "private key": _private_key,
    "password in a URL": lambda rng: f"postgres://shop:{_random(rng, 11)}@db.muehlbach-ofen.de/x",
    "API key in an assignment": lambda rng: f'API_KEY = "{_random(rng, 32, _HEX)}"',
    # Harder.
    "bare hexadecimal": lambda rng: f"The key is {_random(rng, 32, _HEX)}.",
    "password in prose": lambda rng: f"The password is {_random(rng, 8)}.",
}  # fmt: skip
"""What is planted → a sentence that contains it."""
