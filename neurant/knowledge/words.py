"""Spanish words made comparable: no accents, no endings, tolerant of a typing mistake.

The module is small and fast because it runs on several passages for each question, after the dense
and the full-text search that found them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from neurant.texts import Language

_WORD = re.compile(r"[a-z0-9]+")
_MARKS = re.compile(r"[\u0300-\u036f]")
_MIN_STEM_LENGTH = 3
_FUZZY_FROM = 5

# Sorted by length, longest first, so that "limpiamientos" loses "amientos" and not only "s".
_ENDINGS = sorted(
    _WORD.findall(
        "amientos imientos amiento imiento aciones iciones acion icion adores adoras ador adora "
        "ancias ancia encias encia mente idades idad ables able ibles ible istas ista "
        "arian erian irian aremos eremos iremos ieron iendo ando aban aron amos emos imos aria "
        "eria iria ados adas idos idas ado ada ido ida aba ara era ira aran eran iran are ere ire "
        "arse erse irse erme irme arme arlo arla arnos ar er ir an en es as os ias ia io a e o s"
    ),
    key=len,
    reverse=True,
)

STOP_WORDS = frozenset(
    _WORD.findall(
        "a al algo algun alguna algunas alguno algunos ante antes aqui asi aun aunque cada como "
        "con contra cual cuales cuando cuanta cuantas cuanto cuantos de del desde donde dos "
        "durante e el ella ellas ellos en entre era eran eres es esa esas ese eso esos esta estaba "
        "estado estamos estan estar este esto estos estoy fue fueron ha habia hace hacer haces "
        "hacen hago han hasta hay he hola la las le les lo los mas me mi mis mucho muy nada ni no "
        "nos nosotros o os otra otras otro otros para pero poco podria podrian podemos por porque "
        "pueda puede pueden puedes puedo pues que quien quienes quiero quiere quisiera queria se "
        "sea sean ser si sido sin sobre solo son soy su sus tal tambien te tengo tenia tiene "
        "tienen tienes tenemos ti toda todas todo todos tu tus un una unas uno unos usted ustedes "
        "va van voy y ya yo favor gracias buenas buenos dias tardes noches saber informacion "
        "gustaria necesito necesitaria ayuda ayudame dime digame dar dan da doy cosa cosas hoy "
        "the an and or of to in on at for is are be do does did can could would i you we they it "
        "my your our what which how when who where there have has this that with please me need "
        "want tell about any so am from by if"
    )
)

# Words that are frequent in one of the two languages and do not exist in the other.
_ENGLISH_MARKS = frozenset(
    _WORD.findall(
        "the what where when how is are you your do does did can could will would should which who "
        "there have has it its of and for to from with at my this that an be if much many long get "
        "was were been their they by or not open about any need want please"
    )
)
_SPANISH_MARKS = frozenset(
    _WORD.findall(
        "el la los las un una unos unas del que qe cual cuales cuanto cuanta cuantos cuantas "
        "cuando donde como es son hay tiene tienen para por con su sus se si en al y lo le les de "
        "fue quien quienes mi esta estan ser puede pueden hola sobre entre desde hasta q xq esa"
    )
)

# Verbs of nearly every customer's question: they hardly distinguish the passages.
LIGHT_WORDS = frozenset(
    _WORD.findall(
        "acepta aceptan reciben recibe manejan maneja llevar llevo traer dejar pasa pasaria venden "
        "vende ofrecen ofrece atienden atiende trabajan trabaja usan usar tomar poner pedir pido "
        "ir llego llegar salir sigo seguir dentro despues siempre vez mejor bien tan sabe se mismo "
        "realizan prestan cobran cobra cubre incluye necesita toca debo debe deben "
        "vivo llamo estoy aplica aplican servicio servicios clinica tienda hotel empresa local "
        "numero number make take get use offer accept sell"
    )
)

# Only the everyday words of customers; the embedding covers the rest of another language.
_ENGLISH = {
    "price": "precio", "prices": "precio", "cost": "cuesta", "pay": "pagar", "payment": "pago",
    "card": "tarjeta", "cash": "efectivo", "parking": "parqueadero", "appointment": "cita",
    "cancel": "cancelar", "refund": "devolucion", "warranty": "garantia", "guarantee": "garantia",
    "child": "nino", "children": "ninos", "kids": "ninos", "emergency": "urgencia",
    "address": "direccion", "phone": "telefono", "insurance": "seguro", "discount": "descuento",
    "cleaning": "limpieza", "dental": "dental", "monday": "lunes", "tuesday": "martes",
    "wednesday": "miercoles", "thursday": "jueves", "friday": "viernes", "saturday": "sabado",
    "saturdays": "sabado", "sunday": "domingo", "sundays": "domingo", "shipping": "envio",
    "delivery": "entrega", "breakfast": "desayuno", "included": "incluido", "pool": "piscina",
    "pets": "mascotas", "room": "habitacion", "course": "curso", "class": "clase",
    "invoice": "factura", "hours": "horario", "schedule": "horario", "size": "talla",
}  # fmt: skip

# Customers use the verb where documents use the noun.
_SPOKEN = {"duele": "dolor", "duelen": "dolor", "doliendo": "dolor"}

# Words that precede a question and ask nothing themselves. No alternative may contain an unbounded
# repetition of another, because ``bare_question`` removes them one by one.
_WISH = (
    r"(?:tengo|ten[ií]a|quiero|quisiera|quer[ií]a|puedo|podr[ií]a|me gustar[ií]a|necesito|deseo|"
    r"me permites?|te hago|le hago)"
)
_ANNOUNCED = (
    rf"{_WISH} (?:(?:hacer|realizar)(?:te|les?)? )?(?:una|otra|unas|algunas)(?: peque[ñn]a)? "
    r"(?:pregunt(?:a|as|ica|ita)|dudas?|consultas?|inquietud(?:es)?)",
    r"(?:(?:una|otra) )?(?:pregunt(?:a|ica|ita)|duda|inquietud)(?=\s*[,.:;!?…¿]|\s*$)",
    r"(?:una|otra) (?:pregunt(?:a|ica|ita)|duda|inquietud)(?= (?:es|si)\b)(?: (?:es|si))?",
    # "una consulta" is also a thing that people buy: it announces a question only before a pause.
    r"(?:una|otra) consulta(?=\s*[,.:;!…¿]|\s*$)",
    rf"(?:{_WISH}|es para|para) (?:saber|preguntar(?:te|les?)?|averiguar|consultar(?:te|les?)?"
    r"(?= si\b))(?: (?:si|sobre|por|acerca de))?",
    rf"{_WISH} (?:m[aá]s |una |alguna )?(?:informaci[oó]n|info)(?: (?:sobre|de|acerca de))?",
    r"me (?:puedes?|podr[ií]as?|pueden|podr[ií]an) (?:decir|indicar|informar|confirmar)"
    r"(?: (?:si|sobre|por favor))?",
    r"(?:i would like|i d like|i'd like|i want) to (?:know|ask)(?: (?:if|whether|about))?",
    r"(?:can|could) you (?:please )?tell me(?: (?:if|whether|about))?",
    r"(?:a|one|quick|a quick|i have a) question(?=\s*[,.:;!?…]|\s*$)",
    r"(?:disculp[ae](?:n|me)?|perd[oó]n(?:e|a|eme)?|excuse me|sorry)",
)
_OPENING = (
    r"(?:muy )?buen[oa]s?(?: (?:d[ií]as?|tardes?|noches?))?",
    r"(?:hola+|saludos|hello|hi|hey|oye|oiga|por favor|porfa|ok|listo|vale|(?:muchas )?gracias)",
    r"(?:y|pues|entonces|ah|eh|ehm|a ver|es que)",
)
_PAUSE = r"[\s,.:;!?…\-]"
_PREAMBLE, _ANNOUNCEMENT = (
    re.compile(rf"[\s¿¡,.:;!?…\-]*(?:{'|'.join(ways)})(?={_PAUSE}|[¿¡]|$){_PAUSE}*", re.IGNORECASE)
    for ways in ((*_ANNOUNCED, *_OPENING), _ANNOUNCED)
)

# Pairs that customers and documents choose between.
_SAME = {
    "llant": "neumatic", "plat": "diner", "rebaj": "descuent", "tooth": "dient", "perr": "mascot",
    "parque": "parqueader", "bicicleter": "biciclet", "alumn": "estudiant", "gat": "mascot",
    "diplom": "certific", "inscrib": "matricul", "email": "corre", "celul": "telefon",
    "beb": "nin", "hij": "nin", "plaz": "cuot", "emerg": "urg", "urgent": "urg",
}  # fmt: skip


def fold(text: str) -> str:
    """Return the text in lower case without accents or diaereses:

    ``Qué Ñandú`` becomes ``que nandu``.
    """
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return _MARKS.sub("", decomposed)


def condensed(text: str, most: int) -> str:
    """Shorten a text to ``most`` characters or slightly more, by keeping its beginning and its end.

    A long message states its question at one of its ends. The time of processing a question grows
    with its length, so this bounds the time of one question.
    """
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} {text[-(most // 2) :]}"


def bare_question(text: str) -> str:
    """Return a message without the courtesies and announcements before its question.

    "Buenas, quería saber si abren hoy" gives "abren hoy"; a message of nothing else gives "".
    """
    start = 0
    while start < len(text) and (found := _PREAMBLE.match(text, start)):
        start = found.end()
    return text[start:].strip()


def only_announces(text: str) -> bool:
    """Return whether a message announces a question and asks none: "tengo una duda"."""
    start, announced = 0, False
    while start < len(text) and (found := _PREAMBLE.match(text, start)):
        announced = announced or _ANNOUNCEMENT.match(text, start) is not None
        start = found.end()
    return announced and not any(character.isalnum() for character in text[start:])


def written_language(text: str) -> Language | None:
    """Return the language of a text by the commonest words of both; None if they say nothing."""
    words = tokens(text)
    english = sum(word in _ENGLISH_MARKS for word in words)
    spanish = sum(word in _SPANISH_MARKS for word in words)
    if english == spanish:
        return None
    return "en" if english > spanish else "es"


def is_english(text: str) -> bool:
    """Return whether a text is rather English than Spanish."""
    return written_language(text) == "en"


def tokens(text: str) -> list[str]:
    """Return the words and numbers of a text, folded, in order."""
    return _WORD.findall(fold(text))


def is_light(word_stem: str) -> bool:
    """Return whether a stem belongs to a word that says little about the subject."""
    return word_stem in _light_stems()


@lru_cache(maxsize=1)
def _light_stems() -> frozenset[str]:
    return frozenset(map(stem, LIGHT_WORDS))


@lru_cache(maxsize=20_000)
def stem(word: str) -> str:
    """Return a folded word without its ending, and with ``ue``/``ie`` as in the infinitive.

    ``cuestan`` and ``costo`` both give ``cost``; ``cierran`` and ``cerramos`` give ``cerr``.
    """
    if word.isdigit():
        return word
    root = word
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _MIN_STEM_LENGTH:
            root = word[: -len(ending)]
            break
    root = root.replace("ue", "o") if "que" not in root and "gue" not in root else root
    root = root.replace("ie", "e")
    return _SAME.get(root, root)


def stems(text: str) -> list[str]:
    """Return the stems of all words of a text, in order, without stop words."""
    return [stem(word) for word in tokens(text) if word not in STOP_WORDS]


def question_stems(text: str) -> list[str]:
    """Return the distinct stems of a question's content words; everyday English becomes Spanish."""
    everyday = _ENGLISH | _SPOKEN
    words = (everyday.get(word, word) for word in tokens(text) if word not in STOP_WORDS)
    return list(dict.fromkeys(stem(word) for word in words))


