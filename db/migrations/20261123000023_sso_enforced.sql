-- migrate:up
-- Where a provider is enforced no other proof opens the company, and what a provider opened is of its company alone.
set local role neurant_owner;

create function private.end_auth_session() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  delete from public.auth_sessions a where a.id = old.auth_session_id;
  return null;
end $$;
comment on function private.end_auth_session() is
  'A session by a provider does not outlive its place in the company, or it could come back in without the provider. Definer: sessions are nobody''s to delete.';
create trigger end_auth_session after delete on public.login_sessions
  for each row when (old.sso_connection_id is not null)
  execute function private.end_auth_session();

create function private.sso_instead(p_auth_user uuid) returns text
language sql stable security definer set search_path = '' as $$
  select min(c.name)
  from public.users u
  left join public.sso_connections c
    on c.company_id = u.company_id and c.id = (select private.sso_required(u.company_id, u.id))
  where u.auth_user_id = p_auth_user and u.is_active
  having count(*) > 0 and count(*) = count(c.id)
$$;
comment on function private.sso_instead(uuid) is
  'The provider that a person must use, if none of their companies takes a password of them; else null. Definer: asked when the password was right, before there is a session.';

create function private.memberships(p_auth_user uuid) returns bigint
language sql stable security definer set search_path = '' as $$
  select count(*) from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and private.sso_required(u.company_id, u.id) is null
$$;
comment on function private.memberships(uuid) is
  'Between how many companies the person of a token may choose. Definer: the caller is nobody yet.';

grant execute on function private.sso_instead(uuid), private.memberships(uuid) to neurant_app;
alter function private.end_auth_session() owner to neurant_router;
alter function private.sso_instead(uuid) owner to neurant_router;
alter function private.memberships(uuid) owner to neurant_router;
reset role;

set local role neurant_router;
create or replace function private.enter_company(p_token_digest bytea, p_company uuid)
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
    and (private.sso_required(u.company_id, u.id) is null
      or exists (
        select from public.login_sessions s
        where s.token_digest = p_token_digest and s.company_id = u.company_id
          and s.user_id = u.id and s.sso_connection_id is not null))
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
  'A session goes on in this company (null: the one worked in last) and leaves the one before: entered, not_found (no active member, the session is another company''s only, or the company wants its provider) or ended. A closed company is entered, to be read. Definer: who changes the company has no place in it yet.';

create or replace function private.begin_factor(p_token_digest bytea, p_secret_encrypted bytea)
returns boolean
language plpgsql security definer set search_path = '' as $$
begin
  -- A provider speaks for its company, not for the person's login, which may be of others, too.
  insert into public.auth_factors as f (auth_user_id, secret_encrypted)
  select a.auth_user_id, p_secret_encrypted from public.auth_sessions a
  where a.token_digest = p_token_digest and a.expires_at > now() and a.only_company_id is null
  on conflict (auth_user_id) do update
  set secret_encrypted = excluded.secret_encrypted, created_at = now(), last_step = 0
  where f.confirmed_at is null;
  return found;
end $$;

create or replace function private.enter_subject(
  p_auth_user uuid, p_company uuid, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_memberships public.users[];
begin
  select array_agg(u) into v_memberships from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and (p_company is null or u.company_id = p_company)
    and private.sso_required(u.company_id, u.id) is null;
  -- Of several companies none is guessed.
  if cardinality(v_memberships) is distinct from 1 then
    return null;
  end if;
  return private.caller(v_memberships[1].company_id, v_memberships[1].id, null, null, p_permission,
    p_trail);
end $$;
reset role;
-- migrate:down
