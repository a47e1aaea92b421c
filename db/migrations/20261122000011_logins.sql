-- migrate:up
-- Logging in. The web process checks the password; the database hands out what that needs, and no more.
set local role neurant_owner;

create function private.login_lookup(p_email text)
returns table (auth_user_id uuid, encrypted_password text)
language sql stable security definer set search_path = '' as $$
  select a.id, a.encrypted_password from auth.users a where lower(a.email) = lower(p_email)
$$;
comment on function private.login_lookup(text) is
  'The login of an e-mail address, to check a password against. Definer: auth is closed to everybody.';

create function private.open_login_session(
  p_auth_user uuid, p_token_digest bytea, p_ip inet, p_user_agent text, p_lifetime interval)
returns table (company_id uuid, user_id uuid, expires_at timestamptz)
language plpgsql security definer set search_path = '' as $$
declare
  v_user public.users;
begin
  select u.* into v_user
  from public.users u
  join public.companies c on c.id = u.company_id and c.subscription_status <> 'cancelled'
  where u.auth_user_id = p_auth_user and u.is_active
  order by u.last_seen_at desc nulls last, u.created_at
  limit 1;
  if v_user.id is null then
    return;
  end if;
  update public.users u set last_login_at = now(), last_seen_at = now()
  where u.company_id = v_user.company_id and u.id = v_user.id;
  return query
  insert into public.login_sessions as s
    (company_id, user_id, token_digest, ip_address, user_agent, expires_at)
  values (v_user.company_id, v_user.id, p_token_digest, p_ip, p_user_agent, now() + p_lifetime)
  returning s.company_id, s.user_id, s.expires_at;
end $$;
comment on function private.open_login_session(uuid, bytea, inet, text, interval) is
  'A session in the company that the person worked in last; no row where nobody active is left. Definer: the caller is nobody yet.';

create function private.login_session(p_token_digest bytea)
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
  where s.token_digest = p_token_digest and s.expires_at > now() and u.is_active
    and c.subscription_status <> 'cancelled';
end $$;
comment on function private.login_session(bytea) is
  'Who a session belongs to, if it, its user and the company still stand. Definer: the caller is nobody until this answers.';

create function private.close_login_session(p_token_digest bytea) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.login_sessions s where s.token_digest = p_token_digest
$$;
comment on function private.close_login_session(bytea) is 'Logout. Definer, as login_session.';

grant execute on function private.login_lookup(text),
  private.open_login_session(uuid, bytea, inet, text, interval),
  private.login_session(bytea), private.close_login_session(bytea) to neurant_app;

alter function private.login_lookup(text) owner to neurant_router;
alter function private.open_login_session(uuid, bytea, inet, text, interval) owner to neurant_router;
alter function private.login_session(bytea) owner to neurant_router;
alter function private.close_login_session(bytea) owner to neurant_router;

reset role;
-- migrate:down
