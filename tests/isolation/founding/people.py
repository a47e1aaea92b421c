"""Who comes, who goes, and by which address they are known."""

from __future__ import annotations

import hashlib
from typing import Any

from tests.isolation.founding.isolation import REFUSED
from tests.isolation.founding.registry import defect
from tests.isolation.founding.worlds import World, add_login

DIGEST = hashlib.sha256(b"secret-token").digest()


def invite(world: World, role: str, **more: Any) -> bool:
    """An administrador invites nuevo@…; whether that was possible."""
    email = f"nuevo-{role}@acme.example"
    if world.is_ours:
        return world.value(
            "select outcome from private.invite_user(%s, %s, null, null, %s)",
            email, role, hashlib.sha256(f"{role}{more}".encode()).digest(),
        ) == "invited"  # fmt: skip
    me = world.acme.people["administrador"].id
    return world.put("user_invitations", company_id=world.acme.id, email=email, role=role,
        invited_by=me, invitation_token=f"secret-token-{role}{more}") == 1  # fmt: skip


@defect(
    "D11",
    "re-inviting after a cancel fails, an owner can be invited, the token lies in clear",
    drafted=(True, True, False, True),
    ours=(False, True, True, False),
)
def invites(world: World) -> Any:
    world.become("administrador")
    as_owner = invite(world, "owner")
    first = invite(world, "operador")
    if world.is_ours:
        world.value(
            "select private.cancel_invitation(id) from user_invitations where role = 'operador'"
        )
    else:
        world.attempt("update user_invitations set status = 'cancelled'")
    again = invite(world, "operador", again=True)
    read = world.value(
        "select to_jsonb(i)::text like '%%secret-token%%' from user_invitations i limit %s", 1
    )
    return as_owner, first, again, read is True


@defect("D13", "one person cannot belong to two companies", drafted="UniqueViolation", ours=1)
def joins_two(world: World) -> Any:
    person = world.acme.people["supervisor"]
    return world.put("users", company_id=world.rival.id, auth_user_id=person.login,
        email=person.email, first_name="s", last_name="s")  # fmt: skip


@defect(
    "D35",
    "nobody can sign up, and nobody can accept an invitation",
    drafted=(REFUSED, False),
    ours=("created", True),
)
def arrives(world: World) -> Any:
    """What signing up comes to, and whether an invited person gets in."""
    founder = add_login(world, "fundadora@nueva.example")
    invited = add_login(world, "nuevo-operador@acme.example")
    world.become("administrador")
    assert invite(world, "operador")
    if world.is_ours:
        world.announce("neurant_app", {})
        signed_up = world.value(
            "select outcome from private.sign_up(%s, 'Nueva', 'nueva-arrives', null, 'F', 'N')",
            founder,
        )
        token = hashlib.sha256(b"operador{}").digest()
        accepted = world.value(
            "select outcome from private.accept_invitation(%s, %s)", token, invited
        )
        return signed_up, accepted == "accepted"
    world.announce("authenticated", {"sub": str(founder)})
    signed_up = world.put("companies", name="Nueva", slug="nueva-arrives", email="f@n.example")
    world.announce("authenticated", {"sub": str(invited)})
    return signed_up, world.value("select count(*) from user_invitations") > 0


@defect(
    "D37",
    "a company with metrics cannot end, nor a login that has created anything",
    drafted=("ForeignKeyViolation", "ForeignKeyViolation"),
    ours=("closed", 1),
)
def ends(world: World) -> Any:
    world.add("system_metrics", metric_type="queue", value=1)
    if world.is_ours:
        world.become("owner")
        ended = world.value("select private.close_company()")
        world.as_admin()
    else:
        ended = world.attempt("delete from companies where id = %s", world.acme.id)
    login = world.acme.people["owner"].login
    return ended, world.attempt("delete from auth.users where id = %s", login)


@defect("D38", "one mailbox, two users: e-mails differ by case", drafted=1, ours="CheckViolation")
def differs_by_case(world: World) -> Any:
    email = world.acme.people["operador"].email.upper()
    return world.put("users", company_id=world.acme.id, email=email, first_name="x", last_name="x")


@defect("D39", "an end user reacts five times to one message", drafted=5, ours=1)
def reacts_often(world: World) -> Any:
    acme = world.acme
    with world.without_triggers():
        for _ in range(5):
            world.put("message_reactions", company_id=acme.id, conversation_id=acme.conversation,
                chatbot_id=acme.bot, message_id=acme.message, reaction_type="thumbs_up",
                reacted_by_end_user=True)  # fmt: skip
    return world.value("select count(*) from message_reactions where message_id = %s", acme.message)
