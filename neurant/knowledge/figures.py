"""The figures of a text: numbers, prices, dates, hours, phones, addresses, links, made comparable.

A text is read by one scanner after another (links, addresses, dates, hours, phones, numbers); each
one blanks the figures that it found, so that the next scanner does not read them again.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from itertools import zip_longest

COUNT = "count"  # the unit of "12 cuotas" and all other counted things


class Kind(Enum):
    """The kinds of figures."""

    LINK = "link"
    ADDRESS = "address"
    CODE = "code"
    DATE = "date"
    TIME = "time"
    PHONE = "phone"
    NUMBER = "number"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure as it is ``written`` and in a form that can be compared.

    ``units`` are the currencies or units that the number may have (none: a bare number); ``times``
    are the minutes of the day that an hour may mean; ``numbers`` are the values that a bare number
    in a reply may repeat; ``year`` is 0 for a date without one.
    """

    written: str
    kind: Kind
    value: str
    units: frozenset[str] = frozenset()
    times: frozenset[int] = frozenset()
    numbers: frozenset[str] = frozenset()
    year: int = 0

    @property
    def is_measured(self) -> bool:
        """True for a number with a currency or unit: "$45" and "45 minutos" are not the same."""
        return bool(self.units - {COUNT})


_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "enero ene january jan", "febrero feb february", "marzo mar march",
            "abril abr april apr", "mayo may", "junio jun june", "julio jul july",
            "agosto ago august aug", "septiembre setiembre sept sep set september",
            "octubre oct october", "noviembre nov november", "diciembre dic december dec",
        ),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_YEAR = r"(?:19|20)\d\d"

_CURRENCIES = {
    "$": "peso dollar", "us$": "dollar", "usd": "dollar", "dolar": "dollar", "dolares": "dollar",
    "dollar": "dollar", "dollars": "dollar", "peso": "peso", "pesos": "peso", "cop": "peso",
    "mxn": "peso", "clp": "peso", "ars": "peso", "€": "euro", "eur": "euro", "euro": "euro",
    "euros": "euro", "s/": "sol", "sol": "sol", "soles": "sol", "£": "pound", "bs": "boliviano",
    "q": "quetzal", "quetzales": "quetzal", "₡": "colon", "colones": "colon",
}  # fmt: skip
_UNITS = {
    name: names.split()[0]
    for names in (
        "% percent", "minuto minutos min mins minute minutes", "hora horas h hr hrs hour hours",
        "dia dias day days", "semana semanas week weeks", "mes meses month months",
        "ano anos year years", "noche noches night nights", "segundo segundos second seconds",
        "kg kilo kilos kilogramo kilogramos", "g gramo gramos gr grams",
        "km kilometro kilometros", "m metro metros mt mts meter meters",
        "cm centimetro centimetros", "mm",
        "l litro litros lt liter liters", "ml", "m2", "gb", "mb", "mbps",
    )
    for name in names.split()
} | {"por ciento": "%"}  # fmt: skip
_TIMES_OVER = {"mil": 1_000, "k": 1_000, "millon": 10**6, "millones": 10**6, "million": 10**6}
_SPOKEN = {
    "dos": 2, "tres": 3, "cuatro": 4, "cinco": 5, "seis": 6, "siete": 7, "ocho": 8, "nueve": 9,
    "diez": 10, "once": 11, "doce": 12, "trece": 13, "catorce": 14, "quince": 15, "veinte": 20,
    "treinta": 30, "cuarenta": 40, "cincuenta": 50, "sesenta": 60, "noventa": 90, "un": 1, "una": 1,
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "twelve": 12, "fifteen": 15, "twenty": 20, "thirty": 30,
}  # fmt: skip

