-- migrate:up
-- Plans change: up at once, down at the end of the month and only if what is there fits.
set local role neurant_owner;

create index companies_plan_change_idx on public.companies (plan_change_scheduled_at)
  where next_plan is not null;
alter table public.companies add constraint companies_plan_change_check
  check ((next_plan is null) = (plan_change_scheduled_at is null));
comment on column public.companies.next_plan is
  'A smaller plan that begins at plan_change_scheduled_at, or later, once the company''s use fits in it.';

create table public.plan_alerts (
  company_id uuid not null references public.companies (id),
  id uuid not null default uuidv7(),
  subject text not null check (subject ~ '^[a-z_]{3,50}$'),
  level smallint not null check (level between 1 and 100),
  period_start date not null,
  created_at timestamptz not null default now(),
  primary key (company_id, id),
  unique (company_id, subject, level, period_start)
);
comment on table public.plan_alerts is
  'What a company was told of its limits (subject: a limit, or plan_change), so that it is told once a month.';

create function private.apply_plan(p_company uuid, p_plan public.subscription_plan_enum)
returns void
language sql volatile security definer set search_path = '' as $$
  update public.companies c
  set subscription_plan = p.plan,
    monthly_message_limit = p.monthly_message_limit,
    max_chatbots = p.max_chatbots,
    max_users = p.max_users,
    max_integrations = p.max_integrations,
    max_document_characters = p.max_document_characters,
    max_storage_mb = p.max_storage_mb,
    max_hitl_concurrent = p.max_hitl_concurrent,
    plan_changed_at = now(),
    next_plan = null,
    plan_change_scheduled_at = null
  from public.plans p
  where c.id = p_company and p.plan = p_plan
$$;
comment on function private.apply_plan(uuid, public.subscription_plan_enum) is
  'Gives a company the limits of a plan, whatever its use. Definer: called by definers; plan and limits are nobody''s to write by hand.';

create function private.exceeded_limits(
  p_company uuid, p_plan public.subscription_plan_enum, p_now timestamptz)
returns text[]
language sql stable security definer set search_path = '' as $$
  select coalesce(array_agg(u.limit_name), '{}')
  from private.plan_use(p_company, p_now) u
  join public.plans p on p.plan = p_plan
  cross join lateral (select (to_jsonb(p) ->> u.limit_name)::bigint as allowed) there
  where u.limit_name <> 'monthly_message_limit'  -- a new month begins with the new plan
    and there.allowed <> -1
    and u.used > there.allowed * case u.limit_name when 'max_storage_mb' then 1048576 else 1 end
$$;
comment on function private.exceeded_limits(uuid, public.subscription_plan_enum, timestamptz) is
  'The limits of a plan in which a company''s use does not fit. Lock the company first. Definer, as plan_use.';

create function private.next_month_start(p_company uuid, p_now timestamptz) returns timestamptz
language sql stable security definer set search_path = '' as $$
  select private.anchor_date(
    (date_trunc('month', private.month_start(
      (p_now at time zone c.timezone)::date, c.monthly_anchor_day)::timestamp)
      + interval '1 month')::date, c.monthly_anchor_day)::timestamp at time zone c.timezone
  from public.companies c
  where c.id = p_company
$$;
comment on function private.next_month_start(uuid, timestamptz) is
  'When the company''s next month begins, by its anchor day and timezone. Definer: called by definers.';

create function private.change_plan(
  p_plan public.subscription_plan_enum, p_now timestamptz default now())
returns text
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_from smallint;
  v_to public.plans;
begin
  if private.user_role() is distinct from 'owner' then
    return 'forbidden';
  end if;
  select c.* into v_company from public.companies c
  where c.id = (select private.company_id()) for no key update;
  select p.rank into v_from from public.plans p where p.plan = v_company.subscription_plan;
  select p.* into v_to from public.plans p where p.plan = p_plan;
  if v_to.rank = v_from then
    return 'unchanged';
  end if;
  if v_to.rank < v_from then
    update public.companies c
    set next_plan = p_plan,
      plan_change_scheduled_at = (select private.next_month_start(v_company.id, p_now))
    where c.id = v_company.id;
    return 'scheduled';
  end if;
  if v_to.monthly_price_usd is null then
    return 'not_for_sale';
  end if;
  perform private.apply_plan(v_company.id, p_plan);
  return 'upgraded';
end $$;
comment on function private.change_plan(public.subscription_plan_enum, timestamptz) is
  'The owner changes the plan: upgraded at once, scheduled for the end of the month where it is a smaller one, unchanged, not_for_sale (without a price: talk to us) or forbidden. Definer: plan and limits are nobody''s to write by hand.';

create function private.cancel_plan_change() returns text
language plpgsql security definer set search_path = '' as $$
begin
  if private.user_role() is distinct from 'owner' then
    return 'forbidden';
  end if;
  update public.companies c set next_plan = null, plan_change_scheduled_at = null
  where c.id = (select private.company_id()) and c.next_plan is not null;
  return case when found then 'cancelled' else 'nothing_scheduled' end;
end $$;
comment on function private.cancel_plan_change() is
  'The owner keeps the plan after all: cancelled, nothing_scheduled or forbidden. Definer, as change_plan.';

