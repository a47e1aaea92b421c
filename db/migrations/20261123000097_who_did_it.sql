-- migrate:up
-- Audit names who founds a company and who joins it; a talk that somebody leaves says so; who has a second step.
set local role neurant_router;

create or replace function private.write_audit(
  p_company uuid, p_action public.audit_action_enum, p_resource_type text, p_resource_id uuid,
  p_details jsonb, p_actor uuid default null::uuid, p_role public.user_role_enum default
  null::public.user_role_enum, p_trail jsonb default '{}')
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_role text := current_setting('role');
  v_claims jsonb := private.claims();
  v_trail jsonb := p_trail || coalesce(nullif(current_setting('request.audit', true), ''), '{}')::jsonb;
  -- Who founds a company or joins it is in no claims yet: the definer that does it says so.
  v_login uuid := nullif(current_setting('request.actor', true), '')::uuid;
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
  elsif v_role = 'none' and v_login is not null then
    select u.* into v_user from public.users u
    where u.company_id = p_company and u.auth_user_id = v_login;
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

create or replace function private.follow_hitl_session()
returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  update public.conversations c
  set fence = c.fence + 1,
    is_hitl_active = new.ended_at is null,
    assigned_operator_id = case when new.ended_at is null then new.operator_id end,
    hitl_activated_at = case when new.ended_at is null then new.opened_at end,
    hitl_reason = case when new.ended_at is null then new.reason end
  where c.company_id = new.company_id and c.id = new.conversation_id;
  insert into public.messages
    (company_id, conversation_id, chatbot_id, channel_account_id, sender_type, sender_id, content)
  select new.company_id, new.conversation_id, new.chatbot_id, c.channel_account_id, 'system',
    coalesce(new.ended_by, new.operator_id, old.operator_id),
    case new.status
      when 'pending' then case when old.operator_id is null
        then private.queued_line(new.company_id, new.chatbot_id) else 'hitl_released' end
      when 'active' then 'hitl_taken'
      else 'hitl_resolved' end
  from public.conversations c
  where c.company_id = new.company_id and c.id = new.conversation_id;
  return null;
end $$;

create or replace function private.sign_up(
  p_auth_user uuid, p_company_name text, p_slug text, p_email text, p_first_name text,
  p_last_name text, p_plan public.subscription_plan_enum default
  'free', p_trial_days integer default 0, p_timezone text default
  'America/Bogota'::text)
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_login text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_company uuid;
  v_user uuid;
begin
  if v_login is null then
    return query select 'unknown_login', null::uuid, null::uuid;
    return;
  end if;
  if p_trial_days not between 0 and 30 then
    raise exception 'a trial lasts 0 to 30 days' using errcode = 'check_violation';
  end if;
  -- In one statement, so that audit finds who did both.
  with made as (
    insert into public.companies (name, slug, email, timezone, monthly_reset_date,
      subscription_plan, subscription_status, subscription_started_at, subscription_ends_at,
      monthly_message_limit, max_chatbots, max_users, max_integrations, max_document_characters,
      max_storage_mb, max_hitl_concurrent, created_by)
    select p_company_name, p_slug, lower(coalesce(p_email, v_login)), p_timezone,
      (now() at time zone p_timezone)::date, p.plan,
      (case when p_trial_days > 0 then 'trialing' else 'active' end)::public.subscription_status_enum,
      now(), case when p_trial_days > 0 then now() + p_trial_days * interval '1 day' end,
      p.monthly_message_limit, p.max_chatbots, p.max_users, p.max_integrations,
      p.max_document_characters, p.max_storage_mb, p.max_hitl_concurrent, p_auth_user
    from public.plans p
    where p.plan = p_plan
    on conflict (slug) do nothing
    returning id
  )
  insert into public.users
    (company_id, auth_user_id, email, first_name, last_name, role, is_owner)
  select m.id, p_auth_user, v_login, p_first_name, p_last_name, 'owner', true from made m
  returning users.company_id, users.id into v_company, v_user;
  if v_company is null then
    return query select 'slug_taken', null::uuid, null::uuid;
    return;
  end if;
  return query select 'created', v_company, v_user;
end $$;

