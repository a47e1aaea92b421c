-- migrate:up
-- A company is founded by who signed up: names that are free, limits on trying, and how far its set-up is.
set local role neurant_owner;

create table private.attempts (
  id uuid primary key default uuidv7(),
  kind text not null check (kind in ('found_company', 'check_company_name')),
  address inet not null,
  attempted_at timestamptz not null default now()
);
comment on table private.attempts is
  'What strangers tried, by address, for the limits on trying. Of the last day only.';
create index attempts_address_idx on private.attempts (kind, address, attempted_at);
create index attempts_age_idx on private.attempts (attempted_at);
alter table private.attempts enable row level security, force row level security;
create policy router_select on private.attempts for select to neurant_router using (true);
create policy router_insert on private.attempts for insert to neurant_router with check (true);
create policy router_delete on private.attempts for delete to neurant_router using (true);
grant select, insert, delete on private.attempts to neurant_router;

create function private.try_once_more(
  p_kind text, p_address inet, p_most integer, p_within interval, p_now timestamptz)
returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_tried integer;
begin
  if p_address is null then
    return true;
  end if;
  -- Two at once from one address are counted one after the other.
  perform pg_advisory_xact_lock(hashtextextended(p_kind || ' ' || host(p_address), 0));
  delete from private.attempts a where a.attempted_at < p_now - interval '1 day';
  select count(*) into v_tried from private.attempts a
  where a.kind = p_kind and a.address = p_address and a.attempted_at > p_now - p_within;
  if v_tried >= p_most then
    return false;
  end if;
  insert into private.attempts (kind, address, attempted_at) values (p_kind, p_address, p_now);
  return true;
end $$;
comment on function private.try_once_more(text, inet, integer, interval, timestamptz) is
  'Counts an attempt from an address; false where it has used up its number. No address (a socket of this machine): no limit. Definer: who tries is nobody yet.';

create function private.slug_of(p_name text) returns text
language sql stable set search_path = '' as $$
  select coalesce(nullif(btrim(left(btrim(
    regexp_replace(lower(extensions.unaccent(p_name)), '[^a-z0-9]+', '-', 'g'), '-'), 45), '-'), ''),
    'empresa')
$$;
comment on function private.slug_of(text) is
  'The short name that a company''s name makes: at most 45 characters, so that a number still fits into 50.';

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
  'The short name that a name makes, whether it is free, and up to three that are. 30 a minute and address, then NA005 with {"seconds"}. Definer: who signs up sees no company.';

create function private.found_company(
  p_auth_user uuid, p_first_name text, p_last_name text, p_name text, p_slug text, p_industry text,
  p_size text, p_website text, p_phone text, p_timezone text, p_address inet,
  p_now timestamptz default now())
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
comment on function private.found_company(uuid, text, text, text, text, text, text, text, text, text, inet, timestamptz) is
  'A company on the free plan for a person whose e-mail is verified, with what they told of it: created, slug_taken, unverified, unknown_login or too_many (5 an hour and address). Definer, as sign_up.';

-- Set-up --------------------------------------------------------------------------------------------

create table public.onboarding (
  company_id uuid primary key references public.companies (id),
  plan_seen_at timestamptz,
  bot_skipped_at timestamptz,
  tested_at timestamptz,
  hidden_at timestamptz,
  created_at timestamptz not null default now()
);
comment on table public.onboarding is
  'How far the set-up is, where no other row says so: everything else is read from what exists.';
alter table public.onboarding enable row level security, force row level security;
create policy staff_select on public.onboarding for select to authenticated
  using (company_id = (select private.company_id('company.read')));
create policy router_select on public.onboarding for select to neurant_router using (true);
create policy router_insert on public.onboarding for insert to neurant_router with check (true);
create policy router_update on public.onboarding for update to neurant_router using (true) with check (true);
create policy router_delete on public.onboarding for delete to neurant_router using (true);
grant select on public.onboarding to authenticated;
grant select, insert, update, delete on public.onboarding to neurant_router;

create function private.pass_onboarding(p_step text) returns boolean
language plpgsql security definer set search_path = '' as $$
declare
  v_company uuid := private.company_id(
    case p_step when 'tested' then 'chatbots.edit' else 'company.edit' end);
begin
  if v_company is null then
    return false;
  end if;
  insert into public.onboarding as o (company_id, plan_seen_at, bot_skipped_at, tested_at, hidden_at)
  values (v_company,
    case p_step when 'plan' then now() end, case p_step when 'skip_bot' then now() end,
    case p_step when 'tested' then now() end, case p_step when 'hide' then now() end)
  on conflict on constraint onboarding_pkey do update set
    plan_seen_at = coalesce(o.plan_seen_at, excluded.plan_seen_at),
    bot_skipped_at = coalesce(o.bot_skipped_at, excluded.bot_skipped_at),
    tested_at = coalesce(o.tested_at, excluded.tested_at),
    hidden_at = coalesce(o.hidden_at, excluded.hidden_at);
  return true;
end $$;
comment on function private.pass_onboarding(text) is
  'Notes a step of the set-up that leaves no other trace: plan, skip_bot, hide (owner, administrador), tested (supervisor too). Definer: these moments are not to be written by hand.';

create function private.onboarding_state()
returns table (has_bot boolean, has_channel boolean, has_document boolean, has_team boolean,
  has_tested boolean, plan_seen boolean, bot_skipped boolean, is_hidden boolean)
language sql stable security definer set search_path = '' as $$
  select
    exists (select from public.chatbots b where b.company_id = k.id and b.retired_at is null),
    exists (select from public.channel_accounts a where a.company_id = k.id and a.status = 'connected'),
    exists (select from public.documents d where d.company_id = k.id and d.retired_at is null),
    exists (select from public.users u where u.company_id = k.id and not u.is_owner)
      or exists (select from public.user_invitations i where i.company_id = k.id),
    coalesce(o.tested_at is not null, false)
      or exists (select from public.conversations c where c.company_id = k.id),
    coalesce(o.plan_seen_at is not null, o.company_id is null),
    coalesce(o.bot_skipped_at is not null, false),
    coalesce(o.hidden_at is not null, false)
  from public.companies k
  left join public.onboarding o on o.company_id = k.id
  where k.id = (select private.company_id('company.read'))
$$;
comment on function private.onboarding_state() is
  'What a company has set up. Definer: an operador does not see the invitations that count.';

grant execute on function private.suggest_slugs(text, inet, timestamptz),
  private.found_company(uuid, text, text, text, text, text, text, text, text, text, inet, timestamptz)
  to neurant_app;
grant execute on function private.pass_onboarding(text), private.onboarding_state() to authenticated;
grant execute on function private.slug_of(text) to neurant_router;
grant update (industry, size, website, phone) on public.companies to neurant_router;
alter function private.try_once_more(text, inet, integer, interval, timestamptz) owner to neurant_router;
alter function private.suggest_slugs(text, inet, timestamptz) owner to neurant_router;
alter function private.found_company(uuid, text, text, text, text, text, text, text, text, text, inet, timestamptz)
  owner to neurant_router;
alter function private.pass_onboarding(text) owner to neurant_router;
alter function private.onboarding_state() owner to neurant_router;

reset role;

set local role neurant_router;
create or replace function private.suggest_slug(p_name text) returns text
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

reset role;
-- migrate:down
