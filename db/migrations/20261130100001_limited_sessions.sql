-- migrate:up
-- A session that is limited to one company changes nothing of the person's login and nothing outside
-- that company. One function gives a session's login to whatever acts on a login, and refuses there.
set local role neurant_owner;

grant update (email_confirmed_at) on auth.users to neurant_router;

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
  'The login that a session may act for; null where the session has ended, NA006 where a company''s single sign-on opened it: that company''s provider does not speak for the login. Every function that changes a login, or something outside the company, asks here. Definer: the caller is nobody yet.';

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
  'The rule of own_login for functions that a process of the version before calls with a login and not with a session: by the session that the process tells for audit. Definer, as own_login.';

create function private.waiting_factor(p_token_digest bytea) returns bytea
language sql stable security definer set search_path = '' as $$
  select f.secret_encrypted from public.auth_factors f
  where f.auth_user_id = (select private.own_login(p_token_digest)) and f.confirmed_at is null
$$;
comment on function private.waiting_factor(bytea) is
  'The sealed secret that waits for its first code; null where none waits, NA006 as own_login. Definer, as find_factor.';

create function private.found_company_by_session(
  p_token_digest bytea, p_first_name text, p_last_name text, p_name text, p_slug text,
  p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet,
  p_now timestamptz default now())
returns table (outcome text, company_id uuid, slug text)
language sql volatile security definer set search_path = '' as $$
  select f.outcome, f.company_id, f.slug
  from private.own_login(p_token_digest) l (login)
  cross join lateral private.found_company(l.login, p_first_name, p_last_name, p_name, p_slug,
    p_industry, p_size, p_website, p_phone, p_timezone, p_address, p_now) f
$$;
comment on function private.found_company_by_session(bytea, text, text, text, text, text, text, text, text, text, inet, timestamptz) is
  'found_company for the person of a session; NA006 as own_login. Definer, as found_company.';

create function private.accept_invitation_by_session(
  p_token_digest bytea, p_session_digest bytea, p_first_name text default null,
  p_last_name text default null, p_now timestamptz default now())
returns table (outcome text, company_id uuid, user_id uuid)
language sql volatile security definer set search_path = '' as $$
  select i.outcome, i.company_id, i.user_id
  from private.own_login(p_session_digest) l (login)
  cross join lateral private.accept_invitation(p_token_digest, l.login, p_first_name, p_last_name,
    p_now) i
$$;
comment on function private.accept_invitation_by_session(bytea, bytea, text, text, timestamptz) is
  'accept_invitation for the person of a session; NA006 as own_login. Definer, as accept_invitation.';

create function private.leave_nothing_of_others(p_auth_user uuid) returns void
language sql volatile security definer set search_path = '' as $$
  delete from public.auth_sessions s where s.auth_user_id = p_auth_user;
  delete from public.auth_factors f where f.auth_user_id = p_auth_user;
  delete from public.login_challenges c where c.auth_user_id = p_auth_user;
  update public.password_resets r set used_at = now()
  where r.auth_user_id = p_auth_user and r.used_at is null
$$;
comment on function private.leave_nothing_of_others(uuid) is
  'A login that a provider made gets its owner: whatever was opened or left there before ends. Definer: called by definers only.';

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
  'note_login_event for what a session limited to one company did: other companies hear nothing of it. Definer, as note_login_event.';

drop function private.find_auth_session(bytea);

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
  'The person behind a session, also one who has no company (yet, or any more: then company_id is null); is_limited: a company''s single sign-on opened it, and own_login refuses it. Definer, as login_session.';

grant execute on function private.refuse_told_session(), private.leave_nothing_of_others(uuid),
  private.note_login_event(uuid, public.audit_action_enum, jsonb, uuid) to neurant_router;
grant execute on function private.own_login(bytea), private.waiting_factor(bytea),
  private.find_auth_session(bytea),
  private.found_company_by_session(bytea, text, text, text, text, text, text, text, text, text, inet, timestamptz),
  private.accept_invitation_by_session(bytea, bytea, text, text, timestamptz) to neurant_app;
alter function private.own_login(bytea) owner to neurant_router;
alter function private.refuse_told_session() owner to neurant_router;
alter function private.waiting_factor(bytea) owner to neurant_router;
alter function private.leave_nothing_of_others(uuid) owner to neurant_router;
alter function private.note_login_event(uuid, public.audit_action_enum, jsonb, uuid) owner to neurant_router;
alter function private.find_auth_session(bytea) owner to neurant_router;
alter function private.found_company_by_session(bytea, text, text, text, text, text, text, text, text, text, inet, timestamptz) owner to neurant_router;
alter function private.accept_invitation_by_session(bytea, bytea, text, text, timestamptz) owner to neurant_router;

