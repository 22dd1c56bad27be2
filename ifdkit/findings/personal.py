"""Personal data in a text: e-mail addresses, phone numbers, payment cards, bank accounts.

Instruction data are full of made-up ones, and those are no findings: `john.doe@example.com`,
`(123) 456-7890`, 555 numbers, the test cards of every payment service, the sample IBAN.  Addresses
of an office (`info@…`) and toll-free numbers are nobody's own.

What is found is never repeated: a quotation shows its first characters, no more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ifdkit.findings.texts import Corpus, Hit, quote

if TYPE_CHECKING:
    from phonenumbers import PhoneNumber

_MOST_SHOWN = 3
"""Things that one quotation lists."""


@dataclass(frozen=True, slots=True)
class Thing:
    """Something in a text that should not stand there."""

    kind: str
    """As a quotation calls it: "e-mail address"."""
    start: int
    end: int
    mask: str
    """What may be shown of it."""


Finder = Callable[[str], Iterator[Thing]]


def personal_data(corpus: Corpus) -> list[Hit]:
    """Rows whose instruction or response holds personal data, each thing masked."""
    return hits_of(corpus, things)


def things(text: str) -> Iterator[Thing]:
    """Personal data in a text, kind by kind."""
    yield from _addresses(text)
    if _HAS_NUMBER.search(text):
        yield from _accounts(text)
        yield from _cards(text)
        yield from _phones(text)


def hits_of(corpus: Corpus, find: Finder) -> list[Hit]:
    """The rows in which something is found, in the instruction or in the response."""
    found = []
    for place, texts in enumerate(zip(corpus.instructions, corpus.responses, strict=True)):
        shown = [f"{one.kind} {one.mask}" for text in texts for one in find(text)]
        if shown:
            found.append(Hit(place, _listed(shown)))
    return found


def _listed(shown: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(shown))
    line = ", ".join(distinct[:_MOST_SHOWN])
    more = len(distinct) - _MOST_SHOWN
    return quote(f"{line} and {more} more" if more > 0 else line)


# E-mail addresses

_ADDRESS = re.compile(
    r"(?<![\w.+%@-])(?P<local>[a-z0-9][\w.+%-]{0,63})"
    r"@(?P<domain>(?:[a-z0-9-]{1,63}\.){1,4}(?P<ending>[a-z]{2,13}))(?![\w@(-]|\.\w)",
    re.IGNORECASE | re.ASCII,
)
_NOBODY = re.compile(
    r"(?:(?:your|my|the|some|user|first|last|full|sur)?[._-]?(?:e-?mail|name|address|account|id)"
    r"|(?:j(?:ohn|ane)?|john)[._-]?(?:[a-z][._-]?)?(?:doe|smith|public)|(?:john|jane)"
    r"|(?:first(?:name)?|f)[._-]?last(?:name)?|name[._-]?surname|(?:some|any|no)(?:one|body)"
    r"|(?:test|demo|sample|example|dummy|fake|foo|bar|abc|xyz|xxx+|user|username|recipient|sender)"
    r"(?:[._-]?(?:user|mail|email|account))?)\d{0,4}",
    re.IGNORECASE,
)
_OFFICE = re.compile(
    r"(?:info|contact|support|help|hello|office|admin|administrator|webmaster|postmaster|sales|hr"
    r"|press|media|marketing|service|customer[._-]?(?:service|support|care)|no-?reply|do-?not-?reply"
    r"|team|jobs|careers?|billing|privacy|abuse|security|feedback|inquir(?:y|ies)|enquir(?:y|ies)"
    r"|reservations?|bookings?|events?|orders?|mail|git|root|news(?:letter)?|donations?|boss"
    r"|manager|hiring[._-]?manager|ceo|legal|editor|complaints?)",
    re.IGNORECASE,
)
_INVENTED = re.compile(
    r"(?:.*[.-])?(?:e?mail|example|sample|domain|company|companyname|website|site|test|your\w*|my\w+"
    r"|some\w*|foo|bar|abc|xyz|xxx+|acme|host|server|fake\w*|placeholder|business|organi[sz]ation"
    r"|provider|university|school|college)\d{0,3}(?:\.(?:com|org|net|edu|co|io))*\.[a-z]+",
    re.IGNORECASE,
)
_NO_ENDINGS = {
    *("example", "invalid", "test", "local", "localhost", "tld", "domain", "png", "jpg", "jpeg"),
    *("gif", "svg", "webp", "css", "js", "py", "pkl", "json", "html", "txt", "xyz"),
}


def _addresses(text: str) -> Iterator[Thing]:
    if "@" not in text:
        return
    for found in _ADDRESS.finditer(text):
        local, domain = found["local"], found["domain"]
        if not _is_placeholder(local, domain, found["ending"]) and not _in_url(text, found.start()):
            mask = f"{local[0]}…@{domain[0]}….{found['ending']}"
            yield Thing("e-mail address", found.start(), found.end(), mask)


def _is_placeholder(local: str, domain: str, ending: str) -> bool:
    first_label = domain.partition(".")[0]
    return bool(
        ending.lower() in _NO_ENDINGS
        or len(local) == 1
        or (len(first_label) == 1 and domain.count(".") == 1)
        or _NOBODY.fullmatch(local)
        or _OFFICE.fullmatch(local)
        or _INVENTED.fullmatch(domain)
    )


def _in_url(text: str, place: int) -> bool:
    """Whether what stands here is the password of a URL: another rule's business."""
    before = text[max(0, place - 100) : place].rpartition("://")
    return bool(before[1]) and not any(c.isspace() or c == "/" for c in before[2])


