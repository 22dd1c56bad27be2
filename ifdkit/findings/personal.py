"""Personal data in a text: e-mail addresses, phone numbers, payment cards, bank accounts.

Instruction data is full of made-up ones, which are not findings: `john.doe@example.com`,
`(123) 456-7890`, 555 numbers, the test cards of payment services, the sample IBAN.  Neither are
addresses of an office (`info@…`) and toll-free numbers, which belong to no person.

What is found is never repeated: a quotation shows its first characters at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifdkit.findings.checks import example_check
from ifdkit.findings.texts import quote

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_MAX_LISTED = 3
"""Spans that one quotation lists."""


@dataclass(frozen=True, slots=True)
class SensitiveSpan:
    """A part of a text that must not be shown: personal data or a secret."""

    kind: str
    """As a quotation calls it: "e-mail address"."""
    start: int
    end: int
    mask: str
    """What is shown in its place: its first characters at most."""


@example_check(
    "personal_data",
    "personal data",
    "The text contains what looks like a person's address or number.",
)
def personal_data(instruction: str, response: str) -> str | None:
    """The instruction or the response contains personal data; the quotation masks it."""
    return list_masked([*find_personal_data(instruction), *find_personal_data(response)])


def find_personal_data(text: str) -> Iterator[SensitiveSpan]:
    """Personal data in a text, kind by kind; spans of different kinds may overlap."""
    yield from _addresses(text)
    if _HAS_NUMBER.search(text):
        yield from _accounts(text)
        yield from _cards(text)
        yield from _phones(text)


def list_masked(spans: Iterable[SensitiveSpan]) -> str | None:
    """The first few spans as a quotation, masked: "phone number +49…"; None without any."""
    shown = list(dict.fromkeys(f"{span.kind} {span.mask}" for span in spans))
    if not shown:
        return None
    line, more = ", ".join(shown[:_MAX_LISTED]), len(shown) - _MAX_LISTED
    return quote(f"{line} and {more} more" if more > 0 else line)


# E-mail addresses

_ADDRESS = re.compile(
    r"(?<![\w.+%@-])(?P<local>[a-z0-9][\w.+%-]{0,63})"
    r"@(?P<domain>(?:[a-z0-9-]{1,63}\.){1,4}(?P<ending>[a-z]{2,13}))(?![\w@(-]|\.\w)",
    re.IGNORECASE | re.ASCII,
)
_PLACEHOLDER_NAME = re.compile(
    r"(?:(?:your|my|the|some|user|first|last|full|sur)?[._-]?(?:e-?mail|name|address|account|id)"
    r"|(?:j(?:ohn|ane)?|john)[._-]?(?:[a-z][._-]?)?(?:doe|smith|public)|(?:john|jane)"
    r"|(?:first(?:name)?|f)[._-]?last(?:name)?|name[._-]?surname|(?:some|any|no)(?:one|body)"
    r"|(?:test|demo|sample|example|dummy|fake|foo|bar|abc|xyz|xxx+|user|username|recipient|sender)"
    r"(?:[._-]?(?:user|mail|email|account))?)\d{0,4}",
    re.IGNORECASE,
)
_OFFICE_NAME = re.compile(
    r"(?:info|contact|support|help|hello|office|admin|administrator|webmaster|postmaster|sales|hr"
    r"|press|media|marketing|service|customer[._-]?(?:service|support|care)|no-?reply|do-?not-?reply"
    r"|team|jobs|careers?|billing|privacy|abuse|security|feedback|inquir(?:y|ies)|enquir(?:y|ies)"
    r"|reservations?|bookings?|events?|orders?|mail|git|root|news(?:letter)?|donations?|boss"
    r"|manager|hiring[._-]?manager|ceo|legal|editor|complaints?)",
    re.IGNORECASE,
)
_PLACEHOLDER_DOMAIN = re.compile(
    r"(?:.*[.-])?(?:e?mail|example|sample|domain|company|companyname|website|site|test|your\w*|my\w+"
    r"|some\w*|foo|bar|abc|xyz|xxx+|acme|host|server|fake\w*|placeholder|business|organi[sz]ation"
    r"|provider|university|school|college)\d{0,3}(?:\.(?:com|org|net|edu|co|io))*\.[a-z]+",
    re.IGNORECASE,
)
_NOT_TOP_LEVEL = {
    *("example", "invalid", "test", "local", "localhost", "tld", "domain", "png", "jpg", "jpeg"),
    *("gif", "svg", "webp", "css", "js", "py", "pkl", "json", "html", "txt", "xyz"),
}


def _addresses(text: str) -> Iterator[SensitiveSpan]:
    if "@" not in text:
        return
    for found in _ADDRESS.finditer(text):
        local, domain = found["local"], found["domain"]
        if not _is_placeholder(local, domain, found["ending"]) and not _in_url(text, found.start()):
            mask = f"{local[0]}…@{domain[0]}….{found['ending']}"
            yield SensitiveSpan("e-mail address", found.start(), found.end(), mask)


def _is_placeholder(local: str, domain: str, ending: str) -> bool:
    first_label = domain.partition(".")[0]
    return bool(
        ending.lower() in _NOT_TOP_LEVEL
        or len(local) == 1
        or (len(first_label) == 1 and domain.count(".") == 1)
        or _PLACEHOLDER_NAME.fullmatch(local)
        or _OFFICE_NAME.fullmatch(local)
        or _PLACEHOLDER_DOMAIN.fullmatch(domain)
    )


def _in_url(text: str, position: int) -> bool:
    """Whether the position is inside the user part of a URL, which is left to `secrets`."""
    before = text[max(0, position - 100) : position].rpartition("://")
    return bool(before[1]) and not any(c.isspace() or c == "/" for c in before[2])


# Numbers

_HAS_NUMBER = re.compile(r"[0-9](?:[^\w\n]{0,3}[0-9]){8}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}")
"""Nine digits with little between them.  Most texts have none, which saves the slower patterns."""
_CUE_CHARS = 40
"""Characters before a number that can contain a word for a phone."""


def digits_of(text: str) -> str:
    """The digits of a number, without separators."""
    return re.sub(r"[^0-9]", "", text)


def is_made_up(digits: str) -> bool:
    """Whether a number counts up, counts down or repeats a digit five times: 12345, 00000."""
    return any(series in digits for series in _SERIES)


_SERIES = (
    *("01234567890123"[at : at + 5] for at in range(10)),
    *("98765432109876"[at : at + 5] for at in range(10)),
    *(5 * str(digit) for digit in range(10)),
)

# Phone numbers

_PLUS = r"(?<![\w+.,/=*^-])(?:\+|00)[1-9](?:[ .()-]{0,2}[0-9]){7,14}"
_AMERICAN = (
    r"(?<![\w.,/+-])(?<![0-9][ ])(?:1[ .-])?"
    r"(?:\([2-9][0-9]{2}\)[ .-]?[2-9][0-9]{2}[ .-][0-9]{4}"
    r"|[2-9][0-9]{2}(?P<between>[.-])[2-9][0-9]{2}(?P=between)[0-9]{4})"
)
_NATIONAL = (
    r"(?<![\w.,/+-])\(?[0-9]{2,5}\)?(?:[ ./-]{1,2}[0-9]{2,8}){1,5}|(?<![\w.,/+-])[0-9]{9,12}"
)
# No more digits and no arithmetic may follow: "415 236 7728 + 1" is a sum.
_AFTER = r"(?![\w]|[-./,][0-9]|[ ]?[+*/=^][ ]?[0-9])"
_PHONE = re.compile(rf"(?:{_PLUS}|{_AMERICAN}){_AFTER}")
_CUED_PHONE = re.compile(rf"(?:{_NATIONAL}){_AFTER}")
_CUE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell(?:phone)?|call(?: (?:me|us|him|her|them))?|fax"
    r"|whats-?app|text me|dial|ring|reach (?:me|us|him|her|them)|contact number"
    r"|telefon|handy|móvil|teléfono|téléphone)\b[^0-9\n]{0,20}$",
    re.IGNORECASE,
)
_DEFAULT_REGIONS = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU")
"""Countries whose numbers are recognized without a country code, after a word such as "phone"."""
# Reserved for fiction: 555 in North America, the blocks of Ofcom in Britain.
_FICTIONAL = re.compile(
    r"\+1(?:[0-9]{3}555[0-9]{4}|555[0-9]{7})"
    r"|\+44(?:207946|7700900|1632960|[0-9]{3}4960|8081570|9098790|3069990)[0-9]+"
)


def _phones(text: str) -> Iterator[SensitiveSpan]:
    end = 0  # of the last number, so that no other begins inside it
    for found, regions in _phone_candidates(text):
        if found.start() >= end and _is_phone(found.group(), regions):
            end = found.end()
            yield SensitiveSpan("phone number", *found.span(), found.group()[:3].rstrip() + "…")


def _phone_candidates(text: str) -> list[tuple[re.Match[str], tuple[str, ...]]]:
    """Candidates in the order of the text, and the countries they may belong to."""
    found = [(one, ("US",)) for one in _PHONE.finditer(text)]
    cued = [
        (one, _DEFAULT_REGIONS)
        for one in _CUED_PHONE.finditer(text)
        if _CUE.search(text[max(0, one.start() - _CUE_CHARS) : one.start()])
    ]
    return sorted([*found, *cued], key=lambda pair: pair[0].start())


def _is_phone(candidate: str, regions: tuple[str, ...]) -> bool:
    """Whether the candidate is a valid number of one of the countries, and a person's."""
    import phonenumbers

    digits = digits_of(candidate)
    if is_made_up(digits) or not 9 <= len(digits) <= 15:
        return False
    written = "+" + digits.removeprefix("00") if candidate.startswith("00") else candidate
    for region in regions:
        try:
            number = phonenumbers.parse(written, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            of_person = _is_of_person(number)
            if of_person is not None:
                return of_person
    return False


def _is_of_person(number: PhoneNumber) -> bool | None:
    """Whether a valid number can be a person's; None if the next country should decide."""
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    kind = phonenumbers.number_type(number)
    standard = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    is_free = kind in (PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE)
    if is_free or _FICTIONAL.match(standard):
        return False
    personal = (
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.VOIP,
    )
    return True if kind in personal else None


# Payment cards

_CARD = re.compile(
    r"(?<![\w.,/+-])(?:"
    r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6(?:011|5[0-9]{2}))"
    r"(?P<gap>[ -]?)[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}"
    r"|3[47][0-9]{2}(?P<gap2>[ -]?)[0-9]{6}(?P=gap2)[0-9]{5}"
    r")(?![\w]|[-.,/][0-9])"
)
_CARD_CUE = re.compile(r"\b(?:cards?|visa|mastercard|amex|credit|debit|cc)\b", re.IGNORECASE)
# Payment services publish these to test forms, and handbooks to explain the checksum.
_TEST_CARDS = {
    *("4242424242424242", "4012888888881881", "4000056655665556", "4111111111111111"),
    *("5555555555554444", "5200828282828210", "5105105105105100", "5431111111111111"),
    *("2223003122003222", "378282246310005", "371449635398431", "6011111111111117"),
    *("6011000990139424", "4539148803436467", "4532015112830366", "4556737586899855"),
}


