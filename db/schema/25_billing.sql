-- Billing: the subscription states that the biller reports.

create table public.billing_accounts (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  customer_ref text not null unique check (customer_ref ~ '^[A-Za-z0-9_-]{3,100}$'),
  subscription_ref text check (subscription_ref ~ '^[A-Za-z0-9_-]{3,100}$'),
  subscription_created timestamptz,
  status text check (status ~ '^[a-z_]{3,30}$'),
  plan public.subscription_plan_enum,
  period_end timestamptz,
  cancels_at_end boolean not null default false,
  told_at timestamptz,
  told_rank smallint,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (company_id, id),
  check ((subscription_ref is null) = (status is null))
);
comment on table public.billing_accounts is
  'The biller''s references for a company, and the newest state of its subscription there. One row per company, so that its writer holds a lock for the company.';
comment on column public.billing_accounts.told_at is
  'The biller''s own timestamp of that state. An event with an earlier timestamp is stale, whenever it arrives.';
comment on column public.billing_accounts.told_rank is
  'Order within one second: created, updated, deleted.';

alter table public.billing_accounts enable row level security, force row level security;
create policy staff_select on public.billing_accounts for select to authenticated
  using (company_id = (select private.company_id('billing.read')));
create policy router_select on public.billing_accounts for select to neurant_router using (true);
create policy router_insert on public.billing_accounts for insert to neurant_router with check (true);
create policy router_update on public.billing_accounts for update to neurant_router
  using (true) with check (true);
grant select on public.billing_accounts to authenticated;
grant select, insert, update on public.billing_accounts to neurant_router;

select private.audit_table('public.billing_accounts', 'company_id',
  '{subscription_created,plan,period_end,cancels_at_end}',
  '{customer_ref,subscription_ref,status}',
  '{}',
  '{told_at,told_rank,created_at,updated_at}');

create trigger set_updated_at before update on public.billing_accounts
  for each row execute function private.update_updated_at_column();

create table public.billing_events (
  event_ref text primary key check (event_ref ~ '^[A-Za-z0-9_-]{3,255}$'),
  kind text not null check (length(kind) between 1 and 100),
  happened_at timestamptz not null,
  facts jsonb not null check (jsonb_typeof(facts) = 'object'),
  company_id uuid references public.companies (id),
  outcome text check (outcome in ('applied', 'stale', 'ignored', 'unknown_customer', 'unknown_price')),
  received_at timestamptz not null default now(),
  decided_at timestamptz,
  check ((outcome is null) = (decided_at is null))
);
comment on table public.billing_events is
  'Platform table: the events that the biller sent. Each is stored once, before it is applied, however often it is sent. facts holds references and states, and no personal data.';
create index billing_events_company_idx on public.billing_events (company_id);
create index billing_events_open_idx on public.billing_events (happened_at) where outcome is null;
create index billing_events_unknown_idx on public.billing_events ((facts ->> 'customer'))
  where outcome = 'unknown_customer';

alter table public.billing_events enable row level security, force row level security;
create policy router_select on public.billing_events for select to neurant_router using (true);
create policy router_insert on public.billing_events for insert to neurant_router with check (true);
create policy router_update on public.billing_events for update to neurant_router
  using (true) with check (true);
grant select, insert on public.billing_events to neurant_router;
grant update (company_id, outcome, decided_at) on public.billing_events to neurant_router;

create function private.store_billing_event(
  p_event text, p_kind text, p_happened_at timestamptz, p_facts jsonb)
returns text
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.billing_events (event_ref, kind, happened_at, facts)
  values (p_event, p_kind, p_happened_at, p_facts)
  on conflict (event_ref) do nothing;
  return coalesce((select e.outcome from public.billing_events e where e.event_ref = p_event), 'open');
end $$;
comment on function private.store_billing_event(text, text, timestamptz, jsonb) is
  'Stores an event of the biller. Returns its outcome so far (open: it is still to be applied). Security definer, called by the web process, because a signature authenticates the biller, which is no principal.';
grant execute on function private.store_billing_event(text, text, timestamptz, jsonb) to
  neurant_app;

create function private.apply_billing_event(p_event text, p_now timestamptz default now()) returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_event public.billing_events;
  v_company uuid;
  v_outcome text;
  v_waiting text;
