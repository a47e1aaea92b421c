-- Invitations to a company.

create table public.user_invitations (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100),
  last_name varchar(100),
  language text not null default 'es'
    constraint user_invitations_language_check check (language ~ '^[a-z]{2}$'),
  role public.user_role_enum not null default 'operador' check (role <> 'owner'),
  invited_by uuid not null,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  expires_at timestamptz not null default now() + interval '7 days',
  status public.invitation_status_enum not null default 'pending',
  accepted_at timestamptz,
  accepted_by_user_id uuid,
  sent_at timestamptz not null default now(),
  sent_count integer not null default 1 check (sent_count > 0),
  reminder_sent_at timestamptz,
  reminder_count integer not null default 0 check (reminder_count between 0 and 2),
  renewed_on date,
  renewed_count smallint not null default 0
    constraint user_invitations_renewed_check check (renewed_count between 0 and 5),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  -- One row per address, renewed when the address is invited again.
  unique (company_id, email),
  foreign key (company_id, invited_by) references public.users (company_id, id),
  foreign key (company_id, accepted_by_user_id) references public.users (company_id, id),
  check (expires_at > sent_at),
  check ((status = 'accepted') = (accepted_at is not null)),
  constraint user_invitations_address_check
    check (email ~ '^[^@[:space:]]+@[^@[:space:]]+$'),
  constraint user_invitations_names_read_check check (
    (first_name is null or first_name = '' or private.reads_as_name(first_name))
    and (last_name is null or last_name = '' or private.reads_as_name(last_name)))
);
comment on column public.user_invitations.language is
  'The language of its mails: that of the inviting person.';
comment on column public.user_invitations.token_digest is
  'SHA-256 of the token in the mailed link; the token itself is not stored.';
comment on column public.user_invitations.renewed_count is
  'How often it was sent again on the day renewed_on (UTC); it bounds the mails to one address.';
create index user_invitations_invited_by_idx on public.user_invitations (company_id, invited_by);
create index user_invitations_accepted_by_idx
  on public.user_invitations (company_id, accepted_by_user_id) where accepted_by_user_id is not null;
create index user_invitations_expiring_idx
  on public.user_invitations (expires_at) where status = 'pending';

alter table public.user_invitations enable row level security, force row level security;
-- The enum runs from the strongest role to the weakest.
create policy staff_select on public.user_invitations for select to authenticated
  using (company_id = (select private.company_id('invitations.read'))
    and role > (select private.user_role()));
-- The job of reminders reads invitations as the worker of their company, to see who sent them.
create policy worker_select on public.user_invitations for select to neurant_worker
  using (company_id = (select private.company_id()));
create policy router_select on public.user_invitations for select to neurant_router using (true);
create policy router_insert on public.user_invitations for insert to neurant_router with check (true);
create policy router_update on public.user_invitations for update to neurant_router using (true) with check (true);
grant select (company_id, id, email, first_name, last_name, language, role, invited_by,
  expires_at, status, accepted_at, accepted_by_user_id, sent_at, sent_count, reminder_sent_at,
  reminder_count, created_at, updated_at) on public.user_invitations to authenticated;
grant select (company_id, id, email, first_name, last_name, role, invited_by, expires_at, status,
  sent_at, reminder_count) on public.user_invitations to neurant_worker;
grant select, insert, update on public.user_invitations to neurant_router;

select private.audit_table('public.user_invitations', 'id',
  '{role,invited_by,expires_at,status,accepted_at,accepted_by_user_id,sent_at,sent_count}',
  '{email,first_name,last_name}',
  '{token_digest}',
  '{reminder_sent_at,reminder_count,created_at,updated_at,language,renewed_on,renewed_count}');

create trigger set_updated_at before update on public.user_invitations
  for each row execute function private.update_updated_at_column();

create trigger keep_user_count after insert or delete or update of status on public.user_invitations
  for each row execute function private.count_invitation();

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
comment on function private.invite_user(text, public.user_role_enum, text, text, bytea, timestamptz, text) is
  'Invites a person to a role below the caller''s, for 7 days, and reserves a seat (NA002 if none is left). An address that was invited before keeps its row. Outcome: invited, already_invited, already_member, deactivated (activate the user instead), too_many (of one address in a day) or forbidden. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.invite_user(text, public.user_role_enum, text, text, bytea,
  timestamptz, text) to authenticated;