def likeness(wanted: str, found: frozenset[str]) -> float:
    """Return how well ``wanted`` matches the best of ``found``.

    The result is 1 for the same stem, 0.8 for one typing mistake, 0.7 for the same root, else 0.
    """
    if wanted in found:
        return 1.0
    if len(wanted) < _FUZZY_FROM or wanted.isdigit():
        return 0.0
    best = 0.0
    first = wanted[0]
    for other in found:
        if other[0] != first:  # neither one typing mistake away nor of the same root
            continue
        if abs(len(other) - len(wanted)) <= 1 and _one_slip(wanted, other):
            return 0.8
        shorter = min(len(other), len(wanted))
        if shorter >= _FUZZY_FROM and other[:shorter] == wanted[:shorter]:
            best = 0.7
    return best


def _one_slip(left: str, right: str) -> bool:
    """Return whether one changed, missing, added or swapped letter makes the words equal."""
    if len(left) > len(right):
        left, right = right, left
    start = 0
    while start < len(left) and left[start] == right[start]:
        start += 1
    rest_left, rest_right = left[start:], right[start:]
    if len(left) < len(right):
        return rest_left == rest_right[1:]
    swapped = rest_left[:2] == rest_right[:2][::-1] and rest_left[2:] == rest_right[2:]
    return swapped or rest_left[1:] == rest_right[1:]