reset role;

set local role neurant_owner;
create or replace function private.erase_company(p_company uuid, p_force boolean DEFAULT false, p_limit integer DEFAULT 5000, p_now timestamp with time zone DEFAULT now()) RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO ''
    AS $_$
declare
  v_company public.companies;
  v_left bigint := p_limit;
  v_gone bigint;
  v_table record;
begin
  if not exists (select from pg_catalog.pg_roles r
    where r.rolname = current_user and (r.rolsuper or r.rolbypassrls)) then
    raise exception 'only the migrating login erases a company'
      using errcode = 'insufficient_privilege';
  end if;
  select c.* into v_company from public.companies c where c.id = p_company for update;
  if v_company.id is null then
    -- Triggers may have left something in a queue that the company's own row did not hold back.
    null;
  elsif not (p_force or v_company.subscription_status = 'cancelled'
    and coalesce(v_company.subscription_ends_at <= p_now - interval '30 days', false)) then
    raise exception 'the company has not been closed for 30 days' using errcode = 'NA004';
  else
    update public.companies c set subscription_status = 'cancelled'
    where c.id = p_company and c.subscription_status <> 'cancelled';
    if to_regprocedure('private.shred_audit_company(uuid)') is not null then
      execute 'select private.shred_audit_company($1)' using p_company;
    end if;
    delete from auth.users a using public.users u
    where u.company_id = p_company and a.id = u.auth_user_id
      and not exists (select from public.users other
        where other.auth_user_id = a.id and other.company_id <> p_company)
      -- Neither founded nor invited: the company's provider brought them. Where they proved the
      -- mailbox themselves, the login is not the company's.
      and not (a.email_confirmed_at is not null and not u.is_owner
        and u.accepted_invitation_at is null);
  end if;
  delete from jobs.procrastinate_jobs j
  where j.args ->> 'company_id' = p_company::text and j.status <> 'doing';
  for v_table in
    select t.* from private.erasure_order() t order by t.place
  loop
    execute format(
      'delete from %1$s where ctid = any (array(select ctid from %1$s where %2$I = $1 limit $2))',
      v_table.tenant_table, v_table.key)
    using p_company, case
      -- Rows that refer to one another go at once.
      when exists (select from pg_catalog.pg_constraint k where k.contype = 'f'
        and k.conrelid = v_table.tenant_table and k.confrelid = k.conrelid) then null
      -- The company itself only when nothing else was left.
      when v_table.tenant_table = 'public.companies'::regclass and v_left < p_limit then 0
      else v_left end;
    get diagnostics v_gone = row_count;
    v_left := v_left - v_gone;
    exit when v_left <= 0;
  end loop;
  return p_limit - v_left;
end $_$;
reset role;

set local role neurant_router;
create or replace function private.begin_factor(p_token_digest bytea, p_secret_encrypted bytea) RETURNS boolean
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

create or replace function private.confirm_factor(p_token_digest bytea, p_new_digest bytea, p_step bigint, p_code_digests bytea[]) RETURNS boolean
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

create or replace function private.disable_factor(p_token_digest bytea, p_new_digest bytea) RETURNS boolean
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

create or replace function private.change_password(p_token_digest bytea, p_new_digest bytea, p_encrypted_password text) RETURNS boolean
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

create or replace function private.renew_recovery_codes(p_token_digest bytea, p_code_digests bytea[]) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_login uuid;
begin
  select f.auth_user_id into v_login
  from public.auth_factors f
  where f.auth_user_id = (select private.own_login(p_token_digest)) and f.confirmed_at is not null
  for update of f;
  if v_login is null then
    return false;
  end if;
  perform private.set_recovery_codes(v_login, p_code_digests);
  perform private.note_login_event(v_login, 'update', '{"event": "recovery_codes_renewed"}');
  return true;
end $$;

create or replace function private.end_sessions(p_token_digest bytea, p_session uuid) RETURNS integer
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

