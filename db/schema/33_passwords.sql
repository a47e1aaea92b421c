-- Passwords: setting, changing and resetting them.

create table public.password_resets (
  token_digest bytea primary key check (octet_length(token_digest) = 32),
  auth_user_id uuid not null references auth.users (id) on delete cascade,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz
);
comment on table public.password_resets is
  'Mailed links that set a new password, once. A used link is kept for a while, so that it can be reported as used.';
create index password_resets_user_idx on public.password_resets (auth_user_id);
create index password_resets_expired_idx on public.password_resets (expires_at);

alter table public.password_resets enable row level security, force row level security;
create policy router_select on public.password_resets for select to neurant_router using (true);
create policy router_insert on public.password_resets for insert to neurant_router with check (true);
create policy router_update on public.password_resets for update to neurant_router using (true) with check (true);
create policy router_delete on public.password_resets for delete to neurant_router using (true);
grant select, insert, delete on public.password_resets to neurant_router;
grant update (used_at) on public.password_resets to neurant_router;

create function private.begin_password_reset(
  p_email text, p_token_digest bytea, p_now timestamptz default now())
returns table (auth_user_id uuid, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_login uuid := (select a.id from auth.users a where lower(a.email) = p_email);
begin
  if v_login is null then
    return;
  end if;
  insert into public.password_resets (token_digest, auth_user_id, created_at, expires_at)
  values (p_token_digest, v_login, p_now, p_now + interval '1 hour');
  perform private.note_login_event(v_login, 'update', '{"event": "password_reset_asked"}');
  return query select v_login, coalesce(
    (select p.first_name from public.auth_accounts p where p.auth_user_id = v_login),
    (select u.first_name from public.users u where u.auth_user_id = v_login
      order by u.created_at desc limit 1))::text;
end $$;
comment on function private.begin_password_reset(text, bytea, timestamptz) is
  'Creates a link, valid for an hour, for a forgotten password; no row if the address has no account. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_password_reset(text, bytea, timestamptz) to neurant_app;

create function private.find_password_reset(p_token_digest bytea, p_now timestamptz default now())
returns table (state text, email text)
language sql stable security definer set search_path = '' as $$
  select case when r.used_at is not null then 'used'
      when r.expires_at <= p_now then 'expired' else 'open' end, lower(a.email)
  from public.password_resets r
  join auth.users a on a.id = r.auth_user_id
  where r.token_digest = p_token_digest
$$;
comment on function private.find_password_reset(bytea, timestamptz) is
  'Returns the state of a mailed link: open, used or expired; no row for a link that was never sent. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_password_reset(bytea, timestamptz) to neurant_app;

create function private.set_password(p_auth_user uuid, p_encrypted_password text, p_keep bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user;
  delete from public.auth_sessions s
  where s.auth_user_id = p_auth_user and s.token_digest is distinct from p_keep;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
  -- A secret that waits may have been seen by whoever had one of the sessions that end here.
  delete from public.auth_factors f where f.auth_user_id = p_auth_user and f.confirmed_at is null;
end $$;
comment on function private.set_password(uuid, text, bytea) is
  'Sets a password and ends every session but one, and every login that waits for its second step. Security definer, called by other definers only, because schema auth is closed to every login.';

create function private.finish_password_reset(p_token_digest bytea, p_encrypted_password text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid, email text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_reset public.password_resets;
  v_email text;
begin
  select r.* into v_reset from public.password_resets r
  where r.token_digest = p_token_digest for update;
  if v_reset.auth_user_id is null or v_reset.used_at is not null or v_reset.expires_at <= p_now then
    return query select case when v_reset.auth_user_id is null then 'unknown'
      when v_reset.used_at is not null then 'used' else 'expired' end, null::uuid, null::text;
    return;
  end if;
  -- The links before and after it, too: whoever reads old mail finds none that works.
  update public.password_resets r set used_at = p_now
  where r.auth_user_id = v_reset.auth_user_id and r.used_at is null;
  perform private.note_login_event(
    v_reset.auth_user_id, 'update', '{"event": "password_changed", "by_mail": true}');
  if exists (select from auth.users a where a.id = v_reset.auth_user_id
    and a.email_confirmed_at is null and coalesce(a.encrypted_password, '') = '')
  then
    perform private.leave_nothing_of_others(v_reset.auth_user_id);
  end if;
  perform private.set_password(v_reset.auth_user_id, p_encrypted_password, null);
  -- The link was in the mailbox: whoever used it has shown that the mailbox is theirs.
  update auth.users a set email_confirmed_at = now()
  where a.id = v_reset.auth_user_id and a.email_confirmed_at is null;
  select lower(a.email) into v_email from auth.users a where a.id = v_reset.auth_user_id;
  -- Who is held back has a link that works: with the links, what held back is over.
  update public.account_brakes b set mailed_at = '{}'
  where b.key_digest = (select private.mail_key('reset', v_email));
  return query select 'changed', v_reset.auth_user_id, v_email;
end $$;
comment on function private.finish_password_reset(bytea, text, timestamptz) is
  'Sets the password by a mailed link, once, and ends every session. Outcome: changed, unknown, used or expired. Of two concurrent calls one succeeds. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.finish_password_reset(bytea, text, timestamptz) to neurant_app;

create function private.change_password(p_token_digest bytea, p_new_digest bytea, p_encrypted_password text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid := private.own_login(p_token_digest);
begin
  if v_login is null then
    return false;
  end if;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = v_login and r.used_at is null;
  perform private.note_login_event(v_login, 'update', '{"event": "password_changed"}');
  perform private.set_password(v_login, p_encrypted_password, p_token_digest);
  perform private.renew_session(p_token_digest, p_new_digest);
  return true;
end $$;
comment on function private.change_password(bytea, bytea, text) is
  'Sets the password of a signed-in person who has shown the old one. This session continues with a new token; all others end. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.change_password(bytea, bytea, text) to neurant_app;

create function private.rehash_password(
  p_auth_user uuid, p_known_hash text, p_encrypted_password text) returns boolean
language plpgsql volatile security definer set search_path = '' as $$
begin
  update auth.users a set encrypted_password = p_encrypted_password, updated_at = now()
  where a.id = p_auth_user and a.encrypted_password = p_known_hash;
  return found;
end $$;
comment on function private.rehash_password(uuid, text, text) is
  'Stores another hash of the same password, which its owner has just shown; no session ends and no mail is sent. Returns whether the known hash was still the current one. Security definer, called by the web process, because schema auth is closed to every login.';
grant execute on function private.rehash_password(uuid, text, text) to neurant_app;

create function private.password_context(p_token_digest bytea) returns text[]
language sql stable security definer set search_path = '' as $$
  with person as (
    select s.auth_user_id from public.auth_sessions s
    where s.token_digest = p_token_digest and s.expires_at > now() and s.only_company_id is null
    union all
    select r.auth_user_id from public.password_resets r
    where r.token_digest = p_token_digest and r.used_at is null and r.expires_at > now())
  select coalesce(array_agg(distinct w.word), '{}')
  from person p
  cross join lateral (
    select unnest(array[u.first_name, u.last_name, c.name]::text[]) as word
    from public.users u
    join public.companies c on c.id = u.company_id
    where u.auth_user_id = p.auth_user_id
    union all
    select unnest(array[a.first_name, a.last_name]::text[])
    from public.auth_accounts a where a.auth_user_id = p.auth_user_id) w
  where w.word <> ''
$$;
comment on function private.password_context(bytea) is
  'Returns the names that the password of the person of this session or reset link must not consist of: the person''s own and those of the person''s companies; none for a session that is limited to one company. Security definer, called by the web process, because no principal may read two companies at once.';
grant execute on function private.password_context(bytea) to neurant_app;
