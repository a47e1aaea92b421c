-- migrate:up
-- A request's caller is found, and becomes the principal of its transaction, in one statement.
set local role neurant_owner;

alter type public.audit_action_enum add value 'denied';

alter table public.plans
  add column requests_per_minute integer not null default 120 check (requests_per_minute > 0);
comment on column public.plans.requests_per_minute is 'Of the HTTP API, for all callers of a company together.';

create type private.caller_row as (
  session_id uuid, key_id uuid, auth_user_id uuid, company_id uuid, user_id uuid,
  role public.user_role_enum, first_name text, last_name text, email text, company_name text,
  subscription_status public.subscription_status_enum, requests_per_minute integer, may boolean);
comment on type private.caller_row is 'Who makes a request, and whether they may do what it asks for.';

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
  'Who calls, and whether they may do what they are about to; the claims and the trail of the transaction are set. Definer: called by definers.';

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
  'The person of a session becomes the transaction''s principal; null where it does not stand. Definer: the caller is nobody until this answers.';

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
  'An API key becomes the transaction''s principal; null where it does not stand. Definer, as enter_session.';

create function private.enter_subject(
  p_auth_user uuid, p_company uuid, p_permission text, p_trail jsonb)
returns private.caller_row
language plpgsql security definer set search_path = '' as $$
declare
  v_memberships public.users[];
begin
  select array_agg(u) into v_memberships from public.users u
  where u.auth_user_id = p_auth_user and u.is_active
    and (p_company is null or u.company_id = p_company);
  -- Of several companies none is guessed.
  if cardinality(v_memberships) is distinct from 1 then
    return null;
  end if;
  return private.caller(v_memberships[1].company_id, v_memberships[1].id, null, null, p_permission,
    p_trail);
end $$;
comment on function private.enter_subject(uuid, uuid, text, jsonb) is
  'The person of a verified token becomes the transaction''s principal, in the company named, or in the only one; null else. Definer, as enter_session.';

create function private.note_denied(p_permission text, p_operation text) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('company.read');
begin
  if v_company is not null then
    perform private.write_audit(v_company, 'denied', 'permissions', null,
      jsonb_build_object('permission', p_permission, 'operation', left(p_operation, 200)));
  end if;
end $$;
comment on function private.note_denied(text, text) is
  'What somebody was not allowed to do, for audit. Definer: nobody writes audit by hand.';

grant execute on function private.caller(uuid, uuid, uuid, uuid, text, jsonb) to neurant_router;
grant execute on function private.enter_session(bytea, text, jsonb),
  private.enter_key(bytea, text, jsonb), private.enter_subject(uuid, uuid, text, jsonb)
  to neurant_app;
grant execute on function private.note_denied(text, text) to authenticated;
alter function private.caller(uuid, uuid, uuid, uuid, text, jsonb) owner to neurant_router;
alter function private.enter_session(bytea, text, jsonb) owner to neurant_router;
alter function private.enter_key(bytea, text, jsonb) owner to neurant_router;
alter function private.enter_subject(uuid, uuid, text, jsonb) owner to neurant_router;
alter function private.note_denied(text, text) owner to neurant_router;

reset role;
update public.plans p set requests_per_minute = n.requests
from (values ('starter', 300), ('professional', 600), ('business', 1200), ('enterprise', 3000))
  as n (plan, requests)
where p.plan = n.plan::public.subscription_plan_enum;
-- The meaning of permissions is new: what was written there before meant nothing.
update public.users set permissions = '{}' where permissions <> '{}';
alter table public.users validate constraint users_permissions_narrow_check;
alter table public.users validate constraint users_owner_unnarrowed_check;
-- migrate:down
