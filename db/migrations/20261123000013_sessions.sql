-- migrate:up
-- Sessions of a person across companies, and what slows guessing down. The token of a session is its owner's proof.
set local role neurant_owner;

create function private.brake(
  p_kind text, p_email text, p_address inet, p_now timestamptz default now())
returns table (wait integer, next_wait integer)
language plpgsql security definer set search_path = '' as $$
declare
  v_wait interval := '0';
  v_next interval := '0';
  v_known public.account_brakes;
  v_key record;
begin
  -- In one order for everybody: whoever counts the same keys waits, and none waits for another's.
  for v_key in select k.* from private.brake_keys(p_kind, p_email, p_address) k order by k.key loop
    insert into public.account_brakes as b (key_digest, touched_at) values (v_key.key, p_now)
    on conflict (key_digest) do update
    set attempts = case when b.touched_at < p_now - interval '1 day' then 0 else b.attempts end,
      touched_at = greatest(b.touched_at, p_now)
    returning b.* into v_known;
    v_wait := greatest(v_wait, v_known.locked_until - p_now);
  end loop;
  if v_wait <= interval '0' then
    for v_key in select k.* from private.brake_keys(p_kind, p_email, p_address) k loop
      update public.account_brakes b set attempts = b.attempts + 1
      where b.key_digest = v_key.key
      returning b.* into v_known;
      if v_known.attempts >= v_key.free then
        v_known.locked_until := p_now + least(
          v_key.longest, interval '5 seconds' * 2 ^ least(v_known.attempts - v_key.free, 16));
        update public.account_brakes b set locked_until = v_known.locked_until
        where b.key_digest = v_key.key;
        v_next := greatest(v_next, v_known.locked_until - p_now);
      end if;
    end loop;
  end if;
  return query select ceil(extract(epoch from greatest(v_wait, '0')))::integer,
    ceil(extract(epoch from v_next))::integer;
end $$;
comment on function private.brake(text, text, inet, timestamptz) is
  'Counts an attempt before it is checked, so that those side by side count, too. wait: seconds that must pass first (then it was not counted), or 0; next_wait: before another one, should this fail. The wait doubles from 5 seconds; a day of quiet forgets. Definer: whoever tries is nobody yet.';

create function private.brake_keys(p_kind text, p_email text, p_address inet)
returns table (key bytea, free integer, longest interval)
language sql immutable set search_path = '' as $$
  select sha256(convert_to(concat_ws('|', p_kind, k.scope, k.value), 'UTF8')), k.free, k.longest
  from (
    select host(network(set_masklen(p_address, case family(p_address) when 4 then 32 else 64 end)))
      as address,
      -- A loopback address is a proxy that does not tell for whom it asks.
      coalesce(p_address <<= '127.0.0.0/8' or p_address <<= '::1/128', true) as is_ours) a
  cross join lateral (values
    ('password', 'pair', p_email || '|' || coalesce(a.address, ''), 5, interval '15 minutes'),
    ('password', 'login', p_email, 30, interval '5 minutes'),
    ('password', 'address', case when not a.is_ours then a.address end, 50, interval '1 minute'),
    ('code', 'login', p_email, 5, interval '15 minutes'),
    ('sign_up', 'address', case when not a.is_ours then a.address end, 20, interval '15 minutes'),
    ('reset', 'address', case when not a.is_ours then a.address end, 20, interval '15 minutes')
  ) k (kind, scope, value, free, longest)
  where k.kind = p_kind and k.value is not null
$$;
comment on function private.brake_keys(text, text, inet) is
  'What an attempt counts against, how many are free, and the longest wait. A stranger slows a person down by five minutes at most; an office, or a proxy we do not know, by one.';

create function private.release_brake(p_kind text, p_email text, p_address inet) returns void
language plpgsql security definer set search_path = '' as $$
begin
  perform from public.account_brakes b
  where b.key_digest in (select k.key from private.brake_keys(p_kind, p_email, p_address) k)
  order by b.key_digest for update;
  update public.account_brakes b
  set attempts = case when k.is_shared then greatest(b.attempts - 1, 0) else 0 end,
    locked_until = case when not k.is_shared or b.attempts <= k.free then null else b.locked_until end
  from (
    select s.key, s.free, s.free >= 20 as is_shared
    from private.brake_keys(p_kind, p_email, p_address) s) k
  where b.key_digest = k.key;
end $$;
comment on function private.release_brake(text, text, inet) is
  'The person is who they say: what was counted for them is forgotten; what others share only loses this attempt. Definer, as brake.';