begin
  select e.* into v_event from public.billing_events e where e.event_ref = p_event for update;
  if v_event.event_ref is null then
    return 'unknown';
  elsif v_event.outcome <> 'unknown_customer' then
    return v_event.outcome;
  end if;
  if v_event.kind <> 'checkout.session.completed'
    and v_event.kind not like 'customer.subscription.%' then
    v_outcome := 'ignored';
  else
    v_company := private.billed_company(v_event.facts);
    v_outcome := case
      when v_company is null then 'unknown_customer'
      when v_event.kind = 'checkout.session.completed' then 'applied'
      else private.apply_billing_state(v_company, v_event.kind, v_event.happened_at, v_event.facts, p_now)
      end;
  end if;
  update public.billing_events e set outcome = v_outcome, decided_at = p_now, company_id = v_company
  where e.event_ref = p_event;
  if v_event.kind = 'checkout.session.completed' and v_company is not null then
    for v_waiting in
      select e.event_ref from public.billing_events e
      where e.outcome = 'unknown_customer' and e.facts ->> 'customer' = v_event.facts ->> 'customer'
      order by e.happened_at, e.event_ref
    loop
      perform private.apply_billing_event(v_waiting, p_now);
    end loop;
  end if;
  return v_outcome;
end $$;
comment on function private.apply_billing_event(text, timestamptz) is
  'Applies a stored event, once. Outcome: applied, stale (a newer state is known), ignored, unknown_customer (kept until a checkout names the company) or unknown_price. Security definer, called by the web process and the worker process, because no role may write plans and status directly.';
grant execute on function private.apply_billing_event(text, timestamptz) to neurant_app,
  neurant_jobs;

create function private.billed_company(p_facts jsonb) returns uuid
language plpgsql security definer set search_path = '' as $$
declare
  v_customer text := p_facts ->> 'customer';
  v_company uuid := (
    select a.company_id from public.billing_accounts a where a.customer_ref = v_customer);
begin
  if v_company is null and v_customer is not null then
    -- We told the biller ourselves whose checkout it is.
    select c.id into v_company from public.companies c
    where c.id::text = p_facts ->> 'company' for no key update;
    update public.billing_accounts a
    set customer_ref = v_customer, subscription_ref = null, subscription_created = null,
      status = null, plan = null, period_end = null, cancels_at_end = false, told_at = null,
      told_rank = null
    where a.company_id = v_company
      and coalesce(a.status, 'canceled') in ('canceled', 'incomplete_expired');
    if not found and exists (
      select from public.billing_accounts a where a.company_id = v_company) then
      return null;  -- it pays as another customer, and that one stands
    elsif not found then
      insert into public.billing_accounts (company_id, customer_ref)
      select v_company, v_customer where v_company is not null;
    end if;
  end if;
  return v_company;
end $$;
comment on function private.billed_company(jsonb) is
  'Returns the company of an event: by the biller''s customer, or by the company id that we passed to the checkout. Security definer, called by other definers only, because it reads and writes billing accounts, which no role may write directly.';

create function private.apply_billing_state(
  p_company uuid, p_kind text, p_happened_at timestamptz, p_facts jsonb, p_now timestamptz)
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_known public.billing_accounts;
  v_status text := p_facts ->> 'status';
  v_plan public.subscription_plan_enum := (select p.plan from public.plans p
    where p.plan::text = p_facts ->> 'plan');
  v_rank smallint := case p_kind when 'customer.subscription.created' then 0
    when 'customer.subscription.deleted' then 2 else 1 end;
  v_created timestamptz := (p_facts ->> 'subscription_created')::timestamptz;
begin
  -- The company before its account, as everywhere.
  select c.* into v_company from public.companies c where c.id = p_company for no key update;
  select a.* into v_known from public.billing_accounts a where a.company_id = p_company for update;
  if v_known.subscription_ref is distinct from p_facts ->> 'subscription' then
    -- Another subscription counts if it began later and is one at all.
    if v_status like 'incomplete%' or v_known.subscription_created > v_created then
      return 'stale';
    end if;
  elsif (p_happened_at, v_rank) < (v_known.told_at, v_known.told_rank)
    or v_known.status in ('canceled', 'incomplete_expired') then
    return 'stale';
  end if;
  if v_plan is null and v_status in ('active', 'trialing') then
    return 'unknown_price';
  end if;
  update public.billing_accounts a
  set subscription_ref = p_facts ->> 'subscription', subscription_created = v_created,
    status = v_status, plan = coalesce(v_plan, a.plan),
    period_end = (p_facts ->> 'period_end')::timestamptz,
    cancels_at_end = coalesce((p_facts ->> 'cancels_at_end')::boolean, false),
    told_at = p_happened_at, told_rank = v_rank
  where a.company_id = p_company;
  if v_company.subscription_status = 'cancelled' then
    perform private.note_billing_while_closed(p_company, v_status, p_now);
  elsif v_status in ('active', 'trialing') then
    perform private.follow_payment(v_company, v_known, v_plan, p_now);
  elsif v_status in ('past_due', 'unpaid', 'paused') then
    perform private.set_past_due(p_company, p_now);
  elsif v_status = 'canceled' and v_known.status is distinct from 'canceled'
    and v_company.subscription_status in ('active', 'past_due')
    and v_company.subscription_plan <> 'free' then
    perform private.fall_back(p_company, 'payment_ended', p_now);
  end if;
  return 'applied';
