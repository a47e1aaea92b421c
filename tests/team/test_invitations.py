"""People come by invitation: below the inviter, with the invited address, once, in a seat."""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from neurant.installation.embedded import Urls
from tests.companies import ROLES, Company, make_company
from tests.plans.sql_as_role import (
    add_login,
    call_as,
    counters,
    invite,
    limit,
    query_as_admin,
    recount,
    staff,
    worker,
)

RENEW = "select private.renew_invitation(%s, %s)"
CANCEL = "select private.cancel_invitation(%s)"
LEVEL = {"owner": 4, "administrador": 3, "supervisor": 2, "operador": 1}


@pytest.fixture
def acme(urls: Urls) -> Company:
    return make_company(urls.admin, "acme")


@pytest.fixture
def rival(urls: Urls) -> Company:
    return make_company(urls.admin, "rival")


def accept(urls: Urls, token: bytes, login: UUID, now: datetime | None = None) -> str:
    with psycopg.connect(urls.app) as db:
        return db.execute(
            "select outcome from private.accept_invitation(%s, %s, p_now => coalesce(%s, now()))",
            (token, login, now),
        ).fetchone()[0]


def invited(urls: Urls, company: Company, email: str, role: str = "operador") -> tuple[UUID, bytes]:
    token = secrets.token_bytes(32)
    with staff(urls, company, "owner") as db:
        outcome, invitation = invite(db, email, role, token)
    assert outcome == "invited"
    assert invitation
    return invitation, token


def address(company: Company) -> str:
    return f"ana-{secrets.token_hex(3)}@{company.slug}.example"


def status(urls: Urls, invitation: UUID) -> str:
    [[found]] = query_as_admin(
        urls, "select status::text from user_invitations where id = %s", invitation
    )
    return found


@pytest.mark.parametrize("inviter", ROLES)
def test_people_invite_only_to_roles_below_their_own_if_at_all(
    urls: Urls, acme: Company, inviter: str
) -> None:
    for role in ROLES:
        may = inviter in ("owner", "administrador") and LEVEL[role] < LEVEL[inviter]
        with staff(urls, acme, inviter) as db:
            outcome, invitation = invite(db, address(acme), role)
        assert outcome == ("invited" if may else "forbidden"), role
        assert (invitation is not None) == may


def test_an_api_key_without_the_scope_invites_nobody(urls: Urls, acme: Company) -> None:
    key = query_as_admin(
        urls,
        "insert into api_keys (company_id, name, prefix, key_digest, role, created_by)"
        " values (%s, 'k', 'na_', %s, 'administrador', %s) returning id",
        acme.id,
        secrets.token_bytes(32),
        acme.people["owner"].id,
    )[0][0]
    with psycopg.connect(urls.app) as db:
        claims = json.dumps({"key_id": str(key), "company_id": str(acme.id)})
        db.execute("select set_config('role', 'authenticated', true)")
        db.execute("select set_config('request.jwt.claims', %s, true)", (claims,))
        assert db.execute("select count(*) from companies").fetchone() == (1,)  # it is somebody
        assert invite(db, address(acme)) == ("forbidden", None)


def test_the_invited_login_becomes_a_member_with_the_role(
    urls: Urls, acme: Company, rival: Company
) -> None:
    email = address(acme)
    invitation, token = invited(urls, acme, email.upper(), "supervisor")
    login = add_login(urls, email.title())
    before = counters(urls, acme)
    assert accept(urls, token, login) == "accepted"
    assert query_as_admin(
        urls,
        "select u.email, u.role::text, u.is_owner, u.first_name, u.invited_by, u.invited_at = i.sent_at,"
        " u.accepted_invitation_at = i.accepted_at, i.status::text, i.accepted_by_user_id = u.id"
        " from users u join user_invitations i on i.company_id = u.company_id and i.email = u.email"
        " where u.auth_user_id = %s and i.id = %s",
        login,
        invitation,
    ) == [
        (email, "supervisor", False, "Ana", acme.people["owner"].id, True, True, "accepted", True)
    ]
    assert counters(urls, acme) == before == recount(urls, acme)  # the same seat
    claims = {"sub": str(login), "company_id": str(acme.id)}
    for company, expected in ((acme, 1), (rival, 0)):
        claims["company_id"] = str(company.id)
        with psycopg.connect(urls.app) as db:
            db.execute("select set_config('role', 'authenticated', true)")
            db.execute("select set_config('request.jwt.claims', %s, true)", (json.dumps(claims),))
            assert db.execute("select count(*) from companies").fetchone() == (expected,)


