-- The second step of a login: authenticator apps, recovery codes, challenges.

create table public.auth_factors (
  auth_user_id uuid primary key references auth.users (id) on delete cascade,
  secret_encrypted bytea not null,
  last_step bigint not null default 0,
  created_at timestamptz not null default now(),
  confirmed_at timestamptz
);
comment on table public.auth_factors is
  'The shared secret of the second step (RFC 6238), sealed under the master key. It is in force once a code has confirmed it.';
comment on column public.auth_factors.last_step is
  'The time step of the code that was used last: codes of this step and earlier ones are refused.';

alter table public.auth_factors enable row level security, force row level security;
create policy router_select on public.auth_factors for select to neurant_router using (true);
create policy router_insert on public.auth_factors for insert to neurant_router with check (true);
create policy router_update on public.auth_factors for update to neurant_router using (true) with check (true);
create policy router_delete on public.auth_factors for delete to neurant_router using (true);
grant select, insert, delete on public.auth_factors to neurant_router;
grant update (secret_encrypted, last_step, created_at, confirmed_at) on public.auth_factors to
  neurant_router;

create table public.recovery_codes (
  auth_user_id uuid not null references public.auth_factors (auth_user_id) on delete cascade,
  code_digest bytea not null check (octet_length(code_digest) = 32),
  used_at timestamptz,
  primary key (auth_user_id, code_digest)
);

alter table public.recovery_codes enable row level security, force row level security;
create policy router_select on public.recovery_codes for select to neurant_router using (true);
create policy router_insert on public.recovery_codes for insert to neurant_router with check (true);
create policy router_update on public.recovery_codes for update to neurant_router using (true) with check (true);
create policy router_delete on public.recovery_codes for delete to neurant_router using (true);
grant select, insert, delete on public.recovery_codes to neurant_router;
grant update (used_at) on public.recovery_codes to neurant_router;

create table public.login_challenges (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  is_kept boolean not null,
  created_at timestamptz not null,
  expires_at timestamptz not null
);
comment on table public.login_challenges is
  'Logins whose password was right and whose code is awaited.';
create index login_challenges_user_idx on public.login_challenges (auth_user_id);
create index login_challenges_expired_idx on public.login_challenges (expires_at);

alter table public.login_challenges enable row level security, force row level security;
create policy router_select on public.login_challenges for select to neurant_router using (true);
create policy router_insert on public.login_challenges for insert to neurant_router with check (true);
create policy router_delete on public.login_challenges for delete to neurant_router using (true);
grant select, insert, delete on public.login_challenges to neurant_router;

create function private.two_step_users()
returns uuid[]
language sql stable security definer set search_path = '' as $$
  select case when c.id is not null then array(
    select u.id
    from public.users u
    join public.auth_factors f on f.auth_user_id = u.auth_user_id and f.confirmed_at is not null
    where u.company_id = c.id) end
  from private.company_id('users.manage') as c (id)
$$;
comment on function private.two_step_users() is
  'Returns the people of the company who have a second step; null if the caller does not manage people. Security definer, called by staff and API keys, because factors belong to a login, not to a company.';
grant execute on function private.two_step_users() to authenticated;

create function private.open_challenge(
  p_auth_user uuid, p_token_digest bytea, p_is_kept boolean, p_now timestamptz default now())
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.login_challenges (token_digest, auth_user_id, is_kept, created_at, expires_at)
  values (p_token_digest, p_auth_user, p_is_kept, p_now, p_now + interval '10 minutes')
$$;
comment on function private.open_challenge(uuid, bytea, boolean, timestamptz) is
  'Opens a challenge after the right password: the code must follow within ten minutes. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.open_challenge(uuid, bytea, boolean, timestamptz) to
  neurant_app;

create function private.find_challenge(p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, email text, is_kept boolean)
language sql stable security definer set search_path = '' as $$
  select c.auth_user_id, lower(a.email), c.is_kept
  from public.login_challenges c
  join auth.users a on a.id = c.auth_user_id
  where c.token_digest = p_token_digest and c.expires_at > p_now
$$;
comment on function private.find_challenge(bytea, timestamptz) is
  'Returns the login that waits for its code. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_challenge(bytea, timestamptz) to neurant_app;