_LINK = re.compile(
    r"(?:https?://|www\.)[^\s<>\"']+|(?<![\w.+-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}|(?<![\w@.])@\w[\w.]{2,}"
    r"|(?<![\w@.-])[a-z0-9][a-z0-9-]{1,62}(?:\.[a-z0-9-]{2,63}){0,3}\.[a-z]{2,12}(?![\w.-]*\w)(?:/[^\s<>\"']*)?"
)
_FILE = re.compile(r"\.(?:pdf|docx?|txt|md|xlsx?|csv)$")
_STREETS = {
    name: names.split()[0]
    for names in (
        "calle cl cll", "carrera cra cr kra kr", "avenida av avda ave avenue",
        "diagonal diag dg", "transversal transv tv", "autopista", "circular", "calzada", "paseo",
        "boulevard blvd bulevar", "pasaje", "jiron jr", "km kilometro", "street st", "road rd",
    )
    for name in names.split()
}  # fmt: skip
_STREET = "|".join(
    sorted((s for s in _STREETS if s not in ("street", "st", "road", "rd")), key=len, reverse=True)
)
_NUMBER_SIGN = r"(?:#|n[o°º]\.?|nro\.?|numero)"
# The names between the type and the number begin with a capital letter: "la calle tiene 3 pisos" is
# no address.
_ADDRESS = re.compile(
    rf"\b(?i:{_STREET})\b\.?\s+"
    r"(?:(?:de|del|la|las|los|el|[A-ZÁÉÍÓÚÑ][A-Za-zÁÉÍÓÚÑáéíóúñ.]*),?\s+){0,5}"
    rf"(?i:{_NUMBER_SIGN}\s*)?\d+\s?[A-Z]?\b(?i:\s*(?:bis|sur|norte|este|oeste)\b)?"
    rf"(?i:\s*(?:{_NUMBER_SIGN})\s*\d+\s?[a-z]?\b(?:\s*[-–]\s*\d+)?)?"
    r"|\b\d+\s+(?:[A-Z][a-z]+\s+){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd)\b"
)
_CODE = re.compile(
    r"(?<![\w$-])(?=[a-z-]{0,60}\d)(?=[\d-]{0,60}[a-z])[a-z0-9]{1,40}(?:-[a-z0-9]{1,40}){0,6}(?!\w)"
)
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th|er|ero|era|do|da|ro|ra|to|ta|mo|ma|o|a)$")
_MEASURE = re.compile(r"\d+(?:[a-z]{1,4}2?)$")

