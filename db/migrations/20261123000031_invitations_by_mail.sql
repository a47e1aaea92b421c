-- migrate:up
-- Invitations travel by mail: in a language, renewed five times a day at most, reminded, looked at by their link.
set local role neurant_owner;

alter table public.user_invitations
  add column language text not null default 'es'
    constraint user_invitations_language_check check (language ~ '^[a-z]{2}$'),
  add column renewed_on date,
  add column renewed_count smallint not null default 0
    constraint user_invitations_renewed_check check (renewed_count between 0 and 5);
comment on column public.user_invitations.language is 'Of its mails: that of whoever invited.';
comment on column public.user_invitations.renewed_count is
  'How often it was sent again on the day renewed_on (UTC): nobody''s mailbox is filled.';
select private.audit_column('public.user_invitations', 'language', 'left_out');
select private.audit_column('public.user_invitations', 'renewed_on', 'left_out');
select private.audit_column('public.user_invitations', 'renewed_count', 'left_out');
grant select (language) on public.user_invitations to authenticated;

-- The mail that went out last to an address.
create index mails_to_address_idx on public.mails (company_id, to_address, created_at desc)
  where company_id is not null;
drop index public.mails_company_idx;

drop function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz);
create function private.invite_user(
  p_email text, p_role public.user_role_enum, p_first_name text, p_last_name text,
  p_token_digest bytea, p_now timestamptz default now(), p_language text default 'es')