create function private.allow_mail(p_email text, p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_key bytea := sha256(convert_to('mail|' || p_email, 'UTF8'));
  v_sent timestamptz[];
begin
  insert into public.account_brakes as b (key_digest, touched_at) values (v_key, p_now)
  on conflict (key_digest) do update set touched_at = greatest(b.touched_at, p_now);
  select coalesce(array_agg(s.at order by s.at), '{}') into v_sent
  from public.account_brakes b cross join lateral unnest(b.mailed_at) s (at)
  where b.key_digest = v_key and s.at > p_now - interval '1 hour';
  if v_sent[cardinality(v_sent)] > p_now - interval '60 seconds' then
    return ceil(extract(epoch from v_sent[cardinality(v_sent)] + interval '60 seconds' - p_now));
  elsif cardinality(v_sent) >= 5 then
    return ceil(extract(epoch from v_sent[1] + interval '1 hour' - p_now));
  end if;
  update public.account_brakes b set mailed_at = v_sent || p_now where b.key_digest = v_key;
  return 0;
end $$;
comment on function private.allow_mail(text, timestamptz) is
  'Whether an address may be written to: 0 (and it is counted), or the seconds until then. A minute between two, five an hour; addresses without an account count the same. Definer, as brake.';

create function private.note_login_event(
  p_auth_user uuid, p_action public.audit_action_enum, p_details jsonb)
returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, p_action, 'logins', null, p_details, u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_login_event(uuid, public.audit_action_enum, jsonb) is
  'What happened to a login, in each of its companies. Definer: audit is nobody''s to write, and the login is no company''s.';

create function private.note_refused_login(p_auth_user uuid, p_reason text, p_wait integer) returns void
language sql volatile security definer set search_path = '' as $$
  select private.write_audit(u.company_id, 'login_denied', 'login_sessions', null,
    jsonb_strip_nulls(jsonb_build_object('reason', p_reason, 'locked_seconds', nullif(p_wait, 0))), u.id)
  from public.users u
  where u.auth_user_id = p_auth_user
$$;
comment on function private.note_refused_login(uuid, text, integer) is
  'A wrong password or code for a known login, in each of its companies, and for how long it locked. Definer, as note_denied_login.';

create function private.enter_company(p_token_digest bytea, p_company uuid)
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.auth_sessions;
  v_user public.users;
begin
  select a.* into v_session from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now() for update;
  if v_session.id is null then
    return query select 'ended', null::uuid, null::uuid;
    return;
  end if;
  select u.* into v_user
  from public.users u
  join public.companies c on c.id = u.company_id
  where u.auth_user_id = v_session.auth_user_id and u.is_active
    and (p_company is null or u.company_id = p_company)
    and (v_session.only_company_id is null or u.company_id = v_session.only_company_id)
  order by c.subscription_status = 'cancelled', u.last_seen_at desc nulls last, u.created_at
  limit 1;
  if v_user.id is null then
    return query select 'not_found', null::uuid, null::uuid;
    return;
  end if;
  if exists (
    select from public.login_sessions s
    where s.token_digest = p_token_digest and s.company_id = v_user.company_id
      and s.user_id = v_user.id)
  then
    return query select 'entered', v_user.company_id, v_user.id;
    return;
  end if;
  delete from public.login_sessions s where s.token_digest = p_token_digest;
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = v_user.company_id and u.id = v_user.id;
  insert into public.login_sessions
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at, auth_session_id)
  values (v_user.company_id, v_user.id, p_token_digest, v_session.ip_address, v_session.user_agent,
    v_session.expires_at, v_session.id);
  return query select 'entered', v_user.company_id, v_user.id;
end $$;
comment on function private.enter_company(bytea, uuid) is
  'A session goes on in this company (null: the one worked in last) and leaves the one before: entered, not_found (no active member, or the session is another company''s only) or ended. A closed company is entered, to be read. Definer: who changes the company has no place in it yet.';

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
  'Signs a person in: in the company that is named (no row where they may not be there), else in the one worked in last, else (company_id null) in none yet. Definer: the caller is nobody yet.';

create function private.find_auth_session(p_token_digest bytea)
returns table (
  session_id uuid, auth_user_id uuid, email text, first_name text, last_name text,
  company_id uuid, user_id uuid, created_at timestamptz, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
begin
  update public.auth_sessions a set last_seen_at = now()
  where a.token_digest = p_token_digest and a.last_seen_at < now() - interval '1 minute';
  return query
  select a.id, a.auth_user_id, lower(l.email),
    coalesce(u.first_name, p.first_name, k.first_name)::text,
    coalesce(u.last_name, p.last_name, k.last_name)::text,
    u.company_id, u.id, a.created_at, a.expires_at
  from public.auth_sessions a
  join auth.users l on l.id = a.auth_user_id
  left join public.login_sessions s on s.auth_session_id = a.id
  left join public.users u on u.company_id = s.company_id and u.id = s.user_id and u.is_active
  left join public.auth_accounts p on p.auth_user_id = a.auth_user_id
  left join lateral (
    select o.first_name, o.last_name from public.users o where o.auth_user_id = a.auth_user_id
    order by o.created_at desc limit 1) k on true
  where a.token_digest = p_token_digest and a.expires_at > now();
end $$;
comment on function private.find_auth_session(bytea) is
  'The person behind a session, also one who has no company (yet, or any more: then company_id is null). Definer, as login_session.';

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
  'Where the person of this session may go. Definer: nobody reads two companies at once.';

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
  'Where the person of this session is signed in, this one first. Definer: sessions are of the person, not of a company.';

create function private.end_sessions(p_token_digest bytea, p_session uuid) returns integer
language plpgsql security definer set search_path = '' as $$
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
      jsonb_build_object('event', 'sessions_ended', 'count', v_ended));
  end if;
  return v_ended;