_CONNECTOR = r"(?:,|-|–|\bal?\b|\by\b|\be\b|\bo\b|\bhasta\b|\bto\b|\band\b|\bor\b)"
_DATE = re.compile(
    rf"(?<![\d/.,$])(?P<before>(?:\d{{1,2}}\s*{_CONNECTOR}\s*(?:el\s+)?){{0,5}})"
    rf"(?P<day>\d{{1,2}})(?:o|st|nd|rd|th|°)?\s*(?:de\s+|of\s+|-|/)?(?P<month>{_MONTH})\b\.?"
    rf"(?:\s*(?:,|-|/|de\b|del\b)?\s*(?P<year>{_YEAR})\b)?"
    rf"|\b(?P<month2>{_MONTH})\s+(?P<day2>\d{{1,2}})(?:st|nd|rd|th)?(?![\d.:]|\s*(?:[ap]\.?\s?m\b|%))"
    rf"(?:\s*,?\s*(?P<year2>{_YEAR})\b)?"
    rf"|\b(?P<month3>{_MONTH})\s+(?:de\s+|del\s+|of\s+)?(?P<year3>{_YEAR})\b"
    r"|(?<![\d/.-])(?P<year4>(?:19|20)\d\d)-(?P<month4>\d{1,2})-(?P<day4>\d{1,2})(?![\d/-])"
    r"|(?<![\d/.-])(?P<day5>\d{1,2})(?P<mark>[/.-])(?P<month5>\d{1,2})(?P=mark)"
    r"(?P<year5>(?:19|20)\d\d|\d\d)(?![\d/-])"
    r"|(?<![\d/])(?P<day6>\d{1,2})/(?P<month6>\d{1,2})(?![\d/])"
)
_AM = r"a\.?\s?m\b\.?|am\b|de la (?:manana|madrugada)\b|in the morning\b"
_PM = r"p\.?\s?m\b\.?|pm\b|de la (?:tarde|noche)\b|in the (?:afternoon|evening)\b"
_CLOCK = re.compile(
    rf"(?<![\d:.,$])(?:(?P<first>\d{{1,2}})\s*(?:al?|y|-|–|to|hasta)\s*(?:las?\s+)?(?=\d))?"
    rf"(?P<hour>\d{{1,2}})(?:[:.h](?P<minute>[0-5]\d))?(?::[0-5]\d)?\s*"
    rf"(?:(?P<am>{_AM})|(?P<pm>{_PM})|(?P<noon>(?<=12)m\b\.?|(?<=12 )m\b\.?|(?<=00)m\b\.?"
    r"|(?<=00 )m\b\.?|del (?:medio)?dia\b|noon\b))"
    r"|(?<![\d:.,$])(?P<hour2>\d{1,2})(?::|h)(?P<minute2>[0-5]\d)(?::[0-5]\d)?(?![\d:])"
    r"|\b(?:las?|at|until|till)\s+(?P<hour3>\d{1,2})\b(?!\s*[%$]|[.,:]\d|\s+(?!y\b|e\b|to\b)[a-z]{2})"
)
_PHONE = re.compile(
    r"(?<![\w$.,])(?:"
    r"\(?\+\d{1,3}\)?[ \u00a0.-]?(?:\(\d{1,4}\)[ \u00a0.-]?)?\d{2,12}(?:[ \u00a0.-]\d{2,4}){0,4}"
    r"|\(\d{1,4}\)[ \u00a0]?\d{3,10}(?:[ \u00a0.-]\d{2,4}){0,3}"
    r"|\d{3}[ \u00a0.-]\d{3}[ \u00a0.-]?\d{2}[ \u00a0.-]?\d{2}|\d{3}[ \u00a0-]\d{4}"
    r"|\d{4}[ \u00a0-]\d{4}(?:[ \u00a0-]\d{4}){0,4}"
    r"|\d[\d.]{0,20}(?:-\d{1,20}){1,6}|\d{7,40}"
    r")(?![\w]|[.,:/]\d)"
)
_NUMBER = re.compile(
    r"(?:(?P<before>us\$|\$|€|£|₡|s/|usd|cop|mxn|clp|ars|eur)\s*)?(?<![\d])"
    r"(?P<digits>\d{1,3}(?:[.,'’\u00a0\u202f]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d+)?)"
    r"(?:\s*(?P<over>mil|millones|millon|million|k)\b(?:\s+de\b)?)?"
    r"(?:\s*(?P<after>%|por ciento\b|€|[a-z]+2?\b))?"
)
_JOINED = re.compile(r"\s*(?:a|al|y|e|o|-|–|hasta|to|and|or|x|por)\s*(?:las?\s+)?$")
_NOT_COUNTED = frozenset(
    re.findall(
        r"\w+",
        "por con para mas cada iva c the per each plus and la las el los al en si sin hasta desde "
        "pero de del y o a e aprox incluido incluye incluidos mensual mensuales anual total",
    )
)
_BLANK = "\0"  # in the place of a figure that was read already; no pattern matches it
_SPOKEN_UNIT = re.compile(rf"\b({'|'.join(_SPOKEN)})\s+([a-z]+)\b")


def read_figures(text: str) -> list[Figure]:
    """Return the figures of a text in their order."""
    visible = _visible(text)
    flat = _flat(visible)
    found: list[tuple[int, Figure]] = []
    for scan in (_links, _addresses, _dates, _hours, _codes, _phones, _numbers):
        blanked = list(flat)
        for start, end, figure in scan(visible, flat):
            found.append((start, figure))
            blanked[start:end] = _BLANK * (end - start)
        flat = "".join(blanked)
    return [figure for _, figure in sorted(found, key=lambda one: one[0])]