create function private.apply_due_plan_changes(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_company public.companies;
  v_exceeded text[];
  v_applied integer := 0;
begin
  for v_company in
    -- What somebody changes right now comes at the next turn.
    select c.* from public.companies c
    where c.next_plan is not null and c.plan_change_scheduled_at <= p_now
      and c.subscription_status <> 'cancelled'
    order by c.id for no key update skip locked
  loop
    v_exceeded := private.exceeded_limits(v_company.id, v_company.next_plan, p_now);
    if v_exceeded = '{}' then
      perform private.apply_plan(v_company.id, v_company.next_plan);
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_changed',
        jsonb_build_object('plan', v_company.next_plan));
      v_applied := v_applied + 1;
      continue;
    end if;
    insert into public.plan_alerts (company_id, subject, level, period_start)
    values (v_company.id, 'plan_change', 100, private.month_start(
      (p_now at time zone v_company.timezone)::date, v_company.monthly_anchor_day))
    on conflict do nothing;
    if found then
      perform private.notify_users(v_company.id, '{owner,administrador}', 'plan_change_waits',
        jsonb_build_object('plan', v_company.next_plan, 'limits', v_exceeded));
    end if;
  end loop;
  return v_applied;
end $$;
comment on function private.apply_due_plan_changes(timestamptz) is
  'Begins the smaller plans that are due, where the company''s use fits; where it does not, says so once a month and waits. How many began. Definer: over all companies.';

create function private.raise_usage_alerts(p_now timestamptz default now()) returns integer
language plpgsql security definer set search_path = '' as $$
declare
  v_raised integer;
begin
  with reached as materialized (
    select c.id as company_id, u.limit_name, l.level, u.used, u.allowed, u.next_plan,
      private.month_start((p_now at time zone c.timezone)::date, c.monthly_anchor_day) as period_start
    from public.companies c
    cross join lateral private.plan_use(c.id, p_now) u
    cross join (values (80), (95)) as l (level)
    where c.subscription_status <> 'cancelled' and u.allowed > 0
      and u.used * 100 >= u.allowed * l.level
  ),
  fresh as (
    insert into public.plan_alerts (company_id, subject, level, period_start)
    select r.company_id, r.limit_name, r.level, r.period_start
    from reached r
    order by r.company_id, r.limit_name, r.level
    on conflict do nothing
    returning company_id, subject, level
  ),
  told as (
    -- From below 80 to above 95 at one step is told once.
    select distinct on (r.company_id, r.limit_name) r.*
    from fresh f
    join reached r on r.company_id = f.company_id and r.limit_name = f.subject and r.level = f.level
    order by r.company_id, r.limit_name, r.level desc
  )
  insert into public.notifications (company_id, user_id, kind, details)
  select t.company_id, u.id, 'usage_alert', jsonb_build_object('limit', t.limit_name,
    'level', t.level, 'used', t.used, 'allowed', t.allowed, 'next_plan', t.next_plan)
  from told t
  join public.users u on u.company_id = t.company_id and u.is_active
    and u.role in ('owner', 'administrador');
  get diagnostics v_raised = row_count;
  return v_raised;
end $$;
comment on function private.raise_usage_alerts(timestamptz) is
  'Tells owner and administradores when 80 and 95 % of a limit are used, once a month each; how many notifications. Definer: over all companies.';

alter table public.plan_alerts enable row level security, force row level security;
create policy staff_select on public.plan_alerts for select to authenticated
  using (company_id = (select private.company_id()) and (select private.manages_company()));
create policy router_select on public.plan_alerts for select to neurant_router using (true);
create policy router_insert on public.plan_alerts for insert to neurant_router with check (true);
grant select on public.plan_alerts to authenticated;
grant select, insert on public.plan_alerts to neurant_router;
grant update (subscription_plan, subscription_status, subscription_ends_at, monthly_message_limit,
  max_chatbots, max_users, max_integrations, max_document_characters, max_storage_mb,
  max_hitl_concurrent, plan_changed_at, plan_change_scheduled_at, next_plan)
  on public.companies to neurant_router;

grant execute on function private.apply_plan(uuid, public.subscription_plan_enum),
  private.exceeded_limits(uuid, public.subscription_plan_enum, timestamptz),
  private.next_month_start(uuid, timestamptz) to neurant_router;
grant execute on function private.change_plan(public.subscription_plan_enum, timestamptz),
  private.cancel_plan_change() to authenticated;
grant execute on function private.apply_due_plan_changes(timestamptz),
  private.raise_usage_alerts(timestamptz) to neurant_jobs;
alter function private.apply_plan(uuid, public.subscription_plan_enum) owner to neurant_router;
alter function private.exceeded_limits(uuid, public.subscription_plan_enum, timestamptz)
  owner to neurant_router;
alter function private.next_month_start(uuid, timestamptz) owner to neurant_router;
alter function private.change_plan(public.subscription_plan_enum, timestamptz) owner to neurant_router;
alter function private.cancel_plan_change() owner to neurant_router;
alter function private.apply_due_plan_changes(timestamptz) owner to neurant_router;
alter function private.raise_usage_alerts(timestamptz) owner to neurant_router;

reset role;
-- migrate:down
