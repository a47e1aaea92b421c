-- migrate:up
-- What a key does is told of its maker; a key that was revoked stays revoked.
set local role neurant_router;

create or replace function private.write_audit(
  p_company uuid, p_action public.audit_action_enum, p_resource_type text, p_resource_id uuid,
  p_details jsonb, p_actor uuid default null, p_role public.user_role_enum default null,
  p_trail jsonb default '{}')
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := private.claims();
  v_trail jsonb := p_trail || coalesce(nullif(current_setting('request.audit', true), ''), '{}')::jsonb;
  v_user public.users;
  v_key public.api_keys;
  v_address inet;
  v_details jsonb := p_details;
begin
  -- Looked up by the claims and not by user_id(): the change may be the one that shuts the actor out.
  if p_actor is not null then
    select u.* into v_user from public.users u where u.company_id = p_company and u.id = p_actor;
  elsif v_role = 'authenticated' and (v_claims ->> 'company_id')::uuid is not distinct from p_company then
    if v_claims ->> 'key_id' is null then
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.auth_user_id = (v_claims ->> 'sub')::uuid;
    else
      select k.* into v_key from public.api_keys k
      where k.company_id = p_company and k.id = (v_claims ->> 'key_id')::uuid;
      select u.* into v_user from public.users u
      where u.company_id = p_company and u.id = v_key.created_by;
      v_user.role := greatest(v_key.role, v_user.role);
      v_details := v_details || jsonb_strip_nulls(jsonb_build_object('key_id', v_key.id));
    end if;
  end if;
  v_details := v_details || jsonb_build_object('by', case
    when v_key.id is not null then 'api_key'
    when v_user.id is not null then 'staff'
    when v_role = 'neurant_worker' then 'worker'
    when v_role = 'visitor' then 'visitor'
    when session_user = 'neurant_jobs' then 'system'
    when session_user = 'neurant_app' then 'web'
    else 'database' end);
  if pg_input_is_valid(v_trail ->> 'ip', 'inet') then
    v_address := (v_trail ->> 'ip')::inet;
    if v_user.id is not null then
      v_details := v_details || jsonb_build_object(
        'address', private.personal_digest(p_company, v_user.id, host(v_address)));
    end if;
  end if;
  insert into public.audit_logs
    (company_id, user_id, user_email, user_role, action, resource_type, resource_id, details,
      ip_address, user_agent, session_id, request_id)
  values (p_company, v_user.id, private.personal_digest(p_company, v_user.id, v_user.email),
    coalesce(p_role, v_user.role), p_action, p_resource_type, p_resource_id, v_details,
    network(set_masklen(v_address, case family(v_address) when 4 then 24 else 48 end)),
    private.personal_digest(p_company, v_user.id, v_trail ->> 'user_agent'), left(v_trail ->> 'session_id', 255),
    left(v_trail ->> 'request_id', 255));
end $$;

reset role;
set local role neurant_owner;

comment on column public.audit_logs.user_id is
  'Who did it. Of an API key: its maker, with key_id in details.';
comment on column public.audit_logs.user_role is
  'As which role, then: of an API key the weaker of its own and its maker''s.';

create function private.revoke_api_key(p_key uuid) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id('api_keys.manage');
begin
  if v_company is null then
    return 'forbidden';
  end if;
  update public.api_keys k set revoked_at = now()
  where k.company_id = v_company and k.id = p_key and k.revoked_at is null;
  if found then
    return 'revoked';
  end if;
  return case when exists (
    select from public.api_keys k where k.company_id = v_company and k.id = p_key
  ) then 'revoked_before' else 'not_found' end;
end $$;
comment on function private.revoke_api_key(uuid) is
  'Ends a key for good: revoked, revoked_before, not_found or forbidden. Definer: nobody sets the moment by hand, so that nobody can take it back.';
grant execute on function private.revoke_api_key(uuid) to authenticated;
alter function private.revoke_api_key(uuid) owner to neurant_router;
revoke update (revoked_at) on public.api_keys from authenticated;

reset role;
-- migrate:down
