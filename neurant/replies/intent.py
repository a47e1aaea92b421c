"""Rules for what a message clearly wants, before any search: a person, small talk, a keyword.

They are rules of words and not a model: they take microseconds, and a company can read why they
matched. They are narrow on purpose. A request for a person that they miss is caught later, when the
bot finds no answer and offers a person; a question that they mistake for such a request would stay
unanswered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from neurant.knowledge.words import fold, only_announces
from neurant.texts import Language

MAX_CHARS = 1_000

_WORD = re.compile(r"\w+")
_NOT_WORDS = re.compile(r"[^a-z0-9]+")
# Shorter words are particles and have no plural: "nos" is not the plural of "no".
_MIN_NOUN_LENGTH = 3
_POSSESSIVES = ("mi", "tu", "su")
_REPEATED = re.compile(r"([a-z])\1{2,}")

# The names of people who attend to customers, with the usual typing mistakes of a chat.
_AGENT = (
    r"(?:ase[sz]or(?:a|es|as)?|acesor(?:a|es)?|agentes?|ajente|operador(?:a|es)?|operari[oa]|"
    r"humanos?|umano|humana|encargad[oa]|ejecutiv[oa]|representante|recepcionista|supervisor(?:a)?)"
)
_SOMEONE = (
    rf"(?:{_AGENT}|alguien|alguna persona|persona|perzona|gente|ser humano|"
    r"servicio al cliente|atencion al cliente|soporte humano)"
)
_A = r"(?:con |a |de |por )?(?:un |una |el |la |algun |alguna |su |sus |otro |otra |los |las )?"
_REAL = r"(?: (?:real|humana|humano|de verdad|de carne y hueso|viva))?"
_SPEAK = (
    r"(?:hablar|ablar|hablo|hable|hablemos|hablarle|comunicar(?:me|nos)?|comunica(?:rme|me)?|"
    r"comuniqueme|comunicame|contactar(?:me)?|conversar|chatear|platicar|charlar)"
)
_HAND_OVER = (
    r"(?:pasa(?:me|r|rme)|paseme|pasenme|pasas|pasan|transferir(?:me)?|transfiere(?:me)?|"
    r"transfierame|conecta(?:me|r|rme)|conecteme|comunica(?:me|rme)|comuniqueme|ponme|"
    r"pongame|pasa)"
)
_WANT = (
    r"(?:quiero|quiere|qiero|kiero|quisiera|queria|necesito|nesecito|necesitamos|deseo|prefiero|"
    r"puedo|podria|me gustaria|solicito|exijo|dame|deme|busco|pido|que me atienda|"
    r"que me ayude|me atiende|me puede atender|me puede ayudar|atiendame|atencion de)"
)
# The words after "persona" or "agente" in a question about something else.
_OTHER_SENSE = (
    r"(?! (?:natural|juridica|mayor|menor|adicional|extra|con discapacidad|en silla|embarazada|"
    r"inmobiliari[oa]|de viajes?|de seguros?|de aduanas?|de transito|quimico|economico|"
    r"para (?:ir|viajar|entrar|mi|el|la|los|las|un|una)|por habitacion|puede|pueden|cabe|mas\b))"
)

_ES = [
    rf"\b{_SPEAK} {_A}{_SOMEONE}\b{_REAL}{_OTHER_SENSE}",
    rf"\b(?:me |nos )?{_HAND_OVER} (?:ya )?(?:con|al?) {_A}{_SOMEONE}\b{_REAL}{_OTHER_SENSE}",
    rf"\b{_WANT} (?:que )?{_A}{_AGENT}\b{_REAL}{_OTHER_SENSE}",
    rf"\b(?:quiero|quisiera|necesito|prefiero|deseo) (?:a |con )?(?:una|otra) persona\b{_REAL}$",
    rf"\b(?:que )?me (?:atienda|ayude|atiende|conteste|responda) {_A}{_SOMEONE}\b{_OTHER_SENSE}",
    r"\b(?:persona|agente|asesor|operador|atencion|ayuda) (?:real|humana|humano|de verdad)\b",
    rf"\b(?:hay|esta) {_A}{_AGENT}\b{_REAL}(?= disponible| que me| ahi|$)",
    r"\bser humano\b",
    r"\b(?:alguien|una persona|alguna persona|un humano) (?:que )?(?:me|nos) "
    r"(?:puede |pueda |podria )?(?:ayud|atiend|atend|llam|contest|respond)\w*",
    r"\bme (?:puede |pueden |podria )?(?:llamar|atender|ayudar|llama|contactar) alguien\b",
    r"\bno quiero (?:hablar|seguir hablando|chatear) con (?:un|una|el|este|la) "
    r"(?:bot|robot|maquina|chatbot|ia)\b",
    r"\bhay alguien (?:ahi|real|que me atienda|que me ayude|que me pueda (?:ayudar|atender))\b",
]
_HUMAN_EN = (
    r"(?:person|human|human being|agent|representative|rep|operator|advisor|adviser|someone|"
    r"somebody|staff|customer service|support agent|manager|real person|live agent|live person)"
)
_NOT_EN = r"(?! (?:who|from|in the|injury|fee|per|commission|about my son))"
_EN = [
    rf"\b(?:talk|speak|chat|connect me|transfer me|put me through|get me|pass me) "
    rf"(?:to |with |through to )?(?:a |an |the |some |another )?(?:real |live |actual |human )?"
    rf"{_HUMAN_EN}\b{_NOT_EN}",
    rf"\b(?:i want|i need|i d like|i would like|give me|can i have|can i get) (?:to )?(?:a |an )?"
    rf"(?:real |live |actual |human )(?:{_HUMAN_EN}|being|help|support)\b",
    r"\b(?:i want|i need|i d like|i would like|give me) (?:a |an )?(?:human|agent|operator|"
    r"representative)\b(?! (?:fee|commission))",
    r"\b(?:real person|human agent|live agent|human being)\b",
]
_WANTS_PERSON = re.compile("|".join(_ES + _EN))
# A message that is only a name for such a person: "asesor", "agente por favor", "human!".
_ONLY_PERSON = re.compile(
    rf"(?:un |una |con |el |la |a |an )*(?:{_AGENT}|persona real|alguien real|agent|human|operator|"
    r"representative|real person|servicio al cliente|atencion al cliente)"
    r"(?: (?:por favor|porfa|porfavor|porfis|please|pls|ya|ahora|gracias|urgente))*"
)
_REFUSED = re.compile(
    rf"\bno (?:quiero|necesito|deseo|hace falta|me pase[sn]?) (?:hablar )?{_A}{_SOMEONE}\b"
)

# In this pattern and in _SMALL_TALK no alternative is a sequence of other alternatives: two ways to
# match the same words would make matching exponential. Thanks may accompany a yes, but thanks alone
# are not a yes.
_YES = re.compile(
    r"(?!(?:gracias|thanks|thank you| )+$)"
    r"(?:(?:si|sip|sis|claro(?: que si)?|dale|ok|okay|okey|oki|listo|bueno|bien|de una|vale|"
    r"hagale|por supuesto|esta bien|perfecto|de acuerdo|correcto|obvio|eso|quiero|"
    r"me gustaria|porfa|porfavor|porfis|por favor|yes|yeah|yep|yup|sure|of course|"
    r"sounds good|go ahead|please do|i do|please|pls|adelante|hazlo|hagalo|gracias|"
    r"thanks|thank you)(?: |$))+"
)

_GREETING = (
    r"(?:hola|ola|holi|holis|holaa|buen dia|buenos dias|buenas|buenas tardes|buenas noches|"
    r"muy buenas|muy buenos dias|muy buenas tardes|muy buenas noches|buenos|saludos|que tal|"
    r"que mas|quiubo|como estas|como esta|como estan|como vas|como va|como le va|como te va|"
    r"todo bien|alo|hey|hi|hello|hello there|hi there|good morning|good afternoon|good evening|"
    r"how are you|cordial saludo)"
)
_THANKS = (
    r"(?:gracias|muchas gracias|mil gracias|muchisimas gracias|gracia|grax|grcs|te agradezco|"
    r"le agradezco|muy amable|super|genial|excelente|perfecto|listo|ok|vale|thanks|thank you|"
    r"thanks a lot|many thanks|thank you so much|thank you very much|thx|ty|great|por todo|"
    r"por la informacion|por la info|por tu ayuda|por su ayuda|for your help)"
)
_THANKS_CORE = re.compile(r"\b(?:gracias?|grax|grcs|agradezco|amable|thanks?|thx|ty)\b")
_FAREWELL = (
    r"(?:adios|chao|chau|ciao|hasta luego|hasta pronto|hasta manana|nos vemos|nos hablamos|"
    r"que estes bien|que este bien|feliz dia|feliz tarde|feliz noche|feliz fin de semana|"
    r"buena noche|buen fin de semana|bye|goodbye|see you|see you later|"
    r"have a nice day|have a good day|bendiciones|cuidate)"
)
_FAREWELL_CORE = re.compile(rf"(?:^| ){_FAREWELL}(?: |$)")
_FILLER = r"(?:bot|amigo|amiga|senor|senora|senorita|doctor|doctora|a todos|todos|y|de nuevo)"
_SMALL_TALK = re.compile(rf"(?:(?:{_GREETING}|{_THANKS}|{_FAREWELL}|{_FILLER})(?: |$))+", re.ASCII)
_GREETING_CORE = re.compile(rf"(?:^| ){_GREETING}(?: |$)")

# Telegram sends this command when a chat is opened, alone or with the link's payload.
_COMMAND = re.compile(r"/(?:start|help|ayuda)(?:@\w+)?(?:\s+\S+)?", re.IGNORECASE)
# One unpronounceable word: random keystrokes.
_NONSENSE = re.compile(r"[a-z]*[bcdfghjklmnpqrstvwxz]{6}[a-z]*")

_ENGLISH_WORDS = frozenset(
    _WORD.findall(
        "the what where when how is are you do does did can could would my your please thanks "
        "thank "
        "hello hi open close price much many have need want with for and i it this that of time "
        "appointment talk speak person human yes sure there who which will cost bye good morning "
        "afternoon evening get help an to"
    )
)
_SPANISH_WORDS = frozenset(
    _WORD.findall(
        "el la los las un una de del que qué cual cuanto cuando donde como es son hay tiene tienen "
        "para por con mi su quiero necesito puedo hola gracias buenos buenas dias tardes noches si "
        "en al y o se me te lo le favor cita precio cuesta vale horario abren no"
    )
)


def wants_person(text: str) -> bool:
    """Return whether a message clearly asks for a human being, in Spanish or English."""
    plain = _plain(text)
    if _REFUSED.search(plain):
        return False
    return bool(_ONLY_PERSON.fullmatch(plain) or _WANTS_PERSON.search(plain))


def wants_person_confirmation(text: str) -> bool:
    """Return whether a message is nothing but a yes, such as to the bot's offer of a person."""
    plain = _plain(text)
    return bool(_YES.fullmatch(plain)) or _is_thumb(text)


