-- Sign-up: an account by mail, and the founding of a company.

create table public.sign_ups (
  id uuid primary key default uuidv7(),
  email varchar(255) not null check (email = lower(email) and email like '%_@_%'),
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  encrypted_password text not null,
  pending_digest bytea not null unique check (octet_length(pending_digest) = 32),
  link_digest bytea unique check (octet_length(link_digest) = 32),
  link_expires_at timestamptz not null,
  code_digest bytea check (octet_length(code_digest) = 32),
  code_expires_at timestamptz not null,
  code_attempts smallint not null default 0,
  terms_accepted_at timestamptz,
  created_at timestamptz not null,
  auth_user_id uuid references auth.users (id) on delete cascade,
  verified_at timestamptz,
  claimed_at timestamptz,
  check ((verified_at is null) = (auth_user_id is null)),
  constraint sign_ups_names_read_check check ((first_name = '' or private.reads_as_name(first_name))
    and (last_name = '' or private.reads_as_name(last_name)))
);
comment on table public.sign_ups is
  'A sign-up until its mailbox is proven. The login is created only then, so an unproven sign-up reserves no address. A row without link and code belongs to an address that has an account; it exists so that the answer is the same.';
comment on column public.sign_ups.pending_digest is
  'SHA-256 of the secret in the browser that signed up; together with it the mailed code suffices.';
comment on column public.sign_ups.code_digest is
  'Keyed by the master key, because a reader of the table could try out all six-digit codes.';
create index sign_ups_email_idx on public.sign_ups (email);
create index sign_ups_user_idx on public.sign_ups (auth_user_id) where auth_user_id is not null;
create index sign_ups_created_idx on public.sign_ups (created_at);

alter table public.sign_ups enable row level security, force row level security;
create policy router_select on public.sign_ups for select to neurant_router using (true);
create policy router_insert on public.sign_ups for insert to neurant_router with check (true);
create policy router_update on public.sign_ups for update to neurant_router using (true) with check (true);
create policy router_delete on public.sign_ups for delete to neurant_router using (true);
grant select, insert, delete on public.sign_ups to neurant_router;
grant update (link_digest, link_expires_at, code_digest, code_expires_at, code_attempts,
  auth_user_id, verified_at, claimed_at) on public.sign_ups to neurant_router;

