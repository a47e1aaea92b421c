"""What the bot does with what was said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from neurant.replies.decide import Situation, decide, react, with_care, without_answer
from neurant.replies.queries import MessageRow
from neurant.replies.requests import Said
from neurant.replies.service import thread_before, unanswered
from neurant.understanding.classify import Classified
from neurant.understanding.kinds import KINDS, Kind
from tests.support.phrases import spoken

QUESTION = "¿Cuánto cuesta una limpieza?"
ASKED = Situation(
    company_name="Los Cedros",
    bot_name="Cedro",
    bot_is_active=True,
    limit_reached=False,
    is_hitl_active=False,
    hitl_enabled=True,
    hitl_triggers=["no_answer", "user_request", "keywords"],
    keywords=["queja"],
    fallback_message="¿Te comunico con una persona?",
    question=QUESTION,
    last_notice=None,
    last_bot_text=None,
    language="es",
)


def test_a_question_goes_to_the_documents() -> None:
    assert decide(ASKED).action == "retrieve"


def test_the_bot_is_silent_while_a_person_attends() -> None:
    for question in ("¿Cuánto cuesta?", "quiero hablar con una persona", "hola", ""):
        assert decide(replace(ASKED, is_hitl_active=True, question=question)).action == "none"


def test_a_wish_for_a_person_escalates_in_spanish_and_english() -> None:
    for question in ("Quiero hablar con una persona", "I want to talk to a human"):
        decision = decide(replace(ASKED, question=question))
        assert (decision.action, decision.reason) == ("escalate", "user_request")


def test_a_keyword_escalates_and_says_which() -> None:
    decision = decide(replace(ASKED, question="Tengo una QUEJA del servicio"))
    assert (decision.action, decision.reason, decision.detail) == ("escalate", "keywords", "queja")


def test_a_keyword_does_nothing_where_the_trigger_is_off() -> None:
    off = replace(ASKED, question="Tengo una queja", hitl_triggers=["user_request"])
    assert decide(off).action == "retrieve"


def test_yes_escalates_only_after_the_bot_has_offered() -> None:
    yes = replace(ASKED, question="sí, por favor")
    assert decide(yes).action != "escalate"
    assert decide(replace(yes, last_bot_text=ASKED.fallback_message)).action == "escalate"


def test_without_takeover_a_wish_for_a_person_gets_an_honest_answer() -> None:
    decision = decide(replace(ASKED, hitl_enabled=False, question="quiero hablar con una persona"))
    assert decision.action == "answer"
    assert decision.content


def test_a_paused_bot_says_so_once() -> None:
    paused = replace(ASKED, bot_is_active=False)
    assert decide(paused).content == "bot_inactive"
    assert decide(replace(paused, last_notice="bot_inactive")).action == "none"


def test_without_a_bot_message_left_nothing_is_looked_up() -> None:
    for question in (QUESTION, "hola", "quiero hablar con una persona", ""):
        assert decide(replace(ASKED, limit_reached=True, question=question)).action == "limit"
    attended = replace(ASKED, limit_reached=True, is_hitl_active=True)
    assert decide(attended).action == "none"


def test_a_photo_without_words_is_answered_once() -> None:
    photo = replace(ASKED, question="")
    assert decide(photo).content == "text_only"
    assert decide(replace(photo, last_notice="text_only")).action == "none"


def test_a_greeting_is_answered_with_the_names() -> None:
    content = decide(replace(ASKED, question="¡Hola!")).content
    assert content is not None
    assert "Cedro" in content
    assert "Los Cedros" in content


def test_no_answer_escalates_or_offers_as_the_bot_is_set() -> None:
    assert without_answer(ASKED, QUESTION).action == "escalate"
    offering = without_answer(replace(ASKED, hitl_triggers=["user_request"]), QUESTION)
    assert (offering.action, offering.content) == ("answer", ASKED.fallback_message)


def test_the_fallback_message_is_said_whenever_there_is_no_answer() -> None:
    before_handover = without_answer(ASKED, QUESTION)
    assert (before_handover.action, before_handover.content) == ("escalate", ASKED.fallback_message)
    alone = without_answer(replace(ASKED, hitl_enabled=False), QUESTION)
    assert (alone.action, alone.content) == ("answer", ASKED.fallback_message)
    for bot in (ASKED, replace(ASKED, hitl_enabled=False)):
        standard = without_answer(replace(bot, fallback_message=None), QUESTION)
        assert standard.content == ASKED.say("not_found")


def test_the_default_fallback_message_has_the_form_of_address_of_the_bot() -> None:
    default = "No puedo ayudarte con eso. ¿Te gustaría hablar con un operador?"
    new = replace(ASKED, fallback_message=default)
    assert without_answer(new, QUESTION).content == default
    formal = replace(new, address="usted")
    said = "No puedo ayudarle con eso. ¿Le gustaría hablar con un operador?"
    assert without_answer(formal, QUESTION).content == said
    yes = replace(formal, question="sí, por favor", last_bot_text=said)
    assert decide(yes).reason == "user_request"
    own = replace(formal, fallback_message="Escríbenos")
    assert without_answer(own, QUESTION).content == "Escríbenos"


def test_without_the_trigger_a_wish_for_a_person_hands_over_nothing() -> None:
    wish = "quiero hablar con una persona"
    off = replace(ASKED, question=wish, hitl_triggers=["no_answer", "keywords"])
    decision = decide(off)
    assert (decision.action, decision.by) == ("answer", "user_request")
    assert "no puedo comunicarte con una persona" in str(decision.content)
    # A fallback message that offers a person would contradict this; any other one is said too.
    assert str(off.fallback_message) not in str(decision.content)
    contact = "Escríbenos a hola@loscedros.example y te respondemos."
    assert str(decide(replace(off, fallback_message=contact)).content).endswith(contact)
    # A yes to the bot's own offer is such a wish as well.
    yes = replace(off, question="sí, por favor", last_bot_text=off.fallback_message)
    assert (decide(yes).action, decide(yes).by) == ("answer", "user_request")
    # A keyword of the company still calls a person.
    keyword = replace(off, keywords=["persona"])
    assert (decide(keyword).action, decide(keyword).reason) == ("escalate", "keywords")


def test_a_greeting_has_the_name_that_the_customer_gave() -> None:
    for question, context in (
        ("hola", {"name": "Ana María"}),
        ("Hola, soy Ana", {"name": "Ana"}),
        ("Buenas, me llamo ana", {"name": "Ana"}),
    ):
        decision = decide(replace(ASKED, question=question, context=context))
        assert decision.by == "small_talk", question
        assert "Ana!" in str(decision.content)
    assert "None" not in str(decide(replace(ASKED, question="hola")).content)


def test_a_burst_is_read_as_one_question_since_the_last_answer() -> None:
    newest_first = [
        MessageRow(5, "end_user", "text", "y los sábados?"),
        MessageRow(4, "system", "text", "text_only"),
        MessageRow(3, "end_user", "text", "a qué hora abren"),
        MessageRow(2, "bot", "text", "Hola"),
        MessageRow(1, "end_user", "text", "hola"),
    ]
    assert unanswered(newest_first) == ("a qué hora abren\ny los sábados?", "text_only", "Hola")


def test_nothing_is_said_when_somebody_has_answered_meanwhile() -> None:
    answered = [
        MessageRow(2, "human", "text", "Son 130.000"),
        MessageRow(1, "end_user", "text", "?"),
    ]
    question, _, _ = unanswered(answered)
    assert question is None
    assert decide(replace(ASKED, question=question)).action == "none"


def classified(**likely: float) -> Classified:
    return Classified({kind: likely.get(kind, 0.0) for kind in KINDS})


@pytest.mark.parametrize("kind", ["courtesy", "thanks", "farewell", "greeting", "reaction"])
def test_a_courtesy_gets_a_short_reply_and_nobody_is_called(kind: Kind) -> None:
    decision = react(replace(ASKED, question="listo pues"), kind)
    assert (decision.action, decision.by) == ("answer", "small_talk")
    assert len(decision.content or "") < 80


def test_a_courtesy_after_the_answer_to_a_courtesy_gets_silence() -> None:
    again = replace(ASKED, question="vale", last_bot_text=spoken("courtesy"))
    assert react(again, "courtesy").action == "none"


def test_the_bot_says_honestly_that_it_is_a_program() -> None:
    for with_people in (True, False):
        now = replace(ASKED, question="¿eres un robot?", hitl_enabled=with_people)
        content = react(now, "identity").content or ""
        assert "no una persona" in content
        assert ("te comunico" in content) is with_people


def test_an_insult_gets_a_calm_offer_of_a_person_which_a_yes_accepts() -> None:
    offered = react(replace(ASKED, question="qué bot tan inútil"), "insult")
    assert offered.action == "answer"
    yes = replace(ASKED, question="sí, por favor", last_bot_text=offered.content)
    assert decide(yes).action == "escalate"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [("complaint", "complaint"), ("emergency", "emergency"), ("advice", "emergency")],
)
def test_complaint_emergency_and_advice_call_a_person_with_a_fitting_sentence(
    kind: Kind, reason: str
) -> None:
    assert react(ASKED, kind).kind == kind
    called = with_care(ASKED, kind, "me duele mucho", "Ven a Chapinero.")
    assert (called.action, called.reason) == ("escalate", reason)
    assert called.content == f"{spoken(kind)}\n\nVen a Chapinero."
    alone = with_care(replace(ASKED, hitl_enabled=False), kind, "me duele mucho", None)
    assert (alone.action, alone.content) == ("answer", spoken(f"{kind}_alone"))


def test_what_is_off_the_subject_is_declined_and_nobody_is_called() -> None:
    declined = without_answer(ASKED, QUESTION, classified(offtopic=0.6, question=0.4))
    assert (declined.action, declined.by) == ("answer", "off_topic")


def test_a_likely_courtesy_without_an_answer_calls_nobody_but_a_likely_question_does() -> None:
    talk = replace(ASKED, question="qué locura")
    assert without_answer(talk, "", classified(reaction=0.5, question=0.4)).action == "answer"
    assert without_answer(talk, "", classified(reaction=0.3, question=0.6)).action == "escalate"
    marked = replace(ASKED, question="¿y ya?")
    assert without_answer(marked, "", classified(reaction=0.5, question=0.4)).action == "escalate"


def test_a_place_or_a_contact_gets_a_short_answer() -> None:
    for kind in ("location", "contact"):
        decision = decide(replace(ASKED, question="", attachment=kind))
        assert (decision.action, decision.content) == ("answer", spoken(kind))


def test_the_command_for_the_menu_is_answered_and_calls_nobody() -> None:
    first = decide(replace(ASKED, question="/menu"))
    later = decide(replace(ASKED, question="/menu@CedroBot", thread=[Said(True, "Hola")]))
    assert first.action == later.action == "answer"
    assert "Cedro" in (first.content or "")
    assert "Los Cedros" in (later.content or "")


def test_a_mention_before_a_wish_for_a_person_changes_nothing() -> None:
    decision = decide(replace(ASKED, question="@CedroBot quiero hablar con una persona"))
    assert decision.reason == "user_request"


def test_the_thread_is_what_was_said_before_the_open_question() -> None:
    newest_first = [
        MessageRow(6, "end_user", "text", "¿y cuánto cuesta?"),
        MessageRow(5, "bot", "text", "Sí."),
        MessageRow(4, "system", "text", "text_only"),
        MessageRow(3, "end_user", "location", "4.6, -74.0"),
        MessageRow(2, "end_user", "text", "¿Hacen limpieza?"),
        MessageRow(1, "bot", "text", "Hola"),
    ]
    assert thread_before(newest_first, 2) == [Said(False, "¿Hacen limpieza?"), Said(True, "Sí.")]
    assert thread_before(newest_first, 10)[0] == Said(True, "Hola")
