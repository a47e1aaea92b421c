-- The monthly quota of bot messages.

create table public.usage_slots (
  company_id uuid not null references public.companies (id),
  slot smallint not null check (slot between 0 and 63),
  used integer not null default 0 check (used >= 0),
  granted integer not null default 0,
  granted_until timestamptz not null default '-infinity',
  primary key (company_id, slot),
  check (used <= granted)
) with (fillfactor = 50);
comment on table public.usage_slots is
  'Bot messages that monthly_message_count does not contain yet, spread over slots so that concurrent writers do not wait for one another. A slot may use what it was granted; all grants together never exceed the limit.';
comment on column public.usage_slots.granted_until is
  'End of the month in which the allowance was granted. The first message after it closes the month.';

alter table public.usage_slots enable row level security, force row level security;
create policy router_select on public.usage_slots for select to neurant_router using (true);
create policy router_insert on public.usage_slots for insert to neurant_router with check (true);
create policy router_update on public.usage_slots for update to neurant_router
  using (true) with check (true);
grant select, insert, update on public.usage_slots to neurant_router;

create function private.set_monthly_anchor() returns trigger
language plpgsql set search_path = '' as $$
begin
  new.monthly_anchor_day := extract(day from new.monthly_reset_date);
  return new;
end $$;

create trigger set_monthly_anchor before insert on public.companies
  for each row when (new.monthly_anchor_day is null) execute function private.set_monthly_anchor();

create function private.anchor_date(p_in date, p_day integer) returns date
language sql immutable strict set search_path = '' as $$
  select least(
    date_trunc('month', p_in::timestamp)::date + (p_day - 1),
    (date_trunc('month', p_in::timestamp) + interval '1 month - 1 day')::date)
$$;
comment on function private.anchor_date(date, integer) is
  'Returns the anchor day in the month of a date, or the last day of a month that is too short.';
grant execute on function private.anchor_date(date, integer) to neurant_router;

create function private.month_start(p_today date, p_day integer) returns date
language sql immutable strict set search_path = '' as $$
  select case
    when private.anchor_date(p_today, p_day) <= p_today then private.anchor_date(p_today, p_day)
    else private.anchor_date((p_today - interval '1 month')::date, p_day) end
$$;
comment on function private.month_start(date, integer) is
  'Returns the first day of the month that a day belongs to, counted from the anchor day.';
grant execute on function private.month_start(date, integer) to neurant_router;

create function private.lock_usage(p_company uuid) returns integer
language plpgsql security definer set search_path = '' as $$
begin
  -- In order, and only while the company's row is locked: whoever is counting now commits first.
  perform from public.usage_slots s where s.company_id = p_company order by s.slot for update;
  return (select coalesce(sum(s.used), 0) from public.usage_slots s where s.company_id = p_company);
end $$;
comment on function private.lock_usage(uuid) is
  'Locks the slots of a company, so that they cannot change, and returns the sum of their use. Security definer, called by other definers only, because no role may read or write the slots.';

create function private.drain_message_usage(p_company uuid) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_used integer;
begin
  perform from public.companies c where c.id = p_company for no key update;
  v_used := private.lock_usage(p_company);
  -- Takes unused grants back too (a trigger does), so idle slots do not hold room for ever.
  update public.usage_slots s set used = 0, granted = 0
  where s.company_id = p_company and s.granted > 0;
  if v_used > 0 then
    update public.companies c set monthly_message_count = c.monthly_message_count + v_used
    where c.id = p_company;
  end if;
  return v_used;
end $$;
comment on function private.drain_message_usage(uuid) is
  'Moves the counts of a company''s slots into monthly_message_count; returns their sum. Security definer, called by the worker process, because no role may write counters directly.';
grant execute on function private.drain_message_usage(uuid) to neurant_jobs;

create function private.companies_to_drain() returns setof uuid
language sql stable security definer set search_path = '' as $$
  select distinct s.company_id from public.usage_slots s where s.used > 0 order by s.company_id
$$;
comment on function private.companies_to_drain() is
  'Returns the companies whose slots hold counts that monthly_message_count does not contain yet. Security definer, called by the worker process, because it reads all companies; it returns ids only.';
grant execute on function private.companies_to_drain() to neurant_jobs;

create function private.close_month(p_company uuid, p_now timestamptz) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_start date;
  v_count integer;
