-- Callers: how a transaction becomes a principal, and what the policies ask about that principal.

create type private.caller_row as (
  session_id uuid, key_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text,
  subscription_status public.subscription_status_enum, requests_per_minute integer, may boolean);
comment on type private.caller_row is
  'The principal of a request, and whether the principal has the permission that the request needs.';

-- Logins. Supabase brings its own auth.users; elsewhere this creates the part of it that we use.
create table if not exists auth.users (
  id uuid primary key default uuidv7(),
  email text,
  encrypted_password text,
  email_confirmed_at timestamptz,
  last_sign_in_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
-- One mailbox, one login: 'Ana@x.co' and 'ana@x.co' are the same address.
create unique index if not exists auth_users_email_key on auth.users (lower(email));

-- Supabase has this function already; elsewhere we create it.
do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable set search_path = '' as
      'select (private.claims() ->> ''sub'')::uuid';
  end if;
end $$;

grant select, insert, delete on auth.users to neurant_router;
grant update (encrypted_password, email_confirmed_at, last_sign_in_at, updated_at) on auth.users
  to neurant_router;

create function private.claims() returns jsonb
language sql stable set search_path = '' as $$
  select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
$$;
comment on function private.claims() is
  'Returns the claims that the process set for this transaction. Claims alone are never trusted: private.company_id() verifies them.';
grant execute on function private.claims() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.company_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_company uuid;
begin
  if v_role = 'authenticated' then
    select u.company_id into v_company
    from public.users u
    join public.companies c on c.id = u.company_id
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid
      and u.is_active and c.subscription_status <> 'cancelled';
    if v_company is null and v_claims ->> 'key_id' is not null then
      select k.company_id into v_company
      from public.api_keys k
      join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
      join public.companies c on c.id = k.company_id
      where k.company_id = (v_claims ->> 'company_id')::uuid
        and k.id = (v_claims ->> 'key_id')::uuid
        and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
        and maker.is_active and c.subscription_status <> 'cancelled';
    end if;
  elsif v_role = 'visitor' then
    select v.company_id into v_company
    from public.visitor_sessions v
    join public.companies c on c.id = v.company_id
    where v.token_digest = decode(v_claims ->> 'visitor', 'hex')
      and v.expires_at > now() and c.subscription_status <> 'cancelled';
  elsif v_role = 'neurant_worker' and session_user = 'neurant_jobs' then
    select c.id into v_company
    from public.companies c
    where c.id = (v_claims ->> 'company_id')::uuid and c.subscription_status <> 'cancelled';
  end if;
  return v_company;
end $$;
comment on function private.company_id() is
  'Returns the company of the verified principal, or null; with null no policy shows or accepts a row. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users and companies that the caller may not read.';
grant execute on function private.company_id() to authenticated, visitor, neurant_worker;

create function private.company_id(p_permission text) returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_company uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return private.company_id();
  end if;
  if v_claims ->> 'key_id' is null then
    select u.company_id into v_company
    from public.users u
    join public.companies c on c.id = u.company_id
    join public.permissions p on p.name = p_permission
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid
      and u.is_active
      and (select private.permits(p, u.role, u.permissions, c.subscription_status));
  else
    select k.company_id into v_company
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    join public.companies c on c.id = k.company_id
    join public.permissions p on p.name = p_permission
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active
      and (p.for_keys = 'always' or p.for_keys = 'by_scope' and p_permission = any (k.scopes))
      and (select private.permits(
        p, greatest(k.role, maker.role), maker.permissions, c.subscription_status));
  end if;
  return v_company;
end $$;
comment on function private.company_id(text) is
  'Returns the company that the principal acts for, if the principal has this permission there; else null. It checks the role, the permissions denied to the person, the scopes of an API key, and the status of the company (a closed or unpaid company allows reading only). For visitors and the worker it equals company_id(). Security definer, called by staff and API keys, visitors and the worker for one company, because it reads tables that the caller may not read.';
grant execute on function private.company_id(text) to authenticated, visitor, neurant_worker;

create function private.user_id() returns uuid
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_user uuid;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.id into v_user
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select maker.id into v_user
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_user;
end $$;
comment on function private.user_id() is
  'Returns the verified staff member, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users that the caller may not read.';
grant execute on function private.user_id() to authenticated, visitor, neurant_worker;

create function private.user_role() returns public.user_role_enum
language plpgsql stable security definer set search_path = '' as $$
declare
  v_claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
  v_role public.user_role_enum;
begin
  if current_setting('role') <> 'authenticated' then
    return null;
  end if;
  if v_claims ->> 'key_id' is null then
    select u.role into v_role
    from public.users u
    where u.company_id = (v_claims ->> 'company_id')::uuid
      and u.auth_user_id = (v_claims ->> 'sub')::uuid and u.is_active;
  else
    select greatest(k.role, maker.role) into v_role  -- the enum runs from the strongest to the weakest
    from public.api_keys k
    join public.users maker on maker.company_id = k.company_id and maker.id = k.created_by
    where k.company_id = (v_claims ->> 'company_id')::uuid
      and k.id = (v_claims ->> 'key_id')::uuid
      and k.revoked_at is null and (k.expires_at is null or k.expires_at > now())
      and maker.is_active;
  end if;
  return v_role;
end $$;
comment on function private.user_role() is
  'Returns the role of the verified staff member or API key, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because it reads users and keys that the caller may not read.';
grant execute on function private.user_role() to authenticated, visitor, neurant_worker;

create function private.sees_all_chatbots() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador', 'supervisor'), false)
$$;
grant execute on function private.sees_all_chatbots() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.manages_company() returns boolean
language sql stable set search_path = '' as $$
  select coalesce(private.user_role() in ('owner', 'administrador'), false)
$$;
grant execute on function private.manages_company() to authenticated, visitor, neurant_worker,
  neurant_router;

create function private.my_chatbot_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(o.chatbot_id)
    from public.chatbot_operators o
    where o.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and o.operator_id = v_user and o.is_active), '{}');
