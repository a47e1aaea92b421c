-- Accounts: the logins of people and their sessions, across companies.

create table public.auth_accounts (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  terms_accepted_at timestamptz,
  created_at timestamptz not null default now(),
  constraint auth_accounts_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name)))
);
comment on table public.auth_accounts is
  'People who signed up by themselves, or by an invitation if the installation has terms: their names until they have a company, and when they accepted the terms, if there are any.';

alter table public.auth_accounts enable row level security, force row level security;
create policy router_select on public.auth_accounts for select to neurant_router using (true);
create policy router_insert on public.auth_accounts for insert to neurant_router with check (true);
grant select, insert on public.auth_accounts to neurant_router;

create table public.auth_sessions (
  id uuid primary key default uuidv7(),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  token_digest bytea not null unique check (octet_length(token_digest) = 32),
  ip_address inet,
  user_agent text,
  only_company_id uuid references public.companies (id) on delete cascade,
  created_at timestamptz not null default now(),
  last_seen_at timestamptz not null default now(),
  expires_at timestamptz not null,
  ends_at timestamptz,
  idle_after interval
);
comment on table public.auth_sessions is
  'A signed-in person, in one company or in none (yet). login_sessions is the part of the session that belongs to a company, with the same token.';
comment on column public.auth_sessions.only_company_id is
  'The company whose identity provider opened the session, which therefore leads into no other company. Null: the person''s own password opened it.';
comment on column public.auth_sessions.expires_at is
  'When the session ends unless it is used before: idle_after later than last_seen_at, and never later than ends_at.';
comment on column public.auth_sessions.idle_after is
  'Null: the session is older than this limit, and ends at expires_at.';
create index auth_sessions_only_company_idx on public.auth_sessions (only_company_id)
  where only_company_id is not null;
create index auth_sessions_user_idx on public.auth_sessions (auth_user_id);
create index auth_sessions_ended_idx on public.auth_sessions (expires_at);

alter table public.auth_sessions enable row level security, force row level security;
create policy router_select on public.auth_sessions for select to neurant_router using (true);
create policy router_insert on public.auth_sessions for insert to neurant_router with check (true);
create policy router_update on public.auth_sessions for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_sessions for delete to neurant_router using (true);
grant select, insert, delete on public.auth_sessions to neurant_router;
grant update (token_digest, last_seen_at) on public.auth_sessions to neurant_router;

create table private.session_rules (
  is_there boolean primary key default true check (is_there),
  idle_after interval not null default '1 hour' check (idle_after > interval '0'),
  kept_idle_after interval not null default '7 days' check (kept_idle_after > interval '0')
);
comment on table private.session_rules is
  'One row: after how long without use a session ends, for people who chose to stay signed in (kept) and for everybody else. The web process writes the installation''s setting.';

alter table private.session_rules enable row level security, force row level security;
create policy router_select on private.session_rules for select to neurant_router using (true);
create policy router_update on private.session_rules for update to neurant_router using (true) with check (true);
grant select on private.session_rules to neurant_router;
grant update (idle_after, kept_idle_after) on private.session_rules to neurant_router;

create function private.create_login(p_email text, p_encrypted_password text, p_is_confirmed boolean DEFAULT false) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid;
begin
  insert into auth.users (email, encrypted_password, email_confirmed_at)
  values (lower(p_email), p_encrypted_password, case when p_is_confirmed then now() end)
  returning id into v_login;
  return v_login;
exception when unique_violation then
  -- Proven now by its mailbox: a login that only a provider made becomes its owner's.
  if p_is_confirmed then
    update auth.users a
    set encrypted_password = p_encrypted_password, email_confirmed_at = now(), updated_at = now()
    where lower(a.email) = lower(p_email) and a.email_confirmed_at is null
      and coalesce(a.encrypted_password, '') = ''
    returning a.id into v_login;
    perform private.leave_nothing_of_others(v_login);
  end if;
  return v_login;
end $$;
comment on function private.create_login(text, text, boolean) is
  'Creates a login; returns null if the address has one. p_is_confirmed: the mailbox is proven; a login that an identity provider created, without a password and unconfirmed, then becomes its owner''s. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.create_login(text, text, boolean) to neurant_app;

create function private.login_lookup(p_email text)
returns table (auth_user_id uuid, encrypted_password text)
language sql stable security definer set search_path = '' as $$
  select a.id, a.encrypted_password from auth.users a where lower(a.email) = lower(p_email)
$$;
comment on function private.login_lookup(text) is
  'Returns the login of an e-mail address, to check a password against. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.login_lookup(text) to neurant_app;