create table public.onboarding (
  company_id uuid primary key references public.companies (id),
  plan_seen_at timestamptz,
  bot_skipped_at timestamptz,
  documents_skipped_at timestamptz,
  tested_at timestamptz,
  hidden_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.onboarding is
  'The steps of the set-up that leave no other row; all other steps are derived from the rows they leave.';

alter table public.onboarding enable row level security, force row level security;
create policy staff_select on public.onboarding for select to authenticated
  using (company_id = (select private.company_id('company.read')));
create policy router_select on public.onboarding for select to neurant_router using (true);
create policy router_insert on public.onboarding for insert to neurant_router with check (true);
create policy router_update on public.onboarding for update to neurant_router using (true) with check (true);
create policy router_delete on public.onboarding for delete to neurant_router using (true);
grant select on public.onboarding to authenticated;
grant select, insert, update, delete on public.onboarding to neurant_router;

create function private.suggest_slug(p_name text) returns text
language plpgsql stable security definer set search_path = '' as $$
declare
  v_base text := private.slug_of(p_name);
  v_number integer := 1;
begin
  while exists (
    select from public.companies c
    where c.slug = case v_number when 1 then v_base else v_base || '-' || v_number end)
  loop
    v_number := v_number + 1;
  end loop;
  return case v_number when 1 then v_base else v_base || '-' || v_number end;
end $$;
comment on function private.suggest_slug(text) is
  'Returns a free short name made from a company''s name, with a number if others have it. Security definer, called by the web process, because a person who signs up may see no company.';
grant execute on function private.suggest_slug(text) to neurant_app;

create function private.slug_of(p_name text) returns text
language sql stable set search_path = '' as $$
  select coalesce(nullif(btrim(left(btrim(
    regexp_replace(lower(extensions.unaccent(p_name)), '[^a-z0-9]+', '-', 'g'), '-'), 45), '-'), ''),
    'empresa')
$$;
comment on function private.slug_of(text) is
  'Returns the short name that a company''s name makes: at most 45 characters, so that a number still fits into 50.';
grant execute on function private.slug_of(text) to neurant_router;

create function private.suggest_slugs(
  p_name text, p_address inet, p_now timestamptz default now())
returns table (slug text, is_free boolean, alternatives text[])
language plpgsql volatile security definer set search_path = '' as $$
declare
  v_base text := private.slug_of(p_name);
begin
  if not private.try_once_more('check_company_name', p_address, 30, interval '1 minute', p_now) then
    raise exception 'too many name checks from one address' using errcode = 'NA005',
      detail = '{"seconds": 60}';
  end if;
  return query
  select v_base, not exists (select from public.companies c where c.slug = v_base),
    array(
      select f.candidate
      from (
        select v_base || '-' || n.number as candidate, n.number as place
        from generate_series(2, 60) as n (number)
        union all select left(v_base, 42) || '-oficial', 2.5
        union all select 'grupo-' || left(v_base, 44), 2.7
      ) as f
      where not exists (select from public.companies c where c.slug = f.candidate)
      order by f.place limit 3);
end $$;
comment on function private.suggest_slugs(text, inet, timestamptz) is
  'Returns the short name that a name makes, whether it is free, and up to three free ones. Above 30 calls a minute and address: NA005 with {"seconds"}. Security definer, called by the web process, because a person who signs up may see no company.';
grant execute on function private.suggest_slugs(text, inet, timestamptz) to neurant_app;

create function private.sign_up(
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
comment on function private.sign_up(uuid, text, text, text, text, text, public.subscription_plan_enum, integer, text) is
  'Creates a company with the limits of a plan, and its owner. A person may own several companies. Outcome: created, slug_taken or unknown_login. Security definer, called by the web process, because a person who signs up has no company, so no policy could admit the person.';
grant execute on function private.sign_up(uuid, text, text, text, text, text,
  public.subscription_plan_enum, integer, text) to neurant_app;

create function private.begin_sign_up(p_email text, p_first_name text, p_last_name text, p_encrypted_password text, p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_accepts_terms boolean, p_now timestamp with time zone DEFAULT now()) RETURNS text
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
comment on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea, boolean, timestamptz) is
  'Begins a sign-up that waits for its mail. Outcome: new (also if an identity provider created the login) or has_account (stored as well, so that both answer alike). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.begin_sign_up(text, text, text, text, bytea, bytea, bytea,
  boolean, timestamptz) to neurant_app;

create function private.renew_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_now timestamptz default now())
returns table (outcome text, email text, first_name text)
language plpgsql security definer set search_path = '' as $$
declare
  v_known public.sign_ups;
begin
  update public.sign_ups s
  set link_digest = case when s.link_digest is not null then p_link_digest end,
    code_digest = case when s.link_digest is not null then p_code_digest end,
    link_expires_at = p_now + interval '24 hours', code_expires_at = p_now + interval '15 minutes',
    code_attempts = 0
  where s.pending_digest = p_pending_digest and s.verified_at is null
    and s.created_at > p_now - interval '24 hours'
  returning s.* into v_known;
  if v_known.id is null then
    return;
  end if;
  return query select case when v_known.link_digest is null then 'has_account' else 'new' end,
    v_known.email::text, v_known.first_name::text;
end $$;
comment on function private.renew_sign_up(bytea, bytea, bytea, timestamptz) is
  'Replaces the link and code of a waiting sign-up; the previous ones become void. No row: no sign-up waits. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.renew_sign_up(bytea, bytea, bytea, timestamptz) to neurant_app;

create function private.find_sign_up(
  p_pending_digest bytea, p_link_digest bytea, p_now timestamptz default now())