def test_only_the_invited_address_may_accept(urls: Urls, acme: Company) -> None:
    invitation, token = invited(urls, acme, address(acme))
    stranger = add_login(urls, address(acme))
    assert accept(urls, token, stranger) == "email_mismatch"
    assert accept(urls, token, uuid4()) == "email_mismatch"
    assert accept(urls, secrets.token_bytes(32), stranger) == "unknown"
    assert status(urls, invitation) == "pending"


def test_an_invitation_is_accepted_once(urls: Urls, acme: Company) -> None:
    email = address(acme)
    _, token = invited(urls, acme, email)
    login = add_login(urls, email)
    assert accept(urls, token, login) == "accepted"
    assert accept(urls, token, login) == "accepted_before"


def test_a_late_one_is_refused_and_marked_and_frees_its_seat(urls: Urls, acme: Company) -> None:
    email = address(acme)
    invitation, token = invited(urls, acme, email)
    login = add_login(urls, email)
    late = datetime.now(UTC) + timedelta(days=7, minutes=1)
    seats = counters(urls, acme)[1]
    assert accept(urls, token, login, late) == "expired"
    assert status(urls, invitation) == "expired"
    assert counters(urls, acme)[1] == seats - 1
    assert accept(urls, token, login) == "expired"


def test_a_cancelled_one_is_closed_and_the_address_can_be_invited_again(
    urls: Urls, acme: Company
) -> None:
    """D11: the row is renewed, with another token."""
    email = address(acme)
    invitation, token = invited(urls, acme, email)
    assert call_as(urls, acme, "administrador", CANCEL, invitation) == "cancelled"
    assert call_as(urls, acme, "owner", CANCEL, invitation) == "closed"
    login = add_login(urls, email)
    assert accept(urls, token, login) == "cancelled"
    again, new_token = invited(urls, acme, email, "supervisor")
    assert again == invitation
    assert accept(urls, token, login) == "unknown"
    assert accept(urls, new_token, login) == "accepted"


def test_a_pending_one_is_not_sent_twice_but_renewed(urls: Urls, acme: Company) -> None:
    email = address(acme)
    invitation, token = invited(urls, acme, email)
    with staff(urls, acme, "owner") as db:
        assert invite(db, email) == ("already_invited", invitation)
    new_token = secrets.token_bytes(32)
    seats = counters(urls, acme)[1]
    assert call_as(urls, acme, "owner", RENEW, invitation, new_token) == "renewed"
    assert counters(urls, acme)[1] == seats
    login = add_login(urls, email)
    assert accept(urls, token, login) == "unknown"
    assert accept(urls, new_token, login) == "accepted"
    assert call_as(urls, acme, "owner", RENEW, invitation, secrets.token_bytes(32)) == "closed"


def test_a_member_is_not_invited_and_one_who_left_is_brought_back_instead(
    urls: Urls, acme: Company
) -> None:
    person = acme.people["operador"]
    with staff(urls, acme, "owner") as db:
        assert invite(db, person.email.upper())[0] == "already_member"
    call_as(urls, acme, "owner", "select private.set_user_active(%s, false)", person.id)
    with staff(urls, acme, "owner") as db:
        assert invite(db, person.email)[0] == "deactivated"


def test_who_may_not_invite_to_a_role_may_not_renew_or_cancel_it_either(
    urls: Urls, acme: Company
) -> None:
    invitation, _ = invited(urls, acme, address(acme), "administrador")
    for role in ROLES[1:]:
        assert call_as(urls, acme, role, CANCEL, invitation) == "forbidden"
        assert call_as(urls, acme, role, RENEW, invitation, secrets.token_bytes(32)) == "forbidden"
    assert call_as(urls, acme, "owner", CANCEL, invitation) == "cancelled"


def test_another_companys_invitation_is_an_unknown_one(
    urls: Urls, acme: Company, rival: Company
) -> None:
    invitation, _ = invited(urls, acme, address(acme))
    for known in (invitation, uuid4()):
        assert call_as(urls, rival, "owner", CANCEL, known) == "not_found"
        assert call_as(urls, rival, "owner", RENEW, known, secrets.token_bytes(32)) == "not_found"
    assert status(urls, invitation) == "pending"