create function private.renew_invitation(
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
  'Creates a new link for seven more days; the old one ends. Outcome: renewed, closed (accepted), too_many (five in a day), forbidden (a role not below the caller''s) or not_found. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.renew_invitation(uuid, bytea, timestamptz) to authenticated;

create function private.cancel_invitation(p_invitation uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('invitations.manage');
  v_known public.user_invitations;
begin
  if not private.manages_company() then
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
  if v_known.status <> 'pending' then
    return 'closed';
  end if;
  update public.user_invitations i set status = 'cancelled'
  where i.company_id = v_company and i.id = p_invitation;
  return 'cancelled';
end $$;
comment on function private.cancel_invitation(uuid) is
  'Cancels a pending invitation and frees its seat. Outcome: cancelled, closed, forbidden or not_found. Security definer, called by staff and API keys, because no role may write tokens and status directly.';
grant execute on function private.cancel_invitation(uuid) to authenticated;

create function private.accept_invitation(p_token_digest bytea, p_auth_user uuid, p_first_name text DEFAULT NULL::text, p_last_name text DEFAULT NULL::text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid;
  v_invitation public.user_invitations;
  v_email text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_user uuid := uuidv7();
begin
  perform private.refuse_told_session();
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  perform from public.companies c
  where c.id = v_company and c.subscription_status <> 'cancelled' for no key update;
  if found then
    select i.* into v_invitation from public.user_invitations i
    where i.company_id = v_company and i.token_digest = p_token_digest for update;
  end if;
  if v_invitation.id is null then
    return query select 'unknown', null::uuid, null::uuid;
    return;
  end if;
  if v_invitation.status = 'pending' and v_invitation.expires_at <= p_now then
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_invitation.id;
    v_invitation.status := 'expired';
  end if;
  if v_invitation.status <> 'pending' then
    return query select v_invitation.status::text
      || case v_invitation.status when 'accepted' then '_before' else '' end, null::uuid, null::uuid;
    return;
  end if;
  if v_email is distinct from v_invitation.email then
    return query select 'email_mismatch', null::uuid, null::uuid;
    return;
  end if;
  if exists (
    select from public.users u
    where u.company_id = v_company and (u.email = v_email or u.auth_user_id = p_auth_user))
  then
    return query select 'already_member', null::uuid, null::uuid;
    return;
  end if;
  perform set_config('request.actor', p_auth_user::text, true);
  -- In one statement, so that audit finds who did both; the seat is given back before it is taken.
  with answered as (
    update public.user_invitations i
    set status = 'accepted', accepted_at = p_now, accepted_by_user_id = v_user
    where i.company_id = v_company and i.id = v_invitation.id
    returning i.company_id, i.role, i.first_name, i.last_name, i.invited_by, i.sent_at
  )
  insert into public.users (company_id, id, auth_user_id, email, first_name, last_name, role,
    invited_by, invited_at, accepted_invitation_at, created_by)
  select a.company_id, v_user, p_auth_user, v_email,
    coalesce(p_first_name, a.first_name, split_part(v_email, '@', 1)),
    coalesce(p_last_name, a.last_name, ''), a.role, a.invited_by, a.sent_at, p_now, a.invited_by
  from answered a;
  return query select 'accepted', v_company, v_user;
end $$;
comment on function private.accept_invitation(bytea, uuid, text, text, timestamptz) is
  'Makes a login whose e-mail address was invited a member, in the invitation''s seat (NA002 if the limit was lowered meanwhile). Outcome: accepted, unknown, expired (and marked so), cancelled, accepted_before, email_mismatch or already_member. Of two concurrent calls one succeeds. Security definer, called by the web process, because the person is not a member yet.';
grant execute on function private.accept_invitation(bytea, uuid, text, text, timestamptz) to
  neurant_app;

create function private.accept_invitation_by_session(
  p_token_digest bytea, p_session_digest bytea, p_first_name text default null,
  p_last_name text default null, p_now timestamptz default now())
returns table (outcome text, company_id uuid, user_id uuid)
language sql volatile security definer set search_path = '' as $$
  select i.outcome, i.company_id, i.user_id
  from private.own_login(p_session_digest) l (login)
  cross join lateral private.accept_invitation(p_token_digest, l.login, p_first_name, p_last_name,
    p_now) i
$$;
comment on function private.accept_invitation_by_session(bytea, bytea, text, text, timestamptz) is
  'Calls accept_invitation for the person of a session; error NA006 as in own_login. Security definer, called by the web process, because the person is not a member yet.';
grant execute on function private.accept_invitation_by_session(bytea, bytea, text, text,
  timestamptz) to neurant_app;

create function private.expire_invitations(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_now integer;
  v_expired integer := 0;
begin
  for v_company in
    select c.id from public.companies c
    where exists (
      select from public.user_invitations i
      where i.company_id = c.id and i.status = 'pending' and i.expires_at <= p_now)
    order by c.id for no key update skip locked
  loop
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.status = 'pending' and i.expires_at <= p_now;
    get diagnostics v_now = row_count;
    v_expired := v_expired + v_now;
  end loop;
  return v_expired;
end $$;
comment on function private.expire_invitations(timestamptz) is
  'Marks expired invitations and frees their seats; returns their number. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.expire_invitations(timestamptz) to neurant_jobs;

create function private.look_at_invitation(p_token_digest bytea, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_name text, email text, role public.user_role_enum, first_name text, last_name text, invited_by text, expires_at timestamp with time zone, has_login boolean, language text, timezone text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
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
      null::text, null::text, null::timestamptz, null::boolean, null::text, null::text;
    return;
  end if;
  return query
  select v_known.status::text, c.name::text, v_known.email::text, v_known.role,
    v_known.first_name::text, v_known.last_name::text,
    btrim(u.first_name || ' ' || u.last_name), v_known.expires_at,
    -- A login that only a provider made, for its company, becomes the reader's by this link.
    exists (select from auth.users a where lower(a.email) = v_known.email
      and (a.email_confirmed_at is not null or coalesce(a.encrypted_password, '') <> ''
        or not exists (select from public.users m where m.auth_user_id = a.id))),
    v_known.language,
    c.timezone::text
  from public.companies c
  join public.users u on u.company_id = c.id and u.id = v_known.invited_by
  where c.id = v_company;
end $$;
comment on function private.look_at_invitation(bytea, timestamptz) is
  'Returns the state of the invitation of a link: pending, accepted, cancelled, expired (and marked so) or unknown. Security definer, called by the web process, because the reader of the link is not signed in; the link was mailed to the invited address only.';
grant execute on function private.look_at_invitation(bytea, timestamptz) to neurant_app;

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
  'Sends one reminder that is due, after three days and after six, with a new link and the old end. The mail is queued in the same transaction, so that neither exists without the other. No row: none is due. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.remind_next(bytea, timestamptz) to neurant_jobs;

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
  'Returns the state of the newest mail of each pending invitation below the caller''s role. Security definer, called by staff and API keys, because mails are closed to the staff.';
grant execute on function private.invitation_mails() to authenticated;

create function private.invitations_a_day(p_company uuid, p_now timestamptz default now())
returns integer
language sql stable security definer set search_path = '' as $$
  select case
      when c.subscription_status = 'trialing' or c.subscription_plan = 'free'
        then case when c.created_at > p_now - interval '7 days' then 10 else 20 end
      when c.subscription_plan = 'starter' then 60
      when c.subscription_plan = 'professional' then 150
      when c.subscription_plan = 'business' then 300
      else 1000 end
  from public.companies c where c.id = p_company
$$;
comment on function private.invitations_a_day(uuid, timestamptz) is
  'Returns how many invitation mails a company may send in 24 hours (new, renewed, and invited again after cancelling); half of them, and at least ten, in an hour. Paying companies may send more, and free ones more after their first week. Security definer, called by other definers only, because it reads companies for other definers.';

create function private.check_invitation_mail(
  p_company uuid, p_to text, p_is_reminder boolean, p_now timestamptz default now()) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_day integer := private.invitations_a_day(p_company, p_now);
  v_limit record;
begin
  if exists (
    select from public.mail_refusals r
    where r.key_digest = (select private.mail_key('invitation', lower(p_to))))
  then
    raise exception 'the address wants no invitations' using errcode = 'NA007',
      detail = '{"scope": "refused", "seconds": 0}';
  end if;
  -- Two companies that write to one address count one after the other. (A company's own row is locked.)
  perform pg_advisory_xact_lock(hashtextextended('invitation mail to ' || lower(p_to), 0));
  for v_limit in
    select l.scope, min(m.created_at) + l.life - p_now as wait, count(*) as sent, l.most
    from (values
      ('address', null::uuid, lower(p_to), interval '1 day', 10),
      ('address', null, lower(p_to), interval '7 days', 20),
      ('company', p_company, null, interval '1 hour', greatest(v_day / 2, 10)),
      ('company', p_company, null, interval '1 day', v_day)) l (scope, company, address, life, most)
    join public.mails m on m.created_at > p_now - l.life
      and case l.scope
        when 'address' then m.to_address = l.address and m.template in ('team.invitation', 'team.reminder')
        else m.company_id = l.company and m.template = 'team.invitation' end
    where l.scope = 'address' or not p_is_reminder
    group by l.scope, l.life, l.most
    having count(*) >= l.most
    order by l.life desc limit 1
  loop
    raise exception 'too many invitation mails' using errcode = 'NA007',
      detail = jsonb_build_object('scope', v_limit.scope,
        'seconds', greatest(ceil(extract(epoch from v_limit.wait)), 1), 'allowed', v_limit.most)::text;
  end loop;
end $$;
comment on function private.check_invitation_mail(uuid, text, boolean, timestamptz) is
  'Raises NA007 with {"scope", "seconds"} if an invitation must not be mailed: refused (the address wants none), address (ten a day or twenty a week from all companies together) or company (private.invitations_a_day). Security definer, called by other definers only, because mails are closed to the staff.';

create function private.refuse_invitations(p_key_digest bytea, p_refuse boolean default true)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
begin
  if not p_refuse then
    delete from public.mail_refusals r where r.key_digest = p_key_digest;
    return;
  end if;
  insert into public.mail_refusals (key_digest) values (p_key_digest) on conflict do nothing;
  for v_company in
    select i.company_id from public.user_invitations i
    where i.status = 'pending' and private.mail_key('invitation', i.email) = p_key_digest
    order by i.company_id
  loop
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'cancelled'
    where i.company_id = v_company and i.status = 'pending'
      and private.mail_key('invitation', i.email) = p_key_digest;
  end loop;
end $$;
comment on function private.refuse_invitations(bytea, boolean) is
  'Records that the holder of a mailed, signed link wants no more invitations from any company (pending ones are cancelled), or wants them again. Security definer, called by the web process, because the reader of the link is not signed in.';
grant execute on function private.refuse_invitations(bytea, boolean) to neurant_app;