def spoken_numbers(text: str) -> list[Figure]:
    """Return the small numbers that a text writes in words, with their units: "quince minutos"."""
    found = []
    for word, noun in _SPOKEN_UNIT.findall(_flat(_visible(text))):
        unit = _UNITS.get(noun)
        if unit or _SPOKEN[word] > 1:
            units = frozenset({unit or COUNT})
            found.append(_number(word, Decimal(_SPOKEN[word]), units))
    return found


def street_words(text: str) -> str:
    """Return the words and numbers of a text in the form in which addresses are compared."""
    words = re.findall(r"[a-z]+|\d+", _flat(_visible(text)))
    kept = [
        _STREETS.get(word, word)
        for word, following in zip_longest(words, words[1:], fillvalue="")
        if not (word in ("n", "no", "nro", "numero") and following.isdigit())
    ]
    return " ".join(kept)


def _visible(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    if text.isascii():
        return text
    return "".join(one for one in text if unicodedata.category(one) != "Cf")


def _flat(text: str) -> str:
    """Return the text in lower case without accents, with the same number of characters."""
    return text.lower() if text.isascii() else "".join(map(_flat_character, text))


@lru_cache(maxsize=4_096)
def _flat_character(one: str) -> str:
    if one.isdecimal():
        return str(unicodedata.decimal(one))
    if one in "\u00a0\u202f":
        return one
    if one in "\u2010\u2011\u2012\u2013\u2212":
        return "-"
    base, *marks = list(unicodedata.normalize("NFKD", one))
    if any(not unicodedata.combining(mark) for mark in marks):
        return one
    low = base.lower()
    return low if len(low) == 1 else one


Found = Iterator[tuple[int, int, Figure]]
Scan = Callable[[str, str], Found]


def _links(text: str, flat: str) -> Found:
    for match in _LINK.finditer(flat):
        written = match.group().rstrip(".,;:!?)]}»”*_")
        if not _FILE.search(written):
            value = re.sub(r"^(?:https?://)?(?:www\.)?|/+$", "", written)
            end = match.start() + len(written)
            yield match.start(), end, Figure(text[match.start() : end], Kind.LINK, value)


def _addresses(text: str, flat: str) -> Found:
    hidden = "".join(b if b == _BLANK else a for a, b in zip(text, flat, strict=True))
    for match in _ADDRESS.finditer(hidden):
        value = street_words(match.group())
        yield match.start(), match.end(), Figure(match.group(), Kind.ADDRESS, value)


def _codes(text: str, flat: str) -> Found:
    for match in _CODE.finditer(flat):
        code = match.group()
        if _ORDINAL.match(code) or _measure_of(code):
            continue
        written = text[match.start() : match.end()]
        yield match.start(), match.end(), Figure(written, Kind.CODE, code.replace("-", ""))


def _measure_of(code: str) -> bool:
    letters = code.lstrip("0123456789")
    return bool(_MEASURE.match(code)) and (
        letters in _UNITS or letters in _CURRENCIES | _TIMES_OVER
    )


def _dates(text: str, flat: str) -> Found:
    for match in _DATE.finditer(flat):
        parts = {name.rstrip("23456"): part for name, part in match.groupdict().items() if part}
        named = parts["month"]
        month = _MONTHS.get(named) or int(named)
        year = int(parts.get("year", 0))
        year += 2000 if 0 < year < 100 else 0
        days = [int(day) for day in re.findall(r"\d+", parts.get("before", ""))]
        days += [int(parts["day"])] if "day" in parts else []
        if days and month > 12 >= days[-1] and "mark" in parts:
            days, month = [month], days[-1]
        if month > 12 or any(not 1 <= day <= 31 for day in days):
            continue
        written = match.group().strip(" .")
        start = match.start()
        for day in days or [0]:
            numbers = frozenset(str(number) for number in (day, year) if number)
            figure = Figure(written, Kind.DATE, f"{month}-{day}", numbers=numbers, year=year)
            yield start, start + len(match.group()), figure


def _hours(text: str, flat: str) -> Found:
    for match in _CLOCK.finditer(flat):
        hour = match["hour"] or match["hour2"] or match["hour3"]
        minute = int(match["minute"] or match["minute2"] or 0)
        if int(hour) > 24:
            continue
        start = match.start("hour3") if match["hour3"] else match.start()
        written = text[start : match.end()].strip()
        half = "am" if match["am"] else "pm" if match["pm"] or match["noon"] else None
        if match["first"] and int(match["first"]) <= 24:
            yield start, match.end(), _hour(written, match["first"], 0, None)
        yield start, match.end(), _hour(written, hour, minute, half)


def _hour(written: str, hour: str, minute: int, half: str | None) -> Figure:
    number = int(hour)
    if half is not None and number <= 12:
        hours = [number % 12 + (12 if half == "pm" else 0)]
    elif 1 <= number <= 12 and not hour.startswith("0"):
        hours = [number % 12, number % 12 + 12]
    else:
        hours = [number % 24]
    times = frozenset(60 * one + minute for one in hours)
    return Figure(written, Kind.TIME, "", times=times, numbers=frozenset({str(number)}))


def _phones(text: str, flat: str) -> Found:
    for match in _PHONE.finditer(flat):
        digits = re.sub(r"\D", "", match.group())
        if len(digits) >= 7:
            written = text[match.start() : match.end()]
            yield match.start(), match.end(), Figure(written, Kind.PHONE, digits)


def _numbers(text: str, flat: str) -> Found:
    matches = list(_NUMBER.finditer(flat))
    units = [_units_of(match) for match in matches]
    for number, match in enumerate(matches):
        own = units[number]
        following = matches[number + 1] if number + 1 < len(matches) else None
        if number and not own and _JOINED.match(flat[_end(matches[number - 1]) : match.start()]):
            own = units[number - 1] & _MONEY
        if following and not own and _JOINED.match(flat[match.end("digits") : following.start()]):
            own = units[number + 1] - {COUNT}
        end = _end(match)
        yield match.start(), end, _number(text[match.start() : end].strip(), _value(match), own)


_MONEY = frozenset(unit for units in _CURRENCIES.values() for unit in units.split())


def _end(match: re.Match[str]) -> int:
    """Return the end of a number with its unit; another word after it is no part of it."""
    if match["after"] and (match["after"] in _UNITS or match["after"] in _CURRENCIES):
        return match.end()
    return match.end("over") if match["over"] else match.end("digits")


def _units_of(match: re.Match[str]) -> frozenset[str]:
    before, after = match["before"], match["after"]
    if before:
        return frozenset(_CURRENCIES[before].split())
    if after in _CURRENCIES:
        return frozenset(_CURRENCIES[after].split())
    if after in _UNITS:
        return frozenset({_UNITS[after]})
    is_count = bool(after) and after not in _NOT_COUNTED and _value(match) < 1_000
    return frozenset({COUNT}) if is_count else frozenset()


def _value(match: re.Match[str]) -> Decimal:
    digits = match["digits"]
    whole = re.fullmatch(r"(\d{1,3}(?:[.,'’\u00a0\u202f]\d{3})+)(?:[.,](\d{1,2}))?", digits)
    if whole:
        plain = re.sub(r"\D", "", whole[1]) + (f".{whole[2]}" if whole[2] else "")
    else:
        plain = digits.replace(",", ".")
    return Decimal(plain) * _TIMES_OVER.get(match["over"] or "", 1)


def _number(written: str, value: Decimal, units: frozenset[str]) -> Figure:
    plain = f"{value.normalize():f}"
    return Figure(written, Kind.NUMBER, plain, units=units, numbers=frozenset({plain}))