def _cards(text: str) -> Iterator[SensitiveSpan]:
    for found in _CARD.finditer(text):
        digits = digits_of(found.group())
        is_grouped = len(digits) < len(found.group())
        before = text[max(0, found.start() - 2 * _CUE_CHARS) : found.start()]
        if (
            (is_grouped or _CARD_CUE.search(before))
            and digits not in _TEST_CARDS
            and not is_made_up(digits)
            and has_luhn_sum(digits)
        ):
            yield SensitiveSpan("payment card", *found.span(), f"{digits[0]}…")


def has_luhn_sum(digits: str) -> bool:
    """Whether the last digit is the Luhn check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(d) * (1 + at % 2) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


# Bank accounts

_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:(?: [A-Z0-9]{4}){3,7}(?: [A-Z0-9]{1,3})?|[A-Z0-9]{11,30})"
    r"(?![A-Za-z0-9])"
)
# The examples of the IBAN registry and of well-known articles.
_SAMPLE_IBANS = {
    *("DE89370400440532013000", "GB82WEST12345698765432", "GB29NWBK60161331926819"),
    *("FR1420041010050500013M02606", "NL91ABNA0417164300", "CH9300762011623852957"),
    *("ES9121000418450200051332", "IT60X0542811101000000123456", "BE68539007547034"),
    *("DE75512108001245126199", "DE12500105170648489890", "FR7630006000011234567890189"),
}


def _accounts(text: str) -> Iterator[SensitiveSpan]:
    for found in _IBAN.finditer(text):
        account = found.group().replace(" ", "")
        if account not in _SAMPLE_IBANS and has_iban_sum(account):
            yield SensitiveSpan("bank account", *found.span(), f"{account[:2]}…")


def has_iban_sum(account: str) -> bool:
    """Whether the two check digits are right (ISO 13616-1, ISO/IEC 7064 MOD 97-10)."""
    moved = account[4:] + account[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1