create function private.note_login_event(
  p_auth_user uuid, p_action public.audit_action_enum, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, p_action, 'logins', null, p_details, u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_login_event(uuid, public.audit_action_enum, jsonb) is
  'Writes an event of a login into the audit log of each of its companies. Security definer, called by other definers only, because no role may write audit, and a login belongs to no company.';

create function private.note_login_event(
  p_auth_user uuid, p_action public.audit_action_enum, p_details jsonb, p_only_company uuid)
returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, p_action, 'logins', null, p_details, u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
    and (p_only_company is null or u.company_id = p_only_company)
$$;
comment on function private.note_login_event(uuid, public.audit_action_enum, jsonb, uuid) is
  'Writes an event of a login into the audit log: of one company only, if the session is limited to that company. Security definer, called by other definers only, because no role may write audit, and a login belongs to no company.';

create function private.note_refused_login(p_auth_user uuid, p_reason text, p_wait integer) returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, 'login_denied', 'login_sessions', null,
    jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'locked_seconds', nullif(p_wait, 0))), u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_refused_login(uuid, text, integer) is
  'Writes a wrong password or code for a known login into the audit log of each of its companies, with the length of the lock. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.note_refused_login(uuid, text, integer) to neurant_app;

create function private.open_session(
  p_auth_user uuid, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval,
  p_company uuid default null)