returns table (state text, email text, first_name text, encrypted_password text, is_own boolean)
language sql stable security definer set search_path = '' as $$
  select case
      when s.verified_at is not null then 'verified'
      when p_link_digest is not null and s.link_expires_at <= p_now
        or s.created_at <= p_now - interval '24 hours' then 'expired'
      else 'pending' end,
    s.email::text, s.first_name::text, s.encrypted_password,
    coalesce(s.pending_digest = p_pending_digest, false)
  from public.sign_ups s
  where case when p_link_digest is null then s.pending_digest = p_pending_digest
    else s.link_digest = p_link_digest end
$$;
comment on function private.find_sign_up(bytea, bytea, timestamptz) is
  'Returns the sign-up of a link, or else of a browser: pending, verified or expired. is_own: this browser began it. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.find_sign_up(bytea, bytea, timestamptz) to neurant_app;

create function private.verify_sign_up(p_pending_digest bytea, p_link_digest bytea, p_code_digest bytea, p_is_proven boolean, p_now timestamp with time zone DEFAULT now()) RETURNS TABLE(outcome text, auth_user_id uuid)
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
comment on function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) is
  'Proves the mailbox and creates the login: by the link (in the browser that signed up, or with the password: p_is_proven) or by the code (five attempts, in that browser). Outcome: verified, unknown, expired, wrong_code, too_many, password_needed, verified_before, or taken (the address got a login meanwhile). Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.verify_sign_up(bytea, bytea, bytea, boolean, timestamptz) to
  neurant_app;

create function private.claim_sign_up(p_pending_digest bytea, p_now timestamptz default now())
returns uuid
language sql volatile security definer set search_path = '' as $$
  update public.sign_ups s set claimed_at = p_now
  where s.pending_digest = p_pending_digest and s.verified_at > p_now - interval '1 hour'
    and s.claimed_at is null
  returning s.auth_user_id
$$;
comment on function private.claim_sign_up(bytea, timestamptz) is
  'Continues a sign-up once in the browser that began it, after the link was opened elsewhere. Returns the login, or null. Security definer, called by the web process, because the caller is not signed in.';
grant execute on function private.claim_sign_up(bytea, timestamptz) to neurant_app;

create function private.found_company(p_auth_user uuid, p_first_name text, p_last_name text, p_name text, p_slug text, p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet, p_now timestamp with time zone DEFAULT now(), p_plan public.subscription_plan_enum DEFAULT 'free') RETURNS TABLE(outcome text, company_id uuid, slug text)
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
      p_last_name, p_plan => p_plan, p_timezone => p_timezone) s;
    exit when v_done.outcome <> 'slug_taken' or p_slug is not null;
  end loop;
  if v_done.outcome <> 'created' then
    return query select v_done.outcome, null::uuid, null::text;
    return;
  end if;
  update public.companies c
  set industry = p_industry, size = p_size, website = p_website, phone = p_phone
  where c.id = v_done.company_id;
  -- A plan that the host chose leaves the founder nothing to choose.
  insert into public.onboarding (company_id, plan_seen_at)
  values (v_done.company_id, case when p_plan <> 'free' then p_now end);
  return query select 'created', v_done.company_id, v_slug;
end $$;
comment on function private.found_company(uuid, text, text, text, text, text, text, text, text, text, inet, timestamptz, public.subscription_plan_enum) is
  'Creates a company on the plan of new companies, which the web process takes from the host''s settings, for a person with a verified e-mail address, with the data that the person entered. Outcome: created, slug_taken, unverified, unknown_login or too_many (five an hour and address). Security definer, called by the web process, because the person has no company, so no policy could admit the person.';
grant execute on function private.found_company(uuid, text, text, text, text, text, text, text,
  text, text, inet, timestamptz, public.subscription_plan_enum) to neurant_app;

create function private.found_company_by_session(
  p_token_digest bytea, p_first_name text, p_last_name text, p_name text, p_slug text,
  p_industry text, p_size text, p_website text, p_phone text, p_timezone text, p_address inet,
  p_now timestamptz default now(), p_plan public.subscription_plan_enum default 'free')
returns table (outcome text, company_id uuid, slug text)
language sql volatile security definer set search_path = '' as $$
  select f.outcome, f.company_id, f.slug
  from private.own_login(p_token_digest) l (login)
  cross join lateral private.found_company(l.login, p_first_name, p_last_name, p_name, p_slug,
    p_industry, p_size, p_website, p_phone, p_timezone, p_address, p_now, p_plan) f
