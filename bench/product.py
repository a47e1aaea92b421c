"""Every name and file of the product that the benches use.

``bench/compare.py`` runs today's benches on an older commit, whose packages may have other names.
It keeps this file and ``peer.py`` of the older commit, so no other file of ``bench`` imports from
``neurant`` or ``tests``.
"""

from __future__ import annotations

from pathlib import Path

from neurant.api.call import Call, needs
from neurant.auth.throttling import Rates
from neurant.channels.events import InboundMessage
from neurant.channels.ingest import Ingestor
from neurant.channels.webchat.limits import Doing, VisitorLimits
from neurant.channels.webchat.visitors import LIFETIME
from neurant.core.client_address import place_of
from neurant.core.db.pool import make_pool
from neurant.core.realtime import Hub
from neurant.core.settings import get_settings
from neurant.core.turns import Turns
from neurant.installation.embedded import RunningServer, Urls, connection_urls, start_supervised
from neurant.installation.install import read_secrets
from neurant.installation.migrate import MIGRATIONS, migrate, set_login_passwords
from neurant.knowledge import embed
from neurant.knowledge.answer import choose, judge
from neurant.knowledge.chunk import MAX_CHUNK_CHARS, chunk
from neurant.knowledge.embed import MODEL
from neurant.knowledge.extract import extract
from neurant.knowledge.passage import asks_something, best_window, read_question, weights
from neurant.knowledge.rank import Candidate, Found, Ranked, fuse
from neurant.knowledge.reader import Ended, limits_for, run_child
from neurant.knowledge.repair import Repaired, repair
from neurant.knowledge.search import Prepared
from neurant.knowledge.spelling import Vocabulary, vocabulary_of, words_of
from neurant.knowledge.words import is_english, stems
from neurant.replies.consult import understood
from neurant.replies.decide import Decision, Situation, decide
from neurant.replies.intent import small_talk, wants_person
from neurant.replies.lookup import better
from neurant.replies.queries import Reply
from neurant.replies.requests import Said
from neurant.replies.service import respond
from neurant.runtime.serve import serve
from neurant.team.routes import router
from neurant.understanding.turn import read_turn

_ROOT = Path(__file__).resolve().parents[1]
DEMO_DOCUMENTS = _ROOT / "neurant" / "demo" / "documents"
DEMO_QUESTIONS = _ROOT / "tests" / "knowledge" / "demo_questions.toml"

__all__ = [
    "DEMO_DOCUMENTS",
    "DEMO_QUESTIONS",
    "LIFETIME",
    "MAX_CHUNK_CHARS",
    "MIGRATIONS",
    "MODEL",
    "Call",
    "Candidate",
    "Decision",
    "Doing",
    "Ended",
    "Found",
    "Hub",
    "InboundMessage",
    "Ingestor",
    "Prepared",
    "Ranked",
    "Rates",
    "Repaired",
    "Reply",
    "RunningServer",
    "Said",
    "Situation",
    "Turns",
    "Urls",
    "VisitorLimits",
    "Vocabulary",
    "asks_something",
    "best_window",
    "better",
    "choose",
    "chunk",
    "connection_urls",
    "decide",
    "embed",
    "extract",
    "fuse",
    "get_settings",
    "is_english",
    "judge",
    "limits_for",
    "make_pool",
    "migrate",
    "needs",
    "place_of",
    "read_question",
    "read_secrets",
    "read_turn",
    "repair",
    "respond",
    "router",
    "run_child",
    "serve",
    "set_login_passwords",
    "small_talk",
    "start_supervised",
    "stems",
    "understood",
    "vocabulary_of",
    "wants_person",
    "weights",
    "words_of",
]