returns table (session_id uuid, company_id uuid, user_id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
  v_entered record;
begin
  insert into public.auth_sessions as a (auth_user_id, token_digest, ip_address, user_agent, expires_at)
  select l.id, p_token_digest, p_ip, p_user_agent, now() + p_lifetime
  from auth.users l where l.id = p_auth_user
  returning a.* into v_session;
  if v_session.id is null then
    return;
  end if;
  select e.* into v_entered from private.enter_company(p_token_digest, p_company) e;
  if p_company is not null and v_entered.company_id is null then
    delete from public.auth_sessions a where a.id = v_session.id;
    return;
  end if;
  update auth.users l set last_sign_in_at = now(), updated_at = now() where l.id = p_auth_user;
  return query select v_session.id, v_entered.company_id, v_entered.user_id, v_session.expires_at;
end $$;
comment on function private.open_session(uuid, bytea, inet, text, interval, uuid) is
  'Opens a session: in the named company (no row if the person may not enter it), else in the company worked in last, else in none (company_id is null). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_session(uuid, bytea, inet, text, interval, uuid) to
  neurant_app;

create function private.find_auth_session(p_token_digest bytea) RETURNS TABLE(session_id uuid, auth_user_id uuid, email text, first_name text, last_name text, company_id uuid, user_id uuid, created_at timestamptz, expires_at timestamptz, is_limited boolean)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update public.auth_sessions a set last_seen_at = now()
  where a.token_digest = p_token_digest and a.last_seen_at < now() - interval '1 minute';
  return query
  select a.id, a.auth_user_id, lower(l.email),
    coalesce(u.first_name, p.first_name, k.first_name)::text,
    coalesce(u.last_name, p.last_name, k.last_name)::text,
    u.company_id, u.id, a.created_at, a.expires_at, a.only_company_id is not null
  from public.auth_sessions a
  join auth.users l on l.id = a.auth_user_id
  left join public.login_sessions s on s.auth_session_id = a.id
  left join public.users u on u.company_id = s.company_id and u.id = s.user_id and u.is_active
  left join public.auth_accounts p on p.auth_user_id = a.auth_user_id
    and a.only_company_id is null
  left join lateral (
    select o.first_name, o.last_name from public.users o where o.auth_user_id = a.auth_user_id
      and (a.only_company_id is null or o.company_id = a.only_company_id)
    order by o.created_at desc limit 1) k on true
  where a.token_digest = p_token_digest and a.expires_at > now();
end $$;
comment on function private.find_auth_session(bytea) is
  'Returns the person of a session, also one without a company (company_id is then null). is_limited: a company''s single sign-on opened it, and own_login refuses it. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.find_auth_session(bytea) to neurant_app;

create function private.my_companies(p_token_digest bytea)
returns table (
  company_id uuid, name text, slug text, role public.user_role_enum, is_current boolean)
language sql stable security definer set search_path = '' as $$
  select c.id, c.name::text, c.slug::text, u.role,
    exists (
      select from public.login_sessions s
      where s.company_id = u.company_id and s.user_id = u.id and s.auth_session_id = a.id)
  from public.auth_sessions a
  join public.users u on u.auth_user_id = a.auth_user_id and u.is_active
    and (a.only_company_id is null or u.company_id = a.only_company_id)
  join public.companies c on c.id = u.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by c.name, c.id
$$;
comment on function private.my_companies(bytea) is
  'Returns the companies that the person of this session may enter. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.my_companies(bytea) to neurant_app;

create function private.my_sessions(p_token_digest bytea)
returns table (
  session_id uuid, ip_address inet, user_agent text, company_name text, created_at timestamptz,
  last_seen_at timestamptz, expires_at timestamptz, is_current boolean)
language sql stable security definer set search_path = '' as $$
  select o.id, o.ip_address, o.user_agent, c.name::text, o.created_at,
    greatest(o.last_seen_at, s.last_seen_at), o.expires_at, o.id = a.id
  from public.auth_sessions a
  join public.auth_sessions o on o.auth_user_id = a.auth_user_id and o.expires_at > now()
    and (a.only_company_id is null or o.only_company_id = a.only_company_id)
  left join public.login_sessions s on s.auth_session_id = o.id
  left join public.companies c on c.id = s.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by o.id = a.id desc, greatest(o.last_seen_at, s.last_seen_at) desc, o.id
$$;
comment on function private.my_sessions(bytea) is
  'Returns the sessions of the person of this session, this one first. Security definer, called by the web process, because sessions belong to the person, not to a company.';
grant execute on function private.my_sessions(bytea) to neurant_app;

create function private.end_sessions(p_token_digest bytea, p_session uuid) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_mine public.auth_sessions;
  v_ended integer;
begin
  select a.* into v_mine from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now();
  with gone as (
    delete from public.auth_sessions a
    where a.auth_user_id = v_mine.auth_user_id and a.expires_at > now()
      and (v_mine.only_company_id is null or a.only_company_id = v_mine.only_company_id)
      and case when p_session is null then a.id <> v_mine.id else a.id = p_session end
    returning a.id
  )
  select count(*) into v_ended from gone;
  if v_ended > 0 then
    perform private.note_login_event(v_mine.auth_user_id, 'update',
      jsonb_build_object('event', 'sessions_ended', 'count', v_ended), v_mine.only_company_id);
  end if;
  return v_ended;
end $$;
comment on function private.end_sessions(bytea, uuid) is
  'Ends one session of the same person, or (null) all but this one; returns their number. Security definer, called by the web process, because sessions belong to the person, not to a company.';
grant execute on function private.end_sessions(bytea, uuid) to neurant_app;

create function private.renew_session(p_token_digest bytea, p_new_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  update public.login_sessions s set token_digest = p_new_digest where s.token_digest = p_token_digest;
  update public.auth_sessions a set token_digest = p_new_digest where a.token_digest = p_token_digest
$$;
comment on function private.renew_session(bytea, bytea) is
  'Gives a session a new token, so that a copied old token is worthless. Security definer, called by other definers only, because no role may write sessions directly.';

create function private.forget_old_accounts(p_now timestamptz default now())
returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_gone integer;
  v_all integer := 0;
begin
  delete from public.sign_ups s where s.created_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.password_resets r where r.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.login_challenges c where c.expires_at < p_now;
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  -- For an hour somebody who comes back late is still told that it was too late.
  delete from public.sso_attempts a where a.expires_at < p_now - interval '1 hour';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.account_brakes b where b.touched_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.auth_sessions a where a.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_old_accounts(timestamptz) is
  'Deletes sign-ups, links, throttle counters and sessions that ended days ago, and single sign-ons that ended an hour ago; returns the number. Security definer, called by the worker process, because these rows belong to no company.';
grant execute on function private.forget_old_accounts(timestamptz) to neurant_jobs;

create function private.begin_idling() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if tg_table_name = 'login_sessions' then
    select a.ends_at, a.idle_after into new.ends_at, new.idle_after
    from public.auth_sessions a where a.id = new.auth_session_id;
  end if;
  new.ends_at := coalesce(new.ends_at, new.expires_at);
  new.idle_after := coalesce(new.idle_after, (
    -- Who asked to stay signed in has a session of more than a day.
    select case when new.ends_at > now() + interval '1 day' then r.kept_idle_after else r.idle_after end
    from private.session_rules r), interval '1 hour');
  new.expires_at := least(new.expires_at, new.ends_at, new.last_seen_at + new.idle_after);
  return new;
end $$;
comment on function private.begin_idling() is
  'Gives every new session an absolute end and a limit on idleness, whoever opens it; a company''s part of a session takes those of the whole. Security definer, called by a trigger, because sessions and their rules are closed to other roles.';

create trigger begin_idling before insert on public.auth_sessions
  for each row execute function private.begin_idling();

create function private.slide_session() returns trigger
language plpgsql set search_path = '' as $$
begin
  if old.expires_at <= now() or current_setting('request.is_passive', true) = 'on' then
    new.last_seen_at := old.last_seen_at;
  elsif new.idle_after is not null then
    new.expires_at := least(new.ends_at, new.last_seen_at + new.idle_after);
  end if;
  return new;
end $$;
comment on function private.slide_session() is
  'Extends a session when it is used, up to its absolute end. An ended session stays ended, and requests that a page makes by itself (request.is_passive) do not count as use.';

create trigger slide_session before update of last_seen_at on public.auth_sessions
  for each row execute function private.slide_session();

create function private.share_use() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  if pg_trigger_depth() > 1 or new.last_seen_at = old.last_seen_at then
    return null;
  end if;
  -- Nobody waits for another request of the same session: what is skipped is done a minute later.
  if tg_table_name = 'login_sessions' then
    update public.auth_sessions a set last_seen_at = new.last_seen_at
    where a.id in (
      select l.id from public.auth_sessions l where l.id = new.auth_session_id for update skip locked);
  else
    update public.login_sessions s set last_seen_at = new.last_seen_at
    where (s.company_id, s.id) in (
      select l.company_id, l.id from public.login_sessions l
      where l.auth_session_id = new.id for update skip locked);
  end if;
  return null;
end $$;
comment on function private.share_use() is
  'Copies the time of use between a person''s session and the company''s part of it. It skips rows that another request has locked, so that requests of one session never wait for one another. Security definer, called by a trigger, because no role may write sessions directly.';

create trigger share_use after update of last_seen_at on public.auth_sessions
  for each row execute function private.share_use();

create function private.set_session_rules(p_idle interval, p_kept_idle interval) returns void
language sql volatile security definer set search_path = '' as $$
  update private.session_rules r set idle_after = p_idle, kept_idle_after = p_kept_idle
  where (r.idle_after, r.kept_idle_after) is distinct from (p_idle, p_kept_idle)
$$;
comment on function private.set_session_rules(interval, interval) is
  'Sets the installation''s limits on idleness, for sessions that begin from now on. Security definer, called by the web process, because a process acts for no company.';
grant execute on function private.set_session_rules(interval, interval) to neurant_app;

create function private.ended_by_idleness(p_token_digest bytea) returns boolean
language sql stable security definer set search_path = '' as $$
  select coalesce((
    select a.expires_at <= now() and a.ends_at > now()
    from public.auth_sessions a where a.token_digest = p_token_digest), false)
$$;
comment on function private.ended_by_idleness(bytea) is
  'Returns whether the session of this token ended only because it was not used. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.ended_by_idleness(bytea) to neurant_app;

create function private.own_login(p_token_digest bytea) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
begin
  select a.* into v_session from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now();
  if v_session.only_company_id is not null then
    raise exception 'the session is limited to one company' using errcode = 'NA006';
  end if;
  return v_session.auth_user_id;
end $$;
comment on function private.own_login(bytea) is
  'Returns the login that a session may change; null if the session has ended, error NA006 if a company''s single sign-on opened it, because that company''s provider does not speak for the login. Every function that changes a login, or something outside the company, calls it. Security definer, called by the web process, because the caller is not a principal yet.';
grant execute on function private.own_login(bytea) to neurant_app;

create function private.refuse_told_session() returns void
language plpgsql stable security definer set search_path = '' as $$
declare
  v_told text := nullif(current_setting('request.audit', true), '')::jsonb ->> 'session_id';
begin
  if pg_input_is_valid(v_told, 'uuid') and exists (
    select from public.auth_sessions a
    where a.id = v_told::uuid and a.only_company_id is not null)
  then
    raise exception 'the session is limited to one company' using errcode = 'NA006';
  end if;
end $$;
comment on function private.refuse_told_session() is
  'Applies the rule of own_login to functions that a process of the previous version calls with a login instead of a session: it takes the session from the audit trail of the transaction. Security definer, called by other definers only, because sessions are closed to other roles.';

create function private.end_auth_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.auth_sessions a where a.id = old.auth_session_id;
  return null;
end $$;
comment on function private.end_auth_session() is
  'Ends a person''s session that an identity provider opened when its part in the company ends; otherwise it could enter the company again without the provider. Security definer, called by a trigger, because no role may delete sessions directly.';