$$;
comment on function private.found_company_by_session(bytea, text, text, text, text, text, text, text, text, text, inet, timestamptz, public.subscription_plan_enum) is
  'Calls found_company for the person of a session; error NA006 as in own_login. Security definer, called by the web process, because the person has no company, so no policy could admit the person.';
grant execute on function private.found_company_by_session(bytea, text, text, text, text, text,
  text, text, text, text, inet, timestamptz, public.subscription_plan_enum) to neurant_app;

create function private.pass_onboarding(p_step text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id(
    case p_step when 'tested' then 'chatbots.edit' else 'company.edit' end);
begin
  if v_company is null then
    return false;
  end if;
  insert into public.onboarding as o
    (company_id, plan_seen_at, bot_skipped_at, documents_skipped_at, tested_at, hidden_at)
  values (v_company,
    case p_step when 'plan' then now() end, case p_step when 'skip_bot' then now() end,
    case p_step when 'skip_documents' then now() end,
    case p_step when 'tested' then now() end, case p_step when 'hide' then now() end)
  on conflict on constraint onboarding_pkey do update set
    plan_seen_at = coalesce(o.plan_seen_at, excluded.plan_seen_at),
    bot_skipped_at = coalesce(o.bot_skipped_at, excluded.bot_skipped_at),
    documents_skipped_at = coalesce(o.documents_skipped_at, excluded.documents_skipped_at),
    tested_at = coalesce(o.tested_at, excluded.tested_at),
    hidden_at = coalesce(o.hidden_at, excluded.hidden_at);
  return true;
end $$;
comment on function private.pass_onboarding(text) is
  'Notes a step of the set-up that leaves no other row: plan, skip_bot, skip_documents or hide (owner and administrador), or tested (supervisor as well). Security definer, called by staff and API keys, because no role may write these timestamps directly.';
grant execute on function private.pass_onboarding(text) to authenticated;

create function private.onboarding_state()
returns table (has_bot boolean, has_channel boolean, has_document boolean, has_team boolean,
  has_tested boolean, plan_seen boolean, bot_skipped boolean, documents_skipped boolean,
  is_hidden boolean)
language sql stable security definer set search_path = '' as $$
  select
    exists (select from public.chatbots b where b.company_id = k.id and b.retired_at is null),
    exists (select from public.channel_accounts a where a.company_id = k.id and a.status = 'connected'),
    exists (select from public.documents d where d.company_id = k.id and d.retired_at is null
      and d.processing_status <> 'failed'),
    exists (select from public.users u where u.company_id = k.id and not u.is_owner)
      or exists (select from public.user_invitations i where i.company_id = k.id),
    coalesce(o.tested_at is not null, false)
      or exists (select from public.conversations c where c.company_id = k.id),
    coalesce(o.plan_seen_at is not null, o.company_id is null),
    coalesce(o.bot_skipped_at is not null, false),
    coalesce(o.documents_skipped_at is not null, false),
    coalesce(o.hidden_at is not null, false)
  from public.companies k
  left join public.onboarding o on o.company_id = k.id
  where k.id = (select private.company_id('company.read'))
$$;
comment on function private.onboarding_state() is
  'Returns what a company has set up; a document that could not be read does not count. Security definer, called by staff and API keys, because an operador does not see the invitations that count.';
grant execute on function private.onboarding_state() to authenticated;

create function private.accept_terms(p_auth_user uuid, p_first_name text, p_last_name text)
returns void
language sql volatile security definer set search_path = '' as $$
  insert into public.auth_accounts (auth_user_id, first_name, last_name, terms_accepted_at)
  values (p_auth_user, p_first_name, p_last_name, now())
$$;
comment on function private.accept_terms(uuid, text, text) is
  'Notes that the person of a login that was created in this transaction, by an invitation, accepted the terms. Security definer, called by the web process, because accounts are closed to other roles.';
grant execute on function private.accept_terms(uuid, text, text) to neurant_app;