create or replace function private.found_company(p_auth_user uuid, p_first_name text, p_last_name text, p_name text, p_slug text, p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, slug text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_slug text;
  v_done record;
begin
  perform private.refuse_told_session();
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

create or replace function private.accept_invitation(p_token_digest bytea, p_auth_user uuid, p_first_name text DEFAULT NULL::text, p_last_name text DEFAULT NULL::text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_id uuid, user_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid;
  v_invitation public.user_invitations;
  v_email text := (select lower(a.email) from auth.users a where a.id = p_auth_user);
  v_user uuid := uuidv7();
begin
  perform private.refuse_told_session();
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

create or replace function private.find_factor(p_auth_user uuid) RETURNS TABLE(secret_encrypted bytea, is_confirmed boolean, created_at timestamp with time zone, codes_left integer)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO ''
    AS $$
  select f.secret_encrypted, f.confirmed_at is not null, f.created_at,
    (select count(*)::integer from public.recovery_codes r
      where r.auth_user_id = f.auth_user_id and r.used_at is null)
  from public.auth_factors f
  where f.auth_user_id = p_auth_user and f.confirmed_at is not null
$$;

create or replace function private.create_login(p_email text, p_encrypted_password text, p_is_confirmed boolean DEFAULT false) RETURNS uuid
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

create or replace function private.verify_sign_up(p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_is_proven boolean, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_known public.sign_ups;
  v_login uuid;
begin
  select s.* into v_known from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
  for update;
  if v_known.id is null then
    return query select 'unknown', null::uuid;
    return;
  elsif v_known.verified_at is not null then
    return query select 'verified_before', null::uuid;
    return;
  elsif p_link_digest is not null then
    if v_known.link_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif not (p_is_proven or coalesce(v_known.pending_digest = p_pending_digest, false)) then
      return query select 'password_needed', null::uuid;
      return;
    end if;
  else
    if v_known.code_attempts >= 5 then
      return query select 'too_many', null::uuid;
      return;
    elsif v_known.code_expires_at <= p_now then
      return query select 'expired', null::uuid;
      return;
    elsif v_known.code_digest is distinct from p_code_digest or p_code_digest is null then
      update public.sign_ups s set code_attempts = s.code_attempts + 1 where s.id = v_known.id;
      return query select case when v_known.code_attempts >= 4 then 'too_many' else 'wrong_code' end,
        null::uuid;
      return;
    end if;
  end if;
  v_login := private.create_login(v_known.email, v_known.encrypted_password, true);
  if v_login is null then
    return query select 'taken', null::uuid;
    return;
  end if;
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (v_login, v_known.first_name, v_known.last_name, v_known.terms_accepted_at)
  on conflict on constraint auth_accounts_pkey do nothing;
  update public.sign_ups s set auth_user_id = v_login, verified_at = p_now,
    claimed_at = case when s.pending_digest = p_pending_digest then p_now end
  where s.id = v_known.id;
  return query select 'verified', v_login;
end $$;

create or replace function private.begin_sign_up(p_email text, p_first_name text, p_last_name text, p_encrypted_password text, p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_accepts_terms boolean, p_now timestamp with time zone DEFAULT now()) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_is_new boolean := not exists (select from auth.users a where lower(a.email) = p_email
    and (a.email_confirmed_at is not null or coalesce(a.encrypted_password, '') <> ''));
begin
  insert into public.sign_ups (email, first_name, last_name, encrypted_password, pending_digest,
    link_digest, link_expires_at, code_digest, code_expires_at, terms_accepted_at, created_at)
  values (p_email, p_first_name, p_last_name, p_encrypted_password, p_pending_digest,
    case when v_is_new then p_link_digest end, p_now + interval '24 hours',
    case when v_is_new then p_code_digest end, p_now + interval '15 minutes',
    case when p_accepts_terms then p_now end, p_now);
  return case when v_is_new then 'new' else 'has_account' end;
end $$;

create or replace function private.look_at_invitation(p_token_digest bytea, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, company_name text, email text, role public.user_role_enum, first_name text, last_name text, invited_by text, expires_at timestamp with time zone, has_login boolean, language text, timezone text)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid;
  v_known public.user_invitations;
begin
  select c.id into v_company
  from public.user_invitations i
  join public.companies c on c.id = i.company_id and c.subscription_status <> 'cancelled'
  where i.token_digest = p_token_digest;
  select i.* into v_known from public.user_invitations i
  where i.company_id = v_company and i.token_digest = p_token_digest;
  if v_known.status = 'pending' and v_known.expires_at <= p_now then
    perform from public.companies c where c.id = v_company for no key update;
    update public.user_invitations i set status = 'expired'
    where i.company_id = v_company and i.id = v_known.id and i.status = 'pending'
      and i.expires_at <= p_now;
    v_known.status := 'expired';
  end if;
  if v_known.id is null then
    return query select 'unknown', null::text, null::text, null::public.user_role_enum, null::text,
      null::text, null::text, null::timestamptz, null::boolean, null::text, null::text;
    return;
  end if;
  return query
  select v_known.status::text, c.name::text, v_known.email::text, v_known.role,
    v_known.first_name::text, v_known.last_name::text,
    btrim(u.first_name || ' ' || u.last_name), v_known.expires_at,
    -- A login that only a provider made, for its company, becomes the reader's by this link.
    exists (select from auth.users a where lower(a.email) = v_known.email
      and (a.email_confirmed_at is not null or coalesce(a.encrypted_password, '') <> ''
        or not exists (select from public.users m where m.auth_user_id = a.id))),
    v_known.language,
    c.timezone::text
  from public.companies c
  join public.users u on u.company_id = c.id and u.id = v_known.invited_by
  where c.id = v_company;
end $$;

create or replace function private.finish_password_reset(p_token_digest bytea, p_encrypted_password text, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid, email text)
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

create or replace function private.set_password(p_auth_user uuid, p_encrypted_password text, p_keep bytea) RETURNS void
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

create or replace function private.erase_user(p_user uuid) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO ''
    AS $$
declare
  v_company uuid := private.company_id('data.erase');
  v_user public.users;
begin
  if not private.manages_company() then
    return 'not_found';
  end if;
  select u.* into v_user from public.users u
  where u.company_id = v_company and u.id = p_user for update;
  if v_user.id is null then
    return 'not_found';
  elsif private.level(v_user.role) >= (select private.level(private.user_role())) then
    return 'forbidden';
  end if;
  perform from public.conversations c
  where c.company_id = v_company and c.id in (
    select s.conversation_id from public.hitl_sessions s
    where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null)
  order by c.id for update;
  update public.hitl_transfers t set status = 'cancelled', decided_at = now()
  where t.company_id = v_company and p_user in (t.from_user_id, t.to_user_id)
    and t.status = 'pending';
  update public.hitl_sessions s set status = 'pending', operator_id = null
  where s.company_id = v_company and s.operator_id = p_user and s.ended_at is null;
  update public.chatbot_operators o set is_active = false
  where o.company_id = v_company and o.operator_id = p_user and o.is_active;
  update public.api_keys k set revoked_at = coalesce(k.revoked_at, now())
  where k.company_id = v_company and k.created_by = p_user;
  -- First, while the address still tells which invitations were this person's.
  perform private.record_erasure(v_company, 'users', p_user);
  delete from public.chatbot_supervisors s
  where s.company_id = v_company and s.supervisor_id = p_user;
  delete from public.login_sessions s where s.company_id = v_company and s.user_id = p_user;
  delete from public.notifications n where n.company_id = v_company and n.user_id = p_user;
  delete from public.canned_responses r where r.company_id = v_company and r.owner_id = p_user;
  update public.user_invitations i
  set email = 'erased-' || i.id || '@erased.invalid', first_name = null, last_name = null
  where i.company_id = v_company and (i.accepted_by_user_id = p_user or i.email = v_user.email);
  update public.users u
  set email = 'erased-' || u.id || '@erased.invalid', first_name = 'Persona', last_name = 'borrada',
    avatar_url = null, phone = null, permissions = '{}', is_active = false, auth_user_id = null
  where u.company_id = v_company and u.id = p_user;
  -- The login goes with its last membership. It stays where the company's provider brought the
  -- person here and the person proved the mailbox elsewhere: such a login is not the company's.
  delete from auth.users a
  where a.id = v_user.auth_user_id
    and not exists (select from public.users u where u.auth_user_id = a.id)
    and not (a.email_confirmed_at is not null and exists (
      select from public.external_identities i
      where i.company_id = v_company and i.user_id = p_user));
  return 'erased';
end $$;
comment on function private.create_login(text, text, boolean) is
  'Makes a login; null where the address has one already. p_is_confirmed (the mailbox is proven): a login that a provider made, without a password and not confirmed, becomes its owner''s. Definer: auth is closed to everybody.';
comment on function private.find_factor(uuid) is
  'The second step of a login, to check a code against; a secret that still waits for its first code is not told (waiting_factor). Definer: factors are closed to everybody; the secret is sealed.';
comment on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz) is
  'A sign-up that waits for its mail: new (also where only a provider made the login), or has_account (kept all the same, so that both answer alike). Definer: who signs up is nobody yet.';
reset role;

-- Secrets that wait may have been shown to a limited session. A login without a password cannot have
-- begun a second step by itself, as that asks for the password.
delete from public.auth_factors f using auth.users a
where a.id = f.auth_user_id
  and (f.confirmed_at is null or coalesce(a.encrypted_password, '') = '');
-- migrate:down
