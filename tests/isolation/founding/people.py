"""Who comes, who goes, and by which address they are known."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.isolation.founding.fixtures import FoundingFixture, add_login
from tests.isolation.founding.isolation import REFUSED
from tests.isolation.founding.registry import defect

DIGEST = hashlib.sha256(b"secret-token").digest()


def invite(fixture: FoundingFixture, role: str, **more: Any) -> bool:
    """An administrador invites nuevo@…; whether that was possible."""
    email = f"nuevo-{role}@acme.example"
    if fixture.is_ours:
        return fixture.value(
            "select outcome from private.invite_user(%s, %s, null, null, %s)",
            email, role, hashlib.sha256(f"{role}{more}".encode()).digest(),
        ) == "invited"  # fmt: skip
    me = fixture.acme.people["administrador"].id
    return fixture.put("user_invitations", company_id=fixture.acme.id, email=email, role=role,
        invited_by=me, invitation_token=f"secret-token-{role}{more}") == 1  # fmt: skip


@defect(
    "D11",
    "re-inviting after a cancel fails, an owner can be invited, the token lies in clear",
    drafted=(True, True, False, True),
    ours=(False, True, True, False),
)
def invites(fixture: FoundingFixture) -> Any:
    fixture.become("administrador")
    as_owner = invite(fixture, "owner")
    first = invite(fixture, "operador")
    if fixture.is_ours:
        fixture.value(
            "select private.cancel_invitation(id) from user_invitations where role = 'operador'"
        )
    else:
        fixture.attempt("update user_invitations set status = 'cancelled'")
    again = invite(fixture, "operador", again=True)
    read = fixture.value(
        "select to_jsonb(i)::text like '%%secret-token%%' from user_invitations i limit %s", 1
    )
    return as_owner, first, again, read is True


@defect("D13", "one person cannot belong to two companies", drafted="UniqueViolation", ours=1)
def joins_two(fixture: FoundingFixture) -> Any:
    person = fixture.acme.people["supervisor"]
    return fixture.put("users", company_id=fixture.rival.id, auth_user_id=person.login,
        email=person.email, first_name="s", last_name="s")  # fmt: skip


@defect(
    "D35",
    "nobody can sign up, and nobody can accept an invitation",
    drafted=(REFUSED, False),
    ours=("created", True),
)
def arrives(fixture: FoundingFixture) -> Any:
    """What signing up comes to, and whether an invited person gets in."""
    founder = add_login(fixture, "fundadora@nueva.example")
    invited = add_login(fixture, "nuevo-operador@acme.example")
    fixture.become("administrador")
    assert invite(fixture, "operador")
    if fixture.is_ours:
        fixture.announce("neurant_app", {})
        signed_up = fixture.value(
            "select outcome from private.sign_up(%s, 'Nueva', 'nueva-arrives', null, 'F', 'N')",
            founder,
        )
        token = hashlib.sha256(b"operador{}").digest()
        accepted = fixture.value(
            "select outcome from private.accept_invitation(%s, %s)", token, invited
        )
        return signed_up, accepted == "accepted"
    fixture.announce("authenticated", {"sub": str(founder)})
    signed_up = fixture.put("companies", name="Nueva", slug="nueva-arrives", email="f@n.example")
    fixture.announce("authenticated", {"sub": str(invited)})
    return signed_up, fixture.value("select count(*) from user_invitations") > 0


@defect(
    "D37",
    "a company with metrics cannot end, nor a login that has created anything",
    drafted=("ForeignKeyViolation", "ForeignKeyViolation"),
    ours=("closed", 1),
)
def ends(fixture: FoundingFixture) -> Any:
    fixture.add("system_metrics", metric_type="queue", value=1)
    if fixture.is_ours:
        fixture.become("owner")
        ended = fixture.value("select private.close_company()")
        fixture.as_admin()
    else:
        ended = fixture.attempt("delete from companies where id = %s", fixture.acme.id)
    login = fixture.acme.people["owner"].login
    return ended, fixture.attempt("delete from auth.users where id = %s", login)


@defect("D38", "one mailbox, two users: e-mails differ by case", drafted=1, ours="CheckViolation")
def differs_by_case(fixture: FoundingFixture) -> Any:
    email = fixture.acme.people["operador"].email.upper()
    return fixture.put(
        "users", company_id=fixture.acme.id, email=email, first_name="x", last_name="x"
    )


@defect("D39", "an end user reacts five times to one message", drafted=5, ours=1)
def reacts_often(fixture: FoundingFixture) -> Any:
    acme = fixture.acme
    with fixture.without_triggers():
        for _ in range(5):
            fixture.put("message_reactions", company_id=acme.id, conversation_id=acme.conversation,
                chatbot_id=acme.bot, message_id=acme.message, reaction_type="thumbs_up",
                reacted_by_end_user=True)  # fmt: skip
    return fixture.value(
        "select count(*) from message_reactions where message_id = %s", acme.message
    )