begin
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  v_start := private.month_start(
    (p_now at time zone v_company.timezone)::date, v_company.monthly_anchor_day);
  if v_start <= v_company.monthly_reset_date then
    return null;
  end if;
  v_count := v_company.monthly_message_count + private.lock_usage(p_company);
  update public.usage_slots s set used = 0, granted = 0
  where s.company_id = p_company and s.granted > 0;
  update public.companies c set monthly_message_count = 0, monthly_reset_date = v_start
  where c.id = p_company;
  return v_count;
end $$;
comment on function private.close_month(uuid, timestamptz) is
  'Begins the company''s new month, if one has begun at p_now. Returns the count of the old month, or null. Security definer, called by other definers only, because no role may write counters directly.';

create function private.reset_monthly_message_count(p_now timestamptz default now())
returns table (company_id uuid, counted integer)
language sql volatile security definer set search_path = '' as $$
  with due as materialized (
    select c.id from public.companies c
    where c.monthly_reset_date
      < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day)
    order by c.id
  ),
  closed as materialized (
    select due.id, private.close_month(due.id, p_now) as counted from due
  )
  select closed.id, closed.counted from closed where closed.counted is not null
$$;
comment on function private.reset_monthly_message_count(timestamptz) is
  'Begins the new month of every company where one is due, by its anchor day and timezone; missed months are caught up at once. Returns the count of each old month. Security definer, called by the worker process, because it works on all companies.';
grant execute on function private.reset_monthly_message_count(timestamptz) to neurant_jobs;

create function private.draw_allowance(p_company uuid, p_slot smallint) returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_used bigint;
  v_room bigint;
  v_slots integer;
  v_until timestamptz;
begin
  perform private.close_month(p_company, now());
  insert into public.usage_slots (company_id, slot) values (p_company, p_slot) on conflict do nothing;
  v_used := private.lock_usage(p_company);
  select c.* into v_company from public.companies c where c.id = p_company;
  select count(*) into v_slots from public.usage_slots s where s.company_id = p_company;
  v_used := v_used + v_company.monthly_message_count;
  v_room := case v_company.monthly_message_limit
    when -1 then 1000000000 else v_company.monthly_message_limit - v_used end;
  if v_room <= 0 then
    raise exception 'limit reached: monthly_message_limit' using errcode = 'NA002',
      detail = jsonb_build_object('limit', 'monthly_message_limit', 'used', v_used,
        'allowed', v_company.monthly_message_limit);
  end if;
  v_until := private.anchor_date(
    (date_trunc('month', v_company.monthly_reset_date::timestamp) + interval '1 month')::date,
    v_company.monthly_anchor_day)::timestamp at time zone v_company.timezone;
  update public.usage_slots s
  set used = s.used + (s.slot = p_slot)::integer,
    -- An equal share each; what does not divide goes to whoever asks.
    granted = s.used + v_room / v_slots
      + case when s.slot = p_slot then v_room % v_slots else 0 end,
    granted_until = v_until
  where s.company_id = p_company;
end $$;
comment on function private.draw_allowance(uuid, smallint) is
  'Counts one message when its slot has used up its grant: redistributes the rest of the month over the slots, or raises NA002. It locks all slots, and so waits for every message that is being counted; therefore it never refuses a message while there is room. Security definer, called by other definers only, because no role may read or write the slots.';

create function private.recall_allowance() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  perform private.lock_usage(new.id);
  update public.usage_slots s set granted = s.used
  where s.company_id = new.id and s.granted > s.used;
  return null;
end $$;
comment on function private.recall_allowance() is
  'Withdraws what was granted under a previous limit. Security definer, called by a trigger, because whoever changes a plan may not write the slots.';

create trigger recall_allowance
  after update of monthly_message_limit, monthly_message_count on public.companies
  for each row when (old.monthly_message_limit <> new.monthly_message_limit
    or old.monthly_message_count <> new.monthly_message_count)
  execute function private.recall_allowance();

create function private.message_usage(p_company uuid, p_now timestamptz default now())
returns integer
language sql stable security definer set search_path = '' as $$
  select case
    when c.monthly_reset_date
      < private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) then 0
    else c.monthly_message_count + coalesce((
      select sum(s.used) from public.usage_slots s where s.company_id = c.id), 0) end
  from public.companies c
  where c.id = p_company and c.id = (select private.company_id('company.read'))
$$;
comment on function private.message_usage(uuid, timestamptz) is
  'Returns the bot messages of the caller''s own company in the current month, exact at commit; null for any other company. Security definer, called by staff and API keys and the worker for one company, because no role may read the slots.';
grant execute on function private.message_usage(uuid, timestamptz) to authenticated,
  neurant_worker;