def matched_keyword(text: str, keywords: Sequence[str]) -> str | None:
    """Return the first of ``keywords`` that the text contains as whole words; None if it has none.

    Accents, case, punctuation, singular and plural make no difference ("guía" is found in "guías").
    The keyword is returned as the company wrote it.
    """
    said = _words(text).split()
    for keyword in keywords:
        wanted = [_in_number(word) for word in _words(keyword).split()]
        if wanted and any(
            all(word in forms for word, forms in zip(said[start:], wanted, strict=False))
            for start in range(len(said) - len(wanted) + 1)
        ):
            return keyword
    return None


@lru_cache(maxsize=4096)
def _in_number(word: str) -> frozenset[str]:
    """Return a folded word, its plurals, and its possible singulars."""
    singulars = [word[:-1], word[:-2], word[:-3] + "z"] if word.endswith("s") else []
    return frozenset([word, *_plurals(word), *(one for one in singulars if word in _plurals(one))])


def _plurals(word: str) -> list[str]:
    if (len(word) < _MIN_NOUN_LENGTH and word not in _POSSESSIVES) or word[-1].isdigit():
        return []
    if word[-1] in "aeiou":
        return [word + "s"]
    return [word[:-1] + "ces"] if word.endswith("z") else [word + "es", word + "s"]