def test_a_closed_company_takes_nobody_in(urls: Urls, acme: Company) -> None:
    email = address(acme)
    _, token = invited(urls, acme, email)
    call_as(urls, acme, "owner", "select private.close_company()")
    assert accept(urls, token, add_login(urls, email)) == "unknown"


def test_a_limit_that_was_lowered_meanwhile_holds_at_the_door(urls: Urls, acme: Company) -> None:
    email = address(acme)
    invitation, token = invited(urls, acme, email)
    limit(urls, acme, max_users=3)
    login = add_login(urls, email)
    with pytest.raises(psycopg.Error) as error:
        accept(urls, token, login)
    assert error.value.sqlstate == "NA002"
    assert status(urls, invitation) == "pending"  # nothing of it stays
    limit(urls, acme, max_users=5)
    assert accept(urls, token, login) == "accepted"


def test_the_token_is_kept_as_a_digest_that_nobody_reads(urls: Urls, acme: Company) -> None:
    invited(urls, acme, address(acme))
    for role in ROLES:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            call_as(urls, acme, role, "select token_digest from user_invitations")
    columns = "select count(*) from user_invitations"
    assert [call_as(urls, acme, role, columns) for role in ROLES] == [1, 1, 0, 0]
    with pytest.raises(psycopg.errors.InsufficientPrivilege), worker(urls, acme) as db:
        db.execute("select token_digest from user_invitations")


def test_invitations_that_ran_out_are_marked(urls: Urls, acme: Company, rival: Company) -> None:
    late, _ = invited(urls, acme, address(acme))
    fresh, _ = invited(urls, rival, address(rival))
    query_as_admin(
        urls,
        "update user_invitations set sent_at = now() - interval '8 days',"
        " expires_at = now() - interval '1 second' where id = %s",
        late,
    )
    with psycopg.connect(urls.jobs) as db:
        assert db.execute("select private.expire_invitations()").fetchone()[0] >= 1
    assert (status(urls, late), status(urls, fresh)) == ("expired", "pending")
    assert counters(urls, acme) == recount(urls, acme)


def test_a_reminder_is_due_after_three_days_and_after_six_once_each(
    urls: Urls, acme: Company
) -> None:
    email = address(acme)
    invitation, first = invited(urls, acme, email)
    start = datetime.now(UTC)
    links: list[bytes] = []

    def due(days: float) -> bool:
        """Everything that is due at that moment; is this test's among it?"""
        found = []
        with psycopg.connect(urls.jobs, autocommit=True) as db:
            while True:
                links.append(secrets.token_bytes(32))
                row = db.execute(
                    "select company_id, email from private.remind_next(%s, %s)",
                    (links[-1], start + timedelta(days=days)),
                ).fetchone()
                if row is None:
                    return (acme.id, email) in found
                found.append(row)

    before = query_as_admin(
        urls, "select expires_at from user_invitations where id = %s", invitation
    )
    asked = [due(days) for days in (2.9, 3.1, 3.2, 5.9, 6.1, 6.2)]
    assert asked == [False, True, False, False, True, False]
    assert (
        query_as_admin(urls, "select expires_at from user_invitations where id = %s", invitation)
        == before
    )
    # Its link is the newest mail's; those before have ended.
    [[digest]] = query_as_admin(
        urls, "select token_digest from user_invitations where id = %s", invitation
    )
    assert digest in links
    assert accept(urls, first, add_login(urls, email)) == "unknown"
    with worker(urls, acme) as db:
        assert db.execute("select id, reminder_count from user_invitations").fetchall() == [
            (invitation, 2)
        ]
    call_as(urls, acme, "owner", RENEW, invitation, secrets.token_bytes(32))
    assert due(3.5)
    assert not due(8)  # over before the second of the renewed one