returns table (outcome text, invitation_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_user uuid := private.user_id();
  v_email text := lower(btrim(p_email));
  v_today date := (p_now at time zone 'UTC')::date;
  v_known public.user_invitations;
begin
  if v_company is null or v_user is null or not private.stands_above(p_role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  if exists (
    select from public.users u where u.company_id = v_company and u.email = v_email and u.is_active)
  then
    return query select 'already_member', null::uuid;
    return;
  end if;
  if exists (select from public.users u where u.company_id = v_company and u.email = v_email) then
    return query select 'deactivated', null::uuid;
    return;
  end if;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.email = v_email for update;
  if v_known.id is not null and not private.stands_above(v_known.role) then
    return query select 'forbidden', null::uuid;
    return;
  end if;
  if v_known.status = 'pending' and v_known.expires_at > p_now then
    return query select 'already_invited', v_known.id;
    return;
  end if;
  if v_known.renewed_on = v_today and v_known.renewed_count >= 5 then
    return query select 'too_many', v_known.id;
    return;
  end if;
  insert into public.user_invitations as i (company_id, email, first_name, last_name, role,
    invited_by, token_digest, sent_at, expires_at, language)
  values (v_company, v_email, p_first_name, p_last_name, p_role, v_user, p_token_digest, p_now,
    p_now + interval '7 days', p_language)
  on conflict (company_id, email) do update
  set first_name = excluded.first_name, last_name = excluded.last_name, role = excluded.role,
    invited_by = excluded.invited_by, token_digest = excluded.token_digest, status = 'pending',
    accepted_at = null, accepted_by_user_id = null, sent_at = excluded.sent_at,
    sent_count = i.sent_count + 1, expires_at = excluded.expires_at,
    reminder_sent_at = null, reminder_count = 0, language = excluded.language,
    renewed_count = case when i.renewed_on = v_today then i.renewed_count + 1 else 1 end,
    renewed_on = v_today
  returning i.id into v_known.id;
  return query select 'invited', v_known.id;
end $$;
comment on function private.invite_user(
  text, public.user_role_enum, text, text, bytea, timestamptz, text) is
  'Invites somebody to a role below the caller''s, for 7 days, and holds a seat (NA002 where none is left): invited, already_invited, already_member, deactivated (bring them back instead), too_many (of one address in a day) or forbidden. An address that was invited before keeps its row. Definer: token and status are nobody''s to write by hand.';

create function private.look_at_invitation(p_token_digest bytea, p_now timestamptz default now())
returns table (
  outcome text, company_name text, email text, role public.user_role_enum, first_name text,
  last_name text, invited_by text, expires_at timestamptz, has_login boolean, language text)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_known public.user_invitations;
begin
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.token_digest = p_token_digest;
  if v_known.status = 'pending' and v_known.expires_at <= p_now then
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_known.id and i.status = 'pending'
      and i.expires_at <= p_now;
    v_known.status := 'expired';
  end if;
  if v_known.id is null then
    return query select 'unknown', null::text, null::text, null::public.user_role_enum, null::text,
      null::text, null::text, null::timestamptz, null::boolean, null::text;
    return;
  end if;
  return query
  select v_known.status::text, c.name::text, v_known.email::text, v_known.role,
    v_known.first_name::text, v_known.last_name::text,
    btrim(u.first_name || ' ' || u.last_name), v_known.expires_at,
    exists (select from auth.users a where lower(a.email) = v_known.email), v_known.language
  from public.companies c
  join public.users u on u.company_id = c.id and u.id = v_known.invited_by
  where c.id = v_company;
end $$;
comment on function private.look_at_invitation(bytea, timestamptz) is
  'What stands behind a link: pending, accepted, cancelled, expired (and marked so) or unknown. Definer: who holds the link is nobody yet, and the mail with it went to the invited address only.';

create function private.remind_next(p_token_digest bytea, p_now timestamptz default now())
returns table (
  company_id uuid, email text, role public.user_role_enum, company_name text, invited_by text,
  expires_at timestamptz, timezone text, language text)
language plpgsql security definer set search_path = '' as $$
begin
  return query
  with due as (
    select i.company_id, i.id
    from public.user_invitations i
    join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
    where i.status = 'pending' and i.expires_at > p_now
      and (i.reminder_count = 0 and i.sent_at <= p_now - interval '3 days'
        or i.reminder_count = 1 and i.sent_at <= p_now - interval '6 days')
    order by i.sent_at limit 1
    for update of i skip locked
  ), reminded as (
    update public.user_invitations i
    set reminder_count = i.reminder_count + 1, reminder_sent_at = p_now,
      token_digest = p_token_digest
    from due
    where i.company_id = due.company_id and i.id = due.id
    returning i.*
  )
  select r.company_id, r.email::text, r.role, c.name::text,
    btrim(u.first_name || ' ' || u.last_name), r.expires_at, c.timezone::text, r.language
  from reminded r
  join public.companies c on c.id = r.company_id
  join public.users u on u.company_id = r.company_id and u.id = r.invited_by;
end $$;
comment on function private.remind_next(bytea, timestamptz) is
  'One reminder that is due, after three days and after six, with a new link and the old end: the mail is queued in the same transaction, so neither is without the other. No row: none is due. Definer: over all companies.';

-- It gave the reminder away before the mail was sure, and nobody could put a link into it.
drop function private.due_reminders(timestamptz);

create function private.invitation_mails()
returns table (invitation_id uuid, status text, error text, attempted_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select i.id, m.status, m.last_error, coalesce(m.sent_at, m.created_at)
  from public.user_invitations i
  cross join lateral (
    select l.status, l.last_error, l.sent_at, l.created_at
    from public.mails l
    where l.company_id = i.company_id and l.to_address = i.email
      and l.template in ('team.invitation', 'team.reminder')
    order by l.created_at desc limit 1) m
  where i.company_id = (select private.company_id('invitations.read'))
    and i.status = 'pending' and i.role > (select private.user_role())
$$;
comment on function private.invitation_mails() is
  'What became of the newest mail of each pending invitation below the caller''s role. Definer: mails are nobody''s to read.';

create function private.last_seen(p_company uuid, p_user uuid) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select greatest(
    (select u.last_seen_at from public.users u where u.company_id = p_company and u.id = p_user),
    (select max(s.last_seen_at) from public.login_sessions s
      where s.company_id = p_company and s.user_id = p_user))
$$;
comment on function private.last_seen(uuid, uuid) is
  'When somebody last did something, to the minute. Definer: called by definers; sessions are nobody else''s to read.';

grant execute on function private.last_seen(uuid, uuid) to neurant_router;
grant execute on function
  private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz, text),
  private.invitation_mails() to authenticated;
grant execute on function private.look_at_invitation(bytea, timestamptz) to neurant_app;
grant execute on function private.remind_next(bytea, timestamptz) to neurant_jobs;
alter function private.invite_user(
  text, public.user_role_enum, text, text, bytea, timestamptz, text) owner to neurant_router;
alter function private.look_at_invitation(bytea, timestamptz) owner to neurant_router;
alter function private.remind_next(bytea, timestamptz) owner to neurant_router;
alter function private.invitation_mails() owner to neurant_router;
alter function private.last_seen(uuid, uuid) owner to neurant_router;

set local role neurant_router;
-- A reminder is made over all companies, not for one.
grant execute on function private.queue_mail(uuid, uuid, text, text, text, bytea) to neurant_jobs;

create or replace function private.renew_invitation(
  p_invitation uuid, p_token_digest bytea, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_today date := (p_now at time zone 'UTC')::date;
  v_known public.user_invitations;
begin
  if v_company is null then
    return 'forbidden';
  end if;
  perform from public.companies c where c.id = v_company for no key update;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.id = p_invitation for update;
  if v_known.id is null then
    return 'not_found';
  end if;
  if not private.stands_above(v_known.role) then
    return 'forbidden';
  end if;
  if v_known.status = 'accepted' then
    return 'closed';
  end if;
  if v_known.renewed_on = v_today and v_known.renewed_count >= 5 then
    return 'too_many';
  end if;
  update public.user_invitations i
  set token_digest = p_token_digest, status = 'pending', sent_at = p_now,
    sent_count = i.sent_count + 1, expires_at = p_now + interval '7 days',
    reminder_sent_at = null, reminder_count = 0,
    renewed_count = case when i.renewed_on = v_today then i.renewed_count + 1 else 1 end,
    renewed_on = v_today
  where i.company_id = v_company and i.id = p_invitation;
  return 'renewed';
end $$;
comment on function private.renew_invitation(uuid, bytea, timestamptz) is
  'A new link for seven more days; the old one ends: renewed, closed (accepted), too_many (five in a day), forbidden (a role not below the caller''s) or not_found. Definer, as invite_user.';

create or replace function private.team_directory() returns table (
  user_id uuid, first_name text, last_name text, avatar_url text, role public.user_role_enum,
  last_seen_at timestamptz)
language sql stable security definer set search_path = '' as $$
  select u.id, u.first_name, u.last_name, u.avatar_url, u.role,
    private.last_seen(u.company_id, u.id)
  from public.users u
  where u.company_id = (select private.company_id('team.read')) and u.is_active
    and ((select private.sees_all_chatbots())
      -- Whoever is in charge of a bot is a supervisor: among these, too.
      or u.role <> 'operador'
      or exists (
        select from public.chatbot_operators o
        where o.company_id = u.company_id and o.operator_id = u.id and o.is_active
          and o.chatbot_id = any ((select private.my_chatbot_ids())::uuid[])))
$$;

reset role;
-- migrate:down