def small_talk(text: str) -> Literal["greeting", "thanks", "farewell"] | None:
    """Return the kind of a message of nothing but courtesy; None if it says anything else.

    A message that asks nothing yet ("/start", "tengo una duda", "?") counts as a greeting.
    """
    plain = _plain(text)
    if _asks_nothing_yet(text[:MAX_CHARS].strip(), plain):
        return "greeting"
    if not plain or not _SMALL_TALK.fullmatch(plain):
        return None
    if _FAREWELL_CORE.search(plain):
        return "farewell"
    if _THANKS_CORE.search(plain):
        return "thanks"
    return "greeting" if _GREETING_CORE.search(plain) else None


def _asks_nothing_yet(text: str, plain: str) -> bool:
    if _COMMAND.fullmatch(text) or _NONSENSE.fullmatch(plain) or only_announces(text):
        return True
    return bool(text) and not any(character.isalnum() for character in text)


def language_of(text: str) -> Language:
    """Return English if its commonest words outnumber the Spanish ones, otherwise Spanish."""
    if re.search(r"[ñ¿¡áéíóú]", text[:MAX_CHARS].lower()):
        return "es"
    words = _words(text).split()
    english = sum(word in _ENGLISH_WORDS for word in words)
    spanish = sum(word in _SPANISH_WORDS for word in words)
    return "en" if english > spanish else "es"


def _words(text: str) -> str:
    return _NOT_WORDS.sub(" ", fold(text[:MAX_CHARS])).strip()


def _plain(text: str) -> str:
    """Return folded words with single spaces, and "hola" for "holaaaa"."""
    return _REPEATED.sub(r"\1", _words(text))


def _is_thumb(text: str) -> bool:
    return text.strip() in {"👍", "👍🏻", "👍🏼", "👍🏽", "👍🏾", "👍🏿", "👌", "✅"}