end $$;
comment on function private.my_chatbot_ids() is
  'Returns the bots that the operador is assigned to. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of other tables call it, and must not depend on policies themselves.';
grant execute on function private.my_chatbot_ids() to authenticated, visitor, neurant_worker;

create function private.my_conversation_ids() returns uuid[]
language plpgsql stable security definer set search_path = '' as $$
declare
  v_user uuid := private.user_id();
begin
  return coalesce((
    select array_agg(x.id)
    from public.conversations x
    where x.company_id = (select (private.claims() ->> 'company_id')::uuid)
      and x.assigned_operator_id = v_user), '{}');
end $$;
comment on function private.my_conversation_ids() is
  'Returns the conversations that are assigned to the caller now. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of messages call it, and must not depend on policies themselves.';
grant execute on function private.my_conversation_ids() to authenticated, visitor, neurant_worker;

create function private.my_contact_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(k.id), '{}')
  from public.conversations c
  join public.contacts k on k.company_id = c.company_id
    and k.channel_account_id = c.channel_account_id and k.end_user_id = c.end_user_id
  where c.company_id = (select private.company_id('conversations.read'))
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_contact_ids() is
  'Returns the contacts of the conversations that are assigned to the caller now. Security definer, called by staff and API keys, because the policy of contacts calls it, and must not depend on policies itself.';
grant execute on function private.my_contact_ids() to authenticated;

create function private.my_archived_conversation_ids() returns uuid[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(c.id), '{}')
  from public.conversations_archived c
  where c.company_id = (select private.company_id('conversations.read'))
    and c.assigned_operator_id = (select private.user_id())
$$;
comment on function private.my_archived_conversation_ids() is
  'Returns the archived conversations that were assigned to the caller. Security definer, called by staff and API keys, because the policies of archived messages call it, and must not depend on policies themselves.';
grant execute on function private.my_archived_conversation_ids() to authenticated;

create function private.visitor_session_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select v.id
  from public.visitor_sessions v
  where current_setting('role') = 'visitor'
    and v.company_id = (select private.company_id())
    and v.token_digest = (select decode(private.claims() ->> 'visitor', 'hex'))
$$;
comment on function private.visitor_session_id() is
  'Returns the session of the verified visitor, or null. Security definer, called by staff and API keys, visitors and the worker for one company, because visitors may not read sessions.';
grant execute on function private.visitor_session_id() to authenticated, visitor, neurant_worker;

create function private.visitor_conversation_id() returns uuid
language sql stable security definer set search_path = '' as $$
  select c.id
  from public.visitor_sessions v
  join public.conversations c
    on c.company_id = v.company_id and c.channel_account_id = v.channel_account_id
    and c.end_user_id = v.id::text
  where v.company_id = (select private.company_id()) and v.id = (select private.visitor_session_id())
  order by c.started_at desc, c.id desc
  limit 1
$$;
comment on function private.visitor_conversation_id() is
  'Returns the one conversation that a visitor may see, the newest of the session. Security definer, called by staff and API keys, visitors and the worker for one company, because the policies of conversations call it, and must not depend on policies themselves.';
grant execute on function private.visitor_conversation_id() to authenticated, visitor,
  neurant_worker;

create function private.visitor_company(p_routing_id text) returns uuid
language sql stable security definer set search_path = '' as $$
  select v.company_id
  from public.visitor_sessions v
  join public.channel_accounts a on a.company_id = v.company_id and a.id = v.channel_account_id
  where v.company_id = (select private.company_id())
    and v.id = (select private.visitor_session_id())
    and a.routing_id = p_routing_id and a.status = 'connected'
$$;
comment on function private.visitor_company(text) is
  'Returns the company of the verified visitor, or null if the session does not belong to this chat. Security definer, called by visitors, because a visitor may read neither table.';
grant execute on function private.visitor_company(text) to visitor;