end $$;
comment on function private.end_sessions(bytea, uuid) is
  'Ends one session of the same person, or (null) all but this one; how many. Definer, as my_sessions.';

create function private.renew_session(p_token_digest bytea, p_new_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  update public.login_sessions s set token_digest = p_new_digest where s.token_digest = p_token_digest;
  update public.auth_sessions a set token_digest = p_new_digest where a.token_digest = p_token_digest
$$;
comment on function private.renew_session(bytea, bytea) is
  'The same session under another token: whoever copied the old one is out. Definer, as login_session.';

create function private.two_step_users() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(u.id), '{}')
  from public.users u
  join public.auth_factors f on f.auth_user_id = u.auth_user_id and f.confirmed_at is not null
  where u.company_id = (select private.company_id('users.read'))
    and (select private.user_role()) = 'owner'
$$;
comment on function private.two_step_users() is
  'For the owner: who of the company has a second step when signing in; nobody for anybody else. Definer: factors are of the login, and nobody reads them.';

create function private.forget_old_accounts(p_now timestamptz default now()) returns integer
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
  delete from public.account_brakes b where b.touched_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  v_all := v_all + v_gone;
  delete from public.auth_sessions a where a.expires_at < p_now - interval '2 days';
  get diagnostics v_gone = row_count;
  return v_all + v_gone;
end $$;
comment on function private.forget_old_accounts(timestamptz) is
  'Forgets sign-ups, links, brakes and sessions that are over for days; how many. Definer: they are no company''s.';

grant execute on function private.brake_keys(text, text, inet) to neurant_router;
grant execute on function private.brake(text, text, inet, timestamptz),
  private.release_brake(text, text, inet), private.allow_mail(text, timestamptz),
  private.note_refused_login(uuid, text, integer),
  private.open_session(uuid, bytea, inet, text, interval, uuid),
  private.find_auth_session(bytea), private.my_companies(bytea), private.my_sessions(bytea),
  private.enter_company(bytea, uuid), private.end_sessions(bytea, uuid) to neurant_app;
grant execute on function private.two_step_users() to authenticated;
grant execute on function private.forget_old_accounts(timestamptz) to neurant_jobs;
alter function private.brake(text, text, inet, timestamptz) owner to neurant_router;
alter function private.release_brake(text, text, inet) owner to neurant_router;
alter function private.allow_mail(text, timestamptz) owner to neurant_router;
alter function private.note_login_event(uuid, public.audit_action_enum, jsonb) owner to neurant_router;
alter function private.note_refused_login(uuid, text, integer) owner to neurant_router;
alter function private.enter_company(bytea, uuid) owner to neurant_router;
alter function private.open_session(uuid, bytea, inet, text, interval, uuid) owner to neurant_router;
alter function private.find_auth_session(bytea) owner to neurant_router;
alter function private.my_companies(bytea) owner to neurant_router;
alter function private.my_sessions(bytea) owner to neurant_router;
alter function private.end_sessions(bytea, uuid) owner to neurant_router;
alter function private.renew_session(bytea, bytea) owner to neurant_router;
alter function private.two_step_users() owner to neurant_router;
alter function private.forget_old_accounts(timestamptz) owner to neurant_router;

reset role;

set local role neurant_router;
create or replace function private.close_login_session(p_token_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.login_sessions s where s.token_digest = p_token_digest;
  delete from public.auth_sessions a where a.token_digest = p_token_digest
$$;

create or replace function private.login_session(p_token_digest bytea)
returns table (
  session_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text)
language plpgsql security definer set search_path = '' as $$
begin
  -- Often enough to show who is there, seldom enough not to write on every request.
  update public.login_sessions s set last_seen_at = now()
  where s.token_digest = p_token_digest and s.last_seen_at < now() - interval '1 minute';
  return query
  select s.id, u.auth_user_id, u.company_id, u.id, u.role, u.first_name::text, u.last_name::text,
    u.email::text, c.name::text
  from public.login_sessions s
  join public.users u on u.company_id = s.company_id and u.id = s.user_id
  join public.companies c on c.id = s.company_id
  where s.token_digest = p_token_digest and s.expires_at > now() and u.is_active;
end $$;
comment on function private.login_session(bytea) is
  'Who a session belongs to, if it and its user still stand; a closed company is read. Definer: the caller is nobody until this answers.';
reset role;
-- migrate:down