def test_an_address_gets_five_renewals_a_day_however_they_are_asked_for(
    urls: Urls, acme: Company
) -> None:
    email = address(acme)
    invitation, _ = invited(urls, acme, email)
    now = datetime(2027, 3, 1, 12, tzinfo=UTC)
    renew = "select private.renew_invitation(%s, %s, %s)"

    def again(moment: datetime) -> str:
        return call_as(urls, acme, "owner", renew, invitation, secrets.token_bytes(32), moment)

    assert [again(now) for _ in range(4)] == ["renewed"] * 4
    assert call_as(urls, acme, "owner", CANCEL, invitation) == "cancelled"
    anew = "select outcome from private.invite_user(%s, 'operador', 'A', 'B', %s, %s)"
    assert call_as(urls, acme, "owner", anew, email, secrets.token_bytes(32), now) == "invited"
    assert again(now) == "too_many"
    assert call_as(urls, acme, "owner", CANCEL, invitation) == "cancelled"
    assert call_as(urls, acme, "owner", anew, email, secrets.token_bytes(32), now) == "too_many"
    assert again(now + timedelta(hours=11, minutes=59)) == "too_many"
    assert again(now + timedelta(days=1)) == "renewed"


def test_whoever_holds_the_link_sees_who_invites_to_what(urls: Urls, acme: Company) -> None:
    email = address(acme)
    invitation, token = invited(urls, acme, email, "supervisor")
    look = "select outcome, company_name, email, role::text, invited_by, has_login from private.look_at_invitation(%s, coalesce(%s, now()))"

    def seen(digest: bytes, now: datetime | None = None) -> tuple[object, ...]:
        with psycopg.connect(urls.app) as db:
            return db.execute(look, (digest, now)).fetchone()

    told = ("Acme", email, "supervisor", "Owner Acme")
    assert seen(token) == ("pending", *told, False)
    add_login(urls, email.title())
    assert seen(token) == ("pending", *told, True)
    assert seen(secrets.token_bytes(32)) == ("unknown", None, None, None, None, None)
    seats = counters(urls, acme)[1]
    assert seen(token, datetime.now(UTC) + timedelta(days=8))[0] == "expired"
    assert status(urls, invitation) == "expired"
    assert counters(urls, acme)[1] == seats - 1
    call_as(urls, acme, "owner", "select private.close_company()")
    assert seen(token)[0] == "unknown"


def ran_out(urls: Urls, invitation: UUID) -> None:
    query_as_admin(
        urls,
        "update user_invitations set status = 'expired', sent_at = now() - interval '8 days',"
        " expires_at = now() - interval '1 day' where id = %s",
        invitation,
    )


def test_an_invitation_is_read_only_by_who_stands_above_its_role(
    urls: Urls, acme: Company, rival: Company
) -> None:
    known = {role: invited(urls, acme, address(acme), role)[0] for role in ROLES[1:]}
    for reader in ROLES:
        with staff(urls, acme, reader) as db:
            seen = {row[0] for row in db.execute("select id from user_invitations")}
        may = reader in ("owner", "administrador")
        below = {known[role] for role in known if may and LEVEL[role] < LEVEL[reader]}
        assert seen == below, reader
        assert call_as(urls, rival, reader, "select count(*) from user_invitations") == 0


def test_an_invitation_that_was_not_theirs_to_make_is_not_theirs_to_make_anew(
    urls: Urls, acme: Company
) -> None:
    email = address(acme)
    invitation, _ = invited(urls, acme, email, "administrador")
    row = "select role::text, status::text, invited_by, token_digest from user_invitations where id = %s"
    for make_old in (lambda: None, lambda: ran_out(urls, invitation)):
        make_old()
        before = query_as_admin(urls, row, invitation)
        with staff(urls, acme, "administrador") as db:
            assert invite(db, email, "operador") == ("forbidden", None)
        digest = secrets.token_bytes(32)
        assert call_as(urls, acme, "administrador", RENEW, invitation, digest) == "forbidden"
        assert call_as(urls, acme, "administrador", CANCEL, invitation) == "forbidden"
        assert query_as_admin(urls, row, invitation) == before
    with staff(urls, acme, "owner") as db:
        assert invite(db, email, "operador") == ("invited", invitation)


NO_ADDRESSES = (
    "a b@x.es", "a@b@c.es", "a@x .es", "a@x.es@", "@x.es", "a@", "a", "@", "", "a@x\n.es", "a\t@x.es",
)  # fmt: skip


@pytest.mark.parametrize("email", NO_ADDRESSES)
def test_what_is_no_address_is_not_invited_nor_kept(urls: Urls, acme: Company, email: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation), staff(urls, acme, "owner") as db:
        invite(db, email)
    for change in ("update users set email = %s where company_id = %s",
                   "update companies set email = %s where id = %s"):  # fmt: skip
        with pytest.raises(psycopg.errors.CheckViolation):
            query_as_admin(urls, change, email, acme.id)
