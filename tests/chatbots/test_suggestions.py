"""Suggested questions are derived from a document's own questions, headings and labels."""

from __future__ import annotations

from neurant.chatbots.suggestions import candidates
from neurant.knowledge.openings import Opening


def test_questions_of_the_document_come_before_its_headings_and_labels() -> None:
    openings = [
        Opening("Guía", "Guía", "Guía\nBienvenida a la universidad."),
        Opening("Guía", "MATRÍCULAS", "MATRÍCULAS\nDerecho: $ 4.000.000 | 10 semestres"),
        Opening("Guía", "Biblioteca", "¿Puedo sacar libros en vacaciones?\nSí, dos."),
    ]
    assert candidates(openings) == [
        "¿Puedo sacar libros en vacaciones?",
        "¿Qué información tienes sobre matrículas?",
        "¿Qué información tienes sobre biblioteca?",
        "¿Qué información tienes sobre derecho?",
        "¿Qué información tienes sobre guía?",
    ]


def test_an_english_document_is_asked_about_in_english() -> None:
    text = "Opening hours\nThe gym is open from 6 to 22 on weekdays, and we are closed on Sunday."
    assert candidates([Opening("gym.txt", "Opening hours", text)])[0] == (
        "What can you tell me about opening hours?"
    )


def test_a_document_without_headings_is_asked_about_by_its_labels_and_title() -> None:
    openings = [Opening("Domicilios", None, "- Norte: $ 8.000\n- Sur: $ 9.000")]
    assert candidates(openings) == [
        "¿Qué información tienes sobre norte?",
        "¿Qué información tienes sobre sur?",
        "¿Qué información tienes sobre domicilios?",
    ]


def test_without_passages_nothing_is_suggested() -> None:
    assert candidates([]) == []