create function private.close_challenge(p_token_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  delete from public.login_challenges c where c.token_digest = p_token_digest;
  return found;
end $$;
comment on function private.close_challenge(bytea) is
  'Ends a challenge when the login is completed or abandoned; returns whether it still existed. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.close_challenge(bytea) to neurant_app;

create function private.find_factor(p_auth_user uuid) RETURNS TABLE(secret_encrypted bytea, is_confirmed boolean, created_at timestamp with time zone, codes_left integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select f.secret_encrypted, f.confirmed_at is not null, f.created_at,
    (select count(*)::integer from public.recovery_codes r
      where r.auth_user_id = f.auth_user_id and r.used_at is null)
  from public.auth_factors f
  where f.auth_user_id = p_auth_user and f.confirmed_at is not null
$$;
comment on function private.find_factor(uuid) is
  'Returns the second step of a login, to check a code against; a secret that still waits for its first code is not returned (see waiting_factor). Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.find_factor(uuid) to neurant_app;

create function private.use_factor_step(p_auth_user uuid, p_step bigint) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.auth_factors f set last_step = p_step
  where f.auth_user_id = p_auth_user and f.last_step < p_step;
  return found;
end $$;
comment on function private.use_factor_step(uuid, bigint) is
  'Uses up the code of a time step; returns false if this step or a later one was used before. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.use_factor_step(uuid, bigint) to neurant_app;

create function private.use_recovery_code(p_auth_user uuid, p_code_digest bytea) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update public.recovery_codes r set used_at = now()
  where r.auth_user_id = p_auth_user and r.code_digest = p_code_digest and r.used_at is null;
  if found then
    perform private.note_login_event(p_auth_user, 'update', '{"event": "recovery_code_used"}');
    return true;
  end if;
  return false;
end $$;
comment on function private.use_recovery_code(uuid, bytea) is
  'Uses up a recovery code, once. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.use_recovery_code(uuid, bytea) to neurant_app;

create function private.begin_factor(p_token_digest bytea, p_secret_encrypted bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  insert into public.auth_factors as f (auth_user_id, secret_encrypted)
  select l.login, p_secret_encrypted from private.own_login(p_token_digest) l (login)
  where l.login is not null
  on conflict (auth_user_id) do update
  set secret_encrypted = excluded.secret_encrypted, created_at = now(), last_step = 0
  where f.confirmed_at is null;
  return found;
end $$;
comment on function private.begin_factor(bytea, bytea) is
  'Stores a new secret, to be confirmed by a code; returns false if the second step is on already. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.begin_factor(bytea, bytea) to neurant_app;

create function private.set_recovery_codes(p_auth_user uuid, p_code_digests bytea[]) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.recovery_codes r where r.auth_user_id = p_auth_user;
  insert into public.recovery_codes (auth_user_id, code_digest)
  select p_auth_user, d.digest from unnest(p_code_digests) d (digest)
$$;
comment on function private.set_recovery_codes(uuid, bytea[]) is
  'Replaces the recovery codes. Security definer, called by other definers only, because factors are closed to other roles.';

create function private.confirm_factor(p_token_digest bytea, p_new_digest bytea, p_step bigint, p_code_digests bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  update public.auth_factors f set confirmed_at = now(), last_step = p_step
  where f.auth_user_id = v_login and f.confirmed_at is null and f.last_step < p_step;
  if not found then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_on"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.confirm_factor(bytea, bytea, bigint, bytea[]) is
  'Turns the second step on, with its recovery codes; the session continues with a new token. Returns false if no secret waits to be confirmed. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.confirm_factor(bytea, bytea, bigint, bytea[]) to neurant_app;

create function private.renew_recovery_codes(p_token_digest bytea, p_code_digests bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  -- Asked for by itself: inside a query, a plan that finds no factor first would not ask for it.
  v_login uuid := private.own_login(p_token_digest);
begin
  perform from public.auth_factors f
  where f.auth_user_id = v_login and f.confirmed_at is not null
  for update of f;
  if not found then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "recovery_codes_renewed"}');
  return true;
end $$;
comment on function private.renew_recovery_codes(bytea, bytea[]) is
  'Replaces the recovery codes; the previous ones become void. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.renew_recovery_codes(bytea, bytea[]) to neurant_app;

create function private.disable_factor(p_token_digest bytea, p_new_digest bytea) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  delete from public.auth_factors f where f.auth_user_id = v_login and f.confirmed_at is not null;
  if not found then
    return false;
  end if;
  perform private.note_login_event(v_login, 'update', '{"event": "two_step_off"}');
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.disable_factor(bytea, bytea) is
  'Turns the second step off and deletes its secret and codes; the session continues with a new token. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.disable_factor(bytea, bytea) to neurant_app;

create function private.waiting_factor(p_token_digest bytea) returns bytea
language plpgsql stable security definer set search_path = '' as $$
declare
  -- Asked for by itself, as in renew_recovery_codes.
  v_login uuid := private.own_login(p_token_digest);
begin
  return (
    select f.secret_encrypted from public.auth_factors f
    where f.auth_user_id = v_login and f.confirmed_at is null);
end $$;
comment on function private.waiting_factor(bytea) is
  'Returns the sealed secret that waits for its first code; null if none waits, error NA006 as in own_login. Security definer, called by the web process, because factors are closed to other roles.';
grant execute on function private.waiting_factor(bytea) to neurant_app;