create or replace function private.found_company(
  p_auth_user uuid, p_first_name text, p_last_name text, p_name text, p_slug text, p_industry
  text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet, p_now
  timestamptz default now())
returns table (outcome text, company_id uuid, slug text)
language plpgsql security definer set search_path = '' as $$
declare
  v_slug text;
  v_done record;
begin
  if not exists (select from auth.users a where a.id = p_auth_user and a.email_confirmed_at is not null) then
    return query select 'unverified', null::uuid, null::text;
    return;
  end if;
  if not private.try_once_more('found_company', p_address, 5, interval '1 hour', p_now) then
    return query select 'too_many', null::uuid, null::text;
    return;
  end if;
  perform set_config('request.actor', p_auth_user::text, true);
  -- A name that is made for them is made anew if somebody else was a moment faster.
  for i in 1 .. 10 loop
    v_slug := coalesce(p_slug, private.suggest_slug(p_name));
    select s.* into v_done from private.sign_up(p_auth_user, p_name, v_slug, null, p_first_name,
      p_last_name, p_timezone => p_timezone) s;
    exit when v_done.outcome <> 'slug_taken' or p_slug is not null;
  end loop;
  if v_done.outcome <> 'created' then
    return query select v_done.outcome, null::uuid, null::text;
    return;
  end if;
  update public.companies c
  set industry = p_industry, size = p_size, website = p_website, phone = p_phone
  where c.id = v_done.company_id;
  insert into public.onboarding (company_id) values (v_done.company_id);
  return query select 'created', v_done.company_id, v_slug;
end $$;

create or replace function private.accept_invitation(
  p_token_digest bytea, p_auth_user uuid, p_first_name text default null::text, p_last_name text
  default null::text, p_now timestamptz default now())
returns table (outcome text, company_id uuid, user_id uuid)
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid;
  v_invitation public.user_invitations;
  v_email text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_user uuid := uuidv7();
begin
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

create or replace function private.admit_by_sso(
  p_connection public.sso_connections, p_email text, p_first_name text, p_last_name text, p_now
  timestamptz)
returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := p_connection.company_id;
  v_invitation bytea;
  v_login uuid;
  v_user uuid;
begin
  select i.token_digest into v_invitation from public.user_invitations i
  where i.company_id = v_company and i.email = p_email and i.status = 'pending'
    and i.expires_at > p_now;
  if v_invitation is null and p_connection.default_role is null then
    return null;
  end if;
  -- Not confirmed by this: a provider vouches for an address to its own company only.
  v_login := private.create_login(p_email, null);
  if v_login is null then
    v_login := (select a.id from auth.users a where lower(a.email) = p_email);
  end if;
  if v_invitation is not null then
    select a.user_id into v_user from private.accept_invitation(
      v_invitation, v_login, p_first_name, p_last_name, p_now) a;
    return v_user;
  end if;
  perform set_config('request.actor', v_login::text, true);
  insert into public.users (company_id, auth_user_id, email, first_name, last_name, role)
  values (v_company, v_login, p_email, coalesce(p_first_name, split_part(p_email, '@', 1)),
    coalesce(p_last_name, ''), p_connection.default_role)
  returning id into v_user;
  return v_user;
end $$;

create or replace function private.two_step_users()
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
  'The people of the company who have turned a second step on; null for whoever does not manage people. Definer: factors are of the login, not of a company.';

reset role;
set local role neurant_owner;

create function private.lost_companies(p_token_digest bytea) returns setof text
language sql stable security definer set search_path = '' as $$
  select c.name::text
  from public.auth_sessions a
  join public.users u on u.auth_user_id = a.auth_user_id and not u.is_active
    and (a.only_company_id is null or u.company_id = a.only_company_id)
  join public.companies c on c.id = u.company_id
  where a.token_digest = p_token_digest and a.expires_at > now()
  order by c.name
$$;
comment on function private.lost_companies(bytea) is
  'The companies that let the person of this session out, by name and no more. Definer, as my_companies.';
grant execute on function private.lost_companies(bytea) to neurant_app;
alter function private.lost_companies(bytea) owner to neurant_router;

reset role;
-- migrate:down