# Numbers

_HAS_NUMBER = re.compile(r"[0-9](?:[^\w\n]{0,3}[0-9]){8}|[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}")
"""Nine digits with little between them; most texts have none."""
_CUE_BEFORE = 40
"""Characters before a number in which a word for a phone is looked for."""


def digits_of(text: str) -> str:
    """The digits of a number, without what groups them."""
    return re.sub(r"[^0-9]", "", text)


def is_made_up(digits: str) -> bool:
    """Whether a number runs up, runs down or repeats a digit as only made-up ones do."""
    return any(run in digits for run in _RUNS)


_RUNS = (
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
_AFTER = r"(?![\w]|[-./,][0-9]|[ ]?[+*/=^][ ]?[0-9])"
_PHONE = re.compile(rf"(?:{_PLUS}|{_AMERICAN}){_AFTER}")
_CUED_PHONE = re.compile(rf"(?:{_NATIONAL}){_AFTER}")
_CUE = re.compile(
    r"\b(?:phone|telephone|tel|mobile|cell(?:phone)?|call(?: (?:me|us|him|her|them))?|fax"
    r"|whats-?app|text me|dial|ring|reach (?:me|us|him|her|them)|contact number"
    r"|telefon|handy|móvil|teléfono|téléphone)\b[^0-9\n]{0,20}$",
    re.IGNORECASE,
)
_HOME = ("US", "GB", "DE", "FR", "ES", "IT", "IN", "AU")
"""Countries whose numbers are known without a country code, after a word such as "phone"."""
# Kept free for plays and examples: 555 in North America, blocks of Ofcom's in Britain.
_FOR_PLAYS = re.compile(
    r"\+1(?:[0-9]{3}555[0-9]{4}|555[0-9]{7})"
    r"|\+44(?:207946|7700900|1632960|[0-9]{3}4960|8081570|9098790|3069990)[0-9]+"
)


def _phones(text: str) -> Iterator[Thing]:
    seen_to = 0
    for found, regions in _phone_candidates(text):
        if found.start() >= seen_to and _is_phone(found.group(), regions):
            seen_to = found.end()
            yield Thing("phone number", *found.span(), found.group()[:3].rstrip() + "…")


def _phone_candidates(text: str) -> list[tuple[re.Match[str], tuple[str, ...]]]:
    """What may be a number, in the order of the text, and the countries it may belong to."""
    found = [(one, ("US",)) for one in _PHONE.finditer(text)]
    cued = [
        (one, _HOME)
        for one in _CUED_PHONE.finditer(text)
        if _CUE.search(text[max(0, one.start() - _CUE_BEFORE) : one.start()])
    ]
    return sorted([*found, *cued], key=lambda pair: pair[0].start())


def _is_phone(candidate: str, regions: tuple[str, ...]) -> bool:
    """Whether some country has such numbers, and this one can be a person's."""
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
            verdict = _verdict(number)
            if verdict is not None:
                return verdict
    return False


def _verdict(number: PhoneNumber) -> bool | None:
    """Whether a valid number is a person's; None where another country may have the last word."""
    import phonenumbers
    from phonenumbers import PhoneNumberFormat, PhoneNumberType

    kind = phonenumbers.number_type(number)
    standard = phonenumbers.format_number(number, PhoneNumberFormat.E164)
    is_free = kind in (PhoneNumberType.TOLL_FREE, PhoneNumberType.PREMIUM_RATE)
    if is_free or _FOR_PLAYS.match(standard):
        return False
    of_persons = (
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.PERSONAL_NUMBER,
        PhoneNumberType.VOIP,
    )
    return True if kind in of_persons else None


# Payment cards

_CARD = re.compile(
    r"(?<![\w.,/+-])(?:"
    r"(?:4[0-9]{3}|5[1-5][0-9]{2}|2[2-7][0-9]{2}|6(?:011|5[0-9]{2}))"
    r"(?P<gap>[ -]?)[0-9]{4}(?P=gap)[0-9]{4}(?P=gap)[0-9]{4}"
    r"|3[47][0-9]{2}(?P<gap2>[ -]?)[0-9]{6}(?P=gap2)[0-9]{5}"
    r")(?![\w]|[-.,/][0-9])"
)
_CARD_CUE = re.compile(r"\b(?:cards?|visa|mastercard|amex|credit|debit|cc)\b", re.IGNORECASE)
# What payment services print for trying their forms, and handbooks for showing the checksum.
_TEST_CARDS = {
    *("4242424242424242", "4012888888881881", "4000056655665556", "4111111111111111"),
    *("5555555555554444", "5200828282828210", "5105105105105100", "5431111111111111"),
    *("2223003122003222", "378282246310005", "371449635398431", "6011111111111117"),
    *("6011000990139424", "4539148803436467", "4532015112830366", "4556737586899855"),
}


def _cards(text: str) -> Iterator[Thing]:
    for found in _CARD.finditer(text):
        digits = digits_of(found.group())
        is_grouped = len(digits) < len(found.group())
        before = text[max(0, found.start() - 2 * _CUE_BEFORE) : found.start()]
        if (
            (is_grouped or _CARD_CUE.search(before))
            and digits not in _TEST_CARDS
            and not is_made_up(digits)
            and has_luhn_sum(digits)
        ):
            yield Thing("payment card", *found.span(), f"{digits[0]}…")


def has_luhn_sum(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = [int(d) * (1 + at % 2) for at, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


# Bank accounts

_IBAN = re.compile(
    r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?:(?: [A-Z0-9]{4}){3,7}(?: [A-Z0-9]{1,3})?|[A-Z0-9]{11,30})"
    r"(?![A-Za-z0-9])"
)
# The examples of the registry and of its best known articles.
_SAMPLE_IBANS = {
    *("DE89370400440532013000", "GB82WEST12345698765432", "GB29NWBK60161331926819"),
    *("FR1420041010050500013M02606", "NL91ABNA0417164300", "CH9300762011623852957"),
    *("ES9121000418450200051332", "IT60X0542811101000000123456", "BE68539007547034"),
    *("DE75512108001245126199", "DE12500105170648489890", "FR7630006000011234567890189"),
}


def _accounts(text: str) -> Iterator[Thing]:
    for found in _IBAN.finditer(text):
        account = found.group().replace(" ", "")
        if account not in _SAMPLE_IBANS and has_iban_sum(account):
            yield Thing("bank account", *found.span(), f"{account[:2]}…")


def has_iban_sum(account: str) -> bool:
    """Whether the two check digits fit (ISO 13616-1, ISO/IEC 7064 MOD 97-10)."""
    moved = account[4:] + account[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1