create function private.caller(
  p_company uuid, p_user uuid, p_key uuid, p_session uuid, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_caller private.caller_row;
begin
  select p_session, k.id, u.auth_user_id, u.company_id, u.id, greatest(u.role, k.role),
    u.first_name::text, u.last_name::text, u.email::text, c.name::text, c.subscription_status,
    plan.requests_per_minute,
    p_permission is null or coalesce((
      select private.permits(p, greatest(u.role, k.role), u.permissions, c.subscription_status)
        and (k.id is null or p.for_keys = 'always'
          or p.for_keys = 'by_scope' and p_permission = any (k.scopes))
      from public.permissions p
      where p.name = p_permission), false)
  into v_caller
  from public.users u
  join public.companies c on c.id = u.company_id
  join public.plans plan on plan.plan = c.subscription_plan
  left join public.api_keys k on k.company_id = u.company_id and k.id = p_key
  where u.company_id = p_company and u.id = p_user and u.is_active;
  if not found then
    return null;
  end if;
  perform set_config('request.jwt.claims', (case when p_key is null
      then jsonb_build_object('sub', v_caller.auth_user_id, 'company_id', p_company)
      else jsonb_build_object('key_id', p_key, 'company_id', p_company) end)::text, true),
    set_config('request.audit', (p_trail || jsonb_strip_nulls(
      jsonb_build_object('session_id', p_session)))::text, true);
  return v_caller;
end $$;
comment on function private.caller(uuid, uuid, uuid, uuid, text, jsonb) is
  'Finds the user, with the key or session, and whether the permission is held; sets the claims and the audit trail of the transaction. Returns null if the user is not active. Security definer, called by other definers only, because it reads users, companies and keys before there is a principal.';

create function private.enter_session(p_token_digest bytea, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_session public.login_sessions;
begin
  select s.* into v_session from public.login_sessions s
  where s.token_digest = p_token_digest and s.expires_at > now();
  -- Often enough to show who is there, seldom enough not to write on every request; and nobody
  -- waits for another request of the same session, or writes to a replica.
  if v_session.last_seen_at < now() - interval '1 minute'
    and current_setting('transaction_read_only') = 'off' then
    update public.login_sessions s set last_seen_at = now()
    where (s.company_id, s.id) in (
      select l.company_id, l.id from public.login_sessions l
      where l.token_digest = p_token_digest for update skip locked);
  end if;
  return private.caller(v_session.company_id, v_session.user_id, null, v_session.id, p_permission,
    p_trail);
end $$;
comment on function private.enter_session(bytea, text, jsonb) is
  'Makes the person of a session the principal of the transaction. Returns null if the session is invalid. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_session(bytea, text, jsonb) to neurant_app;

create function private.enter_key(p_key_digest bytea, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_key public.api_keys;
begin
  select k.* into v_key from public.api_keys k
  where k.key_digest = p_key_digest and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now());
  if (v_key.last_used_at is null or v_key.last_used_at < now() - interval '1 minute')
    and current_setting('transaction_read_only') = 'off' then
    update public.api_keys k set last_used_at = now()
    where (k.company_id, k.id) in (
      select l.company_id, l.id from public.api_keys l
      where l.key_digest = p_key_digest for update skip locked);
  end if;
  return private.caller(v_key.company_id, v_key.created_by, v_key.id, null, p_permission, p_trail);
end $$;
comment on function private.enter_key(bytea, text, jsonb) is
  'Makes an API key the principal of the transaction. Returns null if the key is invalid. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_key(bytea, text, jsonb) to neurant_app;

create function private.enter_subject(
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
comment on function private.enter_subject(uuid, uuid, text, jsonb) is
  'Makes the person of a verified token the principal of the transaction, in the named company or in the person''s only one; else returns null. Security definer, called by the web process, because the transaction has no principal yet.';
grant execute on function private.enter_subject(uuid, uuid, text, jsonb) to neurant_app;

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
  'Moves a session into this company (null: the company that the person worked in last) and out of the previous one. Outcome: entered; not_found (no active member, the session is limited to another company, or the company requires its identity provider); or ended. A closed company may be entered, for reading. Security definer, called by the web process, because the person is not yet a principal of the new company.';
grant execute on function private.enter_company(bytea, uuid) to neurant_app;

create function private.note_denied(
  p_permission text, p_operation text, p_resource uuid default null) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
begin
  if v_company is not null then
    perform private.write_audit(v_company, 'denied', 'permissions', p_resource,
      jsonb_strip_nulls(jsonb_build_object(
        'permission', p_permission, 'operation', left(p_operation, 200))));
  end if;
end $$;
comment on function private.note_denied(text, text, uuid) is
  'Writes a denied action and its object into the audit log. Security definer, called by staff and API keys, because no role may insert audit rows directly.';
grant execute on function private.note_denied(text, text, uuid) to authenticated;

create function private.stands_above(p_role public.user_role_enum) returns boolean
language sql stable set search_path = '' as $$
  select coalesce((select private.manages_company())
    and (select private.level((select private.user_role()))) > private.level(p_role), false)
$$;
grant execute on function private.stands_above(public.user_role_enum) to neurant_router;