end $$;
comment on function private.apply_billing_state(uuid, text, timestamptz, jsonb, timestamptz) is
  'Applies the state of a subscription to its company. Outcome: applied, stale or unknown_price. The newer state by the biller''s clock wins; an ended subscription stays ended. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.follow_payment(
  p_company public.companies, p_known public.billing_accounts,
  p_plan public.subscription_plan_enum, p_now timestamptz)
returns void
language plpgsql security definer set search_path = '' as $$
declare
  v_is_new boolean := p_known.plan is distinct from p_plan
    or coalesce(p_known.status, '') not in ('active', 'trialing');
  v_account public.billing_accounts;
begin
  -- Only what changed at the biller: it may be late to hear of a change that began here.
  if v_is_new and private.confirm_plan(p_company.id, p_plan, p_now) = 'does_not_fit' then
    update public.companies c
    set next_plan = p_plan, plan_change_scheduled_at = p_now, subscription_status = 'active',
      subscription_ends_at = null
    where c.id = p_company.id;
  end if;
  select a.* into v_account from public.billing_accounts a where a.company_id = p_company.id;
  if v_is_new or v_account.cancels_at_end is distinct from p_known.cancels_at_end
    or v_account.period_end is distinct from p_known.period_end then
    update public.companies c
    set subscription_ends_at = case when v_account.cancels_at_end
      then greatest(v_account.period_end, c.subscription_started_at) end
    where c.id = p_company.id and c.subscription_status = 'active'
      and (v_account.cancels_at_end or p_known.cancels_at_end);
  end if;
end $$;
comment on function private.follow_payment(public.companies, public.billing_accounts, public.subscription_plan_enum, timestamptz) is
  'Begins the plan that is paid for; a smaller plan that does not fit yet is scheduled until it does. Security definer, called by other definers only, because no role may write plans and status directly.';

create function private.note_billing_while_closed(
  p_company uuid, p_status text, p_now timestamptz)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.companies c
  set status_before_closing = 'active', ends_before_closing = p_now
  where c.id = p_company and p_status = 'canceled' and c.subscription_plan <> 'free'
    and c.status_before_closing in ('active', 'past_due')
$$;
comment on function private.note_billing_while_closed(uuid, text, timestamptz) is
  'Notes that the payment of a closed company ended, so that after reopening it falls back within a minute. Security definer, called by other definers only, because no role may write a company''s status directly.';

create function private.open_billing_events() returns setof text
language sql stable security definer set search_path = '' as $$
  select e.event_ref from public.billing_events e
  where e.outcome is null and e.received_at < now() - interval '1 minute'
  order by e.happened_at, e.event_ref limit 100
$$;
comment on function private.open_billing_events() is
  'Returns the stored events that were never applied because their process ended in between. Security definer, called by the worker process, because it reads all companies; it returns references only.';
grant execute on function private.open_billing_events() to neurant_jobs;

create function private.billing_to_tell()
returns table (company_id uuid, subscription_ref text, plan public.subscription_plan_enum,
  cancels_at_end boolean, plan_changes boolean)
language sql stable security definer set search_path = '' as $$
  select a.company_id, a.subscription_ref, w.plan, w.cancels, w.plan <> a.plan
  from public.billing_accounts a
  join public.companies c on c.id = a.company_id
  cross join lateral (select
    case when c.subscription_plan = 'free' then a.plan else c.subscription_plan end as plan,
    case when c.subscription_plan = 'free' or c.subscription_status in ('cancelled', 'inactive') then true
      when c.subscription_status = 'active' then c.subscription_ends_at is not null
      -- Whoever cancelled and then did not pay has still cancelled.
      else a.cancels_at_end end as cancels) w
  where a.status in ('active', 'trialing', 'past_due', 'unpaid')
    and (w.plan <> a.plan and c.next_plan is null or w.cancels <> a.cancels_at_end)
  order by a.company_id limit 100
$$;
comment on function private.billing_to_tell() is
  'Returns the subscriptions of which the biller must be notified: cancelled or made smaller here, or of a closed or inactive company. Security definer, called by the worker process, because it reads all companies.';
grant execute on function private.billing_to_tell() to neurant_jobs;

create function private.note_billing_told(
  p_company uuid, p_plan public.subscription_plan_enum, p_cancels_at_end boolean, p_at timestamptz)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.billing_accounts a
  set plan = p_plan, cancels_at_end = p_cancels_at_end,
    told_at = greatest(a.told_at, date_trunc('second', p_at)), told_rank = 1
  where a.company_id = p_company
$$;
comment on function private.note_billing_told(uuid, public.subscription_plan_enum, boolean, timestamptz) is
  'Notes that the biller accepted a change at that time, so that earlier reports are stale. Security definer, called by the worker process, because no role may write billing_accounts directly.';
grant execute on function private.note_billing_told(uuid, public.subscription_plan_enum, boolean,
  timestamptz) to neurant_jobs;
